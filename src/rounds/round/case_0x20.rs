//! Mixed letter case (0x20): after a denial of a name in mixed case, a query in lower case checks it.
//!
//! An answer to a query in mixed case shows too that the upstream ignores case. So most upstreams are
//! known without a further query.

use crate::attempt::{Attempt, Denied, QueryMode};
use crate::ids::AttemptId;
use crate::response::{Meaning, read};
use crate::round::answers::Answered;
use crate::round::{Phase, Round};
use crate::settings::CONFIRM_WAIT_MAX;
use crate::shared::Shared;
use crate::upstream::case_0x20::{ALIKE_AFTER, above, denied_domain};
use hither_table::{Monotonic, Negative};
use hither_wire::message::Message;

impl Round {
    /// Learns from the response to attempt `id` whether its upstream ignores letter case. `true`: the
    /// response denies a name in mixed case, and a query in lower case was sent to check it.
    pub fn retry_in_lower_case(
        &mut self,
        shared: &mut Shared,
        received_at: Monotonic,
        id: AttemptId,
        meaning: &Meaning,
        message: &Message<'_>,
    ) -> bool {
        let now = shared.now;
        let verdict = verdict(meaning);
        if self.attempts[id].denied.is_some() {
            self.learn_from_lower_case(shared, id, &verdict);
            return false;
        }
        let attempt = &self.attempts[id];
        if !attempt.is_mixed() {
            return false;
        }
        let (name, mode) = (attempt.target.name(), attempt.mode);
        let domain = above(name);
        let Some(upstream) = shared.upstream(mode.upstream) else { return false };
        let known = upstream.letters.ignores_case(now, domain);
        let kind = match verdict {
            Verdict::Denial(kind) if !known && matches!(self.phase, Phase::Racing { .. }) => kind,
            Verdict::Answer if !known => {
                upstream.letters.note_ignored_case(now, domain, ALIKE_AFTER);
                return false;
            }
            Verdict::Denial(_) | Verdict::Answer | Verdict::Neither => return false,
        };
        let domain = denied_domain(name, message);
        if upstream.letters.ignores_case(now, domain.as_wire()) {
            return false;
        }
        let until = now.plus(CONFIRM_WAIT_MAX).min(self.deadline);
        let denied = Denied { kind, domain, received_at, octets: message.octets().to_vec(), until };
        let target = attempt.target.clone();
        // The transport is the same: a response that was too long for UDP will be so again.
        if !self.send(shared, &target, QueryMode { lower: true, again: false, ..mode }) {
            return false;
        }
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.denied = Some(Box::new(denied));
        }
        let attempt = self.close(shared, id, kind.as_str());
        self.note_response(shared, attempt.upstream, attempt.response_time(received_at), true);
        true
    }

    /// Learns from the response to a query in lower case. Only an answer or a denial decides; after
    /// other responses, the denial in mixed case still waits.
    fn learn_from_lower_case(&mut self, shared: &mut Shared, id: AttemptId, verdict: &Verdict) {
        let now = shared.now;
        let attempt = &mut self.attempts[id];
        let (Some(upstream), false) =
            (shared.upstream(attempt.upstream), matches!(verdict, Verdict::Neither))
        else {
            return;
        };
        let Some(denied) = attempt.denied.take() else { return };
        match verdict {
            Verdict::Denial(kind) if *kind == denied.kind => {
                upstream.letters.note_ignored_case(now, denied.domain.as_wire(), 1)
            }
            Verdict::Answer | Verdict::Denial(_) | Verdict::Neither => {
                upstream.letters.note_distinguished_case(now, denied.domain)
            }
        }
    }

    /// Accepts denials that the query in lower case has not contradicted in time.
    pub fn accept_overdue_denials(&mut self, shared: &mut Shared) {
        let now = shared.now;
        let due = |a: &Attempt| a.denied.as_ref().is_some_and(|denied| now >= denied.until);
        while let Some(id) = self.attempts.iter().find(|a| due(a)).map(|a| a.id) {
            let mut attempt = self.close(shared, id, "not contradicted");
            // The upstream has responded to the query in mixed case.
            self.note_response(shared, attempt.upstream, attempt.untimed(now), true);
            self.ask_instead(shared, &mut attempt);
        }
    }

    /// Accepts the denial that an ended attempt was to check. `false`: there is none.
    pub fn accept_denied(&mut self, shared: &mut Shared, attempt: &mut Attempt) -> bool {
        let Some(denied) = attempt.denied.take() else { return false };
        let Ok(message) = Message::open(&denied.octets) else { return false };
        let received_at = denied.received_at;
        let meaning = read(&message, &self.expected(shared, attempt), received_at, Vec::new());
        self.apply_answer(shared, Answered { attempt, message: &message, received_at }, meaning)
    }
}

enum Verdict {
    Answer,
    Denial(Negative),
    Neither,
}

fn verdict(meaning: &Meaning) -> Verdict {
    match meaning {
        Meaning::Negative { kind, .. } | Meaning::CompleteDenial { kind, .. } => Verdict::Denial(*kind),
        Meaning::Addresses { .. } | Meaning::Dangling { .. } | Meaning::Complete { .. } => Verdict::Answer,
        Meaning::Truncated | Meaning::Failed(_) => Verdict::Neither,
    }
}
