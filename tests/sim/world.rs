//! A simulated world: clients, upstreams, a clock and the core between them. Whatever is due in the same instant, timers included, is
//! delivered in every order that the picks give.

use super::oracle::{Looks, Oracle, Sent};
use super::picks::Picks;
use super::upstreams::{self, Echo, Fate, Knowledge};
use hither_rounds::mutant::Mutant;
use hither_rounds::{
    Action, AttemptId, ClientId, Failure, Input, Order, OrderResult, Question, Restore, Rounds, Routes,
    SavedSet, SenderId, Settings, Transport, UpstreamId, UpstreamReport,
};
use hither_table::{Counter, Family, Geometry, Key, Memory, Monotonic, Rtt, Snapshot, Writer};
use hither_wire::codes::Rtype;
use hither_wire::message::Message;
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Steps after which a world that does not come to rest is broken.
const STEPS_MAX: usize = 2_000;

/// What a world is made of.
pub struct Plan {
    pub upstreams: usize,
    pub names: usize,
    pub fates: &'static [Fate],
    pub delays_ms: &'static [u64],
    pub settings: Settings,
    pub mutant: Option<Mutant>,
    /// Whether every upstream has sets of its own for each round, or all the same.
    pub trace: bool,
}

#[derive(Debug)]
pub enum Event {
    Ask(ClientId, Question),
    Message(AttemptId, Vec<u8>),
    Failed(AttemptId, Failure),
    /// The host sleeps for so many milliseconds.
    Sleep(u64),
    Gone(ClientId),
    /// A reader says that it still wants an entry.
    Refresh(Question),
    Flush(Option<Vec<Name>>),
    Reload(usize),
    /// The host is in another network.
    Network,
    /// Some of what was saved before the host was started.
    Restore(Vec<SavedSet>),
    RestoreEnds,
    /// What was restored may be older than was thought.
    Doubt,
    /// The sorter sends what it saw of a name so long ago: the current order reversed, or nonsense.
    Order(Name, bool),
}

pub struct World<'p> {
    picks: &'p mut dyn Picks,
    plan: &'p Plan,
    core: Option<Rounds>,
    pub now: Monotonic,
    events: Vec<(Monotonic, Event)>,
    oracle: Oracle,
    attempts: BTreeMap<AttemptId, (Question, UpstreamId)>,
    /// What was sent, and whether over UDP.
    sent: BTreeMap<AttemptId, (Vec<u8>, bool)>,
    /// What an upstream said last to drawn letters, if that was a denial: it says the same to the same in lower case.
    denied: BTreeMap<(Name, u16), Fate>,
    /// Rounds so far of each question: knowledge changes with them.
    sends: BTreeMap<(Name, u16), u8>,
    last_order: Option<Order>,
    snapshot: Box<Snapshot>,
    steps: usize,
    pub trace: Vec<String>,
}

pub fn name(n: u64) -> Name {
    format!("n{n}.sim").parse().expect("a name")
}

pub fn question(n: u64) -> Question {
    Question { name: name(n), rtype: Rtype::A, dnssec_ok: false, checking_disabled: false }
}

fn name_of(message: &[u8]) -> Name {
    Name::read(message, 12).map_or(Name::ROOT, |(name, _)| name)
}

pub fn upstream(n: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n as u8 + 1], 53))
}

/// A table to be used by one world after the other.
pub fn table() -> Writer {
    let geometry = Geometry { entries: 64 };
    Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table")
}

pub const START: Monotonic = Monotonic::from_ms(1_000_000);

impl<'p> World<'p> {
    pub fn new(picks: &'p mut dyn Picks, plan: &'p Plan, mut writer: Writer) -> Self {
        writer.flush_all();
        let upstreams: Vec<SocketAddr> = (0..plan.upstreams).map(upstream).collect();
        let mut id = 0x1234_u64;
        let random = Box::new(move || {
            id = id.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            id
        });
        let mut core = Rounds::new(plan.settings.clone(), Routes::from(&upstreams[..]), writer, random);
        if let Some(mutant) = plan.mutant {
            core.plant(mutant);
        }
        let oracle = Oracle::new(plan.settings.clone(), plan.upstreams);
        Self {
            picks,
            plan,
            core: Some(core),
            now: START,
            events: Vec::new(),
            oracle,
            attempts: BTreeMap::new(),
            sent: BTreeMap::new(),
            denied: BTreeMap::new(),
            sends: BTreeMap::new(),
            last_order: None,
            snapshot: Box::new(Snapshot::new()),
            steps: 0,
            trace: Vec::new(),
        }
    }

    /// Upstreams that the core leaves alone, by its own account; that this account is right is the business of its own tests.
    fn down(&mut self) -> BTreeSet<SocketAddr> {
        let now = self.now;
        let reports = self.core().upstreams(now).into_iter();
        reports.filter(|u| u.state == "down" || u.state == "trial").map(|u| u.server.address).collect()
    }

    fn core(&mut self) -> &mut Rounds {
        self.core.as_mut().expect("taken at the end alone")
    }

    pub fn at(&mut self, after_ms: u64, event: Event) {
        self.events.push((upstreams::arrival(START, after_ms), event));
    }

    /// There is something to restore, before anything else happens.
    pub fn begin_restore(&mut self) {
        let now = self.now;
        self.oracle.begin_restore();
        self.core().handle(now, Input::Restore(Restore::Begin { usual: Vec::new() }));
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.plan.trace {
            let line = format!("{:>9.3} ms  {}", (self.now.0 - START.0) as f64 / 1e6, what());
            self.trace.push(line);
        }
    }

    /// Lets everything happen; gives the table back.
    pub fn run(mut self) -> (Writer, Vec<String>) {
        while self.step() {}
        let core = self.core.as_mut().expect("only taken here");
        self.oracle.at_rest(self.now, core);
        let writer = self.core.take().expect("only taken here").into_writer();
        (writer, std::mem::take(&mut self.trace))
    }

    fn step(&mut self) -> bool {
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "the world does not come to rest");
        let timer = self.core().poll_timeout();
        let Some(next) = self.events.iter().map(|(at, _)| *at).chain(timer).min() else { return false };
        self.now = self.now.max(next);
        let due: Vec<usize> = (0..self.events.len()).filter(|n| self.events[*n].0 <= self.now).collect();
        let timer_due = timer.is_some_and(|at| at <= self.now);
        let choices = due.len() as u64 + u64::from(timer_due);
        // After a sleep what is overdue passes first, in the core's own order; here it is a step of its own.
        let overdue = timer.is_some_and(|at| at < self.now);
        let pick = if overdue {
            choices - 1
        } else if choices > 1 {
            self.picks.below(choices)
        } else {
            0
        };
        let reports = self.core.as_ref().expect("taken at the end alone").upstreams(self.now);
        let untrusted = |u: &&UpstreamReport| matches!(u.state, "down" | "trial" | "silent");
        let places = (0..).zip(&reports).filter(|(_, u)| untrusted(u)).map(|(n, _)| n).collect();
        self.oracle.before_step(places, reports.iter().all(|u| u.unresponsive));
        let longest = self.core().longest_usual();
        self.oracle.before_ask(longest);
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
        self.core().check_invariants();
        self.drain();
        // What is due now and has not been delivered may still change what is seen, so deadlines are judged when nothing is.
        let timer = self.core().poll_timeout();
        let quiet = self.events.iter().map(|(at, _)| *at).chain(timer).all(|at| at > self.now);
        for n in 0..self.plan.names as u64 {
            let question = question(n);
            let reader = self.core().reader();
            let found = reader.lookup(&Key::of(&question.name), &mut self.snapshot);
            let view = found.is_ok().then(|| self.snapshot.family(Family::A)).flatten();
            self.oracle.see(self.now, &question, view.as_ref());
        }
        self.oracle.after_step(self.now, quiet);
        true
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
            Event::Ask(client, question) => {
                self.oracle.ask(now, client, question);
                self.core().handle(now, Input::Ask { client, question: &question, recursion: true });
            }
            Event::Message(attempt, octets) => {
                let known = self.attempts.get(&attempt).map(|(question, upstream)| (*question, *upstream));
                let looks = self.looks(attempt, &octets);
                self.oracle.message(now, attempt, known, &octets, looks);
                self.core().handle(now, Input::Message { attempt, octets: &octets });
            }
            Event::Failed(attempt, failure) => {
                let tcp = self.sent.get(&attempt).is_some_and(|(_, udp)| !udp);
                self.oracle.failed(now, attempt, tcp && failure == Failure::Closed);
                self.core().handle(now, Input::Failed { attempt, failure });
            }
            Event::Sleep(ms) => {
                self.now = upstreams::arrival(now, ms);
                self.oracle.slept(self.now, now);
            }
            Event::Gone(client) => {
                self.oracle.gone(client);
                self.core().handle(now, Input::ClientGone { client });
            }
            Event::Refresh(question) => {
                self.oracle.refresh(&question);
                let due = self.is_ending(&question);
                let before = self.core().counters().get(Counter::RoundsStarted);
                self.core().handle(now, Input::Refresh { question });
                let begun = self.core().counters().get(Counter::RoundsStarted) > before;
                assert!(due || !begun, "what is fresh, or gone, is refreshed");
            }
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
                self.oracle.doubt_what_was_saved();
                self.core().handle(now, Input::Restore(Restore::Void));
            }
            Event::Flush(names) => {
                self.oracle.flush(now, names.as_deref());
                self.core().handle(now, Input::Flush { names });
            }
            Event::Reload(count) => {
                let upstreams: Vec<SocketAddr> = (0..count).map(upstream).collect();
                self.oracle.reload(now, count);
                let settings = self.plan.settings.clone();
                self.core().handle(now, Input::Reload { settings, routes: Routes::from(&upstreams[..]) });
            }
            Event::Order(name, honest) => self.order(name, honest),
        }
    }

    /// How a message compares with what was sent.
    fn looks(&self, attempt: AttemptId, octets: &[u8]) -> Looks {
        let Some((sent, udp)) = self.sent.get(&attempt) else { return Looks::Right };
        let (edns, tc) = (upstreams::has_edns(sent), octets[2] & 2 != 0);
        let unasked = octets[5] == 0;
        let (asked, came) = (name_of(sent), if unasked { name_of(sent) } else { name_of(octets) });
        if octets[..2] != sent[..2] || !asked.eq_ignore_case(&came) {
            Looks::Forged
        } else if tc && *udp {
            Looks::Right
        } else if Message::read(octets).is_err() {
            Looks::Unreadable { udp: *udp, edns }
        } else if *udp && (unasked || (asked != came && upstreams::is_mixed(sent))) {
            Looks::Unusual
        } else {
            Looks::Right
        }
    }

    /// Whether an entry is there whose time is nearly over.
    fn is_ending(&mut self, question: &Question) -> bool {
        let (now, reader) = (self.now, self.core().reader());
        let found = reader.lookup(&Key::of(&question.name), &mut self.snapshot).is_ok();
        let view = found.then(|| self.snapshot.family(Family::A)).flatten();
        view.is_some_and(|view| view.is_ending(now) && !view.expired(now))
    }

    fn order(&mut self, name: Name, honest: bool) {
        let mut snapshot = Snapshot::new();
        let reader = self.core().reader();
        let current = (reader.lookup(&Key::of(&name), &mut snapshot).is_ok())
            .then(|| snapshot.family(Family::A))
            .flatten()
            .filter(|view| !view.is_empty())
            .map(|view| Order {
                generation: reader.generation(),
                name,
                family: Family::A,
                set_version: view.set_version(),
                addresses: view.addresses().rev_addresses(),
            });
        // An order for what was seen before, if there is one: its set may have changed meanwhile.
        let order = match self.last_order.take() {
            Some(old) if self.picks.below(2) == 0 => old,
            _ => match current.clone() {
                Some(order) => order,
                None => return,
            },
        };
        self.last_order = current;
        let mut order = order;
        if !honest {
            let mutilation = self.picks.below(3);
            match mutilation {
                0 => drop(order.addresses.pop()),
                1 => order.addresses.push((IpAddr::from([203, 0, 113, 1]), Rtt::Micros(1))),
                _ => order.addresses.iter_mut().for_each(|(_, rtt)| *rtt = Rtt::Unreachable),
            }
        }
        // The order may be for another name than the one that was looked at last.
        let found = reader.lookup(&Key::of(&order.name), &mut snapshot).is_ok();
        let before = found.then(|| snapshot.family(Family::A)).flatten();
        self.oracle.order(&order, before.as_ref());
        let now = self.now;
        self.core().handle(now, Input::Order { sender: SenderId(0), order });
    }

    fn drain(&mut self) {
        while let Some(action) = self.core().poll_action() {
            self.note(|| match &action {
                Action::Send { attempt, upstream, transport, .. } => {
                    format!("    {attempt:?} to {upstream:?} over {transport:?}")
                }
                Action::Reply { client, .. } => format!("    reply to {client:?}"),
                other => format!("    {other:?}").chars().take(120).collect(),
            });
            match action {
                Action::Send { attempt, upstream, transport, octets, .. } => {
                    self.send(attempt, upstream, transport, &octets)
                }
                Action::Resend { attempt, octets } => {
                    // It may ask in other letters than at first.
                    self.sent.entry(attempt).and_modify(|(sent, _)| *sent = octets.to_vec());
                    self.oracle.resent(attempt);
                }
                Action::Close { attempt, .. } => {
                    self.oracle.closed(self.now, attempt);
                }
                Action::Reply { client, answer } => self.oracle.reply(self.now, client, &answer),
                Action::OrderResult { result, .. } => {
                    self.oracle.order_result(matches!(result, OrderResult::Applied { .. }))
                }
                Action::Note(_) => {}
            }
        }
    }

    fn send(&mut self, attempt: AttemptId, upstream: UpstreamId, transport: Transport, octets: &[u8]) {
        let asked = hither_wire::query::Query::read(octets).expect("the core's own query").name_lower();
        // A chase asks for an alias: it belongs to the question whose alias that is.
        let question = (0..self.plan.names as u64)
            .map(question)
            .find(|q| [q.name, upstreams::alias(&q.name), upstreams::moved(&q.name)].contains(&asked))
            .expect("nothing is asked that no client wants");
        self.attempts.insert(attempt, (question, upstream));
        // Whoever is down when a round begins, or while a chain is found, is not asked.
        let down = self.down();
        self.oracle.leaves_alone(&down);
        let tcp = transport == Transport::Tcp;
        self.sent.insert(attempt, (octets.to_vec(), !tcp));
        let confirms = tcp && self.oracle.sends_to_confirm(&question, upstream);
        let mixed = upstreams::is_mixed(octets);
        let way = Sent { chased: asked != question.name, tcp, mixed };
        self.oracle.sent(self.now, attempt, (question, upstream), way);
        let round = self.sends.entry((question.name, upstream.0)).or_default();
        *round += 1;
        let sets = [[1, 2], [2, 3], [4, 4]];
        let mut ends: Vec<u8> =
            sets[usize::from(upstream.0) % 3].iter().map(|end| end + 10 * *round).collect();
        ends.dedup();
        let first = *round == 1 || transport == Transport::Tcp;
        let ttl_s = if self.plan.names == 1 {
            [1, 300, 300][usize::from(upstream.0) % 3]
        } else {
            [1, 2, 300][self.picks.below(3) as usize]
        };
        let known = Knowledge { ends, ttl_s };
        // In the small world only the first attempt of each upstream has a choice; what comes later is plain, or the worlds are too many.
        let chosen = (first && !confirms) || self.plan.names > 1;
        let (fate, after_ms) = if chosen {
            upstreams::draw(self.picks, self.plan.fates, self.plan.delays_ms)
        } else {
            (Fate::Good, 10)
        };
        let fate = match (transport, fate) {
            (
                Transport::Tcp,
                Fate::Good
                | Fate::Unreachable
                | Fate::NoSocket
                | Fate::ServFail
                | Fate::Lost
                | Fate::Broken
                | Fate::Closed,
            ) => fate,
            (Transport::Tcp, _) => Fate::Good,
            (Transport::Udp, fate) => fate,
        };
        // What a bare CNAME leads to is there, at every upstream.
        let fate = if asked == question.name { fate } else { Fate::Good };
        let (fate, after_ms) = match self.denied.remove(&(asked, upstream.0)) {
            Some(denied) if !tcp && !mixed => (denied, 10),
            _ => (fate, after_ms),
        };
        if mixed && !tcp && matches!(fate, Fate::NxDomain | Fate::NoData | Fate::Lettered) {
            self.denied.insert((asked, upstream.0), fate);
        }
        if fate == Fate::Lettered && mixed {
            self.oracle.lies(attempt);
        }
        self.note(|| format!("      fate {fate:?} after {after_ms} ms"));
        for (after_ms, echo) in upstreams::script(fate, octets, transport == Transport::Tcp, &known, after_ms)
        {
            let event = match echo {
                Echo::Message(octets) => Event::Message(attempt, octets),
                Echo::Failed(failure) => Event::Failed(attempt, failure),
            };
            self.events.push((upstreams::arrival(self.now, after_ms), event));
        }
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && self.plan.trace {
            self.trace.iter().for_each(|line| println!("{line}"));
        }
    }
}

trait Reversed {
    fn rev_addresses(self) -> Vec<(IpAddr, Rtt)>;
}

impl<I: Iterator<Item = hither_table::Address>> Reversed for I {
    fn rev_addresses(self) -> Vec<(IpAddr, Rtt)> {
        let mut all: Vec<_> = self.map(|a| (a.address, rtt(a.address))).collect();
        all.reverse();
        all
    }
}

/// The same from one order to the next, and not in any order.
fn rtt(address: IpAddr) -> Rtt {
    match address {
        IpAddr::V4(v4) => Rtt::Micros(u32::from(v4.octets()[3]) * 7 % 5 + 5),
        IpAddr::V6(_) => Rtt::Unmeasured,
    }
}
