//! The oracle: what the machine has promised, judged by its inputs and actions alone.
//!
//! Every query's octets begin with its token, 8 octets, so that the oracle knows a query that is sent.

mod actions;
mod failures;
mod inputs;
mod judge;

use hither_connections::{
    ADDRESSES_MAX, Channel, ConnectionId, EndpointId, Limits, Numbering, Settings, Token,
};
use hither_table::Monotonic;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// The machine's world as the oracle has seen it.
pub struct Oracle {
    settings: Settings,
    now: Monotonic,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Queries that have not ended.
    queries: BTreeMap<Token, Query>,
    latest_connection: Option<ConnectionId>,
    step: Step,
    is_stopping: bool,
    /// What has happened, for tests that need each of it.
    pub seen: Seen,
}

/// How often each kind of event has happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub delivered: u64,
    pub failed: u64,
    pub retried: u64,
    pub transmitted: u64,
    pub opened: u64,
    pub reopened: u64,
    pub network_changes: u64,
    pub left_alone: u64,
}

/// What the current call has to bring about, or has brought about.
#[derive(Default)]
struct Step {
    /// The number of the call.
    number: u64,
    /// The response that has to be delivered.
    to_deliver: Option<(Token, Vec<u8>)>,
    /// Queries that have to fail.
    to_fail: BTreeSet<Token>,
    /// Channels that have to be cancelled.
    to_cancel: BTreeSet<(ConnectionId, Channel)>,
    /// A query that was just sent after it had waited.
    to_report: Option<Token>,
    /// Endpoints whose tickets have to be voided.
    to_void: BTreeSet<EndpointId>,
    /// Endpoints one of whose connections failed in a race.
    lost: BTreeSet<EndpointId>,
    /// Connections that may be closed for any reason: of endpoints that go, of another network, losers.
    may_close: BTreeSet<ConnectionId>,
    /// Whether a connection won its race.
    has_winner: bool,
    is_timeout: bool,
    has_delivered: bool,
}

struct Endpoint {
    addresses: Vec<SocketAddr>,
    is_looking_up: bool,
    numbering: Numbering,
    limits: Limits,
    best: Option<SocketAddr>,
    /// The addresses that the race has not tried; empty without a race.
    untried: BTreeSet<SocketAddr>,
    /// When the next address is due.
    next_at: Monotonic,
    last_query: Option<Monotonic>,
    health: Health,
}

/// What the failures of an endpoint demand.
#[derive(Default)]
struct Health {
    failures: u32,
    barren: u32,
    pause_until: Option<Monotonic>,
    /// Until when the server gets no query, since it asks for that.
    left_alone_until: Option<Monotonic>,
    /// Whether the log says that the endpoint is down.
    is_down: bool,
    /// Whether a connection of the race failed for other reasons than a lack of sockets.
    has_reached: bool,
    /// By when a connection has to be opened behind.
    reopen_by: Option<Monotonic>,
}

#[derive(PartialEq, Eq, Clone, Copy, Debug)]
enum State {
    Contending,
    Ready,
    Draining,
}

struct Connection {
    endpoint: EndpointId,
    address: SocketAddr,
    opened_at: Monotonic,
    state: State,
    streams_max: u32,
    idle: Duration,
    in_use: BTreeMap<Channel, Token>,
    reserved: BTreeSet<Channel>,
    used: u64,
    delivered: u64,
    idle_since: Monotonic,
    silent_since: Option<Monotonic>,
}

struct Query {
    endpoint: EndpointId,
    accepted_at: Monotonic,
    accepted_in: u64,
    on: Option<(ConnectionId, Channel)>,
    /// How often it was lost with a connection or a channel, but for changes of the network.
    losses: u32,
    has_waited: bool,
    refused_on: Option<ConnectionId>,
}

impl Oracle {
    pub fn new(settings: Settings) -> Oracle {
        Oracle {
            settings,
            now: Monotonic(0),
            endpoints: BTreeMap::new(),
            connections: BTreeMap::new(),
            queries: BTreeMap::new(),
            latest_connection: None,
            step: Step::default(),
            is_stopping: false,
            seen: Seen::default(),
        }
    }

    fn begin(&mut self, now: Monotonic, is_timeout: bool) {
        self.now = self.now.max(now);
        self.step = Step { number: self.step.number + 1, is_timeout, ..Step::default() };
    }

    /// The machine's timers are fired.
    pub fn timeout(&mut self, now: Monotonic) {
        self.begin(now, true);
    }

    fn of(&self, endpoint: EndpointId, state: State) -> impl Iterator<Item = ConnectionId> + '_ {
        let is_it =
            move |connection: &Connection| connection.endpoint == endpoint && connection.state == state;
        self.connections.iter().filter(move |(_, connection)| is_it(connection)).map(|(id, _)| *id)
    }

    fn count(&self, endpoint: EndpointId, state: State) -> usize {
        self.of(endpoint, state).count()
    }

    fn waiting(&self, endpoint: EndpointId) -> impl Iterator<Item = (&Token, &Query)> {
        self.queries.iter().filter(move |(_, query)| query.endpoint == endpoint && query.on.is_none())
    }

    fn is_pausing(&self, id: EndpointId) -> bool {
        let until = self.endpoints.get(&id).and_then(|endpoint| endpoint.health.pause_until);
        until.is_some_and(|until| self.now < until) || self.is_left_alone(id)
    }

    fn is_left_alone(&self, id: EndpointId) -> bool {
        let until = self.endpoints.get(&id).and_then(|endpoint| endpoint.health.left_alone_until);
        until.is_some_and(|until| self.now < until)
    }

    /// The endpoint could not be used.
    fn note_failure(&mut self, id: EndpointId) {
        let (settings, now) = (self.settings, self.now);
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        let health = &mut endpoint.health;
        let pause = settings.backoff_min * 2_u32.pow(health.failures.min(16));
        health.pause_until = Some(now.plus(pause.min(settings.backoff_max)));
        (health.failures, health.reopen_by) = (health.failures + 1, None);
    }

    fn note_barren(&mut self, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        endpoint.health.barren += 1;
        if endpoint.health.barren > 1 {
            self.note_failure(id);
        }
    }

    /// Queries were lost with their connection, or were not processed.
    fn lose(&mut self, tokens: impl IntoIterator<Item = Token>, refused_on: Option<ConnectionId>) {
        for token in tokens {
            let Some(query) = self.queries.get_mut(&token) else { continue };
            (query.on, query.has_waited, query.refused_on) = (None, true, refused_on);
            query.losses += 1;
            if query.losses > 1 {
                self.step.to_fail.insert(token);
            } else {
                self.seen.retried += 1;
            }
        }
    }

    /// A connection ended for the server's reasons: if queries came lately, another is opened behind.
    fn expect_reopening(&mut self, id: EndpointId) {
        let has_one = self.count(id, State::Ready) + self.count(id, State::Contending) > 0;
        let is_pausing = self.is_pausing(id);
        let (now, settings) = (self.now, self.settings);
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        let is_used = endpoint.last_query.is_some_and(|last| now.since(last) < settings.reopen_within);
        if !has_one && !is_pausing && is_used && !endpoint.addresses.is_empty() {
            endpoint.health.reopen_by.get_or_insert(now.plus(settings.backoff_max));
        }
    }

    /// Everything has ended: nothing may be left.
    pub fn check_rest(&self) {
        assert!(self.queries.is_empty(), "queries without an end: {:?}", self.queries.keys());
        assert!(self.connections.is_empty(), "connections left open: {:?}", self.connections.keys());
    }
}

/// The addresses that are used of those that are configured.
fn used(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut used = Vec::new();
    for address in addresses {
        if !used.contains(address) && used.len() < ADDRESSES_MAX {
            used.push(*address);
        }
    }
    used
}
