//! Misses that wait for their rounds: a queue for each source, served in turn. When all slots are
//! taken, the longest queue loses its oldest query to a newcomer. So a flood delays and loses its own
//! queries, not those of others.

use crate::daemon::clients::fair_queue::Queues;
use hither_rounds::{ClientId, Question, Source};
use hither_table::Monotonic;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Queries that may wait. In a flood a round takes some 10 microseconds to begin, and a tenth of the
/// time is spent on that, so the last of them waits some 200 milliseconds.
pub(crate) const MISSES_MAX: usize = 2048;
/// Time spent on beginning rounds before hits have their turn.
const SLICE_TIME: Duration = Duration::from_micros(200);
/// The same after the queue was full, and the time between two such slices. Answering takes time as
/// well, and hits should find the daemon idle most of the time.
const SLICE_TIME_CROWDED: Duration = Duration::from_micros(100);
const SLICE_EVERY: Duration = Duration::from_millis(1);

/// A query that waits for its round to begin.
#[derive(Clone, Debug)]
pub(crate) struct Miss {
    pub client: ClientId,
    pub peer: SocketAddr,
    pub question: Question,
    pub recursion: bool,
}

#[derive(Debug)]
pub(crate) struct Misses {
    queues: Queues<Miss>,
    /// Keys the hash that sources are derived by, so that clients cannot choose the source they count for.
    secret: RandomState,
    /// The queue was full. Until it is empty, rounds are begun in one slice of time per millisecond.
    is_crowded: bool,
    next_slice: Monotonic,
}

impl Misses {
    pub fn new() -> Misses {
        Misses {
            queues: Queues::with_capacity(MISSES_MAX),
            secret: RandomState::new(),
            is_crowded: false,
            next_slice: Monotonic(0),
        }
    }

    /// Begins a slice of time in which rounds may be begun, and returns its end. `None`: no query
    /// waits, or hits have the time now.
    pub fn begin_slice(&mut self, clock: fn() -> Monotonic) -> Option<Monotonic> {
        if self.is_empty() {
            self.is_crowded = false;
            return None;
        }
        self.is_crowded |= self.len() >= MISSES_MAX;
        let began = clock();
        if self.is_crowded && began < self.next_slice {
            return None;
        }
        self.next_slice = began.plus(SLICE_EVERY);
        Some(began.plus(if self.is_crowded { SLICE_TIME_CROWDED } else { SLICE_TIME }))
    }

    /// Whether a slice may begin at once.
    pub fn is_due(&self) -> bool {
        !self.is_empty() && !self.is_crowded
    }

    /// When the next slice may begin, if not at once.
    pub fn timeout(&self) -> Option<Monotonic> {
        (self.is_crowded && !self.is_empty()).then_some(self.next_slice)
    }

    /// The source that the queries of a client count for. Programs on this host differ only by port;
    /// other clients count by address, in IPv6 by /64.
    pub fn source(&self, peer: SocketAddr) -> Source {
        let address = peer.ip().to_canonical();
        let port = if address.is_loopback() { peer.port() } else { 0 };
        let address = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) if v6.is_loopback() => v6.octets(),
            IpAddr::V6(v6) => (u128::from_be_bytes(v6.octets()) >> 64 << 64).to_be_bytes(),
        };
        Source::of(self.secret.hash_one((address, port)))
    }

    pub fn len(&self) -> usize {
        self.queues.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whether one more query of a source may wait, possibly in a slot taken from another source.
    pub fn has_room_for(&self, source: Source) -> bool {
        self.len() < MISSES_MAX || self.queues.tally().ahead_of(source).is_some()
    }

    /// Adds a query. Returns the client whose query lost its slot: the oldest query of the longest
    /// queue.
    pub fn push(&mut self, miss: Miss) -> Option<ClientId> {
        let full = self.len() >= MISSES_MAX;
        let gone = full.then(|| self.queues.take_of_fullest()).flatten().map(|miss| miss.client);
        self.queues.push(miss.client.source(), miss);
        gone
    }

    /// The next query whose round is to begin.
    pub fn pop(&mut self) -> Option<Miss> {
        self.queues.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_wire::codes::Rtype;
    use hither_wire::name::Name;

    fn miss(source: u64, number: u64) -> Miss {
        Miss {
            client: ClientId::of(Source::of(source), number),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            question: Question {
                name: Name::ROOT,
                rtype: Rtype::A,
                dnssec_ok: false,
                checking_disabled: false,
            },
            recursion: true,
        }
    }

    fn full_of(sources: u64) -> Misses {
        let mut misses = Misses::new();
        for number in 0..MISSES_MAX as u64 {
            assert_eq!(misses.push(miss(number % sources, number)), None);
        }
        misses
    }

    #[test]
    fn the_longest_queue_loses_a_query_and_a_newcomer_is_served_beside_it() {
        let mut misses = full_of(1);
        assert!(!misses.has_room_for(Source::of(0)) && misses.has_room_for(Source::of(7)));
        let gone = misses.push(miss(7, 9999)).expect("a query loses its slot");
        assert_eq!((gone, misses.len()), (ClientId::of(Source::of(0), 0), MISSES_MAX));
        let served: Vec<ClientId> = (0..4).filter_map(|_| misses.pop()).map(|miss| miss.client).collect();
        assert!(served[..2].contains(&ClientId::of(Source::of(7), 9999)), "{served:?}");
        while misses.pop().is_some() {}
        assert!(misses.is_empty() && misses.queues.tally().is_empty());
    }

    #[test]
    fn each_of_many_sources_has_its_turn() {
        let mut misses = full_of(512);
        assert!(misses.has_room_for(Source::of(600)));
        misses.push(miss(600, 9999));
        // A source that was served and has more is served beside those that have not been.
        let first = (0..2 * 513).filter_map(|_| misses.pop()).map(|miss| miss.client.0 >> 48);
        let served: std::collections::BTreeSet<u64> = first.collect();
        assert!(served.len() == 513 && served.contains(&600), "{} sources are served", served.len());
    }

    #[test]
    fn no_source_loses_a_query_where_all_have_equally_many() {
        let misses = full_of(MISSES_MAX as u64);
        assert!(!misses.has_room_for(Source::of(3000)) && !misses.has_room_for(Source::of(3)));
    }

    #[test]
    fn programs_of_this_host_are_distinguished_by_port_and_others_by_address() {
        let misses = Misses::new();
        let source = |text: &str| misses.source(text.parse().expect("an address"));
        let many = |text: fn(u16) -> String| {
            (1..=64).map(|n| source(&text(n))).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert!(many(|n| format!("127.0.0.1:{n}")) > 50);
        assert_eq!(many(|n| format!("192.0.2.1:{n}")), 1);
        assert!(many(|n| format!("192.0.2.{n}:53")) > 50);
        assert_eq!(many(|n| format!("[2001:db8::{n}]:53")), 1);
        assert_eq!(source("[::ffff:127.0.0.1]:7"), source("127.0.0.1:7"));
    }
}
