//! Settings of the machine, and the bounds that no setting can exceed.

use std::time::Duration;

/// The times and bounds that are the same for all endpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How long a connection without queries is kept if the server does not say how long it keeps one.
    pub idle: Duration,
    /// How long an address is tried alone before the next one is tried too (RFC 8305 section 5).
    pub attempt_delay: Duration,
    /// How long connecting to one address and the handshake may take together.
    pub handshake_max: Duration,
    /// How long a connection with unanswered queries may bring no answer at all before it is taken as
    /// lost.
    pub silence_max: Duration,
    /// How long a query may take in all: waiting, sent, and sent again.
    pub query_max: Duration,
    /// Pause after connecting to all addresses of an endpoint has failed; doubles with each failure.
    pub backoff_min: Duration,
    /// Upper bound of that pause.
    pub backoff_max: Duration,
    /// How long after its latest query an endpoint gets a new connection when the server closes one.
    pub reopen_within: Duration,
    /// How many queries of one endpoint may wait for a connection; at least 1. At the limit, the oldest
    /// fails. By default they are more than the core has rounds by default, so that a burst of questions
    /// waits for a server that takes few queries at a time.
    pub waiting_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(10),
            attempt_delay: Duration::from_millis(250),
            handshake_max: Duration::from_secs(4),
            silence_max: Duration::from_secs(5),
            query_max: Duration::from_secs(10),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            reopen_within: Duration::from_secs(60),
            waiting_max: 2_048,
        }
    }
}

/// Addresses of one endpoint that are tried.
pub const ADDRESSES_MAX: usize = 16;
/// How long an endpoint is left alone at most because its server asks for that. A server that errs, or one
/// that means harm, does not switch itself off for longer.
pub const LEFT_ALONE_MAX: Duration = Duration::from_secs(300);
/// Connections of one endpoint that take queries. One that the server slows down by its limit of streams,
/// or by a lost segment, has a second beside it; more would only multiply handshakes.
pub const READY_MAX: usize = 2;
/// Connections of one endpoint that take no new queries while old ones may still be answered. With one
/// more, the oldest is closed.
pub const DRAINING_MAX: usize = 4;
/// Queries on one connection at the same time: a quarter of all ids of DNS over TLS, so that a free one is
/// found quickly and one that a forger guesses is hardly ever taken.
pub const STREAMS_MAX: u32 = 16_384;
/// Cancelled queries of one connection whose answer may still come, with [`crate::Numbering::Random`].
/// With one more, the connection takes no new queries.
pub const RESERVED_MAX: usize = 4_096;
/// Queries in the life of one connection: the streams of HTTP/2 have 31 bits, half of them the client's
/// (RFC 9113 section 5.1.1).
pub const QUERIES_MAX: u64 = (1 << 30) - 1;
