//! hither-site: shares the daemon's answers with the other hosts of a site, by a Valkey or Redis server.
//!
//! It reads the table like any other process, writes what this host has learned to the engine, and offers
//! the daemon what other hosts have learned. The daemon decides what of it is published. Without this
//! program, or without an engine, the daemon works as it does alone.
//!
//! The event loop follows table and daemon; `engine` talks to the engine, in threads of its own, since an
//! engine may be slow or gone.

mod admission;
mod backoff;
mod configuration;
mod engine;
mod event_loop;
mod exchange;
mod incoming;
mod interest;
mod outgoing;
mod publication;
mod reporting;
mod rules;
mod survey;

use crate::companion::configuration::read as read_configuration;
use crate::config::Config;
use crate::logging::Event;
use clap::{CommandFactory as _, Parser};
use event_loop::{Ended, Start};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Share the answers of hitherd with the other hosts of a site.
#[derive(Parser, Debug)]
#[command(
    name = "hither-site",
    version,
    after_help = "Exit status: 0 after SIGTERM or SIGINT; 1 if hither-site cannot start or continue, with the reason in the log; 2 for a wrong command line."
)]
struct Args {
    /// Read FILE instead of /etc/hither/hither.toml, and the drop-ins in FILE.d.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write to the engine under this name instead of the kernel's host name: letters, digits, '-', '_' and
    /// '.', at most 64.
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    host: Option<String>,
    /// End when standard input is closed. `hitherd --demo --site` uses this.
    #[arg(long, hide = true)]
    with_parent: bool,
    /// End at once, with status 1 if no engine is configured. The unit does not start the program then.
    #[arg(long, hide = true)]
    is_configured: bool,
}

/// A name under which a host may write.
fn host_name(text: &str) -> Result<String, String> {
    if publication::is_host_name(text) {
        Ok(text.to_owned())
    } else {
        Err("expected letters, digits, '-', '_' and '.', at most 64".to_owned())
    }
}

/// The command line, for the manual's test and for completions.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// Whether there is something to do: an engine, or a wrong configuration, which is waited for.
fn is_configured(args: &Args) -> bool {
    !Config::load(args.config.as_deref()).is_ok_and(|config| config.site.engines.is_empty())
}

/// Runs the program `hither-site`.
#[must_use]
pub fn run() -> ExitCode {
    let args = Args::parse();
    if args.is_configured {
        return if is_configured(&args) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let waiting = "the configuration is wrong: nothing is shared until it is corrected";
    let Some(config) = read_configuration(args.config.as_deref(), args.with_parent, waiting) else {
        return ExitCode::FAILURE;
    };
    crate::logging::start(config.log.level);
    let host = args.host.clone().unwrap_or_else(publication::host_name);
    match event_loop::run(&config, &Start { file: args.config, host, with_parent: args.with_parent }) {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::Again) => begin_again(),
        Err(message) => {
            log::error!(event = Event::Failed; "{message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs this program anew in the same process, with the configuration as it is by now: nothing of what it
/// knows is worth more than a simple way to read all of it again.
fn begin_again() -> ExitCode {
    let error = match std::env::current_exe() {
        Ok(program) => Command::new(program).arg0("hither-site").args(std::env::args_os().skip(1)).exec(),
        Err(error) => error,
    };
    log::error!(event = Event::Failed; "the configuration cannot be read again: {error}");
    ExitCode::FAILURE
}
