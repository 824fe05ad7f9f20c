//! Connections to encrypted upstreams: a state machine, without I/O.
//!
//! The machine decides when connections to an endpoint are opened, which query is sent on which of
//! them, and what happens to queries whose connection ends. It knows no socket, no TLS, HTTP or QUIC,
//! no clock and no randomness of its own; the contents of queries and responses are octets to it. The
//! shell reports each event and its time by [`Machine::handle`], and calls [`Machine::handle_timeout`]
//! at the time that [`Machine::poll_timeout`] gives. After each of these calls, the shell executes the
//! actions that [`Machine::poll_action`] returns, once each and in order, until none is left. Only then
//! may it report the next event.
//!
//! ```
//! use hither_connections::{Action, EndpointId, Input, Limits, Machine, Numbering, Settings, Token};
//! use hither_table::Monotonic;
//! use std::time::Duration;
//!
//! let mut machine = Machine::new(Settings::default(), Box::new(|| 4));
//! let endpoint = EndpointId(1);
//! let address = "192.0.2.1:853".parse().expect("an address");
//! let limits = Limits { streams_max: 100, idle: Duration::from_secs(30) };
//! let mut now = Monotonic::from_ms(1_000);
//! let numbering = Numbering::Random;
//! let (addresses, is_looking_up) = (vec![address], false);
//! machine.handle(now, Input::Endpoint { id: endpoint, addresses, is_looking_up, numbering, limits });
//! machine.handle(now, Input::Query { token: Token(7), endpoint, octets: b"a query".as_slice().into() });
//! let Some(Action::Open { connection, .. }) = machine.poll_action() else { panic!("a connection") };
//! assert_eq!(machine.poll_action(), None);
//!
//! // The shell connects; the handshake is complete 20 ms later.
//! now = Monotonic::from_ms(1_020);
//! machine.handle(now, Input::Ready { connection, resumed: false, streams_max: u32::MAX, idle: None });
//! let Some(Action::Send { channel, .. }) = machine.poll_action() else { panic!("the query") };
//! assert_eq!(machine.poll_action(), Some(Action::Transmitted { token: Token(7) }));
//! assert_eq!(machine.poll_action(), None);
//!
//! machine.handle(now, Input::Response { connection, channel, octets: b"a response" });
//! assert!(matches!(machine.poll_action(), Some(Action::Deliver { token: Token(7), .. })));
//! assert_eq!(machine.poll_action(), None);
//!
//! // Ten seconds later, the idle connection is closed.
//! now = machine.poll_timeout().expect("the idle timeout");
//! machine.handle_timeout(now);
//! assert_eq!(machine.poll_action(), Some(Action::Close { connection, politely: true }));
//! ```
//!
//! Promises, which the simulator checks (`tests/simulator.rs`):
//!
//! * Each query ends exactly once, within [`Settings::query_max`].
//! * A query is sent at most twice, on different connections, and a second time only when the first
//!   connection ended or did not process it. Connections that a change of network ended do not count.
//! * A response reaches the query that was sent on its channel, or none.
//! * A connection serves one endpoint, and at most so many queries at the same time as its server allows.
//! * A server that asks to be left alone gets no query for so long, within [`LEFT_ALONE_MAX`].
//! * Of the connections of a race one stays open; without queries, every connection is closed in the end.

#![forbid(unsafe_code)]

mod action;
mod backoff;
mod channels;
mod connection;
mod endpoint;
mod ids;
mod input;
mod machine;
pub mod mutant;
mod queries;
mod race;
mod settings;

pub use action::{Action, Failure, Note};
pub use connection::State;
pub use endpoint::Handshakes;
pub use ids::{Channel, ConnectionId, EndpointId, Token};
pub use input::{Input, Limits, Numbering, Why};
pub use machine::{ConnectionReport, Counters, EndpointReport, Machine};
pub use settings::{
    ADDRESSES_MAX, DRAINING_MAX, LEFT_ALONE_MAX, QUERIES_MAX, READY_MAX, RESERVED_MAX, STREAMS_MAX, Settings,
};
