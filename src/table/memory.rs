//! The memory a table lives in: a file mapped by several processes, or the heap of one.

use crate::plan::{Invalid, Plan};
use crate::seqlock::peek;
use crate::sync::AtomicU64;
use core::fmt;

/// Words that one process may write and others read.
pub enum Memory {
    /// For tests and simulations.
    Heap(Box<[AtomicU64]>),
    /// A mapped file.
    #[cfg(not(loom))]
    Mapped(crate::map::Mapping),
    /// A file that is not mapped, see [`crate::trust`]: its words are asked of the kernel one lookup after the other.
    #[cfg(not(loom))]
    Asked(crate::map::Asked),
}

impl Memory {
    /// Zeroed words on the heap.
    #[must_use]
    pub fn heap(words: usize) -> Memory {
        Memory::Heap((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// These words on the heap.
    #[must_use]
    pub fn of(words: &[u64]) -> Memory {
        Memory::Heap(words.iter().copied().map(AtomicU64::new).collect())
    }

    /// What is mapped; nothing of a file that is not.
    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        match self {
            Memory::Heap(words) => words,
            #[cfg(not(loom))]
            Memory::Mapped(mapping) => mapping.words(),
            #[cfg(not(loom))]
            Memory::Asked(_) => &[],
        }
    }

    /// The file that is asked for its words, where nothing is mapped.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn asked(&self) -> Option<&crate::map::Asked> {
        if let Memory::Asked(asked) = self { Some(asked) } else { None }
    }

    /// A word on its own, that orders nothing; `None` if it is not there, or not any more.
    #[inline]
    pub(crate) fn peek(&self, at: usize) -> Option<u64> {
        #[cfg(not(loom))]
        if let Memory::Asked(asked) = self {
            return crate::distant::Source::word(asked, at);
        }
        self.words().get(at).map(peek)
    }

    /// How many words there are.
    fn count(&self) -> usize {
        #[cfg(not(loom))]
        if let Memory::Asked(asked) = self {
            return asked.count();
        }
        self.words().len()
    }

    /// Where the parts of the table in it stand.
    pub(crate) fn plan(&self) -> Result<Plan, OpenError> {
        #[cfg(not(loom))]
        if let Memory::Asked(asked) = self {
            let head = crate::distant::Head::read(asked).ok_or(Invalid("it is cut off"))?;
            return Ok(head.plan(asked.count())?);
        }
        Ok(Plan::read(self.words())?)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory of {} words", self.count())
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
    /// This process lives in another time namespace than the daemon: it cannot tell when entries expire.
    OtherClock,
    /// This thread is in another network namespace than the daemon: the answers do not hold here.
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
