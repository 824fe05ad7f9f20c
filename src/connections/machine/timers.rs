//! Timers: of queries, of connections, and of endpoints.

use super::Machine;
use crate::action::Failure;
use crate::connection::Connection;
use crate::ids::{ConnectionId, EndpointId};
use crate::mutant::Mutant;
use hither_table::Monotonic;

/// What is due for a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    /// Connecting or the handshake takes too long.
    Handshake,
    /// The server does not answer.
    Silence,
    /// No query needs it.
    Idle,
}

impl Machine {
    /// When [`Machine::handle_timeout`] is to be called; `None`: nothing is waited for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        let query = self.queries.next_deadline().filter(|_| !self.mutants.has(Mutant::QueryHasNoDeadline));
        let connection = self.connections.values().filter_map(|connection| self.next_due(connection));
        let endpoint = self.endpoints.values().filter_map(|endpoint| {
            let race = endpoint.race.as_ref().and_then(|race| race.next_at());
            let race = race.filter(|_| !self.mutants.has(Mutant::NextAddressWaitsForAFailure));
            let pause = endpoint.race_at().filter(|_| !self.mutants.has(Mutant::BackOffNeverEnds));
            [race, pause, endpoint.reopening.at()].into_iter().flatten().min()
        });
        query.into_iter().chain(connection.map(|(at, _)| at)).chain(endpoint).min()
    }

    /// The next timer of a connection.
    fn next_due(&self, connection: &Connection) -> Option<(Monotonic, Due)> {
        let has = |mutant| self.mutants.has(mutant);
        let handshake =
            connection.handshake_until(&self.settings).filter(|_| !has(Mutant::SilentHandshakeIsKept));
        let silence =
            connection.silent_until(&self.settings).filter(|_| !has(Mutant::SilentConnectionIsKept));
        let idle = connection.idle_until().filter(|_| !has(Mutant::IdleConnectionIsKept));
        let timers = [(handshake, Due::Handshake), (silence, Due::Silence), (idle, Due::Idle)];
        timers.into_iter().filter_map(|(at, due)| Some((at?, due))).min_by_key(|(at, _)| *at)
    }

    /// Fires the timers up to `until`, each once.
    pub(super) fn fire_timers(&mut self, until: Monotonic) {
        if self.poll_timeout().is_none_or(|next| next > until) {
            return;
        }
        while let Some(token) = self.queries.overdue(until) {
            let sent_on = self.queries.get(token).and_then(|query| query.sent_on);
            self.fail(token, Failure::Silent);
            if let Some((connection, _)) = sent_on {
                self.after_channel(connection);
            }
        }
        let is_due = |connection: &Connection| self.next_due(connection).is_some_and(|(at, _)| at <= until);
        let due = self.connections.iter().filter(|(_, connection)| is_due(connection));
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.fire_connection(id, until);
        }
        let ids: Vec<EndpointId> = self.endpoints.keys().copied().collect();
        for id in ids {
            self.fire_endpoint(id, until);
        }
    }

    fn fire_connection(&mut self, id: ConnectionId, until: Monotonic) {
        // What fired before may have closed it, or given it a query, so that another timer of it is next.
        let Some(connection) = self.connections.get(&id) else { return };
        let Some((_, due)) = self.next_due(connection).filter(|(at, _)| *at <= until) else { return };
        match due {
            Due::Handshake | Due::Silence => self.give_up(id, false),
            Due::Idle => {
                let of = connection.endpoint;
                self.close(id, true);
                // Queries may have waited for a server that allows none at a time.
                self.serve_waiting(of);
            }
        }
    }

    fn fire_endpoint(&mut self, id: EndpointId, until: Monotonic) {
        let is_due = |at: Option<Monotonic>| at.is_some_and(|at| at <= until);
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        if is_due(endpoint.race.as_ref().and_then(|race| race.next_at())) {
            self.open_next(id);
        } else if is_due(endpoint.race_at()) && !self.mutants.has(Mutant::BackOffNeverEnds) {
            endpoint.backoff.end();
            self.race_if_useful(id);
        } else if is_due(endpoint.reopening.at()) {
            endpoint.reopening.cancel();
            self.race_if_useful(id);
        }
    }

    /// Begins a race for queries that wait, or for those that will probably come.
    fn race_if_useful(&mut self, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get(&id) else { return };
        if endpoint.may_reopen(self.now, self.settings.reopen_within) {
            self.begin_race(id);
        } else {
            self.race_if_needed(id);
        }
    }
}
