//! Failure: the end of a round without an answer. Clients get stale data or SERVFAIL, and the failure
//! cache remembers it (RFC 9520).

use crate::ids::ClientId;
use crate::reply::Answer;
use crate::round::Round;
use crate::shared::Shared;
use hither_wire::codes::Rcode;

impl Round {
    /// Ends without an answer: every attempt failed, or time is up. Clients get stale data or SERVFAIL,
    /// and the failure is remembered (RFC 9520), unless the host had no socket: the next query may get
    /// one.
    pub fn fail(&mut self, shared: &mut Shared) {
        let now = shared.now;
        let is_ours = self.has_no_socket && self.attempts.is_empty();
        let ede = self.ede;
        let answer = shared
            .stale(&self.question)
            .unwrap_or(Answer::Failure { rcode: Rcode::SERVFAIL, ede: Some(ede) });
        if !matches!(answer, Answer::Failure { .. }) {
            shared.counters.add(hither_table::Counter::StaleServed, self.clients.len() as u64);
        }
        let stay = matches!(answer, Answer::Failure { .. });
        let validating = if stay { self.take_validating_clients(shared) } else { Vec::new() };
        self.reply_to_all(shared, &answer);
        self.clients = validating;
        if is_ours {
            return;
        }
        // A question with stale data is not asked again before the stale TTL is over (RFC 8767 section
        // 5: not within 30 seconds).
        let pause = match answer {
            Answer::Failure { .. } => shared.settings.failure_ttl,
            _ => shared.settings.failure_ttl.max(shared.settings.stale_ttl),
        };
        shared.answers.fail(&self.question.asked(), now.plus(pause));
        // Silence of all upstreams concerns the question without validation too.
        if self.question.dnssec_ok && !self.has_servfail {
            shared.answers.fail(&self.question.unvalidated().asked(), now.plus(pause));
        }
    }

    /// The validating clients, for whom an upstream's failed validation is no answer, while time is
    /// left for another round.
    pub fn take_validating_clients(&mut self, shared: &Shared) -> Vec<ClientId> {
        let now = shared.now;
        if !self.has_servfail || self.question.checking_disabled || now >= self.deadline {
            return Vec::new();
        }
        self.clients.extract_if(.., |client| shared.clients.is_validating(*client)).collect()
    }
}
