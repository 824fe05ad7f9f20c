//! `hitherctl flush NAME...`: names are removed from the cache in slices, so that a long list does
//! not hold up queries.

use crate::daemon::sources::Slot;
use hither_wire::name::Name;
use std::collections::VecDeque;

/// Names removed in one slice.
const SLICE_NAMES_MAX: usize = 64;

/// One operator's list of names.
#[derive(Debug)]
struct Flush {
    slot: Slot,
    names: VecDeque<Name>,
    /// The number of entries in the table before the flush.
    entries: u64,
}

/// A slice of the names to remove.
#[derive(Debug)]
pub(crate) struct FlushSlice {
    pub names: Vec<Name>,
    /// If this is the last slice of its list: the operator to reply to, and the number of entries
    /// in the table before the flush.
    pub done: Option<(Slot, u64)>,
}

/// All lists of names that operators want removed, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Flushes {
    lists: VecDeque<Flush>,
}

impl Flushes {
    /// Adds a list. `entries` is the number of entries in the table.
    pub fn add(&mut self, slot: Slot, names: VecDeque<Name>, entries: u64) {
        self.lists.push_back(Flush { slot, names, entries });
    }

    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Takes the next slice.
    pub fn next(&mut self) -> Option<FlushSlice> {
        let flush = self.lists.front_mut()?;
        let count = flush.names.len().min(SLICE_NAMES_MAX);
        let names = flush.names.drain(..count).collect();
        let done = flush.names.is_empty().then_some((flush.slot, flush.entries));
        if done.is_some() {
            self.lists.pop_front();
        }
        Some(FlushSlice { names, done })
    }
}
