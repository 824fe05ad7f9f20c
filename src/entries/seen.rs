//! The memory of entries seen, which recognises older ones of the same key.
//!
//! It is conservative: where it has forgotten a key, an entry that may be older than the one that was
//! forgotten counts as older.

use core::hash::{Hash, Hasher};
use hither_table::Family;
use hither_wire::name::Name;
use std::hash::DefaultHasher;

/// Groups of keys; a key has one by its hash.
const GROUPS: usize = 1 << 14;
/// Keys that a group remembers.
const WAYS: usize = 4;
/// Bits of a word that hold a time; the others hold a part of the key's hash.
const TIME_BITS: u32 = 48;

/// What the memory knows of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// It is newer than what was seen, or the first.
    Newer,
    /// One learned in the same millisecond was seen.
    Same,
    /// A newer one was seen, or may have been.
    Older,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    /// Times of learning and tags of keys; 0 stands for none.
    words: [u64; WAYS],
    /// The greatest time of a key that was forgotten.
    forgotten_ms: u64,
}

/// When the newest entry of each key was learned, for 65536 keys in 640 KiB.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    groups: Box<[Group]>,
    /// Unknown to others, so that they cannot choose keys of one group.
    seed: [u64; 2],
}

impl Seen {
    pub(crate) fn new(seed: [u64; 2]) -> Seen {
        Seen { groups: vec![Group::default(); GROUPS].into(), seed }
    }

    /// Notes an entry learned at `learned_ms`, at most [`crate::TIME_MAX`].
    pub(crate) fn note(&mut self, name: &Name, family: Family, learned_ms: u64) -> Order {
        let mut hasher = DefaultHasher::new();
        (self.seed, name, family).hash(&mut hasher);
        let hash = hasher.finish();
        // A tag of 0 with a time of 0 would look like none.
        let tag = (hash >> TIME_BITS).max(1);
        match self.groups.get_mut(hash as usize % GROUPS) {
            Some(group) => group.note(tag, learned_ms),
            None => Order::Older,
        }
    }
}

impl Group {
    fn note(&mut self, tag: u64, learned_ms: u64) -> Order {
        let time_of = |word: u64| word & ((1 << TIME_BITS) - 1);
        let new = tag << TIME_BITS | learned_ms;
        if let Some(known) = self.words.iter_mut().find(|word| **word >> TIME_BITS == tag) {
            let before_ms = time_of(*known);
            *known = new.max(*known);
            return match learned_ms.cmp(&before_ms) {
                core::cmp::Ordering::Less => Order::Older,
                core::cmp::Ordering::Equal => Order::Same,
                core::cmp::Ordering::Greater => Order::Newer,
            };
        }
        // The key itself may be the one that was forgotten.
        if learned_ms <= self.forgotten_ms {
            return Order::Older;
        }
        if let Some(oldest) = self.words.iter_mut().min_by_key(|word| time_of(**word)) {
            self.forgotten_ms = self.forgotten_ms.max(time_of(*oldest));
            *oldest = new;
        }
        Order::Newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_entries_of_a_key_are_recognised() {
        let mut seen = Seen::new([1, 2]);
        let name: Name = "www.example".parse().expect("a name");
        assert_eq!(seen.note(&name, Family::A, 10), Order::Newer);
        assert_eq!(seen.note(&name, Family::A, 10), Order::Same);
        assert_eq!(seen.note(&name, Family::Aaaa, 9), Order::Newer, "another key");
        assert_eq!(seen.note(&name, Family::A, 9), Order::Older);
        assert_eq!(seen.note(&name, Family::A, 11), Order::Newer);
        assert_eq!(seen.note(&name, Family::A, 10), Order::Older);
    }

    #[test]
    fn a_key_that_was_forgotten_is_not_believed_older_than_before() {
        let mut group = Group::default();
        for tag in 1..=4 {
            assert_eq!(group.note(tag, 100 + tag), Order::Newer);
        }
        assert_eq!(group.note(5, 200), Order::Newer, "key 1 gives way");
        assert_eq!(group.note(1, 101), Order::Older);
        assert_eq!(group.note(1, 100), Order::Older);
        assert_eq!(group.note(1, 102), Order::Newer, "key 2 gives way");
        assert_eq!(group.note(3, 103), Order::Same);
    }
}
