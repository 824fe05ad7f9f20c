//! The local sockets: the operator's requests and the sorter's orders, each from somebody whom the kernel names.

use crate::daemon::admin::peers::{Peers, Rank, Standing};
use crate::daemon::clients::listeners::Inherited;
use crate::daemon::shortage::is_waited_at;
use crate::daemon::sources::{Slot, Source};
use crate::daemon::turn::Budget;
use crate::host::files;
use crate::logging::Event;
use hither_control::{
    CONTROL_SOCKET, MAX_MESSAGE, Order as OrderWords, Request, Response, SORTER_SOCKET, SorterMessage,
    SorterReply, SorterStatus, decode, encode,
};
use hither_net::seqpacket::{Connection, Listener, Peer};
use hither_rounds::{Order, OrderResult};
use hither_table::{Family, Monotonic, Rtt};
use hither_wire::codes::Rtype;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Connections taken from one socket before those who have come have their turn.
const ACCEPTS: usize = 8;

/// What someone at a local socket wants.
#[derive(Debug)]
pub(crate) enum Wish {
    Request(Request, Peer),
    Order(Box<Order>),
}

/// What a look at a local connection brought.
#[derive(Debug)]
pub(crate) enum Heard {
    Wish(Wish),
    /// A message that is dealt with.
    Dealt,
    /// Nothing for now, or it is gone.
    Nothing,
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
        if self.listener.is_some() && (self.inherited || self.identity == files::identity(&path)) {
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
                self.identity = files::identity(&path);
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
pub(crate) struct Control {
    operator: Seat,
    sorter: Seat,
    peers: Peers,
    /// Who has an answer, and may have more to say.
    answered: Vec<Slot>,
    pub status: SorterStatus,
    pub errors: u64,
    /// Why somebody who waits could not be accepted.
    pub short: Option<io::Error>,
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
            peers: Peers::default(),
            answered: Vec::new(),
            status: SorterStatus::default(),
            errors: 0,
            short: None,
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

    /// Takes some of those who have come; whether there may be more, and who has come.
    pub fn accept(
        &mut self,
        registry: &Registry,
        from_sorter: bool,
        now: Monotonic,
        budget: &mut Budget,
    ) -> (bool, Vec<Slot>) {
        let mut fresh = Vec::new();
        for _ in 0..ACCEPTS {
            let seat = if from_sorter { &self.sorter } else { &self.operator };
            let Some(listener) = &seat.listener else { return (false, fresh) };
            match listener.accept() {
                Ok(Some(connection)) => fresh.extend(self.add(registry, connection, from_sorter, now)),
                Ok(None) => return (false, fresh),
                Err(error) => {
                    self.short = is_waited_at(listener).then_some(error);
                    return (false, fresh);
                }
            }
            budget.use_up(0);
            if budget.is_spent() {
                break;
            }
        }
        (true, fresh)
    }

    fn add(
        &mut self,
        registry: &Registry,
        connection: Connection,
        sorter: bool,
        now: Monotonic,
    ) -> Option<Slot> {
        let peer = connection.peer().ok()?;
        let is_ours = peer.uid == 0 || peer.uid == nix::unistd::geteuid().as_raw();
        let known = self.trusted || is_ours || self.sorter_uid == Some(peer.uid);
        if sorter && !known {
            log::warn!(
                event = Event::SorterRefused, reason = "its user is neither ours nor hither-sorter", user = peer.uid;
                "a process of user {} wants to be the sorter: refused",
                peer.uid
            );
            self.errors += 1;
            return None;
        }
        let rank = match (sorter, is_ours) {
            (true, _) => Rank::Sorter,
            (false, true) => Rank::Ours,
            (false, false) => Rank::Others,
        };
        if let Some(key) = self.peers.gives_way(rank, now) {
            self.errors += u64::from(!sorter);
            self.close(key);
        }
        let slot = self.peers.next_slot();
        let token = Source::Peer(slot).token();
        registry.register(&mut SourceFd(&connection.as_raw_fd()), token, Interest::READABLE).ok()?;
        let standing = Standing { rank, uid: peer.uid, owed: false, heard: None, came: now };
        self.peers.insert(slot, connection, peer, standing);
        if sorter {
            log::info!(event = Event::SorterConnected, process = peer.pid; "process {} is the sorter", peer.pid);
            self.status = SorterStatus { connected: true, pid: Some(peer.pid), ..SorterStatus::default() };
        }
        Some(slot)
    }

    /// Closes a connection, which takes it out of the poll: nobody else has it.
    fn close(&mut self, key: usize) {
        let Some(local) = self.peers.remove(key) else { return };
        if local.standing.rank == Rank::Sorter {
            log::info!(
                event = Event::SorterGone, process = local.peer.pid;
                "the sorter, process {}, is gone: addresses keep the order that they have",
                local.peer.pid
            );
            self.status.connected = false;
            self.status.pid = None;
        }
    }

    /// Reads one message of a connection, unless it waits for the answer to another. The octets that it had are counted in `budget`.
    pub fn next(&mut self, slot: Slot, now: Monotonic, budget: &mut Budget) -> Heard {
        let Some(local) = self.peers.get(slot).filter(|local| !local.standing.owed) else {
            return Heard::Nothing;
        };
        let sorter = local.standing.rank == Rank::Sorter;
        let octets = match local.connection.receive(&mut self.buffer) {
            Ok([]) => {
                self.close(slot.key);
                return Heard::Nothing;
            }
            Ok(octets) => octets,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::Nothing,
            // It has gone without reading what it was told.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.close(slot.key);
                return Heard::Nothing;
            }
            Err(error) => return self.misheard(slot, error.to_string()),
        };
        budget.use_up(octets.len());
        local.standing.heard = Some(now);
        if sorter {
            return match decode::<SorterMessage>(octets) {
                Ok(message) => {
                    let order = self.hear(slot, message);
                    order.map_or(Heard::Dealt, |order| Heard::Wish(Wish::Order(Box::new(order))))
                }
                Err(error) => self.misheard(slot, error.to_string()),
            };
        }
        match decode::<Request>(octets) {
            Ok(request) => {
                local.standing.owed = true;
                Heard::Wish(Wish::Request(request, local.peer))
            }
            Err(error) => self.misheard(slot, error.to_string()),
        }
    }

    /// Ends a connection that sends what cannot be read, or cannot be read from.
    fn misheard(&mut self, slot: Slot, message: String) -> Heard {
        let Some(local) = self.peers.get(slot) else { return Heard::Nothing };
        let (peer, sorter) = (local.peer, local.standing.rank == Rank::Sorter);
        self.errors += 1;
        // What is wrong with it may quote it, names included.
        log::debug!("a message of process {} cannot be read: {message}", peer.pid);
        // Anybody may connect as an operator, and say so as often as he likes.
        let level = if sorter { log::Level::Warn } else { log::Level::Debug };
        log::log!(
            level,
            "process {} of user {} sends what cannot be read; closing its connection",
            peer.pid,
            peer.uid
        );
        if !sorter {
            self.answer(slot, &Response::Error { message });
        }
        self.close(slot.key);
        Heard::Nothing
    }

    /// Whether a connection is still there.
    pub fn is_there(&mut self, slot: Slot) -> bool {
        self.peers.get(slot).is_some()
    }

    /// Who has an answer by now, and may have said more meanwhile.
    pub fn resumed(&mut self) -> impl Iterator<Item = Source> {
        self.answered.drain(..).map(Source::Peer)
    }

    fn hear(&mut self, slot: Slot, message: SorterMessage) -> Option<Order> {
        match message {
            SorterMessage::Hello { version, lacks } => {
                if version != hither_control::VERSION {
                    let reason = format!("this daemon speaks version {}", hither_control::VERSION);
                    log::warn!(
                        event = Event::SorterRefused, reason:% = reason;
                        "the sorter speaks version {version}: its connection is closed"
                    );
                    self.answer(slot, &SorterReply::Unwelcome { reason });
                    self.errors += 1;
                    self.close(slot.key);
                    return None;
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

    /// Replies to the sorter what became of its order.
    pub fn order_result(&mut self, slot: Slot, result: OrderResult) {
        let reply = match result {
            OrderResult::Applied { version } => SorterReply::Applied { version },
            OrderResult::Rejected { reason, set_version } => {
                SorterReply::Rejected { reason: reason.to_owned(), set_version }
            }
        };
        self.answer(slot, &reply);
    }

    /// Sends a reply, a message of our protocol.
    pub fn answer<T: serde::Serialize>(&mut self, slot: Slot, message: &T) {
        let octets = encode(message).or_else(|error| encode(&Response::Error { message: error.to_string() }));
        self.answer_as(slot, &octets.unwrap_or_default());
    }

    /// Sends a reply. Who leaves so many unread that it does not fit loses its connection; the sorter loses the reply.
    pub fn answer_as(&mut self, slot: Slot, octets: &[u8]) {
        let Some(local) = self.peers.get(slot) else { return };
        if std::mem::take(&mut local.standing.owed) {
            self.answered.push(slot);
        }
        if let Err(error) = local.connection.send(octets) {
            log::debug!("process {} does not take its reply: {error}", local.peer.pid);
            if local.standing.rank != Rank::Sorter {
                self.errors += 1;
                self.close(slot.key);
            }
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
