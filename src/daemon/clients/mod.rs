//! What asks: queries by UDP and TCP in, replies out, hit workers, and the queues in which misses wait.

pub(crate) mod admission;
pub(crate) mod fair_queue;
pub(crate) mod handover;
pub(crate) mod listeners;
pub(crate) mod misses;
pub(crate) mod owed;
pub(crate) mod pending;
pub(crate) mod queries;
pub(crate) mod tcp;
pub(crate) mod tcp_places;
pub(crate) mod udp;
pub(crate) mod workers;
