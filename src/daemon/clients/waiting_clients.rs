//! Clients that wait for a round: the parts of their queries that the reply needs, and the destination
//! of the reply.

use crate::daemon::clients::admission::ClientNetwork;
use crate::daemon::sources::Slot;
use hither_net::batch::{Received, Route};
use hither_rounds::{ClientId, Question, Source};
use hither_table::Monotonic;
use hither_wire::query::Query;
use slab::Slab;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;

/// The destination of a reply.
#[derive(Clone, Debug)]
pub(crate) enum ReplyTo {
    Udp {
        socket: usize,
        route: Route,
    },
    Tcp(Slot),
    /// To a local connection of `hitherctl`.
    Control(Slot),
    /// To the daemon itself, which looks up the host name of an upstream.
    HostName,
}

#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// The parts of the query that the reply repeats: id, flags, letter case, EDNS.
    pub query: Vec<u8>,
    pub reply_to: ReplyTo,
    pub peer: SocketAddr,
    /// The network whose bound on waiting queries it counts for.
    pub network: Option<ClientNetwork>,
    /// When the query arrived.
    pub since: Monotonic,
}

impl Pending {
    /// Keeps only the needed parts of the query: a long one would take memory as long as its client
    /// waits.
    pub fn new(query: &Query<'_>, reply_to: ReplyTo, peer: SocketAddr, since: Monotonic) -> Pending {
        let mut stripped = [0; 12 + 255 + 4 + 11];
        let len = query.write_without_options(&mut stripped);
        let network = ClientNetwork::of(peer.ip());
        Pending { query: stripped[..len].to_vec(), reply_to, peer, network, since }
    }

    /// Whether another query is a retransmission of this one: from the same client to the same
    /// address, with the same id, letter case and EDNS.
    fn is_repeated_by(&self, other: &Pending) -> bool {
        let same_route = match (&self.reply_to, &other.reply_to) {
            (ReplyTo::Udp { socket, route }, ReplyTo::Udp { socket: other, route: back }) => {
                socket == other && route.leaves_as(back)
            }
            (ReplyTo::Udp { .. } | ReplyTo::Tcp(_) | ReplyTo::Control(_) | ReplyTo::HostName, _) => false,
        };
        same_route && self.peer == other.peer && self.query == other.query
    }
}

/// A query that needs a round, as it was received.
#[derive(Debug)]
pub(crate) struct Taken {
    pub pending: Pending,
    pub question: Question,
    pub recursion: bool,
}

impl Taken {
    /// The query of a datagram in a batch. `None` if there is no address to reply to, which cannot
    /// happen.
    pub fn of(
        received: Received<'_>,
        n: usize,
        query: &Query<'_>,
        socket: usize,
        now: Monotonic,
    ) -> Option<Taken> {
        let reply_to = ReplyTo::Udp { socket, route: received.route(n) };
        let pending = Pending::new(query, reply_to, received.peer(n)?, now);
        Some(Taken { pending, question: Question::of(query), recursion: query.rd() })
    }
}

/// A client in its slot.
#[derive(Debug)]
struct Client {
    count: u64,
    /// A hash by which retransmissions of its query are found; 0 if they are not looked for.
    print: u64,
    pending: Pending,
}

/// All clients that wait, for their round to begin or for its answer.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// A generation counter, which distinguishes clients that have the same slot one after the other.
    count: u64,
    clients: Slab<Client>,
    /// Clients that wait by UDP, by the hash of query and sender. Of two with the same hash,
    /// retransmissions are found of one only, and the other may get two replies.
    prints: HashMap<u64, ClientId>,
    secret: RandomState,
}

/// Bits of a client id for its slot, then for the generation counter. The upper 16 are for the source.
const PLACE_BITS: u32 = 28;
const COUNT_BITS: u32 = 20;

impl Waiting {
    pub fn add(&mut self, source: Source, pending: Pending) -> ClientId {
        self.count = (self.count + 1) % (1 << COUNT_BITS);
        let print = self.print(&pending);
        let key = self.clients.insert(Client { count: self.count, print, pending });
        let client = ClientId::of(source, self.count << PLACE_BITS | key as u64);
        if print != 0 {
            self.prints.insert(print, client);
        }
        client
    }

    fn key(&self, id: ClientId) -> Option<usize> {
        let key = (id.0 % (1 << PLACE_BITS)) as usize;
        let count = id.0 >> PLACE_BITS & ((1 << COUNT_BITS) - 1);
        self.clients.get(key).filter(|client| client.count == count)?;
        Some(key)
    }

    pub fn get(&self, id: ClientId) -> Option<&Pending> {
        self.key(id).and_then(|key| self.clients.get(key)).map(|client| &client.pending)
    }

    pub fn take(&mut self, id: ClientId) -> Option<Pending> {
        let client = self.clients.remove(self.key(id)?);
        if self.prints.get(&client.print) == Some(&id) {
            self.prints.remove(&client.print);
        }
        Some(client.pending)
    }

    /// Whether this query is a retransmission of one that waits already.
    pub fn has(&self, pending: &Pending) -> bool {
        let known = self.prints.get(&self.print(pending)).and_then(|id| self.get(*id));
        known.is_some_and(|known| known.is_repeated_by(pending))
    }

    /// 0 for clients whose retransmissions are not looked for.
    fn print(&self, pending: &Pending) -> u64 {
        match pending.reply_to {
            ReplyTo::Udp { .. } => self.secret.hash_one((pending.peer, &pending.query)).max(1),
            ReplyTo::Tcp(_) | ReplyTo::Control(_) | ReplyTo::HostName => 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(port: u16, id: u8) -> Pending {
        let query = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
        let reply_to = ReplyTo::Tcp(Slot { key: 0, generation: 0 });
        let peer = SocketAddr::from(([127, 0, 0, 1], port));
        Pending { query, reply_to, peer, network: None, since: Monotonic(0) }
    }

    #[test]
    fn a_slot_that_is_used_again_is_another_client() {
        let mut waiting = Waiting::default();
        let first = waiting.add(Source::of(3), pending(1, 1));
        assert_eq!((first.source(), waiting.get(first).map(|p| p.peer.port())), (Source::of(3), Some(1)));
        assert!(waiting.take(first).is_some() && waiting.is_empty());
        let second = waiting.add(Source::of(3), pending(2, 1));
        assert!(waiting.take(first).is_none() && waiting.get(first).is_none());
        assert!(waiting.take(second).is_some() && waiting.prints.is_empty());
    }
}
