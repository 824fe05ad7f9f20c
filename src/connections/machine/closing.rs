//! Connections that end: their queries are sent again, and what their end says of the endpoint.

use super::Machine;
use crate::action::{Action, Failure};
use crate::connection::State;
use crate::ids::{ConnectionId, EndpointId, Token};
use crate::input::Why;
use crate::mutant::Mutant;
use std::collections::BTreeMap;

impl Machine {
    /// The shell reports that a connection is gone.
    pub(super) fn note_closed(&mut self, id: ConnectionId, why: Why) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let of = connection.endpoint;
        if connection.is_contending() {
            return self.lose_contender(id, of, failure(why, connection.state));
        }
        self.forget_connection(id, of);
        let tokens = connection.channels.tokens();
        let is_orderly = matches!(why, Why::Ended | Why::Idle) && tokens.is_empty();
        self.retry(of, &tokens, Some(id));
        if why == Why::Handshake {
            self.note_failure(of, Failure::Handshake);
            self.fail_unservable(of, Failure::Handshake);
        } else if !is_orderly && connection.is_barren() {
            self.note_barren(of);
        }
        self.serve_waiting(of);
        if !self.mutants.has(Mutant::ClosedConnectionIsNotReopened) {
            self.plan_reopening(of);
        }
    }

    /// Closes a connection whose server has been silent for too long, or that has to make room.
    pub(super) fn give_up(&mut self, id: ConnectionId, politely: bool) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let of = connection.endpoint;
        self.act(Action::Close { connection: id, politely });
        if connection.is_contending() {
            let failure = match connection.state {
                State::Connecting => Failure::Unreachable,
                State::Handshaking | State::Ready | State::Draining => Failure::Handshake,
            };
            return self.lose_contender(id, of, failure);
        }
        self.forget_connection(id, of);
        self.retry(of, &connection.channels.tokens(), Some(id));
        if connection.is_barren() {
            self.note_barren(of);
        }
        self.serve_waiting(of);
    }

    /// Closes a connection that no query is on.
    pub(super) fn close(&mut self, id: ConnectionId, politely: bool) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.forget_connection(id, connection.endpoint);
        self.act(Action::Close { connection: id, politely });
    }

    fn forget_connection(&mut self, id: ConnectionId, of: EndpointId) {
        if let Some(endpoint) = self.endpoints.get_mut(&of) {
            endpoint.remove(id);
        }
    }

    /// A connection has ended without an answer. If that is a failure of the endpoint, the queries that
    /// wait for another connection fail.
    pub(super) fn note_barren(&mut self, of: EndpointId) {
        let is_failure = self.endpoints.get_mut(&of).is_some_and(|endpoint| endpoint.backoff.note_barren());
        if is_failure {
            self.note_failure(of, Failure::Closed);
            self.fail_unservable(of, Failure::Closed);
        }
    }

    pub(super) fn void_tickets(&mut self, ids: &[EndpointId]) {
        if self.mutants.has(Mutant::TicketsOutliveANetworkChange) {
            return;
        }
        for endpoint in ids {
            self.act(Action::VoidTickets { endpoint: *endpoint });
        }
    }

    /// Closes all connections, since the host's network is another one. Their queries wait for new ones,
    /// and may be sent once more after that.
    pub(super) fn close_all(&mut self) {
        if self.mutants.has(Mutant::ConnectionsOutliveANetworkChange) {
            return;
        }
        let mut lost: BTreeMap<EndpointId, Vec<Token>> = BTreeMap::new();
        for (id, connection) in std::mem::take(&mut self.connections) {
            lost.entry(connection.endpoint).or_default().extend(connection.channels.tokens());
            self.act(Action::Close { connection: id, politely: false });
        }
        let counts = self.mutants.has(Mutant::NetworkChangeCountsAsRetry);
        for (id, endpoint) in &mut self.endpoints {
            endpoint.ready.clear();
            endpoint.draining.clear();
            endpoint.race = None;
            let mut tokens = lost.remove(id).unwrap_or_default();
            tokens.sort_unstable();
            for token in tokens.into_iter().rev() {
                let Some(query) = self.queries.get_mut(token) else { continue };
                (query.sent_on, query.has_waited, query.avoids) = (None, true, None);
                query.is_retried |= counts;
                endpoint.waiting.push_front(token);
            }
        }
    }
}

/// What the end of a connection that was not ready means for the race.
fn failure(why: Why, state: State) -> Failure {
    match (why, state) {
        (Why::NoSocket, _) => Failure::NoSocket,
        (Why::Refused, _) => Failure::Refused,
        (Why::Unreachable | Why::Idle, State::Connecting) => Failure::Unreachable,
        (Why::Reset | Why::Ended, State::Connecting) => Failure::Refused,
        (Why::Handshake | Why::Unreachable | Why::Idle | Why::Reset | Why::Ended, _) => Failure::Handshake,
    }
}
