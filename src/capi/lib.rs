//! libhither: lookups in the table for C programs, and for other languages that can call C.
//! Described in `include/hither.h` and libhither(3).
//!
//! The library does not allocate, keeps no file descriptor, and never waits for another thread; results
//! are stored in the caller's buffer. It can also connect to the best address that answers, and subscribe to
//! changes of names. Like the NSS module it does not link if a panic can be reached.

#![cfg_attr(panic = "abort", no_std)]
#![deny(unsafe_code)]

mod abi;
mod changes;
mod types;

pub use abi::{
    hither_abi, hither_close, hither_connect, hither_lookup, hither_open, hither_strerror, hither_wait,
};
pub use changes::{hither_next_change, hither_subscribe};
pub use types::{Address, Change, Entry, Hither, Set};

#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    abi::a_panic_can_be_reached()
}
