//! How often a change of network is told: what it costs is worth it once, and not ten times a second.

use hither_table::Monotonic;
use std::time::Duration;

/// Between two tellings at least, and how long it has to be quiet for changes to be over.
const QUIET: Duration = Duration::from_secs(1);
/// Between two tellings at most, while changes go on.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The first change after a quiet time is told at once. Others are gathered, and told once it has been quiet, or after a pause that doubles
/// while they go on, and never within [`QUIET`] of the last telling.
#[derive(Debug)]
pub(super) struct Pace {
    /// The latest change; `None` before there was one.
    latest: Option<Monotonic>,
    told: Option<Monotonic>,
    pause: Duration,
    is_owed: bool,
}

impl Pace {
    pub fn new() -> Pace {
        Pace { latest: None, told: None, pause: QUIET, is_owed: false }
    }

    /// Something has changed.
    pub fn changed(&mut self, now: Monotonic) {
        if self.latest.is_none_or(|latest| latest.plus(QUIET) <= now) && !self.is_owed {
            self.pause = QUIET;
        }
        (self.latest, self.is_owed) = (Some(now), true);
    }

    /// When what has changed is to be told, if something has.
    pub fn timeout(&self) -> Option<Monotonic> {
        let latest = self.latest.filter(|_| self.is_owed)?;
        let Some(told) = self.told else { return Some(latest) };
        Some(told.plus(self.pause).min(latest.plus(QUIET)).max(told.plus(QUIET)))
    }

    /// Whether it is to be told now; then that counts as done.
    pub fn tell(&mut self, now: Monotonic) -> bool {
        let is_due = self.timeout().is_some_and(|at| at <= now);
        if is_due {
            let goes_on = self.told.is_some_and(|told| now < told.plus(self.pause * 2))
                && self.latest.is_some_and(|latest| now < latest.plus(QUIET));
            self.pause = if goes_on { (self.pause * 2).min(PAUSE_MAX) } else { QUIET };
            (self.told, self.is_owed) = (Some(now), false);
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

    /// When changes at `changes` are told, all in milliseconds, where it is looked every 50.
    fn told(changes: impl Fn(u64) -> bool, until: u64) -> Vec<u64> {
        let mut pace = Pace::new();
        let looks = (0..until).step_by(50);
        looks
            .filter(|ms| {
                if changes(*ms) {
                    pace.changed(at(*ms));
                }
                let due = pace.timeout().is_some_and(|due| due <= at(*ms));
                let is_told = pace.tell(at(*ms));
                assert_eq!(due, is_told, "the alarm is set for what is told");
                is_told
            })
            .collect()
    }

    #[test]
    fn the_first_change_is_told_at_once_and_the_next_not_within_a_second_of_it() {
        assert_eq!(told(|ms| ms == 300, 20_000), [300]);
        assert_eq!(told(|ms| [300, 400].contains(&ms), 20_000), [300, 1300]);
        assert_eq!(told(|ms| [300, 1300].contains(&ms), 20_000), [300, 1300]);
        assert_eq!(told(|ms| [300, 5000].contains(&ms), 20_000), [300, 5000]);
    }

    #[test]
    fn changes_that_go_on_are_told_ever_more_seldom_as_far_as_a_bound() {
        let storm = told(|ms| ms.is_multiple_of(100), 60_000);
        assert_eq!(storm, [0, 1000, 3000, 7000, 15_000, 25_000, 35_000, 45_000, 55_000]);
    }

    #[test]
    fn the_last_change_of_many_is_told_once_it_is_quiet_and_all_begins_anew() {
        let storm = |ms: u64| ms <= 30_000 && ms.is_multiple_of(100);
        let all = told(|ms| storm(ms) || [40_000, 40_500].contains(&ms), 60_000);
        assert_eq!(all, [0, 1000, 3000, 7000, 15_000, 25_000, 31_000, 40_000, 41_000]);
    }
}
