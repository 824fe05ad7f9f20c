//! What inputs mean for the oracle's model.

use super::{Connection, Endpoint, Health, Oracle, Query, State, used};
use hither_connections::{
    Channel, ConnectionId, EndpointId, Input, LEFT_ALONE_MAX, Limits, Numbering, STREAMS_MAX, Token, Why,
};
use hither_table::Monotonic;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

impl Oracle {
    /// An event is reported to the machine.
    pub fn input(&mut self, now: Monotonic, input: &Input<'_>) {
        self.begin(now, false);
        match input {
            Input::Endpoint { id, addresses, is_looking_up, numbering, limits } if !self.is_stopping => {
                self.endpoint(*id, addresses, *numbering, *limits);
                self.endpoints.entry(*id).and_modify(|endpoint| endpoint.is_looking_up = *is_looking_up);
            }
            Input::Endpoint { .. } => {}
            Input::Forget { id } => {
                self.endpoints.remove(id);
                let own = self.connections.iter().filter(|(_, c)| c.endpoint == *id).map(|(id, _)| *id);
                self.step.may_close.extend(own);
                let own = self.queries.iter().filter(|(_, q)| q.endpoint == *id).map(|(token, _)| *token);
                self.step.to_fail.extend(own);
            }
            Input::Query { token, endpoint, .. } => self.query(*token, *endpoint),
            Input::Cancel { token } => self.cancelled(*token),
            Input::Connected { .. } => {}
            Input::Ready { connection, streams_max, idle, .. } => {
                self.ready(*connection, *streams_max, *idle);
            }
            Input::Response { connection, channel, octets } => {
                self.step.to_deliver =
                    self.channel_ended(*connection, *channel).map(|token| (token, octets.to_vec()));
            }
            Input::Reset { connection, channel, may_retry } => {
                match self.channel_ended(*connection, *channel) {
                    Some(token) if *may_retry => self.lose([token], Some(*connection)),
                    Some(token) => {
                        self.step.to_fail.insert(token);
                        self.queries.entry(token).and_modify(|query| query.on = None);
                    }
                    None => {}
                }
            }
            Input::Drain { connection, last } => self.draining(*connection, *last),
            Input::Limits { connection, streams_max, idle } => {
                self.limits(*connection, *streams_max, *idle);
            }
            Input::LeaveAlone { connection, time } => self.left_alone(*connection, *time),
            Input::Closed { connection, why } => self.closed(*connection, *why),
            Input::NetworkChanged => self.network_changed(),
            Input::Shutdown => {
                self.is_stopping = true;
                self.endpoints.clear();
                self.step.may_close.extend(self.connections.keys());
                self.step.to_fail.extend(self.queries.keys());
            }
        }
    }

    fn endpoint(&mut self, id: EndpointId, addresses: &[SocketAddr], numbering: Numbering, limits: Limits) {
        let is_racing = self.count(id, State::Contending) > 0;
        let endpoint = self.endpoints.entry(id).or_insert_with(|| Endpoint {
            addresses: Vec::new(),
            is_looking_up: false,
            numbering,
            limits,
            best: None,
            untried: BTreeSet::new(),
            next_at: Monotonic(0),
            last_query: None,
            health: Health::default(),
        });
        let listed = used(addresses);
        let added: Vec<_> = listed.iter().copied().filter(|a| !endpoint.addresses.contains(a)).collect();
        if !added.is_empty() {
            endpoint.health = Health {
                is_down: endpoint.health.is_down,
                reopen_by: endpoint.health.reopen_by,
                has_reached: endpoint.health.has_reached,
                ..Health::default()
            };
        }
        if is_racing {
            endpoint.untried.retain(|address| listed.contains(address));
            endpoint.untried.extend(added);
        }
        if listed.is_empty() {
            endpoint.health.reopen_by = None;
        }
        (endpoint.addresses, endpoint.limits) = (listed, limits);
    }

    fn query(&mut self, token: Token, id: EndpointId) {
        if self.queries.contains_key(&token) {
            return;
        }
        match self.endpoints.get_mut(&id) {
            Some(endpoint) => endpoint.last_query = Some(self.now),
            None => drop(self.step.to_fail.insert(token)),
        }
        let query = Query {
            endpoint: id,
            accepted_at: self.now,
            accepted_in: self.step.number,
            on: None,
            losses: 0,
            has_waited: false,
            refused_on: None,
        };
        self.queries.insert(token, query);
    }

    fn cancelled(&mut self, token: Token) {
        let Some((id, channel)) = self.queries.remove(&token).and_then(|query| query.on) else { return };
        self.step.to_cancel.insert((id, channel));
        self.channel_cancelled(id, channel);
    }

    pub(super) fn channel_cancelled(&mut self, id: ConnectionId, channel: Channel) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.in_use.remove(&channel);
        connection.idle_since = self.now;
        if self.endpoints.get(&connection.endpoint).is_none_or(|e| e.numbering == Numbering::Random) {
            connection.reserved.insert(channel);
        }
    }

    fn ready(&mut self, id: ConnectionId, streams_max: u32, idle: Option<Duration>) {
        let Some(of) = self.connections.get(&id).filter(|c| c.state == State::Contending) else { return };
        let of = of.endpoint;
        let losers: Vec<_> = self.of(of, State::Contending).filter(|other| *other != id).collect();
        self.step.may_close.extend(losers);
        self.step.has_winner = true;
        let idle = idle.unwrap_or(self.settings.idle);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        (connection.state, connection.idle_since) = (State::Ready, self.now);
        if let Some(endpoint) = self.endpoints.get_mut(&of) {
            endpoint.best = Some(connection.address);
            endpoint.untried.clear();
            (endpoint.health.pause_until, endpoint.health.reopen_by) = (None, None);
        }
        self.apply(id, Some(streams_max), Some(idle));
    }

    fn apply(&mut self, id: ConnectionId, streams_max: Option<u32>, idle: Option<Duration>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(endpoint) = self.endpoints.get(&connection.endpoint) else { return };
        if let Some(most) = streams_max {
            connection.streams_max = most.min(endpoint.limits.streams_max.clamp(1, STREAMS_MAX));
        }
        if let Some(idle) = idle {
            connection.idle = idle.min(endpoint.limits.idle);
        }
    }

    /// The server answered or reset a channel. Returns the query that waits for that.
    fn channel_ended(&mut self, id: ConnectionId, channel: Channel) -> Option<Token> {
        let connection = self.connections.get_mut(&id).filter(|c| c.state != State::Contending)?;
        let numbering = self.endpoints.get(&connection.endpoint)?.numbering;
        let token = connection.in_use.remove(&channel);
        let was_reserved = connection.reserved.remove(&channel);
        let was_used = numbering == Numbering::Ascending && channel.0 < connection.used;
        if token.is_some() {
            connection.idle_since = self.now;
        }
        if token.is_some() || was_reserved || was_used {
            let is_waited_for = !connection.in_use.is_empty() || !connection.reserved.is_empty();
            connection.silent_since = is_waited_for.then_some(self.now);
        }
        token
    }

    fn draining(&mut self, id: ConnectionId, last: Option<Channel>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let of = connection.endpoint;
        if connection.state == State::Contending {
            self.step.may_close.insert(id);
            return;
        }
        connection.state = State::Draining;
        let Some(endpoint) = self.endpoints.get(&of) else { return };
        let is_unprocessed = |channel: Channel| match (endpoint.numbering, last) {
            (_, None) => true,
            (Numbering::Ascending, Some(last)) => channel > last,
            (Numbering::Random, Some(_)) => false,
        };
        let lost: Vec<_> =
            connection.in_use.iter().filter(|(c, _)| is_unprocessed(**c)).map(|(c, t)| (*c, *t)).collect();
        connection.in_use.retain(|channel, _| !is_unprocessed(*channel));
        self.lose(lost.into_iter().map(|(_, token)| token), Some(id));
        self.expect_reopening(of);
    }

    fn limits(&mut self, id: ConnectionId, streams_max: Option<u32>, idle: Option<Duration>) {
        self.apply(id, streams_max, idle);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.state == State::Ready && idle == Some(Duration::ZERO) {
            connection.state = State::Draining;
        }
    }

    fn left_alone(&mut self, id: ConnectionId, time: Duration) {
        let Some(connection) = self.connections.get(&id).filter(|c| c.state != State::Contending) else {
            return;
        };
        let until = self.now.plus(time.min(LEFT_ALONE_MAX));
        if let Some(endpoint) = self.endpoints.get_mut(&connection.endpoint) {
            endpoint.health.left_alone_until = endpoint.health.left_alone_until.max(Some(until));
            endpoint.health.reopen_by = None;
        }
        self.seen.left_alone += 1;
    }

    fn closed(&mut self, id: ConnectionId, why: Why) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let of = connection.endpoint;
        if connection.state == State::Contending {
            return self.contender_lost(of, why == Why::NoSocket);
        }
        let is_orderly = matches!(why, Why::Ended | Why::Idle) && connection.in_use.is_empty();
        let is_barren = connection.delivered == 0 && connection.used > 0;
        if why == Why::Handshake {
            self.note_failure(of);
        } else if is_barren && !is_orderly {
            self.note_barren(of);
        }
        self.lose(connection.in_use.into_values(), Some(id));
        self.expect_reopening(of);
    }

    /// A connection of a race is gone.
    pub(super) fn contender_lost(&mut self, of: EndpointId, had_no_socket: bool) {
        let is_last = self.count(of, State::Contending) == 0;
        let Some(endpoint) = self.endpoints.get_mut(&of) else { return };
        self.step.lost.insert(of);
        endpoint.health.has_reached |= !had_no_socket;
        if !is_last || !endpoint.untried.is_empty() {
            return;
        }
        if std::mem::take(&mut endpoint.health.has_reached) {
            self.note_failure(of);
        } else {
            endpoint.health.pause_until = Some(self.now.plus(self.settings.backoff_min));
        }
    }

    fn network_changed(&mut self) {
        self.seen.network_changes += 1;
        self.step.to_void.extend(self.endpoints.keys());
        self.step.may_close.extend(self.connections.keys());
        for query in self.queries.values_mut() {
            if query.on.take().is_some() {
                query.has_waited = true;
            }
            query.refused_on = None;
        }
        // They have to be closed, and count as closed already.
        for connection in self.connections.values_mut() {
            connection.in_use.clear();
            connection.state = State::Draining;
        }
        let ids: Vec<_> = self.endpoints.keys().copied().collect();
        for id in ids {
            if let Some(endpoint) = self.endpoints.get_mut(&id) {
                endpoint.best = None;
                endpoint.untried.clear();
                endpoint.health = Health { is_down: endpoint.health.is_down, ..Health::default() };
            }
            self.expect_reopening(id);
        }
    }

    /// A connection that the machine has opened.
    pub(super) fn connection(&self, endpoint: EndpointId, address: SocketAddr) -> Connection {
        Connection {
            endpoint,
            address,
            opened_at: self.now,
            state: State::Contending,
            streams_max: 0,
            idle: Duration::ZERO,
            in_use: Default::default(),
            reserved: BTreeSet::new(),
            used: 0,
            delivered: 0,
            idle_since: self.now,
            silent_since: None,
        }
    }
}
