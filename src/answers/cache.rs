//! The cache: storing, finding and evicting answers. Failures are in `failures.rs`.

use crate::failures::Failures;
use crate::index::{FLAG_BITS, Index, IndexWriter, Node, OVERHEAD, allocated};
use crate::{Asked, Stored};
use crossbeam_epoch as epoch;
use hither_table::Monotonic;
use hither_wire::name::Name;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Octets that an entry may take on average, overhead included. Most entries take a third of that.
const OCTETS_PER_ENTRY_MAX: usize = 1024;
/// Octets of an entry beside its node: in the queue, whose memory doubles when it grows, and in the
/// index, which has at least half as many buckets as entries.
const QUEUE_AND_INDEX_OCTETS: usize = size_of::<QueuePlace>() * 3 / 2 + 6;
/// Entries that eviction passes over because they were read, before it evicts one nevertheless.
const PASSED_OVER_MAX: usize = 16;
/// Places of the queue that are checked with each new answer, while many are out of date.
const TIDIED_MAX: usize = 8;
/// The place of an entry in the queue: its hash and its number.
type QueuePlace = (u32, u32);

/// The number of an entry: a later entry has a higher one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number(pub(crate) u32);

impl Number {
    /// Whether this entry is not later than `other`. Numbers count modulo 2^29, so this is right
    /// for entries that are less than 2^28 apart.
    #[must_use]
    pub fn is_up_to(self, other: Number) -> bool {
        (other.0.wrapping_sub(self.0) << FLAG_BITS).cast_signed() >= 0
    }
}

/// Looks up answers, in any thread.
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

    /// Gives the answer to a question to `take`, unless the answer has expired or `is_void` says so of
    /// its number. Neither allocates nor waits.
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

/// Whether a node has the answer to this question.
fn fits(node: &Node, asked: &Asked<'_>) -> bool {
    let question = node.stored.question();
    let Some((name, rest)) = question.split_at_checked(asked.name.len()) else { return false };
    let [high, low] = asked.rtype.0.to_be_bytes();
    node.dnssec() == (asked.dnssec_ok, asked.checking_disabled)
        && rest == [high, low, 0, 1]
        && name.eq_ignore_ascii_case(asked.name)
}

/// The cache, for the one thread that writes it.
pub struct Answers {
    index: IndexWriter,
    reader: Reader,
    /// Oldest first. A place is out of date if the index has no entry of its number.
    queue: VecDeque<QueuePlace>,
    /// Places at the head of the queue that [`Answers::tidy`] has found to be up to date.
    kept: usize,
    /// Places at the head of the queue that [`Answers::tidy`] has checked.
    checked: usize,
    /// The number of the latest entry.
    latest: u32,
    entries: usize,
    octets: usize,
    capacity: usize,
    /// How often the index was rebuilt.
    rebuilt: u64,
    failures: Failures,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// The octets of memory that an entry takes.
fn cost(stored: &Stored) -> usize {
    allocated(stored.len()) + OVERHEAD + QUEUE_AND_INDEX_OCTETS
}

impl Answers {
    /// A cache of at most `capacity` answers. `seed` keys the hash of names: programs that choose names
    /// must not know it.
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Answers {
        let index = IndexWriter::new(capacity.max(2) / 2);
        let secrets = Arc::new(RapidSecrets::seed(seed));
        let reader = Reader { index: Arc::clone(index.index()), secrets };
        Answers {
            index,
            reader,
            queue: VecDeque::new(),
            kept: 0,
            checked: 0,
            latest: 0,
            entries: 0,
            octets: 0,
            capacity,
            rebuilt: 0,
            failures: Failures::default(),
        }
    }

    /// A reader; clones of it can be used in other threads.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Changes the capacity, and evicts answers beyond it.
    pub fn resize(&mut self, capacity: usize) {
        if capacity != self.capacity {
            self.capacity = capacity;
            self.index.rebuild(capacity.max(2) / 2);
            self.rebuilt += 1;
            self.make_room();
        }
    }

    /// The answer to a question, expired or not.
    #[must_use]
    pub fn get(&self, asked: &Asked<'_>) -> Option<Arc<Stored>> {
        if self.is_empty() {
            return None;
        }
        let guard = &epoch::pin();
        let hash = self.reader.hash(asked.name);
        self.index.index().find(hash, guard, |node| fits(node, asked)).map(|node| Arc::clone(&node.stored))
    }

    /// Whether a failure is remembered for the question.
    #[must_use]
    pub fn has_failed(&self, now: Monotonic, asked: &Asked<'_>) -> bool {
        self.failures.has(now, asked)
    }

    /// Remembers a failure until a time. A stored answer to the question stays.
    pub fn remember_failure(&mut self, asked: &Asked<'_>, until: Monotonic) {
        self.failures.remember(asked, until, self.capacity);
    }

    /// Removes the cached failure of a question that has an answer now.
    pub fn forget_failure(&mut self, asked: &Asked<'_>) {
        self.failures.forget(asked);
    }

    /// Removes every cached failure, so that its question is asked again.
    pub fn forget_failures(&mut self) {
        self.failures.clear();
    }

    /// Stores the answer to a question, in place of an earlier one.
    pub fn put(&mut self, asked: &Asked<'_>, stored: Arc<Stored>) {
        self.forget_failure(asked);
        self.remove(asked);
        let hash = self.reader.hash(asked.name);
        self.latest = self.latest.wrapping_add(1);
        self.octets += cost(&stored);
        self.entries += 1;
        self.queue.push_back((hash, self.latest));
        self.index.insert(Node::new(hash, asked.dnssec_ok, asked.checking_disabled, self.latest, stored));
        self.make_room();
    }

    /// Puts another form of an answer in its place, which must be as long. It keeps the number, so that a
    /// review which has not reached the answer yet treats it as before.
    pub fn replace(&mut self, asked: &Asked<'_>, stored: Arc<Stored>) {
        let (guard, hash) = (&epoch::pin(), self.reader.hash(asked.name));
        let Some(before) = self.index.index().find(hash, guard, |node| fits(node, asked)) else { return };
        let number = before.number().0;
        let node = Node::new(hash, asked.dnssec_ok, asked.checking_disabled, number, Arc::clone(&stored));
        if before.take_use() {
            node.note_use();
        }
        self.octets += cost(&stored);
        self.entries += 1;
        // Readers find the new one first.
        self.index.insert(node);
        self.unlink(hash, |node| node.is_number(number) && !Arc::ptr_eq(&node.stored, &stored));
    }

    /// Evicts answers while there are too many or they take too much memory, the oldest first. Those
    /// that were read go to the end of the queue.
    fn make_room(&mut self) {
        let (mut passed, most) = (0, self.capacity.max(1));
        while self.entries > most || self.octets > most * OCTETS_PER_ENTRY_MAX {
            let Some(place) = self.take_oldest() else { break };
            if passed < PASSED_OVER_MAX && self.take_use(place) {
                passed += 1;
                self.queue.push_back(place);
            } else {
                self.evict(place);
            }
        }
        self.tidy();
    }

    /// Removes places that are out of date from the queue, some at a time, if there are many. The places
    /// before `kept` are up to date, those from `kept` to `checked` are not.
    fn tidy(&mut self) {
        if self.checked == 0 && self.queue.len() <= self.entries + self.entries / 2 + 64 {
            return;
        }
        let (index, guard) = (self.index.index(), &epoch::pin());
        for _ in 0..TIDIED_MAX {
            let Some((hash, number)) = self.queue.get(self.checked).copied() else {
                self.queue.truncate(self.kept);
                (self.kept, self.checked) = (0, 0);
                return;
            };
            if index.find(hash, guard, |node| node.is_number(number)).is_some() {
                self.queue.swap(self.kept, self.checked);
                self.kept += 1;
            }
            self.checked += 1;
        }
    }

    /// Takes the oldest place out of the queue.
    fn take_oldest(&mut self) -> Option<QueuePlace> {
        (self.kept, self.checked) = (self.kept.saturating_sub(1), self.checked.saturating_sub(1));
        self.queue.pop_front()
    }

    /// Clears the mark that an entry was read, and returns whether it was set.
    fn take_use(&self, (hash, number): QueuePlace) -> bool {
        let guard = &epoch::pin();
        let node = self.index.index().find(hash, guard, |node| node.is_number(number));
        node.is_some_and(Node::take_use)
    }

    fn evict(&mut self, (hash, number): QueuePlace) {
        self.unlink(hash, |node| node.is_number(number));
    }

    /// Removes the answer to a question.
    pub fn remove(&mut self, asked: &Asked<'_>) {
        self.unlink(self.reader.hash(asked.name), |node| fits(node, asked));
    }

    /// Removes the entries of the hash's chain for which `which` holds.
    fn unlink(&mut self, hash: u32, which: impl Fn(&Node) -> bool) {
        let (entries, octets) = (&mut self.entries, &mut self.octets);
        self.index.remove(hash, which, |node| {
            *entries -= 1;
            *octets -= cost(&node.stored);
        });
    }

    /// Removes all answers about a name, and its cached failures.
    pub fn remove_name(&mut self, name: &Name) {
        self.remove_void(name, |_| true);
        self.failures.forget_name(name);
    }

    /// Removes the answers about a name for whose number `is_void` holds.
    pub fn remove_void(&mut self, name: &Name, is_void: impl Fn(Number) -> bool) {
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
        Number(self.latest)
    }

    /// How many buckets the index has, and how often it was rebuilt, after which each entry may be in
    /// another bucket.
    #[must_use]
    pub fn buckets(&self) -> (usize, u64) {
        (self.index.index().len(), self.rebuilt)
    }

    /// Removes the answers for whose name and number `is_void` holds, in `count` buckets from `at` on.
    pub fn remove_void_in_buckets(
        &mut self,
        at: usize,
        count: usize,
        mut is_void: impl FnMut(&Name, Number) -> bool,
    ) {
        let mut void = Vec::new();
        self.index.index().each(at, count, |node| {
            let question = node.stored.question();
            let name = Name::from_wire(&question[..question.len().saturating_sub(4)]);
            if name.is_ok_and(|name| is_void(&name.to_lower(), node.number())) {
                void.push((node.hash, node.number().0));
            }
        });
        void.into_iter().for_each(|place| self.evict(place));
    }

    /// How many answers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there are no answers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// How many octets the answers take, overhead included.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Compares the counts of entries and octets with the entries.
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
        for (hash, number) in &self.queue {
            if let Some(node) = index.find(*hash, guard, |node| node.is_number(*number)) {
                places.remove(&std::ptr::from_ref(node).addr());
            }
        }
        assert!(places.is_empty(), "an answer has no place in the queue");
        assert!(
            self.kept <= self.checked && self.checked <= self.queue.len(),
            "more places are checked than the queue has"
        );
        self.failures.check_invariants();
    }
}
