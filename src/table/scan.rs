//! Scanning all entries of a table.

use crate::layout::{TRIES_MAX, head};
use crate::reader::Reader;
use crate::record::Snapshot;

impl Reader {
    /// All entries, in no order. Entries that change during the scan may be missed.
    #[must_use]
    pub fn entries(&self) -> Scan<'_> {
        self.entries_at(0, self.places())
    }

    /// The number of index words, each of which may lead to an entry.
    #[must_use]
    pub fn places(&self) -> usize {
        self.plan.data - self.plan.index
    }

    /// [`Reader::entries`] of `count` index words from number `first` on.
    #[must_use]
    pub fn entries_at(&self, first: usize, count: usize) -> Scan<'_> {
        let at = |place: usize| self.plan.index + place.min(self.places());
        Scan { reader: self, at: at(first), end: at(first.saturating_add(count)) }
    }
}

/// A scan over entries, see [`Reader::entries`].
#[derive(Debug)]
pub struct Scan<'r> {
    reader: &'r Reader,
    at: usize,
    end: usize,
}

impl Scan<'_> {
    /// Copies the next entry into `out`; `false` at the end.
    pub fn next(&mut self, out: &mut Snapshot) -> bool {
        while self.at < self.end {
            let at = self.at;
            self.at += 1;
            for _ in 0..TRIES_MAX {
                let word = self.reader.observe(at).unwrap_or(0);
                if word == 0 {
                    break;
                }
                if self.reader.copy(word, out) {
                    if out.version() >= self.reader.peek(head::FLUSHED) {
                        return true;
                    }
                    break;
                }
                if self.reader.peek(at) == word {
                    break;
                }
            }
        }
        false
    }
}
