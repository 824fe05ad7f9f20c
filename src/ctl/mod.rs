//! hitherctl: the operator's tool. It reads the table itself, and asks the daemon only for facts
//! that the table does not have.

mod ask;
mod completions;
mod doctor;
mod entry;
mod explain;
mod files;
mod metrics;
mod nss;
mod nsswitch;
mod present;
mod read;
mod resolv;
mod site;
mod top;
mod watch;

use clap::{CommandFactory as _, Parser, Subcommand};
use hither_client::{Family, Name, OpenError, Table};
use hither_table::paths::{RUNTIME_DIR, TABLE_FILE};
use hither_wire::codes::Rtype;
use std::io::{self, ErrorKind, StdoutLock, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Once;
use std::time::Duration;

/// Read hither's table, and query and manage its daemon.
#[derive(Parser, Debug)]
#[command(
    name = "hitherctl",
    version,
    after_help = "Exit status: 0 if the verb succeeded; 1 if it failed or found a problem; 2 for a wrong command line; 3 if the table has no entry for the name; 4 if the name or type does not exist."
)]
struct Args {
    /// The directory of the table and the daemon's sockets [default: $HITHER_RUNTIME_DIR or /run/hither].
    #[arg(long, value_name = "DIR", global = true)]
    runtime_dir: Option<PathBuf>,
    /// Print JSON, one object per line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Show the entry of a name in the table, without asking the daemon.
    Lookup {
        /// The name to look up.
        name: Name,
        /// A or AAAA; without it, both if the table has them.
        #[arg(value_name = "A|AAAA", value_parser = family)]
        rtype: Option<Family>,
    },
    /// Ask the daemon for a name, as a client does, and show the response and times of each upstream.
    Query {
        /// The name to ask for.
        name: Name,
        /// The type to ask for.
        #[arg(default_value = "A", value_parser = rtype)]
        rtype: String,
    },
    /// Explain what clients get for a name: its versions, upstreams and addresses. Asks no upstream.
    Explain {
        /// The name to explain.
        name: Name,
        /// A or AAAA; without it, both if something is known of them.
        #[arg(value_name = "A|AAAA", value_parser = family)]
        rtype: Option<Family>,
    },
    /// Print a line for each new version of an entry, until Ctrl-C; of several names, for each change of
    /// their addresses. Or run a command for each change.
    Watch(watch::Options),
    /// Show all entries of the table.
    Dump,
    /// Check the whole table for damaged entries.
    Verify,
    /// Show the daemon's counters, which are in the table.
    Stats,
    /// Print metrics for Prometheus, from the table alone, also while the daemon hangs.
    Metrics {
        /// The format of the text.
        #[arg(long, value_name = "FORMAT", default_value = "openmetrics")]
        format: metrics::Format,
        /// Replace this file instead, in the format of Prometheus, as node_exporter reads it.
        #[arg(long, value_name = "FILE", conflicts_with = "format")]
        textfile: Option<PathBuf>,
        /// Answer one HTTP request on the socket that is standard input.
        #[arg(long, hide = true, conflicts_with_all = ["format", "textfile"])]
        http: bool,
    },
    /// Show the state of the daemon, its companions and the upstreams.
    Status,
    /// Show a live view: rates, upstreams, the names asked most, changes and open rounds; ? shows the keys.
    Top {
        /// Show the units of systemd that ask, instead of names.
        #[arg(long)]
        by_unit: bool,
        /// The time between two looks, from 0.1 to 60.
        #[arg(long, value_name = "SECONDS", value_parser = top::interval, default_value = "0.5")]
        interval: Duration,
        /// Draw without colours, as with NO_COLOR in the environment.
        #[arg(long)]
        no_color: bool,
    },
    /// Make the daemon read its configuration again, and wait until it is in force.
    Reload {
        /// Wait for the reload that a signal of systemd has begun, and report its result.
        #[arg(long, hide = true)]
        begun: bool,
    },
    /// Remove names from the daemon's caches.
    Flush {
        /// The names to remove; without any, all names.
        names: Vec<Name>,
        /// Remove only what other hosts of the site have learned.
        #[arg(long, conflicts_with = "names")]
        site: bool,
    },
    /// Show which process has port 53 and which servers get this host's queries, with a command that
    /// solves each problem.
    Doctor {
        /// The directory with the files of another host.
        #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
        root: PathBuf,
    },
    /// Add hither to nsswitch.conf, before the sources that ask the DNS.
    EnableNss {
        /// The file to change.
        #[arg(long, default_value = nss::FILE)]
        file: PathBuf,
        /// Print the changes and what they take away, without making them.
        #[arg(long)]
        dry_run: bool,
        /// Make the changes even if hitherctl would refuse them.
        #[arg(long)]
        force: bool,
    },
    /// Remove hither from nsswitch.conf.
    DisableNss {
        /// The file to change.
        #[arg(long, default_value = nss::FILE)]
        file: PathBuf,
    },
    /// Have resolv.conf, and the program that writes it, name hitherd as the name server.
    EnableResolv {
        /// The directory with the files of another host. Commands are run on this host: the caller
        /// makes sure that they concern those files.
        #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
        root: PathBuf,
        /// Print the changes and what they take away, without making them.
        #[arg(long)]
        dry_run: bool,
        /// Make the changes even if hitherctl would refuse them.
        #[arg(long)]
        force: bool,
    },
    /// Undo the changes of enable-resolv.
    DisableResolv {
        /// The directory with the files of another host.
        #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
        root: PathBuf,
        /// Print the steps without making them.
        #[arg(long)]
        dry_run: bool,
    },
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: completions::Shell,
        /// The program whose command line is completed.
        #[arg(default_value = "hitherctl")]
        program: completions::Program,
    },
}

fn family(text: &str) -> Result<Family, String> {
    match text.to_ascii_uppercase().as_str() {
        "A" => Ok(Family::A),
        "AAAA" => Ok(Family::Aaaa),
        _ => Err("expected A or AAAA".to_owned()),
    }
}

fn rtype(text: &str) -> Result<String, String> {
    let expected =
        "expected a type such as A, AAAA, CNAME, HTTPS, MX, NS, PTR, SOA, SRV or TXT, or TYPE and a number";
    text.parse::<Rtype>().map(|_| text.to_owned()).map_err(|_| expected.to_owned())
}

/// How a verb ended, which decides the exit status.
enum End {
    Done,
    NotInTheTable,
    /// The name or the type does not exist.
    DoesNotExist,
    /// The message for the operator.
    Failed(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        // The reader of our output has closed it, as `head` does.
        if error.kind() == ErrorKind::BrokenPipe {
            End::Done
        } else {
            End::Failed(format!("cannot write: {error}"))
        }
    }
}

/// The options of every verb.
struct Context {
    /// The runtime directory.
    dir: PathBuf,
    json: bool,
}

/// The options of verbs that change files of the system.
#[derive(Clone, Copy, Debug)]
struct EditOptions {
    /// Print the changes, and make none.
    dry_run: bool,
    /// Make changes that are refused otherwise.
    force: bool,
}

impl Context {
    fn table(&self) -> Result<Table, End> {
        self.open().map_err(|error| End::Failed(why_no_table(self, &error)))
    }

    fn open(&self) -> Result<Table, OpenError> {
        let table = Table::open_any_network(Some(&self.dir))?;
        static REMARKED: Once = Once::new();
        if !table.is_same_network() {
            REMARKED.call_once(|| {
                remark("the daemon is in another network namespace: programs here do not read its table");
            });
        }
        Ok(table)
    }
}

fn why_no_table(context: &Context, error: &OpenError) -> String {
    let dir = &context.dir;
    let missing = matches!(error, OpenError::Io(error) if error.kind() == ErrorKind::NotFound);
    if missing
        && dir.exists()
        && let Ok(status) = ask::daemon_status(context)
    {
        let why = ask::table_problem(&status.problems);
        let why = why
            .unwrap_or("hitherd answers, but its table is in another directory, or this user may not see it");
        return format!("there is no table at '{}': {why}", dir.join(TABLE_FILE).display());
    }
    // The service manager removes the directory when the service stops.
    let hint = match (missing, dir == Path::new(RUNTIME_DIR), dir.exists()) {
        (true, true, false) => {
            "; it is removed when hitherd stops, after its entries are saved: systemctl start hitherd.service restores it"
        }
        (true, ..) => "; hitherd creates it: does it run, with this directory as its runtime_dir?",
        (false, ..) => "",
    };
    format!("the table '{}' cannot be read: {error}{hint}", dir.join(TABLE_FILE).display())
}

/// The command line, for the manual's test and for completions.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// The headings of all metrics as hither-metrics(7) has them: name, type, unit and labels.
#[must_use]
pub fn metric_headings() -> Vec<String> {
    metrics::headings()
}

/// The live view `top`. Only the program hitherctl hands it in: the daemon can be run as hitherctl too, and
/// is not to grow by what draws.
pub struct View(fn(&Context, &mut StdoutLock<'static>, top::Options) -> Result<End, End>);

impl View {
    /// The view on a terminal.
    pub const ON_TERMINAL: View = View(top::top);
}

/// Runs the program `hitherctl`.
#[must_use]
pub fn run(view: Option<View>) -> ExitCode {
    let args = Args::parse();
    let context =
        Context { dir: args.runtime_dir.unwrap_or_else(hither_client::runtime_dir), json: args.json };
    let mut out = io::stdout().lock();
    let result = match args.verb {
        Verb::Lookup { name, rtype } => read::lookup(&context, &mut out, &name, rtype),
        Verb::Watch(options) => watch::watch(&context, &mut out, options),
        Verb::Dump => read::dump(&context, &mut out),
        Verb::Verify => read::verify(&context, &mut out),
        Verb::Stats => read::stats(&context, &mut out),
        Verb::Metrics { http: true, .. } => metrics::metrics(&context, &mut out, &metrics::Target::Client),
        Verb::Metrics { textfile: Some(path), .. } => {
            metrics::metrics(&context, &mut out, &metrics::Target::File(&path))
        }
        Verb::Metrics { format, .. } => {
            metrics::metrics(&context, &mut out, &metrics::Target::Output(format))
        }
        Verb::Status => ask::status(&context, &mut out),
        Verb::Top { by_unit, interval, no_color } => {
            let options = top::Options { by_unit, interval, no_color };
            let none = || Err(End::Failed("this program has no live view; run hitherctl".to_owned()));
            view.map_or_else(none, |view| view.0(&context, &mut out, options))
        }
        Verb::Reload { begun } => ask::reload(&context, &mut out, begun),
        Verb::Flush { site: true, .. } => site::flush(&context, &mut out),
        Verb::Flush { names, .. } => ask::flush(&context, &mut out, &names),
        Verb::Query { name, rtype } => ask::query(&context, &mut out, &name, &rtype),
        Verb::Explain { name, rtype } => explain::explain(&context, &mut out, &name, rtype),
        Verb::Doctor { root } => doctor::doctor(&context, &mut out, &root),
        Verb::EnableNss { file, dry_run, force } => {
            nss::enable(&context, &mut out, &file, EditOptions { dry_run, force })
        }
        Verb::DisableNss { file } => nss::disable(&context, &mut out, &file),
        Verb::EnableResolv { root, dry_run, force } => {
            resolv::enable(&context, &mut out, &root, EditOptions { dry_run, force })
        }
        Verb::DisableResolv { root, dry_run } => {
            resolv::disable(&context, &mut out, &root, EditOptions { dry_run, force: false })
        }
        Verb::Completions { shell, program } => completions::completions(&mut out, shell, program),
    };
    let end = match out.flush() {
        Err(error) => End::from(error),
        Ok(()) => result.unwrap_or_else(|end| end),
    };
    match end {
        End::Done => ExitCode::SUCCESS,
        End::NotInTheTable => ExitCode::from(3),
        End::DoesNotExist => ExitCode::from(4),
        End::Failed(message) => complain(&message),
    }
}

fn complain(message: &str) -> ExitCode {
    remark(message);
    ExitCode::FAILURE
}

fn remark(message: &str) {
    // Standard error may be closed.
    let _ = writeln!(io::stderr(), "hitherctl: {message}");
}
