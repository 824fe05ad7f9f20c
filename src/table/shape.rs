//! The positions of a record's parts.

use crate::layout::{BLOCK, RECORD_HEAD, RECORD_MAX};
use crate::types::Family;

/// The positions of a record's parts, in words. They follow from its word 1 alone.
///
/// That word has, from its lowest bit on: the record's length in words (16 bits), octets of the key
/// (8), addresses of A (8) and of AAAA (8), and a bit for each family that the record has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape(pub(crate) u64);

impl Shape {
    /// The shape in a record's word 1; `None` if no record can have it.
    #[inline]
    pub(crate) fn of(word: u64) -> Option<Shape> {
        let shape = Shape(word);
        let families = (shape.has(0) || shape.n4() == 0) && (shape.has(1) || shape.n6() == 0);
        let any = matches!(word >> 40, 1..=3);
        let fits = shape.words() <= RECORD_MAX && shape.tail() <= shape.words() && shape.key_len() > 0;
        (families && any && fits).then_some(shape)
    }

    /// The shape of a record with a key of `key_len` octets, these numbers of addresses, and the
    /// families that it `has`. Its length is still 0, see [`Shape::with_words`].
    #[cfg(feature = "writer")]
    pub(crate) fn new(key_len: usize, [n4, n6]: [usize; 2], has: [bool; 2]) -> Shape {
        let has = u64::from(has[0]) | u64::from(has[1]) << 1;
        Shape((key_len as u64) << 16 | (n4 as u64) << 24 | (n6 as u64) << 32 | has << 40)
    }

    #[cfg(feature = "writer")]
    pub(crate) fn with_words(self, words: usize) -> Shape {
        Shape(self.0 & !0xffff | words as u64 & 0xffff)
    }

    #[cfg(feature = "writer")]
    pub(crate) fn word(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn words(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    #[inline]
    pub(crate) fn key_len(self) -> usize {
        (self.0 >> 16 & 0xff) as usize
    }

    #[inline]
    pub(crate) fn n4(self) -> usize {
        (self.0 >> 24 & 0xff) as usize
    }

    #[inline]
    pub(crate) fn n6(self) -> usize {
        (self.0 >> 32 & 0xff) as usize
    }

    #[inline]
    pub(crate) fn has(self, family: u32) -> bool {
        self.0 >> (40 + family) & 1 != 0
    }

    /// How many family blocks there are, one or two.
    #[inline]
    pub(crate) fn blocks(self) -> usize {
        usize::from(self.has(0)) + usize::from(self.has(1))
    }

    /// The first word of a family's block.
    pub(crate) fn block(self, family: Family) -> Option<usize> {
        match family {
            Family::A => self.has(0).then_some(RECORD_HEAD),
            Family::Aaaa => self.has(1).then_some(RECORD_HEAD + BLOCK * usize::from(self.has(0))),
        }
    }

    /// The first word of the key.
    pub(crate) fn key(self) -> usize {
        RECORD_HEAD + BLOCK * self.blocks()
    }

    /// The first word of the IPv4 addresses; each takes one.
    pub(crate) fn v4(self) -> usize {
        self.key() + self.key_len().div_ceil(8)
    }

    /// The first word of chain and upstreams of the IPv4 addresses; two of them take one.
    pub(crate) fn v4_meta(self) -> usize {
        self.v4() + self.n4()
    }

    /// The first word of the IPv6 addresses; each takes three.
    pub(crate) fn v6(self) -> usize {
        self.v4_meta() + self.n4().div_ceil(2)
    }

    /// The first word of CNAME chains and SOA records, as octets.
    pub(crate) fn tail(self) -> usize {
        self.v6() + 3 * self.n6()
    }
}
