//! Messages on the sockets of attempts: each is checked, read, and acted on.

use crate::attempt::Attempt;
use crate::ids::AttemptId;
use crate::response::{Doubt, Expected, Meaning, check, full_rcode, is_error, read};
use crate::round::{End, Round};
use crate::settings::Bounds;
use crate::shared::Shared;
use crate::trace::Refused;
use hither_table::{Counter, Monotonic};
use hither_wire::codes::{Class, Rcode};
use hither_wire::header::HEADER_LEN;
use hither_wire::message::{Message, Question};
use hither_wire::spell;

impl Round {
    /// Handles a message on an attempt's socket.
    pub fn on_message(&mut self, shared: &mut Shared, id: AttemptId, octets: &[u8]) -> Option<End> {
        let now = shared.now;
        self.attempts.get(id)?;
        self.has_sent_nothing = false;
        match self.check_message(shared, id, octets) {
            Err(doubt) => {
                shared.count(Counter::MismatchedResponsesDropped);
                self.trace_refusal(self.attempts[id].trace, refused(doubt), 1, now);
                self.on_doubtful_message(shared, id, doubt, octets);
            }
            Ok(_) if self.is_waiting_for_tcp(id) => {
                self.attempts[id].doubt.keep(now, octets, None);
                return None;
            }
            Ok(message) => self.on_accepted_message(shared, now, id, &message),
        }
        self.conclude(shared)
    }

    /// Notes in the trace of an attempt what was refused.
    pub fn trace_refusal(&mut self, trace: usize, why: Refused, count: u32, now: Monotonic) {
        if let Some(trace) = self.trace.attempts.get_mut(trace) {
            trace.refuse(why, count, now);
        }
    }

    /// Accepts the message if it responds to the attempt. Over UDP, any host may have sent it.
    pub fn check_message<'m>(
        &self,
        shared: &Shared,
        id: AttemptId,
        octets: &'m [u8],
    ) -> Result<Message<'m>, Doubt> {
        let now = shared.now;
        let attempt = &self.attempts[id];
        let udp = attempt.is_udp();
        let upstream = shared.upstreams.get(usize::from(attempt.upstream.0));
        let cookie = upstream.map(|u| &u.cookie).filter(|c| udp && attempt.cookie && c.must_match(now));
        let exact = udp && attempt.is_mixed();
        check(octets, &Expected { exact, cookie, ..self.expected(shared, attempt) })
    }

    pub fn expected<'a>(&self, shared: &Shared, attempt: &'a Attempt) -> Expected<'a> {
        Expected {
            id: attempt.dns_id,
            name: attempt.target.name(),
            sent: attempt.asked(),
            udp: attempt.is_udp(),
            exact: false,
            last: attempt.mode.last || (!attempt.is_udp() && !attempt.edns),
            cookie: None,
            rtype: self.question.rtype,
            addresses: self.question.family().is_some(),
            bounds: Bounds::of(&shared.settings),
            faults: shared.faults,
        }
    }

    /// Handles a message that has been accepted.
    pub fn on_accepted_message(
        &mut self,
        shared: &mut Shared,
        received_at: Monotonic,
        id: AttemptId,
        message: &Message<'_>,
    ) {
        self.learn(shared, id, message);
        let (mut plain, mut asked) = (std::mem::take(&mut shared.plain), Vec::new());
        let message = self.questioned(message, &self.attempts[id], &mut asked);
        let message = unmixed(&message, &self.attempts[id], &mut plain);
        let memory = std::mem::take(&mut self.lists.response_addresses);
        let meaning = read(&message, &self.expected(shared, &self.attempts[id]), received_at, memory);
        self.act_on_meaning(shared, received_at, id, meaning, &message);
        shared.plain = plain;
    }

    /// The message with the attempt's question added, if it is an answer without a question.
    fn questioned<'m>(
        &self,
        message: &Message<'m>,
        attempt: &Attempt,
        memory: &'m mut Vec<u8>,
    ) -> Message<'m> {
        if message.asked().is_some() || message.header().tc() || is_error(full_rcode(message)) {
            return *message;
        }
        let question =
            Question { name: *attempt.target.name(), rtype: self.question.rtype, class: Class::IN };
        memory.resize(usize::from(u16::MAX), 0);
        let len = spell::add_question(message, &question, memory).unwrap_or(0);
        Message::open(memory.get(..len).unwrap_or_default()).unwrap_or(*message)
    }

    pub fn act_on_meaning(
        &mut self,
        shared: &mut Shared,
        received_at: Monotonic,
        id: AttemptId,
        meaning: Meaning,
        message: &Message<'_>,
    ) {
        let failed = matches!(meaning, Meaning::Failed(_));
        if failed && self.fall_back_to_udp_answer(shared, id) {
            return;
        }
        self.end_doubted_attempt(shared, id);
        if self.retry_in_lower_case(shared, received_at, id, &meaning, message) {
            return;
        }
        match &meaning {
            Meaning::Truncated if !self.attempts[id].is_udp() => self.on_unreadable_over_tcp(shared, id),
            Meaning::Truncated if !self.attempts[id].mode.last => self.over_tcp(shared, received_at, id),
            Meaning::Failed(Rcode::BADCOOKIE) if self.attempts[id].is_udp() => {
                self.with_new_cookie(shared, received_at, id, message)
            }
            Meaning::Truncated => self.on_error(shared, received_at, id, Rcode::SERVFAIL),
            Meaning::Failed(rcode) => {
                self.note_plain_retry(id, full_rcode(message));
                self.on_error(shared, received_at, id, *rcode);
            }
            Meaning::Addresses { .. }
            | Meaning::Negative { .. }
            | Meaning::Dangling { .. }
            | Meaning::Complete { .. }
            | Meaning::CompleteDenial { .. } => self.on_answer(shared, received_at, id, meaning, message),
        }
    }
}

/// Why a message is refused that is not the expected response.
fn refused(doubt: Doubt) -> Refused {
    match doubt {
        Doubt::Forged => Refused::OtherId,
        Doubt::Other => Refused::OtherQuestion,
        Doubt::Unreadable => Refused::Unreadable,
        Doubt::Letters => Refused::LetterCase,
        Doubt::Unasked => Refused::NoQuestion,
        Doubt::Cookie => Refused::Cookie,
    }
}

/// The message in the question's own letter case. Otherwise clients would see the random case in the
/// question, in names that point to it, and in names that repeat it.
fn unmixed<'m>(message: &Message<'m>, attempt: &Attempt, plain: &'m mut Vec<u8>) -> Message<'m> {
    let (meant, mut sent) = (attempt.target.name().as_wire(), attempt.asked());
    match message.octets().get(HEADER_LEN..HEADER_LEN + meant.len()) {
        Some(question) if question == meant && sent == meant => return *message,
        // The retransmission was in the name's own letter case, but the response is to an earlier
        // datagram.
        Some(question) if sent == meant && question.eq_ignore_ascii_case(meant) => sent = question,
        Some(question) if question.eq_ignore_ascii_case(meant) => {}
        Some(_) | None => return *message,
    }
    plain.clear();
    plain.extend_from_slice(message.octets());
    spell::restore_letter_case(message, plain, sent, meant);
    message.respelled(plain)
}
