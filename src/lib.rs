//! The programs of hither: the daemon, its companions (the sorter and `hither-site`), the operator's tool,
//! and the configuration they share.
//!
//! Each is a thin shell: what can be decided without sockets is decided in the crates under `src/`.

#![forbid(unsafe_code)]

mod companion;
pub mod config;
pub mod ctl;
pub mod daemon;
mod host;
pub mod logging;
pub mod site;
pub mod sorter;
