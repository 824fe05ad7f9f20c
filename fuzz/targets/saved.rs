//! Parses any octets as a file of saved sets. The result is an error, or sets that are written as they were
//! read. A file of any sets is read as it was written, and the core restores it into a table without a bad
//! record.
#![no_main]

use hither_rounds::{Input, Limits, Restore, Rounds, Routes, SavedSet, Settings};
use hither_saved::{Age, Clocks, Header, Reader, Set, Writer};
use hither_table::{Chain, Geometry, Link, Memory, Monotonic};
use libfuzzer_sys::fuzz_target;

const NOW: Monotonic = Monotonic::from_ms(1_000_000);

fn dated(set: Set, age: &Age) -> SavedSet {
    let link =
        |link: hither_saved::Link| Link { target: link.target, expire_ms: age.expire_ms(link.left_ms) };
    SavedSet {
        name: set.name,
        family: set.family,
        route: 0,
        complete: set.complete,
        sorted: set.sorted,
        expire_ms: age.expire_ms(set.left_ms),
        lifetime_s: set.lifetime_s,
        agreement: set.agreement,
        addresses: set.addresses,
        chains: set
            .chains
            .into_iter()
            .map(|links| Chain { links: links.into_iter().map(link).collect() })
            .collect(),
    }
}

fuzz_target!(|octets: &[u8]| {
    if let Ok((_, mut reader)) = Reader::open(octets) {
        while let Ok(Some(_)) = reader.next_set() {}
    }
    // Sets with their lengths, without the file's header, which a fuzzer hardly guesses.
    let (mut sets, mut rest) = (Vec::new(), octets);
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let Some((own, next)) = after.split_at_checked(usize::from(u16::from_le_bytes(*length))) else {
            break;
        };
        rest = next;
        let Ok(set) = Set::decode(own) else { continue };
        let mut again = Vec::new();
        set.encode(&mut again).expect("a set that was read can be written");
        assert_eq!(again, own);
        sets.push(set);
    }
    let header = Header { saved_ms: 5_000, version: 1, usual: [0; 8] };
    let mut writer = Writer::begin(Vec::new(), &header).expect("memory");
    sets.iter().for_each(|set| assert!(writer.add(set).expect("memory")));
    let file = writer.finish().expect("memory");
    let (read, mut reader) = Reader::open(&file[..]).expect("own octets");
    assert_eq!(read, header);
    let age = Age::of(&header, Clocks { wall_ms: 65_000, boot_ms: NOW.as_ms() }).expect("a minute");
    let geometry = Geometry { entries: 64 };
    let table = hither_table::Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10)
        .expect("a table");
    let mut rounds = Rounds::new(
        Settings { limits: Limits { answers: 8, ..Limits::default() }, ..Settings::default() },
        Routes::default(),
        table,
        Box::new(|| 7),
    );
    let restore = |rounds: &mut Rounds, step: Restore| {
        rounds.handle(NOW, Input::Restore(step));
        while rounds.poll_action().is_some() {}
    };
    restore(&mut rounds, Restore::Begin { usual: Vec::new() });
    let mut n = 0;
    while let Some(set) = reader.next_set().expect("own octets") {
        assert_eq!(Some(&set), sets.get(n));
        n += 1;
        let left_ms = set.left_ms;
        let set = dated(set, &age);
        assert!(set.expire_ms - NOW.as_ms() <= left_ms.saturating_sub(60_000));
        restore(&mut rounds, Restore::Sets(vec![set]));
    }
    assert_eq!(n, sets.len());
    restore(&mut rounds, Restore::End);
    let report = rounds.reader().verify();
    assert!(report.bad.is_empty(), "{:?}", report.bad);
    rounds.check_invariants();
});
