//! What a round does with what its attempts bring: messages and failures.

use crate::attempt::Attempt;
use crate::held::{Bare, Weak, all_sinkholes};
use crate::mutant::Mutant;
use crate::reply::ede;
use crate::response::{Doubt, Expected, Heard, check, cookie_of, read};
use crate::round::{End, Phase, Round};
use crate::set::Contribution;
use crate::settings::LINKS_MAX;
use crate::shared::Shared;
use crate::{Action, AttemptId, Failure, Transport};
use hither_answers::Stored;
use hither_table::{Counter, Link, Monotonic, Negative};
use hither_wire::{codes::Rcode, header::HEADER_LEN, message::Message};
use std::sync::Arc;

impl Round {
    /// A message arrived on an attempt's socket.
    pub fn on_message(
        &mut self,
        shared: &mut Shared,
        now: Monotonic,
        id: AttemptId,
        octets: &[u8],
    ) -> Option<End> {
        let at = self.attempts.iter().position(|a| a.id == id)?;
        match self.checked(shared, at, octets) {
            Err(doubt) => {
                shared.count(Counter::MismatchedResponsesDropped);
                self.doubt(shared, now, at, (doubt, octets));
            }
            Ok(_) if self.waits_for_tcp(shared, at) => {
                self.attempts[at].doubt.kept.get_or_insert_with(|| (now, octets.to_vec()));
                return None;
            }
            Ok(message) => self.hear(shared, now, at, &message),
        }
        self.conclude(shared, now)
    }

    /// The message, if it answers the attempt; anybody may have sent it to one by UDP.
    fn checked<'m>(&self, shared: &Shared, at: usize, octets: &'m [u8]) -> Result<Message<'m>, Doubt> {
        let message = Message::read(octets).map_err(|_| Doubt::None)?;
        let attempt = &self.attempts[at];
        let strict = attempt.transport == Transport::Udp;
        let upstream = shared.upstreams.get(usize::from(attempt.upstream.0));
        let expected = Expected {
            exact: strict && attempt.is_mixed(),
            cookie: upstream.filter(|_| strict && attempt.cookie).map(|upstream| &upstream.cookie),
            ..self.expected(shared, attempt)
        };
        check(&message, &expected)?;
        Ok(message)
    }

    fn expected<'a>(&self, shared: &Shared, attempt: &'a Attempt) -> Expected<'a> {
        Expected {
            id: attempt.dns_id,
            name: attempt.target.name(),
            sent: attempt.asked(),
            exact: false,
            cookie: None,
            rtype: self.question.rtype,
            addresses: self.question.family().is_some(),
            mutants: shared.mutants,
        }
    }

    /// A message that counts.
    pub fn hear(&mut self, shared: &mut Shared, now: Monotonic, at: usize, message: &Message<'_>) {
        self.learn(shared, now, at, message);
        let mut plain = std::mem::take(&mut shared.plain);
        let message = unmixed(message, &self.attempts[at], &mut plain);
        let memory = std::mem::take(&mut self.room.heard);
        let heard = read(&message, &self.expected(shared, &self.attempts[at]), now, memory);
        self.act_on(shared, now, at, (heard, &message));
        shared.plain = plain;
    }

    fn act_on(
        &mut self,
        shared: &mut Shared,
        now: Monotonic,
        at: usize,
        (heard, message): (Heard, &Message<'_>),
    ) {
        let at = self.confirmed(shared, now, at);
        match &heard {
            Heard::Truncated if self.attempts[at].transport == Transport::Udp => {
                self.over_tcp(shared, now, at, "truncated")
            }
            Heard::Failed(Rcode::BADCOOKIE) if self.attempts[at].transport == Transport::Udp => {
                self.over_tcp(shared, now, at, "badcookie")
            }
            Heard::Truncated => self.unusable(shared, now, at, Rcode::SERVFAIL),
            Heard::Failed(rcode) => self.unusable(shared, now, at, *rcode),
            Heard::Addresses { .. } | Heard::Negative { .. } | Heard::Bare { .. } | Heard::Whole { .. } => {
                self.useful(shared, now, at, heard, message);
            }
        }
    }

    /// What the message shows of its sender's ways.
    fn learn(&self, shared: &mut Shared, now: Monotonic, at: usize, message: &Message<'_>) {
        let attempt = &self.attempts[at];
        let Some(upstream) = shared.upstream(attempt.upstream) else { return };
        if message.edns().is_some() {
            upstream.edns_seen();
        }
        if attempt.cookie {
            upstream.cookie.learn(cookie_of(message));
        }
        if attempt.is_mixed() && !message.asks_exactly(attempt.asked()) {
            upstream.folds_case(now);
        }
    }

    fn over_tcp(&mut self, shared: &mut Shared, now: Monotonic, at: usize, why: &'static str) {
        let attempt = self.close(shared, now, at, why);
        self.alive(shared, now, attempt.upstream, (attempt.rtt(now), true));
        if !self.send(shared, now, &attempt.target, (attempt.upstream, Transport::Tcp, attempt.without_edns))
        {
            self.next_after_failure(shared, now);
        }
    }

    /// An error, by an upstream that is alive.
    fn unusable(&mut self, shared: &mut Shared, now: Monotonic, at: usize, rcode: Rcode) {
        let attempt = self.close(shared, now, at, rcode.to_string().to_ascii_lowercase());
        self.alive(shared, now, attempt.upstream, (attempt.rtt(now), false));
        self.ede = ede::NETWORK_ERROR;
        let no_edns = attempt.edns && matches!(rcode, Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS);
        if no_edns && self.send(shared, now, &attempt.target, (attempt.upstream, attempt.transport, true)) {
            return;
        }
        self.next_after_failure(shared, now);
    }

    fn useful(
        &mut self,
        shared: &mut Shared,
        now: Monotonic,
        at: usize,
        heard: Heard,
        message: &Message<'_>,
    ) {
        let attempt = self.close(shared, now, at, outcome(&heard));
        self.alive(shared, now, attempt.upstream, (attempt.rtt(now), true));
        if attempt.without_edns
            && let Some(upstream) = shared.upstream(attempt.upstream)
            && upstream.edns(now)
        {
            let note = upstream.cannot_edns(now);
            shared.actions.push_back(Action::Note(note));
        }
        let prefix = attempt.target.prefix();
        let bound_ms = attempt.target.expire_ms();
        let left_s = u32::try_from(bound_ms.saturating_sub(now.as_ms()) / 1000).unwrap_or(u32::MAX);
        match heard {
            Heard::Addresses { chain, addresses, ttl_s } => {
                let Some(chain) = join(prefix, chain) else { return self.next_after_failure(shared, now) };
                let contribution = Contribution { from: attempt.upstream, chain, addresses, ttl_s, bound_ms };
                if all_sinkholes(&contribution) && matches!(self.phase, Phase::Racing { .. }) {
                    self.traced(attempt.trace, contribution.addresses.clone());
                    self.hold(shared, now, Weak::Sinkhole(contribution));
                } else {
                    self.contribute(shared, now, &contribution);
                    self.traced(attempt.trace, contribution.addresses);
                }
            }
            Heard::Negative { kind, chain, soa, ttl_s } => {
                if shared.mutants.has(Mutant::NegativeBeatsPositive)
                    && matches!(self.phase, Phase::Completing { .. })
                {
                    self.phase = Phase::Racing { held: None, bare: None };
                }
                let Some(chain) = join(prefix, chain) else { return self.next_after_failure(shared, now) };
                self.hold(shared, now, Weak::Denial { kind, chain, soa, ttl_s: ttl_s.min(left_s) });
            }
            Heard::Bare { chain } => {
                let Some(links) = join(prefix, chain) else { return self.next_after_failure(shared, now) };
                let until = now.plus(shared.settings.negative_grace);
                let current = attempt.target.leg() == self.target.leg();
                if let Phase::Racing { bare: bare @ None, .. } = &mut self.phase
                    && current
                {
                    *bare = Some(Bare { until, from: attempt.upstream, links });
                }
            }
            Heard::Whole { ttl_s, negative, bare } => {
                self.whole_or_hold(shared, now, message, (ttl_s, negative, bare))
            }
            Heard::Truncated | Heard::Failed(_) => {}
        }
    }

    fn whole_or_hold(
        &mut self,
        shared: &mut Shared,
        now: Monotonic,
        message: &Message<'_>,
        (ttl_s, negative, bare): (u32, Option<Negative>, bool),
    ) {
        let bound =
            if negative.is_some() { shared.settings.max_negative_ttl } else { shared.settings.max_ttl };
        let bound_s = u32::try_from(bound.as_secs()).unwrap_or(u32::MAX);
        let least_s = u32::try_from(shared.settings.min_ttl.as_secs()).unwrap_or(u32::MAX).min(bound_s);
        let kept_s = if negative.is_some() { ttl_s.min(bound_s) } else { ttl_s.clamp(least_s, bound_s) };
        let stored = Stored::new(message, now, kept_s, bound_s);
        let Some(stored) = stored.map(Arc::new) else { return };
        if negative.is_some() || bare {
            self.hold(shared, now, Weak::Whole { negative, stored });
        } else if !matches!(self.phase, Phase::Completing { .. }) {
            self.whole(shared, now, stored);
        }
    }

    /// The attempt's socket failed.
    pub fn on_failure(
        &mut self,
        shared: &mut Shared,
        now: Monotonic,
        id: AttemptId,
        failure: Failure,
    ) -> Option<End> {
        let at = self.attempts.iter().position(|a| a.id == id)?;
        let outcome = match failure {
            Failure::Unreachable => "unreachable",
            Failure::Refused => "refused",
            Failure::Closed => "closed",
            Failure::NoSocket => "no socket",
        };
        let attempt = self.close(shared, now, at, outcome);
        if let Some(doubted) = attempt.doubt.confirms {
            // No TCP there: says nothing of the upstream's health.
            self.unconfirmed(shared, now, doubted);
            return self.conclude(shared, now);
        }
        if let Some(upstream) = shared.upstream(attempt.upstream) {
            if failure == Failure::NoSocket {
                upstream.trial_over();
            } else if let Some(note) = upstream.failed(now, attempt.sent) {
                shared.actions.push_back(Action::Note(note));
            }
        }
        self.next_after_failure(shared, now);
        self.conclude(shared, now)
    }

    /// An attempt came to nothing: while clients wait, the next upstream is asked at once.
    pub fn next_after_failure(&mut self, shared: &mut Shared, now: Monotonic) {
        if shared.mutants.has(Mutant::FailureStartsNobody) {
            return;
        }
        if matches!(self.phase, Phase::Racing { .. }) {
            if shared.mutants.has(Mutant::ServfailBeforeTheLastAttempt) {
                self.fail(shared, now);
            }
            self.ask_next(shared, now, 1);
        }
    }

    fn alive(
        &self,
        shared: &mut Shared,
        now: Monotonic,
        id: crate::UpstreamId,
        (rtt, useful): (Option<std::time::Duration>, bool),
    ) {
        let Some(upstream) = shared.upstream(id) else { return };
        let was_down = upstream.is_down(now);
        let note = upstream.answered(rtt, useful);
        shared.actions.extend(note.map(Action::Note));
        if was_down {
            // What failed for want of it is asked anew.
            shared.answers.forget_failures();
        }
    }

    fn traced(&mut self, trace: usize, addresses: Vec<std::net::IpAddr>) {
        if let Some(trace) = self.trace.attempts.get_mut(trace) {
            trace.addresses = addresses;
        }
    }
}

/// The message with its question as it was meant: names in it that point there would show the letters that were drawn against forgery.
fn unmixed<'m>(message: &Message<'m>, attempt: &Attempt, plain: &'m mut Vec<u8>) -> Message<'m> {
    let (meant, sent) = (attempt.target.name().as_wire(), attempt.asked());
    let place = HEADER_LEN..HEADER_LEN + meant.len();
    match message.octets().get(place.clone()) {
        Some(question) if question == meant => return *message,
        Some(question) if question == sent || question.eq_ignore_ascii_case(meant) => {}
        Some(_) | None => return *message,
    }
    plain.clear();
    plain.extend_from_slice(message.octets());
    if let Some(question) = plain.get_mut(place) {
        question.copy_from_slice(meant);
    }
    message.respelled(plain)
}

/// The CNAMEs that led to a target, and those that lead on from it; `None` when they are too many or lead back.
fn join(prefix: &[Link], chain: Vec<Link>) -> Option<Vec<Link>> {
    if prefix.is_empty() {
        return Some(chain);
    }
    let seen = |link: &Link| prefix.iter().any(|known| known.target.eq_ignore_case(&link.target));
    (prefix.len() + chain.len() <= LINKS_MAX && !chain.iter().any(seen))
        .then(|| prefix.iter().cloned().chain(chain).collect())
}

fn outcome(heard: &Heard) -> &'static str {
    match heard {
        Heard::Addresses { .. } => "answer",
        Heard::Negative { kind, .. } => kind.as_str(),
        Heard::Bare { .. } => "cname",
        Heard::Whole { negative: Some(kind), .. } => kind.as_str(),
        Heard::Whole { negative: None, .. } => "answer",
        Heard::Truncated | Heard::Failed(_) => "unusable",
    }
}
