//! Reading what is answered here: hosts files and block lists, in a thread of their own while queries are served.
//!
//! A file that cannot be read any more, or in which nothing is understood, has been lost or is being written: what was read of it before
//! stays in force, and the log and `hitherctl status` say so.

mod source;
#[cfg(test)]
mod tests;

use crate::config::{self, Config};
use crate::daemon::clients::handover::hand_in;
use crate::host::interfaces;
use crate::host::resolv_conf::ResolvConfFile;
use crate::host::resolvers::ResolverFiles;
use crate::logging::Event;
use hither_control::{FileStatus, counted};
use hither_local::{Block, Hosts, HostsFile, List, Local, Match, OwnName};
use mio::Waker;
use source::{Known, Source, complain};
use std::any::Any;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

/// Names that are given back to the kernel in a thread of their own, which takes some milliseconds.
const MANY: usize = 10_000;

/// What is to be read.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    hosts: config::Hosts,
    blocks: Vec<config::Block>,
    /// The system's own files, where they name the upstreams: of resolv.conf it is said what is wrong with it.
    system: Option<Arc<ResolverFiles>>,
    /// Files are read although they are as they were.
    anew: bool,
}

impl Wanted {
    pub fn of(config: &Config, system: &Arc<ResolverFiles>) -> Wanted {
        Wanted {
            hosts: config.hosts.clone(),
            blocks: config.blocks.clone(),
            system: config.upstreams.is_empty().then(|| Arc::clone(system)),
            anew: true,
        }
    }

    /// The same where only what has changed is to be read.
    pub fn changed(config: &Config, system: &Arc<ResolverFiles>) -> Wanted {
        Wanted { anew: false, ..Wanted::of(config, system) }
    }
}

/// What was read last of each file.
#[derive(Clone, Debug, Default)]
struct Read {
    hosts: BTreeMap<PathBuf, Known<HostsFile>>,
    lists: BTreeMap<(PathBuf, Match), Known<List>>,
    /// What the configuration said of them, and what this host was called.
    of: Option<(config::Hosts, Vec<config::Block>)>,
    own: Option<OwnName>,
    /// What became of each of them, in the order of the configuration.
    files: Vec<FileStatus>,
}

/// Keeps what was read until it can be dropped where nobody waits for it.
#[derive(Debug)]
struct Held(Read);

impl Drop for Held {
    fn drop(&mut self) {
        let read = std::mem::take(&mut self.0);
        // Nobody else has them: those who read are told of them by the loop, which drops this.
        let hosts = read.hosts.values().filter(|known| Arc::strong_count(&known.value) == 1);
        let lists = read.lists.values().filter(|known| Arc::strong_count(&known.value) == 1);
        let names: usize =
            hosts.map(|known| known.value.len()).chain(lists.map(|known| known.value.len())).sum();
        if names > MANY {
            // Without a thread it is dropped here, and takes that long.
            let _ = std::thread::Builder::new().name("drop".to_owned()).spawn(move || drop(read));
        }
    }
}

/// What is answered here, and what it was read from.
type Result = (Local, Read);

/// What has come of reading.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// Something else is answered here than before.
    Anew(Box<Local>),
    /// All is as it is in force.
    AsBefore,
}

impl Read {
    /// Whether all is answered as it was `before`: each file, the order of the blocks, and this host's name. A file that was read again counts as
    /// another, for to compare what it says would take as long as to take it.
    fn says_as(&self, before: &Read) -> bool {
        self.of == before.of
            && self.own == before.own
            && are_same(&self.hosts, &before.hosts)
            && are_same(&self.lists, &before.lists)
    }

    fn told(&self, path: &Path) -> Option<&FileStatus> {
        let path = path.display().to_string();
        self.files.iter().find(|file| file.path == path)
    }
}

/// Whether the same was read from the same files.
fn are_same<K: PartialEq, T>(a: &BTreeMap<K, Known<T>>, b: &BTreeMap<K, Known<T>>) -> bool {
    let mut pairs = a.iter().zip(b);
    a.len() == b.len() && pairs.all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(&a.1.value, &b.1.value))
}

/// Reads in the background, one set of files after the other.
#[derive(Debug)]
pub(crate) struct Loader {
    waker: Arc<Waker>,
    results: (mpsc::Sender<Result>, mpsc::Receiver<Result>),
    busy: bool,
    next: Option<Wanted>,
    read: Read,
    /// What was read last has not been handed on: something else is in force.
    is_withheld: bool,
}

impl Loader {
    pub fn new(waker: Arc<Waker>) -> Loader {
        let (results, read) = (mpsc::channel(), Read::default());
        Loader { waker, results, busy: false, next: None, read, is_withheld: false }
    }

    /// Reads everything now.
    pub fn load(&mut self, wanted: &Wanted) -> Local {
        let (local, read) = load(wanted, &self.read);
        self.keep(read);
        self.is_withheld = false;
        local
    }

    fn keep(&mut self, read: Read) {
        drop(Held(std::mem::replace(&mut self.read, read)));
    }

    /// Begins to read; what is being read is finished first.
    pub fn begin(&mut self, wanted: Wanted) {
        if self.busy {
            let anew = wanted.anew || self.next.as_ref().is_some_and(|next| next.anew);
            self.next = Some(Wanted { anew, ..wanted });
            return;
        }
        let (sender, waker) = (self.results.0.clone(), Arc::clone(&self.waker));
        let before = self.read.clone();
        let thread = std::thread::Builder::new().name("lists".to_owned()).spawn(move || {
            let read = load(&wanted, &before);
            // From here on the loop alone has it.
            drop(before);
            hand_in(&sender, &waker, read);
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
    pub fn take(&mut self) -> Option<Loaded> {
        let (local, read) = self.results.1.try_recv().ok()?;
        let is_new = self.is_withheld || !read.says_as(&self.read);
        self.keep(read);
        self.busy = false;
        if let Some(wanted) = self.next.take() {
            self.begin(wanted);
        }
        // What cannot be read once more counts as it was read.
        self.is_withheld = self.busy && is_new;
        (!self.busy).then(|| if is_new { Loaded::Anew(Box::new(local)) } else { Loaded::AsBefore })
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
            self.read.hosts.get(*path).into_iter().for_each(|file| hosts.push(Arc::clone(&file.value)));
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
        let told = before.told(path);
        let source = Source { path, expected, is_meant: |seen| !seen.nul, told, anew: wanted.anew };
        // Who takes a hosts file away means its names; what is gone of a list was lost on its way.
        let known = before.hosts.get(path).filter(|_| !is_gone(path));
        let (file, status) = source.read(known, |text, _| HostsFile::read_from(text), HostsFile::len);
        read.files.push(status);
        if let Some(file) = file {
            hosts.push(Arc::clone(&file.value));
            read.hosts.insert(path.clone(), file);
        }
    }
    let blocks: Vec<Block> =
        wanted.blocks.iter().flat_map(|block| blocks(block, wanted.anew, before, &mut read)).collect();
    let blocked: usize = blocks.iter().map(Block::len).sum();
    if blocked > 0 {
        let memory: usize = blocks.iter().map(Block::memory).sum();
        let names = counted(blocked as u64, "name is", "names are");
        log::info!("{names} blocked, in {} KiB", memory / 1024);
    }
    let resolv_conf = wanted.system.as_ref().map(|system| system.resolv_conf());
    read.files.extend(resolv_conf.and_then(|found| servers(found, before.told(&found.path))));
    let own = wanted.hosts.own_name.then(own_name).flatten();
    read.of = Some((wanted.hosts.clone(), wanted.blocks.clone()));
    read.own.clone_from(&own);
    let held: Box<dyn Any + Send + Sync> = Box::new(Held(read.clone()));
    (Local { hosts, own, blocks, keep_alive: Some(held) }, read)
}

/// Which `[[block]]` of the configuration the block at a place among all of them is of: there are two of each.
pub(crate) fn block_of(place: usize) -> usize {
    place / 2
}

fn is_gone(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// The names of the configuration, which no list makes an exception of, and the lists.
fn blocks(wanted: &config::Block, anew: bool, before: &Read, read: &mut Read) -> [Block; 2] {
    let (mut named, mut listed) = (Block::new(wanted.verdict.clone()), Block::new(wanted.verdict.clone()));
    if !wanted.names.is_empty() {
        named.push(Arc::new(List::of(&wanted.names)));
    }
    for path in &wanted.files {
        let expected = "a name, or an address with names";
        let source = Source { path, expected, is_meant: |seen| seen.words, told: before.told(path), anew };
        let key = (path.clone(), wanted.covers);
        let (list, status) = source.read(
            before.lists.get(&key),
            |text, before| List::read_from(text, wanted.covers, before),
            List::len,
        );
        read.files.push(status);
        if let Some(list) = list {
            listed.push(Arc::clone(&list.value));
            read.lists.insert(key, list);
        }
    }
    [named, listed]
}

/// What is to be said of a file with nameservers; nothing, where there is none.
fn servers(found: &ResolvConfFile, told: Option<&FileStatus>) -> Option<FileStatus> {
    let (expected, path) = ("what resolv.conf(5) knows", &found.path);
    let source = Source { path, expected, is_meant: |_| true, told, anew: true };
    let says = match &found.contents {
        Ok(says) => says,
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
    let passed = &says.passed_over;
    let problem = (passed.lines > 0).then(|| passed.to_string());
    let status = source.status(says.nameservers.len(), passed.lines, problem);
    if source.is_news(&status) {
        complain(path, passed, expected);
    }
    Some(status)
}

/// The host's name as set, and its first label, with the addresses that others see; without any, the loopback ones.
fn own_name() -> Option<OwnName> {
    let text = nix::unistd::gethostname().ok()?.into_string().ok()?;
    let mut addresses: Vec<IpAddr> = interfaces::addresses().into_iter().filter(is_global).collect();
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
