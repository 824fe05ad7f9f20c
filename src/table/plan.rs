//! Where the parts of one table stand: its header, read and checked once.

use crate::layout::{self, HEADER, LINE, head};
use crate::seqlock::{observe, peek};
use crate::sync::AtomicU64;

/// What is wrong with words that are not those of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invalid(pub &'static str);

/// Where things stand in one table; fixed for its life, checked once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    pub(crate) secrets: rapidhash::v3::RapidSecrets,
    pub(crate) mask: u64,
    pub(crate) ring: usize,
    pub(crate) index: usize,
    pub(crate) data: usize,
    pub(crate) lines: usize,
}

impl Plan {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// If the words are not those of a table that this code can read.
    pub fn read(words: &[AtomicU64]) -> Result<Plan, Invalid> {
        // Who sees the magic number sees what was written before it.
        let _ = words.get(head::MAGIC).map(observe);
        Plan::of(&|at| words.get(at).map_or(0, peek), words.len())
    }

    /// The same of a header that is at hand otherwise, of a table of so many words.
    ///
    /// # Errors
    /// As of [`Plan::read`].
    #[inline(never)]
    #[cold]
    pub(crate) fn of(word: &dyn Fn(usize) -> u64, count: usize) -> Result<Plan, Invalid> {
        let fail = |why| Err(Invalid(why));
        if count < HEADER {
            return fail("it is shorter than a header");
        }
        if word(head::MAGIC) != layout::MAGIC {
            return fail("its first octets are others");
        }
        if word(head::ENDIAN) != layout::ENDIAN {
            return fail("it has another byte order");
        }
        if word(head::ABI) >> 32 != layout::ABI >> 32 || word(head::FEATURES) != 0 {
            return fail("it has another ABI");
        }
        if word(head::CHECKSUM) != header_checksum(word) {
            return fail("the checksum of its header is wrong");
        }
        if word(head::FILE) != count as u64 * 8 {
            return fail("its size is not the one in its header");
        }
        let at = |at: usize| usize::try_from(word(at)).unwrap_or(usize::MAX);
        let plan = Plan {
            secrets: crate::key::secrets(core::array::from_fn(|n| word(head::HASH + n))),
            mask: word(head::MASK),
            ring: at(head::RING),
            index: at(head::INDEX),
            data: at(head::DATA),
            lines: at(head::LINES),
        };
        let buckets = at(head::MASK).checked_add(1).filter(|n| n.is_power_of_two());
        let index_end = buckets.and_then(|n| n.checked_mul(LINE)).and_then(|n| n.checked_add(plan.index));
        let data_end = plan.lines.checked_mul(LINE).and_then(|n| n.checked_add(plan.data));
        let ring_fits =
            at(head::SLOTS) == layout::RING && plan.ring.checked_add(layout::RING) == Some(plan.index);
        if !ring_fits || index_end != Some(plan.data) || data_end != Some(count) || plan.ring != HEADER {
            return fail("its parts do not fit together");
        }
        Ok(plan)
    }

    /// Where the record at a line begins, and words from there to the end of the data or the largest size.
    pub(crate) fn place_of(&self, line: u32) -> Option<(usize, usize)> {
        let line = line as usize;
        let left = self.lines.checked_sub(line).filter(|_| line > 0)?.checked_mul(LINE)?;
        (left > 0).then_some((self.data + line * LINE, left.min(layout::RECORD_MAX)))
    }

    /// The record at a line, to the end of the data or the largest size.
    pub(crate) fn record<'m>(&self, words: &'m [AtomicU64], line: u32) -> Option<&'m [AtomicU64]> {
        let line = line as usize;
        if line == 0 || line >= self.lines {
            return None;
        }
        let from = self.data + line * LINE;
        let rest = words.get(from..)?;
        Some(rest.get(..layout::RECORD_MAX).unwrap_or(rest))
    }

    /// The words of a bucket.
    pub(crate) fn bucket<'m>(&self, words: &'m [AtomicU64], bucket: usize) -> &'m [AtomicU64] {
        let at = self.index + bucket * LINE;
        words.get(at..).and_then(|rest| rest.get(..LINE)).unwrap_or(&[])
    }
}

pub(crate) fn header_checksum(word: &dyn Fn(usize) -> u64) -> u64 {
    let fixed = (0..head::STATE).filter(|at| *at != head::CHECKSUM).chain(head::HASH..head::HASH + 8);
    layout::checksum(fixed.map(word))
}
