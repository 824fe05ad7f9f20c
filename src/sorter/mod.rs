//! hither-sorter: measures the addresses of answers and sends the daemon their order, the quickest first.
//!
//! It reads the table like any other process and decides nothing but the order: the worst that it
//! can do is a bad permutation of the right set.

mod counts;
mod daemon_connection;
pub mod echo;
mod event_loop;
mod explain;
mod handshake;
mod judging;
mod measurements;
mod methods;
mod network_changes;
mod probe_choice;
mod probe_log;
mod probe_permission;
mod prober;
mod ranking;
mod sampling;
mod sets;
mod table_walk;

use crate::config::Config;
use crate::host::service_manager::ServiceManager;
use crate::logging::Event;
use clap::{CommandFactory as _, Parser};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Measure the addresses that hitherd publishes, and send their order to it.
#[derive(Parser, Debug)]
#[command(
    name = "hither-sorter",
    version,
    after_help = "Exit status: 0 after SIGTERM or SIGINT; 1 if hither-sorter cannot start or continue, with the reason in the log; 2 for a wrong command line."
)]
struct Args {
    /// Read FILE instead of /etc/hither/hither.toml, and the drop-ins in FILE.d.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// End when standard input is closed. `hitherd --with-sorter` uses this.
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// The command line, for the manual's test and for completions.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// The time after which a wrong configuration is read again.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(2);
/// A configuration that stays wrong is logged at one in this many readings.
const LOGGED_EVERY: u32 = 30;

/// Reads the configuration. Under a service manager it waits until a wrong one is corrected, since
/// restarts would fill the journal.
fn read_configuration(args: &Args) -> Option<Config> {
    let is_managed = std::env::var_os("NOTIFY_SOCKET").is_some() && !args.with_parent;
    let mut manager = ServiceManager::new();
    for turn in 0.. {
        let error = match Config::load(args.config.as_deref()) {
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
            manager.ready("the configuration is wrong: nothing is measured until it is corrected");
        }
        manager.alive();
        std::thread::sleep(READ_AGAIN_EVERY);
    }
    None
}

/// Runs the program `hither-sorter`.
#[must_use]
pub fn run() -> ExitCode {
    let args = Args::parse();
    let Some(config) = read_configuration(&args) else { return ExitCode::FAILURE };
    crate::logging::start(config.log.level);
    match event_loop::run(&config, args.with_parent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            log::error!(event = Event::Failed; "{message}");
            ExitCode::FAILURE
        }
    }
}
