//! The latest measurement of each address, shared by all names that have it. Bounded: the least recently
//! used one is evicted first.

use super::probe_log::ProbeLog;
use super::ranking::Outcome;
use hither_table::Monotonic;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Measurements that are kept; with both indexes some 10 MiB.
pub(super) const MEASUREMENTS_MAX: usize = 65_536;

/// Samples of an address that count.
const SAMPLES_MAX: usize = 5;

/// The latest measurement of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Measurement {
    pub at: Monotonic,
    /// The number of network changes until then.
    pub network: u64,
    /// An answer has the median of the samples.
    pub outcome: Outcome,
    pub samples: Samples,
    /// Whether the latest probes could be sent.
    pub was_tried: bool,
    /// Whether an address that had answered did not answer the latest probes. That may be one lost
    /// packet, so only the second time counts.
    pub is_doubted: bool,
}

/// The latest round-trip times of an address in one network, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Samples {
    latest: [u32; SAMPLES_MAX],
    next: u8,
    count: u8,
}

impl Samples {
    /// How many there are; never more than five.
    pub fn count(&self) -> u8 {
        self.count
    }

    fn add(&mut self, rtt: Duration) {
        self.latest[usize::from(self.next)] = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        self.next = (self.next + 1) % SAMPLES_MAX as u8;
        self.count = (self.count + 1).min(SAMPLES_MAX as u8);
    }

    /// Of an even number, the lower one of the two in the middle: what delays a reply only adds to it.
    fn median(&self) -> Duration {
        let mut sorted = self.latest;
        let sorted = &mut sorted[..usize::from(self.count)];
        sorted.sort_unstable();
        let middle = sorted.len().saturating_sub(1) / 2;
        Duration::from_micros(sorted.get(middle).copied().map_or(0, u64::from))
    }
}

#[derive(Debug, Default)]
pub(super) struct Measurements {
    /// The single probes, for operators.
    pub log: ProbeLog,
    by_address: BTreeMap<IpAddr, (Measurement, u64)>,
    /// The same addresses by their last use, which is a value of `uses`.
    by_use: BTreeMap<u64, IpAddr>,
    uses: u64,
}

impl Measurements {
    /// The latest measurement of an address, however old.
    pub fn get(&self, address: &IpAddr) -> Option<Measurement> {
        self.by_address.get(address).map(|(measurement, _)| *measurement)
    }

    /// Marks the measurement of an address as used just now.
    pub fn touch(&mut self, address: &IpAddr) {
        let Some((_, used)) = self.by_address.get_mut(address) else { return };
        self.uses += 1;
        self.by_use.remove(used);
        *used = self.uses;
        self.by_use.insert(self.uses, *address);
    }

    /// Notes a measurement. What could not be measured does not replace a measurement in the same network.
    pub fn note(&mut self, address: IpAddr, outcome: Outcome, network: u64, now: Monotonic) {
        let known = self.get(&address).filter(|known| known.network == network);
        let mut samples = known.map_or_else(Samples::default, |known| known.samples);
        let was_tried = outcome != Outcome::Unmeasured;
        let is_believed =
            |known: &Measurement| matches!(known.outcome, Outcome::Answered(_)) && !known.is_doubted;
        let is_doubted = outcome == Outcome::Silent && known.as_ref().is_some_and(is_believed);
        let outcome = match (outcome, known) {
            (Outcome::Answered(rtt), _) => {
                samples.add(rtt);
                Outcome::Answered(samples.median())
            }
            (Outcome::Unmeasured, Some(known)) => known.outcome,
            (Outcome::Silent, Some(known)) if is_doubted => known.outcome,
            (outcome, _) => {
                samples = Samples::default();
                outcome
            }
        };
        self.insert(address, Measurement { at: now, network, outcome, samples, was_tried, is_doubted });
    }

    fn insert(&mut self, address: IpAddr, measurement: Measurement) {
        self.uses += 1;
        if let Some((_, used)) = self.by_address.insert(address, (measurement, self.uses)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.uses, address);
        if self.by_address.len() > MEASUREMENTS_MAX
            && let Some((_, unused)) = self.by_use.pop_first()
        {
            self.by_address.remove(&unused);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_measurement_is_evicted_first() {
        let ip = |n: usize| IpAddr::from((n as u32).to_be_bytes());
        let of = |at, network, outcome| Measurement {
            at: Monotonic(at),
            network,
            outcome,
            samples: Samples::default(),
            was_tried: true,
            is_doubted: false,
        };
        let mut kept = Measurements::default();
        (0..MEASUREMENTS_MAX).for_each(|n| kept.insert(ip(n), of(1, 0, Outcome::Silent)));
        kept.touch(&ip(0));
        (0..100).for_each(|n| kept.insert(ip(MEASUREMENTS_MAX + n), of(2, 0, Outcome::Refused)));
        assert_eq!((kept.by_address.len(), kept.by_use.len()), (MEASUREMENTS_MAX, MEASUREMENTS_MAX));
        assert!(kept.get(&ip(0)).is_some(), "it was used");
        assert!((1..=100).all(|n| kept.get(&ip(n)).is_none()) && kept.get(&ip(101)).is_some());
        kept.insert(ip(0), of(3, 4, Outcome::Unmeasured));
        assert_eq!(kept.get(&ip(0)), Some(of(3, 4, Outcome::Unmeasured)));
        assert_eq!((kept.by_address.len(), kept.by_use.len()), (MEASUREMENTS_MAX, MEASUREMENTS_MAX));
    }

    #[test]
    fn an_answer_counts_as_the_median_of_the_latest_five_in_this_network() {
        let (mut kept, ip) = (Measurements::default(), IpAddr::from([192, 0, 2, 1]));
        let mut note = |ms: &[u64], network| {
            for ms in ms {
                kept.note(ip, Outcome::Answered(Duration::from_millis(*ms)), network, Monotonic(1));
            }
            match kept.get(&ip).map(|found| found.outcome) {
                Some(Outcome::Answered(rtt)) => rtt.as_millis(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(note(&[90], 0), 90);
        assert_eq!(note(&[20], 0), 20, "of two the lower one");
        assert_eq!(note(&[21], 0), 21);
        assert_eq!(note(&[22, 19], 0), 21);
        assert_eq!(note(&[18, 18, 18], 0), 18, "the first three are gone");
        assert_eq!(note(&[300], 1), 300, "another network");
        kept.note(ip, Outcome::Unmeasured, 1, Monotonic(2));
        let same = kept.get(&ip).expect("measured");
        assert_eq!((same.samples.count(), same.was_tried), (1, false));
        kept.note(ip, Outcome::Silent, 1, Monotonic(3));
        let doubted = kept.get(&ip).expect("measured");
        assert_eq!(
            (doubted.outcome, doubted.is_doubted),
            (Outcome::Answered(Duration::from_millis(300)), true)
        );
        kept.note(ip, Outcome::Answered(Duration::from_millis(310)), 1, Monotonic(3));
        kept.note(ip, Outcome::Silent, 1, Monotonic(4));
        kept.note(ip, Outcome::Silent, 1, Monotonic(5));
        let silent = kept.get(&ip).expect("measured");
        assert_eq!((silent.outcome, silent.samples.count()), (Outcome::Silent, 0));
    }
}
