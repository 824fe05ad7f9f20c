//! The client's side of one HTTP/2 connection (RFC 9113), as DNS over HTTPS needs it (RFC 8484).
//!
//! Sans-IO: octets of the connection go in by [`Connection::receive`], octets come out by
//! [`Connection::transmit`], and what happened by [`Connection::poll_event`]. A request is always a
//! POST with a DNS message as its body; a response is a status, few header fields and a body of at
//! most [`BODY_MAX`] octets.
//!
//! Memory and work are bounded whatever a server sends: every frame costs time that is linear in its
//! length, frames that bring nothing are counted ([`Flood`]), a header section has at most
//! [`Config::header_list_max`] octets, and all bodies together at most [`CONNECTION_WINDOW`].
//!
//! Not here: TLS, sockets, DNS, time. The caller bounds how long a request may take, and calls
//! [`Connection::cancel`].

#![forbid(unsafe_code)]

mod connection;
mod error;
mod frame;
mod head;
mod hpack;
mod huffman;
mod settings;
mod static_table;
mod stream;
mod window;

pub use connection::Connection;
pub use error::{Error, ErrorCode, Fault, Flood, Refused};
pub use hpack::{Error as HpackError, Field, Fields, Table as HpackTable};

/// Octets of the body of a request or a response: those of the largest DNS message.
pub const BODY_MAX: usize = 65_535;
/// Octets of one frame's payload: the smallest limit that RFC 9113 (section 4.2) lets us set.
pub const FRAME_MAX: usize = 16_384;
/// Octets that all unfinished responses together may have sent. A server that has this much under
/// way waits until one of them ends.
pub const CONNECTION_WINDOW: u32 = 1 << 20;
/// Streams that may be open before the server has said how many it allows (RFC 9113, section 6.5.2,
/// recommends that servers allow at least as many).
pub const STREAMS_BEFORE_SETTINGS: u32 = 100;

/// The identifier of a stream: odd, and never used again on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// The limits of a connection that its user chooses.
#[derive(Debug, Clone)]
pub struct Config {
    /// Streams that are open at once, even if the server allows more.
    pub streams_max: u32,
    /// Octets of a header section, encoded or decoded (RFC 9113, section 6.5.2). At least 1024.
    pub header_list_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { streams_max: 256, header_list_max: 16 * 1024 }
    }
}

/// A POST of a DNS message.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The host, with its port if that is not 443.
    pub authority: &'a str,
    /// The path, with its query if there is one.
    pub path: &'a str,
    /// The DNS message that is sent.
    pub body: &'a [u8],
    /// The media type that the response may have.
    pub accept: &'a str,
}

/// Something that happened on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The server's SETTINGS have arrived, and so many streams may be open at once. Requests may be
    /// made before.
    Ready {
        /// The smaller of the server's limit and our own.
        streams_max: u32,
    },
    /// The server has changed how many streams may be open at once.
    Limits {
        /// The smaller of the server's limit and our own.
        streams_max: u32,
    },
    /// A complete response. Its stream has ended.
    Response(Response),
    /// A stream ended without a response.
    Reset {
        /// The stream that ended.
        stream: StreamId,
        /// The code of the server, or the one that we sent it.
        code: ErrorCode,
        /// The fault of the response that made us reset the stream; `None` if the server did.
        fault: Option<Fault>,
        /// The server has not processed the request (RFC 9113, section 8.7).
        may_retry: bool,
    },
    /// The server takes no new requests. Streams up to `last` go on; those above it were reset in
    /// events that follow.
    GoAway {
        /// The last stream that the server processes.
        last: u32,
        /// Why the server ends the connection.
        code: ErrorCode,
    },
}

/// A response whose stream has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The stream of the request.
    pub stream: StreamId,
    /// The status, from 200 to 999.
    pub status: u16,
    /// The header fields that matter for DNS.
    pub headers: Headers,
    /// The body, if the status is from 200 to 299; else it was dropped, and this is empty.
    pub body: Vec<u8>,
}

/// The header fields of a response that matter for DNS. All others were checked and dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// The field `content-type`, with its parameters.
    pub content_type: Option<String>,
    /// The fields `cache-control`, joined by commas (RFC 9110, section 5.3).
    pub cache_control: Option<String>,
    /// The field `age`, in seconds (RFC 9111, section 5.1).
    pub age_s: Option<u32>,
    /// The field `retry-after`: seconds, or a date (RFC 9110, section 10.2.3).
    pub retry_after: Option<String>,
    /// The field `content-length`, in octets. A complete body has exactly this length.
    pub content_length: Option<u64>,
}
