//! The way to the daemon: a local connection that is made again when it breaks.

use crate::logging::Event;
use hither_control::{
    MAX_MESSAGE, SORTER_SOCKET, SorterMessage, SorterReply, VERSION, decode, encode, places,
};
use hither_net::seqpacket::Connection;
use hither_table::Monotonic;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Replies taken before probes get their turn.
const REPLIES: usize = 256;

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    Sent,
    /// The daemon has not read what was sent before; [`Link::takes`] says when to try again.
    Full,
    /// Nobody is there.
    Lost,
}

#[derive(Debug)]
pub(super) struct Link {
    paths: Vec<PathBuf>,
    connection: Option<Connection>,
    /// The daemon has not read what was sent before.
    is_full: bool,
    /// The daemon has said what cannot be read; it is told once a connection.
    is_puzzled: bool,
    lacks: Vec<String>,
    pause: Duration,
    since: Monotonic,
    /// When to connect.
    again: Option<Monotonic>,
    /// There may be more replies, of which no poll tells.
    has_more: bool,
    buffer: Vec<u8>,
}

impl Link {
    pub fn new(dir: &Path, lacks: Vec<String>, now: Monotonic) -> Link {
        let buffer = vec![0; MAX_MESSAGE];
        Link {
            paths: places(dir, SORTER_SOCKET),
            connection: None,
            is_full: false,
            is_puzzled: false,
            lacks,
            pause: PAUSE_MIN,
            since: now,
            again: Some(now),
            has_more: false,
            buffer,
        }
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        self.again
    }

    /// Whether a message can be tried.
    pub fn takes(&self) -> bool {
        self.connection.is_some() && !self.is_full
    }

    /// Whether replies may be waiting of which no poll tells.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// Connects when it is time to; `true` when that has just been done: what was said before the daemon has not heard.
    pub fn sweep(&mut self, registry: &Registry, token: Token, now: Monotonic) -> bool {
        if self.again.is_none_or(|at| now < at) {
            return false;
        }
        self.again = None;
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
                self.since = now;
                (self.is_full, self.is_puzzled) = (false, false);
                let hello = SorterMessage::Hello { version: VERSION, lacks: self.lacks.clone() };
                self.say(&hello, now) == Said::Sent
            }
            Err(error) => {
                log::debug!(
                    "the daemon at {:?} cannot be reached: {error}; trying again in {:?}",
                    self.paths,
                    self.pause
                );
                self.again = Some(now.plus(self.pause));
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                false
            }
        }
    }

    /// Sends one message.
    pub fn say(&mut self, message: &SorterMessage, now: Monotonic) -> Said {
        let Some(connection) = &self.connection else { return Said::Lost };
        let octets = match encode(message) {
            Ok(octets) => octets,
            Err(error) => {
                log::warn!("a message to the daemon cannot be written: {error}, ignoring");
                return Said::Sent;
            }
        };
        match connection.send(&octets) {
            Ok(()) => Said::Sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_full = true;
                Said::Full
            }
            Err(_) => {
                self.lost(now);
                Said::Lost
            }
        }
    }

    /// The next attempt comes soon after a connection that has lasted, and later and later where each is ended at once.
    fn lost(&mut self, now: Monotonic) {
        log::info!(event = Event::SorterGone; "the connection with the daemon is lost");
        self.connection = None;
        self.has_more = false;
        self.pause = if now.since(self.since) >= PAUSE_MAX { PAUSE_MIN } else { self.pause };
        self.again = Some(now.plus(self.pause));
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// The daemon has read.
    pub fn writable(&mut self) {
        self.is_full = false;
    }

    /// What the daemon says. An order that it refuses needs nothing: its set has changed, and the new one is seen in the table.
    pub fn ready(&mut self, now: Monotonic) {
        self.has_more = false;
        for _ in 0..REPLIES {
            let Some(connection) = &self.connection else { return };
            match connection.receive(&mut self.buffer) {
                Ok([]) => self.lost(now),
                Ok(octets) => match decode::<SorterReply>(octets) {
                    Ok(SorterReply::Applied { version }) => {
                        log::debug!("an order is published as version {version}")
                    }
                    Ok(SorterReply::Rejected { reason, .. }) => log::debug!("an order is refused: {reason}"),
                    Ok(SorterReply::Unwelcome { reason }) => {
                        log::error!(
                            event = Event::SorterRefused, reason:% = reason;
                            "the daemon takes no orders from us: {reason}"
                        )
                    }
                    Err(error) => self.puzzled(&error.to_string()),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::InvalidData => self.puzzled(&error.to_string()),
                Err(_) => self.lost(now),
            }
        }
        self.has_more = true;
    }

    fn puzzled(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_puzzled, true) {
            log::warn!("the daemon says what cannot be read: {why}, ignoring this and what is like it");
        }
    }
}
