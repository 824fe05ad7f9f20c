//! Whether questions wait for the site: not while it does not answer in time.

use hither_table::Monotonic;
use std::time::Duration;

/// Unanswered questions in a row after which no question waits.
const MISSED_MAX: u8 = 3;
/// Pause between two questions that are asked beside their rounds, to learn whether the site answers again.
const TRIAL: Duration = Duration::from_secs(1);

/// How the site is asked a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// Not at all.
    No,
    /// Before upstreams are, until this time.
    Before(Monotonic),
    /// Beside upstreams: nobody waits for the answer.
    Beside,
}

/// The state of the breaker. It is open after [`MISSED_MAX`] unanswered questions in a row.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    missed: u8,
    /// The round whose question is asked beside it, and when it was asked.
    trial: Option<(u64, Monotonic)>,
    next_trial: Monotonic,
}

impl Breaker {
    /// How to ask the next question, which may wait until `until`.
    pub fn how(&self, now: Monotonic, until: Monotonic) -> Ask {
        if self.missed < MISSED_MAX {
            Ask::Before(until)
        } else if now >= self.next_trial {
            Ask::Beside
        } else {
            Ask::No
        }
    }

    /// Notes that a round is asked beside. Returns whether the one before it is still unanswered.
    pub fn begin_trial(&mut self, round: u64, now: Monotonic) -> bool {
        self.next_trial = now.plus(TRIAL);
        self.trial.replace((round, now)).is_some()
    }

    /// Whether the answer to a trial came in time; `None` if the round is no trial.
    pub fn end_trial(&mut self, round: u64, now: Monotonic, wait: Duration) -> Option<bool> {
        let (_, asked) = self.trial.take_if(|(of, _)| *of == round)?;
        Some(now.since(asked) <= wait)
    }

    /// A question was answered in time.
    pub fn close(&mut self) {
        self.missed = 0;
    }

    /// A question was not answered in time.
    pub fn note_missed(&mut self, now: Monotonic) {
        self.missed = (self.missed + 1).min(MISSED_MAX);
        if self.missed == MISSED_MAX {
            self.next_trial = now.plus(TRIAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_three_missed_answers_nobody_waits_until_a_trial_is_answered_in_time() {
        let wait = Duration::from_millis(2);
        let at = Monotonic::from_ms;
        let mut breaker = Breaker::default();
        for n in 0..3 {
            assert_eq!(breaker.how(at(n), at(9)), Ask::Before(at(9)));
            breaker.note_missed(at(n));
        }
        assert_eq!(breaker.how(at(3), at(9)), Ask::No);
        assert_eq!(breaker.how(at(1002), at(9)), Ask::Beside);
        assert!(!breaker.begin_trial(5, at(1002)));
        assert_eq!(breaker.how(at(1003), at(9)), Ask::No, "one trial a second");
        assert_eq!(breaker.end_trial(4, at(1003), wait), None);
        assert_eq!(breaker.end_trial(5, at(1005), wait), Some(false), "too late");
        assert_eq!(breaker.end_trial(5, at(1005), wait), None, "once");
        assert!(!breaker.begin_trial(6, at(2002)));
        assert!(breaker.begin_trial(7, at(3002)), "the one before was never answered");
        assert_eq!(breaker.end_trial(7, at(3004), wait), Some(true));
        breaker.close();
        assert_eq!(breaker.how(at(3005), at(3007)), Ask::Before(at(3007)));
    }
}
