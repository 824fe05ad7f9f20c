//! The survey of the whole table, in portions, when a table is opened or changes were missed.

use hither_client::{Reader, Snapshot};

/// Index slots of the table that are read in one turn.
const SLOTS: usize = 256;
/// Sets that a portion may give.
pub(super) const SETS_MAX: usize = 2 * SLOTS;

/// How far the survey has come; at its end nothing is left.
#[derive(Debug, Default)]
pub(super) struct Survey {
    at: usize,
    is_done: bool,
}

impl Survey {
    pub fn begin(&mut self) {
        *self = Survey::default();
    }

    pub fn is_under_way(&self) -> bool {
        !self.is_done
    }

    /// Reads the next portion; gives each of its entries to `take`.
    pub fn go_on(&mut self, reader: &Reader, snapshot: &mut Snapshot, mut take: impl FnMut(&Snapshot)) {
        let mut entries = reader.entries_at(self.at, SLOTS);
        while entries.next(snapshot) {
            take(snapshot);
        }
        self.at = self.at.saturating_add(SLOTS);
        self.is_done = self.at >= reader.places();
    }
}
