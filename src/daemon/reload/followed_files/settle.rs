//! Decides when a burst of changes is over. Editors and scripts write a file in several steps, and
//! some files are written without end.

use hither_table::Monotonic;
use std::collections::BTreeMap;
use std::time::Duration;

/// A burst is over this long after its last change.
const QUIET_AFTER: Duration = Duration::from_millis(20);
/// The same while a process has the file open for writing.
const QUIET_AFTER_OPEN: Duration = Duration::from_millis(80);
/// A burst that does not end is reported this long after its first change.
const CUT_AFTER: Duration = Duration::from_millis(100);
/// That time doubles with each burst that follows immediately, up to this bound.
const CUT_AFTER_MAX: Duration = Duration::from_secs(5);

/// The bursts of changes. Each file has its own, so that a file that is written without end does
/// not delay another.
#[derive(Debug)]
pub(super) struct Settle<K> {
    bursts: BTreeMap<K, Burst>,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    /// When to report it. None if it was reported, but may continue.
    due: Option<Monotonic>,
    /// The latest time to report it, or the time at which it was reported.
    end: Monotonic,
    cut_after: Duration,
}

impl<K: Ord> Settle<K> {
    /// No bursts so far.
    pub fn new() -> Settle<K> {
        Settle { bursts: BTreeMap::new() }
    }

    /// Notes a change of `file`. `is_open`: a process has it open for writing.
    pub fn touched(&mut self, file: K, now: Monotonic, is_open: bool) {
        let first = Burst { due: None, end: now.plus(CUT_AFTER), cut_after: CUT_AFTER };
        let burst = self.bursts.entry(file).or_insert(first);
        if burst.due.is_none() && burst.end <= now {
            let goes_on = now <= burst.end.plus(QUIET_AFTER_OPEN);
            burst.cut_after = if goes_on { (burst.cut_after * 2).min(CUT_AFTER_MAX) } else { CUT_AFTER };
            burst.end = now.plus(burst.cut_after);
        }
        let quiet = now.plus(if is_open { QUIET_AFTER_OPEN } else { QUIET_AFTER });
        burst.due = Some(quiet.min(burst.end));
    }

    /// When the first burst must be reported.
    pub fn due(&self) -> Option<Monotonic> {
        self.bursts.values().filter_map(|burst| burst.due).min()
    }

    /// Takes the bursts that are due. Returns whether there were any.
    pub fn over(&mut self, now: Monotonic) -> bool {
        let mut over = false;
        self.bursts.retain(|_, burst| match burst.due {
            Some(due) if due > now => true,
            Some(due) => {
                over = true;
                burst.due = None;
                let is_cut = due == burst.end;
                burst.end = now;
                is_cut
            }
            None => now <= burst.end.plus(QUIET_AFTER_OPEN),
        });
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Monotonic {
        Monotonic(ms * 1_000_000)
    }

    /// The times at which changes of a file at `touches` are reported.
    fn reports(touches: impl Iterator<Item = u64>, is_open: bool) -> Vec<u64> {
        let (mut settle, mut reports) = (Settle::new(), Vec::new());
        let mut pass = |settle: &mut Settle<u8>, until: u64| {
            while let Some(due) = settle.due().filter(|due| *due <= ms(until)) {
                assert!(settle.over(due));
                reports.push(due.0 / 1_000_000);
            }
        };
        for touch in touches {
            pass(&mut settle, touch);
            settle.touched(1, ms(touch), is_open);
        }
        pass(&mut settle, u64::MAX / 2_000_000);
        reports
    }

    #[test]
    fn one_change_is_reported_soon_and_several_steps_once() {
        assert_eq!(reports([1000].into_iter(), false), [1020]);
        assert_eq!(reports([1000].into_iter(), true), [1080]);
        assert_eq!(reports([1000, 1010, 1025].into_iter(), false), [1045]);
        assert_eq!(reports([1000, 1500].into_iter(), false), [1020, 1520]);
    }

    #[test]
    fn a_file_that_is_written_without_end_is_reported_less_and_less_often() {
        let reports = reports((0..60_000).step_by(5), true);
        assert_eq!(reports[0], 100);
        assert!(reports.len() < 25, "{reports:?}");
        let gaps: Vec<u64> = reports.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap <= 5_010), "{gaps:?}");
    }

    #[test]
    fn a_file_that_is_written_without_end_does_not_delay_another() {
        let mut settle = Settle::new();
        let mut late = 0;
        for now in 0..20_000 {
            if now % 5 == 0 {
                settle.touched("log", ms(now), true);
            }
            if now == 15_000 {
                settle.touched("hosts", ms(now), false);
            }
            if settle.over(ms(now)) && now >= 15_000 && late == 0 {
                late = now - 15_000;
            }
        }
        assert!((1..=20).contains(&late), "{late} ms");
    }

    #[test]
    fn bursts_of_files_that_are_gone_are_forgotten() {
        let mut settle = Settle::new();
        for n in 0..10_000 {
            // Each file is written for as long as it exists, so that its burst is cut once.
            let now = n * 1000;
            (0..=100).step_by(5).for_each(|at| settle.touched(n, ms(now + at), true));
            settle.over(ms(now + 100));
            assert!(settle.bursts.len() <= 2, "{} at {n}", settle.bursts.len());
        }
        settle.over(ms(u64::MAX / 2_000_000));
        assert!(settle.bursts.is_empty());
    }

    #[test]
    fn after_a_quiet_time_reports_are_quick_again() {
        let touches = (0..5_000).step_by(5).chain([20_000]).chain((30_000..30_200).step_by(5));
        let reports = reports(touches, false);
        assert!(reports.contains(&20_020) && reports.contains(&30_100), "{reports:?}");
    }
}
