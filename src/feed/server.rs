//! The daemon's half of the feed, sans-IO: subscribers, leases, records and gaps, limits, and the times at
//! which leased names are renewed.
//!
//! [`Feed`] owns no socket, no clock and no table: time comes in, and a function that looks a name up.
//! The shell reports new and lost connections ([`Feed::connect`], [`Feed::disconnect`]), datagrams
//! ([`Feed::subscribe`]) and changes of the table ([`Feed::note`], [`Feed::look_again`]). It sends what
//! [`Feed::next_record`] returns and reports whether the socket took it, begins the rounds that
//! [`Feed::next_ask`] wants, says which were tried, and calls [`Feed::work`] for the slices that are left.
//!
//! It promises: a subscriber that reads gets a record for every change of its names, or one for several
//! changes that says so; a subscriber that does not read costs one mark for each of its names, and is
//! told of a gap; no user takes the shares of another; each call does bounded work.

mod delivery;
mod leases;
mod marks;
mod pace;
mod refreshes;
mod state;
mod subscribers;
mod users;

pub use refreshes::Ask;
pub use state::{Look, Secrets, Seen};
pub use users::{Limits, Owner};

use crate::{Families, Names, Record, Refusal, Subscription};
use hither_table::{Family, Monotonic};
use hither_wire::name::Name;
use leases::Leases;
use state::Ticks;
use std::collections::{BTreeSet, VecDeque};
use subscribers::{Answer, Subscribers};
use users::Users;

/// Both families, in the order of the arrays here.
const FAMILIES: [Family; 2] = [Family::A, Family::Aaaa];
/// Subscribers that are gone and not yet removed. Beyond that no connection is taken.
const LEAVING_SUBSCRIBERS_MAX: usize = 1024;

/// A subscriber. Its number is used again when all its subscriptions are removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubscriberId(pub u32);

/// What was done since the start, and what there is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Subscribers that are connected now.
    pub subscribers: u64,
    /// Subscriptions now: a name that two subscribers have counts twice.
    pub names: u64,
    /// Records of changes that were sent.
    pub records: u64,
    /// Records of gaps that were sent.
    pub gaps: u64,
}

/// The pass over all leases that looks each up again.
#[derive(Debug, Default)]
struct Sweep {
    /// The next lease; `None`: no pass is under way.
    at: Option<u32>,
    /// A pass is wanted, at the earliest at this time.
    due: Option<Monotonic>,
    /// When the last one began.
    began: Option<Monotonic>,
    /// Whether the next pass tries names again that could not be looked up.
    retries: bool,
    /// Whether the present one does.
    is_retrying: bool,
}

/// The feed. See the module.
#[derive(Debug)]
pub struct Feed {
    limits: Limits,
    users: Users,
    leases: Leases,
    subscribers: Subscribers,
    /// When which lease is to be renewed.
    timers: BTreeSet<(Ticks, u32)>,
    sweep: Sweep,
    /// Subscribers that are gone and still have subscriptions.
    leaving: VecDeque<u32>,
    counts: Counts,
}

impl Feed {
    /// A feed without subscribers. `seed` must be unpredictable: it keys the hash of names.
    #[must_use]
    pub fn new(limits: Limits, seed: [u64; 2]) -> Feed {
        Feed {
            limits,
            users: Users::new(limits),
            leases: Leases::new(Secrets::new(seed)),
            subscribers: Subscribers::default(),
            timers: BTreeSet::new(),
            sweep: Sweep::default(),
            leaving: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// The keys of the hashes by which address sets are compared.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        self.leases.secrets()
    }

    /// Puts other limits in force. Subscribers and names beyond them stay.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.users.set_limits(limits);
    }

    /// What was done and what there is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (subscribers, names) = self.users.totals();
        Counts { subscribers: subscribers as u64, names: names as u64, ..self.counts }
    }

    /// Whether no name is leased, so that changes of the table need not be reported.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.leases.is_empty()
    }

    /// Takes a new connection.
    ///
    /// # Errors
    /// The limit that it would exceed. The shell sends [`Feed::refusal`] and closes it.
    pub fn connect(&mut self, owner: Owner) -> Result<SubscriberId, Refusal> {
        if self.leaving.len() >= LEAVING_SUBSCRIBERS_MAX {
            return Err(Refusal::SubscribersOfAll);
        }
        self.users.connect(owner)?;
        Ok(SubscriberId(self.subscribers.add(owner)))
    }

    /// The record with which a connection is refused.
    #[must_use]
    pub fn refusal(reason: Refusal) -> Record<'static> {
        Record::Refused { reason, names: 0 }
    }

    /// Whether the next datagram of a subscriber may be read: the last one is answered, and what other
    /// subscribers left behind is removed.
    #[must_use]
    pub fn may_read(&self, id: SubscriberId) -> bool {
        self.leaving.is_empty() && self.subscribers.get(id.0).is_some_and(|one| one.answer.is_none())
    }

    /// Takes a datagram, all of it or nothing. `version` is the table's last one. The answer is among the
    /// next records.
    pub fn subscribe(
        &mut self,
        now: Monotonic,
        id: SubscriberId,
        datagram: &[u8],
        version: u64,
        look: &mut Look<'_>,
    ) {
        let Some(one) = self.subscribers.get(id.0) else { return };
        let (owner, names) = (one.owner, one.names);
        let answer = match self.admit(id.0, owner, datagram) {
            Err(reason) => Answer::Refused { reason, names },
            Ok(all) => {
                for Subscription { families, name } in all {
                    self.lease(now, id.0, families, &name.to_lower(), look);
                }
                let names = self.subscribers.get(id.0).map_or(names, |one| one.names);
                Answer::Accepted { names, version }
            }
        };
        self.subscribers.answer(id.0, answer);
    }

    /// The names of a datagram, if they are within the limits. A name that is there twice counts twice.
    fn admit<'d>(&self, id: u32, owner: Owner, datagram: &'d [u8]) -> Result<Names<'d>, Refusal> {
        let all = Names::read(datagram).map_err(|_| Refusal::Malformed)?;
        let is_new = |one: &Subscription| {
            let lease = self.leases.find(one.name.to_lower().as_wire());
            lease.is_none_or(|lease| self.leases.subscription(lease, id).is_none())
        };
        let new = all.clone().filter(is_new).count();
        self.users.may_add(owner, new)?;
        Ok(all)
    }

    /// Adds one subscription, and a lease for it if the name has none.
    fn lease(&mut self, now: Monotonic, id: u32, families: Families, name: &Name, look: &mut Look<'_>) {
        let lease = match self.leases.find(name.as_wire()) {
            Some(lease) => lease,
            None => {
                let lease = self.leases.add(name.as_wire());
                self.see(now, lease, look(name));
                lease
            }
        };
        if let Some(known) = self.leases.subscription(lease, id) {
            self.leases.widen(known, families);
        } else if let Some(one) = self.subscribers.get_mut(id) {
            one.first = self.leases.subscribe(lease, id, families, one.first);
            one.names += 1;
            self.users.add(one.owner, 1);
            if self.leases.get_mut(lease).is_some_and(|own| own.timer == Ticks::WAITS) {
                self.users.wait_too(one.owner, lease);
            }
        }
        self.schedule(lease);
    }

    /// A connection has ended. Its subscriptions are removed by [`Feed::work`].
    pub fn disconnect(&mut self, id: SubscriberId) {
        let Some(one) = self.subscribers.get_mut(id.0).filter(|one| !one.is_leaving) else { return };
        one.is_leaving = true;
        let (owner, names) = (one.owner, one.names as usize);
        self.users.disconnect(owner, names);
        self.leaving.push_back(id.0);
        self.work_on_leaving(0);
    }

    /// A change of the table: what it says of a name now, in wire form and lower case.
    pub fn note(&mut self, now: Monotonic, name: &[u8], seen: impl FnOnce(&Secrets) -> [Seen; 2]) {
        if let Some(lease) = self.leases.find(name) {
            let seen = seen(self.leases.secrets());
            self.see(now, lease, seen);
            self.schedule(lease);
        }
    }

    /// Takes over what is known of a lease now, and marks its subscribers if it has changed.
    fn see(&mut self, now: Monotonic, lease: u32, seen: [Seen; 2]) {
        for (family, seen) in FAMILIES.into_iter().zip(seen) {
            if let Some(level) = self.leases.observe(lease, family, seen, now) {
                self.mark(lease, family, level);
            }
        }
    }

    /// Makes [`Feed::work`] look all leases up again: at once, or, since the table removes entries often,
    /// a second after the last time.
    pub fn look_again(&mut self, now: Monotonic, is_urgent: bool) {
        if self.leases.is_empty() {
            return;
        }
        let pause = std::time::Duration::from_secs(1);
        let at = self.sweep.began.filter(|_| !is_urgent).map_or(now, |began| began.plus(pause));
        self.sweep.due = Some(self.sweep.due.map_or(at, |due| due.min(at)));
    }

    /// Like [`Feed::look_again`], and names that could not be looked up are tried again: the network or
    /// the upstreams have changed.
    pub fn retry(&mut self, now: Monotonic) {
        self.sweep.retries = true;
        self.look_again(now, true);
    }

    /// Does a slice of what is left: looks up leases again, and removes subscriptions of subscribers that
    /// are gone. Returns whether there is more to do at once.
    pub fn work(&mut self, now: Monotonic, slice: usize, look: &mut Look<'_>) -> bool {
        self.work_on_leaving(slice);
        if self.sweep.at.is_none() && self.sweep.due.is_some_and(|due| due <= now) {
            let is_retrying = std::mem::take(&mut self.sweep.retries);
            self.sweep = Sweep { at: Some(0), began: Some(now), is_retrying, ..Sweep::default() };
        }
        if let Some(from) = self.sweep.at {
            let end = self.leases.end();
            let to = end.min(from.saturating_add(u32::try_from(slice).unwrap_or(u32::MAX)));
            for lease in from..to {
                if let Some(name) = self.leases.name(lease) {
                    self.see(now, lease, look(&name));
                    if self.sweep.is_retrying {
                        self.leases.forget_failures(lease, now);
                    }
                    self.schedule(lease);
                }
            }
            self.sweep.at = (to < end).then_some(to);
        }
        self.has_work(now)
    }

    /// Whether [`Feed::work`] has something to do at once.
    #[must_use]
    pub fn has_work(&self, now: Monotonic) -> bool {
        !self.leaving.is_empty() || self.sweep.at.is_some() || self.sweep.due.is_some_and(|due| due <= now)
    }

    fn work_on_leaving(&mut self, slice: usize) {
        let mut left = slice;
        while let Some(id) = self.leaving.front().copied() {
            let mut first = self.subscribers.get(id).map_or(leases::NONE, |one| one.first);
            while left > 0 && first != leases::NONE {
                left -= 1;
                let removed = self.leases.unsubscribe(first);
                first = removed.next;
                match removed.unused_lease {
                    Some(timer) => drop(self.timers.remove(&timer)),
                    None => self.schedule(removed.lease),
                }
            }
            if let Some(one) = self.subscribers.get_mut(id) {
                one.first = first;
            }
            if first != leases::NONE {
                return;
            }
            self.subscribers.remove(id);
            self.leaving.pop_front();
        }
    }

    /// When the shell has to call again without an event.
    #[must_use]
    pub fn timeout(&self) -> Option<Monotonic> {
        let timer = self.timers.first().map(|(at, _)| at.time());
        timer.into_iter().chain(self.sweep.due).chain(self.users.timeout()).min()
    }

    /// Checks what must hold between two calls, for tests.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        self.leases.check(&self.timers);
        self.subscribers.check();
    }
}
