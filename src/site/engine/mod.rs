//! The connections with the engine, each in a thread of its own: `commands` writes, asks and scans,
//! `subscription` receives. Both share a `board` with the event loop, and nothing else.

pub(super) mod board;
pub(super) mod commands;
pub(super) mod connection;
mod hunt;
mod resp;
mod session;
mod stream;
pub(super) mod subscription;
mod trouble;
