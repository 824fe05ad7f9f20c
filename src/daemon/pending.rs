//! Clients whose reply needs a round: what they asked, and how to reach them.

use super::admission::ClientNetwork;
use super::tokens::Slot;
use hither_net::batch::Route;
use hither_rounds::{ClientId, Question};
use std::collections::BTreeMap;
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
    pub fn new(query: Vec<u8>, way: Way, peer: IpAddr) -> Pending {
        Pending { query, way, peer, network: ClientNetwork::of(peer) }
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

#[derive(Debug, Default)]
pub(super) struct Waiting {
    next: u64,
    clients: BTreeMap<ClientId, Pending>,
}

impl Waiting {
    pub fn add(&mut self, pending: Pending) -> ClientId {
        self.next += 1;
        let id = ClientId(self.next);
        self.clients.insert(id, pending);
        id
    }

    pub fn take(&mut self, id: ClientId) -> Option<Pending> {
        self.clients.remove(&id)
    }
}
