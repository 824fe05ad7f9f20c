//! Follows changes: the table has a ring with the lines of new records, each with the number of its
//! change.

use crate::layout::{RING, SLOTS_MASK, head};
use crate::reader::Reader;
use crate::record::Snapshot;

/// One step of a [`Follower`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The snapshot has the entry that was published, or another one that has been written to its
    /// line since.
    Record,
    /// An entry was removed, flushed, or replaced before it could be read. The caller has to look
    /// up the names that it follows.
    Changed,
    /// There is no further change yet.
    Nothing,
    /// There were more changes than the ring holds: scan the whole table. The follower continues
    /// with the next change.
    Lapped,
    /// Another file has replaced this table: open and scan that one.
    Replaced,
}

/// Reads every change, or reports that it missed some.
#[derive(Debug)]
pub struct Follower {
    reader: Reader,
    next: u64,
}

impl Follower {
    pub(crate) fn new(reader: Reader) -> Self {
        let next = reader.observe(head::CHANGES).unwrap_or(0);
        Self { reader, next }
    }

    /// A reader of the followed table.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Passes over all changes but the latest `kept`; returns how many were passed over. Takes a moment,
    /// however many there are.
    pub fn skip(&mut self, kept: u64) -> u64 {
        let Some(head) = self.reader.observe(head::CHANGES) else { return 0 };
        let passed_over = head.wrapping_sub(self.next).saturating_sub(kept);
        self.next = self.next.wrapping_add(passed_over);
        passed_over
    }

    /// Reads the next change; copies its entry into `out`.
    pub fn step(&mut self, out: &mut Snapshot) -> Step {
        // The file has been truncated.
        let Some(head) = self.reader.observe(head::CHANGES) else { return Step::Replaced };
        if head == self.next {
            return if self.reader.replaced() { Step::Replaced } else { Step::Nothing };
        }
        let behind = head.wrapping_sub(self.next);
        let slot =
            self.reader.observe(self.reader.plan.ring + (self.next as usize & SLOTS_MASK)).unwrap_or(0);
        if behind >= RING as u64 || slot >> 32 != self.next & 0xffff_ffff {
            self.next = head;
            return Step::Lapped;
        }
        self.next = self.next.wrapping_add(1);
        let line = slot as u32;
        // The line may have been given to another record since, or be the middle of one. Only the
        // checksum shows that this is a record.
        let read = line != 0 && self.reader.copy_at(line, None, out) && out.intact();
        if read && out.version() >= self.reader.peek(head::FLUSHED) {
            return Step::Record;
        }
        Step::Changed
    }

    /// Waits for a change, at most for `timeout`. May return early.
    #[cfg(not(loom))]
    pub fn wait(&self, timeout: core::time::Duration) {
        if self.reader.observe(head::CHANGES) == Some(self.next) && !self.reader.replaced() {
            self.reader.wait(self.next as u32, timeout);
        }
    }
}
