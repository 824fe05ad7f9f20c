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

use crate::companion::configuration::read as read_configuration;
use crate::logging::Event;
use clap::{CommandFactory as _, Parser};
use std::path::PathBuf;
use std::process::ExitCode;

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

/// Runs the program `hither-sorter`.
#[must_use]
pub fn run() -> ExitCode {
    let args = Args::parse();
    let waiting = "the configuration is wrong: nothing is measured until it is corrected";
    let Some(config) = read_configuration(args.config.as_deref(), args.with_parent, waiting) else {
        return ExitCode::FAILURE;
    };
    crate::logging::start(config.log.level);
    match event_loop::run(&config, args.with_parent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            log::error!(event = Event::Failed; "{message}");
            ExitCode::FAILURE
        }
    }
}
