//! Clients whose reply needs a round: what they asked, and how to reach them.

use super::admission::ClientNetwork;
use super::tokens::Slot;
use hither_net::batch::{Received, Route};
use hither_rounds::{ClientId, Question};
use hither_wire::query::Query;
use slab::Slab;
use std::net::{IpAddr, SocketAddr};

/// How a reply gets to its client.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Udp {
        socket: usize,
        route: Route,
    },
    Tcp(Slot),
    /// The operator's tool, on a local connection.
    Control(Slot),
}

#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// What of the query its reply keeps: id, flags, letter case, EDNS.
    pub query: Vec<u8>,
    pub way: Way,
    pub peer: IpAddr,
    /// Whose share of waiting queries it has.
    pub network: Option<ClientNetwork>,
}

impl Pending {
    /// Of the query its essence is kept: a long one would occupy memory for as long as its client waits.
    pub fn new(query: &Query<'_>, way: Way, peer: IpAddr) -> Pending {
        let mut essence = [0; 12 + 255 + 4 + 11];
        let len = query.essence(&mut essence);
        Pending { query: essence[..len].to_vec(), way, peer, network: ClientNetwork::of(peer) }
    }
}

/// A query that waits for its round to begin.
#[derive(Debug)]
pub(super) struct Miss {
    pub pending: Pending,
    pub peer: SocketAddr,
    pub question: Question,
    pub recursion: bool,
}

impl Miss {
    /// That of a datagram of a batch; `None` without an address to reply to, which cannot be.
    pub fn of(received: Received<'_>, n: usize, query: &Query<'_>, socket: usize) -> Option<Miss> {
        let peer = received.peer(n)?;
        let way = Way::Udp { socket, route: received.route(n) };
        let pending = Pending::new(query, way, peer.ip());
        Some(Miss { pending, peer, question: Question::of(query), recursion: query.rd() })
    }
}

/// Clients that wait for their rounds.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// How many there were: told apart by it are those that have a place one after the other.
    count: u32,
    clients: Slab<(u32, Pending)>,
}

impl Waiting {
    pub fn add(&mut self, pending: Pending) -> ClientId {
        self.count = self.count.wrapping_add(1);
        let key = self.clients.insert((self.count, pending));
        ClientId(u64::from(self.count) << 32 | key as u64)
    }

    pub fn take(&mut self, id: ClientId) -> Option<Pending> {
        let key = (id.0 & u64::from(u32::MAX)) as usize;
        self.clients.get(key).filter(|(count, _)| u64::from(*count) == id.0 >> 32)?;
        Some(self.clients.remove(key).1)
    }

    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }
}
