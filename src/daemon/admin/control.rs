//! The two local sockets: operators send requests to one, the sorter sends orders to the other.
//!
//! The kernel reports the process at the other end, so the daemon need not trust a message about
//! its sender.

use crate::daemon::admin::peers::{Peers, Rank};
use crate::daemon::admin::sorter_counts::SorterTotals;
use crate::daemon::admin::sorter_order::parse_order;
use crate::daemon::local_listener::{Accepted, LocalListener, cannot_create_files};
use crate::daemon::socket_activation::Inherited;
use crate::daemon::sources::{Slot, Source};
use crate::daemon::turn::Budget;
use crate::logging::Event;
use hither_control::{
    CONTROL_SOCKET, Explain, Explained, MESSAGE_MAX, Request, Response, SORTER_SOCKET, SorterMessage,
    SorterReply, SorterStatus, decode, encode,
};
use hither_net::seqpacket::{Connection, Peer};
use hither_rounds::Order;
use hither_table::{Monotonic, SorterMetrics};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
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
    sorter: LocalListener,
    peers: Peers,
    /// Connections that have had a reply: their next request may be read.
    replied: Vec<Slot>,
    sorter_status: SorterStatus,
    sorter_totals: SorterTotals,
    errors: u64,
    sorter_uid: Option<u32>,
    /// Whether any process that can connect to the sorter's socket counts as the sorter.
    trusts_sorter_socket: bool,
    buffer: Vec<u8>,
}

impl Control {
    /// Takes the sockets that the service manager passed, and binds the others in `dir`.
    ///
    /// # Errors
    /// A socket cannot be bound, for another reason than a full or read-only file system.
    pub fn open(inherited: &mut Inherited, dir: &Path, registry: &Registry) -> Result<Control, String> {
        // The unit of a passed socket sets its mode. With PrivateUsers= the sorter's user has no
        // name here.
        let trusts_sorter_socket = inherited.sorter.is_some();
        let (operator, sorter) = (inherited.control.take(), inherited.sorter.take());
        let mut operator = LocalListener::new(operator, CONTROL_SOCKET, Source::ControlListener, registry)?;
        let mut sorter = LocalListener::new(sorter, SORTER_SOCKET, Source::SorterListener, registry)?;
        for listener in [&mut operator, &mut sorter] {
            if let Err(error) = listener.bind(dir, registry)
                && !cannot_create_files(&error)
            {
                return Err(listener.problem().unwrap_or_default().to_owned());
            }
        }
        let sorter_uid =
            nix::unistd::User::from_name("hither-sorter").ok().flatten().map(|user| user.uid.as_raw());
        Ok(Control {
            operator,
            sorter,
            peers: Peers::default(),
            replied: Vec::new(),
            sorter_status: SorterStatus::default(),
            sorter_totals: SorterTotals::default(),
            errors: 0,
            sorter_uid,
            trusts_sorter_socket,
            buffer: vec![0; MESSAGE_MAX],
        })
    }

    /// Binds the sockets that could not be bound before, or whose files in `dir` have been removed
    /// or replaced.
    pub fn bind_again(&mut self, dir: &Path, registry: &Registry) {
        for listener in [&mut self.operator, &mut self.sorter] {
            // `problems` reports a failure.
            let _ = listener.bind(dir, registry);
        }
    }

    /// Why a socket is not bound, for each that is not.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        [&self.operator, &self.sorter].into_iter().filter_map(|at| at.problem().map(ToOwned::to_owned))
    }

    /// The latest report of the sorter.
    pub fn sorter_status(&self) -> &SorterStatus {
        &self.sorter_status
    }

    /// What all sorters have done, if that has changed since the last call.
    pub fn take_sorter_metrics(&mut self) -> Option<SorterMetrics> {
        self.sorter_totals.take_changed()
    }

    /// Messages and connections that were refused, since the start.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Accepts some of the connections that wait at one of the sockets.
    pub fn accept(
        &mut self,
        registry: &Registry,
        from_sorter: bool,
        now: Monotonic,
        budget: &mut Budget,
    ) -> NewConnections {
        let mut accepted = NewConnections::default();
        for _ in 0..ACCEPTED_PER_TURN_MAX {
            let listener = if from_sorter { &self.sorter } else { &self.operator };
            match listener.accept() {
                Accepted::Connection(connection) => {
                    accepted.slots.extend(self.add(registry, connection, from_sorter, now));
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

    fn add(
        &mut self,
        registry: &Registry,
        connection: Connection,
        is_sorter: bool,
        now: Monotonic,
    ) -> Option<Slot> {
        let process = connection.peer().ok()?;
        let is_ours = process.uid == 0 || process.uid == nix::unistd::geteuid().as_raw();
        let may_sort = self.trusts_sorter_socket || is_ours || self.sorter_uid == Some(process.uid);
        if is_sorter && !may_sort {
            log::warn!(
                event = Event::SorterRefused, reason = "its user is neither ours nor hither-sorter", user = process.uid;
                "refused a connection to the sorter's socket by user {}; expected our own user or hither-sorter",
                process.uid
            );
            self.errors += 1;
            return None;
        }
        let rank = match (is_sorter, is_ours) {
            (true, _) => Rank::Sorter,
            (false, true) => Rank::Ours,
            (false, false) => Rank::Others,
        };
        if let Some(key) = self.peers.to_close(rank, now) {
            self.errors += u64::from(!is_sorter);
            self.close(key);
        }
        let slot = self.peers.next_slot();
        let token = Source::Peer(slot).token();
        registry.register(&mut SourceFd(&connection.as_raw_fd()), token, Interest::READABLE).ok()?;
        self.peers.insert(slot, connection, process, rank, now);
        if is_sorter {
            log::info!(
                event = Event::SorterConnected, process = process.pid;
                "process {} is the sorter",
                process.pid
            );
            self.sorter_totals.connected(process.pid);
            self.sorter_status =
                SorterStatus { connected: true, pid: Some(process.pid), ..SorterStatus::default() };
        }
        Some(slot)
    }

    /// Closes a connection. That takes it out of the poll, since no other process has its descriptor.
    fn close(&mut self, key: usize) {
        let Some(local) = self.peers.remove(key) else { return };
        if local.is_sorter() {
            log::info!(
                event = Event::SorterGone, process = local.process().pid;
                "the sorter, process {}, has disconnected; addresses keep their present order",
                local.process().pid
            );
            self.sorter_totals.disconnected();
            self.sorter_status.connected = false;
            self.sorter_status.pid = None;
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
        if local.is_sorter() {
            return match decode::<SorterMessage>(octets) {
                Ok(message) => self.on_sorter_message(slot, message),
                Err(error) => self.refuse(slot, error.to_string()),
            };
        }
        match decode::<Request>(octets) {
            Ok(request) => {
                local.expect_reply();
                Message::Request(request, local.process())
            }
            Err(error) => self.refuse(slot, error.to_string()),
        }
    }

    /// Closes a connection that sent a malformed message, or that cannot be read.
    fn refuse(&mut self, slot: Slot, message: String) -> Message {
        let Some(local) = self.peers.get(slot) else { return Message::None };
        let (process, is_sorter) = (local.process(), local.is_sorter());
        self.errors += 1;
        // The error may quote the message, with names of clients in it.
        log::debug!("malformed message of process {}: {message}", process.pid);
        // Any user can cause this line at any rate, so it is limited.
        let level = if is_sorter { log::Level::Warn } else { log::Level::Debug };
        log::log!(
            level,
            "process {} of user {} sent a malformed message; closing its connection",
            process.pid,
            process.uid
        );
        if !is_sorter {
            self.reply(slot, &Response::Error { message });
        }
        self.close(slot.key);
        Message::None
    }

    fn on_sorter_message(&mut self, slot: Slot, message: SorterMessage) -> Message {
        match message {
            SorterMessage::Hello { version, lacks } => {
                if version != hither_control::VERSION {
                    let reason = format!("this daemon speaks version {}", hither_control::VERSION);
                    log::warn!(
                        event = Event::SorterRefused, reason:% = reason;
                        "the sorter speaks version {version}: its connection is closed"
                    );
                    self.reply(slot, &SorterReply::Unwelcome { reason });
                    self.errors += 1;
                    self.close(slot.key);
                    return Message::Handled;
                }
                self.sorter_status.lacks = lacks;
            }
            SorterMessage::Explained(said) => return Message::Explained(Box::new(said)),
            SorterMessage::Stats(counts) => {
                self.sorter_status.probes = counts.sent;
                self.sorter_totals.note(counts);
            }
            SorterMessage::Order(words) => {
                self.sorter_status.orders += 1;
                if let Some(order) = parse_order(&words) {
                    return Message::Order(Box::new(order));
                }
                self.errors += 1;
                let reason = "its name or type is invalid".to_owned();
                self.reply(slot, &SorterReply::Rejected { reason, set_version: None });
            }
        }
        Message::Handled
    }

    /// Asks the sorter about the addresses of a set. Whether it is connected, and takes the request.
    pub fn ask_sorter(&mut self, request: &Explain) -> bool {
        let Some(sorter) = self.peers.sorter() else { return false };
        encode(&SorterReply::Explain(request.clone())).is_ok_and(|octets| sorter.send(&octets).is_ok())
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
    /// is closed; for the sorter only the message is lost.
    pub fn reply_encoded(&mut self, slot: Slot, octets: &[u8]) {
        let Some(local) = self.peers.get(slot) else { return };
        if local.take_awaits_reply() {
            self.replied.push(slot);
        }
        if let Err(error) = local.send(octets) {
            log::debug!("cannot send the reply to process {}: {error}", local.process().pid);
            if !local.is_sorter() {
                self.errors += 1;
                self.close(slot.key);
            }
        }
    }
}
