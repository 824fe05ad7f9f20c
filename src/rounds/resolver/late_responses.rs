//! Late responses: they are counted, and change no round and no cache.

use crate::resolver::Rounds;
use hither_table::Counter;

impl Rounds {
    /// Counts a response to an attempt that has ended.
    pub(crate) fn count_late_response(&mut self, octets: &[u8]) {
        self.shared.counters.add(Counter::LateResponsesDropped, 1);
        #[cfg(any(test, feature = "mutants"))]
        self.merge_late(octets);
        let _ = octets;
    }
}
