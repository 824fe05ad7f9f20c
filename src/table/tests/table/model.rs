//! The table compared with a map under random operations, and read under random damage.

use super::{Dir, NOW, both, name, read};
use hither_table::{
    Draft, Family, Geometry, Key, Memory, Origin, Reader, Snapshot, Writer, open_or_create, rotate,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Op {
    Put(u32, usize, usize),
    Remove(u32),
    Flush,
    Hit(u32),
    Adopt,
    Work(usize),
    Rotate,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0u32..40, 0usize..20, 0usize..5).prop_map(|(n, a, b)| Op::Put(n, a, b)),
        2 => (0u32..40).prop_map(Op::Remove),
        1 => Just(Op::Flush),
        2 => (0u32..40).prop_map(Op::Hit),
        1 => Just(Op::Adopt),
        1 => (1usize..300).prop_map(Op::Work),
        1 => Just(Op::Rotate),
    ];
    prop::collection::vec(op, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_behaves_like_a_map(ops in ops()) {
        let mut geometry = Geometry { entries: 64 };
        let dir = Dir::new("model");
        let (mut writer, _, mut lock) = dir.open();
        let mut model: BTreeMap<u32, Draft> = BTreeMap::new();
        let mut out = Snapshot::new();
        for op in ops {
            match op {
                Op::Put(n, a, b) => {
                    let draft = both(n, writer.next_version(), (a, b));
                    prop_assert_eq!(writer.put(&draft, NOW).err(), None);
                    model.insert(n, draft);
                }
                Op::Remove(n) => {
                    let known = writer.get(&Key::of(&name(n)), &mut out);
                    prop_assert_eq!(known, model.remove(&n).is_some());
                    writer.remove(&Key::of(&name(n)));
                }
                Op::Flush => {
                    writer.flush_all();
                    model.clear();
                }
                Op::Hit(n) => prop_assert_eq!(writer.hit(&Key::of(&name(n)), None, &mut out), model.contains_key(&n)),
                Op::Adopt => {
                    drop((writer, lock));
                    let (next, origin, held) = open_or_create(&dir.0, &geometry, 0o644, [1, 2, 3], 0).expect("a table");
                    prop_assert!(matches!(origin, Origin::Adopted), "{:?}", origin);
                    (writer, lock) = (next, Box::new(held) as _);
                }
                Op::Work(places) => drop(writer.work(places, NOW)),
                Op::Rotate => {
                    geometry.entries = if geometry.entries == 64 { 96 } else { 64 };
                    rotate(&mut writer, &dir.0, &geometry, 0o644, [4, 5, 6]).expect("another table");
                }
            }
            let reader = Reader::open(&dir.0).expect("readable");
            let copying = writer.has_work();
            for n in 0..40 {
                // The writer finds every entry at once; readers find those that have been copied.
                let known = copying && writer.get(&Key::of(&name(n)), &mut out);
                prop_assert!(!copying || known == model.contains_key(&n));
                let found = read(&reader, n).1;
                prop_assert_eq!(found.as_ref(), model.get(&n));
            }
            prop_assert!(writer.evictions() == 0);
        }
    }

    #[test]
    fn arbitrary_words_never_make_a_reader_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..200)) {
        let geometry = Geometry { entries: 16 };
        let dir = Dir::new("words");
        let mut writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table");
        for n in 0..16 {
            let version = writer.next_version();
            writer.put(&both(n, version, (4, 4)), NOW).expect("room");
        }
        let file = dir.0.join("hosts");
        let (shared, _, _lock) = open_or_create(&dir.0, &geometry, 0o644, [1, 2, 3], 0).expect("a table");
        let mut follower = shared.reader().follow();
        let mut octets = std::fs::read(&file).expect("readable");
        let used = (hither_table::layout::HEADER + hither_table::layout::RING + 4096) * 8;
        for (at, value) in changes {
            // Behind the part of the header that never changes, whose damage another test covers.
            let at = (17 + at.index(used / 8 - 17)) * 8;
            octets[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        std::fs::write(&file, &octets).expect("writable");
        if let Ok(reader) = Reader::open(&dir.0) {
            let mut out = Snapshot::new();
            for n in 0..16 {
                if reader.lookup(&Key::of(&name(n)), &mut out).is_ok() {
                    for family in [Family::A, Family::Aaaa] {
                        let _ = out.family(family).map(|f| (f.addresses().count(), f.canonical().len(), f.soa().is_some(), f.ttl(NOW)));
                    }
                    let _ = out.to_draft();
                }
            }
            let _ = (reader.verify(), reader.counters(), reader.dns_address());
            let mut entries = reader.entries();
            while entries.next(&mut out) {}
            for _ in 0..10 {
                let _ = follower.step(&mut out);
            }
        }
    }
}
