//! What the hosts of a site share through their engine: entries as octets, signed, with their keys, and the
//! judge of those that come from other hosts.
//!
//! A process that can write to the engine can write anything there, and repeat, delay, drop or exchange the
//! octets of others. So [`Seal::open`] accepts only what a host with the site's key wrote for this name of
//! this site, and [`Judge`] decides from the clocks how old that is. Each gives a value or a typed
//! [`Refusal`]; memory is bounded.
//!
//! Not here: the connection to the engine (the companion `hither-site`), and which names are shared and what
//! an entry may replace (`hither-rounds`). Nothing here reads a clock: times are arguments.

#![forbid(unsafe_code)]

mod entry;
mod hosts;
mod judge;
mod keys;
mod refusal;
mod seen;
mod sign;

pub use entry::{
    BODY_MAX, Content, Entry, GROUP_MAX, HOST_MAX, LABEL_MAX, SAID_BY_MAX, Soa, TIME_MAX, Times,
};
pub use hither_saved::{CHAINS_MAX, CNAMES_MAX, Clocks, Fault, Link};
pub use hosts::HOSTS_MAX;
pub use judge::{Arrival, Judge, Judged, Judgement, MARGIN_MS};
pub use keys::{BadPrefix, KEY_MAX, Keys, MESSAGE_MAX, decode_message, encode_message};
pub use refusal::Refusal;
pub use sign::{CREDENTIAL_MAX, CREDENTIAL_MIN, Key, KeyError, Seal, VALUE_MAX};
