//! What touches the outside: sockets, the clock, signals, descriptors handed over by systemd.
//!
//! Thin on purpose: nothing here decides anything about DNS. Unsafe code is in `batch` (recvmmsg, sendmmsg) and in `raw`
//! (descriptors that somebody else opened, one socket option) alone.

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
