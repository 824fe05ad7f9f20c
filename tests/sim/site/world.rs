//! Two cores, their upstream, and what happens to them.

use super::super::picks::{Picks, Seeded};
use super::engine::{Engine, HOSTS};
use super::lies::spoil;
use super::oracle::{Oracle, number_of};
use super::truth::{Truth, generation_of, name, response};
use hither_rounds::mutant::Mutant;
use hither_rounds::{
    Action, AttemptId, ClientId, Input, Limits, Offer, Question, Rounds, Routes, Settings, Site, SiteSettings,
};
use hither_table::{Counter, Family, FamilyDraft, Geometry, Key, Memory, Monotonic, Snapshot, State, Writer};
use hither_wire::codes::Rtype;
use hither_wire::query::Query;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const START: Monotonic = Monotonic::from_ms(1_000_000);
const DEADLINE: Duration = Duration::from_secs(2);
const WAIT: Duration = Duration::from_millis(2);

/// What a world is made of.
pub struct Plan {
    pub names: usize,
    /// The times that a message may take, in milliseconds.
    pub delays_ms: &'static [u64],
    /// Whether queries, responses and answers may be lost.
    pub may_lose: bool,
    /// Whether the companions lie.
    pub lies: bool,
    pub mutant: Option<Mutant>,
    pub trace: bool,
}

/// What happens, mostly to a host and a name.
#[derive(Clone, Debug)]
pub enum Event {
    Ask(usize, usize),
    Refresh(usize, usize),
    /// The zone of a name has another generation.
    Change(usize),
    Flush(usize, Option<usize>),
    FlushSite(usize),
    Network(usize),
    Ready(usize, bool),
    /// The setting is switched.
    Share(usize, bool),
    /// The first name gets upstreams of its own, or loses them.
    Route(usize, bool),
    Restart(usize),
    /// The companion answers no questions for a while.
    Silent(usize, bool),
    /// Old entries come once more.
    Replay(usize),
    Split,
    Heal,
    /// A query reaches the upstream of a host.
    Query(usize, AttemptId, Rc<[u8]>),
    Message(usize, AttemptId, Vec<u8>),
    Offer(usize, usize),
    Answer(usize, u64, Option<usize>),
}

/// A host: its core, and what it promises.
struct Host {
    core: Rounds,
    oracle: Oracle,
    settings: Settings,
    /// When each round began.
    begun: BTreeMap<u64, Monotonic>,
    /// Rounds whose sets were written.
    written: BTreeSet<u64>,
    /// The name that each client has asked for.
    asked: BTreeMap<u64, usize>,
    /// The attempts that are outstanding.
    open: BTreeSet<AttemptId>,
    is_silent: bool,
    has_route: bool,
}

fn question(n: usize) -> Question {
    Question { name: name(n), rtype: Rtype::A, dnssec_ok: false, checking_disabled: false }
}

fn settings(asks: bool) -> Settings {
    let site = SiteSettings { is_on: true, asks, wait: WAIT, ..SiteSettings::default() };
    let limits = Limits { answers: 16, ..Limits::default() };
    Settings { site, limits, first: 1, mix_case: false, deadline: DEADLINE, ..Settings::default() }
}

fn routes(has_own: bool) -> Routes {
    let usual = Routes::from(&[SocketAddr::from(([192, 0, 2, 1], 53))][..]);
    let names = if has_own { [(name(0), usual.usual.clone())].into() } else { BTreeMap::new() };
    Routes { domains: names, ..usual }
}

fn core(settings: &Settings, writer: Writer, mutant: Option<Mutant>) -> Rounds {
    let mut random = Seeded(7);
    let random = Box::new(move || random.below(u64::MAX));
    let mut core = Rounds::new(settings.clone(), routes(false), writer, random);
    if let Some(mutant) = mutant {
        core.plant(mutant);
    }
    core
}

fn table() -> Writer {
    let geometry = Geometry { entries: 16 };
    Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table")
}

pub struct World<'p> {
    picks: &'p mut dyn Picks,
    plan: &'p Plan,
    hosts: Vec<Host>,
    engine: Engine,
    truth: Truth,
    now: Monotonic,
    events: BTreeMap<(Monotonic, u64), Event>,
    /// The number of the latest event, and of the latest client.
    numbers: [u64; 2],
    snapshot: Box<Snapshot>,
}

impl<'p> World<'p> {
    pub fn new(picks: &'p mut dyn Picks, plan: &'p Plan) -> World<'p> {
        let host = |n: usize| {
            // In a small world only the second host asks the site.
            let settings = settings(plan.names > 1 || n == 1);
            Host {
                core: core(&settings, table(), plan.mutant),
                oracle: Oracle::new(plan.names, WAIT, plan.lies),
                settings,
                begun: BTreeMap::new(),
                written: BTreeSet::new(),
                asked: BTreeMap::new(),
                open: BTreeSet::new(),
                is_silent: false,
                has_route: false,
            }
        };
        let mut world = World {
            hosts: (0..HOSTS.len()).map(host).collect(),
            picks,
            plan,
            engine: Engine::new(plan.names),
            truth: Truth::new(plan.names),
            now: START,
            events: BTreeMap::new(),
            numbers: [0; 2],
            snapshot: Box::new(Snapshot::new()),
        };
        (0..HOSTS.len()).for_each(|host| world.tell(host, Input::Site(Site::Ready(true))));
        world
    }

    pub fn pick(&mut self, n: u64) -> u64 {
        self.picks.below(n)
    }

    pub fn at(&mut self, ms: u64, event: Event) {
        self.after(START.plus(Duration::from_millis(ms)), event);
    }

    fn after(&mut self, at: Monotonic, event: Event) {
        self.numbers[0] += 1;
        self.events.insert((at, self.numbers[0]), event);
    }

    /// A time from now on, after one of the delays.
    fn later(&mut self) -> Monotonic {
        let delay = self.picks.below(self.plan.delays_ms.len() as u64) as usize;
        self.now.plus(Duration::from_millis(self.plan.delays_ms[delay]))
    }

    fn is_lost(&mut self) -> bool {
        self.plan.may_lose && self.picks.below(8) == 0
    }

    pub fn run(&mut self) {
        for _ in 0..100_000 {
            let timers = self.hosts.iter().enumerate().filter_map(|(n, h)| Some((h.core.poll_timeout()?, n)));
            let timer = timers.min();
            match (self.events.first_key_value().map(|(key, _)| *key), timer) {
                (Some((at, number)), timer) if timer.is_none_or(|(due, _)| at <= due) => {
                    self.now = at;
                    let event = self.events.remove(&(at, number)).expect("the first event");
                    self.note(&event);
                    self.deliver(event);
                }
                (_, Some((due, host))) => {
                    self.now = self.now.max(due);
                    self.hosts[host].core.handle_timeout(self.now);
                    self.collect(host);
                }
                (_, None) => {
                    return self.hosts.iter().for_each(|host| host.oracle.end());
                }
            }
        }
        panic!("the world does not end");
    }

    /// A counter of both hosts.
    pub fn count(&mut self, counter: Counter) -> u64 {
        self.hosts.iter_mut().map(|host| host.core.counters().get(counter)).sum()
    }

    fn note(&self, what: &dyn std::fmt::Debug) {
        if self.plan.trace {
            println!("{:>9.3} {what:?}", self.now.since(START).as_secs_f64());
        }
    }

    fn deliver(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Ask(host, n) => self.ask(host, n),
            Event::Refresh(host, n) => self.tell(host, Input::Refresh { question: question(n) }),
            Event::Change(n) => self.truth.change(n),
            Event::Flush(host, n) => {
                self.hosts[host].oracle.flush(n, &self.truth, now);
                if n.is_none() {
                    self.hosts[host].oracle.ends_wait(None);
                }
                n.into_iter().for_each(|n| self.hosts[host].oracle.ends_wait(Some(n)));
                self.tell(host, Input::Flush { names: n.map(|n| vec![name(n)]) });
            }
            Event::FlushSite(host) => self.flush_site(host),
            Event::Network(host) => self.tell(host, Input::NetworkChanged),
            Event::Ready(host, is_ready) => {
                self.hosts[host].oracle.ends_wait(None);
                self.tell(host, Input::Site(Site::Ready(is_ready)));
            }
            Event::Share(host, is_on) => {
                self.hosts[host].settings.site.is_on = is_on;
                self.reload(host);
            }
            Event::Route(host, has_route) => {
                self.hosts[host].has_route = has_route;
                self.reload(host);
            }
            Event::Restart(host) => self.restart(host),
            Event::Silent(host, is_silent) => self.hosts[host].is_silent = is_silent,
            Event::Replay(host) => {
                for _ in 0..self.engine.entries.len().min(4) {
                    let entry = self.picks.below(self.engine.entries.len() as u64) as usize;
                    self.offer(host, entry);
                }
            }
            Event::Split => self.engine.is_split = true,
            Event::Heal => {
                let World { engine, picks, .. } = self;
                engine.heal(|| picks.below(2) as usize);
            }
            Event::Query(host, attempt, octets) => self.query(host, attempt, &octets),
            Event::Message(host, attempt, octets) => self.message(host, attempt, &octets),
            Event::Offer(host, entry) => self.offer(host, entry),
            Event::Answer(host, round, entry) => self.answer(host, round, entry),
        }
    }

    fn ask(&mut self, host: usize, n: usize) {
        self.numbers[1] += 1;
        let (number, question) = (self.numbers[1], question(n));
        let until = self.now.plus(DEADLINE + WAIT);
        self.hosts[host].oracle.ask(number, until);
        self.hosts[host].asked.insert(number, n);
        self.tell(host, Input::Ask { client: ClientId(number), question: &question, recursion: true });
    }

    fn reload(&mut self, host: usize) {
        let (settings, has_route) = (self.hosts[host].settings.clone(), self.hosts[host].has_route);
        self.hosts[host].oracle.ends_wait(None);
        self.tell(host, Input::Reload { settings, routes: routes(has_route) });
    }

    fn restart(&mut self, host: usize) {
        let mutant = self.plan.mutant;
        let own = &mut self.hosts[host];
        own.oracle.restart();
        own.open.clear();
        let settings = own.settings.clone();
        let before = std::mem::replace(&mut own.core, core(&settings, table(), mutant));
        own.core = core(&settings, before.into_writer(), mutant);
        own.has_route = false;
        self.tell(host, Input::Site(Site::Ready(true)));
    }

    fn flush_site(&mut self, host: usize) {
        let now = self.now;
        let reader = self.hosts[host].core.reader();
        let before: Vec<_> = (0..self.plan.names).map(|n| self.set(host, n)).collect();
        let was_of_site: Vec<bool> =
            before.iter().map(|set| set.as_ref().is_some_and(|set| reader.is_of_site(set.round))).collect();
        self.hosts[host].oracle.flush_site(now);
        self.tell(host, Input::Site(Site::Flush));
        for (n, before) in before.into_iter().enumerate() {
            let after = self.set(host, n);
            let expected = if was_of_site[n] { None } else { before };
            assert_eq!(after, expected, "a flush of the site's sets leaves {n}");
        }
    }

    /// A query reaches the upstream, which answers by what is true then.
    fn query(&mut self, host: usize, attempt: AttemptId, octets: &[u8]) {
        let read = Query::read(octets).expect("the core's query");
        let asked = Question::of(&read);
        let n = number_of(&asked).expect("a name of the world");
        let response = response(octets, self.truth.of(n));
        if !self.is_lost() {
            let at = self.later();
            self.after(at, Event::Message(host, attempt, response));
        }
    }

    fn message(&mut self, host: usize, attempt: AttemptId, octets: &[u8]) {
        if self.hosts[host].open.contains(&attempt) {
            self.note_given(octets);
        }
        self.tell(host, Input::Message { attempt, octets });
    }

    /// Notes which generation an upstream has given.
    fn note_given(&mut self, octets: &[u8]) {
        let message = hither_wire::message::Message::read(octets).expect("a response of the world");
        let asked = message.question().expect("its question");
        let n =
            (0..self.plan.names).find(|n| name(*n) == asked.name.to_lower()).expect("a name of the world");
        let address = message.records().find_map(|record| record.address());
        let serial = message.records().find_map(|record| record.soa()).map(|soa| u64::from(soa.serial));
        let generation = match address {
            Some(std::net::IpAddr::V4(v4)) => u64::from(v4.octets()[2]),
            _ => serial.expect("a generation"),
        };
        self.truth.give(n, generation, self.now);
    }

    /// Hands an entry to a host, and judges what becomes of it.
    fn offer(&mut self, host: usize, entry: usize) {
        let offer = self.told(entry);
        let input = Input::Site(Site::Offers(vec![offer.clone()]));
        self.hand_over(host, &offer, input);
    }

    fn answer(&mut self, host: usize, round: u64, entry: Option<usize>) {
        let now = self.now;
        self.hosts[host].oracle.site_answers(round, now);
        let Some(entry) = entry else {
            return self.tell(host, Input::Site(Site::Answer { round, offer: None }));
        };
        let offer = self.told(entry);
        let input = Input::Site(Site::Answer { round, offer: Some(Box::new(offer.clone())) });
        self.hand_over(host, &offer, input);
    }

    /// The entry as the companion hands it over.
    fn told(&mut self, entry: usize) -> Offer {
        let offer = self.engine.entries[entry].offer.clone();
        if self.plan.lies { spoil(offer, self.picks, self.now) } else { offer }
    }

    fn hand_over(&mut self, host: usize, offer: &Offer, input: Input<'_>) {
        let asked = Question {
            name: offer.name,
            rtype: offer.family.rtype(),
            dnssec_ok: false,
            checking_disabled: false,
        };
        let own = &mut self.hosts[host];
        let live = own.core.live_rounds().find(|live| *live.trace.question == asked);
        let asks = live.filter(|live| !live.trace.attempts.is_empty()).map(|live| live.trace.round);
        let count = |core: &mut Rounds| core.counters().get(Counter::SitePublished);
        let before = count(&mut own.core);
        let now = self.now;
        own.core.handle(now, input);
        let is_published = count(&mut own.core) > before;
        let is_live = |round| own.core.live_rounds().any(|live| live.trace.round == round);
        if let Some(round) = asks {
            assert!(!is_published && is_live(round), "an offer overtakes a round that has sent a query");
        }
        if is_published {
            assert!(own.settings.site.is_on, "an offer is published although nothing is shared");
            let reader = own.core.reader();
            assert!(reader.lookup(&Key::of(&offer.name), &mut self.snapshot).is_ok());
            let set = self.snapshot.family(offer.family).expect("the set of the offer");
            assert!(reader.is_of_site(set.round()), "a set of the site with a round of its own");
            if let Some(n) = number_of(&asked) {
                assert!(!(own.has_route && n == 0), "a name with upstreams of its own is shared");
                own.oracle.published(n, offer, &set);
            }
        }
        self.collect(host);
    }

    fn tell(&mut self, host: usize, input: Input<'_>) {
        self.hosts[host].core.handle(self.now, input);
        self.collect(host);
    }

    /// Executes the actions of a call, and lets the oracle judge the result.
    fn collect(&mut self, host: usize) {
        let now = self.now;
        self.hosts[host].core.check_invariants();
        let live = self.hosts[host].core.live_rounds().map(|live| (live.trace.round, live.trace.started));
        let live: Vec<_> = live.collect();
        self.hosts[host].begun.extend(live);
        let mut sent = BTreeSet::new();
        while let Some(action) = self.hosts[host].core.poll_action() {
            self.note(&(HOSTS[host], &action));
            let own = &mut self.hosts[host];
            match action {
                Action::Send { attempt, octets, .. } => {
                    own.open.insert(attempt);
                    let read = Query::read(&octets).expect("the core's query");
                    let n = number_of(&Question::of(&read)).expect("a name of the world");
                    sent.insert(n);
                    own.oracle.sent(n, now);
                    self.send(host, attempt, octets);
                }
                Action::Resend { attempt, octets } => self.send(host, attempt, octets),
                Action::Close { attempt, .. } => {
                    own.open.remove(&attempt);
                }
                Action::Reply { client, answer, source } => {
                    let n = own.asked.remove(&client.0);
                    own.oracle.reply(client.0, n, &answer, source);
                }
                Action::AskSite { round, question } => {
                    let n = number_of(&question).expect("a name of the world");
                    assert!(own.settings.site.is_on && !(own.has_route && n == 0), "{n} is not shared");
                    own.oracle.asks_site(n, round, now, sent.contains(&n));
                    self.ask_site(host, n, round);
                }
                Action::OrderResult { .. } | Action::Note(_) => {}
            }
        }
        for n in 0..self.plan.names {
            self.look(host, n);
        }
        self.hosts[host].oracle.after_call(now);
    }

    fn send(&mut self, host: usize, attempt: AttemptId, octets: Rc<[u8]>) {
        if !self.is_lost() {
            let at = self.later();
            self.after(at, Event::Query(host, attempt, octets));
        }
    }

    /// The companion asks the engine: the answer may be missing, late, old, or that there is none.
    fn ask_site(&mut self, host: usize, n: usize, round: u64) {
        let (latest, oldest) = (self.engine.latest(host, n), self.engine.oldest(n));
        let (entry, late_ms) = match self.picks.below(if self.plan.may_lose { 8 } else { 5 }) {
            0 => return,
            1 => (None, 1),
            2 => (latest, 7),
            3 => (oldest, 1),
            _ => (latest, 1),
        };
        if !self.hosts[host].is_silent {
            let at = self.now.plus(Duration::from_millis(late_ms));
            self.after(at, Event::Answer(host, round, entry));
        }
    }

    /// What readers see of a name at a host; a complete set of its own is written to the engine.
    fn look(&mut self, host: usize, n: usize) {
        let reader = self.hosts[host].core.reader();
        let found = reader.lookup(&Key::of(&name(n)), &mut self.snapshot).is_ok();
        let Some(set) = self.snapshot.family(Family::A).filter(|set| found && !set.expired(self.now)) else {
            return;
        };
        let own = &mut self.hosts[host];
        own.oracle.see(n, &set, &self.truth);
        let is_written = set.state() == State::Complete
            && !reader.is_of_site(set.round())
            && own.settings.site.is_on
            && own.written.insert(set.round());
        if is_written {
            let asked = own.begun.get(&set.round()).copied().unwrap_or(START);
            assert!(self.plan.lies || generation_of(&set).is_some());
            let draft = self.set(host, n).expect("it has just been seen");
            let entry = self.engine.write(host, n, draft, [asked, self.now]);
            self.publish(host, entry);
        }
    }

    /// The engine passes an entry on: once, twice, late or never.
    fn publish(&mut self, host: usize, entry: usize) {
        // In a small world the first host has nothing to learn.
        if self.engine.is_split || (!self.plan.may_lose && host == 1) {
            return;
        }
        let times = if self.plan.may_lose { self.picks.below(3) } else { 1 + self.picks.below(2) };
        for _ in 0..times {
            let at = self.later();
            self.after(at, Event::Offer(1 - host, entry));
        }
    }

    /// The set of a name in the table of a host, fresh or not.
    fn set(&mut self, host: usize, n: usize) -> Option<FamilyDraft> {
        let reader = self.hosts[host].core.reader();
        let found = reader.lookup(&Key::of(&name(n)), &mut self.snapshot).is_ok();
        if found { self.snapshot.to_draft()?.a } else { None }
    }
}
