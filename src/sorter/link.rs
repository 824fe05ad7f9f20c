//! The way to the daemon: a local connection that is made again when it breaks.

use crate::logging::Event;
use hither_control::{
    MAX_MESSAGE, Order, SORTER_SOCKET, SorterMessage, SorterReply, VERSION, decode, encode, places,
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

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long to wait when the daemon does not read.
const FULL: Duration = Duration::from_millis(20);
/// Orders that wait; when they are more the oldest go, for their sets will be seen again.
const WAITING_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Link {
    paths: Vec<PathBuf>,
    connection: Option<Connection>,
    orders: VecDeque<Order>,
    lacks: Vec<String>,
    pause: Duration,
    again: Option<Monotonic>,
    buffer: Vec<u8>,
}

impl Link {
    pub fn new(dir: &Path, lacks: Vec<String>, now: Monotonic) -> Link {
        let buffer = vec![0; MAX_MESSAGE];
        Link {
            paths: places(dir, SORTER_SOCKET),
            connection: None,
            orders: VecDeque::new(),
            lacks,
            pause: PAUSE_MIN,
            again: Some(now),
            buffer,
        }
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        self.again
    }

    /// Connects when it is time to; `true` when that has just been done: what was said before the daemon has not heard.
    pub fn sweep(&mut self, registry: &Registry, token: Token, now: Monotonic) -> bool {
        if self.again.is_none_or(|at| now < at) {
            return false;
        }
        self.again = None;
        if self.connection.is_some() {
            self.send(now);
            return false;
        }
        let mut connections = self.paths.iter().map(|path| Connection::connect(path, None));
        let first = connections.next().unwrap_or_else(|| Err(ErrorKind::NotFound.into()));
        let connected = first.or_else(|error| connections.find_map(Result::ok).ok_or(error));
        let connected = connected.and_then(|connection| {
            registry.register(&mut SourceFd(&connection.as_raw_fd()), token, Interest::READABLE)?;
            Ok(connection)
        });
        match connected {
            Ok(connection) => {
                log::info!(event = Event::SorterConnected; "connected with the daemon");
                self.connection = Some(connection);
                self.pause = PAUSE_MIN;
                self.orders.clear();
                self.say(&SorterMessage::Hello { version: VERSION, lacks: self.lacks.clone() }, now)
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

    /// Sends one message; `false` when it did not go out.
    pub fn say(&mut self, message: &SorterMessage, now: Monotonic) -> bool {
        let Some(connection) = &self.connection else { return false };
        let Ok(octets) = encode(message) else { return false };
        match connection.send(&octets) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.again = Some(now.plus(FULL));
                false
            }
            Err(_) => {
                self.lost(now);
                false
            }
        }
    }

    fn lost(&mut self, now: Monotonic) {
        log::info!(event = Event::SorterGone; "the connection with the daemon is lost");
        self.connection = None;
        self.again = Some(now.plus(self.pause));
    }

    pub fn order(&mut self, order: Order, now: Monotonic) {
        if self.orders.len() == WAITING_MAX {
            self.orders.pop_front();
        }
        self.orders.push_back(order);
        self.send(now);
    }

    fn send(&mut self, now: Monotonic) {
        while let Some(order) = self.orders.pop_front() {
            if !self.say(&SorterMessage::Order(order.clone()), now) {
                if self.connection.is_some() {
                    self.orders.push_front(order);
                }
                return;
            }
        }
    }

    /// What the daemon says. An order that it refuses needs nothing: its set has changed, and the new one is seen in the table.
    pub fn ready(&mut self, now: Monotonic) {
        while let Some(connection) = &self.connection {
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
                    Err(error) => log::warn!("the daemon says what cannot be read: {error}, ignoring"),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    log::warn!("the daemon says too much at once, ignoring")
                }
                Err(_) => self.lost(now),
            }
        }
    }
}
