//! When a burst of changes is over. Editors and scripts write in several steps, and some files are written to for ever.

use hither_table::Monotonic;
use std::collections::BTreeMap;
use std::time::Duration;

/// So long after the last change nothing more is expected.
const QUIET: Duration = Duration::from_millis(20);
/// The same while somebody has the file open to write.
const OPEN: Duration = Duration::from_millis(80);
/// So long after its first change a burst is acted upon although it goes on.
const MOST: Duration = Duration::from_millis(100);
/// That time doubles with each burst that never was quiet, up to this.
const MOST_EVER: Duration = Duration::from_secs(5);

/// What is in a burst of changes, each by itself: a file that is written to for ever holds up no other.
#[derive(Debug)]
pub(super) struct Settle<K> {
    bursts: BTreeMap<K, Burst>,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    /// When to act; none: it was cut, and is known for as long as it may go on.
    due: Option<Monotonic>,
    /// It does not last longer, or was cut then.
    end: Monotonic,
    most: Duration,
}

impl<K: Ord> Settle<K> {
    pub fn new() -> Settle<K> {
        Settle { bursts: BTreeMap::new() }
    }

    /// Something has changed; `is_open`: somebody may write more of it.
    pub fn touched(&mut self, what: K, now: Monotonic, is_open: bool) {
        let first = Burst { due: None, end: now.plus(MOST), most: MOST };
        let burst = self.bursts.entry(what).or_insert(first);
        if burst.due.is_none() && burst.end <= now {
            let goes_on = now <= burst.end.plus(OPEN);
            burst.most = if goes_on { (burst.most * 2).min(MOST_EVER) } else { MOST };
            burst.end = now.plus(burst.most);
        }
        let quiet = now.plus(if is_open { OPEN } else { QUIET });
        burst.due = Some(quiet.min(burst.end));
    }

    /// When to act.
    pub fn due(&self) -> Option<Monotonic> {
        self.bursts.values().filter_map(|burst| burst.due).min()
    }

    /// Takes what is to be acted upon now.
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
            None => now <= burst.end.plus(OPEN),
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

    /// Times at which a file is acted upon that is touched at each of `touches`.
    fn acts(touches: impl Iterator<Item = u64>, is_open: bool) -> Vec<u64> {
        let (mut settle, mut acts) = (Settle::new(), Vec::new());
        let mut pass = |settle: &mut Settle<u8>, until: u64| {
            while let Some(due) = settle.due().filter(|due| *due <= ms(until)) {
                assert!(settle.over(due));
                acts.push(due.0 / 1_000_000);
            }
        };
        for touch in touches {
            pass(&mut settle, touch);
            settle.touched(1, ms(touch), is_open);
        }
        pass(&mut settle, u64::MAX / 2_000_000);
        acts
    }

    #[test]
    fn one_change_is_acted_upon_soon_and_several_steps_once() {
        assert_eq!(acts([1000].into_iter(), false), [1020]);
        assert_eq!(acts([1000].into_iter(), true), [1080]);
        assert_eq!(acts([1000, 1010, 1025].into_iter(), false), [1045]);
        assert_eq!(acts([1000, 1500].into_iter(), false), [1020, 1520]);
    }

    #[test]
    fn what_is_written_for_ever_is_read_now_and_then_ever_more_seldom() {
        let acts = acts((0..60_000).step_by(5), true);
        assert_eq!(acts[0], 100);
        assert!(acts.len() < 25, "{acts:?}");
        let gaps: Vec<u64> = acts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap <= 5_010), "{gaps:?}");
    }

    #[test]
    fn what_is_written_for_ever_holds_up_no_other() {
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
    fn ever_new_files_are_not_remembered() {
        let mut settle = Settle::new();
        for n in 0..10_000 {
            // Each is cut once, as it is written for as long as it is there.
            let now = n * 1000;
            (0..=100).step_by(5).for_each(|at| settle.touched(n, ms(now + at), true));
            settle.over(ms(now + 100));
            assert!(settle.bursts.len() <= 2, "{} at {n}", settle.bursts.len());
        }
        settle.over(ms(u64::MAX / 2_000_000));
        assert!(settle.bursts.is_empty());
    }

    #[test]
    fn after_some_quiet_it_is_quick_again() {
        let touches = (0..5_000).step_by(5).chain([20_000]).chain((30_000..30_200).step_by(5));
        let acts = acts(touches, false);
        assert!(acts.contains(&20_020) && acts.contains(&30_100), "{acts:?}");
    }
}
