//! The connection with the daemon: orders go out, replies come in. It is opened again when it breaks.

use super::counts::Counts;
use super::prober::Report;
use crate::logging::Event;
use hither_control::{
    Explain, MESSAGE_MAX, SORTER_SOCKET, SorterCounts, SorterMessage, SorterReply, VERSION, decode, encode,
    socket_paths,
};
use hither_net::seqpacket::Connection;
use hither_table::Monotonic;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Pauses between attempts to connect: the first one, doubled up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Replies that are read in one turn.
const REPLIES_PER_TURN_MAX: usize = 256;
/// Requests of the daemon that wait; further ones are not answered.
const ASKED_MAX: usize = 64;

/// Whether a message was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    Yes,
    /// The socket's buffer is full; [`DaemonConnection::accepts`] says when to try again.
    Full,
    /// There is no connection.
    NotConnected,
}

#[derive(Debug)]
pub(super) struct DaemonConnection {
    /// The paths at which the daemon's socket may be.
    paths: Vec<PathBuf>,
    connection: Option<Connection>,
    /// The socket's buffer is full until the daemon reads.
    is_full: bool,
    /// A reply could not be read. That is logged once a connection.
    has_logged_unreadable: bool,
    /// What this process has done.
    counts: Counts,
    /// Kinds of probes that cannot be sent on this host.
    lacks: Vec<String>,
    pause: Duration,
    connected_at: Monotonic,
    /// When to connect.
    connect_at: Option<Monotonic>,
    /// More replies may be waiting than one turn reads; epoll does not report them again.
    has_more: bool,
    buffer: Vec<u8>,
    /// What the daemon asks about addresses, the oldest first.
    asked: VecDeque<Explain>,
}

impl DaemonConnection {
    pub fn new(dir: &Path, lacks: Vec<String>, now: Monotonic) -> DaemonConnection {
        let buffer = vec![0; MESSAGE_MAX];
        DaemonConnection {
            paths: socket_paths(dir, SORTER_SOCKET),
            connection: None,
            is_full: false,
            has_logged_unreadable: false,
            counts: Counts::default(),
            lacks,
            pause: PAUSE_MIN,
            connected_at: now,
            connect_at: Some(now),
            has_more: false,
            buffer,
            asked: VecDeque::new(),
        }
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        self.connect_at
    }

    /// Whether the daemon may accept a message now.
    pub fn accepts(&self) -> bool {
        self.connection.is_some() && !self.is_full
    }

    /// Whether replies may be waiting that epoll does not report again.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// Connects when it is time; `true` if it has just connected, to a daemon that has not received
    /// any earlier message.
    pub fn connect_if_due(&mut self, registry: &Registry, token: Token, now: Monotonic) -> bool {
        if self.connect_at.is_none_or(|at| now < at) {
            return false;
        }
        self.connect_at = None;
        let mut connections = self.paths.iter().map(|path| Connection::connect(path, None));
        let first = connections.next().unwrap_or_else(|| Err(ErrorKind::NotFound.into()));
        let connected = first.or_else(|error| connections.find_map(Result::ok).ok_or(error));
        let connected = connected.and_then(|connection| {
            registry.register(
                &mut SourceFd(&connection.as_raw_fd()),
                token,
                Interest::READABLE | Interest::WRITABLE,
            )?;
            Ok(connection)
        });
        match connected {
            Ok(connection) => {
                log::info!(event = Event::SorterConnected; "connected with the daemon");
                self.connection = Some(connection);
                self.connected_at = now;
                (self.is_full, self.has_logged_unreadable) = (false, false);
                self.counts.reported = SorterCounts::default();
                let hello = SorterMessage::Hello { version: VERSION, lacks: self.lacks.clone() };
                self.send(&hello, now) == Sent::Yes
            }
            Err(error) => {
                log::debug!(
                    "the daemon at {:?} cannot be reached: {error}; trying again in {:?}",
                    self.paths,
                    self.pause
                );
                self.connect_at = Some(now.plus(self.pause));
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                false
            }
        }
    }

    /// Counts what a probe has shown.
    pub fn note(&mut self, report: &Report) {
        self.counts.note(report);
    }

    /// Reports what this process has done, if that has changed.
    pub fn report_counts(&mut self, sent: u64, now: Monotonic) {
        self.counts.all.sent = sent;
        let counts = self.counts.all;
        if counts != self.counts.reported
            && self.accepts()
            && self.send(&SorterMessage::Stats(counts), now) == Sent::Yes
        {
            self.counts.reported = counts;
        }
    }

    /// Sends one message to the daemon.
    pub fn send(&mut self, message: &SorterMessage, now: Monotonic) -> Sent {
        let Some(connection) = &self.connection else { return Sent::NotConnected };
        let octets = match encode(message) {
            Ok(octets) => octets,
            Err(error) => {
                log::warn!("a message to the daemon cannot be encoded: {error}, ignoring");
                return Sent::Yes;
            }
        };
        match connection.send(&octets) {
            Ok(()) => Sent::Yes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_full = true;
                Sent::Full
            }
            Err(_) => {
                self.connection_lost(now);
                Sent::NotConnected
            }
        }
    }

    /// Plans the next attempt: soon after a connection that has lasted, ever later after those that
    /// ended at once.
    fn connection_lost(&mut self, now: Monotonic) {
        log::info!(event = Event::SorterGone; "the connection with the daemon is lost");
        self.connection = None;
        self.has_more = false;
        self.pause = if now.since(self.connected_at) >= PAUSE_MAX { PAUSE_MIN } else { self.pause };
        self.connect_at = Some(now.plus(self.pause));
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// Notes that the socket's buffer has free space again.
    pub fn note_writable(&mut self) {
        self.is_full = false;
    }

    /// Reads replies. A refused order needs no reaction: its set has changed, and the new set is
    /// found in the table.
    pub fn receive(&mut self, now: Monotonic) {
        self.has_more = false;
        for _ in 0..REPLIES_PER_TURN_MAX {
            let Some(connection) = &self.connection else { return };
            match connection.receive(&mut self.buffer) {
                Ok([]) => self.connection_lost(now),
                Ok(octets) => match decode::<SorterReply>(octets) {
                    Ok(SorterReply::Applied { version }) => {
                        log::debug!("an order is published as version {version}")
                    }
                    Ok(SorterReply::Rejected { reason, .. }) => log::debug!("an order is refused: {reason}"),
                    Ok(SorterReply::Explain(request)) if self.asked.len() < ASKED_MAX => {
                        self.asked.push_back(request);
                    }
                    Ok(SorterReply::Explain(_)) => {}
                    Ok(SorterReply::Unwelcome { reason }) => {
                        log::error!(
                            event = Event::SorterRefused, reason:% = reason;
                            "the daemon refuses the orders of this sorter: {reason}"
                        )
                    }
                    Err(error) => self.log_unreadable(&error.to_string()),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    self.log_unreadable(&error.to_string())
                }
                Err(_) => self.connection_lost(now),
            }
        }
        self.has_more = true;
    }

    /// The next request of the daemon.
    pub fn next_asked(&mut self) -> Option<Explain> {
        self.asked.pop_front()
    }

    fn log_unreadable(&mut self, why: &str) {
        if !std::mem::replace(&mut self.has_logged_unreadable, true) {
            log::warn!("a reply of the daemon cannot be read: {why}, ignoring it and others like it");
        }
    }
}
