//! Detects that another file has replaced an open table, and limits how often a reader asks the
//! kernel.
//!
//! A daemon that replaces its table first renames the new file into place and then marks the old
//! one as superseded ([`crate::layout::SUPERSEDED`]). Every lookup and every follower reads that
//! mark, so readers normally open the new file at once and without a system call. A daemon that is
//! killed between the two steps leaves no mark. Then only the directory shows it, and only a reader
//! without a useful result checks that:
//!
//! * a lookup that finds no fresh entry, at most once a second and process ([`Recheck`]);
//! * a follower that has waited and found no change ([`crate::Reader::has_successor`]).

use crate::time::Monotonic;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Device and inode of an open file. A file that replaces it by rename(2) has another inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId {
    /// The device of the file, `st_dev`.
    pub device: u64,
    /// The inode of the file, `st_ino`.
    pub inode: u64,
}

/// Limits the check whether the file was replaced to one a second. All zeros mean that there was no
/// check yet.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Recheck {
    last_s: AtomicU64,
}

impl Recheck {
    /// A value without a check so far.
    #[must_use]
    pub const fn new() -> Recheck {
        Recheck { last_s: AtomicU64::new(0) }
    }

    /// Whether this is the first check in the second of `now`, among all threads.
    pub fn is_due(&self, now: Monotonic) -> bool {
        let now_s = now.as_ms() / 1000;
        self.last_s.swap(now_s, Relaxed) != now_s
    }
}

#[cfg(all(feature = "std", not(loom)))]
impl crate::Reader {
    /// Whether the file in `dir` is still the one that was opened, by one system call. No file
    /// there counts as unchanged: a daemon that starts again will put one there.
    #[must_use]
    pub fn is_current(&self, dir: &std::path::Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::symlink_metadata(dir.join(crate::paths::TABLE_FILE));
        let found = found.ok().map(|file| FileId { device: file.dev(), inode: file.ino() });
        found.is_none() || found == self.file
    }

    /// Whether `dir` holds another table that can be read. Opens it, so this takes several system
    /// calls.
    #[must_use]
    pub fn has_successor(&self, dir: &std::path::Path) -> bool {
        crate::Reader::open(dir).is_ok_and(|found| found.generation() != self.generation())
    }
}
