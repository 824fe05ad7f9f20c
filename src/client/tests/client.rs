//! The client beside a table that comes, changes and is replaced.

use hither_client::{Family, Lookup, Name, Snapshot, Table};
use hither_table::{Address, Draft, FamilyDraft, Geometry, Monotonic, Rtt, State, Writer, open_or_create};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

fn dir(what: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("hither-client-{what}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// A table of so many entries, each opening of another size replaces the one before.
fn table(dir: &Path, entries: usize) -> (Writer, impl Sized + use<>) {
    let (writer, _, lock) =
        open_or_create(dir, &Geometry { entries }, 0o644, [1, 2, entries as u64], 1).expect("a table");
    (writer, lock)
}

fn put(writer: &mut Writer, name: &Name) {
    let version = writer.next_version();
    let address = Address {
        address: "192.0.2.1".parse().expect("an address"),
        rtt: Rtt::Unmeasured,
        chain: 0,
        upstreams: 1,
    };
    let set = FamilyDraft {
        version,
        set_version: version,
        round: version,
        state: State::Complete,
        negative: None,
        sorted: false,
        expire_ms: 1 << 40,
        lifetime_s: 60,
        addresses: vec![address],
        chains: Vec::new(),
        soa: None,
    };
    writer.put(&Draft { name: *name, a: Some(set), aaaa: None }, Monotonic(0)).expect("room");
}

#[test]
fn lookups_go_on_in_many_threads_while_the_table_is_replaced() {
    let dir = dir("replace");
    let name: Name = "www.example.com".parse().expect("a name");
    let (mut writer, mut lock) = table(&dir, 64);
    put(&mut writer, &name);
    let client = Table::open(Some(&dir)).expect("readable");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut entry, mut looks, mut last) = (Snapshot::new(), 0_u64, 0);
                    while !done.load(Ordering::Relaxed) || looks == 0 {
                        match client.lookup(&"WWW.Example.COM".parse().expect("a name"), &mut entry) {
                            Lookup::Hit => {
                                let set = entry.family(Family::A).expect("it was put");
                                assert!(
                                    set.len() == 1 && set.version() >= last,
                                    "{} after {last}",
                                    set.version()
                                );
                                last = set.version();
                            }
                            Lookup::Missing | Lookup::Replaced | Lookup::Busy => {}
                        }
                        looks += 1;
                    }
                    looks
                })
            })
            .collect();
        for n in 1..40 {
            drop((writer, lock));
            (writer, lock) = table(&dir, 64 + 512 * (n % 7 + 1));
            put(&mut writer, &name);
        }
        done.store(true, Ordering::Relaxed);
        assert!(looks.into_iter().all(|thread| thread.join().expect("no panic") > 0));
    });
    let mut entry = Snapshot::new();
    assert_eq!(client.lookup(&name, &mut entry), Lookup::Hit, "after all that the last table is read");
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn no_table_is_an_error_that_says_so() {
    let dir = dir("none");
    assert!(Table::open(Some(&dir)).expect_err("nothing there").to_string().contains("No such file"));
    std::fs::write(dir.join("hosts"), [7; 8192]).expect("writable");
    assert!(Table::open(Some(&dir)).expect_err("no table").to_string().contains("not a table"));
    std::fs::remove_dir_all(&dir).expect("removable");
}
