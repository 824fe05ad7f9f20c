//! What the sorter has done, over all sorters since the daemon's start: each counts from its own start.

use hither_control::SorterCounts;
use hither_table::SorterMetrics;

/// The counts of earlier sorters, and of the latest one.
#[derive(Debug, Default)]
pub(super) struct SorterTotals {
    before: SorterCounts,
    latest: SorterCounts,
    pid: Option<i32>,
    connected: bool,
    /// Whether something has changed since the last [`SorterTotals::take_changed`].
    has_changed: bool,
}

impl SorterTotals {
    /// A sorter has connected. One that has only connected again goes on counting.
    pub fn connected(&mut self, pid: i32) {
        if self.pid != Some(pid) {
            self.before = self.before.plus(&self.latest);
            self.latest = SorterCounts::default();
        }
        self.pid = Some(pid);
        (self.connected, self.has_changed) = (true, true);
    }

    pub fn disconnected(&mut self) {
        (self.connected, self.has_changed) = (false, true);
    }

    pub fn note(&mut self, counts: SorterCounts) {
        (self.latest, self.has_changed) = (counts, true);
    }

    /// All counts, if they have changed since the last call.
    pub fn take_changed(&mut self) -> Option<SorterMetrics> {
        let SorterCounts { probes, verdicts, sent: _ } = self.before.plus(&self.latest);
        let connected = self.connected;
        std::mem::take(&mut self.has_changed).then_some(SorterMetrics { connected, probes, verdicts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_another_sorter_are_added_and_those_of_the_same_are_not() {
        let mut totals = SorterTotals::default();
        let mut counts = SorterCounts::default();
        let all = |totals: &mut SorterTotals| totals.take_changed().expect("changed").probes[0][1];
        assert!(totals.take_changed().is_none());
        counts.probes[0][1] = 5;
        for (pid, count, sum) in [(7, 5, 5), (7, 6, 6), (8, 2, 8), (9, 1, 9)] {
            totals.connected(pid);
            counts.probes[0][1] = count;
            totals.note(counts);
            assert_eq!(all(&mut totals), sum, "process {pid}");
        }
        totals.disconnected();
        assert!(!totals.take_changed().expect("changed").connected);
    }
}
