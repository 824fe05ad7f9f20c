//! When which address is probed how: bounded in rate, in flight and in memory, each address once for all names that hold it.
//!
//! Pure: time is an argument, probes go out through [`Schedule::next`] and come back through [`Schedule::result`].

use super::rank::Outcome;
use crate::config::{Probe, Sort};
use hither_table::Monotonic;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Probes in flight at once.
pub(super) const IN_FLIGHT_MAX: usize = 128;
/// Addresses whose measurements are remembered; the oldest go first.
const MEASURED_MAX: usize = 65_536;

/// What one probe found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    Open(Duration),
    Refused,
    Silent,
    /// The probe could not be sent: says nothing about the address.
    NotSent,
}

#[derive(Debug)]
struct Measuring {
    /// The method that is tried, by its place in the configuration.
    method: usize,
    worst: Option<Outcome>,
}

#[derive(Debug)]
pub(super) struct Schedule {
    methods: Vec<Probe>,
    rate: u32,
    remeasure: Duration,
    measured: BTreeMap<IpAddr, (Monotonic, Outcome)>,
    age: BTreeSet<(Monotonic, IpAddr)>,
    measuring: BTreeMap<IpAddr, Measuring>,
    queue: VecDeque<IpAddr>,
    in_flight: usize,
    /// Probes that may be sent now, in millionths; refilled with time.
    tokens: u64,
    refilled: Monotonic,
}

const TOKEN: u64 = 1_000_000;

impl Schedule {
    pub fn new(sort: &Sort, now: Monotonic) -> Self {
        Self {
            methods: sort.probes.clone(),
            rate: sort.rate.max(1),
            remeasure: sort.remeasure,
            measured: BTreeMap::new(),
            age: BTreeSet::new(),
            measuring: BTreeMap::new(),
            queue: VecDeque::new(),
            in_flight: 0,
            tokens: TOKEN * u64::from(sort.rate.clamp(1, 20)),
            refilled: now,
        }
    }

    /// A method that cannot be used on this host is left out from now on.
    pub fn lacks(&mut self, probe: Probe) {
        self.methods.retain(|method| *method != probe);
    }

    /// What is known of an address, if that is fresh; else it is put in line. Without a method nothing will ever be known.
    pub fn want(&mut self, address: IpAddr, now: Monotonic) -> Option<Outcome> {
        if let Some((at, outcome)) = self.measured.get(&address)
            && now.since(*at) < self.remeasure
        {
            return Some(*outcome);
        }
        if self.methods.is_empty() {
            return Some(Outcome::Unmeasured);
        }
        if let Entry::Vacant(vacant) = self.measuring.entry(address) {
            vacant.insert(Measuring { method: 0, worst: None });
            self.queue.push_back(address);
        }
        None
    }

    /// The next probe to send, if rate and flight allow one.
    pub fn next(&mut self, now: Monotonic) -> Option<(IpAddr, Probe)> {
        self.refill(now);
        while self.in_flight < IN_FLIGHT_MAX && self.tokens >= TOKEN {
            let address = self.queue.pop_front()?;
            let method = self.measuring.get(&address).map(|measuring| measuring.method);
            let Some(probe) = method.and_then(|method| self.methods.get(method).copied()) else { continue };
            self.tokens -= TOKEN;
            self.in_flight += 1;
            return Some((address, probe));
        }
        None
    }

    fn refill(&mut self, now: Monotonic) {
        let micros = u64::try_from(now.since(self.refilled).as_micros()).unwrap_or(u64::MAX);
        let more = micros.saturating_mul(u64::from(self.rate));
        if more > 0 {
            self.tokens = self.tokens.saturating_add(more).min(TOKEN * u64::from(self.rate.clamp(1, 20)));
            self.refilled = now;
        }
    }

    /// When [`Schedule::next`] may have one more, if that is a matter of time alone.
    pub fn timeout(&self) -> Option<Monotonic> {
        if self.queue.is_empty() || self.in_flight >= IN_FLIGHT_MAX {
            return None;
        }
        let missing = TOKEN.saturating_sub(self.tokens);
        Some(self.refilled.plus(Duration::from_micros(missing.div_ceil(u64::from(self.rate)).max(1))))
    }

    /// A probe has ended; `true` when that is the address's last word for now.
    pub fn result(&mut self, address: IpAddr, found: Found, now: Monotonic) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(measuring) = self.measuring.get_mut(&address) else { return false };
        let outcome = match found {
            Found::Open(rtt) => Outcome::Open(rtt),
            Found::Refused => measuring.worst.map_or(Outcome::Refused, |worst| worst.min(Outcome::Refused)),
            Found::Silent => measuring.worst.map_or(Outcome::Silent, |worst| worst.min(Outcome::Silent)),
            Found::NotSent => measuring.worst.unwrap_or(Outcome::Unmeasured),
        };
        measuring.method += 1;
        measuring.worst = (outcome != Outcome::Unmeasured).then_some(outcome);
        if !matches!(found, Found::Open(_)) && measuring.method < self.methods.len() {
            self.queue.push_back(address);
            return false;
        }
        self.measuring.remove(&address);
        self.remember(address, outcome, now);
        true
    }

    fn remember(&mut self, address: IpAddr, outcome: Outcome, now: Monotonic) {
        if let Some((at, _)) = self.measured.insert(address, (now, outcome)) {
            self.age.remove(&(at, address));
        }
        self.age.insert((now, address));
        if self.measured.len() > MEASURED_MAX
            && let Some((_, oldest)) = self.age.pop_first()
        {
            self.measured.remove(&oldest);
        }
    }

    /// What is known of an address, however old.
    pub fn known(&self, address: &IpAddr) -> Outcome {
        self.measured.get(address).map_or(Outcome::Unmeasured, |(_, outcome)| *outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn sort(probes: &[Probe], rate: u32) -> Sort {
        Sort { probes: probes.to_vec(), rate, ..Config::default().sort }
    }

    fn ip(n: u16) -> IpAddr {
        let [high, low] = n.to_be_bytes();
        IpAddr::from([198, 18, high, low])
    }

    const fn at(ms: u64) -> Monotonic {
        Monotonic::from_ms(1_000_000 + ms)
    }

    #[test]
    fn a_dead_address_costs_one_probe_a_method_and_period_however_often_it_is_wanted() {
        let methods = [Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)];
        let mut schedule = Schedule::new(&sort(&methods, 1000), at(0));
        let mut sent = Vec::new();
        for round in 0..50 {
            for n in 0..8 {
                schedule.want(ip(n), at(round));
            }
            while let Some((address, probe)) = schedule.next(at(round)) {
                sent.push((address, probe));
                schedule.result(address, Found::Silent, at(round));
            }
        }
        assert_eq!(sent.len(), 8 * 3);
        assert_eq!(schedule.known(&ip(3)), Outcome::Silent);
        assert_eq!(schedule.want(ip(3), at(599_000)), Some(Outcome::Silent));
        assert_eq!(schedule.want(ip(3), at(700_000)), None, "a new period");
    }

    #[test]
    fn the_first_method_that_answers_is_the_last_that_is_tried() {
        let mut schedule = Schedule::new(&sort(&[Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)], 100), at(0));
        schedule.want(ip(1), at(0));
        assert_eq!(schedule.next(at(0)), Some((ip(1), Probe::Icmp)));
        assert!(!schedule.result(ip(1), Found::Refused, at(1)));
        assert_eq!(schedule.next(at(1)), Some((ip(1), Probe::Tcp(443))));
        assert!(schedule.result(ip(1), Found::Open(Duration::from_millis(7)), at(8)));
        assert_eq!(schedule.next(at(9)), None);
        assert_eq!(schedule.known(&ip(1)), Outcome::Open(Duration::from_millis(7)));
    }

    #[test]
    fn a_refusal_is_remembered_behind_silence() {
        let mut schedule = Schedule::new(&sort(&[Probe::Tcp(443), Probe::Tcp(80)], 100), at(0));
        schedule.want(ip(1), at(0));
        for found in [Found::Refused, Found::Silent] {
            schedule.next(at(0));
            schedule.result(ip(1), found, at(0));
        }
        assert_eq!(schedule.known(&ip(1)), Outcome::Refused);
    }

    #[test]
    fn probes_are_bounded_in_rate_and_in_flight() {
        let mut schedule = Schedule::new(&sort(&[Probe::Icmp], 50), at(0));
        (0..2000).for_each(|n| assert_eq!(schedule.want(ip(n), at(0)), None));
        let mut sent = 0;
        for ms in 0..2000 {
            while let Some((address, _)) = schedule.next(at(ms)) {
                sent += 1;
                schedule.result(address, Found::Silent, at(ms));
            }
        }
        assert!((100..=125).contains(&sent), "{sent} in two seconds at 50 a second");
        let mut schedule = Schedule::new(&sort(&[Probe::Icmp], 100_000), at(0));
        (0..2000).for_each(|n| assert_eq!(schedule.want(ip(n), at(0)), None));
        let mut flying = 0;
        for ms in 0..100 {
            while schedule.next(at(ms)).is_some() {
                flying += 1;
            }
        }
        assert_eq!(flying, IN_FLIGHT_MAX);
    }

    #[test]
    fn without_a_method_nothing_is_measured_and_nothing_waits() {
        let mut schedule = Schedule::new(&sort(&[Probe::Icmp], 50), at(0));
        schedule.lacks(Probe::Icmp);
        assert_eq!(schedule.want(ip(1), at(0)), Some(Outcome::Unmeasured));
        assert_eq!((schedule.next(at(0)), schedule.timeout()), (None, None));
    }
}
