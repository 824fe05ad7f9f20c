//! Tests an attacker that knows the keys of the hash: they are in the header, which by default
//! every user of the host may read.

use crate::draft::{Draft, FamilyDraft};
use crate::key::Key;
use crate::layout::LINE;
use crate::memory::Memory;
use crate::record::Snapshot;
use crate::time::Monotonic;
use crate::writer::{Geometry, Writer};
use hither_wire::name::Name;

const NOW: Monotonic = Monotonic::from_ms(1_000);

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn put(writer: &mut Writer, name: Name) {
    let version = writer.next_version();
    let set = FamilyDraft::of(version, [[192, 0, 2, 1].into()], 600_000, 600);
    writer.put(&Draft { name, a: Some(set), aaaa: None }, NOW).expect("it has room");
}

fn has(writer: &mut Writer, name: &Name) -> bool {
    writer.get(&Key::of(name), &mut Snapshot::new())
}

#[test]
fn names_chosen_to_share_the_buckets_of_one_name_evict_that_name_and_few_others() {
    let geometry = Geometry { entries: 1024 };
    let memory = Memory::heap(geometry.words());
    let mut writer = Writer::create(memory, &geometry, [1, 2], 3, 10).expect("a table");
    let others: Vec<Name> = (0..300).map(|n| name(&format!("n{n}.others.test"))).collect();
    let target = name("target.test");
    put(&mut writer, target);
    others.iter().for_each(|other| put(&mut writer, *other));
    let aim = writer.place(&Key::of(&target)).buckets;
    let strikes = |name: &Name| {
        let at = writer.place(&Key::of(name)).buckets;
        at == aim || [at[1], at[0]] == aim
    };
    let aimed = (0u64..).map(|n| name(&format!("a{n}.test"))).filter(strikes).take(2 * LINE);
    let aimed: Vec<Name> = aimed.collect();
    assert!(has(&mut writer, &target));
    aimed.iter().for_each(|name| put(&mut writer, *name));
    assert!(!has(&mut writer, &target), "as many as there are slots evict it");
    let lost = others.iter().filter(|other| !has(&mut writer, other)).count();
    assert!(lost < 2 * LINE, "{lost} of 300 other names are lost");
    // The next query for it stores it again, in the slot of the oldest of those.
    put(&mut writer, target);
    assert!(has(&mut writer, &target));
}
