//! The hit path: a batch of queries in, a batch of replies out, nothing allocated for what the cache can answer.

use crate::config::Network;
use hither_net::batch::{Batch, REPLY_MAX};
use hither_rounds::{Question, Rounds};
use hither_table::{Counter, Monotonic};
use hither_wire::codes::Rcode;
use hither_wire::query::{Query, Refusal, refuse};
use std::net::IpAddr;

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
    rounds: &mut Rounds,
    allow: &[Network],
    now: Monotonic,
    (query, peer, limit): (&[u8], IpAddr, Option<usize>),
    out: &mut [u8],
) -> Verdict {
    rounds.counters().add(Counter::Queries, 1);
    if !allow.iter().any(|network| network.contains(peer)) {
        rounds.counters().add(Counter::RefusedClients, 1);
        let silent = matches!(Query::read(query), Err(Refusal::Silent));
        return Verdict::Reply(if silent { 0 } else { refuse(query, Rcode::REFUSED.0.into(), out) });
    }
    match Query::read(query) {
        Ok(read) => {
            let len = rounds.answer_hit(now, &read, limit.unwrap_or_else(|| read.udp_limit()), out);
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
            rounds.counters().add(Counter::MalformedQueries, 1);
            Verdict::Reply(0)
        }
        Err(Refusal::Answer { rcode, malformed }) => {
            rounds.counters().add(Counter::MalformedQueries, u64::from(malformed));
            Verdict::Reply(refuse(query, rcode, out))
        }
    }
}

/// Answers the received batch as far as that needs no round; `miss` gets the others.
pub(super) fn answer_batch(
    rounds: &mut Rounds,
    allow: &[Network],
    now: Monotonic,
    batch: &mut Batch,
    count: usize,
    mut miss: impl FnMut(usize, Question, bool),
) {
    for n in 0..count {
        let Some(peer) = batch.peer(n) else { continue };
        let (query, out) = batch.pair(n);
        match answer(rounds, allow, now, (query, peer.ip(), None), &mut out[..REPLY_MAX]) {
            Verdict::Reply(len) => batch.set_reply(n, len),
            Verdict::Ask(question, recursion) => miss(n, question, recursion),
        }
    }
}
