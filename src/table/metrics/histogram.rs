//! Histograms of times. All have the same bounds, so that several can be added.

use core::time::Duration;

/// Buckets of a histogram: one below each bound, and one above the last.
pub const BUCKETS: usize = BOUNDS_NS.len() + 1;

/// The upper bounds of the buckets in nanoseconds: 5 microseconds to 5 seconds.
const BOUNDS_NS: [u64; 19] = {
    const US: u64 = 1_000;
    const MS: u64 = 1_000_000;
    [
        5 * US,
        10 * US,
        25 * US,
        50 * US,
        100 * US,
        250 * US,
        500 * US,
        MS,
        2_500 * US,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        500 * MS,
        1_000 * MS,
        2_500 * MS,
        5_000 * MS,
    ]
};

/// How often times fell into each bucket, and the sum of the times. Any values are possible: a
/// damaged table may have them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Histogram {
    /// How many times were at most the bound of each bucket and above the bound before it. The
    /// last bucket has no bound.
    pub counts: [u64; BUCKETS],
    /// The sum of all times in nanoseconds.
    pub sum_ns: u64,
}

impl Histogram {
    /// The upper bounds of all buckets but the last, in nanoseconds, ascending.
    #[must_use]
    pub const fn bounds_ns() -> &'static [u64; BUCKETS - 1] {
        &BOUNDS_NS
    }

    /// The number of all times.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |all, count| all.wrapping_add(*count))
    }

    /// Both histograms as one.
    #[must_use]
    pub fn plus(mut self, other: &Histogram) -> Histogram {
        for (own, other) in self.counts.iter_mut().zip(other.counts) {
            *own = own.wrapping_add(other);
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        self
    }

    /// Adds one time to its bucket.
    pub fn note(&mut self, timing: Timing) {
        if let Some(count) = self.counts.get_mut(timing.bucket) {
            *count = count.wrapping_add(1);
        }
        self.sum_ns = self.sum_ns.wrapping_add(timing.ns);
    }
}

/// A time, and the bucket that it falls into.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Timing {
    pub(crate) bucket: usize,
    pub(crate) ns: u64,
}

impl From<Duration> for Timing {
    fn from(time: Duration) -> Timing {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Timing { bucket: BOUNDS_NS.partition_point(|bound| *bound < ns), ns }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_whose_bound_it_does_not_exceed() {
        let bucket = |ns| Timing::from(Duration::from_nanos(ns)).bucket;
        assert_eq!((bucket(0), bucket(5_000), bucket(5_001)), (0, 0, 1));
        assert_eq!((bucket(5_000_000_000), bucket(5_000_000_001)), (BUCKETS - 2, BUCKETS - 1));
        assert_eq!(Timing::from(Duration::MAX), Timing { bucket: BUCKETS - 1, ns: u64::MAX });
        assert!(Histogram::bounds_ns().is_sorted());
    }

    #[test]
    fn histograms_that_are_added_have_the_times_of_both() {
        let of = |ms: &[u64]| {
            let mut all = Histogram::default();
            ms.iter().for_each(|ms| all.note(Duration::from_millis(*ms).into()));
            all
        };
        assert_eq!(of(&[1, 30]).plus(&of(&[30, 7000])), of(&[1, 30, 30, 7000]));
        assert_eq!((of(&[1, 30]).count(), of(&[1, 30]).sum_ns), (2, 31_000_000));
    }
}
