//! The users of the feed: what each has, what each may have, and whose round is next.

use super::pace::Pace;
use crate::Refusal;
use hither_table::Monotonic;
use std::collections::{BTreeMap, VecDeque};

/// The user id that the kernel shows for all users that are not mapped into the daemon's user namespace
/// (PrivateUsers=).
const OVERFLOW_UID: u32 = 65_534;

/// The largest number of subscribers, whatever the limits say: a subscription names its subscriber in two
/// octets, and some more are still being removed.
const SUBSCRIBERS_MAX: usize = 60_000;

/// The limits of the feed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Subscribers of all users, at most 60 000.
    pub subscribers: usize,
    /// Subscribers of one user.
    pub subscribers_per_user: usize,
    /// Subscriptions of all users.
    pub names: usize,
    /// Subscriptions of one user.
    pub names_per_user: usize,
    /// Rounds a second for the leases of all users.
    pub rounds: u32,
    /// Rounds a second for the leases of one user.
    pub rounds_per_user: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            subscribers: 1024,
            subscribers_per_user: 64,
            names: 100_000,
            names_per_user: 10_000,
            rounds: 1000,
            rounds_per_user: 200,
        }
    }
}

/// A user, or a process of a user that is not mapped into the daemon's user namespace. All of those together
/// get half of each limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Owner {
    uid: u32,
    pid: i32,
}

impl Owner {
    /// The owner of a connection, by what the kernel says of the process at its other end.
    #[must_use]
    pub const fn of(uid: u32, pid: i32) -> Owner {
        Owner { uid, pid: if uid == OVERFLOW_UID { pid } else { 0 } }
    }

    const fn is_unmapped(self) -> bool {
        self.uid == OVERFLOW_UID
    }
}

/// What a user has.
#[derive(Debug)]
struct User {
    subscribers: usize,
    names: usize,
    pace: Pace,
    /// The leases of the user that wait for a round.
    waiting: VecDeque<u32>,
}

/// What several users have together.
#[derive(Debug)]
struct Together {
    subscribers: usize,
    names: usize,
    pace: Pace,
}

impl Together {
    fn new(rounds: u32) -> Together {
        Together { subscribers: 0, names: 0, pace: Pace::new(rounds) }
    }
}

/// All users that have subscribers.
#[derive(Debug)]
pub(super) struct Users {
    limits: Limits,
    users: BTreeMap<Owner, User>,
    all: Together,
    unmapped: Together,
    /// Users with waiting leases, in the order of their turns.
    rotation: VecDeque<Owner>,
    /// When the next round may begin, if leases wait.
    next: Option<Monotonic>,
}

impl Users {
    pub fn new(limits: Limits) -> Users {
        Users {
            limits,
            users: BTreeMap::new(),
            all: Together::new(limits.rounds),
            unmapped: Together::new(limits.rounds / 2),
            rotation: VecDeque::new(),
            next: None,
        }
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.all.pace.set_rate(limits.rounds);
        self.unmapped.pace.set_rate(limits.rounds / 2);
        self.users.values_mut().for_each(|user| user.pace.set_rate(limits.rounds_per_user));
    }

    /// Subscribers and names of all.
    pub fn totals(&self) -> (usize, usize) {
        (self.all.subscribers, self.all.names)
    }

    /// The groups that a user belongs to.
    fn groups(&mut self, owner: Owner) -> impl Iterator<Item = &mut Together> {
        std::iter::once(&mut self.all).chain(owner.is_unmapped().then_some(&mut self.unmapped))
    }

    pub fn connect(&mut self, owner: Owner) -> Result<(), Refusal> {
        let Limits { subscribers, subscribers_per_user, rounds_per_user, .. } = self.limits;
        let own = self.users.get(&owner).map_or(0, |user| user.subscribers);
        if own >= subscribers_per_user {
            return Err(Refusal::SubscribersOfUser);
        }
        let of_unmapped = self.unmapped.subscribers >= subscribers / 2 && owner.is_unmapped();
        if self.all.subscribers >= subscribers.min(SUBSCRIBERS_MAX) || of_unmapped {
            return Err(Refusal::SubscribersOfAll);
        }
        let new =
            || User { subscribers: 0, names: 0, pace: Pace::new(rounds_per_user), waiting: VecDeque::new() };
        self.users.entry(owner).or_insert_with(new).subscribers += 1;
        self.groups(owner).for_each(|group| group.subscribers += 1);
        Ok(())
    }

    /// Frees the slot of a subscriber and those of its names.
    pub fn disconnect(&mut self, owner: Owner, names: usize) {
        let Some(user) = self.users.get_mut(&owner) else { return };
        user.subscribers = user.subscribers.saturating_sub(1);
        user.names = user.names.saturating_sub(names);
        if user.subscribers == 0 && user.waiting.is_empty() {
            self.users.remove(&owner);
        }
        self.groups(owner).for_each(|group| {
            group.subscribers = group.subscribers.saturating_sub(1);
            group.names = group.names.saturating_sub(names);
        });
    }

    /// Whether a user may have so many more names.
    pub fn may_add(&self, owner: Owner, names: usize) -> Result<(), Refusal> {
        let own = self.users.get(&owner).map_or(0, |user| user.names);
        if names > 0 && own.saturating_add(names) > self.limits.names_per_user {
            return Err(Refusal::NamesOfUser);
        }
        let of_unmapped =
            owner.is_unmapped() && self.unmapped.names.saturating_add(names) > self.limits.names / 2;
        let of_all = self.all.names.saturating_add(names) > self.limits.names;
        if names > 0 && (of_all || of_unmapped) { Err(Refusal::NamesOfAll) } else { Ok(()) }
    }

    /// Counts names of a user.
    pub fn add(&mut self, owner: Owner, names: usize) {
        if let Some(user) = self.users.get_mut(&owner) {
            user.names += names;
            self.groups(owner).for_each(|group| group.names += names);
        }
    }

    /// How long a lease would wait for its user: the rounds before it. `None`: no subscriber is left.
    pub fn rounds_before(&mut self, owner: Owner, now: Monotonic) -> Option<usize> {
        self.unmapped.pace.advance(now);
        let user = self.users.get_mut(&owner).filter(|user| user.subscribers > 0)?;
        user.pace.advance(now);
        let is_free = user.pace.allows() && (!owner.is_unmapped() || self.unmapped.pace.allows());
        Some(user.waiting.len() + usize::from(!is_free))
    }

    /// Lets a lease that waits for another user wait for this one too, which has subscribed to it.
    pub fn wait_too(&mut self, owner: Owner, lease: u32) {
        // Each of its names once, so that subscribing again and again does not make the queue longer.
        if self.users.get(&owner).is_some_and(|user| user.waiting.len() < user.names) {
            self.wait(owner, lease);
        }
    }

    /// Lets a lease wait until its user may begin a round.
    /// `false`: the user has no subscriber any more.
    pub fn wait(&mut self, owner: Owner, lease: u32) -> bool {
        let Some(user) = self.users.get_mut(&owner) else { return false };
        if user.waiting.is_empty() {
            self.rotation.push_back(owner);
        }
        user.waiting.push_back(lease);
        self.next = Some(Monotonic(0));
        true
    }

    /// The next lease whose round may begin, and its user. Each user has its turn.
    pub fn next(&mut self, now: Monotonic) -> Option<(Owner, u32)> {
        self.all.pace.advance(now);
        self.unmapped.pace.advance(now);
        self.next = None;
        for _ in 0..self.rotation.len() {
            let owner = self.rotation.pop_front()?;
            let Some(user) = self.users.get_mut(&owner) else { continue };
            user.pace.advance(now);
            let group = if owner.is_unmapped() { Some(&self.unmapped.pace) } else { None };
            let paces = [Some(&self.all.pace), Some(&user.pace), group].into_iter().flatten();
            let blocked = paces.filter(|pace| !pace.allows()).map(Pace::next).max();
            if let Some(until) = blocked {
                self.next = Some(self.next.map_or(until, |next| next.min(until)));
                self.rotation.push_back(owner);
                continue;
            }
            let lease = user.waiting.pop_front();
            if !user.waiting.is_empty() {
                self.rotation.push_back(owner);
            } else {
                user.waiting = VecDeque::new();
                if user.subscribers == 0 {
                    self.users.remove(&owner);
                }
            }
            self.next = (!self.rotation.is_empty()).then_some(Monotonic(0));
            return lease.map(|lease| (owner, lease));
        }
        None
    }

    /// How many leases wait in the queue of a user, for tests.
    #[cfg(test)]
    pub fn waiting(&self, owner: Owner) -> usize {
        self.users.get(&owner).map_or(0, |user| user.waiting.len())
    }

    /// Counts a round that a user pays for.
    pub fn take(&mut self, owner: Owner) {
        self.groups(owner).for_each(|group| group.pace.take());
        if let Some(user) = self.users.get_mut(&owner) {
            user.pace.take();
        }
    }

    /// When [`Users::next`] has a lease.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.next
    }
}
