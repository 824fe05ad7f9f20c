//! A simulated world: clients, upstreams, a sorter and a clock around the resolver core.
//!
//! Events that are due in the same instant, the core's timer included, are delivered in every order that
//! the picks give. After each call, all actions are executed in order before the next call, as the core
//! requires. Failures meanwhile (`world/drain.rs`) are reported afterwards, in every order too.

mod connecting;
mod drain;
mod plan;
mod send;
mod sorter;

use super::oracle::Oracle;
use super::picks::Picks;
use super::upstreams::{self, Fate};
use drain::Connections;
pub use drain::Failures;
use hither_rounds::{
    AttemptId, ClientId, Failure, Input, Order, Question, Restore, Rounds, SavedSet, UpstreamReport,
};
use hither_table::{Counter, Family, Geometry, Key, Memory, Monotonic, Snapshot, Writer};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
pub use plan::{Drain, Plan, Ttls};
use send::Query;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Upper bound of the steps of a world.
const STEPS_MAX: usize = 2_000;

/// The time at which every world begins.
pub const START: Monotonic = Monotonic::from_ms(1_000_000);

/// An event for the core.
#[derive(Debug)]
pub enum Event {
    Ask(ClientId, Question),
    /// A datagram, or a message over TCP, arrives for an attempt.
    Message(AttemptId, Vec<u8>),
    Failed(AttemptId, Failure),
    /// The query of an encrypted attempt leaves only now.
    Transmitted(AttemptId),
    /// The host sleeps for so many milliseconds.
    Sleep(u64),
    /// A client leaves, or its connection ends.
    Gone(ClientId),
    /// A reader still uses an entry.
    Refresh(Question),
    /// A program subscribes to a name, or its lease is renewed.
    Lease(Question),
    /// The operator flushes these names, or all names.
    Flush(Option<Vec<Name>>),
    /// The configuration names so many upstreams.
    Reload(usize),
    /// The host has changed to another network.
    Network,
    /// Sets that were saved before the host was started.
    Restore(Vec<SavedSet>),
    RestoreEnds,
    /// Restored sets may be older than assumed.
    Doubt,
    /// The sorter sends an order for the name: the reverse of the set that it saw last, or (`false`) a wrong
    /// order.
    Order(Name, bool),
}

/// The outcome of a world in which nothing is left to happen.
pub struct Outcome {
    /// The table, for the next world.
    pub writer: Writer,
    pub trace: Vec<String>,
    /// The numbers of failed actions.
    pub failures: Failures,
}

pub struct World<'p> {
    picks: &'p mut dyn Picks,
    plan: &'p Plan,
    core: Option<Rounds>,
    now: Monotonic,
    events: Vec<(Monotonic, Event)>,
    oracle: Oracle,
    attempts: BTreeMap<AttemptId, Query>,
    /// The denial that an upstream gave for a name in mixed letter case. It gives the same in lower case.
    denied: BTreeMap<(Name, u16), Fate>,
    /// The number of queries so far about each name to each upstream. Each is answered with other addresses.
    queries: BTreeMap<(Name, u16), u8>,
    /// The order that the sorter would send for the set that it saw last.
    last_order: Option<Order>,
    connections: Connections,
    /// Failures of actions, which are reported when all actions have been executed.
    failed: Vec<Event>,
    failures: Failures,
    snapshot: Box<Snapshot>,
    steps: usize,
    trace: Vec<String>,
}

/// The n-th name of a world.
pub fn name(n: u64) -> Name {
    format!("n{n}.sim").parse().expect("a name")
}

/// The question for the address of the n-th name.
pub fn question(n: u64) -> Question {
    Question { name: name(n), rtype: Rtype::A, dnssec_ok: false, checking_disabled: false }
}

/// The address of the n-th upstream.
pub fn upstream(n: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n as u8 + 1], 53))
}

/// A table, which worlds may use one after another.
pub fn table() -> Writer {
    let geometry = Geometry { entries: 64 };
    Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table")
}

impl<'p> World<'p> {
    pub fn new(picks: &'p mut dyn Picks, plan: &'p Plan, mut writer: Writer) -> Self {
        writer.flush_all();
        let mut id = 0x1234_u64;
        let random = Box::new(move || {
            id = id.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            id
        });
        let routes = plan.routes(plan.upstreams);
        let mut core = Rounds::new(plan.settings.clone(), routes, writer, random);
        if let Some(mutant) = plan.mutant {
            core.plant(mutant);
        }
        Self {
            picks,
            plan,
            core: Some(core),
            now: START,
            events: Vec::new(),
            oracle: Oracle::new(plan.settings.clone(), plan.upstreams),
            attempts: BTreeMap::new(),
            denied: BTreeMap::new(),
            queries: BTreeMap::new(),
            last_order: None,
            connections: Connections::default(),
            failed: Vec::new(),
            failures: Failures::default(),
            snapshot: Box::new(Snapshot::new()),
            steps: 0,
            trace: Vec::new(),
        }
    }

    /// Adds an event that is due `after_ms` after the beginning.
    pub fn at(&mut self, after_ms: u64, event: Event) {
        self.events.push((upstreams::arrival(START, after_ms), event));
    }

    /// Lets these clients share a connection.
    pub fn connect(&mut self, clients: impl IntoIterator<Item = ClientId>) {
        self.connections.add(clients);
    }

    /// Begins a restore of saved sets, before any other event.
    pub fn begin_restore(&mut self) {
        let now = self.now;
        self.oracle.begin_restore();
        self.core().handle(now, Input::Restore(Restore::Begin { usual: Vec::new() }));
        self.drain();
    }

    /// Runs the world until nothing is left to happen.
    pub fn run(mut self) -> Outcome {
        while self.step() {}
        let core = self.core.as_mut().expect("only taken here");
        self.oracle.at_rest(core);
        let writer = self.core.take().expect("only taken here").into_writer();
        Outcome { writer, trace: std::mem::take(&mut self.trace), failures: self.failures }
    }

    fn core(&mut self) -> &mut Rounds {
        self.core.as_mut().expect("taken at the end only")
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.plan.trace {
            let line = format!("{:>9.3} ms  {}", (self.now.0 - START.0) as f64 / 1e6, what());
            self.trace.push(line);
        }
    }

    /// Delivers one event, or the core's timer, and then reports failures meanwhile. `false`: nothing is left
    /// to happen.
    fn step(&mut self) -> bool {
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "the world does not come to rest");
        let timer = self.core().poll_timeout();
        let Some(next) = self.events.iter().map(|(at, _)| *at).chain(timer).min() else { return false };
        self.now = self.now.max(next);
        let due: Vec<usize> = (0..self.events.len()).filter(|n| self.events[*n].0 <= self.now).collect();
        let choices = due.len() as u64 + u64::from(timer.is_some_and(|at| at <= self.now));
        // After a sleep, the core handles overdue deadlines before any event. Here that is a step.
        let overdue = timer.is_some_and(|at| at < self.now);
        let pick = if overdue { choices - 1 } else { self.pick(choices) };
        self.before_call();
        match due.get(pick as usize) {
            None => {
                self.note(|| "timer".to_owned());
                let now = self.now;
                self.oracle.time(now);
                self.core().handle_timeout(now);
            }
            Some(at) => {
                let (_, event) = self.events.remove(*at);
                self.deliver(event);
            }
        }
        self.after_call();
        while !self.failed.is_empty() {
            let pick = self.pick(self.failed.len() as u64);
            let event = self.failed.remove(pick as usize);
            self.before_call();
            self.deliver(event);
            self.after_call();
        }
        true
    }

    fn pick(&mut self, choices: u64) -> u64 {
        if choices > 1 { self.picks.below(choices) } else { 0 }
    }

    /// Reports to the oracle how the core rates the upstreams, and how long rounds usually race. The core's
    /// own tests check these ratings.
    fn before_call(&mut self) {
        let now = self.now;
        let reports = self.core().upstreams(now);
        self.oracle.judge_times(&reports);
        let untrusted = |u: &&UpstreamReport| matches!(u.state, "down" | "trial" | "silent");
        let places = (0..).zip(&reports).filter(|(_, u)| untrusted(u)).map(|(n, _)| n).collect();
        let longest = self.core().longest_race();
        self.oracle.before_call(places, reports.iter().all(|u| u.unresponsive), longest);
    }

    /// Executes the actions of a call, and lets the oracle judge the result.
    fn after_call(&mut self) {
        self.core().check_invariants();
        self.drain();
        // Events that are due now and not yet delivered may still change the outcome, so deadlines are judged
        // when none is left.
        let timer = self.core().poll_timeout();
        let quiet = self.failed.is_empty()
            && self.events.iter().map(|(at, _)| *at).chain(timer).all(|at| at > self.now);
        for n in 0..self.plan.names as u64 {
            let question = question(n);
            let reader = self.core().reader();
            let found = reader.lookup(&Key::of(&question.name), &mut self.snapshot);
            let view = found.is_ok().then(|| self.snapshot.family(Family::A)).flatten();
            self.oracle.see(self.now, &question, view.as_ref());
        }
        self.oracle.after_call(self.now, quiet);
    }

    fn deliver(&mut self, event: Event) {
        self.note(|| match &event {
            Event::Message(attempt, octets) => format!(
                "{attempt:?} receives {} octets, flags {:02x}{:02x}",
                octets.len(),
                octets[2],
                octets[3]
            ),
            other => format!("{other:?}"),
        });
        let now = self.now;
        match event {
            Event::Ask(client, _) if self.connections.is_gone(client) => {}
            Event::Ask(client, question) => {
                self.connections.asks(client);
                self.oracle.ask(now, client, question);
                self.core().handle(now, Input::Ask { client, question: &question, recursion: true });
            }
            Event::Message(attempt, octets) => {
                let query = self.attempts.get(&attempt).expect("a message to an attempt that was never sent");
                self.oracle.message(now, attempt, &query.question, &octets, query.rate(&octets));
                self.core().handle(now, Input::Message { attempt, octets: &octets });
            }
            Event::Failed(attempt, failure) => self.fail_attempt(attempt, failure),
            Event::Transmitted(attempt) => {
                self.oracle.transmitted(now, attempt);
                self.core().handle(now, Input::Transmitted { attempt });
            }
            Event::Sleep(ms) => {
                self.now = upstreams::arrival(now, ms);
                self.oracle.slept(self.now, now);
            }
            Event::Gone(client) => {
                self.connections.leaves(client);
                self.oracle.gone(client);
                self.core().handle(now, Input::ClientGone { client });
            }
            Event::Refresh(question) => self.refresh(question),
            Event::Lease(question) => self.lease(question),
            Event::Network => {
                self.oracle.network_changed();
                self.core().handle(now, Input::NetworkChanged);
            }
            Event::Restore(sets) => {
                self.oracle.restore(now, &sets);
                self.core().handle(now, Input::Restore(Restore::Sets(sets)));
            }
            Event::RestoreEnds => {
                self.oracle.end_restore();
                self.core().handle(now, Input::Restore(Restore::End));
            }
            Event::Doubt => {
                self.oracle.doubt_saved_sets();
                self.core().handle(now, Input::Restore(Restore::Void));
            }
            Event::Flush(names) => {
                self.oracle.flush(names.as_deref());
                self.core().handle(now, Input::Flush { names });
            }
            Event::Reload(count) => {
                self.oracle.reload(count);
                let (settings, routes) = (self.plan.settings.clone(), self.plan.routes(count));
                self.core().handle(now, Input::Reload { settings, routes });
            }
            Event::Order(name, honest) => self.order(name, honest),
        }
    }

    fn refresh(&mut self, question: Question) {
        let now = self.now;
        self.oracle.refresh(&question);
        let due = self.is_ending(&question);
        let before = self.core().counters().get(Counter::RoundsStarted);
        self.core().handle(now, Input::Refresh { question });
        let begun = self.core().counters().get(Counter::RoundsStarted) > before;
        assert!(due || !begun, "an entry is refreshed that is fresh, or that has expired");
    }

    fn lease(&mut self, question: Question) {
        let now = self.now;
        let is_fresh = self.is_fresh(&question);
        let before = self.core().counters().get(Counter::RoundsStarted);
        self.core().handle(now, Input::Lease { question });
        let begun = self.core().counters().get(Counter::RoundsStarted) > before;
        assert!(!is_fresh || !begun, "a lease is renewed although its answer is fresh");
        if begun {
            self.oracle.lease(question);
        }
    }

    /// Whether the table has an answer that does not expire soon.
    fn is_fresh(&mut self, question: &Question) -> bool {
        let (now, reader) = (self.now, self.core().reader());
        let found = reader.lookup(&Key::of(&question.name), &mut self.snapshot).is_ok();
        let family = question.family().filter(|_| found);
        let view = family.and_then(|family| self.snapshot.family(family));
        view.is_some_and(|view| !view.is_ending(now) && !view.expired(now))
    }

    /// Whether the table has an entry that will soon expire.
    fn is_ending(&mut self, question: &Question) -> bool {
        let (now, reader) = (self.now, self.core().reader());
        let found = reader.lookup(&Key::of(&question.name), &mut self.snapshot).is_ok();
        let view = found.then(|| self.snapshot.family(Family::A)).flatten();
        view.is_some_and(|view| view.is_ending(now) && !view.expired(now))
    }

    /// Upstreams that new rounds do not query, according to the core.
    fn down(&mut self) -> BTreeSet<SocketAddr> {
        let now = self.now;
        let reports = self.core().upstreams(now).into_iter();
        reports.filter(|u| u.state == "down" || u.state == "trial").map(|u| u.server.address).collect()
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && self.plan.trace {
            self.trace.iter().for_each(|line| println!("{line}"));
        }
    }
}
