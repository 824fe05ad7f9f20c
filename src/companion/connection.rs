//! The connection with the daemon, which carries messages in both directions. It is opened again when it
//! breaks.

use crate::logging::Event;
use hither_control::{MESSAGE_MAX, decode, encode, socket_paths};
use hither_net::seqpacket;
use hither_table::Monotonic;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Pauses between attempts to connect: the first one, doubled up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Whether a message was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    Yes,
    /// The socket's buffer is full; [`Connection::accepts`] says when to try again.
    Full,
    /// There is no connection.
    NotConnected,
}

/// A message that cannot be read, and is ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unreadable;

/// The events of the log for the begin and the end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Events {
    pub connected: Event,
    pub gone: Event,
}

#[derive(Debug)]
pub(crate) struct Connection {
    /// The paths at which the daemon's socket may be.
    paths: Vec<PathBuf>,
    events: Events,
    connection: Option<seqpacket::Connection>,
    /// The socket's buffer is full until the daemon reads.
    is_full: bool,
    /// A message could not be read. That is logged once a connection.
    has_logged_unreadable: bool,
    pause: Duration,
    connected_at: Monotonic,
    /// When to connect.
    connect_at: Option<Monotonic>,
    buffer: Vec<u8>,
}

impl Connection {
    /// A connection with the socket of this name, in the daemon's runtime directory. It is due at once.
    pub fn new(dir: &Path, socket: &str, events: Events, now: Monotonic) -> Connection {
        Connection {
            paths: socket_paths(dir, socket),
            events,
            connection: None,
            is_full: false,
            has_logged_unreadable: false,
            pause: PAUSE_MIN,
            connected_at: now,
            connect_at: Some(now),
            buffer: vec![0; MESSAGE_MAX],
        }
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        self.connect_at
    }

    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether the daemon may accept a message now.
    pub fn accepts(&self) -> bool {
        self.connection.is_some() && !self.is_full
    }

    /// Connects when it is time; `true` if it has just connected, to a daemon that has not received
    /// any earlier message.
    pub fn connect_if_due(&mut self, registry: &Registry, token: Token, now: Monotonic) -> bool {
        if self.connect_at.is_none_or(|at| now < at) {
            return false;
        }
        self.connect_at = None;
        let mut connections = self.paths.iter().map(|path| seqpacket::Connection::connect(path, None));
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
                log::info!(event = self.events.connected; "connected with the daemon");
                self.connection = Some(connection);
                self.connected_at = now;
                (self.is_full, self.has_logged_unreadable) = (false, false);
                true
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

    /// Sends one message to the daemon.
    pub fn send(&mut self, message: &impl Serialize, now: Monotonic) -> Sent {
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
                self.lost(now);
                Sent::NotConnected
            }
        }
    }

    /// Plans the next attempt: soon after a connection that has lasted, ever later after those that
    /// ended at once.
    fn lost(&mut self, now: Monotonic) {
        log::info!(event = self.events.gone; "the connection with the daemon is lost");
        self.connection = None;
        self.pause = if now.since(self.connected_at) >= PAUSE_MAX { PAUSE_MIN } else { self.pause };
        self.connect_at = Some(now.plus(self.pause));
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// Notes that the socket's buffer has free space again.
    pub fn note_writable(&mut self) {
        self.is_full = false;
    }

    /// The next message of the daemon; `None` if there is none for now, or no connection.
    pub fn receive<M: DeserializeOwned>(&mut self, now: Monotonic) -> Option<Result<M, Unreadable>> {
        match self.connection.as_ref()?.receive(&mut self.buffer) {
            Ok([]) => self.lost(now),
            Ok(octets) => {
                return Some(decode(octets).map_err(|error| self.log_unreadable(&error.to_string())));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Some(Err(self.log_unreadable(&error.to_string())));
            }
            Err(_) => self.lost(now),
        }
        None
    }

    fn log_unreadable(&mut self, why: &str) -> Unreadable {
        if !std::mem::replace(&mut self.has_logged_unreadable, true) {
            log::warn!("a message of the daemon cannot be read: {why}, ignoring it and others like it");
        }
        Unreadable
    }
}
