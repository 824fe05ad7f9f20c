//! A small client of D-Bus: reads properties of other programs and receives their signals.
//!
//! Written here because it is little: zbus brings an async executor, libdbus is a C library, and
//! rustbus blocks without a time limit on a bus that does not answer.

mod connection;
mod message;

pub(super) use connection::{Connection, Destination};
pub(super) use message::Value;
