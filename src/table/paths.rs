//! The runtime directory and the files in it: the names by which the daemon and its readers find
//! each other.

use core::ffi::CStr;

/// The runtime directory if neither the configuration nor the environment names another.
pub const RUNTIME_DIR: &str = "/run/hither";

/// The environment variable that names another runtime directory to readers.
pub const RUNTIME_DIR_VARIABLE: &str = text(RUNTIME_DIR_VARIABLE_C);
/// [`RUNTIME_DIR_VARIABLE`] for system calls.
pub const RUNTIME_DIR_VARIABLE_C: &CStr = c"HITHER_RUNTIME_DIR";

/// The file name of the table.
pub const TABLE_FILE: &str = text(TABLE_FILE_C);
/// [`TABLE_FILE`] for system calls.
pub const TABLE_FILE_C: &CStr = c"hosts";

/// A new table while it is being built; renamed to [`TABLE_FILE`] when it is complete.
pub const NEW_TABLE_FILE: &str = "hosts.new";

/// The lock that keeps out a second writer.
pub const LOCK_FILE: &str = "hosts.lock";

/// The socket for hints: datagrams by which readers report that they still use an entry.
pub const HINT_SOCKET: &str = "hint";

/// The socket at which programs subscribe to changes of names.
pub const CHANGES_SOCKET: &str = text(CHANGES_SOCKET_C);
/// [`CHANGES_SOCKET`] for system calls.
pub const CHANGES_SOCKET_C: &CStr = c"changes";

const fn text(name: &'static CStr) -> &'static str {
    match name.to_str() {
        Ok(text) => text,
        Err(_) => panic!("these names are ASCII"),
    }
}
