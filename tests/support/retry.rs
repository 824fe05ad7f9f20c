//! Calls that a signal may interrupt. Also included by path from the tests of other crates.

use std::io::{ErrorKind, Result};

/// Repeats a call as long as it fails with EINTR.
///
/// The kernel interrupts a receive with a timeout when the process is stopped and continued, as a
/// debugger or a container's freezer does. That is no error of the socket.
pub fn retried<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
