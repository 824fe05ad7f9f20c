//! The feed of changes: what goes over the daemon's socket `changes`.
//!
//! A program sends [`Datagram`]s with the names that it subscribes to. The daemon answers each with
//! one [`Record`], keeps the names leased, and sends a record for every change of their address
//! sets. hither-table(5), section FEED, describes the protocol. Without the feature `server`, which is
//! the daemon's half, the crate needs neither the standard library nor memory from the heap, since
//! libhither is loaded into foreign processes.

#![cfg_attr(not(feature = "server"), no_std)]
#![forbid(unsafe_code)]

mod datagram;
mod record;
#[cfg(feature = "server")]
pub mod server;

pub use datagram::{DATAGRAM_MAX, Datagram, Families, Full, Malformed, Names, Subscription};
pub use record::{Cause, Change, RECORD_HEAD, RECORD_MAX, Record, Refusal, Unreadable};
