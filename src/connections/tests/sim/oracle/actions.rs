//! Whether each action is allowed, and what it means for the oracle's model.

use super::{Oracle, State};
use hither_connections::{
    Action, Channel, ConnectionId, EndpointId, Failure, Note, Numbering, READY_MAX, Token,
};
use std::net::SocketAddr;

impl Oracle {
    /// The machine has asked for an action.
    pub fn action(&mut self, action: &Action) {
        if let Some(token) = self.step.to_report.take() {
            assert_eq!(*action, Action::Transmitted { token }, "the query had waited");
            self.seen.transmitted += 1;
            return;
        }
        match action {
            Action::Open { connection, endpoint, address } => self.open(*connection, *endpoint, *address),
            Action::Send { connection, channel, octets } => self.send(*connection, *channel, octets),
            Action::Transmitted { token } => panic!("{token:?} was not sent just now, or had not waited"),
            Action::CancelChannel { connection, channel } => {
                let is_due = self.step.to_cancel.remove(&(*connection, *channel));
                assert!(is_due, "{channel:?} of {connection:?} has nothing to cancel");
            }
            Action::Close { connection, .. } => self.close(*connection),
            Action::Deliver { token, octets } => self.deliver(*token, octets),
            Action::Fail { token, failure } => self.fail(*token, *failure),
            Action::VoidTickets { endpoint } => {
                assert!(self.step.to_void.remove(endpoint), "the network is the same: {endpoint:?}");
            }
            Action::Note(note) => self.note(*note),
        }
    }

    fn open(&mut self, id: ConnectionId, of: EndpointId, address: SocketAddr) {
        assert!(self.latest_connection.is_none_or(|latest| id > latest), "{id:?} was used before");
        assert!(!self.step.to_void.contains(&of), "{of:?} is connected to with its old tickets");
        assert!(self.count(of, State::Ready) < READY_MAX, "{of:?} has two connections");
        let is_racing = self.count(of, State::Contending) > 0 || self.step.lost.contains(&of);
        let is_pausing = self.is_pausing(of);
        let (now, settings) = (self.now, self.settings);
        let is_waited_for = self.waiting(of).next().is_some();
        let endpoint = self.endpoints.get_mut(&of).expect("the endpoint is configured");
        if !is_racing || endpoint.untried.is_empty() {
            assert_eq!(
                self.connections
                    .values()
                    .filter(|c| c.endpoint == of && c.state == State::Contending)
                    .count(),
                0,
                "a second race begins"
            );
            assert!(!is_pausing, "a race during the pause");
            let is_used = endpoint
                .last_query
                .is_some_and(|last| now.since(last) <= settings.reopen_within + settings.backoff_max);
            assert!(is_used || is_waited_for, "nobody needs {of:?}");
            if let Some(best) = endpoint.best.filter(|best| endpoint.addresses.contains(best)) {
                assert_eq!(address, best, "the best address comes first");
            }
            endpoint.untried = endpoint.addresses.iter().copied().collect();
            endpoint.health.has_reached = false;
            self.seen.reopened += u64::from(endpoint.health.reopen_by.take().is_some());
        } else {
            let is_due = now >= endpoint.next_at || self.step.lost.remove(&of);
            assert!(is_due, "the next address of {of:?} is not due");
        }
        assert!(endpoint.untried.remove(&address), "{address} is none of {of:?}, or was tried");
        endpoint.health.pause_until = None;
        endpoint.next_at = now.plus(settings.attempt_delay);
        let connection = self.connection(of, address);
        self.connections.insert(id, connection);
        self.latest_connection = Some(id);
        self.seen.opened += 1;
    }

    fn send(&mut self, id: ConnectionId, channel: Channel, octets: &[u8]) {
        let number = octets.first_chunk().map(|token| u64::from_be_bytes(*token));
        let token = Token(number.expect("a query begins with its token"));
        let of = self.connections.get(&id).expect("the connection is open").endpoint;
        assert!(!self.is_left_alone(of), "{of:?} wants to be left alone");
        let query = self.queries.get_mut(&token).expect("a query that has not ended is sent");
        let connection = self.connections.get_mut(&id).expect("the connection is open");
        assert_eq!(connection.state, State::Ready, "{id:?} takes no queries");
        assert_eq!(connection.endpoint, query.endpoint, "{token:?} goes to another endpoint");
        assert_eq!(query.on, None, "{token:?} is on a connection");
        assert!(query.losses < 2 && query.refused_on != Some(id), "{token:?} may not be sent there");
        assert!(connection.in_use.len() < connection.streams_max as usize, "{id:?} is full");
        let numbering = self.endpoints.get(&query.endpoint).expect("the endpoint is configured").numbering;
        match numbering {
            Numbering::Ascending => assert_eq!(channel.0, connection.used, "streams ascend"),
            Numbering::Random => {
                let is_taken =
                    connection.in_use.contains_key(&channel) || connection.reserved.contains(&channel);
                assert!(!is_taken && channel.0 <= 0xffff, "{channel:?} is taken");
            }
        }
        connection.used += 1;
        connection.in_use.insert(channel, token);
        connection.silent_since.get_or_insert(self.now);
        query.on = Some((id, channel));
        let has_waited = query.has_waited || query.accepted_in != self.step.number;
        self.step.to_report = has_waited.then_some(token);
    }

    fn close(&mut self, id: ConnectionId) {
        let connection = self.connections.remove(&id).expect("the connection is open");
        let of = connection.endpoint;
        let may_close = self.step.may_close.remove(&id);
        self.step.to_cancel.retain(|(other, _)| *other != id);
        let is_over = |since: hither_table::Monotonic, time| self.now >= since.plus(time);
        if connection.state == State::Contending {
            let is_late = is_over(connection.opened_at, self.settings.handshake_max);
            assert!(may_close || is_late, "{id:?} might still become ready");
            if !(may_close && self.step.has_winner) {
                self.contender_lost(of, false);
            }
            return;
        }
        let is_silent = connection.silent_since.is_some_and(|at| is_over(at, self.settings.silence_max));
        let is_idle = connection.in_use.is_empty() && is_over(connection.idle_since, connection.idle);
        // Of two timers that are due, the earlier one fires.
        let was_idle_first = connection.silent_since.is_none_or(|at| {
            connection.idle_since.plus(connection.idle) < at.plus(self.settings.silence_max)
        });
        let is_silent = is_silent && !(is_idle && was_idle_first);
        let is_drained = connection.in_use.is_empty() && connection.state == State::Draining;
        let is_crowded = connection.state == State::Draining
            && self.count(of, State::Draining) >= hither_connections::DRAINING_MAX;
        let is_due = is_silent || is_idle || is_drained || is_crowded;
        assert!(may_close || is_due, "{id:?} is still of use");
        if may_close {
            return;
        }
        let is_barren = connection.delivered == 0 && connection.used > 0;
        if is_barren && (is_silent || is_crowded || is_drained) {
            self.note_barren(of);
        }
        self.lose(connection.in_use.into_values(), Some(id));
    }

    fn deliver(&mut self, token: Token, octets: &[u8]) {
        let (expected, response) = self.step.to_deliver.take().expect("a response came");
        assert_eq!((expected, &response[..]), (token, octets), "the response is another query's");
        let query = self.queries.remove(&token).expect("the query has not ended");
        let (id, _) = query.on.expect("the query was sent");
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.delivered += 1;
        }
        if let Some(endpoint) = self.endpoints.get_mut(&query.endpoint) {
            (endpoint.health.failures, endpoint.health.barren) = (0, 0);
        }
        self.step.has_delivered = true;
        self.seen.delivered += 1;
    }

    fn fail(&mut self, token: Token, failure: Failure) {
        let query = self.queries.remove(&token).expect("the query has not ended");
        let was_due = self.step.to_fail.remove(&token);
        self.check_failure(token, &query, failure, was_due);
        self.seen.failed += 1;
        if let Some((id, channel)) = query.on
            && self.connections.contains_key(&id)
        {
            self.step.to_cancel.insert((id, channel));
            self.channel_cancelled(id, channel);
        }
    }

    fn note(&mut self, note: Note) {
        let (id, is_down) = match note {
            Note::Down { endpoint, .. } => (endpoint, true),
            Note::Up { endpoint } => (endpoint, false),
        };
        let health = &mut self.endpoints.get_mut(&id).expect("the endpoint is configured").health;
        assert_ne!(std::mem::replace(&mut health.is_down, is_down), is_down, "{id:?} is that already");
        assert!(is_down || self.step.has_delivered, "{id:?} has answered nothing");
        assert!(!is_down || health.failures > 0, "{id:?} has not failed");
    }
}
