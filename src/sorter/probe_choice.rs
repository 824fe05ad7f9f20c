//! The choice of probes: which address is probed next, by which method, and when.
//!
//! Pure: time is an argument. Probes are bounded in rate, in number on their way, and in memory. An
//! address is probed once for all names that have it, by each method of `sort.probes` in turn until
//! one is answered. The next method is tried when one fails, and beside it when it takes long.

mod handshakes;

use super::judging::Judging;
use super::measurements::{Measurement, Measurements};
use super::methods::{Methods, Tried};
use super::probe_log::MethodLog;
use super::ranking::Outcome;
use crate::companion::pace::Pace;
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
/// The times between the first samples of an address; later ones follow after `sort.remeasure`.
const SAMPLES_AFTER: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15), Duration::from_secs(60)];

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

/// A probe to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    pub address: IpAddr,
    pub probe: Probe,
    /// The measurement that it is part of, see [`Waiting::serial`]; 0: of none.
    pub serial: u64,
    /// The handshake that follows the TCP connection, by its number in [`Judging`].
    pub handshake: Option<usize>,
}

/// An address that waits for probes or is being probed.
#[derive(Debug)]
struct Waiting {
    priority: Priority,
    /// Grows with each measurement that begins, so that results of earlier probes are recognised.
    serial: u64,
    tried: Tried,
    /// Whether its methods are tried as they are configured.
    is_trial: bool,
    /// Its probes on their way.
    in_flight: u8,
    /// The best outcome of the methods that were tried.
    outcome: Option<Outcome>,
    /// When the latest method was tried.
    tried_at: Monotonic,
    /// When the next method is tried although no probe has ended.
    impatient_at: Option<Monotonic>,
    /// The number of network changes when the first method was tried.
    network: u64,
}

#[derive(Debug)]
pub(super) struct ProbeChoice {
    pub judging: Judging,
    methods: Methods,
    pace: Pace,
    remeasure: Duration,
    measurements: Measurements,
    /// The number of network changes; measurements in an earlier network no longer count.
    network: u64,
    waiting: BTreeMap<IpAddr, Waiting>,
    /// The addresses of `waiting` whose next method may be tried.
    queue: BTreeSet<(Priority, IpAddr)>,
    /// Those whose next method is tried at this time, unless a probe is answered before.
    impatient: BTreeSet<(Monotonic, IpAddr)>,
    last_serial: u64,
    in_flight: usize,
    /// Probes for small sets since the last one for a large set.
    small_in_a_row: u32,
}

impl ProbeChoice {
    pub fn new(sort: &Sort, now: Monotonic) -> Self {
        Self {
            judging: Judging::new(sort, now),
            methods: Methods::new(&sort.probes),
            pace: Pace::new(sort.rate, now),
            remeasure: sort.remeasure,
            measurements: Measurements::default(),
            network: 0,
            waiting: BTreeMap::new(),
            queue: BTreeSet::new(),
            impatient: BTreeSet::new(),
            last_serial: 0,
            in_flight: 0,
            small_in_a_row: 0,
        }
    }

    /// Leaves out a method that cannot be used on this host.
    pub fn leave_out(&mut self, probe: Probe) {
        self.methods.leave_out(probe);
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
        let due = self.due(address);
        self.measurements.touch(address);
        due.is_some_and(|due| now < due)
    }

    /// The latest probes of an address, for operators.
    pub fn probes(&self, address: &IpAddr) -> &[MethodLog] {
        self.measurements.log.of(address)
    }

    /// How many samples of an address count.
    pub fn samples(&self, address: &IpAddr) -> u8 {
        let found = self.measurements.get(address).filter(|found| found.network == self.network);
        found.map_or(0, |found| found.samples.count())
    }

    /// Whether there is a method to probe by.
    pub fn can_probe(&self) -> bool {
        !self.methods.is_empty()
    }

    /// When a measurement of this network is no longer fresh.
    pub fn due(&self, address: &IpAddr) -> Option<Monotonic> {
        let measurement = self.measurements.get(address).filter(|found| found.network == self.network)?;
        let regular = measurement.at.plus(self.remeasure);
        Some(self.next_sample(address).map_or(regular, |soon| soon.min(regular)))
    }

    /// When one of the first samples of an address is due. They follow each other soon, since one alone
    /// carries the whole jitter of its moment, unless probes cannot be sent.
    pub fn next_sample(&self, address: &IpAddr) -> Option<Monotonic> {
        let is_of_network = |found: &Measurement| found.network == self.network && found.was_tried;
        let measurement = self.measurements.get(address).filter(is_of_network)?;
        if measurement.is_doubted {
            return Some(measurement.at.plus(SAMPLES_AFTER[0]));
        }
        let nth = usize::from(measurement.samples.count()).checked_sub(1)?;
        Some(measurement.at.plus(*SAMPLES_AFTER.get(nth)?))
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
        let waiting = self.begin(priority);
        self.waiting.insert(address, waiting);
        self.queue.insert((priority, address));
    }

    fn begin(&mut self, priority: Priority) -> Waiting {
        self.last_serial += 1;
        Waiting {
            priority,
            serial: self.last_serial,
            tried: Tried::default(),
            is_trial: self.methods.begin(),
            in_flight: 0,
            outcome: None,
            tried_at: Monotonic(0),
            impatient_at: None,
            network: self.network,
        }
    }

    /// Removes an address that no set waits for. Probes in flight end as usual.
    pub fn dequeue(&mut self, address: &IpAddr) {
        if let Some(waiting) = self.waiting.get(address)
            && waiting.in_flight == 0
        {
            self.queue.remove(&(waiting.priority, *address));
            self.waiting.remove(address);
        }
    }

    /// The host is in another network: neither earlier measurements nor probes in flight count.
    pub fn network_changed(&mut self) {
        self.network += 1;
        self.methods.forget();
        self.judging.network_changed();
    }

    /// The next probe to send, if the rate and the number in flight allow one.
    pub fn next_probe(&mut self, now: Monotonic) -> Option<Sent> {
        self.pace.advance(now);
        self.queue_impatient(now);
        if self.judging.takes_turn()
            && let Some(sent) = self.next_handshake(now)
        {
            return Some(sent);
        }
        while self.pace.allows()
            && let Some((priority, address)) = self.first_in_queue()
        {
            self.queue.remove(&(priority, address));
            if self.waiting.get(&address).is_some_and(|waiting| waiting.network != self.network) {
                let again = self.begin(priority);
                self.forget_patience(address);
                self.waiting.insert(address, again);
            }
            let Some(waiting) = self.waiting.get_mut(&address) else { continue };
            let (mut handshake, judging) = (None, &mut self.judging);
            let judges = || {
                handshake = judging.begin_at(address, self.network, now);
                handshake.is_some()
            };
            let Some(probe) = self.methods.next(&mut waiting.tried, waiting.is_trial, judges) else {
                continue;
            };
            waiting.in_flight += 1;
            waiting.tried_at = now;
            let sent = Sent { address, probe, serial: waiting.serial, handshake };
            self.plan_next_method(address);
            self.small_in_a_row =
                if priority.size == SetSize::Large { 0 } else { self.small_in_a_row.saturating_add(1) };
            self.pace.take();
            self.in_flight += 1;
            return Some(sent);
        }
        self.next_handshake(now)
    }

    /// Plans to try the next method of an address beside those that were tried.
    fn plan_next_method(&mut self, address: IpAddr) {
        let Some(waiting) = self.waiting.get_mut(&address) else { return };
        if self.methods.has_more(waiting.tried) {
            let at = waiting.tried_at.plus(self.methods.patience(waiting.tried));
            waiting.impatient_at = Some(at);
            self.impatient.insert((at, address));
        }
    }

    /// Queues the addresses whose probes have taken long, for the next method. By what was learned
    /// meanwhile, some of them may be waited for longer.
    fn queue_impatient(&mut self, now: Monotonic) {
        while let Some((at, address)) = self.impatient.first().copied()
            && at <= now
        {
            self.forget_patience(address);
            let Some(waiting) = self.waiting.get(&address) else { continue };
            if waiting.tried_at.plus(self.methods.patience(waiting.tried)) > now {
                self.plan_next_method(address);
            } else {
                self.queue.insert((waiting.priority, address));
            }
        }
    }

    fn forget_patience(&mut self, address: IpAddr) {
        let waiting = self.waiting.get_mut(&address);
        if let Some(at) = waiting.and_then(|waiting| waiting.impatient_at.take()) {
            self.impatient.remove(&(at, address));
        }
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

    /// When [`ProbeChoice::next_probe`] may give another one, if that depends on time alone.
    pub fn timeout(&self) -> Option<Monotonic> {
        let queued = self.first_in_queue().map(|_| self.pace.next());
        let is_free = |address: &IpAddr| !self.waiting.contains_key(address);
        let handshake = self.judging.next_begin(is_free).filter(|_| self.in_flight < IN_FLIGHT_MAX);
        let handshake = handshake.map(|at| at.max(self.pace.next()));
        let others = [handshake, self.judging.timeout(), self.impatient.first().map(|(at, _)| *at)];
        queued.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Takes the result of a probe; `true` if the address is measured now, `false` if another probe follows
    /// or is on its way.
    pub fn probe_ended(&mut self, sent: Sent, result: ProbeResult, now: Monotonic) -> bool {
        let address = sent.address;
        self.measurements.log.note(address, sent.probe, result, now);
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(handshake) = sent.handshake {
            self.connection_ended(address, handshake, result, sent.serial == 0, now);
        }
        let waiting = self.waiting.get_mut(&address).filter(|waiting| waiting.serial == sent.serial);
        let Some(waiting) = waiting else { return false };
        waiting.in_flight = waiting.in_flight.saturating_sub(1);
        let best = |outcome: Outcome| waiting.outcome.map_or(outcome, |before| before.min(outcome));
        let outcome = match result {
            ProbeResult::Answered(rtt) => {
                self.methods.note_answer(sent.probe, waiting.tried);
                Outcome::Answered(rtt)
            }
            ProbeResult::Refused => best(Outcome::Refused),
            ProbeResult::Silent => best(Outcome::Silent),
            ProbeResult::NotSent => waiting.outcome.unwrap_or(Outcome::Unmeasured),
        };
        waiting.outcome = (outcome != Outcome::Unmeasured).then_some(outcome);
        let (priority, is_answered) = (waiting.priority, matches!(result, ProbeResult::Answered(_)));
        let (has_more, is_waited_for) = (self.methods.has_more(waiting.tried), waiting.in_flight > 0);
        let is_elsewhere = waiting.network != self.network;
        if is_elsewhere || !is_answered && has_more {
            self.forget_patience(address);
            self.queue.insert((priority, address));
            return false;
        }
        if !is_answered && is_waited_for {
            return false;
        }
        self.forget_patience(address);
        self.queue.remove(&(priority, address));
        self.waiting.remove(&address);
        self.measurements.note(address, outcome, self.network, now);
        true
    }
}

#[cfg(test)]
mod tests;
