//! When which address is probed how: bounded in rate, in flight and in memory, each address once for all names that hold it.
//!
//! Pure: time is an argument, probes go out through [`Schedule::next`] and come back through [`Schedule::result`].

use super::measured::Measured;
use super::rank::Outcome;
use crate::config::{Probe, Sort};
use hither_table::Monotonic;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Probes in flight at once.
pub(super) const IN_FLIGHT_MAX: usize = 128;
/// How many of them may be for long sets, so that a short one need not wait until what is silent has been waited for.
const LONG_IN_FLIGHT_MAX: usize = 96;
/// Addresses in line or in flight at once: as many as the usual rate measures in a minute and a half.
pub(super) const MEASURING_MAX: usize = 16_384;
/// While long sets wait, every so many-th probe is for one of them.
const LONG_SHARE: u32 = 4;

/// What one probe found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    Open(Duration),
    Refused,
    Silent,
    /// The probe could not be sent: says nothing about the address.
    NotSent,
}

/// How much a set has to be measured: a long one would hold up many short ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Line {
    Long,
    Short,
}

/// The place in line of a set and of its addresses, the highest first: short sets before long ones, what was published later before
/// what was published earlier, and the addresses of a set as they stand in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Rank {
    pub line: Line,
    /// Grows with each set that is published.
    pub age: i64,
    pub address: u8,
}

/// What the rank of every short set is above.
const LEAST_SHORT: (Rank, IpAddr) =
    (Rank { line: Line::Short, age: i64::MIN, address: 0 }, IpAddr::V4(Ipv4Addr::UNSPECIFIED));

#[derive(Debug)]
struct Measuring {
    /// The method that is tried, by its place in the configuration.
    method: usize,
    worst: Option<Outcome>,
    rank: Rank,
    is_flying: bool,
    /// How often the network had changed when the first method was tried.
    network: u64,
}

#[derive(Debug)]
pub(super) struct Schedule {
    methods: Vec<Probe>,
    rate: u32,
    remeasure: Duration,
    measured: Measured,
    /// How often the network has changed; what was measured in another one does not count any more.
    network: u64,
    measuring: BTreeMap<IpAddr, Measuring>,
    /// Those of `measuring` that are not in flight.
    line: BTreeSet<(Rank, IpAddr)>,
    in_flight: usize,
    /// Probes for short sets since the last one for a long one.
    short_in_a_row: u32,
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
            measured: Measured::default(),
            network: 0,
            measuring: BTreeMap::new(),
            line: BTreeSet::new(),
            in_flight: 0,
            short_in_a_row: 0,
            tokens: TOKEN * u64::from(sort.rate.clamp(1, 20)),
            refilled: now,
        }
    }

    /// A method that cannot be used on this host is left out from now on.
    pub fn lacks(&mut self, probe: Probe) {
        self.methods.retain(|method| *method != probe);
    }

    /// Whether nothing is to be measured of an address now: what is known of it is fresh, or nothing can ever be known without a method.
    pub fn is_settled(&mut self, address: &IpAddr, now: Monotonic) -> bool {
        if self.methods.is_empty() {
            return true;
        }
        let Some((at, network, _)) = self.measured.get(address) else { return false };
        self.measured.touch(address);
        network == self.network && now.since(at) < self.remeasure
    }

    /// What is known of an address, however old.
    pub fn known(&self, address: &IpAddr) -> Outcome {
        self.measured.get(address).map_or(Outcome::Unmeasured, |(.., outcome)| outcome)
    }

    /// How many addresses are in line or in flight; never more than [`MEASURING_MAX`].
    pub fn measuring(&self) -> usize {
        self.measuring.len()
    }

    pub fn is_measuring(&self, address: &IpAddr) -> bool {
        self.measuring.contains_key(address)
    }

    /// Puts an address in line, or further to the front. The caller has seen that there is room, see [`Schedule::measuring`].
    pub fn want(&mut self, address: IpAddr, rank: Rank) {
        if let Some(measuring) = self.measuring.get_mut(&address) {
            if rank > measuring.rank {
                let before = std::mem::replace(&mut measuring.rank, rank);
                if self.line.remove(&(before, address)) {
                    self.line.insert((rank, address));
                }
            }
            return;
        }
        debug_assert!(self.measuring.len() < MEASURING_MAX, "the line is full");
        let first = Measuring { method: 0, worst: None, rank, is_flying: false, network: self.network };
        self.measuring.insert(address, first);
        self.line.insert((rank, address));
    }

    /// Nobody wants an address any more: it leaves the line. A probe that is on its way comes to its end.
    pub fn leave(&mut self, address: &IpAddr) {
        if let Some(measuring) = self.measuring.get(address)
            && !measuring.is_flying
        {
            self.line.remove(&(measuring.rank, *address));
            self.measuring.remove(address);
        }
    }

    /// Another network: what was measured in the one before does not count any more, nor does what is on its way in it.
    pub fn network_changed(&mut self) {
        self.network += 1;
    }

    /// The next probe to send, if rate and flight allow one.
    pub fn next(&mut self, now: Monotonic) -> Option<(IpAddr, Probe)> {
        self.refill(now);
        while self.tokens >= TOKEN {
            let (rank, address) = self.pick()?;
            self.line.remove(&(rank, address));
            let Some(measuring) = self.measuring.get_mut(&address) else { continue };
            if measuring.network != self.network {
                *measuring = Measuring { method: 0, worst: None, network: self.network, ..*measuring };
            }
            let Some(probe) = self.methods.get(measuring.method).copied() else { continue };
            measuring.is_flying = true;
            self.short_in_a_row =
                if rank.line == Line::Long { 0 } else { self.short_in_a_row.saturating_add(1) };
            self.tokens -= TOKEN;
            self.in_flight += 1;
            return Some((address, probe));
        }
        None
    }

    /// Whose turn it is, if there is room in flight.
    fn pick(&self) -> Option<(Rank, IpAddr)> {
        let long = self.line.range(..LEAST_SHORT).next_back().filter(|_| self.in_flight < LONG_IN_FLIGHT_MAX);
        let short = self.line.last().filter(|(rank, _)| rank.line == Line::Short);
        let short = short.filter(|_| self.in_flight < IN_FLIGHT_MAX);
        let is_turn_of_long = self.short_in_a_row + 1 >= LONG_SHARE;
        (if is_turn_of_long { long.or(short) } else { short.or(long) }).copied()
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
        self.pick()?;
        let missing = TOKEN.saturating_sub(self.tokens);
        Some(self.refilled.plus(Duration::from_micros(missing.div_ceil(u64::from(self.rate)).max(1))))
    }

    /// A probe has ended; `true` when that is the address's last word for now.
    pub fn result(&mut self, address: IpAddr, found: Found, now: Monotonic) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(measuring) = self.measuring.get_mut(&address) else { return false };
        measuring.is_flying = false;
        let outcome = match found {
            Found::Open(rtt) => Outcome::Open(rtt),
            Found::Refused => measuring.worst.map_or(Outcome::Refused, |worst| worst.min(Outcome::Refused)),
            Found::Silent => measuring.worst.map_or(Outcome::Silent, |worst| worst.min(Outcome::Silent)),
            Found::NotSent => measuring.worst.unwrap_or(Outcome::Unmeasured),
        };
        measuring.method += 1;
        measuring.worst = (outcome != Outcome::Unmeasured).then_some(outcome);
        let goes_on = !matches!(found, Found::Open(_)) && measuring.method < self.methods.len();
        if goes_on || measuring.network != self.network {
            self.line.insert((measuring.rank, address));
            return false;
        }
        self.measuring.remove(&address);
        // What could not be found out takes nothing away from what is known.
        let known = self.measured.get(&address).filter(|(_, network, _)| *network == self.network);
        let outcome = match known {
            Some((.., known)) if outcome == Outcome::Unmeasured => known,
            _ => outcome,
        };
        self.measured.insert(address, (now, self.network), outcome);
        true
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

    const SHORT: Rank = Rank { line: Line::Short, age: 0, address: 0 };

    impl Schedule {
        /// As a set does: what is known of an address, if that is fresh; else it is put in line.
        fn asked(&mut self, address: IpAddr, now: Monotonic) -> Option<Outcome> {
            if self.is_settled(&address, now) {
                return Some(self.known(&address));
            }
            self.want(address, SHORT);
            None
        }
    }

    #[test]
    fn a_dead_address_costs_one_probe_a_method_and_period_however_often_it_is_wanted() {
        let methods = [Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)];
        let mut schedule = Schedule::new(&sort(&methods, 1000), at(0));
        let mut sent = Vec::new();
        for round in 0..50 {
            for n in 0..8 {
                schedule.asked(ip(n), at(round));
            }
            while let Some((address, probe)) = schedule.next(at(round)) {
                sent.push((address, probe));
                schedule.result(address, Found::Silent, at(round));
            }
        }
        assert_eq!(sent.len(), 8 * 3);
        assert_eq!(schedule.known(&ip(3)), Outcome::Silent);
        assert_eq!(schedule.asked(ip(3), at(599_000)), Some(Outcome::Silent));
        assert_eq!(schedule.asked(ip(3), at(700_000)), None, "a new period");
    }

    #[test]
    fn the_first_method_that_answers_is_the_last_that_is_tried() {
        let mut schedule = Schedule::new(&sort(&[Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)], 100), at(0));
        schedule.asked(ip(1), at(0));
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
        schedule.asked(ip(1), at(0));
        for found in [Found::Refused, Found::Silent] {
            schedule.next(at(0));
            schedule.result(ip(1), found, at(0));
        }
        assert_eq!(schedule.known(&ip(1)), Outcome::Refused);
    }

    #[test]
    fn a_probe_that_could_not_be_sent_takes_nothing_away_from_what_is_known() {
        let mut schedule = Schedule::new(&sort(&[Probe::Icmp, Probe::Tcp(443)], 100), at(0));
        let probe = |schedule: &mut Schedule, found: [Found; 2], ms: u64| {
            assert_eq!(schedule.asked(ip(1), at(ms)), None);
            for found in found {
                schedule.next(at(ms));
                if schedule.result(ip(1), found, at(ms)) {
                    return;
                }
            }
        };
        probe(&mut schedule, [Found::Open(Duration::from_millis(7)); 2], 0);
        probe(&mut schedule, [Found::NotSent; 2], 700_000);
        assert_eq!(schedule.known(&ip(1)), Outcome::Open(Duration::from_millis(7)));
        schedule.network_changed();
        probe(&mut schedule, [Found::NotSent; 2], 700_001);
        assert_eq!(schedule.known(&ip(1)), Outcome::Unmeasured, "known of another network");
    }

    #[test]
    fn what_was_measured_until_another_network_was_noticed_does_not_count_in_it() {
        let mut schedule = Schedule::new(&sort(&[Probe::Icmp], 100), at(0));
        schedule.asked(ip(1), at(0));
        schedule.next(at(0));
        assert!(schedule.result(ip(1), Found::Silent, at(1)));
        // In the same turn, at the same moment.
        schedule.network_changed();
        assert_eq!(schedule.asked(ip(1), at(1)), None, "measured in the one before");
        schedule.next(at(1));
        assert!(schedule.result(ip(1), Found::Silent, at(1)));
        assert_eq!(schedule.asked(ip(1), at(1)), Some(Outcome::Silent));
    }

    #[test]
    fn probes_are_bounded_in_rate_and_in_flight() {
        let mut schedule = Schedule::new(&sort(&[Probe::Icmp], 50), at(0));
        (0..2000).for_each(|n| assert_eq!(schedule.asked(ip(n), at(0)), None));
        let mut sent = 0;
        for ms in 0..2000 {
            while let Some((address, _)) = schedule.next(at(ms)) {
                sent += 1;
                schedule.result(address, Found::Silent, at(ms));
            }
        }
        assert!((100..=125).contains(&sent), "{sent} in two seconds at 50 a second");
        let mut schedule = Schedule::new(&sort(&[Probe::Icmp], 100_000), at(0));
        (0..2000).for_each(|n| assert_eq!(schedule.asked(ip(n), at(0)), None));
        let mut flying = 0;
        for ms in 0..100 {
            while schedule.next(at(ms)).is_some() {
                flying += 1;
            }
        }
        assert_eq!(flying, IN_FLIGHT_MAX);
    }

    #[test]
    fn what_is_long_and_silent_leaves_room_in_flight_for_what_is_short() {
        let mut schedule = Schedule::new(&sort(&[Probe::Icmp], 100_000), at(0));
        (0..2000).for_each(|n| schedule.want(ip(n), Rank { line: Line::Long, ..SHORT }));
        let mut flying = 0;
        for ms in 0..100 {
            while schedule.next(at(ms)).is_some() {
                flying += 1;
            }
        }
        assert_eq!((flying, schedule.timeout()), (LONG_IN_FLIGHT_MAX, None));
        schedule.want(ip(3000), SHORT);
        assert_eq!(schedule.next(at(100)), Some((ip(3000), Probe::Icmp)));
    }

    #[test]
    fn an_address_that_is_in_line_may_come_forward_where_the_line_is_full() {
        let mut schedule = Schedule::new(&sort(&[Probe::Icmp], 100), at(0));
        let long = Rank { line: Line::Long, ..SHORT };
        (0..MEASURING_MAX).for_each(|n| schedule.want(ip(n as u16), long));
        // It is full, and this one is in it.
        schedule.want(ip(7), SHORT);
        assert_eq!(schedule.next(at(0)), Some((ip(7), Probe::Icmp)));
        schedule.leave(&ip(7));
        assert_eq!(schedule.measuring(), MEASURING_MAX, "it is on its way");
        schedule.leave(&ip(8));
        assert_eq!((schedule.measuring(), schedule.is_measuring(&ip(8))), (MEASURING_MAX - 1, false));
    }

    #[test]
    fn without_a_method_nothing_is_measured_and_nothing_waits() {
        let mut schedule = Schedule::new(&sort(&[Probe::Icmp], 50), at(0));
        schedule.lacks(Probe::Icmp);
        assert_eq!(schedule.asked(ip(1), at(0)), Some(Outcome::Unmeasured));
        assert_eq!((schedule.next(at(0)), schedule.timeout()), (None, None));
    }
}
