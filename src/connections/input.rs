//! Inputs of the machine: queries, and the events that the shell reports.

use crate::ids::{Channel, ConnectionId, EndpointId, Token};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// An event outside of the machine.
///
/// An input that names a connection which is gone, or an endpoint or token that is not known, changes
/// nothing: the shell may report what happened while an action was on its way.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// An endpoint is configured, or its addresses have changed.
    ///
    /// Connections to addresses that are no longer listed stay in use. Of more than
    /// [`crate::ADDRESSES_MAX`] addresses, the first ones are used.
    Endpoint {
        /// The endpoint.
        id: EndpointId,
        /// Where to connect; may be empty while the host's name is not resolved.
        addresses: Vec<SocketAddr>,
        /// Whether addresses are being looked up: while none is known, queries wait for them instead of
        /// failing.
        is_looking_up: bool,
        /// How channels are numbered. A later change has no effect.
        numbering: Numbering,
        /// Bounds for its connections: new ones, and old ones whose server changes its limits.
        limits: Limits,
    },
    /// The endpoint is no longer configured: its queries fail and its connections are closed.
    Forget {
        /// The endpoint.
        id: EndpointId,
    },
    /// A query for an endpoint. It ends by exactly one of [`crate::Action::Deliver`],
    /// [`crate::Action::Fail`] and [`Input::Cancel`].
    Query {
        /// The token of the query. While a query with this token is alive, another one is ignored.
        token: Token,
        /// The endpoint to ask.
        endpoint: EndpointId,
        /// The query, which the machine does not read.
        octets: Rc<[u8]>,
    },
    /// The caller needs no answer to a query any more.
    Cancel {
        /// The token of the query.
        token: Token,
    },
    /// The connection's socket is connected; the handshake begins.
    Connected {
        /// The connection.
        connection: ConnectionId,
    },
    /// The handshake is complete, and the peer has been verified as the endpoint's settings demand.
    Ready {
        /// The connection.
        connection: ConnectionId,
        /// Whether an earlier session was resumed by a ticket (RFC 8446 section 2.2).
        resumed: bool,
        /// How many queries the server allows at the same time; `u32::MAX`: it sets no limit.
        streams_max: u32,
        /// How long the server keeps an idle connection, if it said so.
        idle: Option<Duration>,
    },
    /// A response came.
    Response {
        /// The connection.
        connection: ConnectionId,
        /// The channel of the query that it answers.
        channel: Channel,
        /// The message in wire form, which the machine does not read.
        octets: &'a [u8],
    },
    /// The server, or the engine of the protocol, ended one channel without an answer.
    Reset {
        /// The connection.
        connection: ConnectionId,
        /// The channel that ended.
        channel: Channel,
        /// Whether the server certainly did not process the query (RFC 9113 section 8.7).
        may_retry: bool,
    },
    /// The server takes no new queries on this connection (GOAWAY, RFC 9113 section 6.8).
    Drain {
        /// The connection.
        connection: ConnectionId,
        /// The last channel that the server may have processed; `None`: it processed none. Queries on
        /// channels above it are sent again elsewhere. With [`Numbering::Random`], `Some` means that
        /// every query may have been processed.
        last: Option<Channel>,
    },
    /// The server changed its limits (SETTINGS, MAX_STREAMS, or edns-tcp-keepalive, RFC 7828).
    Limits {
        /// The connection.
        connection: ConnectionId,
        /// How many queries at the same time are allowed; `None`: as before.
        streams_max: Option<u32>,
        /// How long the server keeps an idle connection; zero: it asks for no further queries, and for
        /// a close after the last answer (RFC 7828 section 3.2.2); `None`: as before.
        idle: Option<Duration>,
    },
    /// The server asks for no queries for a while (`retry-after`, RFC 9110 section 10.2.3). Until then
    /// queries to its endpoint fail with [`crate::Failure::Backoff`] at once; those that were sent may still
    /// be answered. A shorter time than before changes nothing.
    LeaveAlone {
        /// The connection.
        connection: ConnectionId,
        /// For how long; at most [`crate::LEFT_ALONE_MAX`] of it counts.
        time: Duration,
    },
    /// The connection is gone. The shell has released its socket.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// How it ended.
        why: Why,
    },
    /// Addresses, links or routes of the host have changed, or the host has resumed from sleep. Every
    /// connection is taken as lost. No query counts as sent because of connections that are closed so.
    NetworkChanged,
    /// The process ends: every query fails, every connection is closed.
    Shutdown,
}

/// How the channels of a connection are numbered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Numbering {
    /// An unpredictable number of 16 bits that no query on the connection has: the id of a DNS message
    /// (DNS over TLS, RFC 7858 section 3.3).
    Random,
    /// 0, 1, 2 and so on: the streams of HTTP/2 and QUIC, in the order in which they are opened.
    Ascending,
}

/// The configured bounds of an endpoint's connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How many queries are sent on one connection at the same time, however many the server allows; at
    /// most [`crate::STREAMS_MAX`], at least 1.
    pub streams_max: u32,
    /// How long a connection may be idle, however long the server would keep it.
    pub idle: Duration,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The port is closed: ICMP port unreachable, or a TCP reset while connecting.
    Refused,
    /// No route, an ICMP error, or a timeout of the kernel.
    Unreachable,
    /// A TCP reset, a stateless reset of QUIC, or an error in the protocol.
    Reset,
    /// The server closed the connection in order.
    Ended,
    /// The handshake failed, or the peer could not be verified. With TLS 1.3, the server may refuse a
    /// client after [`Input::Ready`].
    Handshake,
    /// The idle timeout of the protocol (RFC 9000 section 10.1).
    Idle,
    /// The host had no socket (descriptors, ports). This says nothing about the endpoint.
    NoSocket,
}
