//! Errors of the kernel that mean a shortage of resources.

use std::io;

/// Whether a call failed for lack of descriptors (of the process or of the host), memory or ports, so
/// that it can succeed later.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    use nix::libc::{EADDRINUSE, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    error.raw_os_error().is_some_and(|number| [EADDRINUSE, EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(&number))
}
