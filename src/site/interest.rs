//! The names that this host has asked for within the last hour, and the sets that it has written: two tables
//! of a fixed size, in which a newer value replaces an older one of the same slot.

use hither_client::Family;
use hither_table::Monotonic;
use std::hash::{BuildHasher as _, Hash, RandomState};

/// Values of each table.
const SLOTS: usize = 65_536;
/// Names of one group in the table of names, which has as many groups as `SLOTS / WAYS`.
const WAYS: usize = 4;
/// How long a name is of interest.
const INTEREST_MS: u64 = 3_600_000;

/// The names that this host has asked for.
#[derive(Debug)]
pub(super) struct Interest {
    hasher: RandomState,
    /// By groups: the upper half of a name's hash, and the second in which it was asked for.
    groups: Box<[[(u32, u32); WAYS]]>,
}

impl Interest {
    pub fn new() -> Interest {
        Interest { hasher: RandomState::new(), groups: vec![[(0, 0); WAYS]; SLOTS / WAYS].into() }
    }

    /// This host has asked for a name, in wire form and lower case. In a full group the name that was asked
    /// for longest ago gives way.
    pub fn note(&mut self, name: &[u8], now: Monotonic) {
        let (group, mark) = self.place(name);
        let Some(group) = self.groups.get_mut(group) else { return };
        let known = group.iter().position(|(known, _)| *known == mark);
        let oldest = || (0..WAYS).min_by_key(|n| group.get(*n).map(|(_, at)| *at));
        if let Some(slot) = known.or_else(oldest).and_then(|n| group.get_mut(n)) {
            *slot = (mark, second(now.as_ms()));
        }
    }

    /// Whether this host has asked for the name within the last hour.
    pub fn has(&self, name: &[u8], now: Monotonic) -> bool {
        let (group, mark) = self.place(name);
        let since = second(now.as_ms().saturating_sub(INTEREST_MS));
        let mut slots = self.groups.get(group).into_iter().flatten();
        slots.any(|(known, at)| *known == mark && *at >= since)
    }

    fn place(&self, name: &[u8]) -> (usize, u32) {
        let hash = self.hasher.hash_one(name);
        (hash as usize % (SLOTS / WAYS), (hash >> 32) as u32)
    }
}

/// A second of a clock that begins with the host; 0 stands for none.
fn second(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX).max(1)
}

/// The sets that were written: a set that is published again, since its order has changed, is not.
#[derive(Debug)]
pub(super) struct Written {
    hasher: RandomState,
    slots: Box<[u64]>,
}

impl Written {
    pub fn new() -> Written {
        Written { hasher: RandomState::new(), slots: vec![0; SLOTS].into() }
    }

    /// Notes a set; `false` if it is the one that was noted last for its name and family.
    pub fn note(&mut self, name: &[u8], family: Family, identity: impl Hash) -> bool {
        let slot = self.hasher.hash_one((name, family)) as usize % SLOTS;
        let mark = self.hasher.hash_one((name, family, identity));
        self.slots.get_mut(slot).is_some_and(|slot| std::mem::replace(slot, mark) != mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_interest_for_an_hour() {
        let mut interest = Interest::new();
        let begin = Monotonic::from_ms(10_000_000);
        let at = |minutes: u64| Monotonic::from_ms(begin.as_ms() + minutes * 60_000);
        assert!(!interest.has(b"\x01a\x00", begin));
        interest.note(b"\x01a\x00", begin);
        assert!(interest.has(b"\x01a\x00", at(59)) && !interest.has(b"\x01b\x00", at(59)));
        assert!(!interest.has(b"\x01a\x00", at(61)));
        let mut many = Interest::new();
        (0..10_000u32).for_each(|n| many.note(&n.to_le_bytes(), begin));
        let kept = (0..10_000u32).filter(|n| many.has(&n.to_le_bytes(), begin)).count();
        assert!(kept > 9_950, "{kept}: names must not get in each other's way");
        (0..200_000u32).for_each(|n| interest.note(&n.to_le_bytes(), at(61)));
        let kept = (0..200_000u32).filter(|n| interest.has(&n.to_le_bytes(), at(61))).count();
        assert!(kept <= SLOTS && kept > SLOTS / 2, "{kept}");
    }

    #[test]
    fn a_set_is_written_once_and_its_successor_too() {
        let mut written = Written::new();
        assert!(written.note(b"\x01a\x00", Family::A, (1, 2)));
        assert!(!written.note(b"\x01a\x00", Family::A, (1, 2)));
        assert!(written.note(b"\x01a\x00", Family::Aaaa, (1, 2)));
        assert!(written.note(b"\x01a\x00", Family::A, (1, 3)));
    }
}
