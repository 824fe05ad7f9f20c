//! Rounds that have not answered yet: their sources, their ages, and which of them is evicted for a new
//! one.
//!
//! This follows unbound's jostle list (unbound.conf(5), num-queries-per-thread, jostle-timeout). Among the
//! rounds that have taken longer than usual, those of the later half are evicted first, then those of the
//! first half. So names that no upstream answers do not block other names, and a flood of quick names does
//! not keep slow names from an answer.

use crate::ascending::Ascending;
use crate::ids::Source;
use crate::tally::Tally;
use hither_table::Monotonic;
use std::collections::BTreeSet;
use std::time::Duration;

/// Bounds of the time after which a round has taken longer than usual. The lower bound is unbound's
/// jostle-timeout. With the upper bound, 2000 rounds suffice for 2000 unanswered names per second.
const USUAL_MIN: Duration = Duration::from_millis(200);
const USUAL_MAX: Duration = Duration::from_secs(1);
/// A round has taken longer than usual after this multiple of the usual time.
const USUAL_TIMES: u64 = 4;

/// The time from the start of a round to its first answer, smoothed as round-trip times are (RFC 6298
/// section 2).
#[derive(Debug, Default)]
struct Usual {
    smoothed_us: Option<u64>,
}

impl Usual {
    pub fn learn(&mut self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX / 16);
        self.smoothed_us = Some(self.smoothed_us.map_or(took_us, |smoothed| (7 * smoothed + took_us) / 8));
    }

    pub fn evictable_after(&self) -> Duration {
        let usual = Duration::from_micros(self.smoothed_us.unwrap_or(0).saturating_mul(USUAL_TIMES));
        usual.clamp(USUAL_MIN, USUAL_MAX)
    }
}

/// The rounds that race: that have not answered yet. They are indexed by source and by age.
#[derive(Debug)]
pub(crate) struct Racing {
    tally: Tally,
    of_source: BTreeSet<(Source, u64)>,
    /// The start of each round of the first half, which is evicted last. Rounds join it while it has
    /// fewer than half of the limit of rounds.
    first_half: Ascending<u64, Monotonic>,
    /// The start of each other round.
    later_half: Ascending<u64, Monotonic>,
    usual: Usual,
}

impl Racing {
    pub fn new() -> Racing {
        Racing {
            tally: Tally::new(),
            of_source: BTreeSet::new(),
            first_half: Ascending::new(),
            later_half: Ascending::new(),
            usual: Usual::default(),
        }
    }

    /// Adds a round that begins. `most` is the limit of live rounds.
    pub fn enter(&mut self, id: u64, source: Source, began: Monotonic, most: usize) {
        let half = if self.first_half.len() < most / 2 { &mut self.first_half } else { &mut self.later_half };
        half.insert(id, began);
        self.of_source.insert((source, id));
        self.tally.add(source);
    }

    /// Removes a round: it has answered its clients at `answered`, or it has ended.
    pub fn leave(&mut self, id: u64, source: Source, answered: Option<Monotonic>) {
        let Some(began) = self.first_half.remove(&id).or_else(|| self.later_half.remove(&id)) else { return };
        self.of_source.remove(&(source, id));
        self.tally.take(source);
        if let Some(now) = answered {
            self.usual.learn(now.since(began));
        }
    }

    /// Notes that a client of the source `other` joins a round of `own`. The round then counts for the
    /// source with fewer rounds, never for [`Source::NOBODY`]. Returns that source.
    pub fn move_to_smaller_source(&mut self, id: u64, own: Source, other: Source) -> Source {
        let stays = own != Source::NOBODY && self.tally.of(other) + 1 >= self.tally.of(own);
        if stays || !self.of_source.remove(&(own, id)) {
            return own;
        }
        self.of_source.insert((other, id));
        self.tally.take(own);
        self.tally.add(other);
        other
    }

    /// The time that a round may race before it may be evicted.
    pub fn evictable_after(&self) -> Duration {
        self.usual.evictable_after()
    }

    fn is_slow(&self, id: u64, now: Monotonic) -> bool {
        let began = self.first_half.get(&id).or_else(|| self.later_half.get(&id));
        began.is_some_and(|began| now.since(*began) > self.evictable_after())
    }

    pub fn of(&self, source: Source) -> impl DoubleEndedIterator<Item = u64> {
        self.of_source.range((source, 0)..=(source, u64::MAX)).map(|(_, id)| *id)
    }

    /// The round to evict for `source` because another source has more rounds: that source's oldest
    /// round if it is slow, else its newest.
    pub fn of_the_fullest(&self, now: Monotonic, source: Source) -> Option<u64> {
        let fullest = self.tally.ahead_of(source)?;
        let oldest = self.of(fullest).next().filter(|id| self.is_slow(*id, now));
        oldest.or_else(|| self.of(fullest).next_back())
    }

    /// The round to evict for `source` because it has raced longer than usual: the oldest round of
    /// `source` itself, or else of the later half, or else of the first half.
    pub fn slowest(&self, now: Monotonic, source: Source) -> Option<u64> {
        let oldest = |half: &Ascending<u64, Monotonic>| half.keys().next().copied();
        let slow = [self.of(source).next(), oldest(&self.later_half), oldest(&self.first_half)];
        slow.into_iter().flatten().find(|id| self.is_slow(*id, now))
    }

    /// All rounds that race, for the checks of invariants.
    pub fn all(&self) -> &BTreeSet<(Source, u64)> {
        &self.of_source
    }

    pub fn check(&self) {
        assert_eq!(
            self.of_source.len(),
            self.first_half.len() + self.later_half.len(),
            "every racing round is in exactly one half"
        );
        assert_eq!(self.of_source.len(), self.tally.len(), "every racing round counts for one source");
        for (source, id) in &self.of_source {
            assert!(self.tally.of(*source) > 0, "a racing round does not count for its source");
            assert!(
                self.first_half.get(id).or_else(|| self.later_half.get(id)).is_some(),
                "a racing round is in neither half"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Source = Source::of(1);
    const B: Source = Source::of(2);

    fn ms(n: u64) -> Monotonic {
        Monotonic::from_ms(n)
    }

    /// Rounds of one source, each begun a millisecond after the one before.
    fn racing(source: Source, ids: std::ops::Range<u64>, most: usize) -> Racing {
        let mut racing = Racing::new();
        ids.for_each(|id| racing.enter(id, source, ms(id), most));
        racing
    }

    #[test]
    fn the_source_with_most_rounds_loses_its_slow_ones_first_and_then_its_newest() {
        let racing = racing(A, 0..4, 4);
        assert_eq!(racing.of_the_fullest(ms(100), B), Some(3));
        assert_eq!(racing.of_the_fullest(ms(201), B), Some(0));
        assert_eq!(racing.of_the_fullest(ms(201), A), None);
        assert_eq!(racing.slowest(ms(100), A), None, "no round has taken longer than usual");
        assert_eq!(racing.slowest(ms(300), A), Some(0));
    }

    #[test]
    fn among_equal_sources_the_newer_half_of_the_rounds_is_evicted_first() {
        let mut racing = Racing::new();
        (0..4).for_each(|id| racing.enter(id, Source::of(id), ms(id), 4));
        let newcomer = Source::of(9);
        assert_eq!(racing.of_the_fullest(ms(999), newcomer), None, "no source has more than one round");
        assert_eq!(racing.slowest(ms(202), newcomer), Some(0), "no round of the second half is slow yet");
        assert_eq!(racing.slowest(ms(203), newcomer), Some(2));
        racing.leave(2, Source::of(2), None);
        racing.leave(3, Source::of(3), None);
        assert_eq!(racing.slowest(ms(300), newcomer), Some(0));
        racing.check();
    }

    #[test]
    fn the_usual_time_of_a_round_is_learned_within_bounds() {
        let mut racing = racing(A, 0..1, 2);
        assert_eq!(racing.evictable_after(), USUAL_MIN);
        racing.leave(0, A, Some(ms(150)));
        assert_eq!(racing.evictable_after(), Duration::from_millis(600));
        racing.enter(1, A, ms(1000), 2);
        racing.leave(1, A, None);
        assert_eq!(
            racing.evictable_after(),
            Duration::from_millis(600),
            "a round without an answer is not learned from"
        );
        for id in 2..40 {
            racing.enter(id, A, ms(2000), 2);
            racing.leave(id, A, Some(ms(5000)));
        }
        assert_eq!(racing.evictable_after(), USUAL_MAX);
        assert!(racing.all().is_empty());
    }

    #[test]
    fn a_round_with_clients_of_two_sources_counts_for_the_one_with_fewer_rounds() {
        let mut racing = racing(A, 0..3, 4);
        assert_eq!(racing.move_to_smaller_source(0, A, B), B);
        assert_eq!(racing.move_to_smaller_source(1, A, B), A, "no source would have fewer");
        assert_eq!(racing.of_the_fullest(ms(10), Source::of(3)), Some(2));
        racing.check();
    }

    #[test]
    fn a_refresh_counts_for_the_source_whose_client_joins_it() {
        let mut racing = racing(A, 0..3, 8);
        racing.enter(3, Source::NOBODY, ms(3), 8);
        assert_eq!(
            racing.move_to_smaller_source(3, Source::NOBODY, A),
            A,
            "A has more, but only A waits for the round"
        );
        assert!((0..=u64::from(Source::PLACES)).all(|n| Source::of(n) != Source::NOBODY));
        racing.check();
    }
}
