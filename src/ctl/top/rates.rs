//! Rates and times from samples of the table's counters: what happened within the latest seconds.

use hither_client::{Counter, Counters, Monotonic};
use std::collections::VecDeque;
use std::time::Duration;

/// The time over which the times to answer are taken together: fewer queries give no percentile.
const WINDOW: Duration = Duration::from_secs(10);
/// Samples of a window at the shortest interval, and one before it.
const SAMPLES_MAX: usize = 102;
/// Columns of the widest graph.
const GRAPH_MAX: usize = 512;

/// One reading of the counters.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    /// When it was read.
    pub at: Monotonic,
    /// The table that was read; the counters of another one begin again.
    pub generation: u64,
    pub counters: Counters,
    /// The times to answer since the daemon's start: how many queries are in each bucket.
    pub answers: Vec<u64>,
}

/// The rates between the latest two samples of what there is much of, and of the latest seconds of the rest.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Rates {
    pub queries: f64,
    pub hits: f64,
    /// Of the latest seconds, as all below: rounds begin in bursts.
    pub rounds_begun: f64,
    pub publishes: f64,
    /// The share of hits among the queries that were looked up; `None` without any.
    pub hit_share: Option<f64>,
    /// Rounds that are open now.
    pub rounds_open: u64,
    /// Half of the replies left within this time, in microseconds.
    pub p50_us: Option<f64>,
    /// Of 100 replies 99 left within this time, in microseconds.
    pub p99_us: Option<f64>,
}

/// The samples of the latest seconds, and the rates that a graph shows.
#[derive(Debug)]
pub(super) struct Traffic {
    /// The upper bounds of the buckets in microseconds; the last bucket has none.
    bounds_us: Vec<f64>,
    samples: VecDeque<Counted>,
    /// Queries a second, the oldest first.
    pub queries: VecDeque<u64>,
    /// Hits a second, the oldest first.
    pub hits: VecDeque<u64>,
    pub rates: Rates,
}

impl Traffic {
    pub fn new(bounds_us: Vec<f64>) -> Traffic {
        let (queries, hits) = (VecDeque::new(), VecDeque::new());
        Traffic { bounds_us, samples: VecDeque::new(), queries, hits, rates: Rates::default() }
    }

    /// Begins again, so that a pause is in no rate. The graphs stay.
    pub fn forget(&mut self) {
        self.samples.clear();
    }

    /// Takes one more sample.
    pub fn take(&mut self, sample: Counted) {
        if self.samples.back().is_some_and(|last| last.generation != sample.generation) {
            self.samples.clear();
        }
        // One sample from before the window stays: the window begins there.
        let is_before = |at: Monotonic| sample.at.since(at) >= WINDOW;
        while self.samples.get(1).is_some_and(|second| is_before(second.at))
            || self.samples.len() >= SAMPLES_MAX
        {
            self.samples.pop_front();
        }
        self.rates = Rates::default();
        if let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) {
            self.rates = self.rates_of(first, last, &sample);
            push(&mut self.queries, self.rates.queries);
            push(&mut self.hits, self.rates.hits);
        }
        self.rates.rounds_open = sample.counters.get(Counter::RoundsLive);
        self.samples.push_back(sample);
    }

    /// The rates from the first sample of the window, and from the last one, until now.
    fn rates_of(&self, first: &Counted, last: &Counted, now: &Counted) -> Rates {
        let (hits, misses) = (more(first, now, Counter::Hits), more(first, now, Counter::Misses));
        let looked_up = hits + misses;
        let less = |(now, before): (&u64, &u64)| now.saturating_sub(*before);
        let within: Vec<u64> = now.answers.iter().zip(&first.answers).map(less).collect();
        Rates {
            queries: rate(last, now, Counter::Queries),
            hits: rate(last, now, Counter::Hits),
            rounds_begun: rate(first, now, Counter::RoundsStarted),
            publishes: rate(first, now, Counter::Publishes),
            hit_share: (looked_up > 0).then(|| hits as f64 / looked_up as f64),
            rounds_open: 0,
            p50_us: quantile(&self.bounds_us, &within, 0.50),
            p99_us: quantile(&self.bounds_us, &within, 0.99),
        }
    }
}

fn push(graph: &mut VecDeque<u64>, rate: f64) {
    if graph.len() >= GRAPH_MAX {
        graph.pop_front();
    }
    // A rate below one is a point on the graph all the same.
    graph.push_back(rate.ceil() as u64);
}

/// What a counter has grown by. One that fell is of a daemon that began again.
fn more(before: &Counted, now: &Counted, counter: Counter) -> u64 {
    now.counters.get(counter).saturating_sub(before.counters.get(counter))
}

fn rate(before: &Counted, now: &Counted, counter: Counter) -> f64 {
    let seconds = now.at.since(before.at).as_secs_f64();
    if seconds > 0.0 { more(before, now, counter) as f64 / seconds } else { 0.0 }
}

/// The value below which a share of what is counted lies. Within its bucket it is placed in proportion; in
/// the last one, which has no end, it is the bucket's beginning.
fn quantile(bounds: &[f64], counts: &[u64], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let wanted = share * all as f64;
    let (mut below, mut from) = (0.0, 0.0);
    for (at, count) in counts.iter().enumerate() {
        let count = *count as f64;
        let Some(end) = bounds.get(at) else { return (all > 0).then_some(from) };
        if count > 0.0 && below + count >= wanted {
            return Some(from + (end - from) * ((wanted - below) / count));
        }
        (below, from) = (below + count, *end);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(ms: u64, queries: u64, hits: u64, answers: &[u64]) -> Counted {
        let mut counters = Counters::default();
        for (counter, value) in
            [(Counter::Queries, queries), (Counter::Hits, hits), (Counter::Misses, queries - hits)]
        {
            counters.set(counter, value);
        }
        Counted { at: Monotonic::from_ms(ms), generation: 1, counters, answers: answers.to_vec() }
    }

    #[test]
    fn rates_are_between_two_samples_and_begin_again_with_another_table() {
        let mut traffic = Traffic::new(vec![10.0, 100.0]);
        traffic.take(counted(1000, 100, 90, &[90, 10, 0]));
        assert_eq!((traffic.rates, traffic.queries.len()), (Rates::default(), 0), "one sample has no rate");
        traffic.take(counted(1500, 200, 180, &[180, 20, 0]));
        assert_eq!((traffic.rates.queries, traffic.rates.hits), (200.0, 180.0));
        assert_eq!(traffic.rates.hit_share, Some(0.9));
        let other = Counted { generation: 2, ..counted(2000, 5, 5, &[5, 0, 0]) };
        traffic.take(other);
        assert_eq!((traffic.rates, traffic.queries.len()), (Rates::default(), 1));
        traffic.take(Counted { generation: 2, ..counted(2000, 9, 5, &[5, 0, 0]) });
        assert_eq!(traffic.rates.queries, 0.0, "no time has passed");
    }

    #[test]
    fn a_counter_that_falls_is_no_rate() {
        let mut traffic = Traffic::new(Vec::new());
        traffic.take(counted(0, 1000, 0, &[]));
        traffic.take(counted(1000, 10, 0, &[]));
        assert_eq!((traffic.rates.queries, traffic.rates.p50_us), (0.0, None));
    }

    #[test]
    fn times_are_of_the_latest_ten_seconds() {
        let mut traffic = Traffic::new(vec![10.0, 100.0]);
        traffic.take(counted(0, 0, 0, &[0, 0, 0]));
        traffic.take(counted(1000, 100, 100, &[100, 0, 0]));
        assert_eq!((traffic.rates.p50_us, traffic.rates.p99_us), (Some(5.0), Some(9.9)));
        for second in 2..=30 {
            traffic.take(counted(second * 1000, 100, 100, &[100, 0, 7]));
        }
        assert_eq!(traffic.rates.p50_us, None, "nothing was answered of late");
        traffic.take(counted(31_000, 110, 100, &[100, 0, 17]));
        assert_eq!(traffic.rates.p99_us, Some(100.0), "longer than the last bound");
        for ms in 0..10_000 {
            traffic.take(counted(31_000 + ms, 110, 100, &[100, 0, 17]));
        }
        assert!(traffic.samples.len() <= SAMPLES_MAX && traffic.queries.len() == GRAPH_MAX);
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let bounds = [1.0, 2.0, 4.0];
        for (counts, share, expected) in [
            (&[0, 0, 0, 0][..], 0.5, None),
            (&[10, 0, 0, 0], 0.5, Some(0.5)),
            (&[0, 0, 10, 0], 1.0, Some(4.0)),
            (&[50, 0, 50, 0], 0.5, Some(1.0)),
            (&[50, 0, 50, 0], 0.75, Some(3.0)),
            (&[0, 0, 0, 3], 0.5, Some(4.0)),
            (&[], 0.5, None),
        ] {
            assert_eq!(quantile(&bounds, counts, share), expected, "{counts:?} {share}");
        }
    }
}
