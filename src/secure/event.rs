//! What sessions report and how they refuse.

use crate::error::Error;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// What happened on a connection. A channel is the number under which the caller sent a query.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The upstream is authenticated as its policy demands. Comes once, before all others but
    /// [`Event::Closed`].
    Ready(Ready),
    /// A response. Its message id is that of the wire, which the caller replaces.
    Response {
        /// The channel of its query; for DNS over TLS the id that the upstream wrote, which may be that of
        /// no query.
        channel: u64,
        /// The DNS message, of at least 12 octets.
        octets: Vec<u8>,
        /// How long caches kept it before, and may keep it; only HTTP says so.
        freshness: Freshness,
    },
    /// The query on this channel gets no response.
    Reset {
        /// The channel of the query.
        channel: u64,
        /// Whether the upstream did not process it, so that it may be sent again elsewhere.
        may_retry: bool,
        /// Why there is none.
        reason: Reason,
    },
    /// The upstream accepts no more queries on this connection (GOAWAY: RFC 9113, section 6.8).
    Drain {
        /// The last outstanding channel that it may have processed. `None`: it processed none of them.
        last: Option<u64>,
    },
    /// The upstream changed its limits.
    Limits(Limits),
    /// The connection has ended; nothing follows.
    Closed(Error),
}

/// What is known of a connection when its handshake is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ready {
    /// Whether a ticket of an earlier connection was used.
    pub is_resumed: bool,
    /// The version of TLS, as operators write it: `1.2` or `1.3`.
    pub version: &'static str,
    /// Whether the upstream chose the protocol by ALPN.
    pub has_alpn: bool,
    /// The last second in which the upstream's certificate is valid, in seconds since 1970. `None` if it
    /// could not be read.
    pub expires_s: Option<u64>,
    /// What strict checks would have refused, where the policy does not demand them.
    pub problem: Option<Error>,
    /// The limits at the beginning.
    pub limits: Limits,
}

/// The limits that an upstream has set. `None` where it has said nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// The number of queries that may be outstanding.
    pub streams_max: Option<u32>,
    /// The time after which it closes an idle connection (RFC 7828; RFC 9000, section 10.1).
    pub idle: Option<Duration>,
}

/// The age of a response that HTTP caches kept (RFC 8484, section 5.1), in seconds. TTLs are reduced by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Freshness {
    /// How old the response is.
    pub age_s: u32,
    /// How long it may be used from when it was made. `None`: its TTLs alone count.
    pub lifetime_s: Option<u32>,
}

/// Why a query gets no response although the connection goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The upstream reset the stream with this error code.
    Stream(u64),
    /// The upstream ended the stream before a complete message, or after more than one.
    Incomplete,
    /// The HTTP status is not 200. With the time after which the upstream wants to be asked again, in
    /// seconds.
    Status(u16, Option<u32>),
    /// The response is no DNS message by its content type.
    ContentType,
    /// The response is not one of DNS, or longer than 65535 octets.
    Size,
}

/// Why a query was not taken. Nothing of it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The query is shorter than a header or longer than 65535 octets, or the channel does not fit.
    Unfit,
    /// As many queries or octets wait as the connection may hold.
    Full,
    /// The connection is not ready, or has ended or takes no more queries.
    NotReady,
}

/// What a call of `receive` read from the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// All that was there. The stream reports when there is more.
    All,
    /// As much as one call may read; the caller calls again, after others had their turn.
    Part,
    /// The stream has ended. [`Event::Closed`] follows.
    End,
}

/// Events that wait for the caller, which takes all between two calls. What a call adds is bounded by
/// the octets that it reads.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    is_closed: bool,
}

impl Events {
    /// Adds an event, unless the connection has ended.
    pub(crate) fn push(&mut self, event: Event) {
        if !self.is_closed {
            self.is_closed = matches!(event, Event::Closed(_));
            self.queue.push_back(event);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }
}

impl Reason {
    /// How long the upstream wants no query, which only 429 and 503 say (RFC 6585, section 4; RFC 9110,
    /// section 15.6.4).
    #[must_use]
    pub fn left_alone(&self) -> Option<Duration> {
        match self {
            Self::Status(429 | 503, Some(after_s)) => Some(Duration::from_secs(u64::from(*after_s))),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(code) => write!(f, "the upstream reset the stream with the code {code}"),
            Self::Incomplete => f.write_str("the upstream ended the stream without one complete message"),
            Self::Status(404, None) => f.write_str(
                "the upstream responded with HTTP status 404; expected 200; is the path of the URL right?",
            ),
            Self::Status(status, None) => {
                write!(f, "the upstream responded with HTTP status {status}; expected 200")
            }
            Self::Status(status, Some(after_s)) => write!(
                f,
                "the upstream responded with HTTP status {status} and wants no query for {after_s} s; expected 200"
            ),
            Self::ContentType => {
                f.write_str("the response is not 'application/dns-message'; is the path of the URL right?")
            }
            Self::Size => {
                f.write_str("the response has fewer octets than a DNS message has, or more than 65535")
            }
        }
    }
}
