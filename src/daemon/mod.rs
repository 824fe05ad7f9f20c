//! hitherd: forwards queries of clients to upstreams, answers from its cache, and publishes addresses
//! in the shared table.

mod admin;
mod check;
mod clients;
mod companion_child;
mod core;
mod demo;
mod event_loop;
mod feed;
mod insight;
mod local_listener;
mod persist;
pub(crate) mod reload;
mod setup;
mod shortage;
mod socket_activation;
mod sources;
mod thread_results;
mod turn;
mod upstreams;

use crate::config::Config;
use crate::daemon::admin::Companion;
use crate::host::service_manager;
use crate::logging::Event;
use clap::{CommandFactory as _, Parser};
use reload::unusable_config::{self, Unusable};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// The exit status for an invalid configuration: EX_CONFIG of sysexits(3). `systemctl status` shows
/// that name.
const CONFIGURATION: u8 = 78;

/// DNS forwarder for this host, whose cache every process reads from shared memory.
#[derive(Parser, Debug)]
#[command(
    name = "hitherd",
    version,
    after_help = "Exit status: 0 after SIGTERM or SIGINT, or if --check finds a valid configuration; 1 if hitherd cannot start or continue, with the reason in the log; 2 for a wrong command line; 78 if the configuration is invalid."
)]
struct Args {
    /// Read FILE instead of /etc/hither/hither.toml, and the drop-ins in FILE.d.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and exit, with status 0 if it is valid.
    #[arg(long)]
    check: bool,
    /// Start hither-sorter as a child process, where no service manager starts it.
    #[arg(long)]
    with_sorter: bool,
    /// Start hither-site as a child process, where no service manager starts it.
    #[arg(long)]
    with_site: bool,
    /// Show how one name is resolved, without network, root or configuration, then serve until Ctrl-C.
    #[arg(long)]
    demo: bool,
    /// With --demo: show two hosts that share answers through a Valkey or Redis server, which has to be
    /// installed.
    #[arg(long, requires = "demo")]
    site: bool,
}

/// The description of the command line, for manuals and completions.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the program. Started under the name of another program of hither, it is that one, so that a
/// daemon that was built alone can start its companions.
#[must_use]
pub fn run() -> ExitCode {
    let called = std::env::args_os().next().map(PathBuf::from);
    match called.as_ref().and_then(|path| path.file_name()).and_then(|name| name.to_str()) {
        Some("hither-sorter") => return crate::sorter::run(),
        Some("hither-site") => return crate::site::run(),
        Some("hitherctl") => return crate::ctl::run(None),
        _ => {}
    }
    let args = Args::parse();
    if args.demo {
        return demo::run(args.site);
    }
    if args.check {
        return check::check(args.config.as_deref());
    }
    let config = match unusable_config::load(args.config.as_deref()) {
        Ok(config) => config,
        Err(Unusable { reason, is_invalid }) => {
            crate::logging::start(log::LevelFilter::Info);
            let event = if is_invalid { Event::ConfigurationRefused } else { Event::Failed };
            log::error!(event = event, reason:% = reason; "{reason}");
            if !unusable_config::may_run_without(&Config::default().runtime_dir) {
                service_manager::ServiceManager::new().stopping(&reason);
                return if is_invalid { ExitCode::from(CONFIGURATION) } else { ExitCode::FAILURE };
            }
            unusable_config::placeholder(reason)
        }
    };
    crate::logging::start(config.log.level);
    let wanted = [(Companion::Sorter, args.with_sorter), (Companion::Site, args.with_site)];
    let companions: Vec<Companion> =
        wanted.into_iter().filter(|(_, is_wanted)| *is_wanted).map(|(companion, _)| companion).collect();
    match event_loop::run(config, args.config, &companions) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            log::error!(event = Event::Failed; "{message}");
            service_manager::ServiceManager::new().stopping(&message);
            ExitCode::FAILURE
        }
    }
}

/// Prints an error of the command line or configuration to standard error, not to the log.
fn fail(message: &str) -> ExitCode {
    // Standard error may be closed.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::from(CONFIGURATION)
}
