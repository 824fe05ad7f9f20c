//! Reading the table from inside other people's processes: what the C library and the NSS module share.
//!
//! Such a process may fork, run in a chroot, close descriptors it does not know, have small stacks, or be root. Hence: no
//! allocation, no thread-local, no descriptor kept, no signal handler, no lock that anyone waits for, and no panic (the NSS module
//! does not link if one can be reached).
//!
//! Not here: what C programs call (`hither-capi`), what glibc calls (`hither-nss`).

#![no_std]
#![deny(unsafe_code)]

mod arena;
mod ask;
mod far;
mod handle;
mod look;
mod sys;
mod text;

pub use arena::{Arena, Full, Plain};
pub use handle::{Handle, Unusable};
pub use look::{Look, Room};
pub use sys::{Errno, Resolver, is_in_environment};
pub use text::host_name;

/// Where the table is when nobody says otherwise.
pub const RUNTIME_DIR: &[u8] = b"/run/hither";
