//! The interface to the kernel: sockets, clocks, signals, and sockets passed by systemd.
//!
//! The crate is thin on purpose, and nothing in it knows DNS. Unsafe code is only in `batch` (recvmmsg,
//! sendmmsg) and in `raw` (descriptors that were opened elsewhere, socket options).

#![deny(unsafe_code)]

pub mod activation;
pub mod batch;
pub mod clock;
pub mod frame;
pub mod hints;
pub mod listen;
pub mod netlink;
pub mod ports;
pub mod random;
mod raw;
pub mod seqpacket;
pub mod shortage;
pub mod signals;
pub mod sock_diag;
pub mod timing;
