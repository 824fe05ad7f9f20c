//! Races for a connection: begun, won and lost; pauses; connecting again behind.

use super::Machine;
use crate::action::{Action, Failure, Note};
use crate::connection::{Connection, State};
use crate::ids::{ConnectionId, EndpointId};
use crate::mutant::Mutant;
use crate::race::Race;
use std::time::Duration;

impl Machine {
    /// Begins a race if queries wait and the endpoint may be connected to; else fails those that nothing
    /// can serve.
    pub(super) fn race_if_needed(&mut self, id: EndpointId) {
        let (now, third) = (self.now, self.mutants.has(Mutant::ThirdConnectionIsOpened));
        let second = self.mutants.has(Mutant::SecondRaceBegins);
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        let may_race = endpoint.may_race() || third && endpoint.race.is_none() || second;
        if endpoint.waiting.is_empty() || !may_race {
            return;
        }
        if endpoint.has_no_address() {
            if !endpoint.addresses.is_looking_up || self.mutants.has(Mutant::LookUpIsNotAwaited) {
                self.fail_unservable(id, Failure::NoAddress);
            }
            return;
        }
        let never_ends = self.mutants.has(Mutant::BackOffNeverEnds) && endpoint.backoff.until().is_some();
        let is_pausing = endpoint.backoff.is_pausing(now) || never_ends;
        if is_pausing && !self.mutants.has(Mutant::BackOffNeverBegins) {
            endpoint.backoff.is_wanted = true;
            return self.fail_unservable(id, Failure::Backoff);
        }
        self.begin_race(id);
    }

    pub(super) fn begin_race(&mut self, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        endpoint.backoff.end();
        endpoint.reopening.cancel();
        endpoint.race = Some(Race::new(endpoint.addresses_in_order()));
        self.open_next(id);
    }

    /// Tries the next address of the race.
    pub(super) fn open_next(&mut self, id: EndpointId) {
        let next_at = self.now.plus(self.settings.attempt_delay);
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        let Some(race) = &mut endpoint.race else { return };
        let Some(address) = race.next_address() else { return };
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        race.note_opened(connection, next_at);
        let opened = Connection::new(id, address, endpoint.numbering, self.now);
        self.connections.insert(connection, opened);
        self.act(Action::Open { connection, endpoint: id, address });
    }

    pub(super) fn note_connected(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.state == State::Connecting
        {
            connection.state = State::Handshaking;
        }
    }

    /// A connection is ready: it wins the race of its endpoint, and the others are closed.
    pub(super) fn win(
        &mut self,
        id: ConnectionId,
        resumed: bool,
        streams_max: u32,
        server_idle: Option<Duration>,
    ) {
        let Some(connection) = self.connections.get_mut(&id).filter(|found| found.is_contending()) else {
            return;
        };
        let of = connection.endpoint;
        let Some(endpoint) = self.endpoints.get_mut(&of) else { return };
        connection.resumed = resumed;
        connection.make_ready(self.now);
        connection.limit(endpoint.limits, Some(streams_max), Some(server_idle.unwrap_or(self.settings.idle)));
        if !self.mutants.has(Mutant::BestAddressIsForgotten) {
            endpoint.addresses.best = Some(connection.address);
        }
        endpoint.ready.push(id);
        endpoint.handshakes.all += 1;
        endpoint.handshakes.resumed += u64::from(resumed);
        endpoint.backoff.note_ready();
        let contenders = endpoint.race.take().map(|race| race.contenders).unwrap_or_default();
        for loser in contenders.into_iter().filter(|contender| *contender != id) {
            if !self.mutants.has(Mutant::LosersStayOpen) {
                self.connections.remove(&loser);
                self.act(Action::Close { connection: loser, politely: false });
            }
        }
        self.serve_waiting(of);
    }

    /// A connection of a race has failed, and is forgotten already.
    pub(super) fn lose_contender(&mut self, id: ConnectionId, of: EndpointId, failure: Failure) {
        let Some(endpoint) = self.endpoints.get_mut(&of) else { return };
        let Some(race) = &mut endpoint.race else { return };
        race.note_failed(id, failure);
        let Some(failure) = race.lost() else { return self.open_next(of) };
        endpoint.race = None;
        if failure == Failure::NoSocket {
            endpoint.backoff.pause(self.now, &self.settings);
        } else {
            self.note_failure(of, failure);
        }
        self.fail_unservable(of, failure);
    }

    /// An endpoint could not be used: it is left alone for a while.
    pub(super) fn note_failure(&mut self, of: EndpointId, failure: Failure) {
        let Some(endpoint) = self.endpoints.get_mut(&of) else { return };
        let was_up = endpoint.backoff.note_failure(self.now, &self.settings);
        if let Some(until) = endpoint.backoff.until().filter(|_| was_up) {
            self.act(Action::Note(Note::Down { endpoint: of, failure, until }));
        }
    }

    /// Plans to connect before the next query needs it, if queries came lately.
    pub(super) fn plan_reopening(&mut self, of: EndpointId) {
        let Some(endpoint) = self.endpoints.get_mut(&of) else { return };
        if endpoint.may_reopen(self.now, self.settings.reopen_within) {
            endpoint.reopening.plan(self.now, &self.settings);
        }
    }
}
