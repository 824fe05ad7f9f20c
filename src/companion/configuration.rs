//! The configuration of a companion at its start, which may have to be corrected first.

use crate::config::Config;
use crate::host::service_manager::ServiceManager;
use crate::logging::Event;
use std::path::Path;
use std::time::Duration;

/// The time after which a wrong configuration is read again.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(2);
/// A configuration that stays wrong is logged at one in this many readings.
const LOGGED_EVERY: u32 = 30;

/// Reads the configuration. Under a service manager, unless the daemon has started the companion, it waits
/// until a wrong one is corrected, since restarts would fill the journal; `waiting` is the status meanwhile.
pub(crate) fn read(file: Option<&Path>, with_parent: bool, waiting: &str) -> Option<Config> {
    let is_managed = std::env::var_os("NOTIFY_SOCKET").is_some() && !with_parent;
    let mut manager = ServiceManager::new();
    for turn in 0.. {
        let error = match Config::load(file) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        if turn % LOGGED_EVERY == 0 {
            crate::logging::start(log::LevelFilter::Info);
            log::error!(event = Event::ConfigurationRefused, reason:% = error; "{error}");
        }
        if !is_managed {
            return None;
        }
        if turn == 0 {
            manager.ready(waiting);
        }
        manager.alive();
        std::thread::sleep(READ_AGAIN_EVERY);
    }
    None
}
