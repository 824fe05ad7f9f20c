//! Chains of CNAMEs: complete and cut, doubled, out of order, from DNAME records, and with unrelated
//! records. Each question is asked twice, and the replies are compared with those of a reader of the
//! same messages (`chains/reader.rs`).

mod reader;
mod zone;

use super::picks::{Picks, Seeded};
use hither_rounds::mutant::Mutant;
use hither_rounds::{Action, Answer, ClientId, Input, Limits, Question, Rounds, Routes, Settings, reply};
use hither_table::{Geometry, Memory, Monotonic, Writer};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Asked, QueryBits, query};
use hither_wire::message::{Message, Section};
use hither_wire::name::Name;
use hither_wire::query::Query;
use reader::{Bounds, Expected, expected};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use zone::{Line, Zone};

/// The time that a response takes.
const DELAY: Duration = Duration::from_millis(5);
/// The time from the first reply to the second query.
const AGAIN: Duration = Duration::from_millis(1_500);

/// Questions: QTYPE, DO and CD.
const ASKED: [(Rtype, bool, bool); 8] = [
    (Rtype::A, false, false),
    (Rtype::AAAA, false, false),
    (Rtype::A, true, false),
    (Rtype::A, false, true),
    (Rtype::TXT, false, false),
    (Rtype::MX, true, true),
    (Rtype::HTTPS, false, false),
    (Rtype::CNAME, false, false),
];

/// A reply to the client, by sections.
#[derive(Debug)]
struct Reply {
    rcode: Rcode,
    answers: Vec<Line>,
    authority: Vec<Line>,
}

fn reply_of(octets: &[u8]) -> Reply {
    let message = Message::read(octets).expect("a reply that can be read");
    let oracle = hickory_proto::op::Message::from_vec(octets);
    assert!(oracle.is_ok(), "hickory does not read it: {oracle:?}");
    let of =
        |section| message.records().filter(move |r| r.section == section).map(|r| Line::of(&r)).collect();
    Reply { rcode: message.header().rcode(), answers: of(Section::Answer), authority: of(Section::Authority) }
}

struct World {
    core: Rounds,
    now: Monotonic,
    bounds: Bounds,
    zone: Zone,
    query: Vec<u8>,
    question: Question,
    sent: usize,
    clients: u64,
}

impl World {
    fn new(draw: &mut Seeded, mutant: Option<Mutant>) -> World {
        let (rtype, dnssec_ok, checking_disabled) = ASKED[draw.below(ASKED.len() as u64) as usize];
        let seconds = |s| Duration::from_secs(s);
        let bounds = [(0, 86_400, 3_600), (60, 86_400, 3_600), (0, 20, 10), (30, 90, 7), (0, 10, 3_600)];
        let (least, most, negative) = bounds[draw.below(5) as usize];
        let settings = Settings {
            limits: Limits { answers: 16, ..Limits::default() },
            min_ttl: seconds(least),
            max_ttl: seconds(most),
            max_negative_ttl: seconds(negative),
            prefetch: false,
            mix_case: false,
            ..Settings::default()
        };
        let geometry = Geometry { entries: 16 };
        let writer =
            Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table");
        let routes = Routes::from(&[SocketAddr::from(([192, 0, 2, 1], 53))][..]);
        let mut random = Seeded(7);
        let bounds = Bounds::of(&settings);
        let mut core = Rounds::new(settings, routes, writer, Box::new(move || random.below(u64::MAX)));
        if let Some(mutant) = mutant {
            core.plant(mutant);
        }
        let zone = Zone::draw(draw, rtype, dnssec_ok);
        let question = Question { name: zone.names[0], rtype, dnssec_ok, checking_disabled };
        let mut octets = [0; 300];
        let bits = QueryBits { rd: true, cd: checking_disabled, edns: Some((4096, dnssec_ok)) };
        let len = query(&mut octets, 7, &Asked { name: &question.name, rtype }, bits);
        let query = octets[..len].to_vec();
        World { core, now: Monotonic::from_ms(1_000_000), bounds, zone, query, question, sent: 0, clients: 0 }
    }

    /// Asks the question. Returns the reply, `None` for a failure, and the number of queries to upstreams,
    /// which is 0 for a hit.
    fn ask(&mut self) -> (Option<Reply>, usize) {
        let (query, mut out) = (self.query.clone(), vec![0; 65_535]);
        let read = Query::read(&query).expect("an own query");
        let len = self.core.answer_hit(self.now, &read, 65_535, &mut out);
        if len > 0 {
            return (Some(reply_of(&out[..len])), 0);
        }
        self.clients += 1;
        let (client, before) = (ClientId(self.clients), self.sent);
        self.core.handle(self.now, Input::Ask { client, question: &self.question, recursion: true });
        let answer = self.run();
        let len = reply::compose(self.now, &read, &answer, 65_535, &mut out);
        let failed = matches!(answer, Answer::Empty { .. });
        ((!failed).then(|| reply_of(&out[..len])), self.sent - before)
    }

    /// Lets the upstream respond until the client has its reply.
    fn run(&mut self) -> Answer {
        let mut queries = VecDeque::new();
        for _ in 0..100 {
            self.core.check_invariants();
            let mut reply = None;
            while let Some(action) = self.core.poll_action() {
                match action {
                    Action::Send { attempt, octets, .. } => queries.push_back((attempt, octets)),
                    Action::Reply { answer, .. } => reply = Some(answer),
                    _ => {}
                }
            }
            if let Some(answer) = reply {
                return answer;
            }
            let (attempt, octets) = queries.pop_front().expect("a client waits, and no query is out");
            self.sent += 1;
            self.now = self.now.plus(DELAY);
            let message = self.zone.message(&octets);
            self.core.handle(self.now, Input::Message { attempt, octets: &message });
        }
        panic!("a hundred messages, and no reply");
    }
}

/// Runs one world: judges the first reply, and the second, which may come from the cache.
pub fn run(seed: u64, mutant: Option<Mutant>, trace: bool) {
    let mut draw = Seeded(seed);
    let mut world = World::new(&mut draw, mutant);
    let wanted = expected(&world.zone, &world.question, world.bounds);
    if trace {
        println!("{:?}\n{}\n{wanted:#?}", world.question, world.zone);
    }
    let (first, sent) = world.ask();
    let Some((wanted, legs)) = wanted else {
        assert!(first.is_none(), "a chain that leads nowhere, and {first:?}");
        return;
    };
    let first = first.unwrap_or_else(|| panic!("a failure instead of {wanted:?}"));
    assert_eq!(sent, legs, "messages for {wanted:?}");

    wanted.judge(&first, &world.question);
    let least = wanted.least_s();
    world.now = world.now.plus(AGAIN);
    if least >= 2 {
        let (again, sent) = world.ask();
        assert_eq!(sent, 0, "asked again although it has {least} s left");
        compare(&first, &again.expect("the cache has it"));
        world.now = world.now.plus(Duration::from_secs(u64::from(least)));
    }
    let (_, sent) = world.ask();
    assert!(sent > 0, "replied although its {least} s are over");
}

/// Judges that the second reply is the first with lower TTLs.
fn compare(first: &Reply, again: &Reply) {
    assert_eq!(first.rcode, again.rcode);
    let aged = |line: &Line| [1, 2].map(|s| Line { ttl: line.ttl.saturating_sub(s), ..line.clone() });
    for (before, after) in [(&first.answers, &again.answers), (&first.authority, &again.authority)] {
        assert_eq!(before.len(), after.len(), "{first:?} {again:?}");
        for (before, after) in before.iter().zip(after) {
            assert!(aged(before).contains(after) && after.ttl > 0, "{before:?} has become {after:?}");
        }
    }
}

impl Expected {
    fn judge(&self, reply: &Reply, question: &Question) {
        assert_eq!(reply.rcode, self.rcode, "{self:?} {reply:?}");
        let is_signature = |line: &&Line| line.rtype == Rtype::RRSIG;
        let (signatures, rest): (Vec<&Line>, Vec<&Line>) = reply.answers.iter().partition(is_signature);
        let (above, rest): (Vec<&Line>, Vec<&Line>) = rest.into_iter().partition(|l| l.rtype == Rtype::DNAME);
        let (links, data) = rest.split_at(self.links.len().min(rest.len()));
        for (link, given) in self.links.iter().zip(links) {
            assert!(link.line.is(given), "{:?} became {given:?}", link.line);
            if !link.stated && question.family().is_none() {
                assert!(above.iter().any(|l| link.line.owner.is_below(&l.owner)), "no DNAME for {given:?}");
            }
        }
        assert_eq!(links.len(), self.links.len(), "{self:?} {reply:?}");
        assert!(data.iter().all(|given| self.data.iter().any(|line| line.is(given))), "{self:?} {reply:?}");
        assert!(self.data.iter().all(|line| data.iter().any(|given| line.is(given))), "{self:?} {reply:?}");
        assert!(question.dnssec_ok || signatures.is_empty(), "signatures although DO was not set: {reply:?}");
        let stated = self.links.iter().filter(|link| link.stated).map(|link| &link.line);
        for line in stated.chain(&self.data).filter(|_| question.dnssec_ok) {
            let signs = |s: &&Line| s.owner.eq_ignore_case(&line.owner) && s.covered() == line.rtype;
            let signature =
                signatures.iter().find(|s| signs(s)).unwrap_or_else(|| panic!("{line:?} unsigned"));
            assert_eq!(signature.ttl, line.ttl, "a signature with a TTL of its own");
        }
        for proof in &self.proofs {
            assert!(
                reply.authority.iter().any(|line| line.is(proof)),
                "{proof:?} is missing, or has another TTL: {reply:?}"
            );
            let signs = |s: &&Line| s.owner.eq_ignore_case(&proof.owner) && s.is_signature_of(proof.rtype);
            assert!(
                reply.authority.iter().any(|s| signs(&s) && s.ttl == proof.ttl),
                "{proof:?} is not signed"
            );
        }
        let soa = reply.authority.iter().find(|line| line.rtype == Rtype::SOA);
        assert_eq!(soa.map(|line| line.ttl), self.denied_s, "{self:?} {reply:?}");
        // The reply has no record that does not belong to the answer.
        let denies = |line: &Line| {
            line.rtype == Rtype::SOA
                || (line.is_signature_of(Rtype::SOA) && question.dnssec_ok && self.denies)
        };
        let proves = |line: &Line| {
            let kind = line.rtype == Rtype::NSEC || line.is_signature_of(Rtype::NSEC);
            kind && question.dnssec_ok && !line.chaos
        };
        assert!(
            reply.authority.iter().all(|line| denies(line) || proves(line)),
            "a record that does not belong to the answer: {reply:?}"
        );
        let names: Vec<&Name> = self
            .links
            .iter()
            .map(|link| &link.line.owner)
            .chain(self.data.iter().map(|line| &line.owner))
            .collect();
        let own = |line: &Line| {
            let above = line.rtype == Rtype::DNAME || line.is_signature_of(Rtype::DNAME);
            names.iter().any(|name| name.eq_ignore_case(&line.owner) || (above && name.is_below(&line.owner)))
        };
        assert!(reply.answers.iter().all(own), "a record that does not belong to the answer: {reply:?}");
    }
}
