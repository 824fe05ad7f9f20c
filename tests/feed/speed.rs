//! How soon a change is told: ten thousand names, a hundred programs.

use super::*;
use hither_control::{
    Order, OrderedAddress, SORTER_SOCKET, SorterMessage, SorterReply, VERSION, Verdict, decode, encode,
};
use hither_table::{Key, Reader, Snapshot};
use std::time::Instant;

const PROGRAMS: usize = 100;
const NAMES: usize = 10_000;
const CHANGES: usize = 2_000;

/// The sorter's side of its connection, whose orders are changes at a known time.
struct Sorter {
    connection: Connection,
    table: Reader,
    entry: Snapshot,
}

impl Sorter {
    fn connect(daemon: &Daemon) -> Sorter {
        let run = daemon.dir.join("run");
        let connection = Connection::connect(&run.join(SORTER_SOCKET), Some(PATIENCE)).expect("it accepts");
        let hello = SorterMessage::Hello { version: VERSION, lacks: Vec::new() };
        connection.send(&encode(&hello).expect("short")).expect("sent");
        Sorter { connection, table: Reader::open(&run).expect("readable"), entry: Snapshot::new() }
    }

    /// Reverses the addresses of a name. Returns the order as a message.
    fn reversed(&mut self, name: &str) -> Vec<u8> {
        let key = Key::of(&name.parse().expect("a name"));
        self.table.lookup(&key, &mut self.entry).expect("it is in the table");
        let view = self.entry.family(Family::A).expect("it has the family");
        let mut addresses: Vec<OrderedAddress> = view
            .addresses()
            .map(|one| OrderedAddress {
                address: one.address,
                rtt_us: Some(1000),
                reachable: Some(true),
                verdict: Verdict::default(),
            })
            .collect();
        addresses.reverse();
        let order = Order {
            generation: self.table.generation(),
            name: name.to_owned(),
            rtype: "A".to_owned(),
            set_version: view.set_version(),
            addresses,
        };
        encode(&SorterMessage::Order(order)).expect("short")
    }

    /// Whether the daemon applied the order.
    fn is_applied(&self) -> bool {
        let mut buffer = [0; 4096];
        let reply = self.connection.receive(&mut buffer).expect("a reply");
        matches!(decode::<SorterReply>(reply), Ok(SorterReply::Applied { .. }))
    }
}

#[test]
fn a_change_of_one_of_ten_thousand_names_is_told_at_once() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1, 2], 3600))]);
    let shares = "[feed]\nrounds = 100000\nrounds_per_user = 100000\nnames_per_user = 20000\nsubscribers_per_user = 200\n";
    let more = "[limits]\nrounds = 8000\nattempts = 8000\n[sort]\nenabled = false\n";
    let shares = shares.to_owned() + more;
    let daemon = Daemon::start(&[&upstream], &shares);
    let programs: Vec<Program> = (0..PROGRAMS).map(|_| Program::connect(&daemon)).collect();
    let names: Vec<String> = (0..NAMES).map(|n| format!("host-{n}.example")).collect();
    for (n, some) in names.chunks(100).enumerate() {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        let program = &programs[n % programs.len()];
        assert!(matches!(program.subscribe(Families::A, &some), Got::Accepted { .. }));
        // The rounds of these names end before the next ones begin.
        let mut left = some.len();
        while left > 0 {
            program.change(Family::A);
            left -= 1;
        }
    }
    let mut sorter = Sorter::connect(&daemon);
    let mut times: Vec<Duration> = (0..CHANGES)
        .map(|change| {
            let at = (change * 7919) % NAMES;
            let order = sorter.reversed(&names[at]);
            let began = Instant::now();
            sorter.connection.send(&order).expect("sent");
            let told = programs[at / 100 % programs.len()].change(Family::A);
            let took = began.elapsed();
            assert_eq!((told.cause, told.name), (Cause::Order, names[at].clone() + "."));
            assert!(sorter.is_applied());
            took
        })
        .collect();
    times.sort_unstable();
    let (half, most) = (times[CHANGES / 2], times[CHANGES * 99 / 100]);
    println!("from an order to its record: p50 {half:?}, p99 {most:?}, longest {:?}", times[CHANGES - 1]);
    assert!(half < Duration::from_millis(5), "{half:?}");
}
