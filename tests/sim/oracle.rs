//! The oracle: it judges the core by the events, queries, replies and published sets of a world.
//!
//! The oracle shares no code with the core. It knows rounds only by their queries, and reads messages by
//! itself (`oracle/judge.rs`).

mod attempts;
mod judge;
mod known;
mod limits;
mod provenance;
mod published;
mod replies;
mod retries;
mod saved;
mod transports;
mod trust;
mod waiting;

use hither_rounds::{AttemptId, ClientId, Order, Question, Rounds, Settings, UpstreamId};
use hither_table::{Counter, FamilyView, Monotonic};
use hither_wire::name::Name;
use known::{Known, SeenRound};
pub use known::{Plausible, Sent};
use limits::Newcomer;
use retries::Retries;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use trust::Ordered;

pub struct Oracle {
    settings: Settings,
    /// The number of configured upstreams.
    upstreams: usize,
    rating: Rating,
    questions: BTreeMap<Question, Known>,
    /// The question of each outstanding attempt.
    open: BTreeMap<AttemptId, Question>,
    retries: Retries,
    /// The upstreams that each question waited for when the network changed.
    cut_off: Vec<(Question, BTreeSet<UpstreamId>)>,
    clients: Clients,
    orders: Orders,
    restoring: saved::Restoring,
    newcomer: Newcomer,
    transports: transports::Transports,
}

/// How the core rates upstreams and rounds. The core's own tests check these ratings.
#[derive(Default)]
struct Rating {
    /// Upstreams that a round need not query.
    down: BTreeSet<usize>,
    /// Upstreams that no round need wait for.
    untrusted: BTreeSet<usize>,
    /// Whether every upstream is down.
    all_down: bool,
    /// The time after which a racing round is slow.
    longest: Duration,
}

/// The clients of the daemon.
#[derive(Default)]
struct Clients {
    /// Clients that have sent a query.
    asked: BTreeSet<ClientId>,
    /// Clients that have a reply or have left.
    replied: BTreeSet<ClientId>,
}

/// The orders of the sorter.
#[derive(Default)]
struct Orders {
    /// The order that was sent: its name, whether it fits the set in the table, and its addresses with
    /// their verdicts.
    sent: Option<(Name, bool, Ordered)>,
    /// The order that the core has applied, according to its result.
    applied: Option<(Name, Ordered)>,
}

impl Oracle {
    pub fn new(settings: Settings, upstreams: usize) -> Self {
        Self {
            settings,
            upstreams,
            rating: Rating::default(),
            questions: BTreeMap::new(),
            open: BTreeMap::new(),
            retries: Retries::default(),
            cut_off: Vec::new(),
            clients: Clients::default(),
            orders: Orders::default(),
            restoring: saved::Restoring::default(),
            newcomer: Newcomer::default(),
            transports: transports::Transports::default(),
        }
    }

    /// Notes the upstreams that a round which begins now need not query.
    pub fn leaves_alone(&mut self, down: &BTreeSet<SocketAddr>) {
        self.rating.down = (0..16).filter(|n| down.contains(&super::world::upstream(*n))).collect();
    }

    /// Notes how the core rates upstreams and rounds before a call.
    pub fn before_call(&mut self, untrusted: BTreeSet<usize>, all_down: bool, longest: Duration) {
        self.rating.untrusted = untrusted;
        self.rating.all_down = all_down;
        self.rating.longest = longest;
    }

    pub fn ask(&mut self, now: Monotonic, client: ClientId, question: Question) {
        self.clients.asked.insert(client);
        self.newcomer = Newcomer::of(client, question, self.has_all_rounds());
        let deadline = now.plus(self.settings.deadline);
        let known = self.questions.entry(question).or_default();
        known.clients.insert(client, deadline);
        known.source = Some(client.source());
        known.fresh = true;
        known.inherits = None;
    }

    /// Notes that a round without a client may begin.
    pub fn refresh(&mut self, question: &Question) {
        if let Some(known) = self.questions.get_mut(question) {
            known.fresh = true;
        }
    }

    /// Notes that a round without a client has begun, for a question that no client may have asked.
    pub fn lease(&mut self, question: Question) {
        self.questions.entry(question).or_default().fresh = true;
    }

    pub fn gone(&mut self, client: ClientId) {
        self.clients.replied.insert(client);
        self.questions.values_mut().for_each(|known| {
            known.clients.remove(&client);
        });
    }

    pub fn flush(&mut self, names: Option<&[Name]>) {
        self.restoring.flush(names);
        for (question, known) in &mut self.questions {
            if names.is_none_or(|names| names.contains(&question.name)) {
                known.restart();
                known.failed_until = None;
                known.forget_set();
            }
        }
    }

    pub fn reload(&mut self, upstreams: usize) {
        if upstreams == self.upstreams {
            return;
        }
        let fewer = upstreams < self.upstreams;
        self.upstreams = upstreams;
        for known in self.questions.values_mut() {
            known.restart();
            // The upstream that gave an address may have been removed, and a new upstream may have an answer
            // where others denied.
            if known.version != 0 && (fewer || known.addresses.is_empty()) {
                known.forget_seen();
            }
        }
    }

    /// Notes that outstanding attempts are cut off, so that their upstreams have to be queried again.
    pub fn network_changed(&mut self) {
        let waits = |known: &Known| known.rounds.last().map(|r| r.open.values().copied().collect());
        self.cut_off = self.questions.iter().filter_map(|(q, known)| Some((*q, waits(known)?))).collect();
    }

    /// Notes that the host slept from `before` to `now`: clients have to wait until it is awake.
    pub fn slept(&mut self, now: Monotonic, before: Monotonic) {
        for known in self.questions.values_mut() {
            known.clients.values_mut().for_each(|deadline| *deadline = (*deadline).max(Monotonic(now.0 + 1)));
            if let Some(round) = known.rounds.last_mut() {
                round.slept += now.since(before);
            }
        }
    }

    /// Notes an order of the sorter, for a set that is in the table as `current`.
    pub fn order(&mut self, order: &Order, current: Option<&FamilyView<'_>>) {
        let mut sent: Vec<IpAddr> = order.addresses.iter().map(|own| own.address).collect();
        let ordered = order.addresses.iter().map(|own| (own.address, own.trust)).collect();
        sent.sort();
        let fits = current.is_some_and(|view| {
            let mut own: Vec<IpAddr> = view.addresses().map(|a| a.address).collect();
            own.sort();
            view.set_version() == order.set_version && own == sent
        });
        self.orders.sent = Some((order.name, fits, ordered));
    }

    pub fn order_result(&mut self, applied: bool) {
        let (name, fits, ordered) = self.orders.sent.take().expect("a result without an order");
        assert_eq!(applied, fits, "an order is applied if and only if it orders the set in the table");
        if applied {
            self.orders.applied = Some((name, ordered));
        }
    }

    /// Judges a world in which nothing is left to happen.
    pub fn at_rest(&mut self, core: &mut Rounds) {
        let waiting: Vec<_> = self.clients.asked.difference(&self.clients.replied).collect();
        assert!(waiting.is_empty(), "never answered: {waiting:?}");
        assert!(self.open.is_empty(), "attempts are left open: {:?}", self.open);
        assert_eq!(core.poll_timeout(), None, "a timer is left");
        assert_eq!(core.counters().get(Counter::RoundsLive), 0, "a round is left");
        assert_eq!(core.counters().get(Counter::AttemptsOutstanding), 0, "an attempt is left");
    }

    /// The round of an outstanding attempt.
    fn round_of(&mut self, attempt: AttemptId) -> Option<&mut SeenRound> {
        let question = self.open.get(&attempt)?;
        self.questions.get_mut(question)?.rounds.last_mut()
    }
}
