//! The local sockets: the operator's requests and the sorter's orders, each from somebody whom the kernel names.

use super::listeners::Inherited;
use super::tokens::{Slot, Source};
use crate::logging::Event;
use crate::open;
use hither_control::{
    CONTROL_SOCKET, MAX_MESSAGE, Order as OrderWords, Request, Response, SORTER_SOCKET, SorterMessage,
    SorterReply, SorterStatus, decode, encode,
};
use hither_net::seqpacket::{Connection, Listener, Peer};
use hither_rounds::Order;
use hither_table::{Family, Rtt};
use hither_wire::codes::Rtype;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use slab::Slab;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Local connections at once.
const PEERS_MAX: usize = 64;

/// What someone at a local socket wants.
#[derive(Debug)]
pub(super) enum Wish {
    Request(Slot, Request, Peer),
    Order(Slot, Box<Order>),
}

#[derive(Debug)]
struct Local {
    connection: Connection,
    peer: Peer,
    generation: u32,
    sorter: bool,
}

/// Where somebody may connect.
#[derive(Debug)]
struct Seat {
    /// None: it cannot be had.
    listener: Option<Listener>,
    name: &'static str,
    source: Source,
    /// The file is another unit's.
    inherited: bool,
    /// Which file it is.
    identity: Option<(u64, u64)>,
    /// Why it cannot be had.
    problem: Option<String>,
}

impl Seat {
    fn new(inherited: Option<Listener>, name: &'static str, source: Source) -> Seat {
        Seat {
            inherited: inherited.is_some(),
            listener: inherited,
            name,
            source,
            identity: None,
            problem: None,
        }
    }

    /// Listens, where it does not, or its file is gone or another.
    fn bind(&mut self, dir: &Path, registry: &Registry) -> io::Result<()> {
        let path = dir.join(self.name);
        if self.listener.is_some() && (self.inherited || self.identity == open::identity(&path)) {
            return Ok(());
        }
        // Anybody may connect; what each may do is decided by who the kernel says it is.
        let bound = Listener::bind(&path, 0o666).and_then(|listener| {
            registry.register(
                &mut SourceFd(&listener.as_raw_fd()),
                self.source.token(),
                Interest::READABLE,
            )?;
            Ok(listener)
        });
        match bound {
            Ok(listener) => {
                self.listener = Some(listener);
                self.identity = open::identity(&path);
                if self.problem.take().is_some() {
                    log::info!("listening at '{}'", path.display());
                }
                Ok(())
            }
            Err(error) => {
                self.listener = None;
                let problem = format!("cannot listen at '{}': {error}", path.display());
                if self.problem.as_ref() != Some(&problem) {
                    log::warn!(
                        event = Event::NotListening, address:% = path.display(), reason:% = error;
                        "{problem}; tried again every minute"
                    );
                }
                self.problem = Some(problem);
                Err(error)
            }
        }
    }
}

/// Whether a file system has no room, or takes nothing: names are answered without it.
fn is_want_of_room(error: &io::Error) -> bool {
    use nix::libc::{EDQUOT, ENOMEM, ENOSPC, EROFS};
    error.raw_os_error().is_some_and(|number| [ENOSPC, EDQUOT, EROFS, ENOMEM].contains(&number))
}

#[derive(Debug)]
pub(super) struct Control {
    operator: Seat,
    sorter: Seat,
    peers: Slab<Local>,
    generation: u32,
    pub status: SorterStatus,
    pub errors: u64,
    sorter_uid: Option<u32>,
    /// Whoever reaches the sorter's socket is the sorter.
    trusted: bool,
    buffer: Vec<u8>,
}

impl Control {
    /// Takes the sockets that systemd hands over, and binds those that it does not in `dir`.
    pub fn open(inherited: &mut Inherited, dir: &Path, registry: &Registry) -> Result<Control, String> {
        // Where another unit made the sorter's socket, its mode says who may connect. In a user namespace of our own (PrivateUsers=) the
        // kernel has no name for the sorter's user.
        let trusted = inherited.sorter.is_some();
        let mut operator = Seat::new(inherited.control.take(), CONTROL_SOCKET, Source::ControlListener);
        let mut sorter = Seat::new(inherited.sorter.take(), SORTER_SOCKET, Source::SorterListener);
        for seat in [&mut operator, &mut sorter] {
            if let Some(listener) = &seat.listener {
                registry
                    .register(&mut SourceFd(&listener.as_raw_fd()), seat.source.token(), Interest::READABLE)
                    .map_err(|error| format!("a local socket cannot be polled: {error}"))?;
            }
            if let Err(error) = seat.bind(dir, registry)
                && !is_want_of_room(&error)
            {
                return Err(seat.problem.take().unwrap_or_default());
            }
        }
        let sorter_uid =
            nix::unistd::User::from_name("hither-sorter").ok().flatten().map(|user| user.uid.as_raw());
        Ok(Control {
            operator,
            sorter,
            peers: Slab::new(),
            generation: 0,
            status: SorterStatus::default(),
            errors: 0,
            sorter_uid,
            trusted,
            buffer: vec![0; MAX_MESSAGE],
        })
    }

    /// Listens where that could not be had before, and where the files in `dir` are gone or others.
    pub fn bind_again(&mut self, dir: &Path, registry: &Registry) {
        for seat in [&mut self.operator, &mut self.sorter] {
            // Why not is among the problems.
            let _ = seat.bind(dir, registry);
        }
    }

    /// Where nobody can connect, and why.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        [&self.operator, &self.sorter].into_iter().filter_map(|seat| seat.problem.clone())
    }

    /// Takes new connections.
    pub fn accept(&mut self, registry: &Registry, from_sorter: bool) {
        // Bounded: every turn either takes one connection from the backlog or ends.
        for _ in 0..PEERS_MAX {
            let seat = if from_sorter { &self.sorter } else { &self.operator };
            let Some(listener) = &seat.listener else { return };
            match listener.accept() {
                Ok(Some(connection)) => self.add(registry, connection, from_sorter),
                Ok(None) => return,
                Err(error) => {
                    log::warn!("a local connection cannot be accepted: {error}, ignoring");
                    return;
                }
            }
        }
    }

    fn add(&mut self, registry: &Registry, connection: Connection, sorter: bool) {
        let Ok(peer) = connection.peer() else { return };
        let ours = nix::unistd::geteuid().as_raw();
        let known = self.trusted || [Some(0), Some(ours), self.sorter_uid].contains(&Some(peer.uid));
        if sorter && !known {
            log::warn!(
                event = Event::SorterRefused, reason = "its user is neither ours nor hither-sorter", user = peer.uid;
                "a process of user {} wants to be the sorter: refused",
                peer.uid
            );
            self.errors += 1;
            return;
        }
        if self.peers.len() >= PEERS_MAX {
            self.errors += 1;
            return;
        }
        if sorter {
            self.replace_sorter(registry);
        }
        self.generation = self.generation.wrapping_add(1);
        let entry = self.peers.vacant_entry();
        let slot = Slot { key: entry.key(), generation: self.generation };
        let fd = connection.as_raw_fd();
        if registry.register(&mut SourceFd(&fd), Source::Peer(slot).token(), Interest::READABLE).is_ok() {
            entry.insert(Local { connection, peer, generation: slot.generation, sorter });
            if sorter {
                log::info!(event = Event::SorterConnected, process = peer.pid; "process {} is the sorter", peer.pid);
                self.status =
                    SorterStatus { connected: true, pid: Some(peer.pid), ..SorterStatus::default() };
            }
        }
    }

    /// One sorter at a time; the newer one wins, for the older may hang.
    fn replace_sorter(&mut self, registry: &Registry) {
        let older: Vec<usize> =
            self.peers.iter().filter(|(_, local)| local.sorter).map(|(key, _)| key).collect();
        older.into_iter().for_each(|key| self.close(registry, key));
    }

    fn close(&mut self, registry: &Registry, key: usize) {
        let Some(local) = self.peers.try_remove(key) else { return };
        let _ = registry.deregister(&mut SourceFd(&local.connection.as_raw_fd()));
        if local.sorter {
            log::info!(
                event = Event::SorterGone, process = local.peer.pid;
                "the sorter, process {}, is gone: addresses keep the order that they have",
                local.peer.pid
            );
            self.status.connected = false;
            self.status.pid = None;
        }
    }

    /// The next wish of a connection; `None` when there is none for now.
    pub fn next(&mut self, registry: &Registry, slot: Slot) -> Option<Wish> {
        loop {
            let local = self.peers.get(slot.key).filter(|local| local.generation == slot.generation)?;
            let (peer, sorter) = (local.peer, local.sorter);
            let outcome = match local.connection.receive(&mut self.buffer) {
                Ok([]) => Err(None),
                Ok(octets) if sorter => {
                    decode::<SorterMessage>(octets).map(Ok).map_err(|error| Some(error.to_string()))
                }
                Ok(octets) => decode::<Request>(octets).map(Err).map_err(|error| Some(error.to_string())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => Err(Some(error.to_string())),
            };
            match outcome {
                Ok(Err(request)) => return Some(Wish::Request(slot, request, peer)),
                Ok(Ok(message)) => {
                    if let Some(order) = self.hear(slot, message) {
                        return Some(Wish::Order(slot, Box::new(order)));
                    }
                }
                Err(None) => self.close(registry, slot.key),
                Err(Some(message)) => {
                    self.errors += 1;
                    // What is wrong with it may quote it, names included.
                    log::debug!("a message of process {} cannot be read: {message}", peer.pid);
                    log::warn!(
                        "process {} of user {} sends what cannot be read; closing its connection",
                        peer.pid,
                        peer.uid
                    );
                    if !sorter {
                        self.answer(slot, &Response::Error { message });
                    }
                    self.close(registry, slot.key);
                }
            }
        }
    }

    fn hear(&mut self, slot: Slot, message: SorterMessage) -> Option<Order> {
        match message {
            SorterMessage::Hello { version, lacks } => {
                if version != hither_control::VERSION {
                    let reason = format!("this daemon speaks version {}", hither_control::VERSION);
                    log::warn!(
                        event = Event::SorterRefused, reason:% = reason;
                        "the sorter speaks version {version}: its orders are refused"
                    );
                    self.answer(slot, &SorterReply::Unwelcome { reason });
                    self.errors += 1;
                }
                self.status.lacks = lacks;
                None
            }
            SorterMessage::Stats { probes } => {
                self.status.probes = probes;
                None
            }
            SorterMessage::Order(words) => {
                self.status.orders += 1;
                let order = order(&words);
                if order.is_none() {
                    self.errors += 1;
                    let reason = "its name or type is none".to_owned();
                    self.answer(slot, &SorterReply::Rejected { reason, set_version: None });
                }
                order
            }
        }
    }

    /// Sends a reply; who does not read it in time does without.
    pub fn answer<T: serde::Serialize>(&mut self, slot: Slot, message: &T) {
        let Some(local) = self.peers.get(slot.key).filter(|local| local.generation == slot.generation) else {
            return;
        };
        let octets = encode(message).or_else(|error| encode(&Response::Error { message: error.to_string() }));
        let sent = octets.map_err(io::Error::other).and_then(|octets| local.connection.send(&octets));
        if let Err(error) = sent {
            log::debug!("process {} does not take its reply: {error}, ignoring", local.peer.pid);
        }
    }
}

fn order(words: &OrderWords) -> Option<Order> {
    let family = match words.rtype.parse::<Rtype>() {
        Ok(Rtype::A) => Family::A,
        Ok(Rtype::AAAA) => Family::Aaaa,
        _ => return None,
    };
    let name: hither_wire::name::Name = words.name.parse().ok()?;
    let rtt = |reachable: Option<bool>, rtt_us: Option<u32>| match (reachable, rtt_us) {
        (Some(true), Some(micros)) => Rtt::Micros(micros),
        (Some(true), None) => Rtt::Micros(0),
        (Some(false), _) => Rtt::Unreachable,
        (None, _) => Rtt::Unmeasured,
    };
    let addresses = words.addresses.iter().map(|a| (a.address, rtt(a.reachable, a.rtt_us))).collect();
    Some(Order {
        generation: words.generation,
        name: name.to_lower(),
        family,
        set_version: words.set_version,
        addresses,
    })
}
