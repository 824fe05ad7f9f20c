//! The machine: events in, actions out. Each event is handed to the connection or query that it concerns.

mod closing;
mod connecting;
mod invariants;
mod queueing;
mod reports;
mod serving;
mod timers;

pub use reports::{ConnectionReport, Counters, EndpointReport};

use crate::action::{Action, Failure};
use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::ids::{ConnectionId, EndpointId, Token};
use crate::input::{Input, Limits, Numbering};
#[cfg(any(test, feature = "mutants"))]
use crate::mutant::Mutant;
use crate::mutant::Mutants;
use crate::queries::Queries;
use crate::race::Race;
use crate::settings::Settings;
use hither_table::Monotonic;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// The connections to all endpoints. The crate's documentation shows how to run it.
pub struct Machine {
    settings: Settings,
    /// The time of the current event; never goes back.
    now: Monotonic,
    random: Box<dyn FnMut() -> u64>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    connections: BTreeMap<ConnectionId, Connection>,
    queries: Queries,
    actions: VecDeque<Action>,
    /// No action is left and the shell has executed the last one, so that the next call may come.
    is_drained: bool,
    next_connection: u64,
    counters: Counters,
    is_stopping: bool,
    mutants: Mutants,
}

impl Machine {
    /// A machine without endpoints. `random` must be unpredictable: it gives the ids of queries over TLS.
    #[must_use]
    pub fn new(settings: Settings, random: Box<dyn FnMut() -> u64>) -> Machine {
        Machine {
            settings,
            now: Monotonic(0),
            random,
            endpoints: BTreeMap::new(),
            connections: BTreeMap::new(),
            queries: Queries::default(),
            actions: VecDeque::new(),
            is_drained: true,
            next_connection: 0,
            counters: Counters::default(),
            is_stopping: false,
            mutants: Mutants::default(),
        }
    }

    /// Plants a fault that tests must notice.
    #[cfg(any(test, feature = "mutants"))]
    pub fn plant(&mut self, mutant: Mutant) {
        self.mutants.plant(mutant);
    }

    /// Handles an event. Timers before `now` fire first. A time before that of an earlier call counts as
    /// that.
    ///
    /// The actions of the call before must have been executed: [`Machine::poll_action`] has returned
    /// `None`.
    pub fn handle(&mut self, now: Monotonic, input: Input<'_>) {
        debug_assert!(self.is_drained, "actions of the call before have not been executed");
        self.now = self.now.max(now);
        self.fire_timers(Monotonic(self.now.0.saturating_sub(1)));
        match input {
            Input::Endpoint { id, addresses, is_looking_up, numbering, limits } => {
                self.set_endpoint(id, numbering, limits);
                self.set_addresses(id, &addresses, is_looking_up);
            }
            Input::Forget { id } => self.forget(id),
            Input::Query { token, endpoint, octets } => self.accept(token, endpoint, octets),
            Input::Cancel { token } => self.cancel(token),
            Input::Connected { connection } => self.note_connected(connection),
            Input::Ready { connection, resumed, streams_max, idle } => {
                self.win(connection, resumed, streams_max, idle);
            }
            Input::Response { connection, channel, octets } => self.deliver(connection, channel, octets),
            Input::Reset { connection, channel, may_retry } => {
                self.end_channel(connection, channel, may_retry);
            }
            Input::Drain { connection, last } => self.drain_connection(connection, last),
            Input::Limits { connection, streams_max, idle } => {
                self.change_limits(connection, streams_max, idle);
            }
            Input::LeaveAlone { connection, time } => self.leave_alone(connection, time),
            Input::Closed { connection, why } => self.note_closed(connection, why),
            Input::NetworkChanged => self.change_network(),
            Input::Shutdown => self.shut_down(),
        }
        self.finish();
    }

    /// Fires the timers that are due.
    ///
    /// The actions of the call before must have been executed.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        debug_assert!(self.is_drained, "actions of the call before have not been executed");
        self.now = self.now.max(now);
        self.fire_timers(self.now);
        self.finish();
    }

    /// The next action to execute; `None` when all are done.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        self.is_drained = action.is_none();
        action
    }

    fn finish(&mut self) {
        self.queries.drop_ended();
        self.is_drained = self.actions.is_empty();
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn set_endpoint(&mut self, id: EndpointId, numbering: Numbering, limits: Limits) {
        if !self.is_stopping {
            let endpoint = self.endpoints.entry(id).or_insert_with(|| Endpoint::new(numbering, limits));
            endpoint.limits = limits;
        }
    }

    fn set_addresses(&mut self, id: EndpointId, addresses: &[SocketAddr], is_looking_up: bool) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        endpoint.addresses.is_looking_up = is_looking_up;
        endpoint.set_addresses(addresses);
        // The addresses before may all have been tried for long enough.
        if endpoint.race.as_ref().and_then(Race::next_at).is_some_and(|at| at <= self.now) {
            self.open_next(id);
        }
        self.serve_waiting(id);
    }

    fn forget(&mut self, id: EndpointId) {
        if self.endpoints.remove(&id).is_none() {
            return;
        }
        let is_own = |connection: &Connection| connection.endpoint == id;
        let own = self.connections.iter().filter(|(_, connection)| is_own(connection));
        for connection in own.map(|(connection, _)| *connection).collect::<Vec<_>>() {
            self.connections.remove(&connection);
            self.act(Action::Close { connection, politely: true });
        }
        let is_own = |token: &Token| self.queries.get(*token).is_some_and(|query| query.endpoint == id);
        for token in self.queries.tokens().filter(is_own).collect::<Vec<_>>() {
            self.fail(token, Failure::Forgotten);
        }
    }

    fn shut_down(&mut self) {
        self.is_stopping = true;
        self.endpoints.clear();
        for connection in std::mem::take(&mut self.connections).into_keys() {
            self.act(Action::Close { connection, politely: true });
        }
        for token in self.queries.tokens().collect::<Vec<_>>() {
            self.fail(token, Failure::Stopped);
        }
    }

    /// Every connection is taken as lost, and everything that was learned of endpoints is forgotten.
    fn change_network(&mut self) {
        let ids: Vec<EndpointId> = self.endpoints.keys().copied().collect();
        self.void_tickets(&ids);
        self.close_all();
        for id in &ids {
            let Some(endpoint) = self.endpoints.get_mut(id) else { continue };
            endpoint.addresses.best = None;
            endpoint.backoff.reset();
            endpoint.reopening = Default::default();
        }
        for id in ids {
            self.serve_waiting(id);
            self.plan_reopening(id);
        }
    }
}
