//! The choice of probes: which address is probed next, by which method, and when.
//!
//! Pure: time is an argument. Probes are bounded in rate, in number on their way, and in memory. An
//! address is probed once for all names that have it, by each method of `sort.probes` in turn until
//! one is answered.

use super::measurements::{Measurement, Measurements};
use super::ranking::Outcome;
use crate::config::{Probe, Sort};
use hither_table::Monotonic;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Probes on their way at once.
pub(super) const IN_FLIGHT_MAX: usize = 128;
/// How many of them may be for large sets, so that small ones need not wait for the timeouts of
/// silent addresses.
const LARGE_IN_FLIGHT_MAX: usize = 96;
/// Addresses that wait for probes or are being probed: as many as the default rate measures in a
/// minute and a half.
pub(super) const WAITING_MAX: usize = 16_384;
/// While large sets wait, one in this many probes is for one of them.
const LARGE_SHARE: u32 = 4;
/// The probes that may be sent in a burst, unless the rate is lower.
const BURST_MAX: u32 = 20;
/// One probe in the unit of [`ProbeChoice::tokens`].
const TOKEN: u64 = 1_000_000;

/// The result of one probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ProbeResult {
    /// The address answered after this time.
    Answered(Duration),
    /// The connection was refused.
    Refused,
    /// The address did not answer in time.
    Silent,
    /// The probe could not be sent, which says nothing about the address.
    NotSent,
}

/// How many addresses of a set are to be measured. A large set would hold up many small ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum SetSize {
    Large,
    Small,
}

/// The priority of a set and of its addresses, the greatest first: small sets before large ones,
/// later published sets before earlier ones, and the addresses of a set in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Priority {
    pub size: SetSize,
    /// Grows with each set that is published.
    pub recency: i64,
    /// Falls with each address of a set.
    pub address: u8,
}

/// A key below those of all small sets.
const BELOW_SMALL: (Priority, IpAddr) =
    (Priority { size: SetSize::Small, recency: i64::MIN, address: 0 }, IpAddr::V4(Ipv4Addr::UNSPECIFIED));

/// An address that waits for probes or is being probed.
#[derive(Debug)]
struct Waiting {
    /// The index of the next method.
    method: usize,
    /// The best outcome of the methods that were tried.
    outcome: Option<Outcome>,
    priority: Priority,
    is_in_flight: bool,
    /// The number of network changes when the first method was tried.
    network: u64,
}

#[derive(Debug)]
pub(super) struct ProbeChoice {
    methods: Vec<Probe>,
    rate: u32,
    remeasure: Duration,
    measurements: Measurements,
    /// The number of network changes; measurements in an earlier network no longer count.
    network: u64,
    waiting: BTreeMap<IpAddr, Waiting>,
    /// The addresses of `waiting` that are not in flight.
    queue: BTreeSet<(Priority, IpAddr)>,
    in_flight: usize,
    /// Probes for small sets since the last one for a large set.
    small_in_a_row: u32,
    /// Probes that may be sent now, in millionths. Grows with time.
    tokens: u64,
    refilled: Monotonic,
}

impl ProbeChoice {
    pub fn new(sort: &Sort, now: Monotonic) -> Self {
        Self {
            methods: sort.probes.clone(),
            rate: sort.rate.max(1),
            remeasure: sort.remeasure,
            measurements: Measurements::default(),
            network: 0,
            waiting: BTreeMap::new(),
            queue: BTreeSet::new(),
            in_flight: 0,
            small_in_a_row: 0,
            tokens: TOKEN * u64::from(sort.rate.clamp(1, BURST_MAX)),
            refilled: now,
        }
    }

    /// Leaves out a method that cannot be used on this host.
    pub fn leave_out(&mut self, probe: Probe) {
        self.methods.retain(|method| *method != probe);
    }

    /// How long a measurement counts.
    pub fn remeasure(&self) -> Duration {
        self.remeasure
    }

    /// Whether an address need not be probed now: its measurement is fresh, or there is no method to
    /// measure it. Marks the measurement as used.
    pub fn check_settled(&mut self, address: &IpAddr, now: Monotonic) -> bool {
        if self.methods.is_empty() {
            return true;
        }
        let Some(measurement) = self.measurements.get(address) else { return false };
        self.measurements.touch(address);
        measurement.network == self.network && now.since(measurement.at) < self.remeasure
    }

    /// The latest outcome of an address, however old.
    pub fn outcome(&self, address: &IpAddr) -> Outcome {
        self.measurements.get(address).map_or(Outcome::Unmeasured, |measurement| measurement.outcome)
    }

    /// The number of addresses that wait or are being probed; never more than [`WAITING_MAX`].
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_waiting(&self, address: &IpAddr) -> bool {
        self.waiting.contains_key(address)
    }

    /// Adds an address, or raises its priority. The caller makes sure that [`ProbeChoice::waiting`]
    /// stays within its bound.
    pub fn enqueue(&mut self, address: IpAddr, priority: Priority) {
        if let Some(waiting) = self.waiting.get_mut(&address) {
            if priority > waiting.priority {
                let before = std::mem::replace(&mut waiting.priority, priority);
                if self.queue.remove(&(before, address)) {
                    self.queue.insert((priority, address));
                }
            }
            return;
        }
        debug_assert!(self.waiting.len() < WAITING_MAX, "the queue is full");
        let network = self.network;
        let first = Waiting { method: 0, outcome: None, priority, is_in_flight: false, network };
        self.waiting.insert(address, first);
        self.queue.insert((priority, address));
    }

    /// Removes an address that no set waits for. A probe in flight ends as usual.
    pub fn dequeue(&mut self, address: &IpAddr) {
        if let Some(waiting) = self.waiting.get(address)
            && !waiting.is_in_flight
        {
            self.queue.remove(&(waiting.priority, *address));
            self.waiting.remove(address);
        }
    }

    /// The host is in another network: neither earlier measurements nor probes in flight count.
    pub fn network_changed(&mut self) {
        self.network += 1;
    }

    /// The next probe to send, if the rate and the number in flight allow one.
    pub fn next_probe(&mut self, now: Monotonic) -> Option<(IpAddr, Probe)> {
        self.refill(now);
        while self.tokens >= TOKEN {
            let (priority, address) = self.first_in_queue()?;
            self.queue.remove(&(priority, address));
            let Some(waiting) = self.waiting.get_mut(&address) else { continue };
            if waiting.network != self.network {
                *waiting = Waiting { method: 0, outcome: None, network: self.network, ..*waiting };
            }
            let Some(probe) = self.methods.get(waiting.method).copied() else { continue };
            waiting.is_in_flight = true;
            self.small_in_a_row =
                if priority.size == SetSize::Large { 0 } else { self.small_in_a_row.saturating_add(1) };
            self.tokens -= TOKEN;
            self.in_flight += 1;
            return Some((address, probe));
        }
        None
    }

    /// The address to probe next, if the number in flight allows a probe.
    fn first_in_queue(&self) -> Option<(Priority, IpAddr)> {
        let large = self.queue.range(..BELOW_SMALL).next_back();
        let large = large.filter(|_| self.in_flight < LARGE_IN_FLIGHT_MAX);
        let small = self.queue.last().filter(|(priority, _)| priority.size == SetSize::Small);
        let small = small.filter(|_| self.in_flight < IN_FLIGHT_MAX);
        let is_turn_of_large = self.small_in_a_row + 1 >= LARGE_SHARE;
        (if is_turn_of_large { large.or(small) } else { small.or(large) }).copied()
    }

    fn refill(&mut self, now: Monotonic) {
        let micros = u64::try_from(now.since(self.refilled).as_micros()).unwrap_or(u64::MAX);
        let more = micros.saturating_mul(u64::from(self.rate));
        if more > 0 {
            let most = TOKEN * u64::from(self.rate.clamp(1, BURST_MAX));
            self.tokens = self.tokens.saturating_add(more).min(most);
            self.refilled = now;
        }
    }

    /// When [`ProbeChoice::next_probe`] may give another one, if that depends on time alone.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.first_in_queue()?;
        let missing = TOKEN.saturating_sub(self.tokens);
        Some(self.refilled.plus(Duration::from_micros(missing.div_ceil(u64::from(self.rate)).max(1))))
    }

    /// Takes the result of a probe; `true` if the address is measured now, `false` if another method follows.
    pub fn probe_ended(&mut self, address: IpAddr, result: ProbeResult, now: Monotonic) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(waiting) = self.waiting.get_mut(&address) else { return false };
        waiting.is_in_flight = false;
        let best = |outcome: Outcome| waiting.outcome.map_or(outcome, |before| before.min(outcome));
        let outcome = match result {
            ProbeResult::Answered(rtt) => Outcome::Answered(rtt),
            ProbeResult::Refused => best(Outcome::Refused),
            ProbeResult::Silent => best(Outcome::Silent),
            ProbeResult::NotSent => waiting.outcome.unwrap_or(Outcome::Unmeasured),
        };
        waiting.method += 1;
        waiting.outcome = (outcome != Outcome::Unmeasured).then_some(outcome);
        let goes_on = !matches!(result, ProbeResult::Answered(_)) && waiting.method < self.methods.len();
        if goes_on || waiting.network != self.network {
            self.queue.insert((waiting.priority, address));
            return false;
        }
        self.waiting.remove(&address);
        // A failure to measure does not replace a measurement in this network.
        let known = self.measurements.get(&address).filter(|known| known.network == self.network);
        let outcome = match known {
            Some(known) if outcome == Outcome::Unmeasured => known.outcome,
            _ => outcome,
        };
        self.measurements.insert(address, Measurement { at: now, network: self.network, outcome });
        true
    }
}

#[cfg(test)]
mod tests;
