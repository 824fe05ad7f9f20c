//! Instructions per query, counted by callgrind, which shows a regression independent of the machine's
//! speed: `cargo bench --bench instructions`
//!
//! Each path is run N and 3 N times in separate processes; the difference is divided by 2 N, so that
//! start and warm-up cancel out. `-- PATH` counts one path; `-- PATH N` only runs it, for a profiler.
//! `large-KIND` is a miss whose response has 64 KiB and is expensive to process
//! (`tests/large/messages.rs`); composing the response is included.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

#[path = "../tests/large/messages.rs"]
mod messages;
#[path = "../tests/large/world.rs"]
#[allow(dead_code)] // Counting messages is the test's.
mod world;

use hither_rounds::{Action, ClientId, Input, PlacedQuery, Question, Rounds, Routes, Settings, reply};
use hither_table::{Geometry, Memory, Monotonic, Writer};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, Composer, Owner, QueryBits, flags, query};
use hither_wire::message::Section;
use hither_wire::query::Query;
use std::net::SocketAddr;
use std::process::Command;

const PATHS: [(&str, &str); 6] = [
    ("hit-a", "a hit with one address: query to reply, reading ahead included, without the system calls"),
    ("hit-16", "the same with 16 addresses"),
    ("hit-denied", "the same for a name that does not exist"),
    ("hit-txt", "a hit of another type, from the answer cache"),
    ("miss", "a miss: query, round, query upstream, answer, publish, reply"),
    ("put", "of which publishing"),
];
const NAMES: u64 = 1000;

struct Bench {
    rounds: Rounds,
    now: Monotonic,
    next: u64,
    rtype: Rtype,
    records: u16,
    out: [u8; 1344],
}

fn ask(n: u64, rtype: Rtype) -> ([u8; 300], usize) {
    let mut out = [0; 300];
    let name = format!("h{n:08}.bench.example").parse().expect("a name");
    let bits = QueryBits { rd: true, cd: false, edns: None };
    let len = query(&mut out, n as u16, &Asked { name: &name, rtype }, bits);
    (out, len)
}

impl Bench {
    fn new(rtype: Rtype, records: u16) -> Bench {
        let geometry = Geometry { entries: 4096 };
        let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 1, 0).expect("room");
        let mut random = 7_u64;
        let random = Box::new(move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random
        });
        let upstream = SocketAddr::from(([192, 0, 2, 1], 53));
        let rounds = Rounds::new(Settings::default(), Routes::from(&[upstream][..]), writer, random);
        let now = Monotonic::from_ms(1_000_000);
        Bench { rounds, now, next: 0, rtype, records, out: [0; 1344] }
    }

    /// Answers a query that is not cached, and returns the length of the reply.
    fn miss(&mut self, asked: &[u8]) -> usize {
        self.now = Monotonic(self.now.0 + 10_000);
        self.next += 1;
        let client = ClientId(self.next);
        let read = Query::read(asked).expect("a query");
        let len = self.rounds.answer_hit(self.now, &read, 512, &mut self.out);
        assert_eq!(len, 0);
        self.rounds.handle(self.now, Input::Ask { client, question: &Question::of(&read), recursion: true });
        let (mut written, mut sent) = (0, None);
        loop {
            match self.rounds.poll_action() {
                Some(Action::Send { attempt, octets, .. }) => sent = Some((attempt, octets)),
                Some(Action::Reply { answer, .. }) => {
                    written = reply::compose(self.now, &read, &answer, 512, &mut self.out);
                }
                Some(_) => {}
                // The response arrives when all actions have been executed.
                None => {
                    let Some((attempt, octets)) = sent.take() else { return written };
                    let mut reply = [0; 1232];
                    let len = self.response(&octets, &mut reply);
                    self.rounds.handle(self.now, Input::Message { attempt, octets: &reply[..len] });
                }
            }
        }
    }

    fn response(&self, octets: &[u8], out: &mut [u8]) -> usize {
        let read = Query::read(octets).expect("a query of ours");
        let mut composer = Composer::new(out, 1232).expect("room");
        let rcode = if self.records == 0 { 3 } else { 0 };
        composer.set_header(read.id(), flags::QR | flags::RD | flags::RA | rcode);
        composer.question_octets(read.question());
        for n in 0..self.records {
            match self.rtype {
                Rtype::A => {
                    let address = [198, 18, (n >> 8) as u8, n as u8];
                    composer.record(Section::Answer, Owner::At(12), Rtype::A, 86_400, &address);
                }
                rtype => {
                    composer.record(Section::Answer, Owner::At(12), rtype, 86_400, b"\x05bench");
                }
            }
        }
        if self.records == 0 {
            let soa = [&[0, 0][..], &[0; 16], &86_400_u32.to_be_bytes()].concat();
            composer.record(Section::Authority, Owner::Wire(&[0]), Rtype::SOA, 86_400, &soa);
        }
        composer.opt(1232, 0, false, &[]);
        composer.finish()
    }

    fn hits(&mut self, count: u64) {
        let all: Vec<_> = (0..NAMES).map(|n| ask(n, self.rtype)).collect();
        for (octets, len) in &all {
            assert!(self.miss(&octets[..*len]) > 0);
        }
        for n in 0..count {
            let (octets, len) = &all[(n % NAMES) as usize];
            let read = Query::read(&octets[..*len]).expect("a query");
            let place = self.rounds.place(&read);
            self.rounds.fetch(place.iter());
            let len = self.rounds.answer_hit_at(
                self.now,
                PlacedQuery { query: &read, place },
                read.udp_limit(),
                &mut self.out,
            );
            assert!(len > 0);
        }
    }

    fn misses(&mut self, count: u64) {
        // Queries are made beforehand, so that composing them is not counted. Names repeat long after
        // their eviction.
        let all: Vec<_> = (0..50_000).map(|n| ask(n, self.rtype)).collect();
        for n in 0..count + 10_000 {
            let (octets, len) = &all[(n % 50_000) as usize];
            assert!(self.miss(&octets[..*len]) > 0);
        }
    }
}

fn put(count: u64) {
    use hither_table::{Address, Agreement, Chain, Draft, FamilyDraft, Rtt, State};
    let geometry = Geometry { entries: 4096 };
    let mut writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 1, 0).expect("room");
    let address = std::net::Ipv4Addr::new(198, 18, 0, 1).into();
    let addresses = vec![Address { rtt: Rtt::Micros(20), ..Address::new(address, 0, 1) }];
    let set = FamilyDraft {
        version: 0,
        set_version: 1,
        round: 1,
        state: State::Complete,
        negative: None,
        sorted: false,
        expire_ms: 2_000_000,
        lifetime_s: 1000,
        agreement: Agreement::default(),
        addresses,
        chains: vec![Chain::default()],
        soa: None,
    };
    let names: Vec<_> =
        (0..50_000).map(|n| format!("h{n:08}.bench.example").parse().expect("a name")).collect();
    for n in 0..count + 10_000 {
        let version = writer.next_version();
        let name = names[(n % 50_000) as usize];
        let draft = Draft { name, a: Some(FamilyDraft { version, ..set.clone() }), aaaa: None };
        writer.put(&draft, Monotonic(0)).expect("room");
    }
}

fn run(path: &str, count: u64) {
    match path {
        "hit-a" => Bench::new(Rtype::A, 1).hits(count),
        "hit-16" => Bench::new(Rtype::A, 16).hits(count),
        "hit-denied" => Bench::new(Rtype::A, 0).hits(count),
        "hit-txt" => Bench::new(Rtype::TXT, 1).hits(count),
        "miss" => Bench::new(Rtype::A, 1).misses(count),
        "put" => put(count),
        large if large.starts_with("large-") => {
            let kind = messages::KINDS.into_iter().find(|(kind, ..)| large.ends_with(kind));
            let (kind, mut world) = (kind.expect("a kind of messages/KINDS"), world::World::new());
            (0..count as usize).for_each(|n| assert!(world.ask(kind, n).1 > 0));
        }
        other => println!("there is no path '{other}'"),
    }
}

/// The instructions of a process that runs a path `count` times.
fn counted(path: &str, count: u64) -> Option<u64> {
    let exe = std::env::current_exe().ok()?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(exe)
        .args([path, &count.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&run.stderr).into_owned();
    text.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [path, count] = &args[..] {
        return run(path, count.parse().expect("a number"));
    }
    let wanted = |path: &str| args.is_empty() || args[0] == path;
    for (path, what) in PATHS.iter().filter(|(path, _)| wanted(path)) {
        match (counted(path, 20_000), counted(path, 60_000)) {
            (Some(few), Some(many)) => println!("instructions\t{path}\t{}\t{what}", (many - few) / 40_000),
            _ => return println!("SKIPPED: valgrind is not installed"),
        }
    }
    let large = messages::KINDS.map(|(kind, ..)| format!("large-{kind}"));
    for path in large.iter().filter(|path| wanted(path)) {
        if let (Some(few), Some(many)) = (counted(path, 2), counted(path, 6)) {
            println!(
                "instructions\t{path}\t{}\tan answer of 64 KiB, from its octets to the reply's",
                (many - few) / 4
            );
        }
    }
}
