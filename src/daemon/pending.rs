//! Clients whose reply needs a round: what they asked, and how to reach them.

use super::tokens::Slot;
use hither_net::batch::Route;
use hither_rounds::ClientId;
use std::collections::BTreeMap;

/// How a reply gets to its client.
#[derive(Debug)]
pub(super) enum Way {
    Udp {
        socket: usize,
        route: Box<Route>,
    },
    Tcp(Slot),
    /// The operator's tool, on a local connection.
    Control(Slot),
}

#[derive(Debug)]
pub(super) struct Pending {
    /// The query as it came: the reply keeps its id, letter case and EDNS.
    pub query: Vec<u8>,
    pub way: Way,
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
