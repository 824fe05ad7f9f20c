//! Queries to upstreams out, responses in: the sockets of attempts, and the pool of idle ones.

mod endpoint_setup;
mod pool;
mod sockets;

#[expect(unused_imports, reason = "the connections to encrypted upstreams follow")]
pub(crate) use endpoint_setup::EndpointSetup;
pub(crate) use sockets::{Conversation, MESSAGES_PER_TURN_MAX, Received, Upstreams};
