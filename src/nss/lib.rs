//! libnss_hither.so.2, an NSS module: gives hither's addresses in hither's order to `getaddrinfo`
//! and `gethostbyname`, from shared memory.
//!
//! The module is loaded into every process that looks up a name, including root's. Therefore it is
//! small, keeps only one mapping, and cannot panic: the panic handler calls a function that does not
//! exist, so that the module does not link if the handler can be reached.
//!
//! The manual of the GNU C library describes the interface under "Adding another Service to NSS".

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
