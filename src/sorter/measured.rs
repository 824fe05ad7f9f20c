//! What is known of addresses: one entry each, however many names hold it, bounded in number. What has not been of use for longest goes first.

use super::rank::Outcome;
use hither_table::Monotonic;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Addresses whose measurements are remembered; with what finds them, some 10 MiB.
pub(super) const MEASURED_MAX: usize = 65_536;

#[derive(Debug)]
struct Known {
    at: Monotonic,
    /// How often the network had changed by then.
    network: u64,
    outcome: Outcome,
    used: u64,
}

#[derive(Debug, Default)]
pub(super) struct Measured {
    known: BTreeMap<IpAddr, Known>,
    /// The same addresses by when each was last of use.
    uses: BTreeMap<u64, IpAddr>,
    /// Counts uses.
    clock: u64,
}

impl Measured {
    /// What was found at an address, when, and in which network, however long ago.
    pub fn get(&self, address: &IpAddr) -> Option<(Monotonic, u64, Outcome)> {
        self.known.get(address).map(|known| (known.at, known.network, known.outcome))
    }

    /// Somebody has a use for what is known of an address.
    pub fn touch(&mut self, address: &IpAddr) {
        let Some(known) = self.known.get_mut(address) else { return };
        self.clock += 1;
        self.uses.remove(&known.used);
        known.used = self.clock;
        self.uses.insert(self.clock, *address);
    }

    pub fn insert(&mut self, address: IpAddr, (at, network): (Monotonic, u64), outcome: Outcome) {
        self.clock += 1;
        if let Some(old) = self.known.insert(address, Known { at, network, outcome, used: self.clock }) {
            self.uses.remove(&old.used);
        }
        self.uses.insert(self.clock, address);
        if self.known.len() > MEASURED_MAX
            && let Some((_, idle)) = self.uses.pop_first()
        {
            self.known.remove(&idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_of_use_for_longest_is_forgotten_first() {
        let ip = |n: usize| IpAddr::from((n as u32).to_be_bytes());
        let mut measured = Measured::default();
        (0..MEASURED_MAX).for_each(|n| measured.insert(ip(n), (Monotonic(1), 0), Outcome::Silent));
        measured.touch(&ip(0));
        (0..100).for_each(|n| measured.insert(ip(MEASURED_MAX + n), (Monotonic(2), 0), Outcome::Refused));
        assert_eq!((measured.known.len(), measured.uses.len()), (MEASURED_MAX, MEASURED_MAX));
        assert!(measured.get(&ip(0)).is_some(), "it was of use");
        assert!((1..=100).all(|n| measured.get(&ip(n)).is_none()) && measured.get(&ip(101)).is_some());
        measured.insert(ip(0), (Monotonic(3), 4), Outcome::Unmeasured);
        assert_eq!(measured.get(&ip(0)), Some((Monotonic(3), 4, Outcome::Unmeasured)));
        assert_eq!((measured.known.len(), measured.uses.len()), (MEASURED_MAX, MEASURED_MAX));
    }
}
