//! The configuration: hither.toml and its drop-ins. It takes effect only if all of it is valid.
//!
//! Each file is read on its own, so that an error names its file, line and column; later files win key
//! by key, their `[[upstream]]`, `[[domain]]` and `[[block]]` tables add to those of earlier files.

mod address;
mod authorities;
mod base64;
mod check;
mod defaults;
mod error;
mod file;
mod log_values;
mod merge;
mod place;
mod shape;
mod site;
mod slips;
mod upstream;
mod values;

pub use address::Endpoint;
pub use error::ConfigError;
pub use log_values::{Level, QueryLog};
pub use site::{Engine, EngineAddress, Site};
pub use upstream::{Tls, Upstream};
pub use values::{Network, Probe};

use crate::host::files;
use file::File;
use hither_local::{Match, Verdict};
use hither_rounds::Settings;
use hither_table::FamilyOrder;
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use upstream::Gathered;

/// The main file, unless the command line names another.
pub const FILE: &str = "/etc/hither/hither.toml";

/// Octets of one file.
const FILE_MAX: u64 = 16 << 20;

/// Octets of all files together.
const FILES_MAX: u64 = 64 << 20;
/// Entries of the directory of drop-ins, read or not.
pub const DROP_INS_MAX: usize = 1024;

/// The hosts file that is read unless the configuration names others.
const HOSTS_FILE: &str = "/etc/hosts";

/// Names that the table holds by default, if the file system has space for them.
pub const ENTRIES_DEFAULT: usize = 65_536;

/// The configuration with all defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory of the table and the local sockets.
    pub runtime_dir: PathBuf,
    /// The directory of the saved cache, and how often the cache is saved.
    pub state: State,
    /// The addresses to listen at, and the clients that may send queries.
    pub listen: Listen,
    /// The upstreams that the configuration names.
    pub upstreams: Upstreams,
    /// Hosts files, and whether the host's own name is answered.
    pub hosts: Hosts,
    /// Block lists, in order.
    pub blocks: Vec<Block>,
    /// Limits of what clients may use.
    pub limits: Limits,
    /// Settings of rounds and cache.
    pub settings: Settings,
    /// Size and permissions of the table.
    pub table: Table,
    /// Settings of the sorter.
    pub sort: Sort,
    /// What is shared with other hosts.
    pub site: Site,
    /// The log, the log of queries, and dnstap.
    pub log: Log,
    /// The error and the remarks that reading the configuration has given.
    pub findings: Findings,
}

/// The directory and interval of saves of the cache: `state_dir`, and `save` of section `[cache]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The directory of the saved cache; `None`: the cache is not saved.
    pub dir: Option<PathBuf>,
    /// How often the cache is saved; zero: never, and it is not restored either.
    pub save_every: Duration,
}

/// The addresses to listen at and the clients that may send queries, section `[listen]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The addresses to listen at, unless systemd passes sockets.
    pub addresses: Vec<SocketAddr>,
    /// The networks whose clients may send queries.
    pub allow: Vec<Network>,
    /// Threads that answer from the cache; 1: only the event loop.
    pub workers: usize,
}

/// The upstreams of the `[[upstream]]`, `[[domain]]` and `[tls]` sections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstreams {
    /// The upstreams of all names that belong to none of the domains; empty: the system's resolvers.
    pub usual: Vec<Upstream>,
    /// The upstreams of some domains.
    pub domains: BTreeMap<Name, Vec<Upstream>>,
    /// The settings of all encrypted upstreams, section `[tls]`.
    pub tls: Tls,
}

/// The size and permissions of the table, section `[table]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Names that the table holds; `None`: [`ENTRIES_DEFAULT`], or as many as the file system has space for.
    pub entries: Option<usize>,
    /// The permissions of the table's file.
    pub mode: u32,
}

/// The error and the remarks that reading the configuration has given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The error of an invalid configuration, if the daemon serves without it.
    pub error: Option<String>,
    /// Values that were understood differently from how they were written, for `hitherctl check`.
    pub hints: Vec<String>,
}

impl Upstreams {
    /// All upstreams, without those of `bootstrap`. One that several domains name is there several times.
    pub fn all(&self) -> impl Iterator<Item = &Upstream> {
        self.usual.iter().chain(self.domains.values().flatten())
    }
}

/// Hosts files and the own name, section `[hosts]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// The paths of hosts files.
    pub files: Vec<PathBuf>,
    /// Whether the host's own name is answered with its addresses.
    pub own_name: bool,
}

/// One `[[block]]` of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The paths of block lists.
    pub files: Vec<PathBuf>,
    /// Names in the configuration itself, each with the names that it covers.
    pub names: Vec<(Name, Match)>,
    /// The names that a plain name in the lists covers.
    pub covers: Match,
    /// The answer for blocked names.
    pub verdict: Verdict,
}

/// Limits of what clients may use; those of rounds are in [`Settings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients of one network other than this host that may wait at the same time.
    pub clients_per_network: usize,
    /// TCP connections at the same time; a further one replaces an idle one of the network that has the most.
    pub tcp: usize,
    /// TCP connections of one network other than this host.
    pub tcp_per_network: usize,
    /// Equal replies per second to one network other than this host; 0: no limit.
    pub replies_per_second: u32,
    /// What programs may subscribe to.
    pub feed: Feed,
}

/// The feed of changes, section `[feed]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The permissions of its socket.
    pub mode: u32,
    /// Its limits; without a name there is no feed.
    pub limits: hither_feed::server::Limits,
}

/// The log, section `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severity that is logged.
    pub level: log::LevelFilter,
    /// The queries of clients that are logged.
    pub queries: QueryLog,
    /// The socket of a dnstap collector; `None`: there is none.
    pub dnstap: Option<PathBuf>,
}

/// The measurements of addresses, section `[sort]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// Whether addresses are measured.
    pub enabled: bool,
    /// The ways to measure, tried in this order until one answers.
    pub probes: Vec<Probe>,
    /// How long a probe waits for its answer.
    pub timeout: Duration,
    /// How long a measurement is valid.
    pub remeasure: Duration,
    /// Whether loopback, link-local and private addresses are probed.
    pub private: bool,
    /// The largest number of probes per second.
    pub rate: u32,
    /// The least gain in round-trip time for which the order of addresses changes.
    pub hysteresis: Duration,
    /// How programs order both families of a name.
    pub families: FamilyOrder,
    /// How much a family must be slower than the other one to be withheld.
    pub family_margin: Duration,
    /// Whether a family is withheld where the other one is better.
    pub withhold: bool,
    /// The largest number of TLS handshakes per second; 0: certificates are not judged.
    pub tls_rate: u32,
    /// Domains whose names are shown to no server, with all names below them.
    pub tls_except: BTreeSet<Name>,
}

impl Config {
    /// The directory in which the cache is saved, if it is saved.
    #[must_use]
    pub fn saved_in(&self) -> Option<&Path> {
        self.state.dir.as_deref().filter(|_| !self.state.save_every.is_zero())
    }

    /// Whether the system's resolvers are used: for all names, or for the names of upstreams.
    #[must_use]
    pub fn uses_system(&self) -> bool {
        let is_address = |upstream: &Upstream| upstream.lookup.is_none();
        let usual = &self.upstreams.usual;
        let has_own = !self.upstreams.tls.bootstrap.is_empty() || usual.iter().any(is_address);
        usual.is_empty() || !has_own && !self.upstreams.all().all(is_address)
    }

    /// Reads `path` and the files in `path.d`. Without a path it reads [`FILE`], which may be missing,
    /// and last the credential `hither.toml` of the service manager.
    ///
    /// # Errors
    /// A [`ConfigError`] with file, line, column, what was expected and, for an unknown key, the
    /// nearest known one.
    pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
        Config::of(path.unwrap_or(Path::new(FILE)), &texts(path)?)
    }

    /// [`Config::load`], which also reads the files of certificate authorities.
    ///
    /// # Errors
    /// As [`Config::load`], and with the place of the key whose file is missing or has no certificate.
    pub fn load_with_authorities(path: Option<&Path>) -> Result<Config, ConfigError> {
        let (main, files) = (path.unwrap_or(Path::new(FILE)), texts(path)?);
        let config = Config::of(main, &files)?;
        let checked = config.check_authorities();
        checked.map_err(|(place, message)| place.error(main, &files, message))?;
        Ok(config)
    }

    /// The configuration of several files, later ones last.
    fn of(main: &Path, files: &[(PathBuf, String)]) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        let mut upstreams = Gathered::default();
        for (path, text) in files {
            config.merge(parse(path, text)?, &mut upstreams);
            config.findings.hints.extend(place::empty_blocks(path, text));
        }
        let checked = upstreams.finish().and_then(|all| {
            config.upstreams = all;
            config.check()
        });
        checked.map_err(|(place, message)| place.error(main, files, message))?;
        config.findings.hints.append(&mut upstreams.hints);
        Ok(config)
    }

    /// The paths that [`Config::load`] reads: the file, the directory of its drop-ins, and the drop-ins.
    #[must_use]
    pub fn files(path: Option<&Path>) -> Vec<PathBuf> {
        let main = path.unwrap_or(Path::new(FILE));
        [vec![main.to_owned(), drop_in_dir(main)], drop_ins(main).unwrap_or_default()].concat()
    }

    /// Remarks for the author of the configuration: values that were understood differently from how
    /// they were written, and interfaces and files that do not exist yet.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let later = self.upstreams.all().filter(|upstream| upstream.server().is_none()).map(|upstream| {
            let interface = upstream.interfaces().next().unwrap_or_default();
            format!("{upstream} is used once the interface '{interface}' exists")
        });
        let lists = self.blocks.iter().flat_map(|block| &block.files).chain(&self.hosts.files);
        // The default file is not the author's, and may be missing.
        let files = lists.filter(|file| file.as_path() != Path::new(HOSTS_FILE)).filter_map(|file| {
            let shown = file.display();
            match std::fs::metadata(file) {
                Ok(what) if what.is_dir() => {
                    Some(format!("'{shown}' is a directory, not a file; nothing is read from it"))
                }
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    Some(format!("there is no file '{shown}'; it is read once it exists"))
                }
                Ok(_) | Err(_) => None,
            }
        });
        let encryption = self.hints_on_encryption();
        self.findings.hints.iter().cloned().chain(later).chain(encryption).chain(files).collect()
    }
}

/// The files of a configuration with their texts, later ones last.
fn texts(path: Option<&Path>) -> Result<Vec<(PathBuf, String)>, ConfigError> {
    let main = path.unwrap_or(Path::new(FILE));
    let mut left = FILES_MAX;
    let read = |file: PathBuf| {
        let octets =
            files::read_all(&file, FILE_MAX).map_err(|error| ConfigError::unreadable(&file, &error))?;
        left = left.checked_sub(octets.len() as u64).ok_or_else(|| {
            let most = FILES_MAX >> 20;
            ConfigError::of_file(&file, format!("with this file the configuration is larger than {most} MiB"))
        })?;
        let text = error::text(&file, octets)?;
        Ok((file, text))
    };
    let is_there = path.is_some() || main.try_exists().unwrap_or(true);
    let credential = path.is_none().then(credential).flatten();
    let all = is_there.then(|| main.to_owned()).into_iter().chain(drop_ins(main)?).chain(credential);
    all.map(read).collect()
}

/// Reads a text as if it were a configuration file.
///
/// # Errors
/// As [`Config::load`].
pub fn check_text(text: &str) -> Result<Config, ConfigError> {
    let path = Path::new("hither.toml");
    Config::of(path, &[(path.to_owned(), text.to_owned())])
}

fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    shape::check(path, text)?;
    toml::from_str(text).map_err(|error| ConfigError::toml(path, text, &error))
}

/// The file of the credential, if the service manager passed one.
fn credential() -> Option<PathBuf> {
    let file = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join("hither.toml");
    file.exists().then_some(file)
}

fn drop_in_dir(main: &Path) -> PathBuf {
    let mut dir = main.as_os_str().to_owned();
    dir.push(".d");
    PathBuf::from(dir)
}

fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let dir = drop_in_dir(main);
    let names = match files::entries(&dir, DROP_INS_MAX) {
        Ok(entries) if entries.is_cut => {
            let message = format!("'{}' has more than {DROP_INS_MAX} entries; expected fewer", dir.display());
            return Err(ConfigError::of_file(main, message));
        }
        Ok(entries) => entries.names,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ConfigError::unreadable(&dir, &error)),
    };
    let paths = names.into_iter().map(|name| dir.join(name));
    Ok(paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect())
}

#[cfg(test)]
mod manual;
#[cfg(test)]
mod tests;
