//! Late responses: they are counted, and change no round and no cache.

use crate::resolver::Rounds;
use hither_table::Counter;

impl Rounds {
    /// Counts a response to an attempt that has ended.
    pub(crate) fn count_late_response(&mut self) {
        self.shared.counters.add(Counter::LateResponsesDropped, 1);
    }
}
