//! Queries: accepted, put on a connection, queued, and ended.

use super::Machine;
use crate::action::{Action, Failure};
use crate::connection::Connection;
use crate::ids::{ConnectionId, EndpointId, Token};
use crate::mutant::Mutant;
use crate::queries::Query;
use std::rc::Rc;

impl Machine {
    pub(super) fn accept(&mut self, token: Token, endpoint: EndpointId, octets: Rc<[u8]>) {
        let until = self.now.plus(self.settings.query_max);
        if !self.queries.add(token, Query::new(endpoint, octets), until) {
            return;
        }
        let now = self.now;
        match self.endpoints.get_mut(&endpoint) {
            Some(endpoint) => {
                endpoint.last_query = Some(now);
                endpoint.waiting.push_back(token);
            }
            None if self.is_stopping => return self.fail(token, Failure::Stopped),
            None => return self.fail(token, Failure::Forgotten),
        }
        self.serve_waiting(endpoint);
        if let Some(query) = self.queries.get_mut(token) {
            query.has_waited = query.sent_on.is_none();
        }
    }

    pub(super) fn cancel(&mut self, token: Token) {
        if self.mutants.has(Mutant::CancelledQueryIsDelivered) {
            return;
        }
        let Some(query) = self.queries.remove(token) else { return };
        let Some((connection, channel)) = query.sent_on else {
            self.unqueue(token, query.endpoint);
            return;
        };
        self.act(Action::CancelChannel { connection, channel });
        if self.mutants.has(Mutant::CancelFreesNothing) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.cancel_channel(self.now, channel);
        }
        self.after_channel(connection);
    }

    fn unqueue(&mut self, token: Token, endpoint: EndpointId) {
        if let Some(endpoint) = self.endpoints.get_mut(&endpoint) {
            endpoint.waiting.retain(|other| *other != token);
        }
    }

    /// Ends a query without a response. The channel of one that was sent is cancelled.
    pub(super) fn fail(&mut self, token: Token, failure: Failure) {
        let Some(query) = self.queries.remove(token) else { return };
        self.act(Action::Fail { token, failure });
        let Some((connection, channel)) = query.sent_on else {
            return self.unqueue(token, query.endpoint);
        };
        if let Some(found) = self.connections.get_mut(&connection) {
            found.cancel_channel(self.now, channel);
            self.act(Action::CancelChannel { connection, channel });
        }
    }

    /// Puts waiting queries on connections, and begins a race for those that need a further one. While the
    /// server is to be left alone, they fail.
    pub(super) fn serve_waiting(&mut self, id: EndpointId) {
        let now = self.now;
        if let Some(endpoint) = self.endpoints.get_mut(&id).filter(|found| found.backoff.is_left_alone(now)) {
            for token in std::mem::take(&mut endpoint.waiting) {
                self.fail(token, Failure::Backoff);
            }
            return;
        }
        let mut at = 0;
        while let Some(endpoint) = self.endpoints.get(&id) {
            let Some(token) = endpoint.waiting.get(at).copied() else { break };
            let avoids = self.queries.get(token).and_then(|query| query.avoids);
            match self.free_connection(id, avoids) {
                Some(connection) => {
                    self.unqueue_at(id, at);
                    self.send(token, connection);
                }
                // A query that avoids no connection finds none: neither does any other.
                None if avoids.is_none() => break,
                None => at += 1,
            }
        }
        self.race_if_needed(id);
        self.bound_queue(id);
    }

    fn unqueue_at(&mut self, id: EndpointId, at: usize) {
        if let Some(endpoint) = self.endpoints.get_mut(&id) {
            endpoint.waiting.remove(at);
        }
    }

    /// The oldest connection of the endpoint that takes one more query: the second one serves what the
    /// first cannot, and is closed when it is idle.
    fn free_connection(&self, id: EndpointId, avoids: Option<ConnectionId>) -> Option<ConnectionId> {
        let endpoint = self.endpoints.get(&id)?;
        let is_free = |connection: &ConnectionId| {
            let takes_more = self.connections.get(connection).is_some_and(Connection::has_free_channel);
            takes_more && Some(*connection) != avoids
        };
        let found = endpoint.ready.iter().copied().find(is_free);
        self.wrong_connection(id).or(found)
    }

    /// The connection that a planted fault takes.
    fn wrong_connection(&self, id: EndpointId) -> Option<ConnectionId> {
        let endpoint = self.endpoints.get(&id)?;
        if self.mutants.has(Mutant::DrainingConnectionGetsQueries) {
            endpoint.draining.front().copied()
        } else if self.mutants.has(Mutant::ConnectionServesAnotherEndpoint) {
            self.connections.iter().find(|(_, c)| c.has_free_channel()).map(|(id, _)| *id)
        } else if self.mutants.has(Mutant::RefusedQueryStaysOnItsConnection) {
            let has_free =
                |id: &&ConnectionId| self.connections.get(id).is_some_and(Connection::has_free_channel);
            endpoint.ready.iter().find(has_free).copied()
        } else if self.mutants.has(Mutant::LimitOfStreamsIsExceeded) {
            endpoint.ready.first().copied()
        } else {
            None
        }
    }

    fn send(&mut self, token: Token, id: ConnectionId) {
        let mutants = self.mutants;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(query) = self.queries.get_mut(token) else { return };
        let channel = connection.channels.open(token, &mut *self.random, mutants);
        connection.note_sent(self.now);
        query.sent_on = Some((id, channel));
        let (octets, has_waited) = (query.octets.clone(), query.has_waited);
        self.act(Action::Send { connection: id, channel, octets });
        if has_waited && !mutants.has(Mutant::TransmissionIsNotReported) {
            self.act(Action::Transmitted { token });
        }
        self.retire_if_exhausted(id);
    }

    /// Fails the oldest waiting queries beyond the bound.
    fn bound_queue(&mut self, id: EndpointId) {
        if self.mutants.has(Mutant::QueueHasNoBound) {
            return;
        }
        let most = self.settings.waiting_max.max(1);
        loop {
            let Some(endpoint) = self.endpoints.get(&id) else { return };
            let Some(oldest) = endpoint.waiting.front().filter(|_| endpoint.waiting.len() > most) else {
                return;
            };
            self.fail(*oldest, Failure::TooMany);
        }
    }

    /// Fails the waiting queries that no connection of the endpoint can serve, unless a race is on.
    pub(super) fn fail_unservable(&mut self, id: EndpointId, failure: Failure) {
        let Some(endpoint) = self.endpoints.get(&id).filter(|endpoint| endpoint.race.is_none()) else {
            return;
        };
        let only = match endpoint.ready[..] {
            [] => None,
            [only] => Some(only),
            _ => return,
        };
        let avoids = |token: &Token| self.queries.get(*token).and_then(|query| query.avoids);
        let is_unservable = |token: &&Token| only.is_none() || avoids(token) == only;
        let unservable: Vec<Token> = endpoint.waiting.iter().filter(is_unservable).copied().collect();
        for token in unservable {
            self.fail(token, failure);
        }
    }

    /// Queues queries whose connection or channel is lost, before those that wait already. Each is sent
    /// only once more.
    pub(super) fn retry(&mut self, id: EndpointId, tokens: &[Token], avoids: Option<ConnectionId>) {
        for token in tokens.iter().rev() {
            let Some(query) = self.queries.get_mut(*token) else { continue };
            query.sent_on = None;
            if query.is_retried && !self.mutants.has(Mutant::RetriesTwice)
                || self.mutants.has(Mutant::RetryIsLost)
            {
                self.fail(*token, Failure::Closed);
                continue;
            }
            (query.is_retried, query.has_waited, query.avoids) = (true, true, avoids);
            if let Some(endpoint) = self.endpoints.get_mut(&id) {
                endpoint.waiting.push_front(*token);
            }
        }
    }
}
