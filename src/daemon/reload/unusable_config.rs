//! Handles an invalid configuration at the start of the daemon.
//!
//! The first start fails, so that the operator sees it. The service manager starts the daemon
//! again, and then it answers from hosts files and the cache, and all other queries with SERVFAIL.
//! So clients try their next server at once instead of waiting at a socket that no process reads.
//! This mode ends when the configuration is valid.

use crate::config::{Config, DROP_INS_MAX, FILE};
use crate::daemon::setup::make_runtime_dir;
use crate::host::files;
use hither_net::clock;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file in the runtime directory that has the time of the last failed start.
const MARK_FILE: &str = "refused";
/// Within this time the service manager starts the daemon again. A later start is one of an
/// operator, and fails again.
const RESTART_WITHIN: Duration = Duration::from_secs(300);
/// Whether to run without a valid configuration: only if the service manager holds the sockets and
/// has started the daemon again. Otherwise the start fails.
pub(crate) fn may_run_without(dir: &Path) -> bool {
    let is = |name: &str, expected: &str| std::env::var(name).is_ok_and(|value| value == expected);
    let holds = is("LISTEN_PID", &std::process::id().to_string()) && !is("LISTEN_FDS", "0");
    if !holds || std::env::var_os("NOTIFY_SOCKET").is_none() {
        return false;
    }
    let failed = files::read_up_to(&dir.join(MARK_FILE), 64)
        .ok()
        .and_then(|text| str::from_utf8(&text).ok()?.trim().parse::<u64>().ok());
    let now = clock::now().0;
    if failed.is_some_and(|failed| now.saturating_sub(failed) < RESTART_WITHIN.as_nanos() as u64) {
        return true;
    }
    // If the file cannot be written, every further start would fail too.
    std::fs::write(dir.join(MARK_FILE), now.to_string()).is_err()
}

/// Reads the configuration, and creates the runtime directory.
///
/// # Errors
/// The daemon cannot start with it, for this reason.
pub(crate) fn load(path: Option<&Path>) -> Result<Config, Unusable> {
    let config =
        Config::load(path).map_err(|error| Unusable { reason: error.to_string(), is_invalid: true })?;
    make_runtime_dir(&config.runtime_dir).map_err(|reason| Unusable { reason, is_invalid: false })?;
    Ok(config)
}

/// The reason why the daemon cannot start with a configuration.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub reason: String,
    /// Whether the configuration itself is invalid. Otherwise the host lacks something.
    pub is_invalid: bool,
}

/// Makes the next start with an invalid configuration fail.
pub(crate) fn forget_failed_start(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(MARK_FILE));
}

/// The configuration to run with while the operator's is invalid, for this reason. The saved cache
/// is left as it is.
pub(crate) fn placeholder(reason: String) -> Config {
    let mut config = Config::default();
    config.findings.error = Some(reason);
    config.state.save_every = Duration::ZERO;
    config
}

/// The files of the configuration, and their directory.
pub(crate) fn files(path: Option<&Path>) -> Vec<PathBuf> {
    let main = path.unwrap_or(Path::new(FILE));
    let mut drop_ins = main.as_os_str().to_owned();
    drop_ins.push(".d");
    let drop_ins = PathBuf::from(drop_ins);
    // A configuration with more drop-ins than this is refused. The directory is followed too.
    let within = files::entries(&drop_ins, DROP_INS_MAX).map(|entries| entries.names).unwrap_or_default();
    let mut files: Vec<PathBuf> = within.into_iter().map(|name| drop_ins.join(name)).collect();
    files.extend([main.to_owned(), drop_ins]);
    files
}
