//! Space: eviction, records that grow, the size of a table.

use super::{NOW, both, heap, name, read};
use hither_table::{Family, Geometry, Key, Snapshot, Writer};

#[test]
fn a_name_that_is_evicted_and_returns_is_another_entry_to_its_readers() {
    let mut writer = heap(64);
    let (reader, mut out) = (writer.reader(), Snapshot::new());
    let version = writer.next_version();
    writer.put(&both(0, version, (1, 1)), NOW).expect("room");
    let mut others = 1;
    while reader.lookup(&Key::of(&name(0)), &mut out).is_ok() {
        let next = writer.next_version();
        writer.put(&both(others, next, (1, 1)), NOW).expect("room is made");
        others += 1;
        assert!(others < 10_000, "it is never evicted");
    }
    let again = writer.next_version();
    writer.put(&both(0, again, (2, 0)), NOW).expect("room is made");
    assert_eq!(reader.lookup(&Key::of(&name(0)), &mut out), Ok(()));
    let seen = out.family(Family::A).expect("it has addresses").version();
    assert!(seen == again && seen > version, "{seen} after {version}");
}

#[test]
fn a_full_table_evicts_old_entries_and_keeps_those_in_use() {
    let mut writer = heap(256);
    let mut out = Snapshot::new();
    for n in 0..20_000 {
        let version = writer.next_version();
        let sizes = [(1, 0), (2, 2), (16, 0), (40, 3), (200, 1)][n as usize % 5];
        writer.put(&both(n, version, sizes), NOW).expect("room is made");
        assert!(writer.entries() <= 256);
        for hot in 0..10.min(n) {
            assert!(n < 50 || writer.hit(&Key::of(&name(hot)), None, &mut out), "{hot} was evicted at {n}");
            writer.hit(&Key::of(&name(hot)), None, &mut out);
        }
    }
    assert!(writer.evictions() > 19_000);
    assert!(writer.reader().verify().bad.is_empty());
}

#[test]
fn expired_entries_are_evicted_before_others() {
    let mut writer = heap(256);
    for n in 0..256 {
        let version = writer.next_version();
        let mut draft = both(n, version, (2, 0));
        // Every fourth has expired, including the last ones.
        let over = n % 4 == 0;
        draft.a.as_mut().expect("A").expire_ms = if over { NOW.as_ms() } else { NOW.as_ms() + 60_000 };
        writer.put(&draft, NOW).expect("room");
    }
    for n in 256..256 + 56 {
        let version = writer.next_version();
        let mut draft = both(n, version, (2, 0));
        draft.a.as_mut().expect("A").expire_ms = NOW.as_ms() + 60_000;
        writer.put(&draft, NOW).expect("room");
    }
    let reader = writer.reader();
    let left = |over: bool| (0..256).filter(|n| (n % 4 == 0) == over && read(&reader, *n).0.is_ok()).count();
    assert!(
        left(false) > 180 && left(true) < 20,
        "{} of 192 living, {} of 64 expired are left",
        left(false),
        left(true)
    );
}

#[test]
fn each_size_class_gets_space_and_no_moved_record_is_lost() {
    let mut writer = heap(512);
    let mut next = 0..;
    let mut fill = |writer: &mut Writer, many: usize, sizes: (usize, usize)| -> Vec<u32> {
        let numbers: Vec<u32> = next.by_ref().take(many).collect();
        for n in &numbers {
            let version = writer.next_version();
            writer.put(&both(*n, version, sizes), NOW).expect("room is made");
        }
        numbers
    };
    // Every chunk has records of two lines or large ones; then most of the large ones are removed.
    let large = fill(&mut writer, 100, (200, 0));
    let small = fill(&mut writer, 300, (1, 0));
    for n in large.iter().filter(|n| *n % 4 != 0) {
        assert!(writer.remove(&Key::of(&name(*n))));
    }
    let evictions = writer.evictions();
    let middle = fill(&mut writer, 80, (30, 0));
    let reader = writer.reader();
    let stay = large.iter().filter(|n| *n % 4 == 0).chain(&small).chain(&middle);
    let lost: Vec<&u32> = stay.filter(|n| read(&reader, **n).0.is_err()).collect();
    assert!(lost.is_empty() && writer.evictions() == evictions, "{lost:?}");
    assert!(reader.verify().bad.is_empty());
}

#[test]
fn a_table_for_a_million_names_takes_225_mebibytes() {
    let octets = Geometry { entries: 1_000_000 }.words() * 8;
    assert_eq!((octets + (1 << 19)) >> 20, 225, "rounded");
}

#[test]
fn as_many_names_as_configured_are_held_while_all_of_them_grow() {
    let names: u32 = if cfg!(miri) { 60 } else { 40_000 };
    for scattered in [false, true] {
        let mut writer = heap(names as usize);
        for n in 0..names {
            let version = writer.next_version();
            writer.put(&both(n, version, (2, 0)), NOW).expect("room");
        }
        for n in 0..names {
            // A prime that divides neither number of names.
            let n = if scattered { (u64::from(n) * 7919 % u64::from(names)) as u32 } else { n };
            let version = writer.next_version();
            writer.put(&both(n, version, (2, 2)), NOW).expect("room");
        }
        assert_eq!((writer.entries(), writer.evictions()), (names as usize, 0), "scattered: {scattered}");
        let reader = writer.reader();
        for n in 0..names {
            assert_eq!(
                read(&reader, n).1.and_then(|draft| draft.aaaa).map(|set| set.addresses.len()),
                Some(2)
            );
        }
    }
}

#[test]
fn entries_that_are_stored_repeatedly_evict_no_others() {
    let (mut writer, turns) = (heap(1000), if cfg!(miri) { 100 } else { 100_000 });
    for n in 0..900 {
        let version = writer.next_version();
        writer.put(&both(n, version, (1, 0)), NOW).expect("room");
    }
    for turn in 0..turns {
        let version = writer.next_version();
        writer.put(&both(turn % 7, version, (1, turn as usize % 2)), NOW).expect("room");
    }
    assert_eq!((writer.entries(), writer.evictions()), (900, 0));
}
