//! The local sockets: operators send requests to one, and each companion has its own.
//!
//! The kernel reports the process at the other end, so the daemon need not trust a message about
//! its sender.

mod site;
mod site_offer;
mod sorter;

use crate::daemon::admin::companion::{Companion, CompanionSocket, must_bind};
use crate::daemon::admin::peers::{Peers, Rank};
use crate::daemon::local_listener::{Accepted, LocalListener};
use crate::daemon::socket_activation::Inherited;
use crate::daemon::sources::{Slot, Source};
use crate::daemon::turn::Budget;
use hither_control::{CONTROL_SOCKET, Explained, MESSAGE_MAX, Request, Response, decode, encode};
use hither_net::seqpacket::{Connection, Peer};
use hither_rounds::{Order, Site};
use hither_table::Monotonic;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use site::SiteCompanion;
use sorter::Sorter;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Connections accepted from one socket before the messages of the accepted ones are read.
const ACCEPTED_PER_TURN_MAX: usize = 8;

/// The result of reading one local connection.
#[derive(Debug)]
pub(crate) enum Message {
    /// Nothing to read: no message has arrived, the previous request has no reply yet, or the
    /// connection is closed.
    None,
    /// A message that needs no further action.
    Handled,
    /// An operator's request, and the process that sent it.
    Request(Request, Peer),
    /// An order of the sorter.
    Order(Box<Order>),
    /// What the sorter knows of the addresses of a set.
    Explained(Box<Explained>),
    /// What other hosts of the site have learned.
    Site(Site),
}

/// The result of accepting connections from one local socket.
#[derive(Debug, Default)]
pub(crate) struct NewConnections {
    pub slots: Vec<Slot>,
    /// More connections may wait to be accepted.
    pub may_be_more: bool,
    /// A connection is waiting, but could not be accepted.
    pub failure: Option<io::Error>,
}

/// The local sockets and their connections.
#[derive(Debug)]
pub(crate) struct Control {
    operator: LocalListener,
    sorter_socket: CompanionSocket,
    site_socket: CompanionSocket,
    peers: Peers,
    /// Connections that have had a reply: their next request may be read.
    replied: Vec<Slot>,
    sorter: Sorter,
    site: SiteCompanion,
    errors: u64,
    buffer: Vec<u8>,
}

impl Control {
    /// Takes the sockets that the service manager passed, and binds those of operators and the sorter in
    /// `dir` otherwise.
    ///
    /// # Errors
    /// A socket cannot be bound, for another reason than a full or read-only file system.
    pub fn open(inherited: &mut Inherited, dir: &Path, registry: &Registry) -> Result<Control, String> {
        let passed = inherited.control.take();
        let mut operator = LocalListener::new(passed, CONTROL_SOCKET, Source::ControlListener, registry)?;
        must_bind(&mut operator, dir, registry)?;
        let mut sorter_socket = CompanionSocket::new(Companion::Sorter, inherited.sorter.take(), registry)?;
        sorter_socket.set_wanted(true, dir, registry)?;
        Ok(Control {
            operator,
            sorter_socket,
            site_socket: CompanionSocket::new(Companion::Site, inherited.site.take(), registry)?,
            peers: Peers::default(),
            replied: Vec::new(),
            sorter: Sorter::default(),
            site: SiteCompanion::default(),
            errors: 0,
            buffer: vec![0; MESSAGE_MAX],
        })
    }

    fn companions(&mut self) -> [&mut CompanionSocket; 2] {
        [&mut self.sorter_socket, &mut self.site_socket]
    }

    /// Binds the sockets that could not be bound before, or whose files in `dir` have been removed
    /// or replaced.
    pub fn bind_again(&mut self, dir: &Path, registry: &Registry) {
        // `problems` reports a failure.
        let _ = self.operator.bind(dir, registry);
        for socket in self.companions() {
            let _ = socket.bind(dir, registry);
        }
    }

    /// Why a socket is not bound, for each that is not.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        [&self.operator, &self.sorter_socket.listener, &self.site_socket.listener]
            .into_iter()
            .filter_map(|at| at.problem().map(ToOwned::to_owned))
    }

    /// Messages and connections that were refused, since the start.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Accepts some of the connections that wait at the socket of operators, or of a companion.
    pub fn accept(
        &mut self,
        registry: &Registry,
        companion: Option<Companion>,
        now: Monotonic,
        budget: &mut Budget,
    ) -> NewConnections {
        let mut accepted = NewConnections::default();
        for _ in 0..ACCEPTED_PER_TURN_MAX {
            let listener = match companion {
                None => &self.operator,
                Some(companion) => &self.socket(companion).listener,
            };
            match listener.accept() {
                Accepted::Connection(connection) => {
                    accepted.slots.extend(self.add(registry, connection, companion, now));
                }
                Accepted::Nothing => return accepted,
                Accepted::Failed(error) => {
                    accepted.failure = Some(error);
                    return accepted;
                }
            }
            budget.use_up(0);
            if budget.is_spent() {
                break;
            }
        }
        accepted.may_be_more = true;
        accepted
    }

    fn socket(&self, companion: Companion) -> &CompanionSocket {
        match companion {
            Companion::Sorter => &self.sorter_socket,
            Companion::Site => &self.site_socket,
        }
    }

    fn add(
        &mut self,
        registry: &Registry,
        connection: Connection,
        companion: Option<Companion>,
        now: Monotonic,
    ) -> Option<Slot> {
        let process = connection.peer().ok()?;
        let is_ours = process.uid == 0 || process.uid == nix::unistd::geteuid().as_raw();
        if let Some(companion) = companion
            && !self.socket(companion).admits(process.uid, is_ours)
        {
            companion.log_stranger(process.uid);
            self.errors += 1;
            return None;
        }
        let rank = match (companion, is_ours) {
            (Some(companion), _) => Rank::Companion(companion),
            (None, true) => Rank::Ours,
            (None, false) => Rank::Others,
        };
        if let Some(key) = self.peers.to_close(rank, now) {
            self.errors += u64::from(companion.is_none());
            self.close(key);
        }
        let slot = self.peers.next_slot();
        let token = Source::Peer(slot).token();
        registry.register(&mut SourceFd(&connection.as_raw_fd()), token, Interest::READABLE).ok()?;
        self.peers.insert(slot, connection, process, rank, now);
        match companion {
            Some(Companion::Sorter) => self.sorter.connected(process.pid),
            Some(Companion::Site) => self.site.connected(process.pid),
            None => return Some(slot),
        }
        companion.inspect(|companion| companion.log_connected(process.pid));
        Some(slot)
    }

    /// Closes a connection. That takes it out of the poll, since no other process has its descriptor.
    fn close(&mut self, key: usize) {
        let Some(local) = self.peers.remove(key) else { return };
        let Some(companion) = local.companion() else { return };
        companion.log_gone(local.process().pid);
        match companion {
            Companion::Sorter => self.sorter.disconnected(),
            Companion::Site => self.site.disconnected(),
        }
    }

    /// Reads one message of a connection, unless the connection awaits a reply. Counts its octets
    /// in `budget`.
    pub fn next(&mut self, slot: Slot, now: Monotonic, budget: &mut Budget) -> Message {
        let Some(local) = self.peers.get(slot).filter(|local| !local.awaits_reply()) else {
            return Message::None;
        };
        let octets = match local.receive(&mut self.buffer, now) {
            Ok([]) => {
                self.close(slot.key);
                return Message::None;
            }
            Ok(octets) => octets,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Message::None,
            // The process has closed its end without reading our messages.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.close(slot.key);
                return Message::None;
            }
            Err(error) => return self.refuse(slot, error.to_string()),
        };
        budget.use_up(octets.len());
        let read = match local.companion() {
            Some(Companion::Sorter) => decode(octets).map(|message| self.on_sorter_message(slot, message)),
            Some(Companion::Site) => decode(octets).map(|message| self.on_site_message(slot, message, now)),
            None => decode(octets).map(|request| {
                local.expect_reply();
                Message::Request(request, local.process())
            }),
        };
        read.unwrap_or_else(|error| self.refuse(slot, error.to_string()))
    }

    /// Closes a connection that sent a malformed message, or that cannot be read.
    fn refuse(&mut self, slot: Slot, message: String) -> Message {
        let Some(local) = self.peers.get(slot) else { return Message::None };
        let (process, is_companion) = (local.process(), local.companion().is_some());
        self.errors += 1;
        // The error may quote the message, with names of clients in it.
        log::debug!("malformed message of process {}: {message}", process.pid);
        // Any user can cause this line at any rate, so it is limited.
        let level = if is_companion { log::Level::Warn } else { log::Level::Debug };
        log::log!(
            level,
            "process {} of user {} sent a malformed message; closing its connection",
            process.pid,
            process.uid
        );
        if !is_companion {
            self.reply(slot, &Response::Error { message });
        }
        self.close(slot.key);
        Message::None
    }

    /// Checks the version of a companion. One of another version gets the answer `unwelcome`, and its
    /// connection is closed. `versions`: its own, and that of the daemon.
    fn welcome<T: serde::Serialize>(
        &mut self,
        slot: Slot,
        companion: Companion,
        versions: (u32, u32),
        unwelcome: impl Fn(String) -> T,
    ) -> bool {
        let (theirs, ours) = versions;
        if theirs == ours {
            return true;
        }
        let reason = format!("this daemon speaks version {ours}");
        let said = format!("{} speaks version {theirs}: its connection is closed", companion.program());
        companion.log_refused(&reason, &said);
        self.reply(slot, &unwelcome(reason));
        self.errors += 1;
        self.close(slot.key);
        false
    }

    /// Sends a message to a companion. Whether it is connected, and takes the message.
    fn send_to<T: serde::Serialize>(&mut self, companion: Companion, message: &T) -> bool {
        let Some((_, local)) = self.peers.companion(companion) else { return false };
        encode(message).is_ok_and(|octets| local.send(&octets).is_ok())
    }

    /// Whether a connection is still open.
    pub fn is_open(&mut self, slot: Slot) -> bool {
        self.peers.get(slot).is_some()
    }

    /// The connections that have had a reply since the last call: their next request may be read.
    pub fn take_replied(&mut self) -> impl Iterator<Item = Source> {
        self.replied.drain(..).map(Source::Peer)
    }

    /// Sends a message of the control protocol.
    pub fn reply<T: serde::Serialize>(&mut self, slot: Slot, message: &T) {
        let octets = encode(message).or_else(|error| encode(&Response::Error { message: error.to_string() }));
        self.reply_encoded(slot, &octets.unwrap_or_default());
    }

    /// Sends an encoded message. If the process has left too much unread, an operator's connection
    /// is closed; for a companion only the message is lost.
    pub fn reply_encoded(&mut self, slot: Slot, octets: &[u8]) {
        let Some(local) = self.peers.get(slot) else { return };
        if local.take_awaits_reply() {
            self.replied.push(slot);
        }
        if let Err(error) = local.send(octets) {
            log::debug!("cannot send the reply to process {}: {error}", local.process().pid);
            if local.companion().is_none() {
                self.errors += 1;
                self.close(slot.key);
            }
        }
    }
}
