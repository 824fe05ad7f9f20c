//! Whether a query may fail like that.

use super::{Oracle, Query, State};
use hither_connections::{Failure, Token};

impl Oracle {
    pub(super) fn check_failure(&self, token: Token, query: &Query, failure: Failure, was_due: bool) {
        let of = query.endpoint;
        let endpoint = self.endpoints.get(&of);
        // Another connection could still serve it.
        let has_way = self.of(of, State::Ready).any(|id| query.refused_on != Some(id));
        let is_racing = self.count(of, State::Contending) > 0;
        let has_failed = endpoint.is_some_and(|e| e.health.pause_until.is_some_and(|at| self.now < at));
        let is_right = match failure {
            Failure::Stopped => self.is_stopping,
            Failure::Forgotten => endpoint.is_none() && !self.is_stopping,
            Failure::NoAddress => {
                endpoint.is_some_and(|e| e.addresses.is_empty() && !e.is_looking_up) && !has_way
            }
            Failure::TooMany => self.waiting(of).count() >= self.settings.waiting_max.max(1),
            Failure::Silent => self.now >= query.accepted_at.plus(self.settings.query_max),
            Failure::Backoff if self.is_left_alone(of) => query.on.is_none(),
            Failure::Backoff => has_failed && !has_way && !is_racing && query.on.is_none(),
            Failure::Closed if was_due => true,
            Failure::Closed
            | Failure::Handshake
            | Failure::Refused
            | Failure::Unreachable
            | Failure::NoSocket => has_failed && !has_way && !is_racing && query.on.is_none(),
        };
        assert!(is_right, "{token:?} fails: {failure:?}");
    }
}
