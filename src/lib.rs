//! The programs of hither: the daemon, the sorter, the operator's tool, and the configuration they share.
//!
//! Each is a thin shell: what can be decided without sockets is decided in the crates under `src/`.

#![forbid(unsafe_code)]

pub mod config;
pub mod ctl;
pub mod daemon;
mod host;
pub mod logging;
pub mod sorter;
