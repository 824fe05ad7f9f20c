//! The positions of a table's parts: its header, read and checked once.

use crate::layout::{self, HEADER, LINE, head};
use crate::seqlock::{observe, peek};
use crate::sync::AtomicU64;

/// The reason why words are not those of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invalid(pub &'static str);

/// The positions of a table's parts. They never change while the table exists.
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
        // The magic number is stored last, so a reader that sees it sees the rest of the header.
        let _ = words.get(head::MAGIC).map(observe);
        Plan::of(&|at| words.get(at).map_or(0, peek), words.len())
    }

    /// [`Plan::read`] of a header whose words `word` loads, for a table of that many words.
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

    /// The first word of the record at a line, and the number of words to the end of the data, at
    /// most those of the largest record.
    pub(crate) fn place_of(&self, line: u32) -> Option<(usize, usize)> {
        let line = line as usize;
        let left = self.lines.checked_sub(line).filter(|_| line > 0)?.checked_mul(LINE)?;
        (left > 0).then_some((self.data + line * LINE, left.min(layout::RECORD_MAX)))
    }

    /// The words from a line to the end of the data, at most those of the largest record.
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
