//! The hit path: a batch of queries in, a batch of replies out, nothing allocated for what the cache can answer.

use crate::config::{Limits, Network};
use crate::daemon::clients::admission::{Admission, Ruling};
use crate::daemon::core::Core;
use hither_net::batch::{Batch, Received, SIZE};
use hither_rounds::reply;
use hither_table::{Counter, Monotonic, Place};
use hither_wire::codes::Rcode;
use hither_wire::query::{Query, Refusal, cut_to_question, refuse};
use std::net::IpAddr;

/// What answers from the cache: the core in the event loop, or what a worker has of it.
pub(crate) trait Cache {
    /// Where in the table the answer to a query may be.
    fn place(&self, query: &Query<'_>) -> Option<Place>;
    /// Has what is at some places fetched from memory.
    fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone);
    /// Writes the reply to a query that needs no round; 0: it needs one.
    fn answer_hit(
        &mut self,
        now: Monotonic,
        query: (&Query<'_>, Option<Place>),
        limit: usize,
        out: &mut [u8],
    ) -> usize;
    fn count(&mut self, counter: Counter, more: u64);
}

/// What became of a query that needs a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// It waits.
    Waits,
    /// It waited already; its client has sent it again.
    Again,
    /// There is no room for it.
    Refused,
}

impl Cache for Core {
    fn place(&self, query: &Query<'_>) -> Option<Place> {
        Core::place(self, query)
    }

    fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone) {
        self.rounds().fetch(places);
    }

    fn answer_hit(
        &mut self,
        now: Monotonic,
        query: (&Query<'_>, Option<Place>),
        limit: usize,
        out: &mut [u8],
    ) -> usize {
        Core::answer_hit(self, now, query, limit, out)
    }

    fn count(&mut self, counter: Counter, more: u64) {
        self.counters().add(counter, more);
    }
}

/// What is to become of a query.
#[derive(Debug)]
pub(crate) enum Verdict<'q> {
    /// The reply stands in the buffer; 0: none is sent.
    Reply(usize),
    /// It needs a round.
    Ask(&'q Query<'q>),
}

/// A query as it came, and what reading it gave.
pub(crate) struct Asked<'q> {
    pub octets: &'q [u8],
    pub read: Result<Query<'q>, Refusal>,
    /// Where its answer may be, if that has been found out.
    pub place: Option<Place>,
}

impl<'q> Asked<'q> {
    pub fn read(octets: &'q [u8]) -> Asked<'q> {
        Asked { octets, read: Query::read(octets), place: None }
    }
}

/// Answers one query as far as that needs no round. `limit` octets at most, or the client's own limit where that is `None`.
pub(crate) fn answer<'q>(
    cache: &mut impl Cache,
    allow: &[Network],
    now: Monotonic,
    (asked, peer, limit): (&'q Asked<'q>, IpAddr, Option<usize>),
    out: &mut [u8],
) -> Verdict<'q> {
    cache.count(Counter::Queries, 1);
    if !allow.iter().any(|network| network.contains(peer)) {
        cache.count(Counter::RefusedClients, 1);
        let silent = matches!(asked.read, Err(Refusal::Silent));
        return Verdict::Reply(if silent { 0 } else { refuse(asked.octets, Rcode::REFUSED.0.into(), out) });
    }
    match &asked.read {
        Ok(read) => {
            let limit = limit.unwrap_or_else(|| read.udp_limit());
            let len = cache.answer_hit(now, (read, asked.place), limit, out);
            if len > 0 {
                return Verdict::Reply(len);
            }
            Verdict::Ask(read)
        }
        Err(Refusal::Silent) => {
            cache.count(Counter::MalformedQueries, 1);
            Verdict::Reply(0)
        }
        Err(Refusal::Answer { rcode, malformed }) => {
            cache.count(Counter::MalformedQueries, u64::from(*malformed));
            Verdict::Reply(refuse(asked.octets, *rcode, out))
        }
    }
}

/// What answering a batch takes.
pub(crate) struct Desk<'a, C> {
    pub cache: &'a mut C,
    pub allow: &'a [Network],
    pub limits: &'a Limits,
    pub admission: &'a mut Admission,
    pub now: Monotonic,
}

/// Answers the received batch as far as that needs no round; `miss` gets the others, and says what becomes of them. Who is refused is told SERVFAIL in the
/// same batch, and counted.
pub(crate) fn answer_batch<C: Cache>(
    mut desk: Desk<'_, C>,
    batch: &mut Batch,
    count: usize,
    mut miss: impl FnMut((&C, &mut Admission), Received<'_>, usize, &Query<'_>) -> Left,
) {
    let (received, mut replies) = batch.parts();
    let mut all = [const { None }; SIZE];
    for (n, one) in all.iter_mut().enumerate().take(count) {
        let asked = one.insert(Asked::read(received.query(n)));
        asked.place = asked.read.as_ref().ok().and_then(|query| desk.cache.place(query));
    }
    if count > 1 {
        desk.cache.fetch(all.iter().flatten().filter_map(|asked| asked.place.as_ref()));
    }
    for (n, asked) in all.iter().flatten().enumerate() {
        let Some(peer) = received.peer(n) else { continue };
        replies
            .write(n, |out| desk.answer(asked, peer.ip(), out, |desk, query| miss(desk, received, n, query)));
    }
}

impl<C: Cache> Desk<'_, C> {
    /// Writes the reply to a query, or hands it to `miss`.
    fn answer(
        &mut self,
        asked: &Asked<'_>,
        peer: IpAddr,
        out: &mut [u8],
        miss: impl FnOnce((&C, &mut Admission), &Query<'_>) -> Left,
    ) -> usize {
        let len = match answer(self.cache, self.allow, self.now, (asked, peer, None), out) {
            Verdict::Reply(len) => len,
            Verdict::Ask(query) => {
                if miss((self.cache, self.admission), query) != Left::Refused {
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
        let ruling = self.admission.judge(peer, &out[..len], most, self.now);
        self.cache.count(Counter::RateLimited, u64::from(ruling != Ruling::Send));
        match ruling {
            Ruling::Send => len,
            Ruling::Cut => cut_to_question(&mut out[..len]),
            Ruling::Drop => 0,
        }
    }
}

/// There is more to do than can be done: whose turn it is to go is told so at once.
fn shed(asked: &Asked<'_>, out: &mut [u8]) -> usize {
    let Ok(read) = &asked.read else { return 0 };
    reply::failure(read, Rcode::SERVFAIL, Some(reply::ede::OTHER), read.udp_limit(), out)
}
