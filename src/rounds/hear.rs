//! What a round does with what its attempts bring: messages and failures.

use crate::attempt::{Attempt, Target, Way};
use crate::held::{Bare, Weak, all_sinkholes};
use crate::mutant::Mutant;
use crate::rebinding::WITHHELD_S;
use crate::reply::ede;
use crate::response::{Doubt, Expected, Heard, check, cookie_of, full_rcode, is_error, read};
use crate::round::{End, Phase, Round};
use crate::set::Contribution;
use crate::settings::{Bounds, Deny, LINKS_MAX};
use crate::shared::Shared;
use crate::whole::Piece;
use crate::{Action, AttemptId, Failure, Note, UpstreamId};
use hither_table::{Counter, Link, Monotonic};
use hither_wire::message::{Message, Question};
use hither_wire::{codes::Class, codes::Rcode, header::HEADER_LEN, name::Name, spell};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// When a message counts, and when it came: a datagram that had to wait for its confirmation is as old as it is (I8).
#[derive(Clone, Copy)]
pub(crate) struct When {
    pub now: Monotonic,
    pub came: Monotonic,
}

impl When {
    /// It counts at once.
    pub fn at_once(now: Monotonic) -> When {
        When { now, came: now }
    }
}

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
        self.starved = false;
        match self.checked(shared, now, at, octets) {
            Err(doubt) => {
                shared.count(Counter::MismatchedResponsesDropped);
                self.doubt(shared, now, at, (doubt, octets));
            }
            Ok(_) if self.waits_for_tcp(shared, at) => {
                self.attempts[at].doubt.keep(now, octets, None);
                return None;
            }
            Ok(message) => self.hear(shared, When::at_once(now), at, &message),
        }
        self.conclude(shared, now)
    }

    /// The message, if it answers the attempt; anybody may have sent it to one by UDP.
    fn checked<'m>(
        &self,
        shared: &Shared,
        now: Monotonic,
        at: usize,
        octets: &'m [u8],
    ) -> Result<Message<'m>, Doubt> {
        let attempt = &self.attempts[at];
        let udp = attempt.is_udp();
        let upstream = shared.upstreams.get(usize::from(attempt.upstream.0));
        let cookie = upstream.map(|u| &u.cookie).filter(|c| udp && attempt.cookie && c.counts(now));
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
            last: attempt.way.last || (!attempt.is_udp() && !attempt.edns),
            cookie: None,
            rtype: self.question.rtype,
            addresses: self.question.family().is_some(),
            bounds: Bounds::of(&shared.settings),
            mutants: shared.mutants,
        }
    }

    /// A message that counts.
    pub fn hear(&mut self, shared: &mut Shared, when: When, at: usize, message: &Message<'_>) {
        self.learn(shared, when.now, at, message);
        let (mut plain, mut asked) = (std::mem::take(&mut shared.plain), Vec::new());
        let message = self.questioned(message, &self.attempts[at], &mut asked);
        let message = unmixed(&message, &self.attempts[at], &mut plain);
        let memory = std::mem::take(&mut self.room.heard);
        let heard = read(&message, &self.expected(shared, &self.attempts[at]), when.came, memory);
        self.act_on(shared, when, at, (heard, &message));
        shared.plain = plain;
    }

    /// The message with the question that it lacks.
    fn questioned<'m>(&self, message: &Message<'m>, attempt: &Attempt, room: &'m mut Vec<u8>) -> Message<'m> {
        if message.asked().is_some() || message.header().tc() || is_error(full_rcode(message)) {
            return *message;
        }
        let question =
            Question { name: *attempt.target.name(), rtype: self.question.rtype, class: Class::IN };
        room.resize(usize::from(u16::MAX), 0);
        let len = spell::put_question(message, &question, room).unwrap_or(0);
        Message::open(room.get(..len).unwrap_or_default()).unwrap_or(*message)
    }

    pub fn act_on(
        &mut self,
        shared: &mut Shared,
        when: When,
        at: usize,
        (heard, message): (Heard, &Message<'_>),
    ) {
        let now = when.now;
        let failed = matches!(heard, Heard::Failed(_));
        if failed && self.confirms_in_vain(shared, now, at) {
            return;
        }
        let at = self.confirmed(shared, now, at);
        if self.asks_in_lower(shared, when, at, (&heard, message)) {
            return;
        }
        match &heard {
            Heard::Truncated if !self.attempts[at].is_udp() => self.unreadable_over_tcp(shared, now, at),
            Heard::Truncated if !self.attempts[at].way.last => self.over_tcp(shared, when, at),
            Heard::Failed(Rcode::BADCOOKIE) if self.attempts[at].is_udp() => {
                self.with_new_cookie(shared, when, at, message)
            }
            Heard::Truncated => self.unusable(shared, when, at, Rcode::SERVFAIL),
            Heard::Failed(rcode) => {
                self.suspects(at, full_rcode(message));
                self.unusable(shared, when, at, *rcode);
            }
            Heard::Addresses { .. }
            | Heard::Negative { .. }
            | Heard::Bare { .. }
            | Heard::Whole { .. }
            | Heard::WholeNegative { .. } => self.useful(shared, when, at, heard, message),
        }
    }

    /// What the message shows of its sender's ways.
    fn learn(&self, shared: &mut Shared, now: Monotonic, at: usize, message: &Message<'_>) {
        let attempt = &self.attempts[at];
        let Some(upstream) = shared.upstream(attempt.upstream) else { return };
        if message.edns().is_some() {
            let own = attempt.without_cookie && cookie_of(message).is_none();
            if own && upstream.is_silent_to_it() {
                upstream.cookie.is_dropped(now);
            }
            upstream.edns_seen();
            if attempt.edns && !attempt.without_cookie && !is_error(full_rcode(message)) {
                upstream.takes_everything(attempt.is_mixed());
            }
        }
        if attempt.relettered && message.asks_exactly(attempt.asked()) {
            upstream.drops_letters(now, attempt.target.name());
        }
        if attempt.cookie {
            upstream.cookie.learn(cookie_of(message));
        }
        if attempt.is_mixed() && message.asked().is_some() && !message.asks_exactly(attempt.asked()) {
            upstream.folds_case(now);
        }
    }

    fn over_tcp(&mut self, shared: &mut Shared, When { now, came }: When, at: usize) {
        let mut attempt = self.close(shared, now, at, "truncated");
        self.alive(shared, now, attempt.upstream, (attempt.rtt(came), true));
        let way = attempt.way.over_tcp();
        if !self.follow(shared, now, &mut attempt, way) {
            self.in_vain(shared, now, &mut attempt);
        }
    }

    /// The server wants the cookie that came with its error: once more with that, then by ways that need none (RFC 7873 section 5.3).
    fn with_new_cookie(&mut self, shared: &mut Shared, when: When, at: usize, message: &Message<'_>) {
        let When { now, came } = when;
        if self.attempts[at].way.again {
            return self.doubt(shared, now, at, (Doubt::Unreadable, message.octets()));
        }
        let mut attempt = self.close(shared, now, at, "badcookie");
        self.alive(shared, now, attempt.upstream, (attempt.rtt(came), true));
        let way = Way { again: true, ..attempt.way };
        if !self.follow(shared, now, &mut attempt, way) {
            self.in_vain(shared, now, &mut attempt);
        }
    }

    /// An error may be for how attempt `at` was asked.
    fn suspects(&mut self, at: usize, rcode: Rcode) {
        let attempt = &self.attempts[at];
        if attempt.target.leg() == self.target.leg()
            && matches!(rcode, Rcode::SERVFAIL | Rcode::REFUSED | Rcode::FORMERR | Rcode::NOTIMP)
        {
            self.plain.retain(|way| way.upstream != attempt.upstream);
            self.plain.extend(attempt.plainly());
        }
    }

    /// An error, by an upstream that is alive.
    fn unusable(&mut self, shared: &mut Shared, When { now, came }: When, at: usize, rcode: Rcode) {
        let mut attempt = self.close(shared, now, at, rcode.to_string().to_ascii_lowercase());
        self.alive(shared, now, attempt.upstream, (attempt.rtt(came), false));
        self.ede = ede::NETWORK_ERROR;
        self.refuted |= rcode == Rcode::SERVFAIL;
        let wants_none = matches!(rcode, Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS | Rcode::BADCOOKIE);
        let no_edns = attempt.edns && wants_none;
        let bare = attempt.way.bare();
        if !(no_edns && self.follow(shared, now, &mut attempt, bare)) {
            self.in_vain(shared, now, &mut attempt);
        }
    }

    fn useful(&mut self, shared: &mut Shared, when: When, at: usize, heard: Heard, message: &Message<'_>) {
        let When { now, came } = when;
        let attempt = self.close(shared, now, at, outcome(&heard));
        self.alive(shared, now, attempt.upstream, (attempt.rtt(came), true));
        self.learn_bare(shared, now, &attempt, message);
        if !self.take_up(shared, when, &attempt, heard, message) {
            self.next_after_failure(shared, now);
        }
    }

    /// An answer to what was asked without what is usual.
    fn learn_bare(&self, shared: &mut Shared, now: Monotonic, attempt: &Attempt, message: &Message<'_>) {
        let Some(upstream) = shared.upstream(attempt.upstream) else { return };
        let note = if let Some(suspected) = attempt.way.plain {
            if suspected.letters {
                upstream.drops_letters(now, attempt.target.name());
            }
            upstream.answers_plain(now, suspected)
        } else {
            let lacks = attempt.way.without_edns
                && upstream.edns(now)
                && !(attempt.dropped_edns && (message.edns().is_some() || !upstream.is_silent_to_it()))
                && (!attempt.way.last || upstream.answers_bare());
            lacks.then(|| upstream.cannot_edns(now))
        };
        shared.actions.extend(note.map(Action::Note));
    }

    /// Takes up what a message says; `false` when nothing can be made of it, since its CNAMEs are too many or lead back, or the whole is too long.
    pub fn take_up(
        &mut self,
        shared: &mut Shared,
        When { now, came }: When,
        attempt: &Attempt,
        heard: Heard,
        message: &Message<'_>,
    ) -> bool {
        let came = if shared.mutants.has(Mutant::HeldAnswersAreNew) { now } else { came };
        let when = When { now, came };
        let (upstream, target) = (attempt.upstream, &attempt.target);
        let until =
            |ttl_s: u32| came.plus(Duration::from_secs(u64::from(ttl_s))).as_ms().min(target.expire_ms());
        let joined = |chain: Vec<Link>| join(&self.question.name, target.prefix(), chain);
        match heard {
            Heard::Addresses { chain, mut addresses, ttl_s } => {
                let Some(chain) = joined(chain) else { return false };
                if let Some(private) = shared.withhold(&self.question.name, &mut addresses) {
                    self.withheld(shared, when, attempt, (private, ttl_s, addresses.is_empty()));
                    if addresses.is_empty() {
                        return true;
                    }
                }
                let contribution = Contribution { from: upstream, chain, addresses, expire_ms: until(ttl_s) };
                let counts = shared.settings.deny == Deny::Any || matches!(self.phase, Phase::Racing { .. });
                if all_sinkholes(&contribution) && counts {
                    self.traced(attempt.trace, contribution.addresses.clone());
                    self.hold(shared, when, Weak::Sinkhole(contribution));
                } else {
                    self.contribute(shared, now, &contribution);
                    self.traced(attempt.trace, contribution.addresses);
                }
            }
            Heard::Negative { kind, chain, soa, ttl_s } => {
                let Some(chain) = joined(chain) else { return false };
                if shared.mutants.has(Mutant::NegativeBeatsPositive)
                    && matches!(self.phase, Phase::Completing { .. })
                {
                    self.phase = Phase::Racing { held: None, bare: None };
                }
                self.hold(shared, when, Weak::Denial { kind, chain, soa, expire_ms: until(ttl_s) });
            }
            Heard::Bare { chain } => {
                let before = self.piece(shared, target, (&chain, Rcode::NOERROR)).before(message, came);
                let (Some(before), Some(links)) = (before, joined(chain)) else { return false };
                let until = came.plus(shared.settings.negative_grace);
                let current = target.leg() == self.target.leg();
                if let Phase::Racing { bare: bare @ None, .. } = &mut self.phase
                    && current
                {
                    *bare = Some(Bare { until, from: upstream, links, before });
                }
            }
            Heard::Whole { chain, rcode } => {
                let piece = self.piece(shared, target, (&chain, rcode));
                let (stored, withheld) =
                    (piece.stored(message, came, None), shared.withheld_of(&piece, message));
                let (Some(stored), Some(_)) = (stored, joined(chain)) else { return false };
                if let Some(private) = withheld {
                    let left_s = stored.expires().since(now).as_secs();
                    let ttl_s = u32::try_from(left_s).unwrap_or(u32::MAX);
                    self.withheld(shared, when, attempt, (private, ttl_s, true));
                    return true;
                }
                if !matches!(self.phase, Phase::Completing { .. }) {
                    self.whole(shared, now, Arc::new(stored));
                }
            }
            Heard::WholeNegative { kind, chain, ttl_s } => {
                let rcode = message.header().rcode();
                let stored = self.piece(shared, target, (&chain, rcode)).stored(message, came, Some(ttl_s));
                let (Some(stored), Some(_)) = (stored, joined(chain)) else { return false };
                debug_assert!(!stored.is_withheld(), "a denial that would be told as one of ours");
                self.hold(shared, when, Weak::Whole { kind, stored: Arc::new(stored) });
            }
            Heard::Truncated | Heard::Failed(_) => {}
        }
        true
    }

    /// An answer has private addresses for a public name. Where it has nothing else, that is held like a denial.
    fn withheld(
        &mut self,
        shared: &mut Shared,
        when: When,
        attempt: &Attempt,
        (address, ttl_s, all): (IpAddr, u32, bool),
    ) {
        shared.count(Counter::RebindingBlocked);
        let name = Box::new(self.question.name);
        if let Some(server) = shared.upstream(attempt.upstream).map(|upstream| upstream.server) {
            shared.actions.push_back(Action::Note(Note::Rebinding { name, address, server }));
        }
        if all {
            self.traced(attempt.trace, vec![address]);
            if let Some(trace) = self.trace.attempts.get_mut(attempt.trace) {
                trace.outcome = "withheld".into();
            }
            let ttl_s = Bounds::of(&shared.settings).denial(ttl_s.min(WITHHELD_S));
            let until = when.came.plus(Duration::from_secs(u64::from(ttl_s)));
            self.hold(shared, when, Weak::Withheld { until });
        }
    }

    /// What a message is of the round's answer that has these CNAMEs, asked for `target`.
    fn piece<'a>(
        &'a self,
        shared: &Shared,
        target: &'a Target,
        (chain, rcode): (&'a [Link], Rcode),
    ) -> Piece<'a> {
        Piece {
            question: &self.question,
            before: target.before(),
            asked: target.name(),
            chain,
            rcode,
            bounds: Bounds::of(&shared.settings),
            mutants: shared.mutants,
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
        self.starved &= failure == Failure::NoSocket;
        let mut attempt = self.close(shared, now, at, outcome);
        // A server may end a connection that it has just taken: one more, at once.
        let once_more = Way { again: true, ..attempt.way };
        if failure == Failure::Closed
            && !attempt.way.again
            && !shared.mutants.has(Mutant::ClosedConnectionIsFinal)
            && self.follow(shared, now, &mut attempt, once_more)
        {
            self.confirms(attempt.doubt.confirms);
            return self.conclude(shared, now);
        }
        if let Some(doubted) = attempt.doubt.confirms {
            // No TCP there: says nothing of the upstream's health.
            self.unconfirmed(shared, now, doubted);
            return self.conclude(shared, now);
        }
        if let Some(upstream) = shared.upstream(attempt.upstream) {
            if failure == Failure::NoSocket {
                upstream.trial_over();
            } else if attempt.is_udp()
                && let Some(note) = upstream.failed(now, attempt.sent)
            {
                shared.actions.push_back(Action::Note(note));
            }
        }
        // Some servers end each connection that brings them EDNS.
        let bare = Way { again: true, last: true, ..attempt.way.bare() };
        if failure == Failure::Closed && attempt.edns && self.follow(shared, now, &mut attempt, bare) {
            return self.conclude(shared, now);
        }
        // What was cut by UDP and is not to be had over TCP may be short enough without EDNS.
        let alone = self.attempts.is_empty() && self.unasked.is_empty();
        let plain = Way { last: true, ..attempt.way.bare().by_udp() };
        let again = attempt.edns || attempt.way.again;
        let cut = !attempt.is_udp() && again && alone && matches!(self.phase, Phase::Racing { .. });
        if !(cut && self.follow(shared, now, &mut attempt, plain)) {
            self.in_vain(shared, now, &mut attempt);
        }
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

    pub fn alive(
        &self,
        shared: &mut Shared,
        now: Monotonic,
        id: UpstreamId,
        (rtt, useful): (Option<Duration>, bool),
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

    fn traced(&mut self, trace: usize, addresses: Vec<IpAddr>) {
        if let Some(trace) = self.trace.attempts.get_mut(trace) {
            trace.addresses = addresses;
        }
    }
}

/// The message in the letters that were meant: the question, names that point there, and those written out would show the ones that were
/// drawn against forgery.
fn unmixed<'m>(message: &Message<'m>, attempt: &Attempt, plain: &'m mut Vec<u8>) -> Message<'m> {
    let (meant, mut sent) = (attempt.target.name().as_wire(), attempt.asked());
    match message.octets().get(HEADER_LEN..HEADER_LEN + meant.len()) {
        Some(question) if question == meant && sent == meant => return *message,
        // What was drawn before it was repeated as meant.
        Some(question) if sent == meant && question.eq_ignore_ascii_case(meant) => sent = question,
        Some(question) if question.eq_ignore_ascii_case(meant) => {}
        Some(_) | None => return *message,
    }
    plain.clear();
    plain.extend_from_slice(message.octets());
    spell::put_back(message, plain, sent, meant);
    message.respelled(plain)
}

/// The CNAMEs that lead from a question's name to a target, and those that lead on from it; `None` when they are too many or lead back.
fn join(name: &Name, prefix: &[Link], chain: Vec<Link>) -> Option<Vec<Link>> {
    if prefix.is_empty() {
        return Some(chain);
    }
    let seen = |link: &Link| {
        link.target.eq_ignore_case(name)
            || prefix.iter().any(|known| known.target.eq_ignore_case(&link.target))
    };
    (prefix.len() + chain.len() <= LINKS_MAX && !chain.iter().any(seen))
        .then(|| prefix.iter().cloned().chain(chain).collect())
}

fn outcome(heard: &Heard) -> &'static str {
    match heard {
        Heard::Addresses { .. } => "answer",
        Heard::Negative { kind, .. } => kind.as_str(),
        Heard::Bare { .. } => "cname",
        Heard::WholeNegative { kind, .. } => kind.as_str(),
        Heard::Whole { .. } => "answer",
        Heard::Truncated | Heard::Failed(_) => "unusable",
    }
}
