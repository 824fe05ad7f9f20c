//! One query to one upstream within a round.

use crate::settings::{RESENDS_MAX, UDP_SIZE_UPSTREAM};
use crate::shared::Shared;
use crate::{Action, AttemptId, Question, Transport, UpstreamId};
use hither_table::{Counter, Link, Monotonic};
use hither_wire::{compose, name::Name};
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
    pub dns_id: u16,
    pub sent: Monotonic,
    pub resent: u8,
    pub resend_at: Option<Monotonic>,
    pub octets: Vec<u8>,
    /// Its place in the round's trace.
    pub trace: usize,
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
    let upstream = shared.upstream(plan.upstream)?;
    upstream.queries += 1;
    let (address, wait) = (upstream.address, upstream.resend_after());
    let edns = !plan.without_edns && upstream.edns(now);
    let octets = query(dns_id, plan, edns);
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
        dns_id,
        sent: now,
        resent: 0,
        resend_at: (plan.transport == Transport::Udp).then(|| now.plus(wait)),
        octets,
        trace: plan.trace,
    })
}

fn query(id: u16, plan: &Plan<'_>, edns: bool) -> Vec<u8> {
    let mut out = [0; 300];
    let edns = edns.then_some((UDP_SIZE_UPSTREAM, plan.question.dnssec_ok));
    let question = plan.question;
    let asked = compose::Asked { name: &plan.target.name, rtype: question.rtype };
    let len = compose::query(
        &mut out,
        id,
        &asked,
        compose::QueryBits { rd: true, cd: question.checking_disabled, edns },
    );
    out[..len].to_vec()
}

impl Attempt {
    /// Repeats the datagram when its time has come: the first may have been lost.
    pub fn resend(&mut self, shared: &mut Shared, now: Monotonic) {
        if self.resend_at.is_none_or(|at| now < at) {
            return;
        }
        self.resent += 1;
        shared.actions.push_back(Action::Resend { attempt: self.id, octets: self.octets.clone() });
        let wait = shared.upstream(self.upstream).map_or(Duration::from_secs(1), |u| u.resend_after());
        self.resend_at = (self.resent < RESENDS_MAX).then(|| now.plus(wait * (1 << self.resent)));
    }

    /// The round-trip time that its answer at `now` shows; unknown when it is not clear which datagram was answered
    /// (Karn's rule, RFC 6298 section 3), or when a handshake was part of it.
    pub fn rtt(&self, now: Monotonic) -> Option<Duration> {
        (self.resent == 0 && self.transport == Transport::Udp).then(|| now.since(self.sent))
    }
}
