//! Pauses after failures: they double up to a bound, and their length is random, so that the hosts of a site
//! do not come back all at once.

use hither_net::random::Random;
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    /// `None`: the kernel gives no random numbers, so the pauses are not random either.
    random: Option<Random>,
}

impl Backoff {
    pub fn new() -> Backoff {
        Backoff { pause: PAUSE_MIN, random: Random::new().ok() }
    }

    /// The next pause: between half of its length and all of it.
    pub fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        let half = pause / 2;
        let millis = u64::try_from(half.as_millis()).unwrap_or(0).max(1);
        let more = self.random.as_mut().map_or(millis, |random| random.draw() % millis);
        half + Duration::from_millis(more)
    }

    /// The next pause is the shortest again.
    pub fn reset(&mut self) {
        self.pause = PAUSE_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_differ() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(pauses.first().is_some_and(|first| *first <= PAUSE_MIN));
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX && *pause >= PAUSE_MIN / 2));
        let last = pauses.get(10..).expect("twenty");
        assert!(last.iter().all(|pause| *pause >= PAUSE_MAX / 2));
        assert!(last.windows(2).any(|two| two.first() != two.last()));
        backoff.reset();
        assert!(backoff.next() <= PAUSE_MIN);
    }
}
