//! The sets that wait for measurements, and those whose orders wait to be sent. Pure: fed with the
//! records of the table.
//!
//! A set is ordered as soon as two of its addresses are known, again while more become known, and once
//! all are. A waiting set is its name and the addresses that are still to be measured; the set itself is
//! read from the table again when it is ordered. So memory is bounded: [`SETS_MAX`] sets of at most
//! [`PROBED_MAX`] addresses each. At the bound later published sets displace earlier ones, and
//! small sets large ones. A set that is displaced or refused is counted as passed over, and found
//! again by the next walk over the table.

mod interim;
mod measured;

use super::probe_choice::{Priority, ProbeChoice, SetSize, WAITING_MAX};
use super::probe_permission::may_be_probed;
use crate::config::Sort;
use hither_client::{Family, FamilyOrder, FamilyView, Monotonic, Name, Snapshot};
use hither_control::Order;
use measured::Measured;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// Addresses of one set that are measured within `sort.remeasure`: the first ones, in the order in
/// which they were published. The others rank behind them, unless another set has them measured.
pub(super) const PROBED_MAX: usize = 16;
/// Sets that wait, for measurements or for being sent; with all their indexes some 10 MiB.
pub(super) const SETS_MAX: usize = 8192;
/// Sets whose orders wait to be sent.
pub(super) const READY_MAX: usize = 1024;
/// The most addresses that a small set has to be measured.
const SMALL_MAX: usize = 4;
/// The time after the first order of a set before the next one, while addresses are missing. It doubles
/// with each.
const INTERIM_GAP: Duration = Duration::from_millis(50);

/// When a set may be ordered although addresses are missing.
#[derive(Clone, Copy, Debug)]
struct Interim {
    from: Monotonic,
    gap: Duration,
    /// The time for which it is planned.
    planned: Option<Monotonic>,
}

/// A set that waits: for measurements as long as addresses are missing, then for being sent.
#[derive(Debug)]
struct Set {
    name: Rc<[u8]>,
    family: Family,
    priority: Priority,
    unmeasured: Vec<IpAddr>,
    interim: Interim,
}

/// A set that is to be added.
struct NewSet<'a> {
    name: &'a [u8],
    family: Family,
    priority: Priority,
    unmeasured: Vec<IpAddr>,
    interim: Interim,
}

/// The way in which a set was found. A set that a walk found ranks behind all that were published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FoundBy {
    /// The set has just been published.
    Change,
    /// A walk over the table found the set.
    Walk,
}

#[derive(Debug)]
pub(super) struct Sets {
    /// `sort.private`: whether private addresses are probed too.
    private: bool,
    /// Whether both families of a name are weighed against each other, so that a family of one address is
    /// measured too.
    weighs_families: bool,
    /// `sort.hysteresis`: how much an order must gain.
    hysteresis: Duration,
    sets: Slab<Set>,
    /// The numbers in `sets` of a name's two sets.
    numbers: BTreeMap<Rc<[u8]>, [Option<usize>; 2]>,
    /// Sets with unmeasured addresses; the first one is displaced first.
    queue: BTreeSet<(Priority, usize)>,
    /// Addresses that sets wait for, each with the number of the set.
    waiting: BTreeSet<(IpAddr, usize)>,
    /// Sets whose orders can be sent, the oldest first.
    ready: BTreeSet<(i64, usize)>,
    /// Sets that are ordered at this time although addresses are missing.
    interim: BTreeSet<(Monotonic, usize)>,
    /// The greatest and the least recency that were given out.
    newest: i64,
    oldest: i64,
    /// Sets that were refused or displaced, so far.
    pub passed_over: u64,
}

const fn index_of(family: Family) -> usize {
    match family {
        Family::A => 0,
        Family::Aaaa => 1,
    }
}

impl Sets {
    pub fn new(sort: &Sort) -> Sets {
        Sets {
            private: sort.private,
            weighs_families: sort.withhold || sort.families == FamilyOrder::Measured,
            hysteresis: sort.hysteresis,
            sets: Slab::new(),
            numbers: BTreeMap::new(),
            queue: BTreeSet::new(),
            waiting: BTreeSet::new(),
            ready: BTreeSet::new(),
            interim: BTreeSet::new(),
            newest: 0,
            oldest: 0,
            passed_over: 0,
        }
    }

    /// Whether private addresses are probed too.
    pub fn probes_private(&self) -> bool {
        self.private
    }

    /// Takes the sets of a record: each replaces the name's earlier one.
    pub fn update(&mut self, record: &Snapshot, found_by: FoundBy, choice: &mut ProbeChoice, now: Monotonic) {
        for family in [Family::A, Family::Aaaa] {
            let before = self.take(record.name(), family);
            if let Some(view) = record.family(family).filter(|view| self.may_be_ordered(view, now)) {
                let unmeasured = self.unmeasured(&view, choice, now);
                let size = if unmeasured.len() > SMALL_MAX { SetSize::Large } else { SetSize::Small };
                // A set that a walk meets keeps the priority that it has.
                let kept = before.as_ref().filter(|_| found_by == FoundBy::Walk);
                let recency = kept.map(|set| set.priority.recency).unwrap_or_else(|| self.recency(found_by));
                let priority = Priority { size, recency, address: 0 };
                let is_measured = unmeasured.is_empty();
                let first = Interim { from: now, gap: INTERIM_GAP, planned: None };
                let interim = before.as_ref().map_or(first, |set| set.interim);
                let set = NewSet { name: record.name(), family, priority, unmeasured, interim };
                if !is_measured {
                    self.wait(set, choice);
                } else if Measured::of(&view, record.name(), choice, now).is_worth_sending(
                    &view,
                    self.hysteresis,
                    true,
                ) && let Some(number) = self.add(set, choice)
                {
                    self.make_ready(number);
                }
            }
            // After the new set is added, so that addresses of both keep their places in the queue.
            before.iter().for_each(|set| self.dequeue_unneeded(set, choice));
        }
    }

    fn recency(&mut self, found_by: FoundBy) -> i64 {
        match found_by {
            FoundBy::Change => {
                self.newest += 1;
                self.newest
            }
            FoundBy::Walk => {
                self.oldest -= 1;
                self.oldest
            }
        }
    }

    /// Adds a set with unmeasured addresses, and enqueues these.
    fn wait(&mut self, set: NewSet<'_>, choice: &mut ProbeChoice) {
        let priority = set.priority;
        let Some(number) = self.add(set, choice) else { return };
        self.queue.insert((priority, number));
        let unmeasured = self.sets.get(number).map(|set| set.unmeasured.clone()).unwrap_or_default();
        for (rank, address) in (0..=u8::MAX).rev().zip(unmeasured) {
            self.waiting.insert((address, number));
            choice.enqueue(address, Priority { address: rank, ..priority });
        }
    }

    /// Adds a set and returns its number; displaces sets of lower priority at the bounds. `None` if
    /// that is not enough.
    fn add(&mut self, set: NewSet<'_>, choice: &mut ProbeChoice) -> Option<usize> {
        loop {
            let new = set.unmeasured.iter().filter(|address| !choice.is_waiting(address)).count();
            if self.sets.len() < SETS_MAX && choice.waiting() + new <= WAITING_MAX {
                break;
            }
            self.passed_over += 1;
            let (_, least) = self.queue.first().copied().filter(|(least, _)| *least < set.priority)?;
            if let Some(displaced) = self.remove(least) {
                self.dequeue_unneeded(&displaced, choice);
            }
        }
        let known = self.numbers.get_key_value(set.name);
        let name = known.map_or_else(|| Rc::from(set.name), |(name, _)| Rc::clone(name));
        let NewSet { family, priority, unmeasured, interim, .. } = set;
        let number = self.sets.insert(Set { name: Rc::clone(&name), family, priority, unmeasured, interim });
        self.numbers.entry(name).or_default()[index_of(family)] = Some(number);
        if let Some(at) = interim.planned {
            self.interim.insert((at, number));
        }
        Some(number)
    }

    fn make_ready(&mut self, number: usize) {
        let key = self.sets.get(number).map(|set| (set.priority.recency, number));
        let Some(key) = key.filter(|key| !self.ready.contains(key)) else { return };
        if self.ready.len() >= READY_MAX
            && let Some((_, oldest)) = self.ready.first().copied()
        {
            self.passed_over += u64::from(self.unready(oldest));
        }
        self.ready.insert(key);
    }

    fn take(&mut self, name: &[u8], family: Family) -> Option<Set> {
        let number = self.numbers.get(name).and_then(|numbers| numbers[index_of(family)])?;
        self.remove(number)
    }

    fn remove(&mut self, number: usize) -> Option<Set> {
        let set = self.sets.try_remove(number)?;
        self.queue.remove(&(set.priority, number));
        self.ready.remove(&(set.priority.recency, number));
        if let Some(at) = set.interim.planned {
            self.interim.remove(&(at, number));
        }
        for address in &set.unmeasured {
            self.waiting.remove(&(*address, number));
        }
        if let Some(numbers) = self.numbers.get_mut(&set.name) {
            numbers[index_of(set.family)] = None;
            if *numbers == [None, None] {
                self.numbers.remove(&set.name);
            }
        }
        Some(set)
    }

    /// Removes from the queue the addresses of a removed set that no other set waits for.
    fn dequeue_unneeded(&self, removed: &Set, choice: &mut ProbeChoice) {
        for address in &removed.unmeasured {
            if self.waiting.range((*address, 0)..=(*address, usize::MAX)).next().is_none() {
                choice.dequeue(address);
            }
        }
    }

    /// An address has been measured. Sets that waited for no other address become ready; the others are
    /// ordered with what is known when the time since their last order allows it.
    pub fn measured(&mut self, address: IpAddr, now: Monotonic) {
        while let Some((_, number)) = self.waiting.range((address, 0)..=(address, usize::MAX)).next().copied()
        {
            self.waiting.remove(&(address, number));
            let Some(set) = self.sets.get_mut(number) else { continue };
            set.unmeasured.retain(|other| *other != address);
            if set.unmeasured.is_empty() {
                self.queue.remove(&(set.priority, number));
                self.make_ready(number);
            } else {
                self.plan_interim(number, now);
            }
        }
    }

    /// When [`Sets::on_time`] is to be called.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.interim.first().map(|(at, _)| *at)
    }

    /// Makes ready the sets whose time has come although addresses are missing.
    pub fn on_time(&mut self, now: Monotonic) {
        while let Some((at, number)) = self.interim.first().copied()
            && at <= now
        {
            self.interim.pop_first();
            if let Some(set) = self.sets.get_mut(number) {
                set.interim.planned = None;
            }
            self.make_ready(number);
        }
    }

    /// The oldest set whose order can be sent: its number, name and family.
    pub fn next_ready(&self) -> Option<(usize, Rc<[u8]>, Family)> {
        let (_, number) = self.ready.first()?;
        self.sets.get(*number).map(|set| (*number, Rc::clone(&set.name), set.family))
    }

    /// The order of a ready set was sent, or is not needed. A set that still waits for addresses stays.
    pub fn note_ordered(&mut self, number: usize, was_sent: bool, now: Monotonic) {
        self.unready(number);
        if let Some(set) = self.sets.get_mut(number).filter(|_| was_sent) {
            set.interim.from = now.plus(set.interim.gap);
            set.interim.gap *= 2;
        }
    }

    /// Takes back that a set is ready. Returns whether it waited for nothing else, so that it is gone.
    fn unready(&mut self, number: usize) -> bool {
        let Some(set) = self.sets.get(number) else { return false };
        let is_measured = set.unmeasured.is_empty();
        self.ready.remove(&(set.priority.recency, number));
        if is_measured {
            self.remove(number);
        }
        is_measured
    }

    /// Takes back that sets are ready: the daemon that was to get their orders is gone.
    pub fn drop_ready(&mut self) {
        while let Some((_, number)) = self.ready.first().copied() {
            self.unready(number);
        }
    }

    /// Whether so many orders wait to be sent that a walk need not find more sets.
    pub fn is_backed_up(&self) -> bool {
        self.ready.len() > READY_MAX / 2
    }

    /// Whether less than half of each bound is used.
    pub fn has_capacity(&self, choice: &ProbeChoice) -> bool {
        self.sets.len() < SETS_MAX / 2 && choice.waiting() < WAITING_MAX / 2
    }

    fn may_be_ordered(&self, view: &FamilyView<'_>, now: Monotonic) -> bool {
        (view.len() >= 2 || self.weighs_families && view.len() == 1 && view.has_counterpart())
            && !view.expired(now)
            && view.addresses().any(|address| may_be_probed(address.address, self.private))
    }

    /// The addresses of a set that are to be measured now.
    fn unmeasured(&self, view: &FamilyView<'_>, choice: &mut ProbeChoice, now: Monotonic) -> Vec<IpAddr> {
        let mut unmeasured = Vec::new();
        let mut settled = 0;
        for address in view.addresses().map(|a| a.address).filter(|a| may_be_probed(*a, self.private)) {
            if choice.check_settled(&address, now) {
                settled += 1;
            } else if unmeasured.len() < PROBED_MAX {
                unmeasured.push(address);
            }
        }
        unmeasured.truncate(PROBED_MAX.saturating_sub(settled));
        unmeasured
    }

    /// When further samples of a set's addresses are due.
    pub fn next_sample(&self, view: &FamilyView<'_>, choice: &ProbeChoice) -> Option<Monotonic> {
        let probed = view.addresses().map(|a| a.address).filter(|a| may_be_probed(*a, self.private));
        probed.take(PROBED_MAX).filter_map(|address| choice.next_sample(&address)).min()
    }

    /// The order of a ready set as a record of the table has it; `None` if it is not worth sending.
    pub fn order(
        &self,
        number: usize,
        record: &Snapshot,
        generation: u64,
        choice: &ProbeChoice,
        now: Monotonic,
    ) -> Option<Order> {
        let (set, name) = (self.sets.get(number)?, Name::from_wire(record.name()).ok()?);
        let view = record.family(set.family).filter(|view| self.may_be_ordered(view, now))?;
        let measured = Measured::of(&view, record.name(), choice, now);
        if !measured.is_worth_sending(&view, self.hysteresis, set.unmeasured.is_empty()) {
            return None;
        }
        Some(Order {
            generation,
            name: name.to_string(),
            rtype: if set.family == Family::A { "A" } else { "AAAA" }.to_owned(),
            set_version: view.set_version(),
            addresses: measured.ranked(),
        })
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.numbers.is_empty() && self.queue.is_empty() && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests;
