//! The latest measurement of each address, shared by all names that have it. Bounded: the least recently
//! used one is evicted first.

use super::ranking::Outcome;
use hither_table::Monotonic;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Measurements that are kept; with both indexes some 10 MiB.
pub(super) const MEASUREMENTS_MAX: usize = 65_536;

/// One measurement of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Measurement {
    pub at: Monotonic,
    /// The number of network changes until then.
    pub network: u64,
    pub outcome: Outcome,
}

#[derive(Debug, Default)]
pub(super) struct Measurements {
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

    pub fn insert(&mut self, address: IpAddr, measurement: Measurement) {
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
        let of = |at, network, outcome| Measurement { at: Monotonic(at), network, outcome };
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
}
