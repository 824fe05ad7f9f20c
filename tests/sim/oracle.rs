//! What must hold, recomputed from the log of what was delivered; nothing here is the code under test.

mod again;
mod judge;
mod provenance;
mod room;
mod saved;

use again::{Owed, Pending};
use hither_rounds::reply::{Answer, ede};
use hither_rounds::{AttemptId, ClientId, Order, Question, Rounds, Settings, Source, UpstreamId};
use hither_table::{Counter, FamilyView, Monotonic, Negative, Rtt, State};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::message::Message;
use hither_wire::name::Name;
use judge::{Path, judge_record, judge_set, read};
use provenance::{Good, Set, in_force, is_private, judge_kept, judge_place, trusted};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What one delivered message says.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    Addresses(Vec<IpAddr>),
    Denied(Negative),
    Bare,
    Truncated,
    Error,
}

/// A round as an outsider can tell it from the queries that go out.
#[derive(Clone, Debug)]
struct Seen {
    started: Monotonic,
    /// Of its time, the host slept so much: nothing can have been done then.
    slept: Duration,
    /// Inherited when it took the place of one with waiting clients.
    deadline: Monotonic,
    /// Upstreams that need not be asked: they are down.
    excused: BTreeSet<usize>,
    asked: BTreeSet<UpstreamId>,
    open: BTreeMap<AttemptId, UpstreamId>,
    failures: usize,
    good: Vec<Good>,
    /// When each came, what it says, and when it runs out.
    denials: Vec<(Monotonic, Negative, u64)>,
    first_good: Option<Monotonic>,
    /// When the first bare CNAME runs out.
    bare: Option<u64>,
    upstreams: usize,
    /// A flush or other upstreams took its place: nothing of it may be published any more.
    void: bool,
    /// It ended for a newcomer's sake.
    gave_way: bool,
}

/// What is doubted of an attempt by UDP: a datagram came that somebody else may have sent.
#[derive(Debug, Default)]
struct Doubted {
    /// The attempt by TCP beside it.
    tcp: Option<AttemptId>,
    /// Until when that is waited for.
    until: Option<Monotonic>,
    /// That came to nothing.
    alone: bool,
    /// What counts as soon as it does.
    kept: Option<(Monotonic, (Said, u32, Path))>,
    /// That lacks nothing of what a right answer has.
    sure: bool,
    /// Something came that could be read, and that anybody may have sent.
    unusual: bool,
}

#[derive(Default)]
struct Known {
    rounds: Vec<Seen>,
    clients: BTreeMap<ClientId, Monotonic>,
    /// Who asked it last.
    source: Option<Source>,
    /// A question was asked, so what is sent next without anything open begins a round.
    fresh: bool,
    inherits: Option<Monotonic>,
    /// The latest round began in this step, in which the one before may have ended.
    began: bool,
    version: u64,
    set_version: u64,
    set: BTreeSet<IpAddr>,
    round_id: u64,
    round_of_set: usize,
    failed_until: Option<Monotonic>,
    expire_ms: u64,
    sorted: bool,
    addresses: Vec<IpAddr>,
    trusted: BTreeSet<IpAddr>,
    /// What was saved of it, and has to be in the table or was.
    saved: Option<saved::Saved>,
    /// It was doubted when it was there, or others are asked now, and must not be seen again.
    doubted: bool,
}

impl Seen {
    /// When what it has gathered runs out.
    fn until(&self, name: &Name) -> Option<u64> {
        Set::of(name, &self.good).until
    }
}

impl Known {
    /// What another upstream has confirmed is known to be so at once.
    fn judge_trust(&self, question: &Question, view: &FamilyView<'_>) {
        let latest = self.rounds.len().checked_sub(1).filter(|latest| *latest == self.round_of_set);
        let live = self.saved.is_none() && view.round() == self.round_id;
        if let Some(round) = latest.filter(|_| live).and_then(|latest| self.rounds.get(latest))
            && view.negative().is_none()
        {
            let set = Set::of(&question.name, &round.good);
            assert_eq!(trusted(view), set.trusted, "who said what is not what is published of it");
        }
    }

    /// Takes note of what is in the table.
    fn sees(&mut self, view: &FamilyView<'_>, addresses: Vec<IpAddr>) {
        self.version = view.version();
        self.set_version = view.set_version();
        self.set = addresses.iter().copied().collect();
        self.expire_ms = view.expire_ms();
        self.sorted = view.sorted();
        self.trusted = trusted(view);
        self.addresses = addresses;
    }
}

/// How a message looks to one who knows what was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Looks {
    Right,
    /// Another id.
    Forged,
    /// Another letter case, or no question.
    Unusual,
    /// Nobody can tell what it says.
    Unreadable {
        udp: bool,
        edns: bool,
    },
}

/// How something is asked.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub chased: bool,
    pub tcp: bool,
    pub mixed: bool,
}

/// How long a connection may take to confirm what came by UDP.
const CONFIRM_WITHIN: Duration = Duration::from_millis(500);
/// How long clients wait when every upstream is down.
const DOWN_DEADLINE: Duration = Duration::from_millis(1_800);

pub struct Oracle {
    settings: Settings,
    upstreams: usize,
    questions: BTreeMap<Question, Known>,
    open: BTreeMap<AttemptId, Question>,
    down: BTreeSet<usize>,
    /// Upstreams that nobody need wait for, by the core's own account; its own tests judge that.
    untrusted: BTreeSet<usize>,
    all_down: bool,
    doubted: BTreeMap<AttemptId, Doubted>,
    /// Attempts in drawn letters, and those of them that are answered by what is not so.
    mixed: BTreeSet<AttemptId>,
    lies: BTreeSet<AttemptId>,
    /// Attempts in lower case, and what they are to confirm.
    pending: BTreeMap<AttemptId, Pending>,
    /// What attempts that are over were to confirm, until it is seen whether another one goes on.
    asked_on: Vec<(Question, UpstreamId, Pending)>,
    /// A denial of drawn letters, in this step.
    just_denied: Option<(Question, UpstreamId, Pending)>,
    owed: Option<Owed>,
    /// Connections that are the second of their kind.
    second: BTreeSet<AttemptId>,
    /// Two connections ended without a word: the one that follows is without EDNS, and the last.
    ended_twice: Option<(Question, UpstreamId)>,
    /// Whom each question waited for when the network changed.
    cut_off: Vec<(Question, BTreeSet<UpstreamId>)>,
    replied: BTreeSet<ClientId>,
    asked: BTreeSet<ClientId>,
    order: Option<(Name, bool, Vec<IpAddr>)>,
    applied: Option<(Name, Vec<IpAddr>)>,
    restoring: saved::Restoring,
    room: room::Room,
}

fn later(at: Monotonic, by: Duration) -> Monotonic {
    at.plus(by)
}

impl Oracle {
    pub fn new(settings: Settings, upstreams: usize) -> Self {
        Self {
            settings,
            upstreams,
            questions: BTreeMap::new(),
            open: BTreeMap::new(),
            down: BTreeSet::new(),
            untrusted: BTreeSet::new(),
            all_down: false,
            doubted: BTreeMap::new(),
            mixed: BTreeSet::new(),
            lies: BTreeSet::new(),
            pending: BTreeMap::new(),
            asked_on: Vec::new(),
            just_denied: None,
            owed: None,
            second: BTreeSet::new(),
            ended_twice: None,
            cut_off: Vec::new(),
            replied: BTreeSet::new(),
            asked: BTreeSet::new(),
            order: None,
            applied: None,
            restoring: saved::Restoring::default(),
            room: room::Room::default(),
        }
    }

    /// Upstreams that a round that begins now need not ask.
    pub fn leaves_alone(&mut self, down: &BTreeSet<SocketAddr>) {
        self.down = (0..16).filter(|n| down.contains(&super::world::upstream(*n))).collect();
    }

    /// How the upstreams stand before a step.
    pub fn before_step(&mut self, untrusted: BTreeSet<usize>, all_down: bool) {
        (self.untrusted, self.all_down) = (untrusted, all_down);
    }

    /// What is out is cut off, and has to be sent again.
    pub fn network_changed(&mut self) {
        let waits = |known: &Known| known.rounds.last().map(|r| r.open.values().copied().collect());
        self.cut_off = self.questions.iter().filter_map(|(q, known)| Some((*q, waits(known)?))).collect();
    }

    pub fn ask(&mut self, now: Monotonic, client: ClientId, question: Question) {
        self.asked.insert(client);
        self.room.newcomer = Some((client, question));
        self.room.is_full = self.has_all_rounds();
        let deadline = later(now, self.settings.deadline);
        let known = self.questions.entry(question).or_default();
        known.clients.insert(client, deadline);
        known.source = Some(client.source());
        known.fresh = true;
        known.inherits = None;
    }

    /// A round may begin that nobody waits for.
    pub fn refresh(&mut self, question: &Question) {
        if let Some(known) = self.questions.get_mut(question) {
            known.fresh = true;
        }
    }

    pub fn gone(&mut self, client: ClientId) {
        self.replied.insert(client);
        self.questions.values_mut().for_each(|known| {
            known.clients.remove(&client);
        });
    }

    pub fn flush(&mut self, _now: Monotonic, names: Option<&[Name]>) {
        self.restoring.flush(names);
        for (question, known) in &mut self.questions {
            if names.is_none_or(|names| names.contains(&question.name)) {
                known.fresh = true;
                known.inherits = known.rounds.last().map(|round| round.deadline);
                known.failed_until = None;
                if let Some(round) = known.rounds.last_mut() {
                    round.void = true;
                }
                known.forget_set();
            }
        }
    }

    pub fn reload(&mut self, _now: Monotonic, upstreams: usize) {
        if upstreams != self.upstreams {
            let fewer = upstreams < self.upstreams;
            self.upstreams = upstreams;
            for known in self.questions.values_mut() {
                known.fresh = true;
                known.inherits = known.rounds.last().map(|round| round.deadline);
                if let Some(round) = known.rounds.last_mut() {
                    round.void = true;
                }
                // Who may have said it is not asked any more, or others may know what was denied.
                if known.version != 0 && (fewer || known.addresses.is_empty()) {
                    known.forget_seen();
                }
            }
        }
    }

    pub fn sent(
        &mut self,
        now: Monotonic,
        attempt: AttemptId,
        (question, upstream): (Question, UpstreamId),
        Sent { chased, tcp, mixed }: Sent,
    ) {
        let patience = if self.all_down { DOWN_DEADLINE } else { self.settings.deadline };
        let deadline = later(now, patience.min(self.settings.deadline));
        let upstreams = self.upstreams;
        if tcp {
            self.connects(now, attempt, (&question, upstream));
        }
        if mixed {
            self.mixed.insert(attempt);
        } else {
            self.asks_in_lower(now, attempt, (&question, upstream));
        }
        let known = self.questions.get_mut(&question).expect("nothing is sent that nobody asked");
        let idle = known.rounds.last().is_none_or(|round| round.open.is_empty());
        if known.rounds.is_empty() || (known.fresh && idle) {
            known.fresh = false;
            known.began = true;
            let excused = if self.down.len() < upstreams { self.down.clone() } else { BTreeSet::new() };
            known.rounds.push(Seen {
                started: now,
                slept: Duration::ZERO,
                deadline: known.inherits.take().unwrap_or(deadline),
                excused,
                asked: BTreeSet::new(),
                open: BTreeMap::new(),
                failures: 0,
                good: Vec::new(),
                denials: Vec::new(),
                first_good: None,
                bare: None,
                upstreams,
                void: false,
                gave_way: false,
            });
        }
        let round = known.rounds.last_mut().expect("just made sure");
        assert!(now < round.deadline, "an attempt is sent when its round is over");
        round.asked.insert(upstream);
        if chased {
            round.excused.extend(&self.down);
        }
        round.open.insert(attempt, upstream);
        self.open.insert(attempt, question);
    }

    /// Whether an attempt to this upstream is doubted, so that one by TCP is to confirm it.
    pub fn sends_to_confirm(&self, question: &Question, upstream: UpstreamId) -> bool {
        let Some(round) = self.questions.get(question).and_then(|known| known.rounds.last()) else {
            return false;
        };
        let owed = self.owed.is_some_and(|owed| {
            owed.question == *question && owed.upstream == upstream && owed.doubted.is_some()
        });
        let doubted = |(id, doubted): (&AttemptId, &Doubted)| {
            doubted.tcp.is_none() && round.open.get(id) == Some(&upstream)
        };
        owed || self.doubted.iter().any(doubted)
    }

    pub fn resent(&mut self, attempt: AttemptId) {
        assert!(self.open.contains_key(&attempt), "an attempt that is over is repeated");
    }

    pub fn closed(&mut self, now: Monotonic, attempt: AttemptId) {
        let late = self.round_of(attempt).is_none_or(|round| now >= round.deadline);
        let question = self.open.remove(&attempt).expect("an attempt is closed twice, or was never open");
        let believed =
            self.doubted.remove(&attempt).is_some_and(|doubted| doubted.unusual && doubted.tcp.is_none());
        assert!(late || !believed, "{attempt:?} is over by what may be forged, and TCP was not asked");
        let pending = self.pending.remove(&attempt);
        let Some(known) = self.questions.get_mut(&question) else { return };
        if let Some(round) = known.rounds.last_mut() {
            let upstream = round.open.remove(&attempt).filter(|_| !known.fresh && !round.void);
            round.gave_way |= self.room.is_full && round.open.is_empty();
            self.asked_on.extend(upstream.zip(pending).map(|(from, p)| (question, from, p)));
        }
    }

    /// The host slept from `before` on: who waits has to wait until it is awake.
    pub fn slept(&mut self, now: Monotonic, before: Monotonic) {
        for known in self.questions.values_mut() {
            known.clients.values_mut().for_each(|deadline| *deadline = (*deadline).max(Monotonic(now.0 + 1)));
            if let Some(round) = known.rounds.last_mut() {
                round.slept += now.since(before);
            }
        }
    }

    pub fn failed(&mut self, now: Monotonic, attempt: AttemptId, closed: bool) {
        if !self.open.contains_key(&attempt) {
            return;
        }
        if closed && !self.second.contains(&attempt) {
            return self.owes(now, attempt, true);
        }
        if let Some(id) = self.confirms(attempt) {
            return self.unconfirmed(now, id);
        }
        let question = self.open.get(&attempt).copied();
        if let Some(round) = self.round_of(attempt) {
            let upstream = round.open.get(&attempt).copied();
            round.failures += 1;
            self.ended_twice = question.zip(upstream).filter(|_| closed);
        }
    }

    /// Timers are passed: connections that were to confirm something have had their time.
    pub fn time(&mut self, now: Monotonic) {
        let over = |doubted: &Doubted| !doubted.alone && doubted.until.is_some_and(|until| now >= until);
        let over: Vec<_> = self.doubted.iter().filter(|(_, d)| over(d)).map(|(id, _)| *id).collect();
        over.iter().for_each(|id| self.unconfirmed(now, *id));
        // Who asks on at this very instant, without EDNS, takes the denial along.
        let due = |id: &AttemptId, p: &Pending| now >= later(p.asked, CONFIRM_WITHIN) && !over.contains(id);
        let due: Vec<_> = self.pending.iter().filter(|(id, p)| due(id, p)).map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.stands(id));
    }

    /// What came by UDP counts after all.
    fn unconfirmed(&mut self, now: Monotonic, id: AttemptId) {
        let Some(doubted) = self.doubted.get_mut(&id) else { return };
        doubted.alone = true;
        // A host that slept has nothing to go by but what comes now.
        if let Some((came, kept)) =
            doubted.kept.take().filter(|(came, _)| now.since(*came) < 2 * CONFIRM_WITHIN)
        {
            self.counts((now, came), id, kept);
        }
    }

    /// A datagram that somebody else may have sent, unless it comes in the last instant of a round: nobody hears that.
    fn doubt(&mut self, attempt: AttemptId) {
        if self.open.contains_key(&attempt) {
            self.doubted.entry(attempt).or_default();
        }
    }

    fn round_of(&mut self, attempt: AttemptId) -> Option<&mut Seen> {
        let question = self.open.get(&attempt)?;
        self.questions.get_mut(question)?.rounds.last_mut()
    }

    /// Takes note of what a message says, if it counts: its attempt is open, and it answers what that asked.
    pub fn message(
        &mut self,
        now: Monotonic,
        attempt: AttemptId,
        known: Option<(Question, UpstreamId)>,
        octets: &[u8],
        looks: Looks,
    ) {
        let Some((question, _)) = known else { panic!("a message for an attempt that never was") };
        match looks {
            Looks::Forged => return self.doubt(attempt),
            Looks::Unreadable { udp, edns } => return self.unreadable(now, attempt, (udp, edns)),
            Looks::Right | Looks::Unusual => {}
        }
        let Some(heard) = read(octets, &question) else { return };
        if looks == Looks::Unusual {
            self.doubt(attempt);
            self.doubted.entry(attempt).and_modify(|doubted| doubted.unusual = true);
        }
        match self.doubted.get_mut(&attempt) {
            Some(doubted) if !doubted.alone => {
                let sure = looks == Looks::Right;
                if doubted.kept.is_none() || (sure && !doubted.sure) {
                    (doubted.kept, doubted.sure) = (Some((now, heard)), sure);
                }
            }
            _ => match self.confirms(attempt).filter(|id| heard.0 == Said::Error && self.has_answered(*id)) {
                Some(doubted) => self.unconfirmed(now, doubted),
                None => self.counts((now, now), attempt, heard),
            },
        }
    }

    /// Whether what waits for a connection is an answer: an error over that is then no better than silence.
    fn has_answered(&self, id: AttemptId) -> bool {
        let kept = self.doubted.get(&id).and_then(|doubted| doubted.kept.as_ref());
        kept.is_some_and(|(_, (said, ..))| !matches!(said, Said::Error | Said::Truncated))
    }

    /// What was heard counts now, as of when it came.
    fn counts(
        &mut self,
        (now, came): (Monotonic, Monotonic),
        attempt: AttemptId,
        (said, ttl_s, path): (Said, u32, Path),
    ) {
        let settings = self.settings.clone();
        let (mixed, lies) = (self.mixed.contains(&attempt), self.lies.contains(&attempt));
        let asked = self.open.get(&attempt).copied();
        if let Some(pending) = self.confirms(attempt).and_then(|doubted| self.pending.remove(&doubted)) {
            self.pending.insert(attempt, pending);
        }
        if !matches!(said, Said::Error | Said::Truncated) {
            self.pending.remove(&attempt);
        }
        let Some(round) = self.round_of(attempt) else { return };
        // After a sleep the round may be over although nobody has looked yet; what was kept does not outlast the moment.
        let past = |at: Monotonic| now > at || (came < now && now == at);
        let asked_for = asked.map_or(Name::ROOT, |question| question.name);
        if past(round.deadline) || round.until(&asked_for).is_some_and(|at| past(Monotonic::from_ms(at))) {
            return;
        }
        match said {
            Said::Addresses(mut addresses) => {
                addresses.retain(|address| !is_private(address));
                let ttl = Duration::from_secs(u64::from(ttl_s)).clamp(settings.min_ttl, settings.max_ttl);
                if addresses.is_empty() {
                    let ttl = ttl.min(Duration::from_secs(60)).min(settings.max_negative_ttl);
                    return round.denials.push((now, Negative::Withheld, later(came, ttl).as_ms()));
                }
                let bound = round.bare.filter(|_| path.chased).unwrap_or(u64::MAX);
                let until = later(came, ttl).as_ms().min(bound);
                let from = *round.open.get(&attempt).expect("it is open");
                round.good.push(Good { from, at: now, addresses, until, links: path.octets });
                round.first_good.get_or_insert(now);
            }
            Said::Denied(kind) => {
                let ttl = Duration::from_secs(u64::from(ttl_s)).min(settings.max_negative_ttl);
                let said = (!lies).then_some((kind, later(came, ttl).as_ms()));
                round.denials.extend(said.map(|(kind, until)| (now, kind, until)));
                let upstream = round.open.get(&attempt).copied();
                if let (true, Some(asked), Some(upstream)) = (mixed, asked, upstream) {
                    self.just_denied = Some((asked, upstream, Pending { said, came: now, asked: now }));
                }
            }
            Said::Bare => {
                round.bare.get_or_insert(now.as_ms() + u64::from(ttl_s) * 1000);
            }
            Said::Error => round.failures += 1,
            Said::Truncated => {}
        }
    }

    pub fn order(&mut self, order: &Order, current: Option<&FamilyView<'_>>) {
        let mut sent: Vec<IpAddr> = order.addresses.iter().map(|(address, _)| *address).collect();
        let ordered = sent.clone();
        sent.sort();
        let matches = current.is_some_and(|view| {
            let mut own: Vec<IpAddr> = view.addresses().map(|a| a.address).collect();
            own.sort();
            view.set_version() == order.set_version && own == sent
        });
        self.order = Some((order.name, matches, ordered));
    }

    pub fn order_result(&mut self, applied: bool) {
        let (name, matches, ordered) = self.order.take().expect("a result without an order");
        assert_eq!(applied, matches, "an order is applied exactly when it is one of the set that is there");
        if applied {
            self.applied = Some((name, ordered));
        }
    }

    pub fn reply(&mut self, now: Monotonic, client: ClientId, answer: &Answer) {
        assert!(self.asked.contains(&client), "a reply to nobody");
        assert!(self.replied.insert(client), "a second reply to {client:?}");
        self.nobody_asks_on();
        if matches!(answer, Answer::Failure { ede: Some(ede::OTHER), .. }) {
            return self.gives_way(now, client);
        }
        let found = self.questions.iter().find(|(_, known)| known.clients.contains_key(&client));
        let question = *found.expect("a reply to a client that does not wait").0;
        let pressed = self.is_pressed(client, question);
        let known = self.questions.get_mut(&question).expect("just found");
        let untrusted = self.untrusted.clone();
        let deadline = known.clients.remove(&client).expect("just found");
        assert!(now <= deadline, "a reply after the client's patience");
        if let Some(round) = known.rounds.last_mut().filter(|_| pressed) {
            round.gave_way = true;
        }
        let round = known.rounds.last();
        match answer {
            Answer::Record { record, family, stale_ttl_s } => {
                let view = record.family(*family).expect("the family that was asked for");
                assert_eq!(record.name(), question.name.as_wire(), "a reply of another name");
                judge_record(now, &self.settings, (round, &untrusted), known, (&view, stale_ttl_s.is_some()));
                let hopeless = self.all_down && round.is_some_and(|r| now >= later(r.started, DOWN_DEADLINE));
                let over = hopeless || round.is_some_and(|r| now >= r.deadline || r.open.is_empty());
                if stale_ttl_s.is_some() && over && known.failed_until.is_none_or(|until| now >= until) {
                    known.failed_until =
                        Some(later(now, self.settings.failure_ttl.max(self.settings.stale_ttl)));
                }
            }
            Answer::Stored { .. } | Answer::Local(_) => panic!("addresses are answered from the table"),
            Answer::Failure { rcode, .. } => {
                assert_eq!(*rcode, Rcode::SERVFAIL);
                let remembered = known.failed_until.is_some_and(|until| now < until);
                let round = round.expect("there was a round");
                let all_asked = (0..round.upstreams)
                    .all(|n| round.excused.contains(&n) || round.asked.contains(&UpstreamId(n as u16)));
                let exhausted =
                    round.open.is_empty() && all_asked && round.good.is_empty() && round.denials.is_empty();
                let hopeless = self.all_down && now >= later(round.started, DOWN_DEADLINE);
                assert!(
                    remembered || hopeless || now >= round.deadline || exhausted,
                    "SERVFAIL while an upstream may still answer"
                );
                assert!(remembered || round.good.is_empty(), "SERVFAIL although there was a good answer");
                if !remembered {
                    known.failed_until = Some(later(now, self.settings.failure_ttl));
                }
            }
        }
    }

    /// What a reader sees in the table after a step.
    pub fn see(&mut self, now: Monotonic, question: &Question, view: Option<&FamilyView<'_>>) {
        self.nobody_asks_on();
        let Some(view) = view else { return self.misses(question) };
        let applied = self.applied.take_if(|(name, _)| *name == question.name);
        let known = self.questions.get_mut(question).expect("nothing is published that nobody asked");
        let addresses: Vec<IpAddr> = view.addresses().map(|a| a.address).collect();
        let set: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        assert_eq!(set.len(), addresses.len(), "an address twice in a set");
        let saved_anew = known.saved.as_ref().is_some_and(|saved| saved.is_awaited());
        let void = known.doubted && !saved_anew && view.round() == known.round_id;
        assert!(!void, "what is doubtful, or was said by others, is still there");
        judge_place(view);
        if view.version() == known.version {
            if let Some((_, ordered)) = applied {
                assert!(
                    in_force(&ordered, &known.trusted) == addresses,
                    "an order was applied and is not there"
                );
            }
            known.judge_trust(question, view);
            let same = addresses == known.addresses
                && view.expire_ms() == known.expire_ms
                && view.sorted() == known.sorted;
            assert!(same, "one version, two contents");
            return;
        }
        assert!(view.version() > known.version, "the version went back");
        if known.sees_saved(view, &addresses, applied.as_ref().map(|(_, ordered)| ordered)) {
            return known.sees(view, addresses);
        }
        // No set is neither old nor new: a denial in between begins a new one.
        if known.set_version != 0 {
            assert_eq!(
                view.set_version() == known.set_version,
                set == known.set,
                "the set version changes exactly with the set"
            );
        }
        let latest = known.rounds.len() - 1;
        if view.round() != known.round_id {
            assert!(view.round() > known.round_id, "an older round published after a newer one");
            known.round_id = view.round();
            known.doubted = false;
            known.round_of_set = latest;
        }
        if applied.is_none() {
            let ended = known.began && known.round_of_set + 1 == latest;
            assert!(known.round_of_set == latest || ended, "a round published after a newer one had begun");
        }
        let round = &known.rounds[known.round_of_set];
        assert!(applied.is_some() || !round.void, "a round goes on after a flush or other upstreams");
        judge_set(&self.settings, (&question.name, round), (view, &set), now);
        match applied {
            Some((_, ordered)) => {
                let ordered = in_force(&ordered, &trusted(view));
                assert!(view.sorted() && addresses == ordered, "an order was applied and is not there")
            }
            None if view.sorted() => {
                assert!(known.sorted && set == known.set, "an order that nobody measured for this set");
                judge_kept(known, view);
            }
            None => {}
        }
        known.sees(view, addresses);
    }

    /// What must be so after every step; `quiet`: nothing more is due in this instant.
    pub fn after_step(&mut self, now: Monotonic, quiet: bool) {
        (self.just_denied, self.ended_twice) = (None, None);
        (self.room.newcomer, self.room.is_full, self.room.gone) = (None, false, None);
        self.nobody_asks_on();
        assert!(self.owed.take().is_none(), "a connection ended without a word, and there is no other");
        for (attempt, doubted) in &self.doubted {
            // What comes in the last instant of a round needs no second opinion: nobody hears it.
            let question = self.open.get(attempt).and_then(|question| self.questions.get(question));
            let late =
                question.and_then(|known| known.rounds.last()).is_some_and(|round| now >= round.deadline);
            assert!(late || doubted.tcp.is_some(), "{attempt:?} may be forged, and TCP is not asked");
        }
        for (question, waited) in std::mem::take(&mut self.cut_off) {
            let round = self.questions[&question].rounds.last().expect("there was one");
            let open: BTreeSet<UpstreamId> = round.open.values().copied().collect();
            // In the instant in which its set or its time runs out a round may end all the same.
            let until = round.until(&question.name);
            let over = now >= round.deadline || until.is_some_and(|at| now.as_ms() >= at);
            assert!(
                over || waited.is_subset(&open),
                "what a change of the network cut off is not asked again"
            );
        }
        for known in self.questions.values_mut() {
            // What begins a round begins it at once.
            known.fresh = false;
            known.inherits = None;
            known.began = false;
            if known.clients.is_empty() {
                continue;
            }
            let Some(round) = known.rounds.last() else { continue };
            assert!(round.good.is_empty(), "a client waits although a good answer has come");
            if !quiet {
                continue;
            }
            let patience = known.clients.values().min().expect("not empty");
            assert!(now < *patience, "a client waits longer than its patience");
            if let Some((at, ..)) = round.denials.first() {
                assert!(
                    now < later(*at, self.settings.negative_grace),
                    "a denial is held longer than its grace"
                );
            }
            if round.bare.is_some() {
                continue;
            }
            // Each failure starts the next upstream at once, and after the fallback all are asked.
            let all = round.upstreams - round.excused.iter().filter(|n| **n < round.upstreams).count();
            let mut due = self.settings.first + round.failures;
            let since = now.since(round.started).saturating_sub(round.slept);
            if since >= self.settings.fallback {
                let waves =
                    1 + (since - self.settings.fallback).as_millis() / self.settings.stagger.as_millis();
                due += self.settings.batch * waves as usize;
            }
            if round.denials.is_empty() {
                assert!(
                    round.asked.len() >= due.min(all),
                    "{} of {all} upstreams are asked, {due} are due",
                    round.asked.len()
                );
            }
        }
    }

    /// When nothing is left to happen.
    pub fn at_rest(&mut self, _now: Monotonic, core: &mut Rounds) {
        let waiting: Vec<_> = self.asked.difference(&self.replied).collect();
        assert!(waiting.is_empty(), "never answered: {waiting:?}");
        assert!(self.open.is_empty(), "sockets are left open: {:?}", self.open);
        assert_eq!(core.poll_timeout(), None, "a timer is left");
        assert_eq!(core.counters().get(Counter::RoundsLive), 0, "a round is left");
        assert_eq!(core.counters().get(Counter::AttemptsOutstanding), 0, "an attempt is left");
    }
}
