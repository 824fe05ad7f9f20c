//! What somebody else may have sent: after the first sign of guessing a question goes to TCP, which cannot be guessed, and what comes
//! by UDP waits for it (RFC 5452 section 9; BIND and pdns-recursor do so too). What cannot be read goes the same way, then without EDNS;
//! then its upstream has said what it has to say.

use crate::attempt::{Attempt, Kept, Way};
use crate::hear::When;
use crate::mutant::Mutant;
use crate::reply::ede;
use crate::response::Doubt;
use crate::round::{Phase, Round};
use crate::settings::{CONFIRM_WITHIN, DOUBTS_MAX};
use crate::shared::Shared;
use crate::{AttemptId, UpstreamId};
use hither_table::{Counter, Monotonic};
use hither_wire::message::Message;

impl Round {
    /// A message that does not count, or not yet, arrived for attempt `at`.
    pub fn doubt(&mut self, shared: &mut Shared, now: Monotonic, at: usize, (doubt, octets): (Doubt, &[u8])) {
        if now >= self.deadline
            || (doubt == Doubt::Unreadable && shared.mutants.has(Mutant::UnreadableIsJunk))
        {
            return;
        }
        let attempt = &mut self.attempts[at];
        if !attempt.is_udp() {
            // Nobody else can have sent it.
            return self.unreadable_over_tcp(shared, now, at);
        }
        let (id, way) = (attempt.id, attempt.way);
        attempt.doubt.count = attempt.doubt.count.saturating_add(1);
        if doubt == Doubt::Unreadable && !std::mem::replace(&mut attempt.doubt.unreadable, true) {
            let rtt = attempt.rtt(now);
            self.alive(shared, now, way.upstream, (rtt, false));
            if way.last {
                return self.unreadable(shared, now, at);
            }
        }
        let attempt = &mut self.attempts[at];
        attempt.doubt.other |= doubt == Doubt::Other;
        if attempt.doubt.count == 1 && !shared.mutants.has(Mutant::ForgeryIsOnlyCounted) {
            if doubt != Doubt::Unreadable {
                shared.count(Counter::ForgeriesSuspected);
            }
            let target = attempt.target.clone();
            if self.send(shared, now, &target, way.over_tcp()) {
                self.confirms(Some(id));
                let (attempt, until) = (&mut self.attempts[at], now.plus(CONFIRM_WITHIN));
                attempt.doubt.until = Some(until);
                attempt.denied.iter_mut().for_each(|denied| denied.until = until.min(self.deadline));
            }
        }
        let attempt = &mut self.attempts[at];
        if matches!(doubt, Doubt::Unasked | Doubt::Letters | Doubt::Cookie) {
            attempt.doubt.keep(now, octets, Some(doubt));
        }
        if attempt.doubt.until.is_none() {
            self.unconfirmed(shared, now, id);
        }
    }

    /// The attempt that was sent last is to confirm `doubted`.
    pub fn confirms(&mut self, doubted: Option<AttemptId>) {
        if let Some(tcp) = self.attempts.last_mut() {
            tcp.doubt.confirms = doubted;
        }
    }

    /// What cannot be read came over TCP: once more without EDNS, which is what many servers stumble over.
    pub fn unreadable_over_tcp(&mut self, shared: &mut Shared, now: Monotonic, at: usize) {
        let mut attempt = self.close(shared, now, at, "unusable");
        self.alive(shared, now, attempt.upstream, (None, false));
        let bare = Way { last: true, ..attempt.way.bare() };
        if attempt.edns && self.follow(shared, now, &mut attempt, bare) {
            return self.confirms(attempt.doubt.confirms);
        }
        let doubted = |a: &Attempt| Some(a.id) == attempt.doubt.confirms;
        let Some(at) = self.attempts.iter().position(doubted) else {
            return self.came_to_nothing(shared, now, &mut attempt);
        };
        let (id, doubt) = (self.attempts[at].id, &self.attempts[at].doubt);
        match &doubt.kept {
            // That was all, by UDP and over TCP.
            None if doubt.unreadable => {
                let mut attempt = self.close(shared, now, at, "unusable");
                self.came_to_nothing(shared, now, &mut attempt);
            }
            None if doubt.other => self.unreadable(shared, now, at),
            _ => self.unconfirmed(shared, now, id),
        }
    }

    /// What cannot be read came by UDP, and TCP came to nothing: once more without EDNS, and that was all.
    fn unreadable(&mut self, shared: &mut Shared, now: Monotonic, at: usize) {
        let mut attempt = self.close(shared, now, at, "unusable");
        let bare = Way { last: true, ..attempt.way.bare().by_udp() };
        if attempt.way.last || !attempt.edns || !self.follow(shared, now, &mut attempt, bare) {
            self.came_to_nothing(shared, now, &mut attempt);
        }
    }

    fn came_to_nothing(&mut self, shared: &mut Shared, now: Monotonic, attempt: &mut Attempt) {
        self.ede = ede::NETWORK_ERROR;
        self.in_vain(shared, now, attempt);
    }

    /// Whether a good answer by UDP has to wait for the connection that was opened to confirm it.
    pub fn waits_for_tcp(&self, shared: &Shared, at: usize) -> bool {
        self.attempts[at].doubt.until.is_some() && !shared.mutants.has(Mutant::DoubtIsForgotten)
    }

    /// Attempt `at` has an answer that counts: if it came by TCP for a doubted attempt, that one is over. Returns the new place of `at`.
    pub fn confirmed(&mut self, shared: &mut Shared, now: Monotonic, at: usize) -> usize {
        let id = self.attempts[at].id;
        if let Some(doubted) = self.attempts[at].doubt.confirms
            && let Some(other) = self.attempts.iter().position(|a| a.id == doubted)
        {
            let doubted = self.close(shared, now, other, "doubted");
            let strange = doubted.doubt.kept.as_ref().and_then(|kept| kept.strange);
            self.learn_strange(shared, now, (doubted.upstream, strange));
            let at = self.attempts.iter().position(|a| a.id == id).unwrap_or(at);
            self.attempts[at].denied = doubted.denied;
        }
        self.attempts.iter().position(|a| a.id == id).unwrap_or(at)
    }

    /// An error came by TCP for attempt `at`, which is to confirm what has answered by UDP. Whether that answer counts then, and this one is
    /// over: the error is for the way it was asked, and shows nothing of the upstream's other ways.
    pub fn confirms_in_vain(&mut self, shared: &mut Shared, now: Monotonic, at: usize) -> bool {
        let Some(id) = self.attempts[at].doubt.confirms else { return false };
        let kept = self.attempts.iter_mut().find(|a| a.id == id).and_then(|a| a.doubt.kept.as_mut());
        let Some(kept) = kept.filter(|kept| kept.answers()) else { return false };
        if shared.mutants.has(Mutant::ErrorOverTcpOutweighsAnAnswer) {
            return false;
        }
        kept.strange = None;
        let tcp = self.close(shared, now, at, "not confirmed");
        self.alive(shared, now, tcp.upstream, (None, false));
        self.unconfirmed(shared, now, id);
        true
    }

    /// An answer whose cookie or letters were not ours is believed, or TCP has said what is true: that is how the upstream is.
    fn learn_strange(
        &self,
        shared: &mut Shared,
        now: Monotonic,
        (upstream, strange): (UpstreamId, Option<Doubt>),
    ) {
        let Some(upstream) = shared.upstream(upstream) else { return };
        match strange {
            Some(Doubt::Cookie) => upstream.cookie.was_strange(now),
            Some(Doubt::Letters) => upstream.was_in_strange_letters(now),
            Some(_) | None => {}
        }
    }

    /// TCP came to nothing: the doubted attempt counts again, with what it has heard meanwhile, unless it heard too much.
    pub fn unconfirmed(&mut self, shared: &mut Shared, now: Monotonic, doubted: AttemptId) {
        let Some(at) = self.attempts.iter().position(|a| a.id == doubted) else { return };
        let attempt = &mut self.attempts[at];
        attempt.doubt.until = None;
        if attempt.doubt.count > DOUBTS_MAX {
            let mut attempt = self.close(shared, now, at, "forged");
            return self.in_vain(shared, now, &mut attempt);
        }
        // When the round or its set has had its time too, or the host has slept since, nothing counts any more.
        let over = matches!(&self.phase, Phase::Completing { set } if now.as_ms() >= set.expire_ms);
        let fresh = |came: Monotonic| !over && now < self.deadline && now.since(came) < 2 * CONFIRM_WITHIN;
        if let Some(Kept { came, octets, strange }) =
            attempt.doubt.kept.take().filter(|kept| fresh(kept.came))
        {
            let upstream = attempt.upstream;
            // As of then: its TTLs have run since.
            if let Ok(message) = Message::open(&octets) {
                self.learn_strange(shared, now, (upstream, strange));
                self.hear(shared, When { now, came }, at, &message);
            }
        } else if self.attempts[at].doubt.unreadable {
            self.unreadable(shared, now, at);
        }
    }

    /// TCP has had its time.
    pub fn stop_waiting_for_tcp(&mut self, shared: &mut Shared, now: Monotonic) {
        let due = |a: &&Attempt| a.doubt.until.is_some_and(|at| now >= at);
        // Who was asked first counts first.
        while let Some(id) = self.attempts.iter().filter(due).map(|a| a.id).min() {
            if let Some(tcp) = self.attempts.iter().position(|a| a.doubt.confirms == Some(id)) {
                self.close(shared, now, tcp, "not confirmed");
            }
            self.unconfirmed(shared, now, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::OPTION_MAX;
    use crate::{Action, ClientId, Failure, Input, Question, Rounds, Routes, Settings, Transport};
    use hither_table::{Geometry, Memory, Writer};
    use hither_wire::codes::{Rcode, Rtype};
    use hither_wire::compose::{Composer, Owner, flags};
    use hither_wire::message::Section;
    use hither_wire::query::Query;

    fn message(query: &[u8], rcode: Rcode) -> Vec<u8> {
        let read = Query::read(query).expect("a query of ours");
        let mut out = vec![0; 512];
        let mut composer = Composer::new(&mut out, 512).expect("room");
        composer.set_header(read.id(), flags::QR | flags::RD | flags::RA | u16::from(rcode.0));
        assert!(composer.question_octets(read.question()));
        if rcode == Rcode::NOERROR {
            assert!(composer.record(Section::Answer, Owner::At(12), Rtype::TXT, 60, b"\x04here"));
        }
        // A cookie of somebody else's.
        composer.opt(1232, 0, false, &[0, 10, 0, 16, 9, 9, 9, 9, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8]);
        let len = composer.finish();
        out.truncate(len);
        out
    }

    /// What becomes of five names whose answers by UDP have a cookie that is not ours: how many are answered with data, and
    /// over how many connections. Each of those ends with a failure, or brings an error.
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
            while let Some(action) = rounds.poll_action() {
                match action {
                    Action::Send { attempt, transport: Transport::Udp, octets, .. } => {
                        let octets = message(&octets, Rcode::NOERROR);
                        rounds.handle(now, Input::Message { attempt, octets: &octets });
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
                    }
                    Action::Reply { answer, .. } => {
                        answered += usize::from(!matches!(answer, crate::Answer::Failure { .. }));
                    }
                    Action::Resend { .. }
                    | Action::Close { .. }
                    | Action::Note(_)
                    | Action::OrderResult { .. } => {}
                }
            }
        }
        (answered, connections)
    }

    #[test]
    fn strange_cookies_count_where_there_is_no_tcp_and_are_its_way_after_two() {
        assert_eq!(five(Some(Failure::Refused)), (5, 2));
        assert_eq!(five(Some(Failure::Closed)), (5, 4), "each is tried twice");
    }

    #[test]
    fn an_error_over_tcp_teaches_nothing_of_cookies() {
        assert_eq!(five(None), (5, 5));
    }
}
