//! libhither: the table for C programs, and for whatever can call C. Described in `include/hither.h` and libhither(3).
//!
//! It allocates nothing, keeps no descriptor and never waits for another thread; what it returns stands in the caller's buffer.
//! Like the NSS module it does not link if a panic can be reached.

#![cfg_attr(panic = "abort", no_std)]
#![deny(unsafe_code)]

mod abi;

pub use abi::{
    Address, Entry, Hither, Set, hither_abi, hither_close, hither_lookup, hither_open, hither_strerror,
    hither_wait,
};

#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    abi::a_panic_can_be_reached()
}
