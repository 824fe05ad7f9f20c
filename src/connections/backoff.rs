//! When an endpoint may be connected to: pauses after failures, and reopening after a close.

use crate::settings::Settings;
use hither_table::Monotonic;
use std::time::Duration;

/// What an endpoint's failures allow.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// Failures since the last answer.
    failures: u32,
    /// When the next race may begin; `None`: at once.
    until: Option<Monotonic>,
    /// Until when the server asks to be left alone, although connections may be ready.
    left_alone_until: Option<Monotonic>,
    /// Whether a query came during the pause, so that a race begins at its end.
    pub is_wanted: bool,
    /// Connections in a row that ended without an answer to any query.
    barren: u32,
    /// Whether the operator has been told that the endpoint is down.
    is_down: bool,
}

impl Backoff {
    /// Whether no race may begin now.
    pub fn is_pausing(&self, now: Monotonic) -> bool {
        self.until().is_some_and(|until| now < until)
    }

    /// Whether no query may be sent, on whichever connection.
    pub fn is_left_alone(&self, now: Monotonic) -> bool {
        self.left_alone_until.is_some_and(|until| now < until)
    }

    /// When the pause ends.
    pub fn until(&self) -> Option<Monotonic> {
        self.until.max(self.left_alone_until)
    }

    /// Ends a pause whose time has come.
    pub fn end(&mut self) {
        (self.until, self.left_alone_until, self.is_wanted) = (None, None, false);
    }

    /// Ends a pause early, since a connection is ready after all. The server is left alone all the same.
    pub fn note_ready(&mut self) {
        (self.until, self.is_wanted) = (None, false);
    }

    /// Begins a pause that the server asks for, or extends it.
    pub fn leave_alone(&mut self, until: Monotonic) {
        self.left_alone_until = self.left_alone_until.max(Some(until));
    }

    /// Notes a failure and begins a pause. Returns whether the endpoint was up until now.
    pub fn note_failure(&mut self, now: Monotonic, settings: &Settings) -> bool {
        self.until = Some(now.plus(doubled(self.failures, settings)));
        self.failures = self.failures.saturating_add(1);
        !std::mem::replace(&mut self.is_down, true)
    }

    /// Begins the shortest pause: the host could not try.
    pub fn pause(&mut self, now: Monotonic, settings: &Settings) {
        self.until = Some(now.plus(settings.backoff_min));
    }

    /// Notes that a connection ended without an answer. Returns whether that counts as a failure: not the
    /// first time, since the server may just have been restarted.
    pub fn note_barren(&mut self) -> bool {
        self.barren = self.barren.saturating_add(1);
        self.barren > 1
    }

    /// Notes an answer. Returns whether the endpoint was down until now.
    pub fn note_answer(&mut self) -> bool {
        (self.failures, self.barren) = (0, 0);
        std::mem::take(&mut self.is_down)
    }

    /// Forgets all failures, but for what the operator has been told.
    pub fn reset(&mut self) {
        *self = Backoff { is_down: self.is_down, ..Backoff::default() };
    }
}

/// The plan to connect to an endpoint again before a query needs it.
#[derive(Debug, Default)]
pub(crate) struct Reopening {
    /// When to connect.
    at: Option<Monotonic>,
    /// How often that was planned since the last answer.
    times: u32,
}

impl Reopening {
    /// Plans to connect, later with each time.
    pub fn plan(&mut self, now: Monotonic, settings: &Settings) {
        if self.at.is_none() {
            self.at = Some(now.plus(doubled(self.times, settings)));
            self.times = self.times.saturating_add(1);
        }
    }

    pub fn at(&self) -> Option<Monotonic> {
        self.at
    }

    /// Drops the plan to connect again.
    pub fn cancel(&mut self) {
        self.at = None;
    }

    /// Notes an answer: the next plan is for soon.
    pub fn note_answer(&mut self) {
        self.times = 0;
    }
}

/// The shortest pause, doubled so many times, within the longest.
fn doubled(times: u32, settings: &Settings) -> Duration {
    settings.backoff_min.saturating_mul(1 << times.min(16)).min(settings.backoff_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_left_alone_until_the_latest_time_that_it_asked_for() {
        let (settings, mut backoff, at) = (Settings::default(), Backoff::default(), Monotonic::from_ms);
        backoff.note_failure(at(0), &settings);
        backoff.leave_alone(at(9_000));
        backoff.leave_alone(at(7_000));
        backoff.note_ready();
        assert_eq!(backoff.until(), Some(at(9_000)));
        assert!(backoff.is_left_alone(at(8_999)) && backoff.is_pausing(at(8_999)));
        assert!(!backoff.is_left_alone(at(9_000)) && !backoff.is_pausing(at(9_000)));
        backoff.leave_alone(at(20_000));
        backoff.reset();
        assert_eq!(backoff.until(), None);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_an_answer_ends_that() {
        let (settings, mut backoff, now) = (Settings::default(), Backoff::default(), Monotonic::from_ms(5));
        let pause = |backoff: &mut Backoff| {
            let is_new = backoff.note_failure(now, &settings);
            (is_new, backoff.until().expect("a pause").since(now).as_millis())
        };
        assert_eq!(pause(&mut backoff), (true, 250));
        assert_eq!(pause(&mut backoff), (false, 500));
        for _ in 0..40 {
            pause(&mut backoff);
        }
        assert_eq!(pause(&mut backoff), (false, 30_000));
        assert!(backoff.is_pausing(now) && !backoff.is_pausing(now.plus(settings.backoff_max)));
        assert!(backoff.note_answer() && !backoff.note_answer());
        assert_eq!(pause(&mut backoff), (true, 250));
    }
}
