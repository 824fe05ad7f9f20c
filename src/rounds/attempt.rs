//! One query to one upstream within a round.

use crate::cookie::OPTION_MAX;
use crate::letters::Denied;
use crate::response::{Doubt, full_rcode, is_error};
use crate::settings::{RESEND_PAUSE_MAX, RESENDS_MAX, RESENDS_WITH_EDNS, UDP_SIZE_UPSTREAM};
use crate::shared::Shared;
use crate::whole::Before;
use crate::{Action, AttemptId, Question, Transport, UpstreamId};
use hither_table::{Counter, Link, Monotonic};
use hither_wire::codes::Class;
use hither_wire::compose::{Composer, flags};
use hither_wire::{header::HEADER_LEN, message::Message, name::Name};
use std::rc::Rc;
use std::time::Duration;

/// What an attempt asks: the round's own name, or one that a CNAME led to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    question: Rc<Question>,
    chase: Option<Rc<Chase>>,
}

#[derive(Debug)]
struct Chase {
    name: Name,
    /// The CNAMEs that led there.
    prefix: Vec<Link>,
    /// Their records, for an answer that is kept whole.
    before: Before,
    /// When the first of them runs out, in milliseconds.
    expire_ms: u64,
    leg: u8,
}

impl Target {
    pub fn of(question: Rc<Question>) -> Target {
        Target { question, chase: None }
    }

    /// The name that `prefix` leads to, all CNAMEs from the round's own name on.
    pub fn chased(&self, name: Name, prefix: Vec<Link>, before: Before) -> Target {
        let expire_ms = prefix.iter().map(|link| link.expire_ms).min().unwrap_or(u64::MAX);
        let chase = Chase { name, prefix, before, expire_ms, leg: self.leg() + 1 };
        Target { question: Rc::clone(&self.question), chase: Some(Rc::new(chase)) }
    }

    pub fn name(&self) -> &Name {
        self.chase.as_ref().map_or(&self.question.name, |chase| &chase.name)
    }

    /// The CNAMEs that led there.
    pub fn prefix(&self) -> &[Link] {
        self.chase.as_ref().map_or(&[], |chase| &chase.prefix)
    }

    /// The records of those CNAMEs.
    pub fn before(&self) -> Option<&Before> {
        self.chase.as_ref().map(|chase| &chase.before)
    }

    /// When the first of them runs out, in milliseconds: what is found at their end lives no longer.
    pub fn expire_ms(&self) -> u64 {
        self.chase.as_ref().map_or(u64::MAX, |chase| chase.expire_ms)
    }

    /// 0 for the round's own name, one more for each chase.
    pub fn leg(&self) -> u8 {
        self.chase.as_ref().map_or(0, |chase| chase.leg)
    }
}

/// How something is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub upstream: UpstreamId,
    pub transport: Transport,
    /// It repeats without EDNS what failed with it.
    pub without_edns: bool,
    /// In lower case, whatever is usual.
    pub lower: bool,
    /// It repeats what ended without a word of an answer, and is not repeated itself.
    pub again: bool,
    /// When its answer cannot be read either, nothing else is tried.
    pub last: bool,
    /// It repeats what ended in an error, without all that a server may stumble over.
    pub plain: Option<Suspected>,
}

/// What an error may be for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspected {
    pub letters: bool,
    pub cookie: bool,
    pub edns: bool,
}

impl Way {
    /// The usual one.
    pub fn to(upstream: UpstreamId) -> Way {
        let (lower, again, last) = (false, false, false);
        Way { upstream, transport: Transport::Udp, without_edns: false, lower, again, last, plain: None }
    }

    pub fn over_tcp(self) -> Way {
        Way { transport: Transport::Tcp, again: false, ..self }
    }

    pub fn by_udp(self) -> Way {
        Way { transport: Transport::Udp, again: false, ..self }
    }

    pub fn bare(self) -> Way {
        Way { without_edns: true, again: false, ..self }
    }
}

#[derive(Debug)]
pub(crate) struct Attempt {
    pub id: AttemptId,
    pub upstream: UpstreamId,
    pub target: Target,
    pub way: Way,
    pub edns: bool,
    pub dnssec_ok: bool,
    pub dns_id: u16,
    pub sent: Monotonic,
    pub resent: u8,
    pub resend_at: Option<Monotonic>,
    /// The next repetition is an early one, if the upstream has earned it.
    pub early: bool,
    /// There was one.
    pub repeated: bool,
    /// The query, shared with who sends it.
    pub octets: Rc<[u8]>,
    /// The extra octets of the query in EDNS: cookies are compared only where they were sent.
    pub cookie: bool,
    /// It was repeated without one, since nothing came.
    pub without_cookie: bool,
    /// It was repeated without EDNS, since nothing came.
    pub dropped_edns: bool,
    /// It was repeated in the letters that were meant, since nothing came.
    pub relettered: bool,
    pub doubt: Doubtful,
    /// It asks once more what was denied.
    pub denied: Option<Box<Denied>>,
    /// Its place in the round's trace.
    pub trace: usize,
}

/// What is thought of a UDP attempt for which datagrams came that somebody else may have sent, and of the TCP attempt beside it.
#[derive(Debug, Default)]
pub(crate) struct Doubtful {
    /// Such datagrams so far.
    pub count: u16,
    /// One of them had our id and could not be read: the upstream's own, most likely.
    pub unreadable: bool,
    /// One of them had our id and another question.
    pub other: bool,
    /// When UDP is believed after all: TCP had its time. `None`: not doubted, or TCP came to nothing.
    pub until: Option<Monotonic>,
    /// What came by UDP and waits until then.
    pub kept: Option<Kept>,
    /// Of the TCP attempt: the UDP attempt it is to confirm.
    pub confirms: Option<AttemptId>,
}

/// A datagram that counts when it is confirmed, or nothing can confirm it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub came: Monotonic,
    pub octets: Vec<u8>,
    /// What it lacks of what a right answer has.
    pub strange: Option<Doubt>,
}

impl Kept {
    /// Whether it answers, for good or ill: an error says as much of how it was asked, and one that is cut nothing.
    pub fn answers(&self) -> bool {
        Message::open(&self.octets).is_ok_and(|m| !m.header().tc() && !is_error(full_rcode(&m)))
    }
}

impl Doubtful {
    /// Keeps the first datagram, or the first that lacks nothing.
    pub fn keep(&mut self, now: Monotonic, octets: &[u8], strange: Option<Doubt>) {
        let better = |kept: &Kept| kept.strange.is_some() && strange.is_none();
        if self.kept.as_ref().is_none_or(better) {
            self.kept = Some(Kept { came: now, octets: octets.to_vec(), strange });
        }
    }
}

/// How an attempt is to be made.
pub(crate) struct Plan<'a> {
    pub round: u64,
    pub question: &'a Question,
    pub target: &'a Target,
    pub way: Way,
    pub trace: usize,
}

/// Sends a new attempt; `None` when the upstream is gone or the bound on attempts is reached.
pub(crate) fn send(shared: &mut Shared, now: Monotonic, plan: &Plan<'_>) -> Option<Attempt> {
    if shared.attempts.len() >= shared.settings.limits.attempts {
        return None;
    }
    let dns_id = (shared.random)().to_be_bytes();
    let dns_id = u16::from_be_bytes([dns_id[3], dns_id[4]]);
    let Shared { upstreams, random, settings, .. } = shared;
    let way = plan.way;
    let upstream = upstreams.get_mut(usize::from(way.upstream.0))?;
    upstream.asked(now, way.transport);
    let (server, wait, early) = (upstream.server, upstream.resend_after(), upstream.early_after());
    let edns = !way.without_edns && upstream.edns(now);
    let mut out = [0; QUERY_MAX];
    let mut room = [0; OPTION_MAX];
    let with_cookie = edns && way.plain.is_none() && upstream.cookie.is_sent(now);
    let option = if with_cookie { upstream.cookie.option(&mut *random, &mut room) } else { &[] };
    let len = query(dns_id, plan, edns.then_some(option), &mut out);
    let mixed = settings.mix_case && !way.lower && upstream.keeps_case(now);
    if mixed && !upstream.letters.tells_apart(now, plan.target.name()) {
        mix(&mut out[HEADER_LEN..HEADER_LEN + plan.target.name().as_wire().len()], random);
    }
    let octets: Rc<[u8]> = Rc::from(&out[..len]);
    shared.next_attempt += 1;
    let id = AttemptId(shared.next_attempt);
    shared.attempts.insert(id, plan.round);
    shared.count(Counter::Attempts);
    shared.actions.push_back(Action::Send {
        attempt: id,
        upstream: way.upstream,
        server,
        transport: way.transport,
        octets: Rc::clone(&octets),
    });
    Some(Attempt {
        id,
        upstream: way.upstream,
        target: plan.target.clone(),
        way,
        edns,
        dnssec_ok: plan.question.dnssec_ok,
        dns_id,
        sent: now,
        resent: 0,
        resend_at: (way.transport == Transport::Udp).then(|| now.plus(early.unwrap_or(wait))),
        early: early.is_some(),
        repeated: false,
        octets,
        cookie: with_cookie,
        without_cookie: false,
        dropped_edns: false,
        relettered: false,
        doubt: Doubtful::default(),
        denied: None,
        trace: plan.trace,
    })
}

/// Gives each letter of a name in wire form a case of its own: so many more bits that a forger has to guess
/// (draft-vixie-dnsext-dns0x20). Length octets are below 64 and no letters.
fn mix(name: &mut [u8], random: &mut dyn FnMut() -> u64) {
    for octets in name.chunks_mut(64) {
        let mut bits = random();
        let (words, rest) = octets.as_chunks_mut();
        for word in words {
            *word = mixed(u64::from_le_bytes(*word), bits as u8).to_le_bytes();
            bits >>= 8;
        }
        for octet in rest {
            *octet = mixed(u64::from(*octet), bits as u8 & 1) as u8;
            bits >>= 1;
        }
    }
}

/// Eight octets, each letter of them in upper case unless its bit is set.
fn mixed(word: u64, bits: u8) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let low = word & (0x5f * ONES);
    // The highest bit of each octet is set where it is not before A, and where it is past Z; sums stay within their octets.
    let (from_a, past_z) = (low + (0x80 - b'A' as u64) * ONES, low + (0x7f - b'Z' as u64) * ONES);
    let letters = (from_a ^ past_z) & !word & (0x80 * ONES);
    // Of octet n bit n; what is not 0 then reaches the highest.
    let own = (u64::from(bits) * ONES) & 0x8040_2010_0804_0201;
    let lower = (own | ((own & (0x7f * ONES)) + 0x7f * ONES)) & (0x80 * ONES);
    word & !(letters >> 2) | (letters & lower) >> 2
}

/// Octets of any query: header, name, OPT with the longest cookie.
const QUERY_MAX: usize = HEADER_LEN + 255 + 4 + OPT_LEN + OPTION_MAX;

/// Writes the query and returns its length; with EDNS when there is a cookie to send.
fn query(id: u16, plan: &Plan<'_>, cookie: Option<&[u8]>, out: &mut [u8; QUERY_MAX]) -> usize {
    let question = plan.question;
    let cd = if question.checking_disabled { flags::CD } else { 0 };
    let Some(mut composer) = Composer::new(out, QUERY_MAX) else { return 0 };
    composer.set_header(id, flags::RD | cd);
    composer.question(plan.target.name(), question.rtype, Class::IN);
    if let Some(cookie) = cookie {
        composer.opt(UDP_SIZE_UPSTREAM, 0, question.dnssec_ok, cookie);
    }
    composer.finish()
}

impl Attempt {
    /// Whether anybody may answer it.
    pub fn is_udp(&self) -> bool {
        self.way.transport == Transport::Udp
    }

    /// QNAME as sent, in wire form: letters in random case where the upstream keeps it.
    pub fn asked(&self) -> &[u8] {
        let len = self.target.name().as_wire().len();
        self.octets.get(HEADER_LEN..HEADER_LEN + len).unwrap_or_default()
    }

    /// Whether it was sent in another letter case than it has.
    pub fn is_mixed(&self) -> bool {
        self.asked() != self.target.name().as_wire()
    }

    /// Repeats the datagram when its time has come: the first may have been lost.
    pub fn resend(&mut self, shared: &mut Shared, now: Monotonic) {
        if self.resend_at.is_none_or(|at| now < at) {
            return;
        }
        if std::mem::take(&mut self.early) {
            return self.repeat_early(shared);
        }
        self.resent += 1;
        let wait = shared.upstream(self.upstream).map_or(Duration::from_secs(1), |u| u.resend_after());
        self.leave_out(shared, now);
        shared.actions.push_back(Action::Resend { attempt: self.id, octets: Rc::clone(&self.octets) });
        let pause = (wait * (1 << (self.resent - 1))).min(RESEND_PAUSE_MAX);
        self.resend_at = (self.resent < RESENDS_MAX).then(|| now.plus(pause));
    }

    /// Leaves out what a server or a box on the way may drop queries for: the cookie, then EDNS, then drawn letters. Who is known to
    /// take them may have changed, but must have been silent for longer.
    fn leave_out(&mut self, shared: &mut Shared, now: Monotonic) {
        let Some(upstream) = shared.upstream(self.upstream) else { return };
        let later = match upstream.may_lack_edns() {
            true => 0,
            false if !upstream.is_silent_since(self.sent) => RESENDS_MAX,
            // There is little to lose.
            false if upstream.is_down(now) => 0,
            false => 1,
        };
        if self.cookie && self.resent > later {
            (self.cookie, self.without_cookie) = (false, true);
            self.octets = without_cookie(&self.octets, self.target.name());
        }
        if self.edns && !self.dnssec_ok && self.resent >= RESENDS_WITH_EDNS + later {
            (self.edns, self.dropped_edns, self.way.without_edns) = (false, true, true);
            self.octets = without_edns(&self.octets, self.target.name());
        }
        if self.resent > RESENDS_WITH_EDNS && self.is_mixed() {
            let mut octets = self.octets.to_vec();
            let meant = self.target.name().as_wire();
            octets[HEADER_LEN..HEADER_LEN + meant.len()].copy_from_slice(meant);
            (self.octets, self.way.lower, self.relettered) = (octets.into(), true, true);
        }
    }

    /// How it is asked again when it ended in an error and nobody else is left: one question that lacks all that may be the reason.
    pub fn plainly(&self) -> Option<Way> {
        let suspected =
            Suspected { letters: self.is_mixed(), cookie: self.cookie, edns: self.edns && !self.dnssec_ok };
        let any = suspected.letters || suspected.cookie || suspected.edns;
        let way = Way { lower: true, again: false, plain: Some(suspected), ..self.way };
        let without_edns = self.way.without_edns || suspected.edns;
        (any && self.way.plain.is_none() && !self.way.last).then_some(Way { without_edns, ..way })
    }

    fn repeat_early(&mut self, shared: &mut Shared) {
        let Some(upstream) = shared.upstream(self.upstream) else { return };
        self.resend_at = Some(self.sent.plus(upstream.resend_after()));
        if upstream.may_repeat_early() {
            self.repeated = true;
            let octets = Rc::clone(&self.octets);
            shared.actions.push_back(Action::Resend { attempt: self.id, octets });
        }
    }

    /// The round-trip time that its answer at `now` shows; unknown when it is not clear which datagram was answered
    /// (Karn's rule, RFC 6298 section 3), or when a handshake was part of it.
    pub fn rtt(&self, now: Monotonic) -> Option<Duration> {
        (self.resent == 0 && !self.repeated && self.is_udp()).then(|| now.since(self.sent))
    }
}

/// A query of ours with an OPT record that has no options.
fn without_cookie(octets: &[u8], name: &Name) -> Rc<[u8]> {
    let end = question_end(name) + OPT_LEN;
    let mut octets = octets.get(..end).unwrap_or(octets).to_vec();
    if let Some(length) = octets.get_mut(end - 2..end) {
        length.fill(0);
    }
    octets.into()
}

/// Octets of an OPT record without options.
const OPT_LEN: usize = 11;

fn question_end(name: &Name) -> usize {
    HEADER_LEN + name.as_wire().len() + 4
}

/// A query of ours without its OPT record, its only additional one.
fn without_edns(octets: &[u8], name: &Name) -> Rc<[u8]> {
    let end = question_end(name);
    let mut octets = octets.get(..end).unwrap_or(octets).to_vec();
    if let Some(count) = octets.get_mut(10..HEADER_LEN) {
        count.fill(0);
    }
    octets.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_datagram_may_be_lost() {
        use crate::{Input, Rounds, Routes, Settings};
        use hither_table::{Geometry, Memory, Writer};
        let geometry = Geometry { entries: 64 };
        let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
        let upstream = std::net::SocketAddr::from(([192, 0, 2, 1], 53));
        let settings = Settings { mix_case: false, ..Settings::default() };
        let routes = Routes::from(&[upstream][..]);
        let mut rounds = Rounds::new(settings, routes, writer.expect("a table"), Box::new(|| 7));
        let name: Name = "a.test".parse().expect("a name");
        let rtype = hither_wire::codes::Rtype::TXT;
        let question = Question { name, rtype, dnssec_ok: false, checking_disabled: false };
        // It is quick, and known to be.
        rounds.shared.upstreams[0].answered(Some(Duration::from_millis(5)), true);
        for _ in 0..40 {
            rounds.shared.upstreams[0].answered(Some(Duration::from_millis(5)), true);
            rounds.shared.upstreams[0].may_repeat_early();
        }
        while rounds.shared.upstreams[0].may_repeat_early() {}
        let start = Monotonic::from_ms(1_000);
        rounds.handle(start, Input::Ask { client: crate::ClientId(1), question: &question, recursion: true });
        let mut sent = Vec::new();
        let mut now = start;
        loop {
            while let Some(action) = rounds.poll_action() {
                match action {
                    Action::Send { .. } | Action::Resend { .. } => sent.push(now.since(start).as_millis()),
                    Action::Reply { .. } | Action::Close { .. } => {}
                    Action::Note(_) | Action::OrderResult { .. } => {}
                }
            }
            let Some(next) = rounds.poll_timeout() else { break };
            now = next;
            rounds.handle_timeout(now);
        }
        assert_eq!(sent, [0, 50, 100, 200, 400, 800, 1_600, 2_400]);
    }

    #[test]
    fn eight_octets_are_mixed_like_one_after_the_other() {
        for octet in 0..=255_u8 {
            for bits in 0..=255_u8 {
                let others = [octet, b'a', octet, b'Z', octet, octet ^ 0x20, b'-', octet];
                let mut one_by_one = others;
                for (n, octet) in one_by_one.iter_mut().enumerate().filter(|(_, o)| o.is_ascii_alphabetic()) {
                    *octet = *octet & !0x20 | (bits >> n & 1) << 5;
                }
                assert_eq!(mixed(u64::from_le_bytes(others), bits).to_le_bytes(), one_by_one);
            }
        }
    }

    #[test]
    fn letters_are_mixed_and_nothing_else() {
        let name: Name = "a-1.Example.test".parse().expect("a name");
        let mut n = 0xdead_beef_u64;
        let mut draw = || {
            n = n.rotate_left(7) ^ 0x1234_5678;
            n
        };
        let mut mixed = || {
            let mut octets = name.as_wire().to_vec();
            mix(&mut octets, &mut draw);
            Name::from_wire(&octets).expect("a name")
        };
        let all: Vec<Name> = (0..32).map(|_| mixed()).collect();
        assert!(all.iter().all(|mixed| mixed.eq_ignore_case(&name)));
        assert!(all.iter().filter(|mixed| **mixed != all[0]).count() > 16);
    }
}
