//! A record that has been copied out of the table, and the entry that it holds.

use crate::family::{FamilyView, trust_head};
use crate::key::Key;
use crate::layout::{BLOCK, RECORD_HEAD, RECORD_MAX, checksum};
use crate::shape::Shape;
use crate::stale::{StaleTime, Use};
use crate::time::Monotonic;
use crate::types::{Family, Negative};

/// A private copy of one record, all of one publish. It has room for the largest record; make one
/// and reuse it for any number of lookups.
pub struct Snapshot {
    pub(crate) words: [u64; RECORD_MAX],
    pub(crate) shape: Shape,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Snapshot {
    fn clone(&self) -> Self {
        let mut copy = Self::new();
        let n = self.shape.words();
        copy.words[..n].copy_from_slice(&self.words[..n]);
        copy.shape = self.shape;
        copy
    }
}

impl core::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version())
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// An empty copy, without a name or a family.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: [0; RECORD_MAX], shape: Shape(0) }
    }

    /// The entry that it holds.
    #[must_use]
    pub fn entry(&self) -> Entry<'_> {
        Entry::of(&self.words, self.shape)
    }

    /// The version, as [`Entry::version`] returns it.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.entry().version()
    }

    /// The name, as [`Entry::name`] returns it.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.entry().name()
    }

    /// Whether it is intact, as [`Entry::intact`] says.
    #[must_use]
    pub fn intact(&self) -> bool {
        self.entry().intact()
    }

    /// One family, as [`Entry::family`] returns it.
    #[must_use]
    pub fn family(&self, family: Family) -> Option<FamilyView<'_>> {
        self.entry().family(family)
    }

    /// The freshness, as [`Entry::freshness`] returns it.
    #[must_use]
    pub fn freshness(&self, wanted: Wanted, stale: StaleTime, now: Monotonic) -> Freshness {
        self.entry().freshness(wanted, stale, now)
    }
}

/// The families that a lookup asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// This family alone.
    One(Family),
    /// Both families.
    Both,
}

impl Wanted {
    /// Whether the family is asked for.
    #[must_use]
    pub fn includes(self, family: Family) -> bool {
        self == Self::Both || self == Self::One(family)
    }
}

/// The extent to which an entry answers a lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// Every family that is asked for is known and has not expired.
    Fresh,
    /// Every family that is asked for is known, and one has expired and may still be used.
    Stale,
    /// A family that is asked for is unknown: it may or may not have addresses. Or it must not be used
    /// any more ([`Use::Never`]).
    Partial,
}

/// A record that has been copied out of the table, all of one publish.
#[derive(Clone, Copy)]
pub struct Entry<'s> {
    pub(crate) words: &'s [u64],
    pub(crate) shape: Shape,
}

impl core::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Entry")
            .field("version", &self.version())
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl<'s> Entry<'s> {
    /// The entry of shape `shape` that a lookup has copied into `words`.
    #[must_use]
    pub fn of(words: &'s [u64], shape: Shape) -> Self {
        Self { words, shape }
    }

    /// The length of its record in words.
    #[must_use]
    pub fn words(&self) -> usize {
        self.shape.words()
    }

    /// The positions of its parts.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    #[inline]
    pub(crate) fn word(&self, at: usize) -> u64 {
        self.words.get(at).copied().unwrap_or(0)
    }

    /// The version of its newest family; 0 of an empty copy.
    #[must_use]
    pub fn version(&self) -> u64 {
        if self.shape.words() == 0 { 0 } else { self.word(0) >> 1 }
    }

    /// The name, in lower-case wire form.
    #[must_use]
    pub fn name(&self) -> &'s [u8] {
        self.octets(self.shape.key(), self.shape.key_len())
    }

    /// Whether it is the entry of `key`.
    #[inline]
    pub(crate) fn is(&self, key: &Key) -> bool {
        let own = self.words.get(self.shape.key()..self.shape.v4()).unwrap_or_default();
        // A loop over words: most keys have about four, for which a call of memcmp takes longer.
        self.shape.key_len() == key.len && own.iter().zip(key.padded()).all(|(own, other)| own == other)
    }

    /// `len` octets from word `at` on; fewer where the record ends.
    fn octets(&self, at: usize, len: usize) -> &'s [u8] {
        let words = self.words.get(at..self.shape.words()).unwrap_or_default();
        bytemuck::cast_slice::<u64, u8>(words).get(..len).unwrap_or_default()
    }

    /// What is said of a family's agreement and addresses, from its first octet on, since ABI 1.3. It
    /// comes after the tails, A first.
    pub(crate) fn trust_octets(&self, family: Family) -> &'s [u8] {
        let tail = |family| self.shape.block(family).map_or(0, |at| (self.word(at + 3) & 0xffff) as usize);
        let at = self.shape.tail() + (tail(Family::A) + tail(Family::Aaaa)).div_ceil(8);
        let words = self.words.get(at..self.shape.words()).unwrap_or_default();
        let octets = bytemuck::cast_slice::<u64, u8>(words);
        let of_a = if self.shape.has(0) { trust_head(octets) + self.shape.n4() } else { 0 };
        match family {
            Family::A => octets.get(..of_a).unwrap_or_default(),
            Family::Aaaa => octets.get(of_a..).unwrap_or_default(),
        }
    }

    /// Whether the checksum is right. A lookup need not ask, since the seqlock guarantees it; an
    /// inspection of a table that may be damaged should.
    #[must_use]
    pub fn intact(&self) -> bool {
        let words = self.words.get(..self.shape.words()).unwrap_or_default();
        words.len() > RECORD_HEAD && words.get(2).is_some_and(|own| *own == sum(words))
    }

    /// One of its families; `None` if that is unknown. The module that is in every process has its code once.
    #[cfg_attr(feature = "std", inline)]
    #[cfg_attr(not(feature = "std"), inline(never))]
    #[must_use]
    pub fn family(&self, family: Family) -> Option<FamilyView<'s>> {
        let at = self.shape.block(family)?;
        let block = *self.words.get(at..)?.first_chunk::<BLOCK>()?;
        let own = (block[3] & 0xffff) as usize;
        if own == 0 {
            return Some(FamilyView { entry: *self, family, block, tail: &[] });
        }
        let before = match family {
            Family::A => 0,
            Family::Aaaa => self.shape.block(Family::A).map_or(0, |a| (self.word(a + 3) & 0xffff) as usize),
        };
        let tail = self.octets(self.shape.tail(), before + own).get(before..).unwrap_or_default();
        Some(FamilyView { entry: *self, family, block, tail })
    }

    /// The extent to which it answers a lookup at `now`. NXDOMAIN denies both families (RFC 8020,
    /// section 2).
    #[must_use]
    pub fn freshness(&self, wanted: Wanted, stale: StaleTime, now: Monotonic) -> Freshness {
        let sets = [Family::A, Family::Aaaa].map(|family| (family, self.family(family)));
        let denied = |set: &FamilyView<'_>| set.negative() == Some(Negative::NxDomain) && !set.expired(now);
        let denied = sets.iter().any(|(_, set)| set.as_ref().is_some_and(denied));
        let mut freshness = Freshness::Fresh;
        for (_, set) in sets.into_iter().filter(|(family, _)| wanted.includes(*family)) {
            // The other family's denial does not make expired addresses fresh.
            let is_denied = denied && set.is_none_or(|set| set.is_empty());
            match set.map_or(Use::Never, |set| set.usable(stale, now)) {
                Use::Fresh => {}
                Use::Stale | Use::Never if is_denied => {}
                Use::Stale if freshness == Freshness::Fresh => freshness = Freshness::Stale,
                Use::Stale => {}
                Use::Never => freshness = Freshness::Partial,
            }
        }
        freshness
    }
}

/// The 11 bits for a number of seconds that [`FamilyView::lifetime_s`] decodes.
#[cfg(feature = "writer")]
pub(crate) fn lifetime_code(seconds: u32) -> u64 {
    let bits = 32 - seconds.leading_zeros();
    match bits {
        0..=6 => u64::from(seconds),
        _ => u64::from(bits - 6) << 6 | u64::from(seconds >> (bits - 7)) & 0x3f,
    }
}

/// The checksum of a record: of all words but the version and the checksum.
pub(crate) fn sum(words: &[u64]) -> u64 {
    let (shape, rest) = (words.get(1..2).unwrap_or_default(), words.get(3..).unwrap_or_default());
    checksum(shape.iter().chain(rest).copied())
}
