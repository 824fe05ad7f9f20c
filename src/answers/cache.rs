//! What is kept and what goes.

use crate::index::{BITS, Index, IndexWriter, Node, OVERHEAD, given};
use crate::{Asked, Stored};
use crossbeam_epoch as epoch;
use hither_table::Monotonic;
use hither_wire::name::Name;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

/// Octets kept for an entry on average, all told, before others go; most answers take a third of that.
const OCTETS_PER_ENTRY: usize = 1024;
/// Octets that an entry takes in the order of age, which doubles, and in the index, of at least half as many buckets as entries.
const PLACE: usize = size_of::<Place>() * 3 / 2 + 6;
/// Entries looked at before one goes although it was asked for.
const LOOKS: usize = 16;
/// Places looked at with each answer that is kept, while many do not count.
const TIDIED: usize = 8;
/// Failures remembered at most.
const FAILURES_MAX: usize = 16_384;

/// Where an entry is: its hash and number.
type Place = (u32, u32);

/// Which of two entries was put later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number(pub(crate) u32);

impl Number {
    /// Whether an entry is not later than another. They count modulo 2^29: right while half as many have not come between them.
    #[must_use]
    pub fn is_up_to(self, other: Number) -> bool {
        (other.0.wrapping_sub(self.0) << BITS).cast_signed() >= 0
    }
}

/// Looks answers up, in any thread.
#[derive(Clone)]
pub struct Reader {
    index: Arc<Index>,
    secrets: Arc<RapidSecrets>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    fn hash(&self, name: &[u8]) -> u32 {
        rapidhash_v3_micro_inline::<true, true>(name, &self.secrets) as u32
    }

    /// Gives the answer to a question to `take`, while its time is not over and its number is not void. Neither allocates nor waits.
    #[inline]
    pub fn with<R>(
        &self,
        now: Monotonic,
        asked: &Asked<'_>,
        is_void: impl FnOnce(Number) -> bool,
        take: impl FnOnce(&Stored) -> R,
    ) -> Option<R> {
        let guard = &epoch::pin();
        let node = self.index.find(self.hash(asked.name), guard, |node| fits(node, asked))?;
        if node.stored.expired(now) || is_void(node.number()) {
            return None;
        }
        node.note_use();
        Some(take(&node.stored))
    }
}

fn fits(node: &Node, asked: &Asked<'_>) -> bool {
    let question = node.stored.question();
    let Some((name, rest)) = question.split_at_checked(asked.name.len()) else { return false };
    let [high, low] = asked.rtype.0.to_be_bytes();
    node.dnssec() == asked.dnssec && rest == [high, low, 0, 1] && name.eq_ignore_ascii_case(asked.name)
}

/// The cache, for the one thread that writes it.
pub struct Answers {
    index: IndexWriter,
    reader: Reader,
    /// Oldest first; a place counts only while the index has an entry of that number.
    order: VecDeque<Place>,
    /// See [`Answers::tidy_order`].
    kept: usize,
    looked_at: usize,
    next: u32,
    entries: usize,
    octets: usize,
    capacity: usize,
    /// How often the index was put together anew.
    rebuilt: u64,
    /// Questions that every upstream failed to answer (RFC 9520), and until when that is remembered.
    failures: BTreeMap<Box<[u8]>, Monotonic>,
    failed: VecDeque<Box<[u8]>>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// What a failure is found by: the name first, so that those of one name are side by side.
fn key(asked: &Asked<'_>) -> ([u8; 258], usize) {
    let mut key = [0; 258];
    let len = asked.name.len().min(255);
    let bits = u8::from(asked.dnssec.0) | u8::from(asked.dnssec.1) << 1;
    let [high, low] = asked.rtype.0.to_be_bytes();
    key[..len].copy_from_slice(&asked.name[..len]);
    key[len..len + 3].copy_from_slice(&[bits, high, low]);
    (key, 3 + len)
}

fn cost(stored: &Stored) -> usize {
    given(stored.len()) + OVERHEAD + PLACE
}

impl Answers {
    /// For so many answers. The seed should not be known to those who choose names.
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Answers {
        let index = IndexWriter::new(capacity.max(2) / 2);
        let secrets = Arc::new(RapidSecrets::seed(seed));
        let reader = Reader { index: Arc::clone(index.index()), secrets };
        Answers {
            index,
            reader,
            order: VecDeque::new(),
            kept: 0,
            looked_at: 0,
            next: 0,
            entries: 0,
            octets: 0,
            capacity,
            rebuilt: 0,
            failures: BTreeMap::new(),
            failed: VecDeque::new(),
        }
    }

    /// For other threads.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Keeps so many from now on.
    pub fn resize(&mut self, capacity: usize) {
        if capacity != self.capacity {
            self.capacity = capacity;
            self.index.rebuild(capacity.max(2) / 2);
            self.rebuilt += 1;
            self.make_room();
        }
    }

    /// The answer that is kept, its time over or not.
    #[must_use]
    pub fn get(&self, asked: &Asked<'_>) -> Option<Arc<Stored>> {
        if self.is_empty() {
            return None;
        }
        let guard = &epoch::pin();
        let hash = self.reader.hash(asked.name);
        self.index.index().find(hash, guard, |node| fits(node, asked)).map(|node| Arc::clone(&node.stored))
    }

    /// Whether a failure to answer the question is remembered.
    #[must_use]
    pub fn has_failed(&self, now: Monotonic, asked: &Asked<'_>) -> bool {
        if self.failures.is_empty() {
            return false;
        }
        let (key, len) = key(asked);
        self.failures.get(&key[..len]).is_some_and(|until| now < *until)
    }

    /// Remembers a failure, beside what was known.
    pub fn fail(&mut self, asked: &Asked<'_>, until: Monotonic) {
        let (key, len) = key(asked);
        let key: Box<[u8]> = key[..len].into();
        if self.failures.insert(key.clone(), until).is_none() {
            self.failed.push_back(key);
        }
        if self.failed.len() > FAILURES_MAX.min(self.capacity.max(1))
            && let Some(oldest) = self.failed.pop_front()
        {
            self.failures.remove(&oldest);
        }
    }

    /// Forgets that anything failed.
    pub fn forget_failures(&mut self) {
        self.failures.clear();
        self.failed.clear();
    }

    /// Keeps an answer in place of what there was.
    pub fn put(&mut self, asked: &Asked<'_>, stored: Arc<Stored>) {
        let (key, len) = key(asked);
        // Its place among the failures is forgotten with them, or when it is its turn.
        self.failures.remove(&key[..len]);
        self.remove(asked);
        let hash = self.reader.hash(asked.name);
        self.next = self.next.wrapping_add(1);
        self.octets += cost(&stored);
        self.entries += 1;
        self.order.push_back((hash, self.next));
        self.index.insert(Node::new(hash, asked.dnssec, self.next, stored));
        self.make_room();
    }

    fn make_room(&mut self) {
        let (mut looks, most) = (0, self.capacity.max(1));
        while self.entries > most || self.octets > most * OCTETS_PER_ENTRY {
            let Some(place) = self.take_oldest() else { break };
            if looks < LOOKS && self.spared(place) {
                looks += 1;
                self.order.push_back(place);
            } else {
                self.drop_one(place);
            }
        }
        self.tidy_order();
    }

    /// Takes places out that do not count, some at a time, where there are many: those from `kept` up to `looked_at` are such, those before count.
    fn tidy_order(&mut self) {
        if self.looked_at == 0 && self.order.len() <= self.entries + self.entries / 2 + 64 {
            return;
        }
        let (index, guard) = (self.index.index(), &epoch::pin());
        for _ in 0..TIDIED {
            let Some((hash, number)) = self.order.get(self.looked_at).copied() else {
                self.order.truncate(self.kept);
                (self.kept, self.looked_at) = (0, 0);
                return;
            };
            if index.find(hash, guard, |node| node.is_number(number)).is_some() {
                self.order.swap(self.kept, self.looked_at);
                self.kept += 1;
            }
            self.looked_at += 1;
        }
    }

    /// The oldest place.
    fn take_oldest(&mut self) -> Option<Place> {
        (self.kept, self.looked_at) = (self.kept.saturating_sub(1), self.looked_at.saturating_sub(1));
        self.order.pop_front()
    }

    /// Whether it was asked for since this was last looked at.
    fn spared(&self, (hash, number): Place) -> bool {
        let guard = &epoch::pin();
        let node = self.index.index().find(hash, guard, |node| node.is_number(number));
        node.is_some_and(Node::forget_use)
    }

    fn drop_one(&mut self, (hash, number): Place) {
        self.unlink(hash, |node| node.is_number(number));
    }

    /// Forgets an answer.
    pub fn remove(&mut self, asked: &Asked<'_>) {
        self.unlink(self.reader.hash(asked.name), |node| fits(node, asked));
    }

    fn unlink(&mut self, hash: u32, which: impl Fn(&Node) -> bool) {
        let (entries, octets) = (&mut self.entries, &mut self.octets);
        self.index.remove(hash, which, |node| {
            *entries -= 1;
            *octets -= cost(&node.stored);
        });
    }

    /// Forgets every type and variant of a name, and its failures.
    pub fn remove_name(&mut self, name: &Name) {
        self.remove_of(name, |_| true);
        let wire = name.as_wire();
        // No name begins with another one: it ends with the root.
        let of_name = self.failures.range::<[u8], _>((Bound::Included(wire), Bound::Unbounded));
        let failed: Vec<_> =
            of_name.map(|(key, _)| key).take_while(|key| key.starts_with(wire)).cloned().collect();
        for key in failed {
            self.failures.remove(&key);
        }
    }

    /// Forgets those answers to a name whose number is void.
    pub fn remove_of(&mut self, name: &Name, is_void: impl Fn(Number) -> bool) {
        let hash = self.reader.hash(name.as_wire());
        self.unlink(hash, |node| {
            let question = node.stored.question();
            question.len() == name.as_wire().len() + 4
                && question[..name.as_wire().len()].eq_ignore_ascii_case(name.as_wire())
                && is_void(node.number())
        });
    }

    /// The number of the latest entry.
    #[must_use]
    pub fn latest(&self) -> Number {
        Number(self.next)
    }

    /// In how many places of the index entries may be, and how often it was put together anew: then each may be in another place.
    #[must_use]
    pub fn places(&self) -> (usize, u64) {
        (self.index.index().len(), self.rebuilt)
    }

    /// Forgets those answers in so many places from `at` on that are void.
    pub fn remove_at(&mut self, at: usize, places: usize, mut is_void: impl FnMut(&Name, Number) -> bool) {
        let mut void = Vec::new();
        self.index.index().each(at, places, |node| {
            let question = node.stored.question();
            let name = Name::from_wire(&question[..question.len().saturating_sub(4)]);
            if name.is_ok_and(|name| is_void(&name.to_lower(), node.number())) {
                void.push((node.hash, node.number().0));
            }
        });
        void.into_iter().for_each(|place| self.drop_one(place));
    }

    /// Answers kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Octets that the answers take, all told.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Compares what is counted with what is there.
    ///
    /// # Panics
    /// If they differ.
    pub fn check_invariants(&self) {
        let (mut entries, mut octets, mut places) = (0, 0, std::collections::BTreeSet::new());
        self.index.index().each(0, usize::MAX, |node| {
            entries += 1;
            octets += cost(&node.stored);
            places.insert(std::ptr::from_ref(node).addr());
        });
        assert_eq!((entries, octets), (self.entries, self.octets), "entries and octets of the answer cache");
        let (index, guard) = (self.index.index(), &epoch::pin());
        for (hash, number) in &self.order {
            if let Some(node) = index.find(*hash, guard, |node| node.is_number(*number)) {
                places.remove(&std::ptr::from_ref(node).addr());
            }
        }
        assert!(places.is_empty(), "an answer that never ages");
        assert!(self.kept <= self.looked_at && self.looked_at <= self.order.len(), "beyond the order of age");
        assert!(self.failures.len() <= self.failed.len(), "a failure that is remembered for ever");
    }
}
