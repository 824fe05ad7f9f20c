//! What the oracle remembers of each question and of its rounds.

use super::provenance::{Good, Set, trusted};
use super::saved;
use hither_rounds::{AttemptId, ClientId, Question, Source, UpstreamId};
use hither_table::{FamilyView, Monotonic, Negative};
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// What one message says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Addresses(Vec<IpAddr>),
    Denied(Negative),
    /// A CNAME whose target is unknown.
    Dangling,
    Truncated,
    Error,
}

/// How a response compares with its query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plausible {
    Right,
    /// It has another id, or another question.
    Forged,
    /// It has another letter case, or no question.
    Unusual,
    /// It cannot be read whole. `edns`: the query had EDNS.
    Unreadable {
        udp: bool,
        edns: bool,
    },
}

/// How a query is sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// It asks for an alias of the question's name.
    pub chased: bool,
    pub tcp: bool,
    /// Its name is in mixed letter case.
    pub mixed: bool,
}

/// A round, as its queries show it.
#[derive(Clone, Debug)]
pub(super) struct SeenRound {
    pub started: Monotonic,
    /// How much of its time the host slept: nothing can have been done then.
    pub slept: Duration,
    /// The deadline is inherited from the round that this one replaced while clients waited.
    pub deadline: Monotonic,
    /// Upstreams that need not be asked: they are down.
    pub excused: BTreeSet<usize>,
    pub asked: BTreeSet<UpstreamId>,
    pub open: BTreeMap<AttemptId, UpstreamId>,
    /// Upstreams of which an attempt failed: the next upstream is due once for each.
    pub failed: BTreeSet<UpstreamId>,
    pub good: Vec<Good>,
    pub denials: Vec<Denial>,
    /// When the first dangling CNAME expires, in milliseconds.
    pub dangling_until_ms: Option<u64>,
    /// How many upstreams were configured.
    pub upstreams: usize,
    /// A flush or other upstreams ended it: nothing of it may be published any more.
    pub void: bool,
    /// It ended for a newcomer's sake.
    pub evicted: bool,
}

/// A denial that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Denial {
    pub came: Monotonic,
    pub kind: Negative,
    pub until_ms: u64,
}

impl SeenRound {
    /// When the set that it has gathered expires, in milliseconds.
    pub fn until_ms(&self, name: &Name) -> Option<u64> {
        Set::of(name, &self.good).until_ms
    }

    /// Whether every upstream has been asked, but for those that need not be.
    pub fn all_asked(&self) -> bool {
        (0..self.upstreams).all(|n| self.excused.contains(&n) || self.asked.contains(&UpstreamId(n as u16)))
    }
}

/// A question, and what the table has for it.
#[derive(Default)]
pub(super) struct Known {
    pub rounds: Vec<SeenRound>,
    /// Clients that wait, and until when at the longest.
    pub clients: BTreeMap<ClientId, Monotonic>,
    /// Whose client asked last.
    pub source: Option<Source>,
    /// It was asked, so that the next query begins a round if no attempt is open.
    pub fresh: bool,
    /// The deadline that the next round inherits.
    pub inherits: Option<Monotonic>,
    /// The latest round began in this call, in which the one before may have ended.
    pub began: bool,
    pub version: u64,
    /// 0: the table has no set, so that the next one is neither the same nor another.
    pub set_version: u64,
    pub round_id: u64,
    /// The place in `rounds` of the one that published the set.
    pub round_of_set: usize,
    pub failed_until: Option<Monotonic>,
    pub expire_ms: u64,
    pub sorted: bool,
    pub addresses: Vec<IpAddr>,
    pub trusted: BTreeSet<IpAddr>,
    /// The set that was saved for it: it has to be in the table, or was.
    pub saved: Option<saved::Saved>,
    /// The set that was seen has become doubtful, and must not be seen again.
    pub doubted: bool,
}

impl Known {
    /// A flush or other upstreams end its round; clients that wait get another one.
    pub fn restart(&mut self) {
        self.fresh = true;
        self.inherits = self.rounds.last().map(|round| round.deadline);
        if let Some(round) = self.rounds.last_mut() {
            round.void = true;
        }
    }

    /// An address that another upstream confirms is trusted at once.
    pub fn judge_trust(&self, question: &Question, view: &FamilyView<'_>) {
        let latest = self.rounds.len().checked_sub(1).filter(|latest| *latest == self.round_of_set);
        let live = self.saved.is_none() && view.round() == self.round_id;
        if let Some(round) = latest.filter(|_| live).and_then(|latest| self.rounds.get(latest))
            && view.negative().is_none()
        {
            let set = Set::of(&question.name, &round.good);
            assert_eq!(trusted(view), set.trusted, "trust is published that the responses do not give");
        }
    }

    /// Remembers what is in the table.
    pub fn remember(&mut self, view: &FamilyView<'_>, addresses: Vec<IpAddr>) {
        self.version = view.version();
        self.set_version = view.set_version();
        self.expire_ms = view.expire_ms();
        self.sorted = view.sorted();
        self.trusted = trusted(view);
        self.addresses = addresses;
    }

    /// The addresses in the table, without an order.
    pub fn set(&self) -> BTreeSet<IpAddr> {
        if self.set_version == 0 { BTreeSet::new() } else { self.addresses.iter().copied().collect() }
    }
}
