//! Failed attempts: the question is sent in another way, or to the next upstream.

use crate::action::Action;
use crate::attempt::{Attempt, QueryMode};
use crate::ids::AttemptId;
use crate::input::Failure;
use crate::reply::ede;
use crate::response::Doubt;
use crate::round::{End, Phase, Round};
use crate::settings::CONFIRM_WAIT_MAX;
use crate::shared::Shared;
use crate::upstream::Upstream;
use hither_table::{Monotonic, UpstreamFailure};
use hither_wire::codes::Rcode;
use hither_wire::message::Message;

impl Round {
    /// Handles a socket failure of an attempt.
    pub fn on_failure(&mut self, shared: &mut Shared, id: AttemptId, failure: Failure) -> Option<End> {
        let now = shared.now;
        self.attempts.get(id)?;
        let outcome = match failure {
            Failure::Unreachable => "unreachable",
            Failure::Refused => "refused",
            Failure::Closed => "closed",
            Failure::NoSocket => "no socket",
            Failure::Handshake => "no handshake",
            Failure::Backoff => "not connected",
        };
        self.has_sent_nothing &= matches!(failure, Failure::NoSocket | Failure::Backoff);
        let mut attempt = self.close(shared, id, outcome);
        shared.count_failure(attempt.upstream, kind(failure));
        let is_closed = failure == Failure::Closed && !attempt.is_encrypted();
        // A server may close a connection that it has just accepted, so another is tried at once. The
        // shell does that itself for encrypted connections.
        let once_more = QueryMode { again: true, ..attempt.mode };
        if is_closed && !attempt.mode.again && self.retry(shared, &mut attempt, once_more) {
            self.mark_confirming(attempt.doubt.confirms);
            return self.conclude(shared);
        }
        if let Some(doubted) = attempt.doubt.confirms {
            // The upstream has no TCP. This is no failure of the upstream.
            self.end_confirmation(shared, doubted);
            return self.conclude(shared);
        }
        // Some servers close every connection on which they receive EDNS.
        let plain_dns = QueryMode { again: true, last: true, ..attempt.mode.plain_dns() };
        if is_closed && attempt.edns && self.retry(shared, &mut attempt, plain_dns) {
            return self.conclude(shared);
        }
        match failure {
            Failure::NoSocket => shared.upstream(attempt.upstream).into_iter().for_each(Upstream::end_trial),
            Failure::Backoff => {
                let upstream = shared.upstream(attempt.upstream);
                upstream.into_iter().for_each(|upstream| upstream.note_unsent(now, attempt.sent));
            }
            Failure::Unreachable | Failure::Refused | Failure::Closed | Failure::Handshake => {
                self.note_failure(shared, &attempt);
            }
        }
        // A response that was truncated over UDP and is unavailable over TCP may be short enough
        // without EDNS.
        let alone = self.attempts.is_empty() && self.unasked.is_empty();
        let plain = QueryMode { last: true, ..attempt.mode.plain_dns().by_own_transport() };
        let again = attempt.edns || attempt.mode.again;
        let cut =
            !attempt.is_by_own_transport() && again && alone && matches!(self.phase, Phase::Racing { .. });
        if !(cut && self.retry(shared, &mut attempt, plain)) {
            self.ask_instead(shared, &mut attempt);
        }
        self.conclude(shared)
    }

    /// Notes that an attempt has failed, if it shows that the upstream cannot be reached.
    pub fn note_failure(&self, shared: &mut Shared, attempt: &Attempt) {
        let now = shared.now;
        if attempt.is_by_own_transport()
            && let Some(upstream) = shared.upstream(attempt.upstream)
            && let Some(note) = upstream.note_failure(now, attempt.sent)
        {
            shared.actions.push_back(Action::Note(note));
        }
    }

    /// Handles a response with an error, which shows that the upstream is up.
    pub fn on_error(&mut self, shared: &mut Shared, received_at: Monotonic, id: AttemptId, rcode: Rcode) {
        let mut attempt = self.close(shared, id, rcode.to_string().to_ascii_lowercase());
        self.note_response(shared, attempt.upstream, attempt.response_time(received_at), false);
        shared.count_failure(
            attempt.upstream,
            match rcode {
                Rcode::SERVFAIL => UpstreamFailure::Servfail,
                Rcode::REFUSED => UpstreamFailure::Refused,
                _ => UpstreamFailure::OtherRcode,
            },
        );
        self.ede = ede::NETWORK_ERROR;
        self.heard.has_servfail |= rcode == Rcode::SERVFAIL;
        let wants_none = matches!(rcode, Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS | Rcode::BADCOOKIE);
        let no_edns = attempt.edns && wants_none;
        let plain_dns = attempt.mode.plain_dns();
        if !(no_edns && self.retry(shared, &mut attempt, plain_dns)) {
            self.ask_instead(shared, &mut attempt);
        }
    }

    /// Notes how to repeat attempt `id`, since its error may be due to features of the query.
    pub fn note_plain_retry(&mut self, id: AttemptId, rcode: Rcode) {
        let attempt = &self.attempts[id];
        if attempt.target.leg() == self.target.leg()
            && matches!(rcode, Rcode::SERVFAIL | Rcode::REFUSED | Rcode::FORMERR | Rcode::NOTIMP)
        {
            self.plain.retain(|mode| mode.upstream != attempt.upstream);
            self.plain.extend(attempt.plainly());
        }
    }

    pub fn over_tcp(&mut self, shared: &mut Shared, received_at: Monotonic, id: AttemptId) {
        let mut attempt = self.close(shared, id, "truncated");
        self.note_response(shared, attempt.upstream, attempt.response_time(received_at), true);
        let mode = attempt.mode.over_tcp();
        if !self.retry(shared, &mut attempt, mode) {
            self.ask_instead(shared, &mut attempt);
        }
    }

    /// Handles BADCOOKIE: repeats the query once with the cookie in that response, then in ways that
    /// need no cookie (RFC 7873 section 5.3).
    pub fn with_new_cookie(
        &mut self,
        shared: &mut Shared,
        received_at: Monotonic,
        id: AttemptId,
        message: &Message<'_>,
    ) {
        if self.attempts[id].mode.again {
            return self.on_doubtful_message(shared, id, Doubt::Unreadable, message.octets());
        }
        let mut attempt = self.close(shared, id, "badcookie");
        self.note_response(shared, attempt.upstream, attempt.response_time(received_at), true);
        let mode = QueryMode { again: true, ..attempt.mode };
        if !self.retry(shared, &mut attempt, mode) {
            self.ask_instead(shared, &mut attempt);
        }
    }

    /// Queries the next upstream at once after a failed attempt, while the round has no answer.
    pub fn next_after_failure(&mut self, shared: &mut Shared) {
        if let Some(fault) = shared.faults.planted()
            && self.spoil_failure(shared, fault)
        {
            return;
        }
        if matches!(self.phase, Phase::Racing { .. }) {
            self.ask_next(shared, 1);
        }
    }

    /// Sends the question of an ended attempt once more in another way. If the attempt was to check a
    /// denial, the new attempt does.
    pub fn retry(&mut self, shared: &mut Shared, attempt: &mut Attempt, mode: QueryMode) -> bool {
        let now = shared.now;
        if !self.send(shared, &attempt.target, mode) {
            return false;
        }
        if let (Some(mut denied), Some(next)) = (attempt.denied.take(), self.attempts.last_mut()) {
            denied.until = now.plus(CONFIRM_WAIT_MAX).min(self.deadline);
            next.denied = Some(denied);
        }
        true
    }

    /// Continues after an attempt that ended without an answer: accepts the denial that it was to check,
    /// or else queries the next upstream.
    pub fn ask_instead(&mut self, shared: &mut Shared, attempt: &mut Attempt) {
        if !self.accept_denied(shared, attempt) {
            self.next_after_failure(shared);
        }
    }
}

fn kind(failure: Failure) -> UpstreamFailure {
    match failure {
        Failure::Unreachable => UpstreamFailure::Unreachable,
        Failure::Refused => UpstreamFailure::ConnectionRefused,
        Failure::Closed => UpstreamFailure::Closed,
        Failure::NoSocket => UpstreamFailure::NoSocket,
        Failure::Handshake => UpstreamFailure::Handshake,
        Failure::Backoff => UpstreamFailure::NotConnected,
    }
}
