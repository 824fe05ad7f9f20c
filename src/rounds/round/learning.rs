//! Facts that a response shows about its upstream: that it is up, its round-trip time, and the features
//! that it supports.

use crate::action::Action;
use crate::attempt::{Attempt, ResponseTime};
use crate::ids::{AttemptId, UpstreamId};
use crate::response::{cookie_of, full_rcode, is_error};
use crate::round::{End, Round};
use crate::shared::Shared;
use hither_wire::message::Message;

impl Round {
    /// Learns from an accepted message which features its upstream supports.
    pub fn learn(&self, shared: &mut Shared, id: AttemptId, message: &Message<'_>) {
        let now = shared.now;
        let attempt = &self.attempts[id];
        if attempt.is_encrypted() {
            // Its queries always have the same features.
            return;
        }
        let Some(upstream) = shared.upstream(attempt.upstream) else { return };
        if message.edns().is_some() {
            let own = attempt.without_cookie && cookie_of(message).is_none();
            if own && upstream.note_dropped_query() {
                upstream.cookie.note_dropped(now);
            }
            upstream.note_edns();
            if attempt.edns && !attempt.without_cookie && !is_error(full_rcode(message)) {
                upstream.note_answer_to_full_query(attempt.is_mixed());
            }
        }
        if attempt.relettered && message.asks_exactly(attempt.asked()) {
            upstream.note_dropped_mixed_case(now, attempt.target.name());
        }
        if attempt.cookie {
            upstream.cookie.learn(cookie_of(message));
        }
        if attempt.is_mixed() && message.asked().is_some() && !message.asks_exactly(attempt.asked()) {
            upstream.note_folded_case(now);
        }
    }

    /// Learns from an answer to a query that left out some features.
    pub fn learn_from_plain_retry(&self, shared: &mut Shared, attempt: &Attempt, message: &Message<'_>) {
        let now = shared.now;
        let Some(upstream) = shared.upstream(attempt.upstream) else { return };
        let note = if let Some(suspected) = attempt.mode.plain {
            if suspected.letters {
                upstream.note_dropped_mixed_case(now, attempt.target.name());
            }
            upstream.note_plain_answer(now, suspected)
        } else {
            let lacks = attempt.mode.without_edns
                && upstream.edns(now)
                && !(attempt.dropped_edns && (message.edns().is_some() || !upstream.note_dropped_query()))
                && (!attempt.mode.last || upstream.note_read_without_edns());
            lacks.then(|| upstream.note_no_edns(now))
        };
        shared.actions.extend(note.map(Action::Note));
    }

    /// Notes that the query of an attempt is sent only now, since it waited for a connection. The time
    /// that connecting took is no part of the round-trip time.
    pub fn on_transmitted(&mut self, shared: &mut Shared, id: AttemptId) -> Option<End> {
        let now = shared.now;
        let attempt = self.attempts.get_mut(id).filter(|attempt| attempt.is_encrypted())?;
        let began = std::mem::replace(&mut attempt.sent, now);
        if let Some(upstream) = shared.upstream(attempt.upstream) {
            upstream.note_transmitted(now, began);
        }
        if let Some(trace) = self.trace.attempts.get_mut(attempt.trace) {
            trace.transmitted = Some(now);
        }
        None
    }

    pub fn note_response(&self, shared: &mut Shared, id: UpstreamId, time: ResponseTime, useful: bool) {
        let now = shared.now;
        let Some(upstream) = shared.upstream(id) else { return };
        let was_down = upstream.is_down(now);
        upstream.counts.times.note(time.waited.into());
        let note = upstream.note_response(time.rtt, useful);
        shared.actions.extend(note.map(Action::Note));
        if was_down {
            // Questions that failed while the upstream was down may have an answer now.
            shared.answers.forget_failures();
        }
    }
}
