//! A writer and readers in threads, with a table on the heap: small enough for Miri, which looks
//! for undefined behaviour and data races. `cargo +nightly miri test -p hither-table --features
//! writer --test threads`
#![cfg(feature = "writer")]

use hither_table::{Draft, Family, FamilyDraft, Geometry, Key, Memory, Monotonic, Snapshot, State, Writer};
use hither_wire::name::Name;
use std::net::Ipv4Addr;
use std::sync::Barrier;

const NAMES: u32 = 3;
const ROUNDS: u32 = if cfg!(miri) { 6 } else { 20_000 };

fn draft(n: u32, version: u64) -> Draft {
    let name: Name = format!("h{n}.example").parse().expect("a name");
    let count = 1 + version % 5;
    let addresses = (0..count).map(|n| Ipv4Addr::from((version * 16 + n) as u32).into());
    let set = FamilyDraft { state: State::First, ..FamilyDraft::of(version, addresses, 1 << 40, 60) };
    Draft { name, a: Some(set), aaaa: None }
}

#[test]
fn readers_see_entries_of_one_publish_and_growing_versions() {
    let geometry = Geometry { entries: 8 };
    let memory = Memory::heap(geometry.words());
    let mut writer = Writer::create(memory, &geometry, [1, 2], 3, 10).expect("a table");
    let readers: Vec<_> = (0..2).map(|_| writer.reader()).collect();
    // All begin together, and each reader looks once more at all names when the writer has
    // finished: of three versions in a row at most one removes its name, so that each reader finds
    // something whoever runs first.
    let (begin, finished) = (&Barrier::new(3), &Barrier::new(3));
    std::thread::scope(|scope| {
        let looks: Vec<_> = readers
            .into_iter()
            .map(|reader| {
                scope.spawn(move || {
                    let (mut out, mut last, mut hits) = (Snapshot::new(), [0; NAMES as usize], 0);
                    let mut look = |n: u32| {
                        let key = Key::of(&draft(n, 1).name);
                        if reader.lookup(&key, &mut out).is_ok() {
                            let version = out.version();
                            assert_eq!(out.to_draft(), Some(draft(n, version)));
                            assert!(version >= last[n as usize], "{version} after {}", last[n as usize]);
                            last[n as usize] = version;
                            hits += 1;
                            assert!(out.family(Family::A).is_some());
                        }
                    };
                    begin.wait();
                    (0..NAMES).cycle().take(ROUNDS as usize).for_each(&mut look);
                    finished.wait();
                    (0..NAMES).for_each(&mut look);
                    hits
                })
            })
            .collect();
        begin.wait();
        for n in (0..NAMES).cycle().take(ROUNDS as usize) {
            let version = writer.next_version();
            if version.is_multiple_of(7) {
                writer.remove(&Key::of(&draft(n, 1).name));
            } else {
                writer.put(&draft(n, version), Monotonic(0)).expect("room");
            }
        }
        finished.wait();
        for look in looks {
            assert!(look.join().expect("no panic") >= NAMES - 1, "a reader found nothing at the end");
        }
    });
}
