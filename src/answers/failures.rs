//! The failure cache: questions that every upstream failed to answer, each for a while (RFC 9520).

use crate::Asked;
use hither_table::Monotonic;
use hither_wire::name::Name;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// Failures that are remembered, unless the capacity of the answer cache is smaller.
const FAILURES_MAX: usize = 16_384;

/// The questions that every upstream failed to answer.
#[derive(Default)]
pub(crate) struct Failures {
    /// Until when each failure is remembered, by [`key`].
    until: BTreeMap<Box<[u8]>, Monotonic>,
    /// The keys of `until`, oldest first, and keys of failures that are no longer remembered.
    keys: VecDeque<Box<[u8]>>,
}

/// The key of a failure, and its length in octets. It begins with the name, so that failures of one
/// name are side by side.
fn key(asked: &Asked<'_>) -> ([u8; 258], usize) {
    let mut key = [0; 258];
    let len = asked.name.len().min(255);
    let bits = u8::from(asked.dnssec_ok) | u8::from(asked.checking_disabled) << 1;
    let [high, low] = asked.rtype.0.to_be_bytes();
    key[..len].copy_from_slice(&asked.name[..len]);
    key[len..len + 3].copy_from_slice(&[bits, high, low]);
    (key, 3 + len)
}

impl Failures {
    /// Whether a failure is remembered for the question.
    pub fn has(&self, now: Monotonic, asked: &Asked<'_>) -> bool {
        if self.until.is_empty() {
            return false;
        }
        let (key, len) = key(asked);
        self.until.get(&key[..len]).is_some_and(|until| now < *until)
    }

    /// Remembers a failure until a time. `capacity` is that of the answer cache.
    pub fn remember(&mut self, asked: &Asked<'_>, until: Monotonic, capacity: usize) {
        let (key, len) = key(asked);
        let key: Box<[u8]> = key[..len].into();
        if self.until.insert(key.clone(), until).is_none() {
            self.keys.push_back(key);
        }
        if self.keys.len() > FAILURES_MAX.min(capacity.max(1))
            && let Some(oldest) = self.keys.pop_front()
        {
            self.until.remove(&oldest);
        }
    }

    /// Removes the failure of a question.
    pub fn forget(&mut self, asked: &Asked<'_>) {
        if !self.until.is_empty() {
            // The key stays in `keys` until it is the oldest.
            let (key, len) = key(asked);
            self.until.remove(&key[..len]);
        }
    }

    /// Removes the failures of all questions about a name.
    pub fn forget_name(&mut self, name: &Name) {
        let wire = name.as_wire();
        // Names end with the root label, so no name is the beginning of another.
        let of_name = self.until.range::<[u8], _>((Bound::Included(wire), Bound::Unbounded));
        let keys: Vec<_> =
            of_name.map(|(key, _)| key).take_while(|key| key.starts_with(wire)).cloned().collect();
        for key in keys {
            self.until.remove(&key);
        }
    }

    /// Removes the failures of all questions.
    pub fn clear(&mut self) {
        self.until.clear();
        self.keys.clear();
    }

    /// Checks that each failure has a key.
    pub fn check_invariants(&self) {
        assert!(self.until.len() <= self.keys.len(), "a failure without a key would be remembered for ever");
    }
}
