//! The daemon with a malicious sorter: the worst that it can do is a bad order of the right set.

use crate::support::{Daemon, Upstream, answer, ends};
use hither_control::{
    MESSAGE_MAX, Order, OrderedAddress, SORTER_SOCKET, SorterMessage, SorterReply, VERSION, decode, encode,
};
use hither_net::seqpacket::Connection;
use hither_table::Trust;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const ENDS: [u8; 6] = [1, 2, 3, 4, 5, 6];
const NAME: &str = "a.example";
/// Bound of additional descriptors of the daemon: connections are bounded.
const DESCRIPTORS: usize = 64 + 64;
/// Bound of its additional memory, in KiB.
const MEMORY_KIB: usize = 16 * 1024;

/// The entry of the name in the table.
struct Seen {
    version: u64,
    set_version: u64,
    generation: u64,
}

fn seen(daemon: &Daemon) -> Seen {
    let (entry, status) = (daemon.json(&["lookup", NAME]), daemon.json(&["status"]));
    let addresses = entry["addresses"].as_array().expect("a list");
    let found: BTreeSet<&str> = addresses.iter().filter_map(|a| a["address"].as_str()).collect();
    let expected = ENDS.map(|end| format!("198.18.0.{end}"));
    assert_eq!(found, expected.iter().map(String::as_str).collect(), "the right set");
    assert_eq!(addresses.len(), ENDS.len());
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    Seen {
        version: number(&entry["version"]),
        set_version: number(&entry["set_version"]),
        generation: number(&status["table_generation"]),
    }
}

fn memory_kib(daemon: &Daemon) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.process.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a field");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn order(seen: &Seen, turn: usize) -> Order {
    let mut ends = ENDS;
    ends.rotate_left(turn % ENDS.len());
    let address = |end: u8| OrderedAddress {
        address: IpAddr::from([198, 18, 0, end]),
        rtt_us: [None, Some(0), Some(u32::MAX), Some(u32::MAX - 1), Some(7)][(turn + usize::from(end)) % 5],
        reachable: [None, Some(true), Some(false)][(turn / 3 + usize::from(end)) % 3],
        verdict: Trust::ALL[(turn / 5 + usize::from(end)) % 7].into(),
    };
    Order {
        generation: seen.generation,
        name: format!("{NAME}."),
        rtype: "A".into(),
        set_version: seen.set_version,
        addresses: ends.map(address).to_vec(),
    }
}

/// A connection to the sorter's socket, reconnected whenever it is closed.
struct Enemy<'a> {
    path: &'a Path,
    connection: Option<Connection>,
    sent: &'a AtomicUsize,
}

impl Enemy<'_> {
    fn connection(&mut self) -> Option<&Connection> {
        if self.connection.is_none() {
            self.connection = Connection::connect(self.path, Some(Duration::from_millis(50))).ok();
        }
        self.connection.as_ref()
    }

    /// Sends octets and counts the messages that were sent; replies are never read.
    fn say(&mut self, octets: &[u8]) {
        let Some(connection) = self.connection() else { return std::thread::yield_now() };
        match connection.send(octets) {
            Ok(()) => drop(self.sent.fetch_add(1, Ordering::SeqCst)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.connection = None,
        }
    }
}

/// An attack: a function that is called in a loop, with the number of the call.
type Attack = fn(&mut Enemy<'_>, &Seen, usize);

fn valid_orders(enemy: &mut Enemy<'_>, seen: &Seen, turn: usize) {
    enemy.say(&encode(&SorterMessage::Order(order(seen, turn))).expect("short"));
}

fn wrong_orders(enemy: &mut Enemy<'_>, seen: &Seen, turn: usize) {
    let mut order = order(seen, turn);
    match turn % 8 {
        0 => order.name = format!("n{turn}.nowhere.example."),
        1 => order.generation ^= 1,
        2 => order.set_version = u64::MAX,
        3 => order.addresses.truncate(3),
        4 => order.addresses[0] = order.addresses[1],
        5 => order.addresses = vec![order.addresses[0]; 700],
        6 => order.name = "\\000..\u{fffd}".into(),
        _ => order.rtype = "AAAA".into(),
    }
    enemy.say(&encode(&SorterMessage::Order(order)).expect("short"));
}

fn junk(enemy: &mut Enemy<'_>, seen: &Seen, turn: usize) {
    let words = encode(&SorterMessage::Order(order(seen, turn))).expect("short");
    let text = String::from_utf8(words).expect("JSON");
    let junk = match turn % 6 {
        0 => vec![0xff; 1 + turn % 300],
        1 => "[".repeat(60_000).into_bytes(),
        2 => text.replace("\"set_version\":", "\"set_version\":1e400,\"x\":").into_bytes(),
        3 => text.replace("\"rtt_us\":", "\"rtt_us\":NaN,\"x\":").into_bytes(),
        4 => text.replace("\"generation\":", "\"generation\":-").into_bytes(),
        _ => text.as_bytes()[..text.len() - 1 - turn % text.len().min(50)].to_vec(),
    };
    enemy.say(&junk);
}

fn huge(enemy: &mut Enemy<'_>, _: &Seen, turn: usize) {
    let hello = SorterMessage::Hello { version: VERSION, lacks: vec!["x".repeat(800); 75] };
    match turn % 3 {
        0 => enemy.say(&vec![b' '; MESSAGE_MAX + 1]),
        1 => enemy.say(&vec![b'['; 150_000]),
        _ => enemy.say(&encode(&hello).expect("it fits")),
    }
}

fn reconnects(enemy: &mut Enemy<'_>, seen: &Seen, turn: usize) {
    enemy.connection = None;
    if turn.is_multiple_of(2) {
        valid_orders(enemy, seen, turn);
    } else if enemy.connection().is_some() {
        enemy.sent.fetch_add(1, Ordering::SeqCst);
    }
}

/// Connects without end, sends nothing and closes nothing: up to a thousand connections at once.
fn half_open(enemy: &mut Enemy<'_>, _: &Seen, _: usize) {
    thread_local!(static HELD: std::cell::RefCell<Vec<Connection>> = const { std::cell::RefCell::new(Vec::new()) });
    HELD.with_borrow_mut(|held| {
        if let Ok(connection) = Connection::connect(enemy.path, Some(Duration::from_millis(50))) {
            held.push(connection);
            enemy.sent.fetch_add(1, Ordering::SeqCst);
        }
        if held.len() > 1000 {
            held.clear();
        }
    });
}

/// Checks that other clients and readers are served during an attack.
fn live_on(daemon: &Daemon, what: &str, before: &mut Seen, descriptors: usize, memory: usize) {
    for n in 0..10 {
        let all: BTreeSet<u8> = ends(&daemon.ask(NAME)).into_iter().collect();
        assert_eq!(all, ENDS.into(), "a hit, during {what}");
        let miss = format!("m{n}.{}.example", what.replace(' ', "-"));
        assert_eq!(ends(&daemon.ask(&miss)).len(), ENDS.len(), "a miss, during {what}");
        let now = seen(daemon);
        assert!(now.version >= before.version && now.set_version == before.set_version, "during {what}");
        *before = now;
        assert!(daemon.json(&["stats"])["queries"].is_u64(), "statistics, during {what}");
        assert!(daemon.descriptors() <= descriptors + DESCRIPTORS, "descriptors, during {what}");
        let more = memory_kib(daemon).saturating_sub(memory);
        assert!(more <= MEMORY_KIB, "{more} KiB more, during {what}");
    }
}

#[test]
fn the_worst_that_a_sorter_can_do_is_a_bad_order_of_the_right_set() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &ENDS, 3600))]);
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask(NAME);
    daemon.until("the set is complete", |d| d.json(&["lookup", NAME])["state"] == "complete");
    let path = daemon.dir.join("run").join(SORTER_SOCKET);
    let mut before = seen(&daemon);
    let (descriptors, memory) = (daemon.descriptors(), memory_kib(&daemon));
    let attacks: [(&str, Attack); 6] = [
        ("valid orders", valid_orders),
        ("wrong orders", wrong_orders),
        ("junk", junk),
        ("huge messages", huge),
        ("reconnects", reconnects),
        ("half open", half_open),
    ];
    for (what, attack) in attacks {
        let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        let at = Seen { ..before };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut enemy = Enemy { path: &path, connection: None, sent: &sent };
                let mut turn = 0;
                while !stop.load(Ordering::SeqCst) {
                    attack(&mut enemy, &at, turn);
                    turn += 1;
                }
            });
            // The thread must also end when an assertion fails.
            let _stop = Stop(&stop);
            daemon.until("the attack has begun", |_| sent.load(Ordering::SeqCst) >= 20);
            live_on(&daemon, what, &mut before, descriptors, memory);
        });
    }
    honest(&daemon, &path, &before);
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// After the attacks an honest sorter is served.
fn honest(daemon: &Daemon, path: &Path, before: &Seen) {
    let connection = Connection::connect(path, Some(crate::support::PATIENCE)).expect("connected");
    let say = |message: &SorterMessage| connection.send(&encode(message).expect("short")).expect("sent");
    say(&SorterMessage::Hello { version: VERSION, lacks: Vec::new() });
    let mut good = order(before, 0);
    good.addresses.reverse();
    // Verdicts would put addresses behind others, whatever the order says.
    good.addresses.iter_mut().for_each(|address| address.verdict = Trust::Unknown.into());
    say(&SorterMessage::Order(good));
    let mut buffer = vec![0; MESSAGE_MAX];
    let reply = decode::<SorterReply>(connection.receive(&mut buffer).expect("a reply")).expect("readable");
    assert!(matches!(reply, SorterReply::Applied { version } if version > before.version), "{reply:?}");
    assert_eq!(ends(&daemon.ask(NAME)), [6, 5, 4, 3, 2, 1]);
}
