//! Actions: the requests of the machine to the shell, which executes them once each and in order.

use crate::ids::{Channel, ConnectionId, EndpointId, Token};
use hither_table::Monotonic;
use std::net::SocketAddr;
use std::rc::Rc;

/// An action that the shell executes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Open a socket to the address and begin a handshake with the settings of the endpoint. Report
    /// [`crate::Input::Connected`] and [`crate::Input::Ready`], or [`crate::Input::Closed`].
    Open {
        /// The new connection.
        connection: ConnectionId,
        /// The endpoint that it belongs to.
        endpoint: EndpointId,
        /// Where to connect.
        address: SocketAddr,
    },
    /// Send a query on a connection that is ready.
    Send {
        /// The connection.
        connection: ConnectionId,
        /// The channel of the query.
        channel: Channel,
        /// The query, as the caller gave it.
        octets: Rc<[u8]>,
    },
    /// Nobody waits for the answer on this channel any more: end its stream, if it is one.
    CancelChannel {
        /// The connection.
        connection: ConnectionId,
        /// The channel.
        channel: Channel,
    },
    /// Close the connection. The machine has forgotten it; nothing need be reported of it any more.
    Close {
        /// The connection.
        connection: ConnectionId,
        /// Whether to tell the server so (close_notify, GOAWAY, CONNECTION_CLOSE).
        politely: bool,
    },
    /// Hand a response to the caller. The query has ended.
    Deliver {
        /// The token of the query.
        token: Token,
        /// The response, as the shell gave it.
        octets: Box<[u8]>,
    },
    /// The query is sent only now, since it had waited for a connection; round-trip times begin now.
    Transmitted {
        /// The token of the query.
        token: Token,
    },
    /// The query has ended without a response.
    Fail {
        /// The token of the query.
        token: Token,
        /// What happened.
        failure: Failure,
    },
    /// Forget all tickets and session state of the endpoint: they would show the new network who comes
    /// from which old one.
    VoidTickets {
        /// The endpoint.
        endpoint: EndpointId,
    },
    /// An event for the log.
    Note(Note),
}

/// Why a query ended without a response. Of the failures of several addresses, the greatest tells most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Failure {
    /// The host had no socket for a connection.
    NoSocket,
    /// No address of the endpoint could be reached.
    Unreachable,
    /// Every address that could be reached refused the connection.
    Refused,
    /// A handshake failed, or the server could not be verified.
    Handshake,
    /// The connection ended, or the server refused the query, twice; or the server ended the query's
    /// channel and may have processed the query.
    Closed,
    /// No response within [`crate::Settings::query_max`].
    Silent,
    /// Connecting failed just now and the next try is not due yet, or the server asks to be left alone.
    /// Nothing was sent.
    Backoff,
    /// More queries waited for a connection than [`crate::Settings::waiting_max`].
    TooMany,
    /// No address of the endpoint is known, and none is being looked up.
    NoAddress,
    /// The endpoint is not configured, or no longer.
    Forgotten,
    /// The process ends.
    Stopped,
}

/// An event that an operator wants to see in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// An endpoint that could be used so far cannot be reached or verified.
    Down {
        /// The endpoint.
        endpoint: EndpointId,
        /// The most telling failure of its addresses.
        failure: Failure,
        /// When the next try may begin.
        until: Monotonic,
    },
    /// An endpoint that was down has answered a query.
    Up {
        /// The endpoint.
        endpoint: EndpointId,
    },
}
