//! The oracle's record of each question and of its rounds.

use super::provenance::{Good, Set, trusted};
use super::saved;
use super::trust::{Verdicts, verdicts};
use hither_rounds::{AttemptId, ClientId, Question, Source, UpstreamId};
use hither_table::{FamilyView, Monotonic, Negative};
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// The content of one message.
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
    /// The response has another id, or another question.
    Forged,
    /// The response has another letter case, or no question.
    Unusual,
    /// The response came over an encrypted connection, and is one to another query, truncated, or cannot be
    /// read: its attempt has failed.
    Useless,
    /// A part of the response cannot be read. `edns`: the query had EDNS.
    Unreadable {
        udp: bool,
        edns: bool,
    },
}

/// How a query is sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Whether the query is for an alias of the question's name.
    pub chased: bool,
    pub tcp: bool,
    /// Whether QNAME is in mixed letter case.
    pub mixed: bool,
}

/// A round as far as its queries show it.
#[derive(Clone, Debug)]
pub(super) struct SeenRound {
    pub started: Monotonic,
    /// The part of the round's time in which the host slept and no query could be sent.
    pub slept: Duration,
    /// The deadline. It is inherited from the round that this one replaced while clients waited, if any.
    pub deadline: Monotonic,
    /// Upstreams that need not be queried, since they are down.
    pub excused: BTreeSet<usize>,
    pub asked: BTreeSet<UpstreamId>,
    pub open: BTreeMap<AttemptId, UpstreamId>,
    /// Upstreams to which an attempt failed. For each of them one further upstream is due.
    pub failed: BTreeSet<UpstreamId>,
    pub good: Vec<Good>,
    pub dissent: Dissent,
    /// When the first dangling CNAME expires, in milliseconds.
    pub dangling_until_ms: Option<u64>,
    /// The number of upstreams that were configured.
    pub upstreams: usize,
    /// Whether a flush or other upstreams ended the round, so that it must not publish any more.
    pub void: bool,
    /// Whether the round was evicted for a new client.
    pub evicted: bool,
}

/// The upstreams that did not give usable addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Dissent {
    /// Those that denied the name or the type, and whether such a denial counts.
    pub denied: BTreeMap<UpstreamId, bool>,
    /// Those that gave private addresses.
    pub private: BTreeSet<UpstreamId>,
    /// The denials that count.
    pub denials: Vec<Denial>,
}

/// A denial that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Denial {
    pub came: Monotonic,
    pub kind: Negative,
    pub until_ms: u64,
}

impl SeenRound {
    /// When the union of the round's answers expires, in milliseconds.
    pub fn until_ms(&self, name: &Name) -> Option<u64> {
        Set::of(name, &self.good).until_ms
    }

    /// Whether every upstream has been queried that is not excused.
    pub fn all_asked(&self) -> bool {
        (0..self.upstreams).all(|n| self.excused.contains(&n) || self.asked.contains(&UpstreamId(n as u16)))
    }
}

/// A question: its rounds, its clients, and its set in the table.
#[derive(Default)]
pub(super) struct Known {
    pub rounds: Vec<SeenRound>,
    /// The waiting clients, each with its deadline.
    pub clients: BTreeMap<ClientId, Monotonic>,
    /// The source of the client that asked last.
    pub source: Option<Source>,
    /// Whether a client has asked, so that the next query begins a round if no attempt is outstanding.
    pub fresh: bool,
    /// The deadline that the next round inherits.
    pub inherits: Option<Monotonic>,
    /// Whether the latest round began in this call, in which the round before may have ended.
    pub began: bool,
    pub version: u64,
    /// The set version in the table. 0: the table has no set to compare the next one with.
    pub set_version: u64,
    pub round_id: u64,
    /// The index in `rounds` of the round that published the set.
    pub round_of_set: usize,
    pub failed_until: Option<Monotonic>,
    pub expire_ms: u64,
    pub sorted: bool,
    pub addresses: Vec<IpAddr>,
    /// The trusted addresses, and the verdicts.
    pub standing: (BTreeSet<IpAddr>, Verdicts),
    /// The saved set of the question, which has to be restored, or was.
    pub saved: Option<saved::Saved>,
    /// Whether the set that was in the table has become void, so that it must not be there again.
    pub doubted: bool,
}

impl Known {
    /// Notes that a flush or other upstreams end the round. Waiting clients get another one.
    pub fn restart(&mut self) {
        self.fresh = true;
        self.inherits = self.rounds.last().map(|round| round.deadline);
        if let Some(round) = self.rounds.last_mut() {
            round.void = true;
        }
    }

    /// Judges that an address is trusted as soon as another upstream confirms it.
    pub fn judge_trust(&self, question: &Question, view: &FamilyView<'_>) {
        let latest = self.rounds.len().checked_sub(1).filter(|latest| *latest == self.round_of_set);
        let live = self.saved.is_none() && view.round() == self.round_id;
        if let Some(round) = latest.filter(|_| live).and_then(|latest| self.rounds.get(latest))
            && view.negative().is_none()
        {
            let set = Set::of(&question.name, &round.good);
            assert_eq!(trusted(view), set.trusted, "the trusted addresses are not those of the responses");
        }
    }

    /// Remembers the set in the table.
    pub fn remember(&mut self, view: &FamilyView<'_>, addresses: Vec<IpAddr>) {
        self.version = view.version();
        self.set_version = view.set_version();
        self.expire_ms = view.expire_ms();
        self.sorted = view.sorted();
        self.standing = (trusted(view), verdicts(view));
        self.addresses = addresses;
    }

    /// The addresses in the table, without an order.
    pub fn set(&self) -> BTreeSet<IpAddr> {
        if self.set_version == 0 { BTreeSet::new() } else { self.addresses.iter().copied().collect() }
    }
}
