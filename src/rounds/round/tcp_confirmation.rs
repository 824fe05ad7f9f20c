//! TCP confirmation: after the first sign of forgery, the question is also sent over TCP, where another
//! host cannot forge a response. The UDP response waits for it (RFC 5452 section 9; BIND and
//! pdns-recursor do the same).
//!
//! After a response that cannot be read, the question is sent over TCP too, then once without EDNS. Then
//! the attempt has failed.

use crate::attempt::{Attempt, Kept, QueryMode};
use crate::ids::{AttemptId, UpstreamId};
use crate::reply::ede;
use crate::response::Doubt;
use crate::round::{Phase, Round};
use crate::settings::{CONFIRM_WAIT_MAX, DOUBTS_MAX};
use crate::shared::Shared;
use hither_table::{Counter, Monotonic, UpstreamFailure};
use hither_wire::message::Message;

impl Round {
    /// Handles a message for attempt `id` that is not accepted, or not yet.
    pub fn on_doubtful_message(&mut self, shared: &mut Shared, id: AttemptId, doubt: Doubt, octets: &[u8]) {
        let now = shared.now;
        if now >= self.deadline {
            return;
        }
        let attempt = &mut self.attempts[id];
        if attempt.is_encrypted() && doubt != Doubt::Unreadable {
            return self.on_foreign_response(shared, id);
        }
        if !attempt.is_udp() {
            // Over TCP, no other host can have sent the message.
            return self.on_unreadable_over_tcp(shared, id);
        }
        let mode = attempt.mode;
        attempt.doubt.count = attempt.doubt.count.saturating_add(1);
        if doubt == Doubt::Unreadable && !std::mem::replace(&mut attempt.doubt.unreadable, true) {
            let time = attempt.response_time(now);
            self.note_response(shared, mode.upstream, time, false);
            if mode.last {
                return self.retry_unreadable(shared, id);
            }
        }
        let attempt = &mut self.attempts[id];
        attempt.doubt.other |= doubt == Doubt::Other;
        if attempt.doubt.count == 1 {
            if doubt != Doubt::Unreadable {
                shared.count(Counter::ForgeriesSuspected);
            }
            let target = attempt.target.clone();
            if self.send(shared, &target, mode.over_tcp()) {
                self.mark_confirming(Some(id));
                let (attempt, until) = (&mut self.attempts[id], now.plus(CONFIRM_WAIT_MAX));
                attempt.doubt.until = Some(until);
                attempt.denied.iter_mut().for_each(|denied| denied.until = until.min(self.deadline));
            }
        }
        let attempt = &mut self.attempts[id];
        if matches!(doubt, Doubt::Unasked | Doubt::Letters | Doubt::Cookie) {
            attempt.doubt.keep(now, octets, Some(doubt));
        }
        if attempt.doubt.until.is_none() {
            self.end_confirmation(shared, id);
        }
    }

    /// Fails an attempt whose encrypted connection gave the response to another query. The server, or the
    /// connection, mixes queries up, so nothing of it is believed.
    fn on_foreign_response(&mut self, shared: &mut Shared, id: AttemptId) {
        let mut attempt = self.close(shared, id, "mismatched");
        self.note_failure(shared, &attempt);
        self.end_unreadable(shared, &mut attempt);
    }

    /// Marks the latest attempt as the one that confirms `doubted`.
    pub fn mark_confirming(&mut self, doubted: Option<AttemptId>) {
        if let Some(tcp) = self.attempts.last_mut() {
            tcp.doubt.confirms = doubted;
        }
    }

    /// Handles a response over a connection that cannot be read: repeats the query once without EDNS,
    /// which some servers do not support, unless the connection is encrypted.
    pub fn on_unreadable_over_tcp(&mut self, shared: &mut Shared, id: AttemptId) {
        let mut attempt = self.close(shared, id, "unusable");
        self.note_response(shared, attempt.upstream, attempt.untimed(shared.now), false);
        let plain_dns = QueryMode { last: true, ..attempt.mode.plain_dns() };
        if attempt.edns && self.retry(shared, &mut attempt, plain_dns) {
            return self.mark_confirming(attempt.doubt.confirms);
        }
        let doubted = attempt.doubt.confirms.and_then(|id| self.attempts.get(id));
        let Some(doubted) = doubted else {
            return self.end_unreadable(shared, &mut attempt);
        };
        let (id, doubt) = (doubted.id, &doubted.doubt);
        match &doubt.kept {
            // The response could be read neither over UDP nor over TCP.
            None if doubt.unreadable => {
                let mut attempt = self.close(shared, id, "unusable");
                self.end_unreadable(shared, &mut attempt);
            }
            None if doubt.other => self.retry_unreadable(shared, id),
            _ => self.end_confirmation(shared, id),
        }
    }

    /// Repeats a query without EDNS, for the last time: its UDP response cannot be read, and TCP failed.
    fn retry_unreadable(&mut self, shared: &mut Shared, id: AttemptId) {
        let mut attempt = self.close(shared, id, "unusable");
        let plain_dns = QueryMode { last: true, ..attempt.mode.plain_dns().by_own_transport() };
        if attempt.mode.last || !attempt.edns || !self.retry(shared, &mut attempt, plain_dns) {
            self.end_unreadable(shared, &mut attempt);
        }
    }

    fn end_unreadable(&mut self, shared: &mut Shared, attempt: &mut Attempt) {
        self.ede = ede::NETWORK_ERROR;
        shared.count_failure(attempt.upstream, UpstreamFailure::BadResponse);
        self.ask_instead(shared, attempt);
    }

    /// Whether a good UDP response has to wait for the TCP attempt.
    pub fn is_waiting_for_tcp(&self, id: AttemptId) -> bool {
        self.attempts[id].doubt.until.is_some()
    }

    /// Ends the doubted attempt that attempt `id`, which now has an answer, confirms over TCP.
    pub fn end_doubted_attempt(&mut self, shared: &mut Shared, id: AttemptId) {
        if let Some(doubted) = self.attempts[id].doubt.confirms
            && self.attempts.get(doubted).is_some()
        {
            let doubted = self.close(shared, doubted, "doubted");
            let strange = doubted.doubt.kept.as_ref().and_then(|kept| kept.strange);
            self.learn_strange_answer(shared, doubted.upstream, strange);
            self.attempts[id].denied = doubted.denied;
        }
    }

    /// Accepts the UDP answer if the TCP attempt `id` that was to confirm it has an error. `false`:
    /// there is no such answer. The error is due to the transport, and shows nothing else about the
    /// upstream.
    pub fn fall_back_to_udp_answer(&mut self, shared: &mut Shared, id: AttemptId) -> bool {
        let Some(doubted) = self.attempts[id].doubt.confirms else { return false };
        let kept = self.attempts.get_mut(doubted).and_then(|a| a.doubt.kept.as_mut());
        let Some(kept) = kept.filter(|kept| kept.answers()) else { return false };
        kept.strange = None;
        let tcp = self.close(shared, id, "not confirmed");
        self.note_response(shared, tcp.upstream, tcp.untimed(shared.now), false);
        self.end_confirmation(shared, doubted);
        true
    }

    /// Notes that an answer with a wrong cookie or letter case was the upstream's own.
    fn learn_strange_answer(&self, shared: &mut Shared, upstream: UpstreamId, strange: Option<Doubt>) {
        let now = shared.now;
        let Some(upstream) = shared.upstream(upstream) else { return };
        match strange {
            Some(Doubt::Cookie) => upstream.cookie.note_strange(now),
            Some(Doubt::Letters) => upstream.note_strange_case(now),
            Some(_) | None => {}
        }
    }

    /// Ends the wait for TCP without a confirmation: the kept datagram of the doubted attempt counts,
    /// unless there were too many doubtful datagrams.
    pub fn end_confirmation(&mut self, shared: &mut Shared, doubted: AttemptId) {
        let now = shared.now;
        let Some(attempt) = self.attempts.get_mut(doubted) else { return };
        attempt.doubt.until = None;
        if attempt.doubt.count > DOUBTS_MAX {
            let mut attempt = self.close(shared, doubted, "forged");
            shared.count_failure(attempt.upstream, UpstreamFailure::BadResponse);
            return self.ask_instead(shared, &mut attempt);
        }
        // The kept datagram does not count if the round or its set has ended, or if the host has slept
        // since.
        let over = matches!(&self.phase, Phase::Completing { set } if now.as_ms() >= set.expire_ms);
        let fresh = |received_at: Monotonic| {
            !over && now < self.deadline && now.since(received_at) < 2 * CONFIRM_WAIT_MAX
        };
        if let Some(Kept { received_at, octets, strange }) =
            attempt.doubt.kept.take().filter(|kept| fresh(kept.received_at))
        {
            let upstream = attempt.upstream;
            // The TTLs count from the time of receipt.
            if let Ok(message) = Message::open(&octets) {
                self.learn_strange_answer(shared, upstream, strange);
                self.on_accepted_message(shared, received_at, doubted, &message);
            }
        } else if self.attempts[doubted].doubt.unreadable {
            self.retry_unreadable(shared, doubted);
        }
    }

    /// Ends the waits for TCP that have reached [`CONFIRM_WAIT_MAX`].
    pub fn end_overdue_confirmations(&mut self, shared: &mut Shared) {
        let now = shared.now;
        let due = |a: &&Attempt| a.doubt.until.is_some_and(|at| now >= at);
        // The earliest attempt first.
        while let Some(id) = self.attempts.iter().filter(due).map(|a| a.id).min() {
            let tcp = self.attempts.iter().find(|a| a.doubt.confirms == Some(id)).map(|a| a.id);
            if let Some(tcp) = tcp {
                self.close(shared, tcp, "not confirmed");
            }
            self.end_confirmation(shared, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::cookie::OPTION_MAX;
    use crate::{Action, ClientId, Failure, Input, Question, Rounds, Routes, Settings, Transport};
    use hither_table::{Geometry, Memory, Writer};
    use hither_wire::codes::{Rcode, Rtype};
    use hither_wire::compose::{Composer, Owner, flags};
    use hither_wire::message::Section;
    use hither_wire::query::Query;
    use std::collections::VecDeque;

    fn message(query: &[u8], rcode: Rcode) -> Vec<u8> {
        let read = Query::read(query).expect("a query of ours");
        let mut out = vec![0; 512];
        let mut composer = Composer::new(&mut out, 512).expect("room");
        composer.set_header(read.id(), flags::QR | flags::RD | flags::RA | u16::from(rcode.0));
        assert!(composer.question_octets(read.question()));
        if rcode == Rcode::NOERROR {
            assert!(composer.record(Section::Answer, Owner::At(12), Rtype::TXT, 60, b"\x04here"));
        }
        // The cookie of another client.
        composer.opt(1232, 0, false, &[0, 10, 0, 16, 9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8]);
        let len = composer.finish();
        out.truncate(len);
        out
    }

    /// Sends five questions whose UDP answers have a wrong cookie. Returns the number of replies with
    /// data, and the number of TCP connections. Each connection ends in the failure `tcp`, or with an
    /// error response.
    fn five(tcp: Option<Failure>) -> (usize, usize) {
        let geometry = Geometry { entries: 64 };
        let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
        let upstream = std::net::SocketAddr::from(([192, 0, 2, 1], 53));
        let settings = Settings { mix_case: false, ..Settings::default() };
        let routes = Routes::from(&[upstream][..]);
        let mut rounds = Rounds::new(settings, routes, writer.expect("a table"), Box::new(|| 7));
        let cookie = &mut rounds.shared.upstreams[0].cookie;
        cookie.option(|| 7, &mut [0; OPTION_MAX]);
        cookie.learn(Some(&[0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8]));
        let (mut answered, mut connections) = (0, 0);
        for n in 0..5 {
            let now = Monotonic::from_ms(1_000 * (n + 1));
            let name = format!("n{n}.test").parse().expect("a name");
            let question = Question { name, rtype: Rtype::TXT, dnssec_ok: false, checking_disabled: false };
            rounds.handle(now, Input::Ask { client: ClientId(n), question: &question, recursion: true });
            let mut actions = VecDeque::from(rounds.drain());
            while let Some(action) = actions.pop_front() {
                match action {
                    Action::Send { attempt, transport: Transport::Udp, octets, .. } => {
                        let octets = message(&octets, Rcode::NOERROR);
                        rounds.handle(now, Input::Message { attempt, octets: &octets });
                        actions.extend(rounds.drain());
                    }
                    Action::Send { attempt, octets, .. } => {
                        connections += 1;
                        let octets = message(&octets, Rcode::REFUSED);
                        rounds.handle(
                            now,
                            match tcp {
                                Some(failure) => Input::Failed { attempt, failure },
                                None => Input::Message { attempt, octets: &octets },
                            },
                        );
                        actions.extend(rounds.drain());
                    }
                    Action::Reply { answer, .. } => {
                        answered += usize::from(!matches!(answer, crate::Answer::Empty { .. }));
                    }
                    Action::Resend { .. }
                    | Action::Close { .. }
                    | Action::Note(_)
                    | Action::AskSite { .. }
                    | Action::OrderResult { .. } => {}
                }
            }
        }
        (answered, connections)
    }

    #[test]
    fn without_tcp_a_response_with_a_strange_cookie_counts_and_two_end_the_comparison() {
        assert_eq!(five(Some(Failure::Refused)), (5, 2));
        assert_eq!(five(Some(Failure::Closed)), (5, 4), "each is tried twice");
    }

    #[test]
    fn an_error_over_tcp_does_not_end_the_comparison_of_cookies() {
        assert_eq!(five(None), (5, 5));
    }
}
