//! The memory a table lives in: a file mapped by several processes, or the heap of one.

use crate::layout::{self, HEADER, LINE, head};
use crate::seqlock::{observe, peek};
use crate::sync::AtomicU64;
use core::fmt;

/// Words that one process may write and others read.
pub enum Memory {
    /// For tests and simulations.
    Heap(Box<[AtomicU64]>),
    /// A mapped file.
    #[cfg(not(loom))]
    Mapped(crate::map::Mapping),
}

impl Memory {
    /// Zeroed words on the heap.
    #[must_use]
    pub fn heap(words: usize) -> Memory {
        Memory::Heap((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        match self {
            Memory::Heap(words) => words,
            #[cfg(not(loom))]
            Memory::Mapped(mapping) => mapping.words(),
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory of {} words", self.words().len())
    }
}

/// Why a table cannot be read.
#[derive(Debug)]
pub enum OpenError {
    /// The file cannot be opened or mapped.
    Io(std::io::Error),
    /// It is not a regular file, or belongs to somebody who has no business with it.
    Foreign(&'static str),
    /// It is no table of an ABI known here, or a damaged one.
    Invalid(&'static str),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Foreign(why) => write!(f, "not to be trusted: {why}"),
            Self::Invalid(why) => write!(f, "not a table of this version of hither: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Where things stand in one table; fixed for its life, checked once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub secrets: rapidhash::v3::RapidSecrets,
    pub mask: u64,
    pub ring: usize,
    pub index: usize,
    pub data: usize,
    pub lines: usize,
}

impl Plan {
    /// Reads and checks the header.
    pub fn read(words: &[AtomicU64]) -> Result<Plan, OpenError> {
        let fail = |why| Err(OpenError::Invalid(why));
        if words.len() < HEADER {
            return fail("it is shorter than a header");
        }
        let word = |at: usize| peek(&words[at]);
        if observe(&words[head::MAGIC]) != layout::MAGIC {
            return fail("its first octets are others");
        }
        if word(head::ENDIAN) != layout::ENDIAN {
            return fail("it has another byte order");
        }
        if word(head::ABI) >> 32 != layout::ABI >> 32 || word(head::FEATURES) != 0 {
            return fail("it has another ABI");
        }
        if word(head::CHECKSUM) != header_checksum(words) {
            return fail("the checksum of its header is wrong");
        }
        if word(head::FILE) != words.len() as u64 * 8 {
            return fail("its size is not the one in its header");
        }
        let at = |at: usize| usize::try_from(word(at)).unwrap_or(usize::MAX);
        let plan = Plan {
            secrets: crate::key::secrets([word(head::SEED), word(head::SEED + 1)]),
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
        if !ring_fits || index_end != Some(plan.data) || data_end != Some(words.len()) || plan.ring != HEADER
        {
            return fail("its parts do not fit together");
        }
        Ok(plan)
    }

    /// The record at a line, to the end of the data or the largest size.
    pub fn record<'m>(&self, words: &'m [AtomicU64], line: u32) -> Option<&'m [AtomicU64]> {
        let line = line as usize;
        if line == 0 || line >= self.lines {
            return None;
        }
        let from = self.data + line * LINE;
        let to = words.len().min(from + layout::RECORD_MAX);
        words.get(from..to)
    }

    /// The words of a bucket.
    pub fn bucket<'m>(&self, words: &'m [AtomicU64], bucket: usize) -> &'m [AtomicU64] {
        let at = self.index + bucket * LINE;
        words.get(at..at + LINE).unwrap_or(&[])
    }
}

pub(crate) fn header_checksum(words: &[AtomicU64]) -> u64 {
    let fixed = words.iter().take(head::STATE).enumerate().filter(|(at, _)| *at != head::CHECKSUM);
    layout::checksum(fixed.map(|(_, word)| peek(word)))
}
