//! hither-sorter: measures the addresses of answers, and tells the daemon in which order to give them.
//!
//! It reads the table like any other process and decides nothing but an order: the worst it can do is a bad permutation of the
//! right set.

mod event_loop;
mod link;
mod probe;
mod rank;
mod schedule;
mod sets;
mod targets;

use crate::config::Config;
use crate::logging::Event;
use clap::{CommandFactory as _, Parser};
use std::path::PathBuf;
use std::process::ExitCode;

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

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    let args = Args::parse();
    let config = match Config::load(args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            crate::logging::start(log::LevelFilter::Info);
            log::error!(event = Event::ConfigurationRefused, reason:% = error; "{error}");
            return ExitCode::FAILURE;
        }
    };
    crate::logging::start(config.level);
    match event_loop::serve(&config, args.with_parent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            log::error!(event = Event::Failed; "{message}");
            ExitCode::FAILURE
        }
    }
}
