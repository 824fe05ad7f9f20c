//! hither-sorter: measures the addresses of answers, and tells the daemon in which order to give them.
//!
//! It reads the table like any other process and decides nothing but an order: the worst it can do is a bad permutation of the
//! right set.

pub mod echo;
mod event_loop;
mod link;
mod measured;
mod news;
mod probe;
mod rank;
mod schedule;
mod sets;
mod targets;
mod walk;

use crate::config::Config;
use crate::host::service_manager::ServiceManager;
use crate::logging::Event;
use clap::{CommandFactory as _, Parser};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Measures the addresses that hitherd publishes, and sends it orders.
#[derive(Parser, Debug)]
#[command(
    name = "hither-sorter",
    version,
    after_help = "Exit status: 0 after SIGTERM or SIGINT, 1 when it cannot start or go on, with the reason in the log, 2 usage."
)]
struct Args {
    /// The configuration file, instead of /etc/hither/hither.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// End when standard input does: how hitherd --with-sorter keeps its child.
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// The command line, as a description.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// How often a configuration that is wrong is read again, and after how many times the log is told again.
const AGAIN: Duration = Duration::from_secs(2);
const TOLD_EVERY: u32 = 30;

/// The configuration. Under a service manager one that is wrong is waited for: started again and again, this would fill the journal.
fn configuration(args: &Args) -> Option<Config> {
    let is_managed = std::env::var_os("NOTIFY_SOCKET").is_some() && !args.with_parent;
    let mut manager = ServiceManager::new();
    for turn in 0.. {
        let error = match Config::load(args.config.as_deref()) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        if turn % TOLD_EVERY == 0 {
            crate::logging::start(log::LevelFilter::Info);
            log::error!(event = Event::ConfigurationRefused, reason:% = error; "{error}");
        }
        if !is_managed {
            return None;
        }
        if turn == 0 {
            manager.ready("the configuration is wrong: nothing is measured until it is right");
        }
        manager.alive();
        std::thread::sleep(AGAIN);
    }
    None
}

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    let args = Args::parse();
    let Some(config) = configuration(&args) else { return ExitCode::FAILURE };
    crate::logging::start(config.level);
    match event_loop::serve(&config, args.with_parent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            log::error!(event = Event::Failed; "{message}");
            ExitCode::FAILURE
        }
    }
}
