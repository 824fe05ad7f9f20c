//! Queries to upstreams out, responses in: sockets, their pool, and what the core wants done with attempts.

pub(crate) mod pool;
pub(crate) mod sockets;
