//! Reading what is answered here: hosts files and block lists, in a thread of their own while queries are served.

use crate::config::{self, Config};
use crate::logging::Event;
use hither_local::{Block, Hosts, Local, OwnName};
use mio::Waker;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};

/// Octets read of one file; a longer one is cut there, and the log says so.
const FILE_MAX: u64 = 256 << 20;

/// What is to be read.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    hosts: config::Hosts,
    blocks: Vec<config::Block>,
}

impl Wanted {
    pub fn of(config: &Config) -> Wanted {
        Wanted { hosts: config.hosts.clone(), blocks: config.blocks.clone() }
    }
}

/// Reads in the background, one set of files after the other.
#[derive(Debug)]
pub(super) struct Loader {
    waker: Arc<Waker>,
    results: (mpsc::Sender<Local>, mpsc::Receiver<Local>),
    busy: bool,
    next: Option<Wanted>,
}

impl Loader {
    pub fn new(waker: Arc<Waker>) -> Loader {
        Loader { waker, results: mpsc::channel(), busy: false, next: None }
    }

    /// Begins to read; what is being read is finished first.
    pub fn begin(&mut self, wanted: Wanted) {
        if self.busy {
            self.next = Some(wanted);
            return;
        }
        let (sender, waker) = (self.results.0.clone(), Arc::clone(&self.waker));
        let thread = std::thread::Builder::new().name("lists".to_owned()).spawn(move || {
            let local = load(&wanted);
            // Nobody is left to be told when the daemon has ended.
            let _ = sender.send(local);
            let _ = waker.wake();
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
        let local = self.results.1.try_recv().ok()?;
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
}

/// Reads everything now.
pub(super) fn load(wanted: &Wanted) -> Local {
    let mut hosts = Hosts::default();
    for path in &wanted.hosts.files {
        if let Some(text) = read(path) {
            complain(path, hosts.add(&text), "an address with names");
        }
    }
    hosts.shrink();
    let blocks: Vec<Block> = wanted.blocks.iter().map(block).collect();
    let blocked: usize = blocks.iter().map(Block::len).sum();
    if blocked > 0 {
        let memory: usize = blocks.iter().map(Block::memory).sum();
        log::info!("{blocked} names are blocked, in {} KiB", memory / 1024);
    }
    Local { hosts, own: wanted.hosts.own_name.then(own_name).flatten(), blocks }
}

fn block(wanted: &config::Block) -> Block {
    let mut block = Block::new(wanted.verdict.clone());
    for name in &wanted.names {
        block.add_name(name.to_string().as_bytes(), wanted.covers);
    }
    for path in &wanted.files {
        if let Some(text) = read(path) {
            complain(path, block.add(&text, wanted.covers), "a name, or an address with names");
        }
    }
    block.shrink();
    block
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let result = std::fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut text));
    match result {
        Err(error) => {
            log::warn!(
                event = Event::FileNotRead, path:% = path.display(), reason:% = error;
                "'{}' cannot be read: {error}; going on without it",
                path.display()
            );
            return None;
        }
        Ok(length) if length as u64 == FILE_MAX => {
            log::warn!(
                event = Event::FileNotRead, path:% = path.display(), reason = "it is too long";
                "'{}' is longer than {FILE_MAX} octets; the rest is not read",
                path.display()
            );
        }
        Ok(_) => {}
    }
    Some(text)
}

fn complain(path: &Path, bad: usize, expected: &str) {
    if bad > 0 {
        log::warn!(
            event = Event::FileNotRead, path:% = path.display(), reason:% = format_args!("{bad} lines are wrong");
            "'{}': {bad} lines are passed over; expected {expected} on each",
            path.display()
        );
    }
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
