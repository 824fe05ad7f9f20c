//! Queries to upstreams out, responses in: the sockets of attempts, the pool of idle ones, and connections
//! to encrypted upstreams.

mod encrypted;
mod endpoint_setup;
mod labels;
mod pool;
mod sockets;

pub(crate) use encrypted::{Encrypted, EncryptedReport, LookUp, Outcome, Readiness};
pub(crate) use endpoint_setup::EndpointSetup;
pub(crate) use labels::Labels;
pub(crate) use sockets::{Conversation, MESSAGES_PER_TURN_MAX, Received, Upstreams};
