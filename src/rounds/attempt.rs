//! One query to one upstream within a round.

use crate::settings::{RESENDS_MAX, RESENDS_WITH_EDNS, UDP_SIZE_UPSTREAM};
use crate::shared::Shared;
use crate::{Action, AttemptId, Question, Transport, UpstreamId};
use hither_table::{Counter, Link, Monotonic};
use hither_wire::codes::Class;
use hither_wire::compose::{Composer, flags};
use hither_wire::{edns::COOKIE, name::Name};
use std::rc::Rc;
use std::time::Duration;

/// What an attempt asks: the round's own name, or one that a CNAME led to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub name: Name,
    /// The CNAMEs that led there.
    pub prefix: Rc<Vec<Link>>,
    /// When the first of them runs out, in milliseconds: what is found at their end lives no longer.
    pub expire_ms: u64,
    /// 0 for the round's own name, one more for each chase.
    pub leg: u8,
}

#[derive(Debug)]
pub(crate) struct Attempt {
    pub id: AttemptId,
    pub upstream: UpstreamId,
    pub target: Target,
    pub transport: Transport,
    pub edns: bool,
    /// It repeats without EDNS what failed with it.
    pub without_edns: bool,
    pub dnssec_ok: bool,
    pub dns_id: u16,
    pub sent: Monotonic,
    pub resent: u8,
    pub resend_at: Option<Monotonic>,
    pub octets: Vec<u8>,
    /// QNAME as sent: letters in random case where the upstream keeps it.
    pub asked: Name,
    /// The extra octets of the query in EDNS: cookies are compared only where they were sent.
    pub cookie: bool,
    pub doubt: Doubtful,
    /// Its place in the round's trace.
    pub trace: usize,
}

/// What is thought of a UDP attempt for which datagrams came that somebody else may have sent, and of the TCP attempt beside it.
#[derive(Debug, Default)]
pub(crate) struct Doubtful {
    /// Such datagrams so far.
    pub count: u16,
    /// When UDP is believed after all: TCP had its time. `None`: not doubted, or TCP came to nothing.
    pub until: Option<Monotonic>,
    /// A good answer by UDP that waits until then, and when it came.
    pub kept: Option<(Monotonic, Vec<u8>)>,
    /// Of the TCP attempt: the UDP attempt it is to confirm.
    pub confirms: Option<AttemptId>,
}

/// How an attempt is to be made.
pub(crate) struct Plan<'a> {
    pub round: u64,
    pub question: &'a Question,
    pub target: &'a Target,
    pub upstream: UpstreamId,
    pub transport: Transport,
    pub without_edns: bool,
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
    let upstream = upstreams.get_mut(usize::from(plan.upstream.0))?;
    upstream.asked(now);
    let (address, wait) = (upstream.address, upstream.resend_after());
    let edns = !plan.without_edns && upstream.edns(now);
    let asked = match settings.mix_case && upstream.keeps_case(now) {
        true => mixed(&plan.target.name, random),
        false => plan.target.name,
    };
    let cookie = edns.then(|| upstream.cookie.option(&mut *random));
    let octets = query(dns_id, plan, &asked, cookie.as_deref());
    shared.next_attempt += 1;
    let id = AttemptId(shared.next_attempt);
    shared.attempts.insert(id, plan.round);
    shared.count(Counter::Attempts);
    shared.actions.push_back(Action::Send {
        attempt: id,
        upstream: plan.upstream,
        address,
        transport: plan.transport,
        octets: octets.clone(),
    });
    Some(Attempt {
        id,
        upstream: plan.upstream,
        target: plan.target.clone(),
        transport: plan.transport,
        edns,
        without_edns: plan.without_edns,
        dnssec_ok: plan.question.dnssec_ok,
        dns_id,
        sent: now,
        resent: 0,
        resend_at: (plan.transport == Transport::Udp).then(|| now.plus(wait)),
        octets,
        asked,
        cookie: edns,
        doubt: Doubtful::default(),
        trace: plan.trace,
    })
}

/// The name with each letter in a case of its own: so many more bits that a forger has to guess (draft-vixie-dnsext-dns0x20).
fn mixed(name: &Name, random: &mut dyn FnMut() -> u64) -> Name {
    let (mut bits, mut left) = (0, 0);
    name.map_letters(|letter| {
        if left == 0 {
            (bits, left) = (random(), 64);
        }
        left -= 1;
        bits >>= 1;
        if bits & 1 == 0 { letter.to_ascii_lowercase() } else { letter.to_ascii_uppercase() }
    })
}

/// Octets of any query: header, name, OPT with the longest cookie.
const QUERY_MAX: usize = 12 + 255 + 4 + 11 + 4 + 40;

/// Writes the query; with EDNS when there is a cookie to send.
fn query(id: u16, plan: &Plan<'_>, asked: &Name, cookie: Option<&[u8]>) -> Vec<u8> {
    let mut out = [0; QUERY_MAX];
    let question = plan.question;
    let cd = if question.checking_disabled { flags::CD } else { 0 };
    let Some(mut composer) = Composer::new(&mut out, QUERY_MAX) else { return Vec::new() };
    composer.set_header(id, flags::RD | cd);
    composer.question(asked, question.rtype, Class::IN);
    if let Some(cookie) = cookie {
        let length = u16::try_from(cookie.len()).unwrap_or(0).to_be_bytes();
        let option = [&COOKIE.to_be_bytes()[..], &length, cookie].concat();
        composer.opt(UDP_SIZE_UPSTREAM, 0, question.dnssec_ok, &option);
    }
    let len = composer.finish();
    out[..len].to_vec()
}

impl Attempt {
    /// Repeats the datagram when its time has come: the first may have been lost.
    pub fn resend(&mut self, shared: &mut Shared, now: Monotonic) {
        if self.resend_at.is_none_or(|at| now < at) {
            return;
        }
        self.resent += 1;
        let (wait, lacks_edns) = shared
            .upstream(self.upstream)
            .map_or((Duration::from_secs(1), false), |u| (u.resend_after(), u.may_lack_edns()));
        if self.edns && !self.dnssec_ok && self.resent >= RESENDS_WITH_EDNS && lacks_edns {
            self.edns = false;
            self.cookie = false;
            self.without_edns = true;
            drop_edns(&mut self.octets, self.asked.as_wire().len());
        }
        shared.actions.push_back(Action::Resend { attempt: self.id, octets: self.octets.clone() });
        self.resend_at = (self.resent < RESENDS_MAX).then(|| now.plus(wait * (1 << (self.resent - 1))));
    }

    /// The round-trip time that its answer at `now` shows; unknown when it is not clear which datagram was answered
    /// (Karn's rule, RFC 6298 section 3), or when a handshake was part of it.
    pub fn rtt(&self, now: Monotonic) -> Option<Duration> {
        (self.resent == 0 && self.transport == Transport::Udp).then(|| now.since(self.sent))
    }
}

/// Cuts the OPT record off a query of ours, whose only additional record it is.
fn drop_edns(octets: &mut Vec<u8>, name_len: usize) {
    octets.truncate(12 + name_len + 4);
    if let Some(count) = octets.get_mut(10..12) {
        count.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_mixed_and_nothing_else() {
        let name: Name = "a-1.Example.test".parse().expect("a name");
        let mut n = 0xdead_beef_u64;
        let mut draw = || {
            n = n.rotate_left(7) ^ 0x1234_5678;
            n
        };
        let all: Vec<Name> = (0..32).map(|_| mixed(&name, &mut draw)).collect();
        assert!(all.iter().all(|mixed| mixed.eq_ignore_case(&name)));
        assert!(all.iter().filter(|mixed| **mixed != all[0]).count() > 16);
    }
}
