//! The simulator: choices, a world of servers, and the oracle.

pub mod oracle;
#[path = "../../../../tests/sim/picks.rs"]
pub mod picks;
pub mod world;
