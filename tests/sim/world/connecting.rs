//! Failures of attempts, and what one shows that was never sent.

use super::World;
use hither_rounds::{AttemptId, Failure, Input};

impl World<'_> {
    /// Reports the failure of an attempt. If connecting failed before, so that the query was not sent, this
    /// must not count as a further failure of the upstream.
    pub(super) fn fail_attempt(&mut self, attempt: AttemptId, failure: Failure) {
        let now = self.now;
        let query = self.attempts.get(&attempt).expect("a failure of an attempt that was never sent");
        let (tcp, upstream) = (query.tcp, usize::from(query.upstream.0));
        self.oracle.failed(now, attempt, tcp && failure == Failure::Closed);
        let before = self.core().upstreams(now);
        self.core().handle(now, Input::Failed { attempt, failure });
        let after = self.core().upstreams(now);
        if let (Failure::Backoff, Some(before), Some(after)) =
            (failure, before.get(upstream), after.get(upstream))
        {
            assert_eq!(after.failures, before.failures, "a query that was not sent counts as a failure");
        }
    }
}
