//! The walk over the table: how what the changes did not tell of, or what found no room, is found again. In portions; pure.

use hither_table::Monotonic;
use std::time::Duration;

/// Places of the table looked at before probes and orders get their turn. Each may hold two sets, for which there is room then: see
/// [`super::sets::Sets::is_backed_up`].
const PORTION: usize = super::sets::READY_MAX / 4;
/// How long after a walk that passed sets over the next one begins, at the earliest.
const AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Walk {
    /// Where it goes on.
    at: usize,
    /// Places left.
    left: usize,
    due: Monotonic,
    /// Where something was first passed over: the next walk begins there, so that none is passed over every time.
    passed_at: Option<usize>,
    /// Sets passed over, ever, when it began; after its end, by then.
    before: u64,
    /// When it is due whether or not there is room: what was measured is then to be measured again. Before, it is due for what was passed
    /// over, and needs room.
    regular: Monotonic,
}

impl Walk {
    pub fn new(now: Monotonic) -> Walk {
        Walk { at: 0, left: 0, due: now, passed_at: None, before: 0, regular: now }
    }

    /// Begins, or once more: the whole table, from where the last one was.
    pub fn begin(&mut self, places: usize, passed_over: u64) {
        self.at = self.passed_at.take().unwrap_or(self.at);
        self.left = places;
        self.before = passed_over;
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

    /// The next places to look at, of as many as there are.
    pub fn portion(&self, places: usize) -> (usize, usize) {
        let at = if self.at < places { self.at } else { 0 };
        (at, PORTION.min(self.left).min(places - at))
    }

    /// These places were looked at. `passed_over` counts the sets that found no room, ever; `remeasure` is when there is something to do
    /// again where all found room. Whether the walk has come to its end, and how many sets were passed over since it began.
    pub fn went(
        &mut self,
        (at, count): (usize, usize),
        passed_over: u64,
        now: Monotonic,
        remeasure: Duration,
    ) -> Option<u64> {
        let passed = passed_over.saturating_sub(self.before);
        if passed > 0 {
            self.passed_at.get_or_insert(at);
        }
        self.at = at + count;
        // An empty table has no places, and a walk of nothing is at its end.
        self.left = if count == 0 { 0 } else { self.left.saturating_sub(count) };
        if self.left > 0 {
            return None;
        }
        self.before = passed_over;
        self.regular = now.plus(remeasure);
        self.due = if passed > 0 { now.plus(AGAIN).min(self.regular) } else { self.regular };
        Some(passed)
    }

    /// At once, as soon as there is a table: something was missed.
    pub fn hurry(&mut self, now: Monotonic) {
        // From where this one has come to: however often it is begun anew, it comes round.
        self.passed_at = None;
        self.left = 0;
        self.due = now;
        self.regular = now;
    }

    /// What happened since the last turn: sets that were passed over meanwhile are looked for soon, when there is room for them. Room is
    /// not waited for beyond the regular walk: short sets find some where long ones hold it all.
    pub fn keep_up(&mut self, passed_over: u64, has_room: bool, now: Monotonic) {
        if self.is_walking() {
            return;
        }
        let soon = now.plus(AGAIN);
        if passed_over > self.before {
            self.due = self.due.min(soon);
        }
        if self.due <= now && !has_room {
            self.due = soon.min(self.regular);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_sees_every_place_and_the_next_begins_where_something_was_passed_over() {
        let (now, long) = (Monotonic::from_ms(1000), Duration::from_secs(600));
        let mut walk = Walk::new(now);
        assert!(walk.is_due(now));
        let places = PORTION * 2 + 7;
        walk.begin(places, 0);
        let mut seen = vec![0; places];
        let mut passed_over = 0;
        while walk.is_walking() {
            let (at, count) = walk.portion(places);
            seen[at..at + count].iter_mut().for_each(|times| *times += 1);
            passed_over += u64::from(at == PORTION) * 3;
            let ended = walk.went((at, count), passed_over, now, long);
            assert_eq!(ended.is_some(), !walk.is_walking());
            assert!(ended.is_none_or(|passed| passed == 3));
        }
        assert!(seen.iter().all(|times| *times == 1));
        assert_eq!(walk.timeout(), Some(now.plus(AGAIN)), "soon, for some found no room");
        walk.begin(places, passed_over);
        let mut first = None;
        while walk.is_walking() {
            let (at, count) = walk.portion(places);
            first.get_or_insert(at);
            seen[at..at + count].iter_mut().for_each(|times| *times += 1);
            walk.went((at, count), passed_over, now, long);
        }
        assert_eq!(first, Some(PORTION));
        assert!(seen.iter().all(|times| *times == 2), "round the end");
        assert_eq!(walk.timeout(), Some(now.plus(long)));
    }

    #[test]
    fn what_was_passed_over_is_looked_for_soon_but_not_before_there_is_room() {
        let (now, long) = (Monotonic::from_ms(1000), Duration::from_secs(600));
        let mut walk = Walk::new(now);
        walk.begin(10, 0);
        walk.went((0, 10), 0, now, long);
        walk.keep_up(0, true, now);
        assert_eq!(walk.timeout(), Some(now.plus(long)));
        walk.keep_up(3, false, now);
        let soon = now.plus(AGAIN);
        assert_eq!(walk.timeout(), Some(soon));
        walk.keep_up(3, false, soon);
        assert!(!walk.is_due(soon), "no room");
        let later = soon.plus(AGAIN);
        walk.keep_up(3, true, later);
        assert!(walk.is_due(later));
        walk.hurry(now);
        walk.keep_up(3, false, now);
        assert!(walk.is_due(now), "another daemon or network is not waited for");
    }

    #[test]
    fn a_regular_walk_waits_for_no_room() {
        let (begin, long) = (Monotonic::from_ms(1000), Duration::from_secs(600));
        for passed_over in [0, 1] {
            let mut walk = Walk::new(begin);
            walk.begin(10, 0);
            walk.went((0, 10), passed_over, begin, long);
            let mut walked_s = None;
            for second in 0..700 {
                let now = begin.plus(Duration::from_secs(second));
                // Something is passed over all the time.
                walk.keep_up(second + 1, false, now);
                if walk.is_due(now) {
                    walked_s.get_or_insert(second);
                }
            }
            assert_eq!(walked_s, Some(600), "{passed_over} passed over by the walk before");
        }
    }

    #[test]
    fn a_walk_that_is_begun_anew_after_every_portion_comes_round_all_the_same() {
        let now = Monotonic::from_ms(1000);
        let mut walk = Walk::new(now);
        let places = PORTION * 4;
        let mut seen = vec![false; places];
        for turn in 0..4 {
            walk.hurry(now);
            walk.begin(places, turn);
            let (at, count) = walk.portion(places);
            seen[at..at + count].fill(true);
            walk.went((at, count), turn + 1, now, AGAIN);
        }
        assert!(seen.iter().all(|seen| *seen), "also where every portion passes something over");
    }

    #[test]
    fn a_table_that_is_smaller_than_the_one_before_is_walked_over_whole() {
        let now = Monotonic::from_ms(1000);
        let mut walk = Walk::new(now);
        walk.begin(10_000, 0);
        walk.went(walk.portion(10_000), 0, now, AGAIN);
        walk.begin(100, 0);
        assert_eq!(walk.portion(100), (0, 100));
        assert_eq!(walk.went((0, 100), 0, now, AGAIN), Some(0));
        walk.begin(0, 0);
        assert!(!walk.is_walking());
    }
}
