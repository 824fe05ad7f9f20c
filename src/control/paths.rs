//! The paths of the daemon's sockets and files.

use hither_table::paths::RUNTIME_DIR;
use std::path::{Path, PathBuf};

/// The socket to which `hitherctl` connects, in the runtime directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// The socket to which the sorter connects, in the runtime directory.
pub const SORTER_SOCKET: &str = "sorter.sock";
/// The socket to which `hither-site` connects, in the runtime directory.
pub const SITE_SOCKET: &str = "site.sock";
/// The directory in which systemd creates these sockets. The runtime directory would be unfit, since
/// systemd removes it when the daemon is stopped.
pub const SYSTEM_SOCKETS: &str = "/run/hitherd";

/// The paths at which a socket of a daemon with this runtime directory may be, the likelier one first.
#[must_use]
pub fn socket_paths(runtime_dir: &Path, socket: &str) -> Vec<PathBuf> {
    let system = runtime_dir == Path::new(RUNTIME_DIR);
    let system = system.then(|| Path::new(SYSTEM_SOCKETS).join(socket));
    std::iter::once(runtime_dir.join(socket)).chain(system).collect()
}
