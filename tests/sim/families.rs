//! Both families of a name, with measurements that change: which family is withheld, and from whom. Each
//! reply is judged by the sets in the table, by a rule of the test's own.

use super::picks::{Picks, Seeded};
use hither_rounds::mutant::Mutant;
use hither_rounds::{
    Action, ClientId, Input, Limits, Order, OrderedAddress, Question, Rounds, Routes, SenderId, Settings,
    reply,
};
use hither_table::{
    Family, FamilyOrder, FamilyPolicy, FamilyView, Geometry, Key, Memory, Monotonic, Rtt, Snapshot, Writer,
};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, Composer, Owner, QueryBits, flags, query};
use hither_wire::message::{Message, Section};
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::net::SocketAddr;
use std::time::Duration;

const TTL_S: u32 = 30;
const FILTERED: [u8; 2] = [0, 17];

struct World {
    core: Rounds,
    now: Monotonic,
    name: Name,
    margin_us: Option<u32>,
    /// The number of addresses of each family.
    counts: [u8; 2],
    clients: u64,
}

/// A reply: the number of addresses, and whether it says that the family is withheld.
#[derive(Debug)]
struct Reply {
    addresses: usize,
    is_filtered: bool,
}

fn settings(margin_us: Option<u32>) -> Settings {
    let families = FamilyPolicy { order: FamilyOrder::Measured, withhold_above_us: margin_us };
    let limits = Limits { answers: 16, ..Limits::default() };
    Settings { first: 1, mix_case: false, prefetch: false, limits, families, ..Settings::default() }
}

fn routes() -> Routes {
    Routes::from(&[SocketAddr::from(([192, 0, 2, 1], 53))][..])
}

fn reply_of(octets: &[u8]) -> Reply {
    let message = Message::read(octets).expect("a reply that can be read");
    let addresses = message.records().filter(|record| record.address().is_some()).count();
    let mut options = message.edns().into_iter().flat_map(|edns| edns.options());
    let is_filtered = options.any(|(code, data)| code == 15 && data.starts_with(&FILTERED));
    assert!(!is_filtered || addresses == 0, "addresses of a family that is withheld");
    assert!(!is_filtered || message.records().all(|record| record.rtype == Rtype::OPT), "it can be cached");
    Reply { addresses, is_filtered }
}

/// The best time of a set. `Err`: an address is not measured.
fn best(set: &FamilyView<'_>) -> Result<Option<u32>, ()> {
    let mut best = None;
    for own in set.addresses() {
        match own.rtt {
            Rtt::Unmeasured => return Err(()),
            Rtt::Unreachable => {}
            Rtt::Micros(micros) => best = Some(best.map_or(micros, |best: u32| best.min(micros))),
        }
    }
    Ok(best)
}

impl World {
    fn new(draw: &mut Seeded, mutant: Option<Mutant>) -> World {
        let geometry = Geometry { entries: 16 };
        let writer =
            Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table");
        let margin_us = [None, Some(0), Some(25_000)][draw.below(3) as usize];
        let mut random = Seeded(7);
        let random = Box::new(move || random.below(u64::MAX));
        let mut core = Rounds::new(settings(margin_us), routes(), writer, random);
        if let Some(mutant) = mutant {
            core.plant(mutant);
        }
        let counts = [1 + draw.below(2) as u8, 1 + draw.below(2) as u8];
        let name = "both.test".parse().expect("a name");
        World { core, now: Monotonic::from_ms(1_000_000), name, margin_us, counts, clients: 0 }
    }

    /// The upstream's response to a query.
    fn response(&self, octets: &[u8]) -> Vec<u8> {
        let read = Query::read(octets).expect("the core's query");
        let mut out = vec![0; 1232];
        let mut composer = Composer::new(&mut out, 1232).expect("room");
        composer.set_header(read.id(), flags::QR | flags::RD | flags::RA);
        assert!(composer.question_octets(read.question()));
        let v4 = (1..=self.counts[0]).map(|end| vec![198, 51, 100, end]);
        let v6 = (1..=self.counts[1]).map(|end| [&[0x20, 1, 13, 184][..], &[0; 11], &[end]].concat());
        let all: Vec<Vec<u8>> = if read.qtype() == Rtype::A { v4.collect() } else { v6.collect() };
        for address in all {
            assert!(composer.record(Section::Answer, Owner::At(12), read.qtype(), TTL_S, &address));
        }
        composer.opt(1232, 0, read.dnssec_ok(), &[]);
        let len = composer.finish();
        out.truncate(len);
        out
    }

    fn ask(&mut self, rtype: Rtype, dnssec_ok: bool, cd: bool) -> Reply {
        let mut octets = [0; 300];
        let bits = QueryBits { rd: true, cd, edns: Some((1232, dnssec_ok)) };
        let len = query(&mut octets, 7, &Asked { name: &self.name, rtype }, bits);
        let read = Query::read(&octets[..len]).expect("an own query");
        let mut out = vec![0; 1232];
        let len = self.core.answer_hit(self.now, &read, 1232, &mut out);
        if len > 0 {
            return reply_of(&out[..len]);
        }
        self.clients += 1;
        let (question, client) = (Question::of(&read), ClientId(self.clients));
        self.core.handle(self.now, Input::Ask { client, question: &question, recursion: true });
        loop {
            let (mut sent, mut answered) = (None, None);
            while let Some(action) = self.core.poll_action() {
                match action {
                    Action::Send { attempt, octets, .. } => sent = Some((attempt, octets)),
                    Action::Reply { answer, .. } => answered = Some(answer),
                    _ => {}
                }
            }
            if let Some(answer) = answered {
                let len = reply::compose(self.now, &read, &answer, 1232, &mut out);
                return reply_of(&out[..len]);
            }
            let (attempt, octets) = sent.expect("a client waits, and no query is out");
            self.now = self.now.plus(Duration::from_millis(5));
            let response = self.response(&octets);
            self.core.handle(self.now, Input::Message { attempt, octets: &response });
        }
    }

    fn entry(&mut self) -> Box<Snapshot> {
        let mut snapshot = Box::new(Snapshot::new());
        let found = self.core.reader().lookup(&Key::of(&self.name), &mut snapshot);
        if found.is_err() {
            *snapshot = Snapshot::new();
        }
        snapshot
    }

    /// Whether a family may be withheld now, by the sets in the table.
    fn is_worse(&mut self, family: Family) -> bool {
        let Some(margin_us) = self.margin_us else { return false };
        let (entry, now) = (self.entry(), self.now);
        let fresh = |family| entry.family(family).filter(|set| !set.expired(now) && !set.is_empty());
        let other = if family == Family::A { Family::Aaaa } else { Family::A };
        let (Some(own), Some(other)) = (fresh(family), fresh(other)) else { return false };
        let answers =
            |own: &hither_table::Address| if let Rtt::Micros(us) = own.rtt { Some(us) } else { None };
        let Some(others) = other.addresses().filter_map(|own| answers(&own)).min() else { return false };
        match best(&own) {
            Err(()) => false,
            Ok(None) => true,
            Ok(Some(best)) => best > others && best - others > margin_us,
        }
    }

    /// Asks a question, and judges the reply.
    fn judge(&mut self, rtype: Rtype, dnssec_ok: bool, cd: bool) {
        let reply = self.ask(rtype, dnssec_ok, cd);
        let family = if rtype == Rtype::A { Family::A } else { Family::Aaaa };
        let expected = !dnssec_ok && !cd && self.is_worse(family);
        assert_eq!(reply.is_filtered, expected, "{rtype} DO {dnssec_ok} CD {cd}: {reply:?}");
        let own = self.counts[usize::from(rtype == Rtype::AAAA)];
        assert_eq!(reply.addresses, if expected { 0 } else { usize::from(own) });
        if expected {
            let other = if rtype == Rtype::A { Rtype::AAAA } else { Rtype::A };
            assert!(!self.ask(other, false, false).is_filtered, "both families are withheld");
        }
    }

    /// The sorter has measured a family.
    fn measure(&mut self, draw: &mut Seeded) {
        let family = [Family::A, Family::Aaaa][draw.below(2) as usize];
        let entry = self.entry();
        let Some(set) = entry.family(family).filter(|set| !set.is_empty()) else { return };
        let measured = |own: hither_table::Address| {
            let rtt = match draw.below(6) {
                0 => Rtt::Unmeasured,
                1 | 2 => Rtt::Unreachable,
                n => Rtt::Micros(n as u32 * 12_501),
            };
            OrderedAddress::measured(own.address, rtt)
        };
        let order = Order {
            generation: self.core.reader().generation(),
            name: self.name,
            family,
            set_version: set.set_version(),
            addresses: set.addresses().map(measured).collect(),
        };
        self.core.handle(self.now, Input::Order { sender: SenderId(1), order });
        while self.core.poll_action().is_some() {}
    }
}

/// Runs one world. Panics where a reply is not the one that the table justifies.
pub fn run(seed: u64, mutant: Option<Mutant>) {
    let mut draw = Seeded(seed);
    let mut world = World::new(&mut draw, mutant);
    for _ in 0..40 {
        match draw.below(8) {
            0..=3 => {
                let rtype = [Rtype::A, Rtype::AAAA][draw.below(2) as usize];
                world.judge(rtype, draw.below(5) == 0, draw.below(5) == 0);
            }
            4 | 5 => world.measure(&mut draw),
            6 => world.now = world.now.plus(Duration::from_millis(draw.below(12_000))),
            _ => {
                world.margin_us = [None, Some(0), Some(25_000)][draw.below(3) as usize];
                let (settings, routes) = (settings(world.margin_us), routes());
                world.core.handle(world.now, Input::Reload { settings, routes });
                while world.core.poll_action().is_some() {}
            }
        }
        world.core.check_invariants();
    }
}
