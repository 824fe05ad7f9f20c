//! The configuration: hither.toml and its drop-ins, checked whole before anything of it counts.
//!
//! Each file is read on its own, so that an error names its file, line and column; later files win key by key, their
//! `[[upstream]]`, `[[domain]]` and `[[block]]` tables add to those before.

mod address;
mod error;
mod file;
mod place;
mod shape;
mod slips;
mod values;

pub use address::Endpoint;
pub use error::ConfigError;
pub use values::{Level, Network, Probe};

use crate::host::files;
use file::File;
use hither_local::{Match, Verdict};
use hither_rounds::Settings;
use hither_wire::name::Name;
use place::{Of, Place};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use values::Blocked;

/// Where the configuration is when nobody says otherwise.
pub const FILE: &str = "/etc/hither/hither.toml";

/// Octets of a file.
const FILE_MAX: u64 = 16 << 20;

/// Octets of all of them together.
const FILES_MAX: u64 = 64 << 20;
/// Entries of the directory of drop-ins, whether they are read or not.
pub const DROP_INS_MAX: usize = 1024;

/// The hosts file that is read when nobody says otherwise.
const HOSTS_FILE: &str = "/etc/hosts";

/// Names the table holds when nobody says how many, and there is room for so many.
pub const ENTRIES: usize = 65_536;

/// The whole configuration, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where table and local sockets are.
    pub runtime_dir: PathBuf,
    /// Where what outlives a reboot is; none: nothing does.
    pub state_dir: Option<PathBuf>,
    /// How often it is saved; zero: never, and nothing is restored.
    pub save: Duration,
    /// Where clients ask, unless systemd hands sockets over.
    pub listen: Vec<SocketAddr>,
    /// Who may ask.
    pub allow: Vec<Network>,
    /// Threads that answer from the cache; 1: the event loop alone.
    pub workers: usize,
    /// Whom to ask; none: the system's resolvers.
    pub upstreams: Vec<Endpoint>,
    /// Whom to ask for some domains.
    pub domains: BTreeMap<Name, Vec<Endpoint>>,
    /// Hosts files, and whether the host's own name is answered.
    pub hosts: Hosts,
    /// Block lists, in order.
    pub blocks: Vec<Block>,
    /// Bounds of what clients may use.
    pub limits: Limits,
    /// Rounds and cache.
    pub settings: Settings,
    /// Names the table holds; none: [`ENTRIES`], or as many as there is room for.
    pub table_entries: Option<usize>,
    /// Permissions of the table's file.
    pub table_mode: u32,
    /// The sorter.
    pub sort: Sort,
    /// What is logged.
    pub level: log::LevelFilter,
    /// This is what is served without a configuration, which is wrong, and why.
    pub wrong: Option<String>,
    /// What was understood in another way than it was written, for who asks.
    pub hints: Vec<String>,
}

/// Hosts files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// Where they are.
    pub files: Vec<PathBuf>,
    /// Whether the host's own name is answered with its addresses.
    pub own_name: bool,
}

/// One `[[block]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Lists.
    pub files: Vec<PathBuf>,
    /// Names, and what each covers.
    pub names: Vec<(Name, Match)>,
    /// What plain names cover.
    pub covers: Match,
    /// What is said of them.
    pub verdict: Verdict,
}

/// Bounds of what clients may use; those of rounds are in [`Settings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients of one network beyond this host that wait at once.
    pub clients_per_network: usize,
    /// TCP connections at once; one more takes the place of one that is idle, of the network that has most.
    pub tcp: usize,
    /// Of them, those of one network beyond this host.
    pub tcp_per_network: usize,
    /// Replies alike a second to one network beyond this host; 0: no bound.
    pub replies_per_second: u32,
}

/// The sorter's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// Whether addresses are measured at all.
    pub enabled: bool,
    /// How, in this order until one answers.
    pub probes: Vec<Probe>,
    /// How long a probe may take.
    pub timeout: Duration,
    /// How long a measurement counts.
    pub remeasure: Duration,
    /// Whether addresses are probed that lead nowhere but here or to the neighbours.
    pub private: bool,
    /// Probes a second.
    pub rate: u32,
    /// An order changes only for a gain of so much.
    pub hysteresis: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            runtime_dir: default_runtime_dir(),
            state_dir: first_of("STATE_DIRECTORY"),
            save: Duration::from_secs(300),
            listen: vec![
                SocketAddr::from(([127, 0, 0, 1], 53)),
                SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 53)),
            ],
            allow: vec![Network::LOOPBACK_V4, Network::LOOPBACK_V6],
            workers: 1,
            upstreams: Vec::new(),
            domains: BTreeMap::new(),
            hosts: Hosts { files: vec![PathBuf::from(HOSTS_FILE)], own_name: true },
            blocks: Vec::new(),
            limits: Limits {
                clients_per_network: 1_000,
                tcp: 1_000,
                tcp_per_network: 100,
                replies_per_second: 100,
            },
            settings: Settings::default(),
            table_entries: None,
            table_mode: 0o644,
            sort: Sort {
                enabled: true,
                probes: vec![Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)],
                timeout: Duration::from_secs(1),
                remeasure: Duration::from_secs(600),
                private: false,
                rate: 200,
                hysteresis: Duration::from_millis(2),
            },
            level: log::LevelFilter::Info,
            wrong: None,
            hints: Vec::new(),
        }
    }
}

fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A directory of a variable that systemd sets; it separates several with a colon, and the first is ours.
fn first_of(name: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let dirs = variable(name)?;
    let first = dirs.as_bytes().split(|octet| *octet == b':').next().unwrap_or_default();
    Some(PathBuf::from(std::ffi::OsString::from_vec(first.to_vec())))
}

fn default_runtime_dir() -> PathBuf {
    if let Some(dir) = first_of("RUNTIME_DIRECTORY") {
        return dir;
    }
    match variable("XDG_RUNTIME_DIR") {
        Some(dir) if !nix::unistd::geteuid().is_root() => Path::new(&dir).join("hither"),
        _ => PathBuf::from(hither_client::RUNTIME_DIR),
    }
}

impl Config {
    /// Where the cache is saved, if it is.
    #[must_use]
    pub fn saved_in(&self) -> Option<&Path> {
        self.state_dir.as_deref().filter(|_| !self.save.is_zero())
    }

    /// Reads `path` and the files in `path.d`; without a path [`FILE`], which may be missing, and last what the service manager hands over
    /// as the credential `hither.toml`.
    ///
    /// # Errors
    /// A [`ConfigError`] with file, line, column, what was expected and, for an unknown key, the nearest known one.
    pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
        let main = path.unwrap_or(Path::new(FILE));
        let mut left = FILES_MAX;
        let read = |file: PathBuf| {
            let octets =
                files::read_all(&file, FILE_MAX).map_err(|error| ConfigError::unreadable(&file, &error))?;
            left = left.checked_sub(octets.len() as u64).ok_or_else(|| {
                let most = FILES_MAX >> 20;
                ConfigError::whole(
                    &file,
                    format!("with this file the configuration is larger than {most} MiB"),
                )
            })?;
            let text = error::text(&file, octets)?;
            Ok((file, text))
        };
        let is_there = path.is_some() || main.try_exists().unwrap_or(true);
        let credential = path.is_none().then(credential).flatten();
        let all = is_there.then(|| main.to_owned()).into_iter().chain(drop_ins(main)?).chain(credential);
        Config::of(main, &all.map(read).collect::<Result<Vec<_>, _>>()?)
    }

    /// What files say together, later ones last.
    fn of(main: &Path, files: &[(PathBuf, String)]) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        for (path, text) in files {
            config.merge(parse(path, text)?);
            config.hints.extend(place::empty_blocks(path, text));
        }
        config.check().map_err(|(place, message)| place.error(main, files, message))?;
        Ok(config)
    }

    /// What [`Config::load`] reads of the file system: the file, the directory of its drop-ins, and those.
    #[must_use]
    pub fn files(path: Option<&Path>) -> Vec<PathBuf> {
        let main = path.unwrap_or(Path::new(FILE));
        [vec![main.to_owned(), drop_in_dir(main)], drop_ins(main).unwrap_or_default()].concat()
    }

    fn merge(&mut self, file: File) {
        fn set<T, F: Into<T>>(place: &mut T, value: Option<F>) {
            if let Some(value) = value {
                *place = value.into();
            }
        }
        let File {
            runtime_dir,
            state_dir,
            listen,
            upstream,
            domain,
            hosts,
            block,
            limits,
            round,
            rebinding,
            cache,
            table,
            sort,
            log,
        } = file;
        set(&mut self.runtime_dir, runtime_dir);
        self.state_dir = state_dir.or(self.state_dir.take());
        set(&mut self.save, cache.save);
        let dns = listen.dns.map(|all| all.into_iter().map(|one| one.0).collect::<Vec<_>>());
        set(&mut self.listen, dns);
        set(&mut self.allow, listen.allow);
        set(&mut self.workers, listen.workers);
        extend(&mut self.upstreams, upstream.into_iter().map(|upstream| upstream.address.0));
        self.merge_local(domain, hosts, block);
        self.merge_rebinding(rebinding);
        set(&mut self.limits.clients_per_network, limits.clients_per_network);
        set(&mut self.limits.tcp, limits.tcp);
        set(&mut self.limits.tcp_per_network, limits.tcp_per_network);
        set(&mut self.limits.replies_per_second, limits.replies_per_second);
        let s = &mut self.settings;
        set(&mut s.limits.rounds, limits.rounds);
        set(&mut s.limits.attempts, limits.attempts);
        set(&mut s.limits.clients, limits.clients);
        set(&mut s.mix_case, round.mix_case);
        set(&mut s.first, round.first);
        set(&mut s.fallback, round.fallback);
        set(&mut s.batch, round.batch);
        set(&mut s.stagger, round.stagger);
        set(&mut s.complete, round.complete);
        set(&mut s.deadline, round.deadline);
        set(&mut s.negative_grace, round.negative_grace);
        set(&mut s.deny, round.deny);
        set(&mut s.answers, cache.entries);
        set(&mut s.min_ttl, cache.min_ttl);
        set(&mut s.max_ttl, cache.max_ttl);
        set(&mut s.max_negative_ttl, cache.max_negative_ttl);
        set(&mut s.failure_ttl, cache.failure_ttl);
        set(&mut s.stale, cache.stale);
        set(&mut s.stale_wait, cache.stale_wait);
        set(&mut s.stale_ttl, cache.stale_ttl);
        set(&mut s.prefetch, cache.prefetch);
        self.table_entries = table.entries.map(usize::from).or(self.table_entries);
        set(&mut self.table_mode, table.mode);
        set(&mut self.sort.enabled, sort.enabled);
        set(&mut self.sort.probes, sort.probes);
        set(&mut self.sort.timeout, sort.timeout);
        set(&mut self.sort.remeasure, sort.remeasure);
        set(&mut self.sort.private, sort.private);
        set(&mut self.sort.rate, sort.rate.map(|rate| u32::try_from(rate.0).unwrap_or(u32::MAX)));
        set(&mut self.sort.hysteresis, sort.hysteresis);
        set(&mut self.level, log.level.map(|level| level.0));
    }

    fn merge_rebinding(&mut self, file: file::RebindingFile) {
        let rebinding = &mut self.settings.rebinding;
        rebinding.protect = file.protect.unwrap_or(rebinding.protect);
        if let Some(names) = file.allow {
            rebinding.allow = names.iter().map(|name| name.parsed.name).collect();
            self.hints.extend(names.into_iter().filter_map(|name| name.hint));
        }
    }

    fn merge_local(
        &mut self,
        domains: Vec<file::Domain>,
        hosts: file::HostsFile,
        blocks: Vec<file::BlockFile>,
    ) {
        for block in domains {
            let upstreams: Vec<Endpoint> = block.upstreams.into_iter().map(|upstream| upstream.0).collect();
            for name in block.names.0 {
                let place = self.domains.entry(name.parsed.name).or_default();
                extend(place, upstreams.iter().cloned());
                self.hints.extend(name.hint);
            }
        }
        if let Some(files) = hosts.files {
            self.hosts.files = files.into_iter().map(|file| file.0).collect();
        }
        self.hosts.own_name = hosts.own_name.unwrap_or(self.hosts.own_name);
        for block in blocks {
            let covers = block.covers.0;
            let names = block.names.into_iter().map(|Blocked(name)| {
                self.hints.extend(name.hint);
                (name.parsed.name, if name.parsed.wildcard { Match::Subtree } else { covers })
            });
            let names = names.collect();
            let files = block.files.into_iter().map(|file| file.0).collect();
            self.blocks.push(Block { files, names, covers, verdict: block.answer.0 });
        }
    }

    /// What no single value shows.
    fn check(&self) -> Result<(), (Place, String)> {
        let s = &self.settings;
        let fail = |section, key, message: &str| {
            Err((Place(section, key, Of::Any), format!("{section}.{key} {message}")))
        };
        if s.min_ttl > s.max_ttl {
            return fail("cache", "min_ttl", "is larger than cache.max_ttl");
        }
        if s.deadline < Duration::from_millis(10) || s.deadline > Duration::from_secs(60) {
            return fail("round", "deadline", "is not between 10ms and 60s");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&s.failure_ttl) {
            return fail("cache", "failure_ttl", "is not between 1s and 5m (RFC 9520 section 3.2)");
        }
        if !self.save.is_zero() && self.save < Duration::from_secs(1) {
            return fail("cache", "save", "is neither 0s, which is never, nor at least 1s");
        }
        if self.workers > 64 {
            return fail("listen", "workers", "is larger than 64");
        }
        if self.table_entries > Some(16 << 20) {
            return fail("table", "entries", "is larger than 16777216");
        }
        let all = || self.upstreams.iter().chain(self.domains.values().flatten());
        // One may be asked for any number of domains.
        let mut distinct: Vec<&Endpoint> = Vec::new();
        all().for_each(|upstream| {
            if !distinct.contains(&upstream) {
                distinct.push(upstream)
            }
        });
        let count = distinct.len();
        if count > 64 {
            let place = Place("upstream", "address", Of::Any);
            return Err((place, format!("{count} upstreams; at most 64 are asked")));
        }
        if let Some((name, _)) = self.domains.iter().find(|(_, upstreams)| upstreams.is_empty()) {
            let place = Place("domain", "upstreams", Of::Domain(Box::new(*name)));
            return Err((place, format!("the domain {name} has no upstreams")));
        }
        let all = all().filter_map(|upstream| Some((upstream, upstream.address()?)));
        for (upstream, address) in all.filter(|(_, address)| address.port() != 0) {
            let is_own = |own: &SocketAddr| {
                let everywhere = own.ip().is_unspecified() && address.ip().is_loopback();
                own.port() == address.port() && (own.ip() == address.ip() || everywhere)
            };
            if self.listen.iter().any(is_own) {
                let place = Place("upstream", "address", Of::Upstream(upstream.clone()));
                let message =
                    format!("the upstream {upstream} is one of listen.dns: hitherd would ask itself");
                return Err((place, message));
            }
        }
        Ok(())
    }

    /// What to tell somebody who wrote the configuration: what was taken in another way than it was written, and what is not there yet.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let all = self.upstreams.iter().chain(self.domains.values().flatten());
        let later = all.filter(|upstream| upstream.address().is_none()).map(|upstream| {
            let interface = upstream.interface().unwrap_or_default();
            format!("{upstream} is asked when there is an interface '{interface}'")
        });
        let lists = self.blocks.iter().flat_map(|block| &block.files).chain(&self.hosts.files);
        // What nobody wrote is not told.
        let files = lists.filter(|file| file.as_path() != Path::new(HOSTS_FILE)).filter_map(|file| {
            let shown = file.display();
            match std::fs::metadata(file) {
                Ok(what) if what.is_dir() => {
                    Some(format!("'{shown}' is a directory, and no file is read of it"))
                }
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    Some(format!("there is no file '{shown}'; it is read when it is there"))
                }
                Ok(_) | Err(_) => None,
            }
        });
        self.hints.iter().cloned().chain(later).chain(files).collect()
    }
}

/// Adds what is not there.
fn extend(place: &mut Vec<Endpoint>, more: impl Iterator<Item = Endpoint>) {
    for one in more {
        if !place.contains(&one) {
            place.push(one);
        }
    }
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

/// The file of the credential, if there is one.
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
            let message =
                format!("'{}' has more than {DROP_INS_MAX} entries; expected some files", dir.display());
            return Err(ConfigError::whole(main, message));
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
