//! Limits how often changes of the network make outstanding queries be sent again: once is worth
//! its cost, ten times a second is not.

use hither_table::Monotonic;
use std::time::Duration;

/// The least time between two reports, and the time without a change after which changes are over.
const QUIET: Duration = Duration::from_secs(1);
/// The longest time between two reports while changes continue.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The first change is reported at once. Later ones are gathered and reported when they are over,
/// or after a pause that doubles while they continue, and never within [`QUIET`] of the last
/// report.
#[derive(Debug)]
pub(super) struct ChangePace {
    latest_change: Option<Monotonic>,
    latest_report: Option<Monotonic>,
    pause: Duration,
    /// Whether there are changes since the latest report.
    is_due: bool,
}

impl ChangePace {
    pub fn new() -> ChangePace {
        ChangePace { latest_change: None, latest_report: None, pause: QUIET, is_due: false }
    }

    /// Notes a change that happened at `now`.
    pub fn changed(&mut self, now: Monotonic) {
        if self.latest_change.is_none_or(|latest| latest.plus(QUIET) <= now) && !self.is_due {
            self.pause = QUIET;
        }
        (self.latest_change, self.is_due) = (Some(now), true);
    }

    /// When the gathered changes must be reported.
    pub fn timeout(&self) -> Option<Monotonic> {
        let change = self.latest_change.filter(|_| self.is_due)?;
        let Some(report) = self.latest_report else { return Some(change) };
        Some(report.plus(self.pause).min(change.plus(QUIET)).max(report.plus(QUIET)))
    }

    /// Whether the changes must be reported now. Then they count as reported.
    pub fn take(&mut self, now: Monotonic) -> bool {
        let is_due = self.timeout().is_some_and(|at| at <= now);
        if is_due {
            let goes_on = self.latest_report.is_some_and(|report| now < report.plus(self.pause * 2))
                && self.latest_change.is_some_and(|change| now < change.plus(QUIET));
            self.pause = if goes_on { (self.pause * 2).min(PAUSE_MAX) } else { QUIET };
            (self.latest_report, self.is_due) = (Some(now), false);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_ms(ms)
    }

    /// The times, in milliseconds, at which changes at `changes` are reported, checked every 50.
    fn reports(changes: impl Fn(u64) -> bool, until: u64) -> Vec<u64> {
        let mut pace = ChangePace::new();
        let looks = (0..until).step_by(50);
        looks
            .filter(|ms| {
                if changes(*ms) {
                    pace.changed(at(*ms));
                }
                let due = pace.timeout().is_some_and(|due| due <= at(*ms));
                let is_reported = pace.take(at(*ms));
                assert_eq!(due, is_reported, "the alarm is set for each report");
                is_reported
            })
            .collect()
    }

    #[test]
    fn the_first_change_is_reported_at_once_and_the_next_not_within_a_second_of_it() {
        assert_eq!(reports(|ms| ms == 300, 20_000), [300]);
        assert_eq!(reports(|ms| [300, 400].contains(&ms), 20_000), [300, 1300]);
        assert_eq!(reports(|ms| [300, 1300].contains(&ms), 20_000), [300, 1300]);
        assert_eq!(reports(|ms| [300, 5000].contains(&ms), 20_000), [300, 5000]);
    }

    #[test]
    fn changes_that_go_on_are_reported_less_and_less_often_up_to_a_bound() {
        let storm = reports(|ms| ms.is_multiple_of(100), 60_000);
        assert_eq!(storm, [0, 1000, 3000, 7000, 15_000, 25_000, 35_000, 45_000, 55_000]);
    }

    #[test]
    fn the_last_of_many_changes_is_reported_when_they_are_over_and_the_pause_is_reset() {
        let storm = |ms: u64| ms <= 30_000 && ms.is_multiple_of(100);
        let all = reports(|ms| storm(ms) || [40_000, 40_500].contains(&ms), 60_000);
        assert_eq!(all, [0, 1000, 3000, 7000, 15_000, 25_000, 31_000, 40_000, 41_000]);
    }
}
