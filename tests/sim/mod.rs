//! The simulator of the resolver core; see `race.rs`.

pub mod chains;
pub mod families;
pub mod oracle;
pub mod picks;
pub mod saved;
pub mod site;
pub mod upstreams;
pub mod world;
pub mod worlds;
