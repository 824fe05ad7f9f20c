//! What no safe function does: reading whether the environment of this process can be trusted, and
//! taking over a descriptor.
#![allow(unsafe_code)]

use std::net::TcpStream;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

/// Whether the program has more rights than the user who started it, so that its environment must not
/// be trusted (`AT_SECURE`, see getauxval(3)).
pub(crate) fn has_raised_rights() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The connection with that descriptor, which nobody else owns.
pub(crate) fn stream(number: RawFd) -> TcpStream {
    // SAFETY: `hither_native::race` has just made it and gave it away; a connected TCP socket.
    unsafe { TcpStream::from_raw_fd(number) }
}

/// The subscription with that descriptor, which nobody else owns.
pub(crate) fn descriptor(number: RawFd) -> OwnedFd {
    // SAFETY: `hither_native::subscribe` has just made it and gave it away.
    unsafe { OwnedFd::from_raw_fd(number) }
}
