//! The lookup in mapped words: find the name in the index, copy the record, check that neither has
//! moved. Never panics.

use crate::counters::COUNT;
use crate::families::FamilyPolicy;
use crate::key::{Key, Place};
use crate::layout::{SUPERSEDED, TRIES_MAX, head};
use crate::plan::Plan;
use crate::record::Entry;
use crate::seqlock::{self, observe, peek};
use crate::shape::Shape;
use crate::stale::StaleTime;
use crate::sync::AtomicU64;
use core::net::{IpAddr, SocketAddr};

/// The reason why a lookup returned no entry. All crates that read the table use this type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoEntry {
    /// The table does not have the name: send a query to the daemon.
    Missing,
    /// The writer changed the entry during every try: send a query to the daemon, or look again.
    Busy,
    /// Another file has replaced this table: open that one.
    Replaced,
    /// The caller's buffer is too small. [`crate::layout::RECORD_MAX`] words are enough for every
    /// entry.
    TooLarge,
}

/// The words of a table, and the positions of its parts.
#[derive(Clone, Copy, Debug)]
pub struct View<'m> {
    words: &'m [AtomicU64],
    plan: &'m Plan,
}

impl<'m> View<'m> {
    /// `plan` must be that of these words; with another one lookups find nothing or wrong entries.
    #[must_use]
    pub fn new(words: &'m [AtomicU64], plan: &'m Plan) -> Self {
        Self { words, plan }
    }

    #[inline]
    fn word(&self, at: usize) -> u64 {
        self.words.get(at).map_or(0, peek)
    }

    /// Copies the entry of `key` into `out`, all of one publish; returns its shape and line. Does
    /// not allocate, and ends after a bounded number of tries.
    #[inline]
    pub(crate) fn lookup(
        &self,
        key: &Key,
        place: Option<Place>,
        out: &mut [u64],
    ) -> Result<(Shape, u32), NoEntry> {
        if self.replaced() {
            return Err(NoEntry::Replaced);
        }
        let place = place.unwrap_or_else(|| key.place(&self.plan.secrets, self.plan.mask));
        for _ in 0..TRIES_MAX {
            match self.attempt(key, &place, out) {
                Err(NoEntry::Busy) => core::hint::spin_loop(),
                ended => return ended,
            }
        }
        Err(NoEntry::Busy)
    }

    /// See [`crate::Reader::fetch`]. The loaded values are not used.
    #[cfg(feature = "std")]
    pub(crate) fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone) {
        let first = |words: &[AtomicU64]| words.first().map_or(0, peek);
        let mut all = 0;
        for place in places.clone() {
            all ^= place.buckets.iter().fold(0, |all, n| all ^ first(self.plan.bucket(self.words, *n)));
        }
        for place in places {
            let words = place.buckets.iter().flat_map(|n| self.plan.bucket(self.words, *n)).map(peek);
            let found = words.into_iter().find(|word| word >> 48 == place.tag && *word != 0);
            let record = found.and_then(|word| self.plan.record(self.words, word as u32)).unwrap_or_default();
            all ^= record.iter().step_by(crate::layout::LINE).take(2).fold(0, |all, word| all ^ peek(word));
        }
        core::hint::black_box(all);
    }

    /// See [`crate::Reader::tries`].
    #[cfg(feature = "std")]
    pub(crate) fn tries(&self, key: &Key, out: &mut [u64]) -> usize {
        let place = key.place(&self.plan.secrets, self.plan.mask);
        1 + (0..TRIES_MAX)
            .take_while(|_| matches!(self.attempt(key, &place, out), Err(NoEntry::Busy)))
            .count()
    }

    /// Copies the entry of `key` into the caller's buffer, all of one publish.
    ///
    /// # Errors
    /// A [`NoEntry`].
    #[inline]
    pub fn find<'o>(&self, key: &Key, out: &'o mut [u64]) -> Result<Entry<'o>, NoEntry> {
        let (shape, _) = self.lookup(key, None, out)?;
        Ok(Entry::of(out, shape))
    }

    /// One try. [`NoEntry::Busy`]: the entry moved meanwhile, so another try may succeed.
    #[inline]
    fn attempt(&self, key: &Key, place: &Place, out: &mut [u64]) -> Result<(Shape, u32), NoEntry> {
        for bucket in place.buckets {
            for slot in self.plan.bucket(self.words, bucket) {
                let word = peek(slot);
                if word == 0 || word >> 48 != place.tag {
                    continue;
                }
                let word = observe(slot);
                let nonce = Some((word >> 32) & 0xffff);
                let copied = if word >> 48 == place.tag { self.copy(word as u32, nonce, out) } else { None };
                if let Some(shape) = copied
                    && Entry::of(out, shape).is(key)
                {
                    let flushed = out.first().is_none_or(|first| first >> 1 < self.word(head::FLUSHED));
                    return if flushed { Err(NoEntry::Missing) } else { Ok((shape, word as u32)) };
                }
                // Another name with this tag, or a record that was reused meanwhile. An unchanged
                // index word shows the former.
                if peek(slot) != word {
                    return Err(NoEntry::Busy);
                }
                if copied.is_none() {
                    let is_larger = self.is_larger(word as u32, out.len());
                    return Err(if is_larger { NoEntry::TooLarge } else { NoEntry::Busy });
                }
            }
        }
        Err(NoEntry::Missing)
    }

    /// Whether the record at a line is too large for the caller's buffer.
    #[cold]
    fn is_larger(&self, line: u32, room: usize) -> bool {
        let shape = self.plan.record(self.words, line).and_then(|record| Shape::of(peek(record.get(1)?)));
        shape.is_some_and(|shape| shape.words() > room)
    }

    /// Copies the record at a line; `None` if it moved, is not a record, or does not fit `out`.
    #[inline]
    pub(crate) fn copy(&self, line: u32, nonce: Option<u64>, out: &mut [u64]) -> Option<Shape> {
        let record = self.plan.record(self.words, line)?;
        let mut shape = Shape::default();
        let length = |word| {
            shape = Shape::of(word)?;
            (shape.words() <= record.len()).then_some(shape.words())
        };
        seqlock::read(record, nonce, out, length)?;
        Some(shape)
    }

    /// Whether another file has replaced this one.
    #[inline]
    #[must_use]
    pub fn replaced(&self) -> bool {
        // `observe`, since a reader that sees the mark opens the file by its name and must find the
        // new one.
        self.words.get(head::STATE).map_or(0, observe) == SUPERSEDED
    }

    /// The number of changes, and the word whose lower half is a futex to wait for more.
    #[must_use]
    pub fn changes(&self) -> (u64, Option<&'m AtomicU64>) {
        (self.word(head::CHANGES), self.words.get(head::CHANGES))
    }

    /// The last version published.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.word(head::VERSION)
    }

    /// The wall clock minus the table's clock, in milliseconds, as the writer last read them. A
    /// process whose clocks differ by another time is in another time namespace, where the table's
    /// times mean nothing.
    #[must_use]
    pub fn clock_offset_ms(&self) -> u64 {
        self.word(head::CLOCK_OFFSET)
    }

    /// The number of the network namespace in which the answers are valid; 0 if unknown.
    #[inline]
    #[must_use]
    pub fn network(&self) -> u32 {
        self.word(head::NETWORK) as u32
    }

    /// How readers use the two families of a name.
    #[inline]
    #[must_use]
    pub fn families(&self) -> FamilyPolicy {
        FamilyPolicy::from_word(self.word(head::FAMILIES))
    }

    /// For how long expired addresses may be used.
    #[inline]
    #[must_use]
    pub fn stale_time(&self) -> StaleTime {
        StaleTime::from_word(self.word(head::STALE))
    }

    /// A number that changes with every activity of the daemon, such as taking a query.
    #[must_use]
    pub fn activity(&self) -> u64 {
        activity(|at| Some(self.word(at))).unwrap_or(0)
    }

    /// The address at which the daemon answers DNS queries.
    #[must_use]
    pub fn dns_address(&self) -> Option<SocketAddr> {
        dns_address([0, 1, 2].map(|n| self.word(head::DNS + n)))
    }
}

/// [`View::activity`] of words that `word` loads; `None` if it cannot load one.
pub fn activity(mut word: impl FnMut(usize) -> Option<u64>) -> Option<u64> {
    let counters = head::COUNTERS..head::COUNTERS + COUNT;
    // Each counter has its own factor in the sum, so that a counter that falls does not offset one
    // that grows.
    counters
        .chain([head::CHANGES, head::CLOCK_OFFSET])
        .try_fold(0_u64, |sum, at| Some(sum.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(word(at)?)))
}

/// The address in the three words of [`head::DNS`].
pub(crate) fn dns_address([place, low, high]: [u64; 3]) -> Option<SocketAddr> {
    let [a, b, c, d, ..] = low.to_le_bytes();
    let address = match place >> 16 {
        4 => IpAddr::from([a, b, c, d]),
        6 => IpAddr::from((u128::from(high) << 64 | u128::from(low)).to_le_bytes()),
        _ => return None,
    };
    Some(SocketAddr::new(address, place as u16))
}
