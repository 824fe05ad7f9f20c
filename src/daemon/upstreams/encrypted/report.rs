//! The state of an encrypted upstream, for operators.

use super::endpoints::Endpoint;
use hither_connections::{EndpointReport, State};
use hither_table::Monotonic;
use std::net::SocketAddr;
use std::time::Duration;

/// The state of an encrypted upstream.
#[derive(Clone, Debug)]
pub(crate) struct EncryptedReport {
    /// The upstream as the configuration or the system names it.
    pub label: String,
    /// The version of TLS of the latest connection: `1.2` or `1.3`.
    pub version: Option<&'static str>,
    /// The last second in which the certificate is valid, since 1970.
    pub expires_s: Option<u64>,
    /// What is wrong, and what puts it right.
    pub problem: Option<String>,
    /// How many handshakes were completed.
    pub handshakes: u64,
    /// How many of them resumed an earlier session.
    pub resumptions: u64,
    /// The connection that the next query is sent on; else the latest one that is being made.
    pub connection: Option<ConnectionShown>,
}

/// A connection, for operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ConnectionShown {
    /// `connecting`, `handshake`, `ready` or `draining`.
    pub state: &'static str,
    /// The address and port that it leads to.
    pub peer: SocketAddr,
    /// Since when it is there.
    pub age: Duration,
    /// Whether its handshake resumed an earlier session.
    pub is_resumed: bool,
    /// How many queries it has carried.
    pub queries: u64,
    /// How many of them have no answer yet.
    pub outstanding: usize,
}

impl EncryptedReport {
    pub(super) fn of(endpoint: &Endpoint, machine: &EndpointReport, now: Monotonic) -> EncryptedReport {
        let rank = |state: State| match state {
            State::Ready => 0,
            State::Draining => 1,
            State::Handshaking => 2,
            State::Connecting => 3,
        };
        let shown = machine.connections.iter().min_by_key(|connection| rank(connection.state));
        let connection = shown.map(|connection| ConnectionShown {
            state: match connection.state {
                State::Connecting => "connecting",
                State::Handshaking => "handshake",
                State::Ready => "ready",
                State::Draining => "draining",
            },
            peer: connection.address,
            age: now.since(connection.opened_at),
            is_resumed: connection.is_resumed,
            queries: connection.queries,
            outstanding: connection.in_flight,
        });
        EncryptedReport {
            label: endpoint.setup.label.clone(),
            version: endpoint.shown.map(|shown| shown.version),
            expires_s: endpoint.shown.and_then(|shown| shown.expires_s),
            problem: endpoint.health.problem().map(str::to_owned),
            handshakes: machine.handshakes.all,
            resumptions: machine.handshakes.resumed,
            connection,
        }
    }
}
