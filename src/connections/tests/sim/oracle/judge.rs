//! What has to be true once all actions of a call are executed.

use super::{Oracle, State};
use hither_connections::{DRAINING_MAX, EndpointId, READY_MAX};
use hither_table::Monotonic;

impl Oracle {
    /// All actions of the call are executed; the machine waits until `next`.
    pub fn drained(&mut self, next: Option<Monotonic>) {
        let step = &self.step;
        assert_eq!(step.to_deliver, None, "a response was not delivered");
        assert_eq!(step.to_report, None, "a query that had waited was sent without a report");
        assert!(step.to_fail.is_empty(), "queries did not fail: {:?}", step.to_fail);
        assert!(step.to_cancel.is_empty(), "channels were not cancelled: {:?}", step.to_cancel);
        assert!(step.to_void.is_empty(), "tickets were not voided: {:?}", step.to_void);
        assert!(step.may_close.is_empty(), "connections were not closed: {:?}", step.may_close);
        for id in self.endpoints.keys() {
            self.check_endpoint(*id);
        }
        for (id, connection) in &self.connections {
            let is_idle = connection.state == State::Draining && connection.in_use.is_empty();
            assert!(!is_idle, "{id:?} takes no queries and waits for none");
            assert!(self.endpoints.contains_key(&connection.endpoint), "{id:?} has no endpoint");
        }
        if let Some(due) = self.next_due() {
            assert!(next.is_some_and(|next| next <= due), "the machine waits until {next:?}, not {due:?}");
            assert!(!step.is_timeout || due > self.now, "something is due that was not done");
        }
    }

    fn check_endpoint(&self, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get(&id) else { return };
        let [ready, draining, contending] =
            [State::Ready, State::Draining, State::Contending].map(|state| self.count(id, state));
        assert!(ready <= READY_MAX && draining <= DRAINING_MAX, "{id:?}: {ready} and {draining}");
        let waiting = self.waiting(id).count();
        assert!(waiting <= self.settings.waiting_max.max(1), "{waiting} queries wait");
        assert!(
            waiting == 0 || !self.is_left_alone(id),
            "{waiting} queries wait for a server that wants none"
        );
        for (token, query) in self.waiting(id) {
            let free = self.of(id, State::Ready).find(|id| {
                let connection = &self.connections[id];
                connection.in_use.len() < connection.streams_max as usize && query.refused_on != Some(*id)
            });
            assert_eq!(free, None, "{token:?} waits although a connection is free");
            if contending > 0 || ready == READY_MAX {
                continue;
            }
            let has_way = self.of(id, State::Ready).any(|id| query.refused_on != Some(id));
            let is_over = endpoint.health.pause_until.is_none_or(|until| self.now > until);
            let may_race = is_over && !endpoint.addresses.is_empty();
            let is_looked_up = endpoint.addresses.is_empty() && endpoint.is_looking_up;
            assert!(has_way && !may_race || is_looked_up, "{token:?} waits for nothing");
        }
    }

    /// When the machine has to do something at the latest.
    fn next_due(&self) -> Option<Monotonic> {
        let settings = &self.settings;
        let queries = self.queries.values().map(|query| query.accepted_at.plus(settings.query_max));
        let connections = self.connections.values().flat_map(|connection| {
            let is_contending = connection.state == State::Contending;
            let is_idle = !is_contending && connection.in_use.is_empty();
            let handshake = is_contending.then(|| connection.opened_at.plus(settings.handshake_max));
            let idle = is_idle.then(|| connection.idle_since.plus(connection.idle));
            let silence = connection.silent_since.map(|since| since.plus(settings.silence_max));
            [handshake, idle, silence].into_iter().flatten()
        });
        let endpoints = self.endpoints.iter().flat_map(|(id, endpoint)| {
            let is_racing = self.count(*id, State::Contending) > 0 && !endpoint.untried.is_empty();
            let is_used =
                endpoint.last_query.is_some_and(|last| self.now.since(last) < settings.reopen_within);
            let reopening = endpoint.health.reopen_by.filter(|_| is_used);
            let may_race =
                self.count(*id, State::Contending) == 0 && self.count(*id, State::Ready) < READY_MAX;
            let is_needed = self.waiting(*id).next().is_some() && !endpoint.addresses.is_empty();
            let pause = endpoint.health.pause_until.filter(|_| may_race && is_needed);
            [is_racing.then_some(endpoint.next_at), reopening, pause].into_iter().flatten()
        });
        queries.chain(connections).chain(endpoints).min()
    }
}
