//! Queries to upstreams out, responses in: the sockets of attempts, and the pool of idle ones.

mod pool;
mod sockets;

pub(crate) use sockets::{Conversation, MESSAGES_PER_TURN_MAX, Received, Upstreams};
