//! The memory of a table: a file that several processes share, or the heap of one.

use crate::plan::{Invalid, Plan};
use crate::seqlock::peek;
use crate::sync::AtomicU64;
use core::fmt;

/// The words of a table.
pub enum Memory {
    /// On the heap: for tests, and for a table that only the daemon uses.
    Heap(Box<[AtomicU64]>),
    /// In a mapped file.
    #[cfg(not(loom))]
    Mapped(crate::map::Mapping),
    /// In a file that this process must not map, see [`crate::trust`]: each lookup reads it by
    /// system calls.
    #[cfg(not(loom))]
    Unmapped(crate::map::UnmappedFile),
}

impl Memory {
    /// `words` zeroed words on the heap.
    #[must_use]
    pub fn heap(words: usize) -> Memory {
        Memory::Heap((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// A copy of these words on the heap.
    #[must_use]
    pub fn of(words: &[u64]) -> Memory {
        Memory::Heap(words.iter().copied().map(AtomicU64::new).collect())
    }

    /// The words in this process's memory; none of a file that is not mapped.
    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        match self {
            Memory::Heap(words) => words,
            #[cfg(not(loom))]
            Memory::Mapped(mapping) => mapping.words(),
            #[cfg(not(loom))]
            Memory::Unmapped(_) => &[],
        }
    }

    /// The file, where it is not mapped.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn unmapped(&self) -> Option<&crate::map::UnmappedFile> {
        if let Memory::Unmapped(file) = self { Some(file) } else { None }
    }

    /// Loads one word without ordering other loads. `None` if it is outside the table, or if the
    /// file has been truncated.
    #[inline]
    pub(crate) fn peek(&self, at: usize) -> Option<u64> {
        #[cfg(not(loom))]
        if let Memory::Unmapped(file) = self {
            return crate::unmapped::Source::word(file, at);
        }
        self.words().get(at).map(peek)
    }

    /// The number of words.
    fn count(&self) -> usize {
        #[cfg(not(loom))]
        if let Memory::Unmapped(file) = self {
            return file.count();
        }
        self.words().len()
    }

    /// The positions of the table's parts.
    pub(crate) fn plan(&self) -> Result<Plan, OpenError> {
        #[cfg(not(loom))]
        if let Memory::Unmapped(file) = self {
            let head = crate::unmapped::Head::read(file).ok_or(Invalid("it is cut off"))?;
            return Ok(head.plan(file.count())?);
        }
        Ok(Plan::read(self.words())?)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory of {} words", self.count())
    }
}

/// The reason why a table cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The file cannot be opened or mapped.
    Io(std::io::Error),
    /// The file is not trusted because of its type, owner or mode, or those of its directory.
    Foreign(&'static str),
    /// The file is no table, has another ABI, or is damaged.
    Invalid(&'static str),
    /// This process is in another time namespace than the daemon, where expiry times mean nothing.
    OtherClock,
    /// This thread is in another network namespace than the daemon, where other answers are valid.
    OtherNetwork,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Foreign(why) => write!(f, "not to be trusted: {why}"),
            Self::OtherClock => f.write_str("this process lives in another time namespace than the daemon"),
            Self::OtherNetwork => f.write_str("this process is in another network namespace than the daemon"),
            Self::Invalid(why) => write!(f, "not a table of this version of hither: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<Invalid> for OpenError {
    fn from(why: Invalid) -> Self {
        Self::Invalid(why.0)
    }
}
