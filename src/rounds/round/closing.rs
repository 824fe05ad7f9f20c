//! The end of attempts: of one attempt with an outcome, or of all attempts that are no longer needed.

use crate::attempt::Attempt;
use crate::ids::AttemptId;
use crate::round::Round;
use crate::shared::Shared;
use hither_table::Monotonic;
use std::borrow::Cow;

impl Round {
    /// Ends an attempt. A response that arrives for it afterwards is late.
    pub fn close(
        &mut self,
        shared: &mut Shared,
        id: AttemptId,
        outcome: impl Into<Cow<'static, str>>,
    ) -> Attempt {
        let now = shared.now;
        let attempt = self.attempts.remove(id);
        shared.attempts.remove(&attempt.id);
        shared.traces.ended.note(attempt.id, self.id);
        shared.actions.push_back(crate::Action::Close { attempt: attempt.id, linger: None });
        if let Some(trace) = self.trace.attempts.get_mut(attempt.trace) {
            trace.ended = Some(now);
            trace.outcome = outcome.into();
        }
        attempt
    }

    /// Ends all outstanding attempts. This is no failure of their upstreams.
    pub fn cancel(&mut self, shared: &mut Shared, linger: Option<Monotonic>) {
        let now = shared.now;
        if shared.faults.may_keep_attempts() {
            return;
        }
        let mut attempts = std::mem::take(&mut self.attempts);
        for attempt in attempts.drain() {
            shared.attempts.remove(&attempt.id);
            shared.traces.ended.note(attempt.id, self.id);
            shared.actions.push_back(crate::Action::Close {
                attempt: attempt.id,
                linger: linger.filter(|at| *at > now),
            });
            if let Some(upstream) = shared.upstream(attempt.upstream) {
                upstream.note_not_awaited(now.since(attempt.sent));
            }
            if let Some(trace) = self.trace.attempts.get_mut(attempt.trace) {
                trace.ended = Some(now);
                trace.outcome = "not awaited".into();
            }
        }
        self.attempts = attempts;
    }
}
