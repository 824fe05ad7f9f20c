//! What the hosts of one site ask of their upstreams, with and without answers that they share: real
//! daemons, real companions, a real engine. `cargo build --release && cargo bench --bench site -- [PARTS]
//! [OPTIONS]`
//!
//! Parts; without one, all of them:
//! * `traffic`: hosts on one machine, asked by Zipf; queries to the upstreams, operations of the engine,
//!   memory and processor time.
//! * `newcomer`: a new host in a network of its own joins a warm site. Needs root.
//! * `faults`: misses and hits without a site, and with an engine that is up, gone, hangs, is slow, or is
//!   cut off, in turns. Needs root.
//! * `idle`: how often the companion wakes up within a minute in which nothing happens.
//!
//! Options: `--hosts N` (100), `--alone N` (10: hosts where nothing is shared; they do not notice each
//! other, so their queries are multiplied), `--names N` (10000), `--rate Q` (200 queries a second and
//! host), `--factor N` (1: how many times faster the traffic is replayed; TTL and delay of the upstreams
//! are divided by it), `--minutes M` (60, of traffic), `--sharing off,quiet,ask` (all three: none, `ask =
//! false`, `ask = true`), `--rounds N` (7, of `faults`), `--wait MS` (2: `site.wait` of
//! `traffic`).
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

#[path = "../../tests/support/engine.rs"]
mod engine;
mod faults;
mod host;
mod idle;
mod load;
#[path = "../../tests/site_hosts/network.rs"]
mod network;
mod newcomer;
mod question;
mod summary;
mod traffic;
mod upstream;

use std::path::PathBuf;

/// What the command line says.
pub(crate) struct Options {
    pub(crate) hosts: usize,
    /// Hosts where nothing is shared. They do not notice each other, so fewer are enough.
    pub(crate) alone: usize,
    pub(crate) names: usize,
    /// Queries a second and host, before the factor.
    pub(crate) rate: f64,
    pub(crate) factor: f64,
    pub(crate) minutes: f64,
    pub(crate) sharing: Vec<Sharing>,
    pub(crate) rounds: usize,
    /// `site.wait` of `traffic`, in milliseconds.
    pub(crate) wait_ms: u64,
}

/// What one of the parts runs.
type Part = fn(&Options);

/// How a host takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sharing {
    Off,
    /// `ask = false`
    Quiet,
    /// `ask = true`
    Ask,
}

impl Sharing {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Sharing::Off => "nothing is shared",
            Sharing::Quiet => "ask = false",
            Sharing::Ask => "ask = true",
        }
    }
}

/// A directory for one part, emptied.
pub(crate) fn directory(part: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("hither-site-{part}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let value = |key: &str| args.iter().position(|arg| arg == key).and_then(|at| args.get(at + 1));
    let number = |key: &str, usual: f64| value(key).and_then(|text| text.parse().ok()).unwrap_or(usual);
    let sharing = value("--sharing").map_or("off,quiet,ask", String::as_str).split(',');
    let sharing = sharing.filter_map(|word| match word {
        "off" => Some(Sharing::Off),
        "quiet" => Some(Sharing::Quiet),
        "ask" => Some(Sharing::Ask),
        _ => None,
    });
    let options = Options {
        hosts: number("--hosts", 100.0) as usize,
        alone: number("--alone", 10.0) as usize,
        names: number("--names", 10_000.0) as usize,
        rate: number("--rate", 200.0),
        factor: number("--factor", 1.0),
        minutes: number("--minutes", 60.0),
        sharing: sharing.collect(),
        wait_ms: number("--wait", 2.0) as u64,
        rounds: number("--rounds", 7.0) as usize,
    };
    if engine::program().is_none() {
        return println!("SKIPPED: neither valkey-server nor redis-server is installed");
    }
    if host::program("hither-site").is_none() {
        return println!("SKIPPED: there is no hither-site here; run cargo build --release first");
    }
    let parts: [(&str, Part); 4] = [
        ("traffic", traffic::run),
        ("newcomer", newcomer::run),
        ("faults", faults::run),
        ("idle", idle::run),
    ];
    let is_wanted = |name: &str| args.iter().any(|arg| arg == name);
    let all = !parts.iter().any(|(name, _)| is_wanted(name));
    for (_, part) in parts.iter().filter(|(name, _)| all || is_wanted(name)) {
        part(&options);
    }
}
