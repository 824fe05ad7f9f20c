//! The connections as the shell has them: each with its socket, and what is to be done with it.

use super::handshake_thread::Taken;
use super::session::{Bench, Session, Socket};
use crate::daemon::sources::{Slot, Source};
use hither_connections::{ConnectionId, EndpointId, Why};
use hither_secure::Received;
use hither_table::Monotonic;
use slab::Slab;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

/// One connection.
#[derive(Debug)]
pub(super) struct Line {
    pub connection: ConnectionId,
    pub endpoint: EndpointId,
    pub address: SocketAddr,
    generation: u32,
    pub stage: Stage,
    /// Whether the upstream is authenticated, so that what comes next is cheap.
    pub is_ready: bool,
    /// Whether the socket may have more to read.
    pub may_read: bool,
    /// Set when the socket takes nothing any more. What it still has is read before the connection ends.
    pub broken: Option<Why>,
    is_dirty: bool,
    /// When the session wants to be called.
    pub timeout: Option<Monotonic>,
}

/// How far a connection has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// The socket is to be opened.
    Planned,
    /// The socket is open, perhaps not connected yet.
    Connecting(Socket),
    /// The session has begun.
    Begun(Session),
    /// A thread has the session, for a step of the handshake.
    Away,
    /// The session is back after a step.
    Back(Box<Taken>),
    /// Between two of these, or after the last.
    Ended,
}

impl Line {
    pub fn session(&mut self) -> Option<&mut Session> {
        match &mut self.stage {
            Stage::Begun(session) => Some(session),
            Stage::Planned | Stage::Connecting(_) | Stage::Away | Stage::Back(_) | Stage::Ended => None,
        }
    }

    /// Notes how a read of the socket has ended. What came before an error is handled first.
    pub fn note_received(&mut self, received: io::Result<Received>) {
        match received {
            Ok(Received::Part) => self.may_read = true,
            Ok(Received::All | Received::End) => {}
            Err(error) => self.broken = Some(super::why::of_socket(&error)),
        }
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Slab<Line>,
    by_connection: BTreeMap<ConnectionId, usize>,
    generation: u32,
    /// Sockets of forgotten connections that the thread still has.
    leaving: usize,
    /// Connections that may have octets to send.
    dirty: Vec<usize>,
    /// Sources that the event loop has to look at although no event names them.
    woken: Vec<Source>,
}

impl Lines {
    /// Plans a connection, which is opened when the event loop gets to it.
    pub fn plan(&mut self, connection: ConnectionId, endpoint: EndpointId, address: SocketAddr) {
        self.generation = self.generation.wrapping_add(1);
        let key = self.lines.insert(Line {
            connection,
            endpoint,
            address,
            generation: self.generation,
            stage: Stage::Planned,
            is_ready: false,
            may_read: false,
            broken: None,
            is_dirty: false,
            timeout: None,
        });
        self.by_connection.insert(connection, key);
        self.wake(key);
    }

    /// The key of a slot, unless its connection is gone.
    pub fn key_of(&self, slot: Slot) -> Option<usize> {
        self.lines.get(slot.key).filter(|line| line.generation == slot.generation).map(|_| slot.key)
    }

    pub fn get(&self, key: usize) -> Option<&Line> {
        self.lines.get(key)
    }

    pub fn get_mut(&mut self, key: usize) -> Option<&mut Line> {
        self.lines.get_mut(key)
    }

    pub fn find(&self, connection: ConnectionId) -> Option<usize> {
        self.by_connection.get(&connection).copied()
    }

    /// Forgets a connection. With the line, its socket is closed, unless the thread has it.
    pub fn remove(&mut self, key: usize) -> Option<Line> {
        let line = self.lines.try_remove(key)?;
        self.leaving += usize::from(matches!(line.stage, Stage::Away));
        self.by_connection.remove(&line.connection);
        Some(line)
    }

    /// Notes that the thread has given back a session. Returns the key of its connection, unless that is
    /// gone.
    pub fn take_back(&mut self, slot: Slot) -> Option<usize> {
        let key = self.key_of(slot);
        if key.is_none() {
            self.leaving -= 1;
        }
        key
    }

    /// The number of sockets.
    pub fn len(&self) -> usize {
        self.lines.len() + self.leaving
    }

    /// Notes that a connection may have octets to send.
    pub fn mark(&mut self, key: usize) {
        if let Some(line) = self.lines.get_mut(key)
            && !std::mem::replace(&mut line.is_dirty, true)
        {
            self.dirty.push(key);
        }
    }

    /// Has the event loop look at a connection.
    pub fn wake(&mut self, key: usize) {
        let Some(line) = self.lines.get(key) else { return };
        let slot = Slot { key, generation: line.generation };
        self.woken.push(if line.is_ready { Source::Secure(slot) } else { Source::Handshake(slot) });
    }

    pub fn take_woken(&mut self) -> Vec<Source> {
        std::mem::take(&mut self.woken)
    }

    /// Writes what the connections have to send, each once.
    pub fn transmit(&mut self, bench: &mut Bench) {
        for key in std::mem::take(&mut self.dirty) {
            let Some(line) = self.lines.get_mut(key) else { continue };
            line.is_dirty = false;
            let Some(session) = line.session() else { continue };
            let (sent, timeout) = (session.transmit(bench), session.poll_timeout());
            line.timeout = timeout;
            if let Err(error) = sent {
                line.broken = Some(super::why::of_socket(&error));
                line.may_read = true;
                self.wake(key);
            }
        }
    }

    /// The earliest time at which a session wants to be called.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.lines.iter().filter_map(|(_, line)| line.timeout).min()
    }

    /// Calls the sessions whose time has come.
    pub fn on_time(&mut self, now: Monotonic) {
        let is_due = |line: &Line| line.timeout.is_some_and(|at| at <= now);
        let due: Vec<usize> =
            self.lines.iter().filter(|(_, line)| is_due(line)).map(|(key, _)| key).collect();
        for key in due {
            let Some(line) = self.lines.get_mut(key) else { continue };
            line.timeout = None;
            // The next step of a handshake tells what follows from it.
            line.may_read |= !line.is_ready;
            if let Some(session) = line.session() {
                session.handle_timeout(now);
            }
            self.mark(key);
            self.wake(key);
        }
    }
}
