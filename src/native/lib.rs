//! Reads the table from within the processes of other programs: the common part of the C library and
//! the NSS module.
//!
//! These processes may fork, run in a chroot, close descriptors that they do not know, have small
//! stacks, or be root. Therefore this crate does not allocate and has no thread-local storage, no open
//! descriptor between calls, no signal handler, no lock that a thread waits for, and no panic (the
//! NSS module does not link if a panic can be reached).
//!
//! Not here: the functions that C programs call (`hither-capi`) and those that glibc calls
//! (`hither-nss`).

#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

mod arena;
mod ask;
mod candidates;
mod changes;
mod connect;
mod handle;
mod look;
mod race;
mod sys;
mod text;
mod unmapped;

pub use arena::{Arena, Full, Plain};
pub use ask::{Answered, Unanswered, Wait, ask};
pub use candidates::{Candidate, Candidates};
pub use changes::{Change, NoChange, NotSubscribed, Subscribed, next_change, subscribe, wait_for_change};
pub use connect::{NotConnected, Seen, Source, Stream, find, race};
pub use handle::{Handle, Unusable};
pub use hither_feed::{Cause, Refusal};
pub use look::Found;
pub use sys::{Errno, Resolver, is_in_environment};
pub use text::{host_name, is_special};
