//! Queries to upstreams out, responses in: the sockets of attempts, the pool of idle ones, and connections
//! to encrypted upstreams.

#[allow(dead_code, reason = "the configuration names no encrypted upstream yet")]
mod encrypted;
mod endpoint_setup;
mod pool;
mod sockets;

pub(crate) use encrypted::{Encrypted, Outcome, Readiness};
pub(crate) use endpoint_setup::EndpointSetup;
pub(crate) use sockets::{Conversation, MESSAGES_PER_TURN_MAX, Received, Upstreams};
