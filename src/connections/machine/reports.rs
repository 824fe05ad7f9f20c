//! The state of endpoints and connections, for the operator.

use super::Machine;
use crate::connection::State;
use crate::endpoint::Handshakes;
use crate::ids::{ConnectionId, EndpointId};
use hither_table::Monotonic;
use std::net::SocketAddr;

/// Counts of events that concern no query.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Responses to queries that had ended.
    pub responses_late: u64,
    /// Responses on channels that no query was on.
    pub responses_strange: u64,
}

/// The state of one endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointReport {
    /// Its connections, oldest first.
    pub connections: Vec<ConnectionReport>,
    /// How many queries wait for a connection.
    pub waiting: usize,
    /// How many handshakes were completed.
    pub handshakes: Handshakes,
    /// The end of the pause after a failure; before it no connection is opened.
    pub pauses_until: Option<Monotonic>,
}

/// The state of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionReport {
    /// The number of the connection.
    pub id: ConnectionId,
    /// The address that it leads to.
    pub address: SocketAddr,
    /// What it can be used for.
    pub state: State,
    /// When connecting to it began.
    pub opened_at: Monotonic,
    /// Whether its handshake resumed an earlier session.
    pub is_resumed: bool,
    /// How many queries it has carried.
    pub queries: u64,
    /// How many of them wait for an answer.
    pub in_flight: usize,
}

impl Machine {
    /// The state of an endpoint; `None` if it is not configured.
    #[must_use]
    pub fn report(&self, id: EndpointId) -> Option<EndpointReport> {
        let endpoint = self.endpoints.get(&id)?;
        let own = self.connections.iter().filter(|(_, connection)| connection.endpoint == id);
        let connections = own
            .map(|(id, connection)| ConnectionReport {
                id: *id,
                address: connection.address,
                state: connection.state,
                opened_at: connection.opened_at,
                is_resumed: connection.resumed,
                queries: connection.channels.used(),
                in_flight: connection.channels.in_use(),
            })
            .collect();
        let pauses_until = endpoint.backoff.until().filter(|until| *until > self.now);
        let (waiting, handshakes) = (endpoint.waiting.len(), endpoint.handshakes);
        Some(EndpointReport { connections, waiting, handshakes, pauses_until })
    }

    /// How many handshakes of an endpoint were completed.
    #[must_use]
    pub fn handshakes(&self, id: EndpointId) -> Option<Handshakes> {
        self.endpoints.get(&id).map(|endpoint| endpoint.handshakes)
    }

    /// Counts of events that concern no query, since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }
}
