//! The memory that leases take. The test has a process of its own, since other tests would be counted too.
#![allow(clippy::print_stdout)]
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use hither_feed::server::{Feed, Limits, Owner, Seen};
use hither_feed::{Datagram, Families, RECORD_MAX};
use hither_table::Monotonic;
use hither_wire::name::Name;

const NOW: Monotonic = Monotonic::from_ms(1_000_000);

/// How many octets of anonymous memory this process has.
fn occupied() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("there");
    line.trim().split(' ').next().and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}

fn look(name: &Name) -> [Seen; 2] {
    let addresses = name.folded_hash();
    let renew = Monotonic::from_ms(2_000_000 + addresses % 500_000);
    let set = Seen::Set { version: 7, set_version: 7, addresses, order: 1, renew };
    [set, Seen::Denied { version: 8, renew }]
}

/// Octets for each of `names` names that a hundred subscribers share among them.
fn octets_per_lease(names: usize) -> usize {
    let limits = Limits { names_per_user: names, subscribers_per_user: 100, ..Limits::default() };
    let mut feed = Feed::new(limits, [1, 2]);
    let (mut datagram, mut out) = (Datagram::new(), [0; RECORD_MAX]);
    let before = occupied();
    for subscriber in 0..100 {
        let id = feed.connect(Owner::of(1000, 1)).expect("within the limits");
        for n in 0..names / 100 {
            let name = format!("host-{n}.of-{subscriber}.hither.example").parse().expect("a name");
            datagram.clear();
            datagram.add(Families::Both, &name).expect("it fits");
            feed.subscribe(NOW, id, datagram.octets(), 9, &mut look);
            while feed.next_record(9, &mut out).is_some() {
                feed.note_sent();
            }
        }
    }
    assert_eq!(feed.counts().names, names as u64);
    let each = (occupied() - before) / names;
    println!("{names} names of 30 octets: {each} octets each");
    drop(feed);
    each
}

#[test]
fn a_lease_takes_at_most_two_hundred_octets() {
    let (few, many) = (octets_per_lease(10_000), octets_per_lease(100_000));
    assert!(few <= 200 && many <= 200, "{few} with 10 000, {many} with 100 000");
}
