//! Attempts: each is one query to one upstream within a round, with its retransmissions.

mod doubtful;
mod outstanding;
mod query;
mod target;

pub(crate) use doubtful::{Doubtful, Kept};
pub(crate) use outstanding::Attempts;
pub(crate) use target::Target;

use crate::action::Action;
use crate::ids::{AttemptId, UpstreamId};
use crate::question::Question;
use crate::server::Transport;
use crate::settings::{RESEND_PAUSE_MAX, RESENDS_MAX, RESENDS_WITH_EDNS};
use crate::shared::Shared;
use crate::upstream::cookie::OPTION_MAX;
use crate::upstream::habits::Suspected;
use hither_table::{Counter, Monotonic, Negative};
use hither_wire::header::HEADER_LEN;
use hither_wire::name::Name;
use std::rc::Rc;
use std::time::Duration;

/// How an attempt sends its query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryMode {
    pub upstream: UpstreamId,
    /// The transport of the upstream.
    pub own: Transport,
    /// The transport of this query: `own`, or TCP for an upstream that is queried by UDP (I11).
    pub transport: Transport,
    /// Whether the query repeats, without EDNS, one that failed with EDNS.
    pub without_edns: bool,
    /// Whether QNAME is sent in lower case even where the settings mix it.
    pub lower: bool,
    /// Whether the query repeats an attempt that ended without any response. It is then not repeated
    /// again.
    pub again: bool,
    /// Whether no further query follows if this response cannot be read either.
    pub last: bool,
    /// For a query that repeats one that ended in an error: the features that it leaves out, since the
    /// server may not support them.
    pub plain: Option<Suspected>,
}

impl QueryMode {
    /// The default: the transport of the upstream, EDNS, mixed case.
    pub fn to(upstream: UpstreamId, own: Transport) -> QueryMode {
        let (lower, again, last) = (false, false, false);
        QueryMode { upstream, own, transport: own, without_edns: false, lower, again, last, plain: None }
    }

    /// Over TCP, if the upstream is queried by UDP.
    pub fn over_tcp(self) -> QueryMode {
        let transport = if self.own == Transport::Udp { Transport::Tcp } else { self.own };
        QueryMode { transport, again: false, ..self }
    }

    /// By the transport of the upstream.
    pub fn by_own_transport(self) -> QueryMode {
        QueryMode { transport: self.own, again: false, ..self }
    }

    pub fn plain_dns(self) -> QueryMode {
        QueryMode { without_edns: true, again: false, ..self }
    }
}

#[derive(Debug)]
pub(crate) struct Attempt {
    pub id: AttemptId,
    pub upstream: UpstreamId,
    pub target: Target,
    pub mode: QueryMode,
    /// Whether the query has EDNS, and may be repeated without it. Over an encrypted transport it always
    /// has EDNS, for the padding.
    pub edns: bool,
    pub dnssec_ok: bool,
    pub dns_id: u16,
    /// When the query was sent. If it waited for a connection, the time that it left.
    pub sent: Monotonic,
    pub resent: u8,
    pub resend_at: Option<Monotonic>,
    /// Whether the next retransmission is an early one, if the upstream has enough responses for it
    /// ([`crate::settings::RESPONSES_PER_EARLY_RESEND`]).
    pub early: bool,
    /// Whether the query was retransmitted early.
    pub repeated: bool,
    /// The query in wire form, shared with the shell.
    pub octets: Rc<[u8]>,
    /// Whether the query has a cookie, so that the response's cookie is compared.
    pub cookie: bool,
    /// Whether the query was retransmitted without its cookie, for want of a response.
    pub without_cookie: bool,
    /// Whether the query was retransmitted without EDNS, for want of a response.
    pub dropped_edns: bool,
    /// Whether the query was retransmitted in the question's own letter case, for want of a response.
    pub relettered: bool,
    pub doubt: Doubtful,
    /// For a query in lower case that checks a denial: the denial of the query in mixed case.
    pub denied: Option<Box<Denied>>,
    /// The index of the attempt in the round's trace.
    pub trace: usize,
}

/// The parameters of a new attempt.
pub(crate) struct Plan<'a> {
    pub round: u64,
    pub question: &'a Question,
    pub target: &'a Target,
    pub mode: QueryMode,
    pub trace: usize,
}

/// Sends a new attempt. `None`: the upstream is gone, or the limit of attempts is reached.
pub(crate) fn send(shared: &mut Shared, plan: &Plan<'_>) -> Option<Attempt> {
    let now = shared.now;
    if shared.attempts.len() >= shared.settings.limits.attempts {
        return None;
    }
    let dns_id = (shared.random)().to_be_bytes();
    let dns_id = u16::from_be_bytes([dns_id[3], dns_id[4]]);
    let mode = plan.mode;
    let upstream = shared.upstream(mode.upstream)?;
    upstream.note_query(now, mode.transport == mode.own);
    let (server, wait, early) = (upstream.server, upstream.resend_after(), upstream.early_after());
    debug_assert_eq!(server.transport, mode.own, "the mode is that of another upstream");
    let Composed { octets, edns, with_cookie } = match mode.transport {
        Transport::Udp | Transport::Tcp => compose(shared, plan, dns_id)?,
        Transport::Tls | Transport::Https | Transport::Quic => {
            Composed { octets: query::padded(dns_id, plan, shared.faults), edns: false, with_cookie: false }
        }
    };
    let id = shared.attempts.begin(plan.round);
    shared.count(Counter::Attempts);
    shared.actions.push_back(Action::Send {
        attempt: id,
        upstream: mode.upstream,
        server,
        transport: mode.transport,
        octets: Rc::clone(&octets),
    });
    Some(Attempt {
        id,
        upstream: mode.upstream,
        target: plan.target.clone(),
        mode,
        edns,
        dnssec_ok: plan.question.dnssec_ok,
        dns_id,
        sent: now,
        resent: 0,
        resend_at: (mode.transport == Transport::Udp).then(|| now.plus(early.unwrap_or(wait))),
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

/// The octets of a query without encryption, and the features that it has.
struct Composed {
    octets: Rc<[u8]>,
    edns: bool,
    with_cookie: bool,
}

/// Composes a query without encryption, with the features that its upstream supports.
#[inline]
fn compose(shared: &mut Shared, plan: &Plan<'_>, dns_id: u16) -> Option<Composed> {
    let now = shared.now;
    let Shared { upstreams, random, settings, .. } = shared;
    let mode = plan.mode;
    let upstream = upstreams.get_mut(usize::from(mode.upstream.0))?;
    let edns = !mode.without_edns && upstream.edns(now);
    let mut out = [0; query::QUERY_MAX];
    let mut option_octets = [0; OPTION_MAX];
    let with_cookie = edns && mode.plain.is_none() && upstream.cookie.is_sent(now);
    let option = if with_cookie { upstream.cookie.option(&mut *random, &mut option_octets) } else { &[] };
    let len = query::query(dns_id, plan, edns.then_some(option), &mut out);
    let mixed = settings.mix_case && !mode.lower && upstream.keeps_case(now);
    if mixed && !upstream.letters.distinguishes_case(now, plan.target.name()) {
        query::mix(&mut out[HEADER_LEN..HEADER_LEN + plan.target.name().as_wire().len()], random);
    }
    Some(Composed { octets: Rc::from(&out[..len]), edns, with_cookie })
}

impl Attempt {
    /// Whether the response comes by UDP, so that another host may forge it.
    pub fn is_udp(&self) -> bool {
        self.mode.transport == Transport::Udp
    }

    /// Whether the connection is encrypted, so that only its server can have sent what arrives on it.
    pub fn is_encrypted(&self) -> bool {
        self.mode.transport.is_encrypted()
    }

    /// Whether the attempt uses the transport of its upstream, so that its outcome shows whether the
    /// upstream can be reached. An attempt over TCP to another upstream follows a response by UDP.
    pub fn is_by_own_transport(&self) -> bool {
        self.mode.transport == self.mode.own
    }

    /// QNAME as sent, in wire form: in mixed case where the upstream preserves case.
    pub fn asked(&self) -> &[u8] {
        let len = self.target.name().as_wire().len();
        self.octets.get(HEADER_LEN..HEADER_LEN + len).unwrap_or_default()
    }

    /// Whether the sent QNAME differs from the name in its letter case.
    pub fn is_mixed(&self) -> bool {
        self.asked() != self.target.name().as_wire()
    }

    /// Retransmits the query when it is time: the datagram may have been lost.
    pub fn resend(&mut self, shared: &mut Shared) {
        let now = shared.now;
        if self.resend_at.is_none_or(|at| now < at) {
            return;
        }
        if std::mem::take(&mut self.early) {
            return self.repeat_early(shared);
        }
        self.resent += 1;
        let wait = shared.upstream(self.upstream).map_or(Duration::from_secs(1), |u| u.resend_after());
        self.leave_out(shared);
        shared.actions.push_back(Action::Resend { attempt: self.id, octets: Rc::clone(&self.octets) });
        let pause = (wait * (1 << (self.resent - 1))).min(RESEND_PAUSE_MAX);
        self.resend_at = (self.resent < RESENDS_MAX).then(|| now.plus(pause));
    }

    /// Leaves out the features for which a server or a middlebox may drop queries: first the cookie,
    /// then EDNS, then mixed case. An upstream that supported them before may have changed, but the
    /// features are left out later for it.
    fn leave_out(&mut self, shared: &mut Shared) {
        let now = shared.now;
        let Some(upstream) = shared.upstream(self.upstream) else { return };
        let later = match upstream.may_lack_edns() {
            true => 0,
            false if !upstream.is_silent_since(self.sent) => RESENDS_MAX,
            // An upstream that is down does not respond with the features either.
            false if upstream.is_down(now) => 0,
            false => 1,
        };
        if self.cookie && self.resent > later {
            (self.cookie, self.without_cookie) = (false, true);
            self.octets = query::without_cookie(&self.octets, self.target.name());
        }
        if self.edns && !self.dnssec_ok && self.resent >= RESENDS_WITH_EDNS + later {
            (self.edns, self.dropped_edns, self.mode.without_edns) = (false, true, true);
            self.octets = query::without_edns(&self.octets, self.target.name());
        }
        if self.resent > RESENDS_WITH_EDNS && self.is_mixed() {
            let mut octets = self.octets.to_vec();
            let meant = self.target.name().as_wire();
            octets[HEADER_LEN..HEADER_LEN + meant.len()].copy_from_slice(meant);
            (self.octets, self.mode.lower, self.relettered) = (octets.into(), true, true);
        }
    }

    /// The mode in which to repeat an attempt that ended in an error, when no other upstream is left:
    /// without the features that may be the reason. `None`: there are none, or they were left out
    /// before.
    pub fn plainly(&self) -> Option<QueryMode> {
        let suspected =
            Suspected { letters: self.is_mixed(), cookie: self.cookie, edns: self.edns && !self.dnssec_ok };
        let any = suspected.letters || suspected.cookie || suspected.edns;
        let mode = QueryMode { lower: true, again: false, plain: Some(suspected), ..self.mode };
        let without_edns = self.mode.without_edns || suspected.edns;
        (any && self.mode.plain.is_none() && !self.mode.last).then_some(QueryMode { without_edns, ..mode })
    }

    fn repeat_early(&mut self, shared: &mut Shared) {
        let Some(upstream) = shared.upstream(self.upstream) else { return };
        self.resend_at = Some(self.sent.plus(upstream.resend_after()));
        if upstream.pay_for_early_retransmission() {
            self.repeated = true;
            let octets = Rc::clone(&self.octets);
            shared.actions.push_back(Action::Resend { attempt: self.id, octets });
        }
    }

    /// The times that a response at `now` shows.
    pub fn response_time(&self, now: Monotonic) -> ResponseTime {
        ResponseTime { rtt: self.rtt(now), waited: now.since(self.sent) }
    }

    /// The time of a response from which no round-trip time is learned.
    pub fn untimed(&self, now: Monotonic) -> ResponseTime {
        ResponseTime { rtt: None, waited: now.since(self.sent) }
    }

    /// The round-trip time that a response at `now` shows. `None` where it is unclear which datagram it
    /// responds to (Karn's rule, RFC 6298 section 3), or where a handshake is part of the time that
    /// other queries to the upstream do not have.
    fn rtt(&self, now: Monotonic) -> Option<Duration> {
        (self.resent == 0 && !self.repeated && self.is_by_own_transport()).then(|| now.since(self.sent))
    }
}

/// How long a response took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseTime {
    /// The round-trip time, if it shows one.
    pub rtt: Option<Duration>,
    /// The time since the query was first sent.
    pub waited: Duration,
}

/// The denial of a query in mixed case, while a query in lower case checks it.
#[derive(Debug)]
pub(crate) struct Denied {
    pub kind: Negative,
    pub domain: Name,
    pub received_at: Monotonic,
    pub octets: Vec<u8>,
    /// When the denial is accepted unless the query in lower case has contradicted it.
    pub until: Monotonic,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retransmissions_are_sent_after_50_ms_and_then_less_and_less_often() {
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
        // The upstream is known to be fast, and has no early retransmission left.
        rounds.shared.upstreams[0].note_response(Some(Duration::from_millis(5)), true);
        for _ in 0..40 {
            rounds.shared.upstreams[0].note_response(Some(Duration::from_millis(5)), true);
            rounds.shared.upstreams[0].pay_for_early_retransmission();
        }
        while rounds.shared.upstreams[0].pay_for_early_retransmission() {}
        let start = Monotonic::from_ms(1_000);
        rounds.handle(start, Input::Ask { client: crate::ClientId(1), question: &question, recursion: true });
        let mut sent = Vec::new();
        let mut now = start;
        loop {
            while let Some(action) = rounds.poll_action() {
                match action {
                    Action::Send { .. } | Action::Resend { .. } => sent.push(now.since(start).as_millis()),
                    Action::Reply { .. } | Action::Close { .. } => {}
                    Action::Note(_) | Action::OrderResult { .. } | Action::AskSite { .. } => {}
                }
            }
            let Some(next) = rounds.poll_timeout() else { break };
            now = next;
            rounds.handle_timeout(now);
        }
        assert_eq!(sent, [0, 50, 100, 200, 400, 800, 1_600, 2_400]);
    }
}
