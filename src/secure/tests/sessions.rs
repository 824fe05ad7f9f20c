//! Sessions against servers in memory, honest and hostile ones, and against real servers.

#[cfg(feature = "doq")]
#[path = "sessions/quic.rs"]
mod quic;
#[path = "../../../tests/support/skip.rs"]
mod skip;
#[path = "sessions/support.rs"]
mod support;

#[path = "sessions/certificates.rs"]
mod certificates;
#[path = "sessions/connections.rs"]
mod connections;
#[path = "sessions/doh.rs"]
mod doh;
#[cfg(feature = "doq")]
#[path = "sessions/doq.rs"]
mod doq;
#[path = "sessions/hostile.rs"]
mod hostile;
#[path = "sessions/judge.rs"]
mod judge;
#[path = "sessions/unbound.rs"]
mod unbound;
