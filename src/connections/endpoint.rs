//! One endpoint: its addresses, its connections, and the queries that wait for one.

use crate::backoff::{Backoff, Reopening};
use crate::ids::{ConnectionId, Token};
use crate::input::{Limits, Numbering};
use crate::race::{Race, in_order};
use crate::settings::{ADDRESSES_MAX, READY_MAX};
use hither_table::Monotonic;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub addresses: Addresses,
    pub numbering: Numbering,
    pub limits: Limits,
    /// Connections that take queries, oldest first; at most [`READY_MAX`].
    pub ready: Vec<ConnectionId>,
    /// Connections that take no new queries, oldest first.
    pub draining: VecDeque<ConnectionId>,
    /// Queries that wait for a connection, oldest first.
    pub waiting: VecDeque<Token>,
    pub race: Option<Race>,
    pub backoff: Backoff,
    pub reopening: Reopening,
    /// When the latest query came.
    pub last_query: Option<Monotonic>,
    pub handshakes: Handshakes,
}

/// The addresses of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    known: Vec<SocketAddr>,
    /// Whether queries wait for addresses while none is known.
    pub is_looking_up: bool,
    /// The address of the latest connection that became ready.
    pub best: Option<SocketAddr>,
}

/// How many handshakes of an endpoint were completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Handshakes {
    /// All handshakes, resumed ones included.
    pub all: u64,
    /// Those that resumed an earlier session.
    pub resumed: u64,
}

impl Endpoint {
    pub fn new(numbering: Numbering, limits: Limits) -> Endpoint {
        Endpoint {
            addresses: Addresses::default(),
            numbering,
            limits,
            ready: Vec::new(),
            draining: VecDeque::new(),
            waiting: VecDeque::new(),
            race: None,
            backoff: Backoff::default(),
            reopening: Reopening::default(),
            last_query: None,
            handshakes: Handshakes::default(),
        }
    }

    /// Replaces the addresses. Where some are new, a pause ends, and a race that is on tries them too.
    pub fn set_addresses(&mut self, listed: &[SocketAddr]) {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in listed {
            if addresses.len() < ADDRESSES_MAX && !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        let is_new = |address: &SocketAddr| !self.addresses.known.contains(address);
        let added: Vec<SocketAddr> = addresses.iter().copied().filter(is_new).collect();
        if !added.is_empty() {
            self.backoff.reset();
        }
        if let Some(race) = &mut self.race {
            race.retain(&addresses);
            race.add(added.into_iter());
        }
        self.addresses.known = addresses;
    }

    /// Whether no address is known.
    pub fn has_no_address(&self) -> bool {
        self.addresses.known.is_empty()
    }

    /// The addresses in the order in which a race tries them.
    pub fn addresses_in_order(&self) -> VecDeque<SocketAddr> {
        in_order(&self.addresses.known, self.addresses.best)
    }

    /// Whether a query that waits needs a further connection, and one is allowed.
    pub fn may_race(&self) -> bool {
        self.race.is_none() && self.ready.len() < READY_MAX
    }

    /// Whether the endpoint has no connection, and should get one although no query waits: the latest
    /// query came within this time.
    pub fn may_reopen(&self, now: Monotonic, within: Duration) -> bool {
        let has_none = self.ready.is_empty() && self.race.is_none();
        let is_used = self.last_query.is_some_and(|last| now.since(last) < within);
        has_none && is_used && !self.has_no_address() && !self.backoff.is_pausing(now)
    }

    /// When a pause ends at whose end a race begins.
    pub fn race_at(&self) -> Option<Monotonic> {
        let is_needed = self.backoff.is_wanted && self.ready.is_empty() || !self.waiting.is_empty();
        self.backoff.until().filter(|_| is_needed && self.may_race() && !self.has_no_address())
    }

    /// Forgets a connection that is gone.
    pub fn remove(&mut self, connection: ConnectionId) {
        self.ready.retain(|other| *other != connection);
        self.draining.retain(|other| *other != connection);
    }
}
