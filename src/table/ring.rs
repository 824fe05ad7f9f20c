//! Following changes: a ring of record places in the table, each with the number of its change.

use crate::layout::{RING, SLOTS_MASK, head};
use crate::reader::Reader;
use crate::record::Snapshot;

/// One step of a [`Follower`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The snapshot holds what was published, or something newer that took its place.
    Record,
    /// Something was removed, flushed, or replaced before it could be read: what is followed must be looked up again.
    Changed,
    /// Nothing has happened since.
    Nothing,
    /// More happened than the ring holds: scan the whole table. The follower goes on from now.
    Lapped,
    /// Another file has taken this table's place: open and scan that.
    Replaced,
}

/// Sees every change, or is told that it did not.
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

    /// The table that is followed.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The next change.
    pub fn step(&mut self, out: &mut Snapshot) -> Step {
        // What is not there any more has no changes either.
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
        // The place may have been given to other records since, or be the middle of one: only the checksum tells a record from chance.
        let read = line != 0 && self.reader.copy_at(line, None, out) && out.intact();
        if read && out.version() >= self.reader.peek(head::FLUSHED) {
            return Step::Record;
        }
        Step::Changed
    }

    /// Waits until something changes, at most so long. May return early.
    #[cfg(not(loom))]
    pub fn wait(&self, timeout: core::time::Duration) {
        if self.reader.observe(head::CHANGES) == Some(self.next) && !self.reader.replaced() {
            self.reader.wait(self.next as u32, timeout);
        }
    }
}
