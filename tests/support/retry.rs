//! Calls that a signal may interrupt. Also included by path from the tests of other crates.

use std::io::{ErrorKind, Result};

/// Makes a call again as long as it fails with EINTR.
///
/// The kernel ends a receive with a timeout that way when the process is stopped and continued, as
/// a debugger or a container's freezer does; it says nothing of the socket.
pub fn retried<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
