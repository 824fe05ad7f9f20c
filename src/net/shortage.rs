//! Errors of the kernel that say it has too little of something.

use std::io;

/// Whether a call failed because descriptors (of the process or of the host), memory or ports have run out, and not because of what was
/// asked for.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    use nix::libc::{EADDRINUSE, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    error.raw_os_error().is_some_and(|number| [EADDRINUSE, EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(&number))
}
