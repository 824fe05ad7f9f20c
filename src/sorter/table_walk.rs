//! The walk over the whole table, in portions. It finds sets whose change was missed or that had to
//! be passed over, and those that are to be measured again. Pure: it decides when to walk and
//! where, the event loop reads the entries.

use hither_table::Monotonic;
use std::time::Duration;

/// Index slots of the table that are read in one turn. A slot holds two sets at most, so a portion adds
/// `READY_MAX / 2` orders at most. A portion is read only if as many are free: see
/// [`super::sets::Sets::is_backed_up`].
const PORTION_SLOTS: usize = super::sets::READY_MAX / 4;
/// The least time between a walk that passed sets over and the next walk.
const PAUSE_MIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct TableWalk {
    /// The slot at which the walk continues.
    at: usize,
    /// Slots that are left of this walk.
    left: usize,
    due: Monotonic,
    /// The slot at which a set was first passed over: the next walk begins there, so that no set is
    /// passed over every time.
    passed_over_at: Option<usize>,
    /// The count of sets passed over when the walk began, or when the last one ended.
    passed_over_before: u64,
    /// When all sets are to be measured again. Before this time a walk, for sets that were passed over,
    /// begins only if there is capacity. From this time on a walk begins in any case.
    remeasure_at: Monotonic,
    /// Whether the last walk passed sets over.
    last_passed_over: bool,
}

/// Neighbouring index slots of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Portion {
    pub first: usize,
    pub count: usize,
}

impl TableWalk {
    pub fn new(now: Monotonic) -> TableWalk {
        TableWalk {
            at: 0,
            left: 0,
            due: now,
            passed_over_at: None,
            passed_over_before: 0,
            remeasure_at: now,
            last_passed_over: false,
        }
    }

    /// Begins a walk over the whole table, at the slot where the last one ended or first passed a set over.
    pub fn begin(&mut self, slots: usize, passed_over: u64) {
        self.at = self.passed_over_at.take().unwrap_or(self.at);
        self.left = slots;
        self.passed_over_before = passed_over;
    }

    pub fn is_walking(&self) -> bool {
        self.left > 0
    }

    pub fn is_due(&self, now: Monotonic) -> bool {
        !self.is_walking() && self.due <= now
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        (!self.is_walking()).then_some(self.due)
    }

    /// The next slots to read of a table with so many `slots`.
    pub fn next_portion(&self, slots: usize) -> Portion {
        let first = if self.at < slots { self.at } else { 0 };
        Portion { first, count: PORTION_SLOTS.min(self.left).min(slots - first) }
    }

    /// The portion was read. `passed_over` counts all sets passed over so far. At the end of the
    /// walk this returns the number of sets that were passed over since it began, and the next walk
    /// is due after `remeasure`, or sooner if that number is not zero.
    pub fn portion_done(
        &mut self,
        portion: Portion,
        passed_over: u64,
        now: Monotonic,
        remeasure: Duration,
    ) -> Option<u64> {
        let in_this_walk = passed_over.saturating_sub(self.passed_over_before);
        if in_this_walk > 0 {
            self.passed_over_at.get_or_insert(portion.first);
        }
        self.at = portion.first + portion.count;
        // A walk over an empty table ends at once.
        self.left = if portion.count == 0 { 0 } else { self.left.saturating_sub(portion.count) };
        if self.left > 0 {
            return None;
        }
        self.passed_over_before = passed_over;
        self.remeasure_at = now.plus(remeasure);
        self.due =
            if in_this_walk > 0 { now.plus(PAUSE_MIN).min(self.remeasure_at) } else { self.remeasure_at };
        Some(in_this_walk)
    }

    /// Whether this walk passed sets over and the last one did not, or the other way round.
    pub fn passed_over_changed(&mut self, passed_over: u64) -> bool {
        let passes_over = passed_over > 0;
        std::mem::replace(&mut self.last_passed_over, passes_over) != passes_over
    }

    /// Begins a new walk at once: changes were missed, or all sets are to be measured again.
    pub fn restart(&mut self, now: Monotonic) {
        // The walk continues at the same slot, so that it reaches every slot however often it is
        // restarted.
        self.passed_over_at = None;
        self.left = 0;
        self.due = now;
        self.remeasure_at = now;
    }

    /// Advances the next walk if sets were passed over since the last one, and delays it while
    /// there is no free capacity. It is not delayed beyond the time for measuring again: even then
    /// small sets displace large ones.
    pub fn delay_or_advance(&mut self, passed_over: u64, has_capacity: bool, now: Monotonic) {
        if self.is_walking() {
            return;
        }
        let soon = now.plus(PAUSE_MIN);
        if passed_over > self.passed_over_before {
            self.due = self.due.min(soon);
        }
        if self.due <= now && !has_capacity {
            self.due = soon.min(self.remeasure_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_reads_every_slot_and_the_next_begins_where_a_set_was_passed_over() {
        let (now, long) = (Monotonic::from_ms(1000), Duration::from_secs(600));
        let mut walk = TableWalk::new(now);
        assert!(walk.is_due(now));
        let slots = PORTION_SLOTS * 2 + 7;
        walk.begin(slots, 0);
        let mut seen = vec![0; slots];
        let mut passed_over = 0;
        while walk.is_walking() {
            let portion = walk.next_portion(slots);
            seen[portion.first..portion.first + portion.count].iter_mut().for_each(|times| *times += 1);
            passed_over += u64::from(portion.first == PORTION_SLOTS) * 3;
            let ended = walk.portion_done(portion, passed_over, now, long);
            assert_eq!(ended.is_some(), !walk.is_walking());
            assert!(ended.is_none_or(|passed| passed == 3));
        }
        assert!(seen.iter().all(|times| *times == 1));
        assert_eq!(walk.timeout(), Some(now.plus(PAUSE_MIN)), "soon, since some were passed over");
        walk.begin(slots, passed_over);
        let mut first = None;
        while walk.is_walking() {
            let portion = walk.next_portion(slots);
            first.get_or_insert(portion.first);
            seen[portion.first..portion.first + portion.count].iter_mut().for_each(|times| *times += 1);
            walk.portion_done(portion, passed_over, now, long);
        }
        assert_eq!(first, Some(PORTION_SLOTS));
        assert!(seen.iter().all(|times| *times == 2), "round the end");
        assert_eq!(walk.timeout(), Some(now.plus(long)));
    }

    #[test]
    fn sets_that_were_passed_over_are_looked_for_soon_but_not_without_free_capacity() {
        let (now, long) = (Monotonic::from_ms(1000), Duration::from_secs(600));
        let mut walk = TableWalk::new(now);
        walk.begin(10, 0);
        walk.portion_done(Portion { first: 0, count: 10 }, 0, now, long);
        walk.delay_or_advance(0, true, now);
        assert_eq!(walk.timeout(), Some(now.plus(long)));
        walk.delay_or_advance(3, false, now);
        let soon = now.plus(PAUSE_MIN);
        assert_eq!(walk.timeout(), Some(soon));
        walk.delay_or_advance(3, false, soon);
        assert!(!walk.is_due(soon), "no capacity");
        let later = soon.plus(PAUSE_MIN);
        walk.delay_or_advance(3, true, later);
        assert!(walk.is_due(later));
        walk.restart(now);
        walk.delay_or_advance(3, false, now);
        assert!(walk.is_due(now), "a restarted walk needs no capacity");
    }

    #[test]
    fn a_walk_that_measures_again_needs_no_capacity() {
        let (begin, long) = (Monotonic::from_ms(1000), Duration::from_secs(600));
        for passed_over in [0, 1] {
            let mut walk = TableWalk::new(begin);
            walk.begin(10, 0);
            walk.portion_done(Portion { first: 0, count: 10 }, passed_over, begin, long);
            let mut walked_s = None;
            for second in 0..700 {
                let now = begin.plus(Duration::from_secs(second));
                // A set is passed over in each second.
                walk.delay_or_advance(second + 1, false, now);
                if walk.is_due(now) {
                    walked_s.get_or_insert(second);
                }
            }
            assert_eq!(walked_s, Some(600), "{passed_over} passed over by the walk before");
        }
    }

    #[test]
    fn a_walk_that_is_restarted_after_every_portion_still_reads_every_slot() {
        let now = Monotonic::from_ms(1000);
        let mut walk = TableWalk::new(now);
        let slots = PORTION_SLOTS * 4;
        let mut seen = vec![false; slots];
        for turn in 0..4 {
            walk.restart(now);
            walk.begin(slots, turn);
            let portion = walk.next_portion(slots);
            seen[portion.first..portion.first + portion.count].fill(true);
            walk.portion_done(portion, turn + 1, now, PAUSE_MIN);
        }
        assert!(seen.iter().all(|seen| *seen), "even if every portion passes a set over");
    }

    #[test]
    fn a_table_that_is_smaller_than_the_one_before_is_read_completely() {
        let now = Monotonic::from_ms(1000);
        let mut walk = TableWalk::new(now);
        walk.begin(10_000, 0);
        walk.portion_done(walk.next_portion(10_000), 0, now, PAUSE_MIN);
        walk.begin(100, 0);
        let all = Portion { first: 0, count: 100 };
        assert_eq!(walk.next_portion(100), all);
        assert_eq!(walk.portion_done(all, 0, now, PAUSE_MIN), Some(0));
        walk.begin(0, 0);
        assert!(!walk.is_walking());
    }
}
