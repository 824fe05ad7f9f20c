//! Hosts files and block lists. A thread reads them while queries are answered from the previous
//! data.
//!
//! A file that can no longer be read, or that has no valid line, was lost or is being written. Its
//! previous data then stays in force, which the log and `hitherctl status` report.

mod list_file;
#[cfg(test)]
mod tests;

use crate::config::{self, Config};
use crate::daemon::thread_results::send_result;
use crate::host::interfaces;
use crate::host::resolv_conf::ResolvConfFile;
use crate::host::resolvers::ResolverFiles;
use crate::logging::Event;
use hither_control::{FileStatus, counted};
use hither_local::{Block, Hosts, HostsFile, List, Local, Match, OwnName};
use list_file::{Known, ListFile, log_skipped};
use mio::Waker;
use std::any::Any;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

/// Data with more names than this is freed in a thread, since that takes some milliseconds.
const FREED_HERE_MAX: usize = 10_000;

/// The files to read, and the way in which they are read.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    hosts: config::Hosts,
    blocks: Vec<config::Block>,
    /// The system's own files, if they name the upstreams: errors in resolv.conf are logged.
    system: Option<Arc<ResolverFiles>>,
    /// Whether files are read even if they have not changed.
    rereads: bool,
}

impl Plan {
    /// All files that the configuration names.
    pub fn all(config: &Config, system: &Arc<ResolverFiles>) -> Plan {
        Plan {
            hosts: config.hosts.clone(),
            blocks: config.blocks.clone(),
            system: config.upstreams.usual.is_empty().then(|| Arc::clone(system)),
            rereads: true,
        }
    }

    /// The same files, but only those that have changed are read.
    pub fn changed(config: &Config, system: &Arc<ResolverFiles>) -> Plan {
        Plan { rereads: false, ..Plan::all(config, system) }
    }
}

/// The data of the last read, by file.
#[derive(Clone, Debug, Default)]
struct Read {
    hosts: BTreeMap<PathBuf, Known<HostsFile>>,
    lists: BTreeMap<(PathBuf, Match), Known<List>>,
    /// The configuration of the files.
    settings: Option<(config::Hosts, Vec<config::Block>)>,
    own_name: Option<OwnName>,
    /// The status of each file, in the order of the configuration.
    files: Vec<FileStatus>,
}

/// Frees data in a thread if there is much of it.
#[derive(Debug)]
struct Held(Read);

impl Drop for Held {
    fn drop(&mut self) {
        let read = std::mem::take(&mut self.0);
        // With one reference left, freeing happens here. Only the event loop hands out references.
        let hosts = read.hosts.values().filter(|known| Arc::strong_count(&known.value) == 1);
        let lists = read.lists.values().filter(|known| Arc::strong_count(&known.value) == 1);
        let names: usize =
            hosts.map(|known| known.value.len()).chain(lists.map(|known| known.value.len())).sum();
        if names > FREED_HERE_MAX {
            // If the thread cannot be started, the data is freed here.
            let _ = std::thread::Builder::new().name("drop".to_owned()).spawn(move || drop(read));
        }
    }
}

/// The local data, and the files that it was read from.
type Result = (Local, Read);

/// The result of reading.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// Data that differs from the data in force.
    Changed(Box<Local>),
    /// The data that is in force.
    Unchanged,
}

impl Read {
    /// Whether the data is the same as `before`: each file, the order of the blocks, and this
    /// host's name. A file that was read again counts as changed, since comparing its data would
    /// take as long as replacing it.
    fn is_as(&self, before: &Read) -> bool {
        self.settings == before.settings
            && self.own_name == before.own_name
            && are_same(&self.hosts, &before.hosts)
            && are_same(&self.lists, &before.lists)
    }

    fn logged(&self, path: &Path) -> Option<&FileStatus> {
        let path = path.display().to_string();
        self.files.iter().find(|file| file.path == path)
    }
}

/// Whether both have the same data of the same files.
fn are_same<K: PartialEq, T>(a: &BTreeMap<K, Known<T>>, b: &BTreeMap<K, Known<T>>) -> bool {
    let mut pairs = a.iter().zip(b);
    a.len() == b.len() && pairs.all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(&a.1.value, &b.1.value))
}

/// Reads all files in a thread. One such thread runs at a time.
#[derive(Debug)]
pub(crate) struct ListLoader {
    waker: Arc<Waker>,
    results: (mpsc::Sender<Result>, mpsc::Receiver<Result>),
    busy: bool,
    /// The files to read when the thread has ended.
    next: Option<Plan>,
    read: Read,
    /// Whether the last data was not returned, so that other data is in force.
    has_unreturned: bool,
}

impl ListLoader {
    /// A loader that has read nothing. Its thread wakes the event loop by `waker`.
    pub fn new(waker: Arc<Waker>) -> ListLoader {
        let (results, read) = (mpsc::channel(), Read::default());
        ListLoader { waker, results, busy: false, next: None, read, has_unreturned: false }
    }

    /// Reads all files at once, in the calling thread.
    pub fn load(&mut self, plan: &Plan) -> Local {
        let (local, read) = load(plan, &self.read);
        self.replace(read);
        self.has_unreturned = false;
        local
    }

    fn replace(&mut self, read: Read) {
        drop(Held(std::mem::replace(&mut self.read, read)));
    }

    /// Begins to read in a thread; if one is running, when it has ended. A thread that cannot be
    /// started is logged.
    pub fn begin(&mut self, plan: Plan) {
        if self.busy {
            let rereads = plan.rereads || self.next.as_ref().is_some_and(|next| next.rereads);
            self.next = Some(Plan { rereads, ..plan });
            return;
        }
        let (sender, waker) = (self.results.0.clone(), Arc::clone(&self.waker));
        let before = self.read.clone();
        let thread = std::thread::Builder::new().name("lists".to_owned()).spawn(move || {
            let read = load(&plan, &before);
            // From here on only the event loop has the data, and frees it.
            drop(before);
            send_result(&sender, &waker, read);
        });
        match thread {
            Ok(_) => self.busy = true,
            Err(error) => {
                log::error!(
                    event = Event::FileNotRead, path = "all of them", reason:% = error;
                    "lists cannot be read again: {error}; the previous data stays in force"
                )
            }
        }
    }

    /// The result of reading, unless another read has to follow.
    pub fn take(&mut self) -> Option<Loaded> {
        let (local, read) = self.results.1.try_recv().ok()?;
        let is_new = self.has_unreturned || !read.is_as(&self.read);
        self.replace(read);
        self.busy = false;
        if let Some(plan) = self.next.take() {
            self.begin(plan);
        }
        // If the next thread could not be started, this result counts.
        self.has_unreturned = self.busy && is_new;
        (!self.busy).then(|| if is_new { Loaded::Changed(Box::new(local)) } else { Loaded::Unchanged })
    }

    /// Whether files are being read.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// The status of each file when it was read last.
    pub fn files(&self) -> &[FileStatus] {
        &self.read.files
    }

    /// The first of the hosts files for whose data `has_it` holds.
    pub fn hosts_file(&self, settings: &config::Hosts, has_it: impl Fn(&Hosts) -> bool) -> Option<PathBuf> {
        let is_it = |path: &&PathBuf| {
            let mut hosts = Hosts::default();
            self.read.hosts.get(*path).into_iter().for_each(|file| hosts.push(Arc::clone(&file.value)));
            has_it(&hosts)
        };
        settings.files.iter().find(is_it).cloned()
    }
}

fn load(plan: &Plan, before: &Read) -> Result {
    let mut read = Read::default();
    let mut hosts = Hosts::default();
    for path in &plan.hosts.files {
        // An empty hosts file is valid. NULs are left by a host that stopped while it wrote the file.
        let expected = "an address with names";
        let logged = before.logged(path);
        let file = ListFile { path, expected, may_be_empty: |seen| !seen.nul, logged, rereads: plan.rereads };
        // A hosts file is removed in order to remove its names. A missing list was lost in a failed
        // update.
        let known = before.hosts.get(path).filter(|_| !is_gone(path));
        let (file, status) = file.read(known, |text, _| HostsFile::read_from(text), HostsFile::len);
        read.files.push(status);
        if let Some(file) = file {
            hosts.push(Arc::clone(&file.value));
            read.hosts.insert(path.clone(), file);
        }
    }
    let blocks: Vec<Block> =
        plan.blocks.iter().flat_map(|block| blocks(block, plan.rereads, before, &mut read)).collect();
    let blocked: usize = blocks.iter().map(Block::len).sum();
    if blocked > 0 {
        let memory: usize = blocks.iter().map(Block::memory).sum();
        let names = counted(blocked as u64, "name is", "names are");
        log::info!("{names} blocked, in {} KiB", memory / 1024);
    }
    let resolv_conf = plan.system.as_ref().map(|system| system.resolv_conf());
    read.files.extend(resolv_conf.and_then(|found| servers(found, before.logged(&found.path))));
    let own = plan.hosts.own_name.then(own_name).flatten();
    read.settings = Some((plan.hosts.clone(), plan.blocks.clone()));
    read.own_name.clone_from(&own);
    let held: Box<dyn Any + Send + Sync> = Box::new(Held(read.clone()));
    (Local { hosts, own, blocks, keep_alive: Some(held) }, read)
}

/// The position in the configuration of the `[[block]]` from which the core's block at `position`
/// was made: each becomes two blocks of the core.
pub(crate) fn block_of(position: usize) -> usize {
    position / 2
}

fn is_gone(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Two blocks: the names of the configuration, to which exceptions in lists do not apply, and the lists.
fn blocks(settings: &config::Block, rereads: bool, before: &Read, read: &mut Read) -> [Block; 2] {
    let (mut named, mut listed) =
        (Block::new(settings.verdict.clone()), Block::new(settings.verdict.clone()));
    if !settings.names.is_empty() {
        named.push(Arc::new(List::of(&settings.names)));
    }
    for path in &settings.files {
        let expected = "a name, or an address with names";
        let logged = before.logged(path);
        let file = ListFile { path, expected, may_be_empty: |seen| seen.words, logged, rereads };
        let key = (path.clone(), settings.covers);
        let (list, status) = file.read(
            before.lists.get(&key),
            |text, before| List::read_from(text, settings.covers, before),
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

/// The status of resolv.conf, if there is one. Its errors are logged once.
fn servers(found: &ResolvConfFile, logged: Option<&FileStatus>) -> Option<FileStatus> {
    let (expected, path) = ("what resolv.conf(5) knows", &found.path);
    let file = ListFile { path, expected, may_be_empty: |_| true, logged, rereads: true };
    let says = match &found.contents {
        Ok(says) => says,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            let status = file.status(0, 0, Some(format!("cannot be read: {error}")));
            if file.is_news(&status) {
                log::warn!(
                    event = Event::FileNotRead, path:% = path.display(), reason:% = error;
                    "'{}' cannot be read: {error}; going on without its servers",
                    path.display()
                );
            }
            return Some(status);
        }
    };
    let passed = &says.passed_over;
    let problem = (passed.lines > 0).then(|| passed.to_string());
    let status = file.status(says.nameservers.len(), passed.lines, problem);
    if file.is_news(&status) {
        log_skipped(path, passed, expected);
    }
    Some(status)
}

/// The host's name and its first label, with the addresses at which other hosts reach it, or else
/// the loopback addresses.
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
