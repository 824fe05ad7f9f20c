//! libnss_hither.so.2: hither's answers for `getaddrinfo` and `gethostbyname`, read from shared memory in hither's order.
//!
//! It is loaded into every process that looks up a name, root's included. So it is small, keeps nothing but one mapping, and cannot
//! panic: where panics abort, its handler calls a function that does not exist, and the module does not link if that is reachable.
//!
//! What glibc expects of such a module: "Adding another Service to NSS" in the manual of the GNU C library.

#![cfg_attr(panic = "abort", no_std)]
#![deny(unsafe_code)]

mod abi;
mod answer;
mod search;

pub use abi::{
    _nss_hither_gethostbyname_r, _nss_hither_gethostbyname2_r, _nss_hither_gethostbyname3_r,
    _nss_hither_gethostbyname4_r,
};

#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    abi::a_panic_can_be_reached()
}
