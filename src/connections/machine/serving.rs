//! Connections that are ready: responses, resets, limits, and the end of new queries.

use super::Machine;
use crate::action::{Action, Failure, Note};
use crate::connection::State;
use crate::ids::{Channel, ConnectionId, EndpointId};
use crate::mutant::Mutant;
use crate::settings::{DRAINING_MAX, LEFT_ALONE_MAX};
use std::time::Duration;

impl Machine {
    pub(super) fn deliver(&mut self, id: ConnectionId, channel: Channel, octets: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id).filter(|found| !found.is_contending()) else {
            self.counters.responses_late += 1;
            return;
        };
        let was_used = connection.channels.has_been_used(channel);
        let mut token = connection.end_channel(self.now, channel);
        if token.is_none()
            && self.mutants.has(Mutant::AnotherChannelIsDelivered)
            && let Some(other) = connection.channels.other_than(channel)
        {
            token = connection.end_channel(self.now, other);
        }
        let Some(token) = token else {
            let counters = &mut self.counters;
            let count = if was_used { &mut counters.responses_late } else { &mut counters.responses_strange };
            *count += 1;
            return self.after_channel(id);
        };
        connection.delivered += 1;
        let of = connection.endpoint;
        self.queries.remove(token);
        self.act(Action::Deliver { token, octets: octets.into() });
        if let Some(endpoint) = self.endpoints.get_mut(&of) {
            endpoint.reopening.note_answer();
            if endpoint.backoff.note_answer() {
                self.act(Action::Note(Note::Up { endpoint: of }));
            }
        }
        self.after_channel(id);
    }

    /// The server ended a channel without an answer.
    pub(super) fn end_channel(&mut self, id: ConnectionId, channel: Channel, may_retry: bool) {
        let Some(connection) = self.connections.get_mut(&id).filter(|found| !found.is_contending()) else {
            return;
        };
        let of = connection.endpoint;
        let Some(token) = connection.end_channel(self.now, channel) else { return self.after_channel(id) };
        if may_retry || self.mutants.has(Mutant::ResetQueryIsAlwaysRetried) {
            self.retry(of, &[token], Some(id));
        } else {
            if let Some(query) = self.queries.get_mut(token) {
                query.sent_on = None;
            }
            self.fail(token, Failure::Closed);
        }
        self.after_channel(id);
    }

    pub(super) fn change_limits(
        &mut self,
        id: ConnectionId,
        streams_max: Option<u32>,
        idle: Option<Duration>,
    ) {
        let Some(connection) = self.connections.get_mut(&id).filter(|found| !found.is_contending()) else {
            return;
        };
        let of = connection.endpoint;
        let Some(endpoint) = self.endpoints.get(&of) else { return };
        connection.limit(endpoint.limits, streams_max, idle);
        if idle == Some(Duration::ZERO) {
            self.retire(id, Some(Channel::MAX));
        }
        self.serve_waiting(of);
    }

    /// The server asks for no queries for a while. Those that wait fail at once.
    pub(super) fn leave_alone(&mut self, id: ConnectionId, time: Duration) {
        let Some(connection) = self.connections.get(&id).filter(|found| !found.is_contending()) else {
            return;
        };
        let of = connection.endpoint;
        let is_bounded = !self.mutants.has(Mutant::ServerIsLeftAloneForEver);
        let until = self.now.plus(if is_bounded { time.min(LEFT_ALONE_MAX) } else { time });
        if let Some(endpoint) = self.endpoints.get_mut(&of)
            && !self.mutants.has(Mutant::ServerIsNotLeftAlone)
        {
            endpoint.backoff.leave_alone(until);
        }
        self.serve_waiting(of);
    }

    /// The server takes no new queries on a connection: the next one is opened before it is needed.
    pub(super) fn drain_connection(&mut self, id: ConnectionId, last: Option<Channel>) {
        let of = self.connections.get(&id).map(|connection| connection.endpoint);
        self.retire(id, last);
        if let Some(of) = of {
            self.plan_reopening(of);
        }
    }

    /// A connection takes no new queries. Those above `last` are sent again elsewhere.
    fn retire(&mut self, id: ConnectionId, last: Option<Channel>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let of = connection.endpoint;
        if connection.is_contending() {
            self.connections.remove(&id);
            self.act(Action::Close { connection: id, politely: false });
            return self.lose_contender(id, of, Failure::Handshake);
        }
        let unprocessed = if self.mutants.has(Mutant::UnprocessedQueryStays) {
            Vec::new()
        } else {
            connection.channels.take_unprocessed(last)
        };
        let was_ready = std::mem::replace(&mut connection.state, State::Draining) == State::Ready;
        if was_ready && let Some(endpoint) = self.endpoints.get_mut(&of) {
            endpoint.remove(id);
            endpoint.draining.push_back(id);
        }
        self.retry(of, &unprocessed, Some(id));
        self.after_channel(id);
        self.bound_draining(of);
        self.serve_waiting(of);
    }

    /// Drains a connection that cannot take another query ever.
    pub(super) fn retire_if_exhausted(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.state != State::Ready || !connection.channels.is_exhausted() {
            return;
        }
        connection.state = State::Draining;
        if let Some(endpoint) = self.endpoints.get_mut(&connection.endpoint) {
            endpoint.remove(id);
            endpoint.draining.push_back(id);
        }
    }

    /// A channel has ended: a connection that only waited for it is closed, and a query that waits for
    /// a channel is sent.
    pub(super) fn after_channel(&mut self, id: ConnectionId) {
        self.retire_if_exhausted(id);
        let Some(connection) = self.connections.get(&id) else { return };
        let of = connection.endpoint;
        if connection.is_drained() {
            let is_barren = connection.is_barren();
            self.close(id, true);
            if is_barren {
                self.note_barren(of);
            }
        }
        self.serve_waiting(of);
    }

    fn bound_draining(&mut self, of: EndpointId) {
        let Some(endpoint) = self.endpoints.get(&of) else { return };
        if endpoint.draining.len() > DRAINING_MAX
            && let Some(oldest) = endpoint.draining.front().copied()
        {
            self.give_up(oldest, true);
        }
    }
}
