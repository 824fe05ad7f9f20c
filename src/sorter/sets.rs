//! The sets that wait for measurements, and those whose orders wait to be sent: pure, fed with what the table holds.
//!
//! A set is a number here, its name stands once, and its addresses are read again from the table when it is ordered. So what waits is
//! bounded in octets: [`SETS_MAX`] sets of at most [`PROBED_MAX`] addresses each. Where there is no room, what was published last
//! stays, short sets before long ones; what has to go is counted, and found again by the next walk over the table.

use super::rank::{Outcome, improves, order};
use super::schedule::{Line, MEASURING_MAX, Rank, Schedule};
use super::targets::may_be_probed;
use crate::config::Sort;
use hither_client::{Family, FamilyView, Monotonic, Name, Snapshot};
use hither_control::{Order, OrderedAddress};
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

/// Addresses of one set that are measured within `sort.remeasure`: the first ones as the set was published. The others keep their places
/// behind them, unless another name has them measured.
pub(super) const PROBED_MAX: usize = 16;
/// Sets that wait at once, those whose orders wait included; with everything that belongs to them, some 10 MiB.
pub(super) const SETS_MAX: usize = 8192;
/// Sets whose orders the daemon has not taken yet.
pub(super) const READY_MAX: usize = 1024;
/// A set of which no more than this is missing is short.
const SHORT_MAX: usize = 4;

/// A set that waits: for measurements while something is missing, else for being sent.
#[derive(Debug)]
struct Set {
    name: Rc<[u8]>,
    family: Family,
    rank: Rank,
    missing: Vec<IpAddr>,
}

/// Whether a set has just been published, or was found by a walk over the table: then it stands behind all others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    Published,
    Found,
}

/// What sets are judged by.
pub(super) type Rules<'a, S> = (&'a Sort, S);

#[derive(Debug, Default)]
pub(super) struct Sets {
    sets: Slab<Set>,
    /// The numbers of a name's two sets.
    numbers: BTreeMap<Rc<[u8]>, [Option<usize>; 2]>,
    /// Those for which something is missing, the first to go where there is no room first.
    line: BTreeSet<(Rank, usize)>,
    /// Who waits for which address.
    holders: BTreeSet<(IpAddr, usize)>,
    /// Those whose orders can be sent, the oldest first.
    ready: BTreeSet<(i64, usize)>,
    newest: i64,
    oldest: i64,
    /// Sets that found no room, or lost it.
    pub passed_over: u64,
}

const fn place(family: Family) -> usize {
    match family {
        Family::A => 0,
        Family::Aaaa => 1,
    }
}

impl Sets {
    /// Takes up what a record holds.
    pub fn saw(
        &mut self,
        snapshot: &Snapshot,
        seen: Seen,
        (sort, schedule): Rules<'_, &mut Schedule>,
        now: Monotonic,
    ) {
        for family in [Family::A, Family::Aaaa] {
            let before = self.take(snapshot.name(), family);
            if let Some(view) = snapshot.family(family).filter(|view| is_of_interest(view, sort, now)) {
                let missing = missing(&view, (sort, schedule), now);
                let line = if missing.len() > SHORT_MAX { Line::Long } else { Line::Short };
                // A walk puts nobody further back.
                let kept = before.as_ref().filter(|_| seen == Seen::Found).map(|set| set.rank.age);
                let rank = Rank { line, age: kept.unwrap_or_else(|| self.age(seen)), address: 0 };
                if !missing.is_empty() {
                    self.wait(snapshot.name(), family, rank, missing, schedule);
                } else if is_worth_sending(&view, (sort, schedule))
                    && let Some(number) = self.add(snapshot.name(), family, rank, Vec::new(), schedule)
                {
                    self.make_ready(number);
                }
            }
            // Only now, so that what both want has not lost its place in line.
            before.iter().for_each(|set| self.leave(set, schedule));
        }
    }

    fn age(&mut self, seen: Seen) -> i64 {
        match seen {
            Seen::Published => {
                self.newest += 1;
                self.newest
            }
            Seen::Found => {
                self.oldest -= 1;
                self.oldest
            }
        }
    }

    fn wait(
        &mut self,
        name: &[u8],
        family: Family,
        rank: Rank,
        missing: Vec<IpAddr>,
        schedule: &mut Schedule,
    ) {
        let Some(number) = self.add(name, family, rank, missing, schedule) else { return };
        self.line.insert((rank, number));
        let missing = self.sets.get(number).map(|set| set.missing.clone()).unwrap_or_default();
        // The first has the highest place.
        for (place, address) in (0..=u8::MAX).rev().zip(missing) {
            self.holders.insert((address, number));
            schedule.want(address, Rank { address: place, ..rank });
        }
    }

    /// Gives a set a number, if there is room for it, or for what is less urgent to go.
    fn add(
        &mut self,
        name: &[u8],
        family: Family,
        rank: Rank,
        missing: Vec<IpAddr>,
        schedule: &mut Schedule,
    ) -> Option<usize> {
        loop {
            let new = missing.iter().filter(|address| !schedule.is_measuring(address)).count();
            if self.sets.len() < SETS_MAX && schedule.measuring() + new <= MEASURING_MAX {
                break;
            }
            self.passed_over += 1;
            let (_, last) = self.line.first().copied().filter(|(last, _)| *last < rank)?;
            if let Some(set) = self.remove(last) {
                self.leave(&set, schedule);
            }
        }
        let known = self.numbers.get_key_value(name).map(|(name, _)| Rc::clone(name));
        let name = known.unwrap_or_else(|| Rc::from(name));
        let number = self.sets.insert(Set { name: Rc::clone(&name), family, rank, missing });
        self.numbers.entry(name).or_default()[place(family)] = Some(number);
        Some(number)
    }

    fn make_ready(&mut self, number: usize) {
        if self.ready.len() >= READY_MAX
            && let Some((_, oldest)) = self.ready.first().copied()
        {
            self.remove(oldest);
            self.passed_over += 1;
        }
        if let Some(set) = self.sets.get(number) {
            self.ready.insert((set.rank.age, number));
        }
    }

    fn take(&mut self, name: &[u8], family: Family) -> Option<Set> {
        let number = self.numbers.get(name).and_then(|numbers| numbers[place(family)])?;
        self.remove(number)
    }

    fn remove(&mut self, number: usize) -> Option<Set> {
        let set = self.sets.try_remove(number)?;
        self.line.remove(&(set.rank, number));
        self.ready.remove(&(set.rank.age, number));
        for address in &set.missing {
            self.holders.remove(&(*address, number));
        }
        if let Some(numbers) = self.numbers.get_mut(&set.name) {
            numbers[place(set.family)] = None;
            if *numbers == [None, None] {
                self.numbers.remove(&set.name);
            }
        }
        Some(set)
    }

    /// What a set that was removed waited for and nobody else does leaves the line.
    fn leave(&self, set: &Set, schedule: &mut Schedule) {
        for address in &set.missing {
            if self.holders.range((*address, 0)..=(*address, usize::MAX)).next().is_none() {
                schedule.leave(address);
            }
        }
    }

    /// An address has been measured: the sets that waited for nothing else can be ordered.
    pub fn measured(&mut self, address: IpAddr) {
        while let Some((_, number)) = self.holders.range((address, 0)..=(address, usize::MAX)).next().copied()
        {
            self.holders.remove(&(address, number));
            let Some(set) = self.sets.get_mut(number) else { continue };
            set.missing.retain(|missing| *missing != address);
            if set.missing.is_empty() {
                self.line.remove(&(set.rank, number));
                self.make_ready(number);
            }
        }
    }

    /// The oldest set that can be ordered, by name.
    pub fn ready(&self) -> Option<(usize, Rc<[u8]>, Family)> {
        let (_, number) = self.ready.first()?;
        self.sets.get(*number).map(|set| (*number, Rc::clone(&set.name), set.family))
    }

    /// Its order was sent, or has become pointless.
    pub fn sent(&mut self, number: usize) {
        self.remove(number);
    }

    /// Nobody is there who takes orders.
    pub fn forget_ready(&mut self) {
        while let Some((_, number)) = self.ready.first().copied() {
            self.remove(number);
        }
    }

    /// Whether more than half as many orders wait for the daemon as may: a walk need not find more.
    pub fn is_backed_up(&self) -> bool {
        self.ready.len() > READY_MAX / 2
    }

    /// Whether less than half of the room is taken.
    pub fn has_room(&self, schedule: &Schedule) -> bool {
        self.sets.len() < SETS_MAX / 2 && schedule.measuring() < MEASURING_MAX / 2
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.numbers.is_empty() && self.line.is_empty() && self.holders.is_empty()
    }
}

fn is_of_interest(view: &FamilyView<'_>, sort: &Sort, now: Monotonic) -> bool {
    view.len() >= 2
        && !view.expired(now)
        && view.addresses().any(|address| may_be_probed(address.address, sort.private))
}

/// The addresses of a set that are to be measured now.
fn missing(view: &FamilyView<'_>, (sort, schedule): Rules<'_, &mut Schedule>, now: Monotonic) -> Vec<IpAddr> {
    let mut unsettled = Vec::new();
    let mut settled = 0;
    for address in view.addresses().map(|a| a.address).filter(|a| may_be_probed(*a, sort.private)) {
        if schedule.is_settled(&address, now) {
            settled += 1;
        } else if unsettled.len() < PROBED_MAX {
            unsettled.push(address);
        }
    }
    unsettled.truncate(PROBED_MAX.saturating_sub(settled));
    unsettled
}

fn known(view: &FamilyView<'_>, schedule: &Schedule) -> Vec<(IpAddr, Outcome)> {
    view.addresses().map(|a| (a.address, schedule.known(&a.address))).collect()
}

fn is_worth_sending(view: &FamilyView<'_>, (sort, schedule): Rules<'_, &Schedule>) -> bool {
    let known = known(view, schedule);
    // The daemon has what one upstream alone gave behind the rest, whatever is ordered.
    let (trusted, others) = known.split_at(view.trusted().count());
    known.iter().any(|(_, outcome)| *outcome != Outcome::Unmeasured)
        && (!view.sorted() || [trusted, others].iter().any(|part| improves(part, sort.hysteresis)))
}

/// The order of a set as it stands in the table, if it is worth sending.
pub(super) fn ordered(
    snapshot: &Snapshot,
    family: Family,
    generation: u64,
    rules: Rules<'_, &Schedule>,
    now: Monotonic,
) -> Option<Order> {
    let name = Name::from_wire(snapshot.name()).ok()?;
    let view = snapshot.family(family).filter(|view| is_of_interest(view, rules.0, now))?;
    if !is_worth_sending(&view, rules) {
        return None;
    }
    let known = known(&view, rules.1);
    let (first, others) = known.split_at(view.trusted().count());
    let ordered = order(first).into_iter().chain(order(others));
    let addresses = ordered.map(|(address, outcome)| match outcome {
        Outcome::Open(rtt) => {
            let rtt_us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX - 2);
            OrderedAddress { address, rtt_us: Some(rtt_us), reachable: Some(true) }
        }
        Outcome::Unmeasured => OrderedAddress { address, rtt_us: None, reachable: None },
        Outcome::Refused | Outcome::Silent => {
            OrderedAddress { address, rtt_us: None, reachable: Some(false) }
        }
    });
    Some(Order {
        generation,
        name: name.to_string(),
        rtype: if family == Family::A { "A" } else { "AAAA" }.to_owned(),
        set_version: view.set_version(),
        addresses: addresses.collect(),
    })
}

#[cfg(test)]
mod tests;
