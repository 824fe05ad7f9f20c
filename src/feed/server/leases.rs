//! The leases and subscriptions, in few octets each: names are found by a keyed hash, and the
//! subscriptions of a lease are a list.

use super::marks::Marks;
use super::state::{Known, Level, Progress, Secrets, Seen, State, Ticks, at};
use super::{FAMILIES, Families};
use crate::Cause;
use hashbrown::HashTable;
use hither_table::{Family, Monotonic};
use hither_wire::name::Name;
use slab::Slab;
use std::collections::BTreeSet;

/// No subscription, at the end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// A name that somebody subscribes to.
#[derive(Debug)]
pub(super) struct Lease {
    name: Box<[u8]>,
    known: [Known; 2],
    progress: [Progress; 2],
    /// Its first subscription.
    first: u32,
    /// When it is in the timers; [`Ticks::WAITS`]: it waits for a user's share instead.
    pub timer: Ticks,
}

/// The interest of one subscriber in one lease.
#[derive(Debug)]
struct Subscription {
    lease: u32,
    /// Its neighbours among the subscriptions of the lease. The one before the first is the last.
    next_of_lease: u32,
    previous_of_lease: u32,
    next_of_subscriber: u32,
    /// The next one that its subscriber has to be told of.
    next_marked: u32,
    subscriber: u16,
    families: Families,
    marks: Marks,
}

/// The rest of a list from which a subscription was removed.
#[derive(Debug)]
pub(super) struct Removed {
    pub next: u32,
    pub lease: u32,
    /// The timer of the lease, which nobody holds any more and which is removed.
    pub unused_lease: Option<(Ticks, u32)>,
}

/// What a subscriber is told next of a subscription.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub lease: u32,
    pub family: Family,
    pub cause: Cause,
    pub is_coalesced: bool,
}

/// All leases and subscriptions.
#[derive(Debug)]
pub(super) struct Leases {
    secrets: Secrets,
    leases: Slab<Lease>,
    /// One more than the largest key of a lease so far.
    end: u32,
    subscriptions: Slab<Subscription>,
    by_name: HashTable<u32>,
    /// Subscriptions by lease and subscriber, of leases that have had several.
    by_pair: HashTable<u32>,
}

/// Makes room for one more, by a sixteenth at a time: doubling would waste half of the memory.
fn reserve<T>(slab: &mut Slab<T>) {
    if slab.len() == slab.capacity() {
        slab.reserve_exact(slab.len() / 16 + 16);
    }
}

fn key(id: usize) -> u32 {
    u32::try_from(id).unwrap_or(NONE)
}

impl Leases {
    pub fn new(secrets: Secrets) -> Leases {
        Leases {
            secrets,
            leases: Slab::new(),
            end: 0,
            subscriptions: Slab::new(),
            by_name: HashTable::new(),
            by_pair: HashTable::new(),
        }
    }

    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// All keys of leases are below it.
    pub fn end(&self) -> u32 {
        self.end
    }

    pub fn get_mut(&mut self, lease: u32) -> Option<&mut Lease> {
        self.leases.get_mut(lease as usize)
    }

    pub fn octets_of_name(&self, lease: u32) -> &[u8] {
        self.leases.get(lease as usize).map_or(&[], |lease| &lease.name)
    }

    pub fn name(&self, lease: u32) -> Option<Name> {
        Name::from_wire(&self.leases.get(lease as usize)?.name).ok()
    }

    /// The lease of a name in lower-case wire form.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        let is_it = |lease: &u32| self.octets_of_name(*lease) == name;
        self.by_name.find(self.secrets.hash(name), is_it).copied()
    }

    /// Adds a lease for a name that has none.
    pub fn add(&mut self, name: &[u8]) -> u32 {
        reserve(&mut self.leases);
        let lease = key(self.leases.insert(Lease {
            name: name.into(),
            known: [Known::NEW; 2],
            progress: [Progress::NEW; 2],
            first: NONE,
            timer: Ticks::NEVER,
        }));
        self.end = self.end.max(lease + 1);
        let (leases, secrets) = (&self.leases, &self.secrets);
        let hash = |lease: &u32| leases.get(*lease as usize).map_or(0, |lease| secrets.hash(&lease.name));
        self.by_name.insert_unique(secrets.hash(name), lease, hash);
        lease
    }

    fn hash_of_pair(secrets: &Secrets, lease: u32, subscriber: u32) -> u64 {
        secrets.hash(&(u64::from(lease) << 32 | u64::from(subscriber)).to_le_bytes())
    }

    /// The subscription of a subscriber to a lease.
    pub fn subscription(&self, lease: u32, subscriber: u32) -> Option<u32> {
        let first = self.leases.get(lease as usize)?.first;
        let own = self.subscriptions.get(first as usize)?;
        if u32::from(own.subscriber) == subscriber {
            return Some(first);
        }
        if own.next_of_lease == NONE {
            return None;
        }
        self.find_pair(lease, subscriber)
    }

    fn find_pair(&self, lease: u32, subscriber: u32) -> Option<u32> {
        let is_it = |own: &u32| {
            let own = self.subscriptions.get(*own as usize);
            own.is_some_and(|own| own.lease == lease && u32::from(own.subscriber) == subscriber)
        };
        self.by_pair.find(Self::hash_of_pair(&self.secrets, lease, subscriber), is_it).copied()
    }

    /// Adds a subscription, before the others of the lease and before `first` of the subscriber.
    pub fn subscribe(&mut self, lease: u32, subscriber: u32, families: Families, first: u32) -> u32 {
        let next = self.leases.get(lease as usize).map_or(NONE, |lease| lease.first);
        let last = self.subscriptions.get(next as usize).map_or(NONE, |next| next.previous_of_lease);
        reserve(&mut self.subscriptions);
        let new = key(self.subscriptions.insert(Subscription {
            lease,
            next_of_lease: next,
            previous_of_lease: last,
            next_of_subscriber: first,
            next_marked: NONE,
            subscriber: u16::try_from(subscriber).unwrap_or(u16::MAX),
            families,
            marks: Marks::default(),
        }));
        if let Some(next) = self.subscriptions.get_mut(next as usize) {
            next.previous_of_lease = new;
        } else if let Some(own) = self.subscriptions.get_mut(new as usize) {
            own.previous_of_lease = new;
        }
        if let Some(lease) = self.leases.get_mut(lease as usize) {
            lease.first = new;
        }
        if next != NONE {
            self.index(next);
            self.index(new);
        }
        new
    }

    /// Adds a subscription to the index, unless it is there.
    fn index(&mut self, subscription: u32) {
        let Some(own) = self.subscriptions.get(subscription as usize) else { return };
        let (lease, subscriber) = (own.lease, u32::from(own.subscriber));
        if self.find_pair(lease, subscriber).is_some() {
            return;
        }
        let (all, secrets) = (&self.subscriptions, &self.secrets);
        let hash = |own: &u32| {
            let own = all.get(*own as usize);
            own.map_or(0, |own| Self::hash_of_pair(secrets, own.lease, own.subscriber.into()))
        };
        self.by_pair.insert_unique(Self::hash_of_pair(secrets, lease, subscriber), subscription, hash);
    }

    /// Adds families to a subscription.
    pub fn widen(&mut self, subscription: u32, families: Families) {
        if let Some(own) = self.subscriptions.get_mut(subscription as usize) {
            own.families = own.families.and(families);
        }
    }

    /// Removes a subscription, and its lease if it was the last one.
    pub fn unsubscribe(&mut self, subscription: u32) -> Removed {
        let Some(own) = self.subscriptions.try_remove(subscription as usize) else {
            return Removed { next: NONE, lease: NONE, unused_lease: None };
        };
        let hash = Self::hash_of_pair(&self.secrets, own.lease, own.subscriber.into());
        if let Ok(entry) = self.by_pair.find_entry(hash, |one| *one == subscription) {
            entry.remove();
        }
        let first = self.first(own.lease);
        let after = if own.next_of_lease == NONE { first } else { own.next_of_lease };
        if let Some(after) = self.subscriptions.get_mut(after as usize) {
            after.previous_of_lease = own.previous_of_lease;
        }
        if first != subscription {
            if let Some(previous) = self.subscriptions.get_mut(own.previous_of_lease as usize) {
                previous.next_of_lease = own.next_of_lease;
            }
        } else if let Some(lease) = self.leases.get_mut(own.lease as usize) {
            lease.first = own.next_of_lease;
        }
        let is_unused = first == subscription && own.next_of_lease == NONE;
        let unused_lease = is_unused.then(|| (self.remove(own.lease), own.lease));
        if self.leases.is_empty() {
            // The memory of the busiest time is not kept.
            *self = Leases::new(self.secrets.clone());
        }
        Removed { next: own.next_of_subscriber, lease: own.lease, unused_lease }
    }

    /// Removes a lease. Returns its timer.
    fn remove(&mut self, lease: u32) -> Ticks {
        let hash = self.secrets.hash(self.octets_of_name(lease));
        if let Ok(entry) = self.by_name.find_entry(hash, |one| *one == lease) {
            entry.remove();
        }
        self.leases.try_remove(lease as usize).map_or(Ticks::NEVER, |lease| lease.timer)
    }

    /// Takes over what was seen of a family. Returns what has changed.
    pub fn observe(&mut self, lease: u32, family: Family, seen: Seen, now: Monotonic) -> Option<Level> {
        let lease = self.leases.get_mut(lease as usize)?;
        let (known, progress) = (&mut lease.known[at(family)], &mut lease.progress[at(family)]);
        progress.observe(known, seen, now)
    }

    /// The families for which a round is due, now asked for, and what subscribers have to be told.
    pub fn ask(&mut self, lease: u32, family: Family, now: Monotonic) -> (bool, Option<Level>) {
        if !self.is_wanted(lease, family) {
            return (false, None);
        }
        let Some(lease) = self.leases.get_mut(lease as usize) else { return (false, None) };
        lease.progress[at(family)].ask(&mut lease.known[at(family)], now)
    }

    /// The round that [`Leases::ask`] asked for was tried.
    pub fn note_tried(&mut self, lease: u32, family: Family) {
        if let Some(lease) = self.leases.get_mut(lease as usize) {
            lease.progress[at(family)].note_tried();
        }
    }

    /// Lets the rounds that brought nothing be repeated at once, for both families.
    pub fn forget_failures(&mut self, lease: u32, now: Monotonic) {
        if let Some(lease) = self.leases.get_mut(lease as usize) {
            let all = lease.progress.iter_mut().zip(&mut lease.known);
            all.for_each(|(progress, known)| progress.forget_failures(known, now));
        }
    }

    /// When the first round of a lease is due.
    pub fn due(&self, lease: u32) -> Ticks {
        let of = |family: &Family| {
            let lease_ = self.leases.get(lease as usize)?;
            self.is_wanted(lease, *family).then(|| lease_.known[at(*family)].due)
        };
        FAMILIES.iter().filter_map(of).min().unwrap_or(Ticks::NEVER)
    }

    fn of_lease(&self, lease: u32) -> impl Iterator<Item = (u32, &Subscription)> {
        let first = self.leases.get(lease as usize).map_or(NONE, |lease| lease.first);
        let get = |id: u32| self.subscriptions.get(id as usize).map(|own| (id, own));
        std::iter::successors(get(first), move |(_, own)| get(own.next_of_lease))
    }

    fn is_wanted(&self, lease: u32, family: Family) -> bool {
        self.of_lease(lease).any(|(_, own)| own.families.includes(family))
    }

    /// The first of all subscribers of a lease, and then the latest ones.
    pub fn subscribers(&self, lease: u32) -> impl Iterator<Item = u32> {
        let get = |id: u32| self.subscriptions.get(id as usize);
        let last = get(self.first(lease)).and_then(|latest| get(latest.previous_of_lease));
        let latest = self.of_lease(lease).map(|(_, own)| own);
        last.into_iter().chain(latest).map(|own| own.subscriber.into())
    }

    /// The first subscription of a lease.
    pub fn first(&self, lease: u32) -> u32 {
        self.leases.get(lease as usize).map_or(NONE, |lease| lease.first)
    }

    /// Marks a subscription, if it wants the family. Returns the next one of the lease, and the subscriber
    /// if the subscription has to be put into its queue.
    pub fn mark(&mut self, subscription: u32, family: Family, level: Level) -> (u32, Option<u32>) {
        let Some(own) = self.subscriptions.get_mut(subscription as usize) else { return (NONE, None) };
        if !own.families.includes(family) {
            return (own.next_of_lease, None);
        }
        own.marks.add(family, level);
        let is_new = own.marks.queue();
        (own.next_of_lease, is_new.then_some(own.subscriber.into()))
    }

    /// Puts a marked subscription behind another one.
    pub fn set_next_marked(&mut self, subscription: u32, next: u32) {
        if let Some(own) = self.subscriptions.get_mut(subscription as usize) {
            own.next_marked = next;
        }
    }

    /// What the subscriber of a marked subscription is told.
    pub fn told(&self, subscription: u32) -> Option<Told> {
        let own = self.subscriptions.get(subscription as usize)?;
        let (family, level) =
            FAMILIES.into_iter().find_map(|f| own.marks.level(f).map(|level| (f, level)))?;
        let lease = self.leases.get(own.lease as usize)?;
        let cause = match (lease.progress[at(family)].state, level) {
            (State::Set, Level::Order) => Cause::Order,
            (State::Set, Level::Set) => Cause::NewSet,
            (State::Denied, _) => Cause::Withdrawn,
            (State::Local, _) => Cause::Local,
            // What went missing a moment ago holds until a round has shown that it is gone.
            (State::Missing, _) if lease.known[at(family)].set_version == 0 => Cause::Local,
            (State::Missing, Level::Order) => Cause::Order,
            (State::Missing, Level::Set) => Cause::NewSet,
            (State::Gone, _) => Cause::Gone,
        };
        Some(Told { lease: own.lease, family, cause, is_coalesced: own.marks.is_coalesced(family) })
    }

    /// The versions of a lease.
    pub fn versions(&self, lease: u32, family: Family) -> (u64, u64) {
        let known = self.leases.get(lease as usize).map(|lease| lease.known[at(family)]);
        known.map_or((0, 0), |known| (known.version, known.set_version))
    }

    /// Removes the mark that was told. Returns the next marked subscription, if this one has no other mark.
    pub fn note_told(&mut self, subscription: u32, family: Family) -> Option<u32> {
        let own = self.subscriptions.get_mut(subscription as usize)?;
        own.marks.clear(family);
        if own.marks.has_more() {
            return None;
        }
        own.marks = Marks::default();
        Some(std::mem::replace(&mut own.next_marked, NONE))
    }

    /// Checks what must hold between two calls.
    pub fn check(&self, timers: &BTreeSet<(Ticks, u32)>) {
        assert_eq!(self.by_name.len(), self.leases.len());
        let timed = self.leases.iter().filter(|(_, lease)| lease.timer < Ticks::WAITS);
        let timed: BTreeSet<_> = timed.map(|(id, lease)| (lease.timer, key(id))).collect();
        assert_eq!(&timed, timers, "each timer is that of a lease");
        let mut held = 0;
        for (id, own) in &self.subscriptions {
            assert_eq!(self.subscription(own.lease, own.subscriber.into()), Some(key(id)));
        }
        for (id, lease) in &self.leases {
            assert!(lease.first != NONE, "somebody holds each lease");
            assert_eq!(self.find(&lease.name), Some(key(id)));
            held += self.of_lease(key(id)).count();
            let last = self.of_lease(key(id)).last().map(|(last, _)| last);
            assert_eq!(last, self.subscriptions.get(lease.first as usize).map(|own| own.previous_of_lease));
        }
        assert_eq!(held, self.subscriptions.len(), "each subscription is in the list of its lease");
    }
}
