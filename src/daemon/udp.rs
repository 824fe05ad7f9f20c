//! The hit path: a batch of queries in, a batch of replies out, nothing allocated for what the cache can answer.

use super::admission::{Admission, ClientNetwork, Ruling};
use crate::config::{Limits, Network};
use hither_net::batch::Batch;
use hither_rounds::{Question, Rounds, reply};
use hither_table::{Counter, Monotonic};
use hither_wire::codes::Rcode;
use hither_wire::query::{Query, Refusal, cut_to_question, refuse};
use std::net::IpAddr;

/// What answers from the cache: the core in the event loop, or what a worker has of it.
pub(super) trait Cache {
    /// Writes the reply to a query that needs no round; 0: it needs one.
    fn answer_hit(&mut self, now: Monotonic, query: &Query<'_>, limit: usize, out: &mut [u8]) -> usize;
    fn count(&mut self, counter: Counter, more: u64);
}

impl Cache for Rounds {
    fn answer_hit(&mut self, now: Monotonic, query: &Query<'_>, limit: usize, out: &mut [u8]) -> usize {
        Rounds::answer_hit(self, now, query, limit, out)
    }

    fn count(&mut self, counter: Counter, more: u64) {
        self.counters().add(counter, more);
    }
}

/// What is to become of a query.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // Looked at once, where it is made; a box would be an allocation a query.
pub(super) enum Verdict {
    /// The reply stands in the buffer; 0: none is sent.
    Reply(usize),
    /// It needs a round.
    Ask(Question, bool),
}

/// Answers one query as far as that needs no round. `limit` octets at most, or the client's own limit where that is `None`.
pub(super) fn answer(
    cache: &mut impl Cache,
    allow: &[Network],
    now: Monotonic,
    (query, peer, limit): (&[u8], IpAddr, Option<usize>),
    out: &mut [u8],
) -> Verdict {
    cache.count(Counter::Queries, 1);
    if !allow.iter().any(|network| network.contains(peer)) {
        cache.count(Counter::RefusedClients, 1);
        let silent = matches!(Query::read(query), Err(Refusal::Silent));
        return Verdict::Reply(if silent { 0 } else { refuse(query, Rcode::REFUSED.0.into(), out) });
    }
    match Query::read(query) {
        Ok(read) => {
            let len = cache.answer_hit(now, &read, limit.unwrap_or_else(|| read.udp_limit()), out);
            if len > 0 {
                return Verdict::Reply(len);
            }
            let question = Question {
                name: read.name_lower(),
                rtype: read.qtype(),
                dnssec_ok: read.dnssec_ok(),
                checking_disabled: read.cd(),
            };
            Verdict::Ask(question, read.rd())
        }
        Err(Refusal::Silent) => {
            cache.count(Counter::MalformedQueries, 1);
            Verdict::Reply(0)
        }
        Err(Refusal::Answer { rcode, malformed }) => {
            cache.count(Counter::MalformedQueries, u64::from(malformed));
            Verdict::Reply(refuse(query, rcode, out))
        }
    }
}

/// What answering a batch takes.
pub(super) struct Desk<'a, C> {
    pub cache: &'a mut C,
    pub allow: &'a [Network],
    pub limits: &'a Limits,
    pub admission: &'a mut Admission,
    /// Whether each network's share of what waits is looked at here, rather than where it waits.
    pub admits: bool,
    pub now: Monotonic,
    /// Queries that may be left for later.
    pub room: usize,
}

/// Answers the received batch as far as that needs no round; `miss` gets the others, as many as there is room for.
pub(super) fn answer_batch<C: Cache>(
    mut desk: Desk<'_, C>,
    batch: &mut Batch,
    count: usize,
    mut miss: impl FnMut(usize, Question, bool),
) {
    let limits = desk.limits;
    for n in 0..count {
        let Some(peer) = batch.peer(n) else { continue };
        let (query, out) = batch.pair(n);
        let mut len = match answer(desk.cache, desk.allow, desk.now, (query, peer.ip(), None), out) {
            Verdict::Reply(len) => len,
            Verdict::Ask(question, recursion) => {
                let network = ClientNetwork::of(peer.ip());
                let most = limits.clients_per_network;
                if desk.room > 0 && (!desk.admits || desk.admission.admit(network, most)) {
                    desk.room -= 1;
                    batch.set_reply(n, 0);
                    miss(n, question, recursion);
                    continue;
                }
                desk.cache.count(Counter::ShedQueries, 1);
                shed(query, out)
            }
        };
        if limits.replies_per_second > 0 && len > 0 {
            match desk.admission.judge(peer.ip(), &out[..len], limits.replies_per_second, desk.now) {
                Ruling::Send => {}
                Ruling::Cut => {
                    desk.cache.count(Counter::RateLimited, 1);
                    len = cut_to_question(&mut out[..len]);
                }
                Ruling::Drop => {
                    desk.cache.count(Counter::RateLimited, 1);
                    len = 0;
                }
            }
        }
        batch.set_reply(n, len);
    }
}

/// There is more to do than can be done: whoever came last is told so at once.
fn shed(query: &[u8], out: &mut [u8]) -> usize {
    let Ok(read) = Query::read(query) else { return 0 };
    reply::failure(&read, Rcode::SERVFAIL, Some(reply::ede::OTHER), read.udp_limit(), out)
}
