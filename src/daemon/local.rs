//! Reading what is answered here: hosts files and block lists, in a thread of their own while queries are served.
//!
//! A file that cannot be read any more, or in which nothing is understood, has been lost or is being written: what was read of it before
//! stays in force, and the log and `hitherctl status` say so.

use super::handover::hand_in;
use super::resolv_conf;
use crate::config::{self, Config};
use crate::logging::Event;
use hither_control::{FileStatus, counted};
use hither_local::text::PassedOver;
use hither_local::{Block, Hosts, HostsFile, List, Local, Match, OwnName};
use mio::Waker;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

/// Octets read of one file; a longer one is cut there, and the log says so.
const FILE_MAX: u64 = 256 << 20;
/// The system's own, which is looked at here for what is wrong with it.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What is to be read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    hosts: config::Hosts,
    blocks: Vec<config::Block>,
    resolv_conf: bool,
}

impl Wanted {
    pub fn of(config: &Config) -> Wanted {
        Wanted {
            hosts: config.hosts.clone(),
            blocks: config.blocks.clone(),
            resolv_conf: config.upstreams.is_empty(),
        }
    }
}

/// What was read last of each file.
#[derive(Clone, Debug, Default)]
struct Read {
    hosts: BTreeMap<PathBuf, Arc<HostsFile>>,
    lists: BTreeMap<(PathBuf, Match), Arc<List>>,
    /// What became of each of them, in the order of the configuration.
    files: Vec<FileStatus>,
}

/// What is answered here, and what it was read from.
type Result = (Local, Read);

impl Read {
    fn told(&self, path: &Path) -> Option<&FileStatus> {
        let path = path.display().to_string();
        self.files.iter().find(|file| file.path == path)
    }
}

/// Reads in the background, one set of files after the other.
#[derive(Debug)]
pub(super) struct Loader {
    waker: Arc<Waker>,
    results: (mpsc::Sender<Result>, mpsc::Receiver<Result>),
    busy: bool,
    next: Option<Wanted>,
    read: Read,
}

impl Loader {
    pub fn new(waker: Arc<Waker>) -> Loader {
        Loader { waker, results: mpsc::channel(), busy: false, next: None, read: Read::default() }
    }

    /// Reads everything now.
    pub fn load(&mut self, wanted: &Wanted) -> Local {
        let local;
        (local, self.read) = load(wanted, &self.read);
        local
    }

    /// Begins to read; what is being read is finished first.
    pub fn begin(&mut self, wanted: Wanted) {
        if self.busy {
            self.next = Some(wanted);
            return;
        }
        let (sender, waker) = (self.results.0.clone(), Arc::clone(&self.waker));
        let before = self.read.clone();
        let thread = std::thread::Builder::new().name("lists".to_owned()).spawn(move || {
            hand_in(&sender, &waker, load(&wanted, &before));
        });
        match thread {
            Ok(_) => self.busy = true,
            Err(error) => {
                log::error!(
                    event = Event::FileNotRead, path = "all of them", reason:% = error;
                    "lists cannot be read again: {error}; what was read before stays in force"
                )
            }
        }
    }

    /// What has been read, if it is the latest that was wanted.
    pub fn take(&mut self) -> Option<Local> {
        let local;
        (local, self.read) = self.results.1.try_recv().ok()?;
        self.busy = false;
        match self.next.take() {
            Some(wanted) => {
                self.begin(wanted);
                None
            }
            None => Some(local),
        }
    }

    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// What became of each file when it was read last.
    pub fn files(&self) -> &[FileStatus] {
        &self.read.files
    }

    /// The first of the hosts files that says so, as it was read last.
    pub fn hosts_file(&self, wanted: &config::Hosts, says: impl Fn(&Hosts) -> bool) -> Option<PathBuf> {
        let has = |path: &&PathBuf| {
            let mut hosts = Hosts::default();
            self.read.hosts.get(*path).into_iter().for_each(|file| hosts.push(Arc::clone(file)));
            says(&hosts)
        };
        wanted.files.iter().find(has).cloned()
    }

    /// What wakes the loop.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }
}

fn load(wanted: &Wanted, before: &Read) -> Result {
    let mut read = Read::default();
    let mut hosts = Hosts::default();
    for path in &wanted.hosts.files {
        // An empty hosts file is one; NULs are what a host that stopped amid writing leaves.
        let expected = "an address with names";
        let source = Source { path, expected, is_meant: |text| !text.contains(&0), told: before.told(path) };
        // Who takes a hosts file away means its names; what is gone of a list was lost on its way.
        let known = before.hosts.get(path).filter(|_| !is_gone(path));
        let (file, status) = source.read(known, HostsFile::read, HostsFile::len);
        read.files.push(status);
        if let Some(file) = file {
            read.hosts.insert(path.clone(), Arc::clone(&file));
            hosts.push(file);
        }
    }
    let blocks: Vec<Block> =
        wanted.blocks.iter().flat_map(|block| blocks(block, before, &mut read)).collect();
    let blocked: usize = blocks.iter().map(Block::len).sum();
    if blocked > 0 {
        let memory: usize = blocks.iter().map(Block::memory).sum();
        let names = counted(blocked as u64, "name is", "names are");
        log::info!("{names} blocked, in {} KiB", memory / 1024);
    }
    let resolv_conf = Path::new(RESOLV_CONF);
    let told = before.told(resolv_conf);
    read.files.extend(wanted.resolv_conf.then(|| servers(resolv_conf, told)).flatten());
    (Local { hosts, own: wanted.hosts.own_name.then(own_name).flatten(), blocks }, read)
}

/// Which `[[block]]` of the configuration the block at a place among all of them is of: there are two of each.
pub(super) fn block_of(place: usize) -> usize {
    place / 2
}

fn is_gone(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// The names of the configuration, which no list makes an exception of, and the lists.
fn blocks(wanted: &config::Block, before: &Read, read: &mut Read) -> [Block; 2] {
    let (mut named, mut listed) = (Block::new(wanted.verdict.clone()), Block::new(wanted.verdict.clone()));
    if !wanted.names.is_empty() {
        named.push(Arc::new(List::of(&wanted.names)));
    }
    for path in &wanted.files {
        let expected = "a name, or an address with names";
        let source = Source { path, expected, is_meant: |text| !is_blank(text), told: before.told(path) };
        let key = (path.clone(), wanted.covers);
        let parse = |text: &[u8]| List::read(text, wanted.covers);
        let (list, status) = source.read(before.lists.get(&key), parse, List::len);
        read.files.push(status);
        if let Some(list) = list {
            read.lists.insert(key, Arc::clone(&list));
            listed.push(list);
        }
    }
    [named, listed]
}

fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|octet| octet.is_ascii_whitespace() || *octet == 0)
}

/// One file and what is expected in it.
struct Source<'a> {
    path: &'a Path,
    expected: &'a str,
    /// Whether a text without a name, and without a line that is wrong, is meant to be one.
    is_meant: fn(&[u8]) -> bool,
    /// What became of it before, which the log has.
    told: Option<&'a FileStatus>,
}

impl Source<'_> {
    /// What the file says, or what it said `before`, and what became of it.
    fn read<T>(
        &self,
        before: Option<&Arc<T>>,
        parse: impl Fn(&[u8]) -> (T, PassedOver),
        len: impl Fn(&T) -> usize,
    ) -> (Option<Arc<T>>, FileStatus) {
        let known = before.map_or(0, |before| len(before));
        let stays = |problem: String| {
            let then = match before {
                Some(_) => format!(
                    "what was read of it before stays in force, {}",
                    counted(known as u64, "name", "names")
                ),
                None => "going on without it".to_owned(),
            };
            let status = self.status(known, 0, Some(format!("{problem}; {then}")));
            if self.is_news(&status) {
                log::warn!(
                    event = Event::FileNotRead, path:% = self.path.display(), reason:% = problem;
                    "'{}' {problem}; {then}",
                    self.path.display()
                );
            }
            (before.cloned(), status)
        };
        let text = match octets(self.path) {
            Ok(text) => text,
            Err(error) => return stays(format!("cannot be read: {error}")),
        };
        let (new, passed) = parse(&text);
        let names = len(&new);
        let is_lost = names == 0 && (passed.lines > 0 || !(self.is_meant)(&text));
        if is_lost && known > 0 {
            let problem = match passed.lines {
                0 => "is empty".to_owned(),
                _ => format!("has no line that is understood: {passed}"),
            };
            return stays(format!("{problem}; a comment alone would mean that it has no names"));
        }
        let problem = (passed.lines > 0).then(|| passed.to_string());
        let status = self.status(names, passed.lines, problem);
        if self.is_news(&status) {
            complain(self.path, &passed, self.expected);
        }
        (Some(Arc::new(new)), status)
    }

    /// Files are read again whenever one of them, or the network, has changed: what is as it was is told once.
    fn is_news(&self, status: &FileStatus) -> bool {
        self.told != Some(status)
    }

    fn status(&self, names: usize, passed_over: usize, problem: Option<String>) -> FileStatus {
        FileStatus {
            path: self.path.display().to_string(),
            names: names as u64,
            passed_over: passed_over as u64,
            problem,
        }
    }
}

/// What is to be said of a file with nameservers; nothing, where there is none.
fn servers(path: &Path, told: Option<&FileStatus>) -> Option<FileStatus> {
    let expected = "what resolv.conf(5) knows";
    let source = Source { path, expected, is_meant: |_| true, told };
    let text = match octets(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            let status = source.status(0, 0, Some(format!("cannot be read: {error}")));
            if source.is_news(&status) {
                log::warn!(
                    event = Event::FileNotRead, path:% = path.display(), reason:% = error;
                    "'{}' cannot be read: {error}; whom it names is not known",
                    path.display()
                );
            }
            return Some(status);
        }
    };
    let read = resolv_conf::read(&text);
    let problem = (read.passed_over.lines > 0).then(|| read.passed_over.to_string());
    let status = source.status(read.nameservers.len(), read.passed_over.lines, problem);
    if source.is_news(&status) {
        complain(path, &read.passed_over, expected);
    }
    Some(status)
}

fn octets(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let length = crate::open::regular(path)?.take(FILE_MAX).read_to_end(&mut text)?;
    if length as u64 == FILE_MAX {
        log::warn!(
            event = Event::FileNotRead, path:% = path.display(), reason = "it is too long";
            "'{}' is longer than {FILE_MAX} octets; the rest is not read",
            path.display()
        );
    }
    Ok(text)
}

/// One entry for a file, whatever is in it. The count stands before `lines` whatever it is, so that tools find it.
fn complain(path: &Path, passed: &PassedOver, expected: &str) {
    let (all, shown) = (format!("{} lines", passed.lines + passed.remarks), path.display());
    if passed.lines == 0 {
        if passed.remarks > 0 {
            log::info!("'{shown}': {all} passed over: comments and headings of other formats");
        }
        if passed.mapped > 0 {
            log::info!(
                "'{shown}': {} lines with names in other letters, which are taken as A-labels; none of them is passed over",
                passed.mapped
            );
        }
        return;
    }
    let remarks = match passed.remarks {
        0 => String::new(),
        remarks => format!(", {remarks} of them comments and headings of other formats"),
    };
    log::warn!(
        event = Event::FileNotRead, path:% = path.display(), reason:% = format_args!("{} wrong", counted(passed.lines as u64, "line is", "lines are"));
        "'{shown}': {all} passed over{remarks}; expected {expected} on each: {passed}"
    );
}

/// The host's name as set, and its first label, with the addresses that others see; without any, the loopback ones.
fn own_name() -> Option<OwnName> {
    let text = nix::unistd::gethostname().ok()?.into_string().ok()?;
    let mut addresses: Vec<IpAddr> = addresses().into_iter().filter(is_global).collect();
    if addresses.is_empty() {
        addresses = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
    }
    OwnName::of(&text, addresses)
}

fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local() && !a.is_unspecified(),
        IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local() && !a.is_unspecified(),
    }
}

/// The addresses of this host.
pub(super) fn addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut all: Vec<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .collect();
    all.dedup();
    all
}
