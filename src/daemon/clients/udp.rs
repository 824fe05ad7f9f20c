//! The hit path: a batch of queries is received, hits are answered without allocation, and the replies
//! are sent together.

use crate::config::{Limits, Network};
use crate::daemon::clients::asked::Asked;
use crate::daemon::clients::rate_limit::{RateLimit, Ruling};
use crate::daemon::clients::tap::Observer;
use crate::daemon::core::Core;
use hither_net::batch::{BATCH_MAX, Batch, Received};
use hither_rounds::{PlacedQuery, reply};
use hither_table::{Counter, Monotonic, Place};
use hither_wire::codes::Rcode;
use hither_wire::query::{Query, Refusal, cut_to_question, refuse};
use std::net::IpAddr;

/// Answers queries from the cache: the core in the event loop, a reader of the same memory in a worker.
pub(crate) trait Cache {
    /// The place in the table where the answer to a query may be.
    fn place(&self, query: &Query<'_>) -> Option<Place>;
    /// Prefetches these records into the processor's cache.
    fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone);
    /// Writes the reply to a query and returns its length; 0: it needs a round.
    fn answer_hit(&mut self, now: Monotonic, query: PlacedQuery<'_>, limit: usize, out: &mut [u8]) -> usize;
    fn count(&mut self, counter: Counter, more: u64);
}

/// The outcome of a miss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taking {
    /// The query waits for its round.
    Waits,
    /// The query is a retransmission of one that already waits.
    Repeated,
    /// A limit is reached: the query gets SERVFAIL.
    Refused,
}

impl Cache for Core {
    fn place(&self, query: &Query<'_>) -> Option<Place> {
        Core::place(self, query)
    }

    fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone) {
        self.rounds().fetch(places);
    }

    fn answer_hit(&mut self, now: Monotonic, query: PlacedQuery<'_>, limit: usize, out: &mut [u8]) -> usize {
        Core::answer_hit(self, now, query, limit, out)
    }

    fn count(&mut self, counter: Counter, more: u64) {
        self.counters().add(counter, more);
    }
}

/// Whether a query can be answered at once.
#[derive(Debug)]
pub(crate) enum Verdict<'q> {
    /// The reply is in the buffer and has this length; at 0 none is sent.
    Reply(usize),
    /// The query needs a round.
    Ask(&'q Query<'q>),
}

/// A query, and the client that has sent it.
#[derive(Clone, Copy)]
pub(crate) struct ClientQuery<'q> {
    pub asked: &'q Asked<'q>,
    pub client: IpAddr,
    /// How many octets the reply may have; `None`: as many as the client accepts by UDP.
    pub limit: Option<usize>,
}

/// Answers one query if it needs no round.
pub(crate) fn answer<'q>(
    cache: &mut impl Cache,
    allow: &[Network],
    now: Monotonic,
    query: ClientQuery<'q>,
    out: &mut [u8],
) -> Verdict<'q> {
    let ClientQuery { asked, client, limit } = query;
    cache.count(Counter::Queries, 1);
    if !allow.iter().any(|network| network.contains(client)) {
        cache.count(Counter::RefusedClients, 1);
        let silent = matches!(asked.read, Err(Refusal::Silent));
        return Verdict::Reply(if silent { 0 } else { refuse(asked.octets, Rcode::REFUSED.0.into(), out) });
    }
    match &asked.read {
        Ok(read) => {
            let limit = limit.unwrap_or_else(|| read.udp_limit());
            let len = cache.answer_hit(now, PlacedQuery { query: read, place: asked.place }, limit, out);
            if len > 0 {
                return Verdict::Reply(len);
            }
            Verdict::Ask(read)
        }
        Err(Refusal::Silent) => {
            cache.count(Counter::MalformedQueries, 1);
            Verdict::Reply(0)
        }
        Err(Refusal::Reply { rcode, malformed }) => {
            cache.count(Counter::MalformedQueries, u64::from(*malformed));
            Verdict::Reply(refuse(asked.octets, *rcode, out))
        }
    }
}

/// The cache and the limits by which a batch is answered.
pub(crate) struct Responder<'a, C> {
    pub cache: &'a mut C,
    pub allow: &'a [Network],
    pub limits: &'a Limits,
    pub rate_limit: &'a mut RateLimit,
    pub observer: &'a mut Observer,
    pub now: Monotonic,
}

/// Answers the hits of a received batch. `miss` gets the other queries. Those that it refuses get
/// SERVFAIL in the same batch, and are counted.
pub(crate) fn answer_batch<C: Cache>(
    mut responder: Responder<'_, C>,
    batch: &mut Batch,
    count: usize,
    mut miss: impl FnMut(&C, Received<'_>, usize, &Query<'_>) -> Taking,
) {
    let (received, mut replies) = batch.parts();
    let mut all = [const { None }; BATCH_MAX];
    for (n, one) in all.iter_mut().enumerate().take(count) {
        let asked = one.insert(Asked::read(received.query(n)));
        asked.place = asked.read.as_ref().ok().and_then(|query| responder.cache.place(query));
    }
    if count > 1 {
        responder.cache.fetch(all.iter().flatten().filter_map(|asked| asked.place.as_ref()));
    }
    for (n, asked) in all.iter().flatten().enumerate() {
        let Some(peer) = received.peer(n) else { continue };
        replies.write(n, |out| {
            responder.answer(asked, peer.ip(), out, |responder, query| miss(responder, received, n, query))
        });
    }
    if responder.observer.is_on() {
        responder.observer.batch(&all[..count], received, &replies, responder.now);
    }
}

impl<C: Cache> Responder<'_, C> {
    /// Writes the reply to a query, or hands it to `miss`.
    fn answer(
        &mut self,
        asked: &Asked<'_>,
        peer: IpAddr,
        out: &mut [u8],
        miss: impl FnOnce(&C, &Query<'_>) -> Taking,
    ) -> usize {
        let query = ClientQuery { asked, client: peer, limit: None };
        let len = match answer(self.cache, self.allow, self.now, query, out) {
            Verdict::Reply(len) => len,
            Verdict::Ask(query) => {
                if miss(self.cache, query) != Taking::Refused {
                    return 0;
                }
                self.cache.count(Counter::ShedQueries, 1);
                shed(asked, out)
            }
        };
        let most = self.limits.replies_per_second;
        if most == 0 || len == 0 {
            return len;
        }
        let ruling = self.rate_limit.judge(peer, &out[..len], most, self.now);
        self.cache.count(Counter::RateLimited, u64::from(ruling != Ruling::Send));
        match ruling {
            Ruling::Send => len,
            Ruling::Truncate => cut_to_question(&mut out[..len]),
            Ruling::Drop => 0,
        }
    }
}

/// Writes SERVFAIL for a query that is refused at a limit.
fn shed(asked: &Asked<'_>, out: &mut [u8]) -> usize {
    let Ok(read) = &asked.read else { return 0 };
    reply::failure(read, Rcode::SERVFAIL, Some(reply::ede::OTHER), read.udp_limit(), out)
}
