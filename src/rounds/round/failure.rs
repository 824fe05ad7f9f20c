//! Failure: the end of a round without an answer. Clients get stale data or SERVFAIL, and the failure is
//! cached (RFC 9520).

use crate::ids::ClientId;
use crate::reply::Answer;
use crate::round::Round;
use crate::shared::Shared;
use hither_wire::codes::Rcode;

impl Round {
    /// Replies at the end of a round without an answer: every attempt failed, or the deadline is
    /// reached. Clients get stale data or SERVFAIL, and the failure is cached (RFC 9520). A failure
    /// before any query was sent is not cached: the next round may get a socket or a connection.
    pub fn fail(&mut self, shared: &mut Shared) {
        let now = shared.now;
        let is_ours = self.has_sent_nothing && self.attempts.is_empty();
        let ede = self.ede;
        let answer =
            shared.stale(&self.question).unwrap_or(Answer::Empty { rcode: Rcode::SERVFAIL, ede: Some(ede) });
        if !matches!(answer, Answer::Empty { .. }) {
            shared.counters.add(hither_table::Counter::StaleServed, self.clients.len() as u64);
        }
        let stay = matches!(answer, Answer::Empty { .. });
        let validating = if stay { self.take_validating_clients(shared) } else { Vec::new() };
        self.reply_to_all(shared, &answer);
        self.clients = validating;
        if is_ours {
            return;
        }
        // A question with stale data is not resolved again before the stale TTL is over (RFC 8767
        // section 5: not within 30 seconds).
        let pause = match answer {
            Answer::Empty { .. } => shared.settings.failure_ttl,
            _ => shared.settings.failure_ttl.max(shared.settings.stale_ttl),
        };
        shared.answers.remember_failure(&self.question.asked(), now.plus(pause));
        // If no upstream responds, the question without validation has failed too.
        if self.question.dnssec_ok && !self.heard.has_servfail {
            shared.answers.remember_failure(&self.question.unvalidated().asked(), now.plus(pause));
        }
    }

    /// Takes the validating clients out of the round if an upstream may have failed to validate the
    /// answer and time is left for another round. An upstream's failed validation is no answer for
    /// them.
    pub fn take_validating_clients(&mut self, shared: &Shared) -> Vec<ClientId> {
        let now = shared.now;
        if !self.heard.has_servfail || self.question.checking_disabled || now >= self.deadline {
            return Vec::new();
        }
        self.clients.extract_if(.., |client| shared.clients.is_validating(*client)).collect()
    }
}
