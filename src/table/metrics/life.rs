//! The sign of life of the daemon's event loop: what it does, and until when it sleeps.
//!
//! An idle daemon does not wake up to show that it lives. It notes before it sleeps until when, and when it
//! is awake again. So a daemon that hangs is awake and has been for long, and one that the kernel does not
//! run has slept longer than it wanted.

use super::layout::{AWAKE, WITHOUT_LIMIT};
use crate::time::Monotonic;
use core::time::Duration;

/// What the event loop does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// It works.
    Works,
    /// It sleeps until then, or until an earlier event.
    SleepsUntil(Monotonic),
    /// It sleeps until an event.
    Sleeps,
}

/// What the event loop does, and when it last woke up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignOfLife {
    /// When its last turn began.
    pub turn: Monotonic,
    /// What it does since then.
    pub doing: Doing,
}

impl SignOfLife {
    /// For how long the event loop has failed to do what it should: it works since then, or should have
    /// woken up then. Zero if nothing is wrong. A loop that sleeps until an event is not expected to do
    /// anything, so a stopped process is not noticed there.
    #[must_use]
    pub fn overdue(&self, now: Monotonic) -> Duration {
        match self.doing {
            Doing::Works => now.since(self.turn),
            Doing::SleepsUntil(until) => now.since(until),
            Doing::Sleeps => Duration::ZERO,
        }
    }

    pub(crate) fn from_words(turn_ns: u64, sleeps: u64) -> SignOfLife {
        let doing = match sleeps {
            AWAKE => Doing::Works,
            WITHOUT_LIMIT => Doing::Sleeps,
            until_ns => Doing::SleepsUntil(Monotonic(until_ns)),
        };
        SignOfLife { turn: Monotonic(turn_ns), doing }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_overdue_when_it_works_for_long_or_does_not_wake_up_in_time() {
        let ms = Duration::from_millis;
        let time = |ms: u64| Monotonic::from_ms(ms).0;
        let overdue =
            |sleeps, now| SignOfLife::from_words(time(1_000), sleeps).overdue(Monotonic::from_ms(now));
        assert_eq!(overdue(AWAKE, 1_030), ms(30));
        assert_eq!((overdue(time(5_000), 4_000), overdue(time(5_000), 6_500)), (ms(0), ms(1_500)));
        assert_eq!(overdue(WITHOUT_LIMIT, 9_000_000), ms(0));
        assert_eq!(overdue(AWAKE, 10), ms(0), "a clock of another process may be behind");
    }
}
