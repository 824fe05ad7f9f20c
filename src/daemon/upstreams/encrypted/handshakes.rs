//! Handshakes, in steps: the socket is opened, the session begins, its octets are processed. The event
//! loop takes one step between two looks at the queries of clients, since a step may take a millisecond.

use super::lines::Stage;
use super::session::{Session, Socket};
use super::{Encrypted, why};
use crate::daemon::sources::{Slot, Source};
use hither_connections::{Input, Why};
use hither_net::random::Random;
use hither_net::{clock, ports};
use hither_secure::Scheme;
use hither_table::Monotonic;
use mio::{Interest, Registry};
use std::io;

impl Encrypted {
    /// Whether the socket of a connection is to be opened.
    pub fn is_planned(&self, slot: Slot) -> bool {
        let line = self.key_of(slot).and_then(|key| self.lines.get(key));
        line.is_some_and(|line| matches!(line.stage, Stage::Planned))
    }

    /// Whether there are as many connections as there may be.
    pub fn is_full(&self) -> bool {
        self.lines.len() > self.most
    }

    /// Opens the socket of a planned connection, and adds it to the epoll instance. Without authorities the
    /// connection is given up before.
    ///
    /// # Errors
    /// Those of the socket; the connection is still planned then.
    pub fn open(
        &mut self,
        registry: &Registry,
        slot: Slot,
        now: Monotonic,
        random: &mut Random,
    ) -> io::Result<()> {
        let Some(key) = self.key_of(slot) else { return Ok(()) };
        let Some(line) = self.lines.get_mut(key) else { return Ok(()) };
        if let Err(sentence) = self.endpoints.shared(line.endpoint) {
            self.note_problem(key, sentence, now);
            self.lose(key, Why::Handshake, now);
            return Ok(());
        }
        let Some(endpoint) = self.endpoints.get(line.endpoint) else { return Ok(()) };
        let (link, token) = (endpoint.setup.server.link, Source::Secure(slot).token());
        let interest = Interest::READABLE | Interest::WRITABLE;
        line.stage = Stage::Connecting(match endpoint.setup.policy.scheme {
            Scheme::Dot | Scheme::Doh => {
                let mut stream = ports::tcp(line.address, link)?;
                registry.register(&mut stream, token, interest)?;
                Socket::Stream(stream)
            }
            Scheme::Doq => {
                let mut socket = ports::quic(line.address, link, || random.draw())?;
                registry.register(&mut socket, token, interest)?;
                Socket::Datagrams(socket)
            }
        });
        Ok(())
    }

    /// Gives up a planned connection whose socket cannot be opened.
    pub fn give_up(&mut self, slot: Slot, error: &io::Error, now: Monotonic) {
        if let Some(key) = self.key_of(slot) {
            self.lose(key, why::of_socket(error), now);
        }
    }

    /// Takes one step of a handshake.
    pub fn shake(&mut self, slot: Slot, now: Monotonic) {
        let Some(key) = self.key_of(slot) else { return };
        let Some(line) = self.lines.get_mut(key) else { return };
        self.bench.now = now;
        if let Stage::Connecting(socket) = &line.stage {
            match is_connected(socket) {
                Ok(true) => self.begin(key, now),
                Ok(false) => {}
                Err(error) => self.lose(key, why::of_socket(&error), now),
            }
            return;
        }
        self.handle_events(slot, now);
        self.read(slot, now);
        self.handle_events(slot, now);
        let line = self.key_of(slot).and_then(|key| self.lines.get(key));
        if line.is_some_and(|line| line.is_ready || line.may_read || line.broken.is_some()) {
            self.lines.wake(key);
        }
    }

    /// Handles the events of a handshake. Those that follow it are left.
    fn handle_events(&mut self, slot: Slot, now: Monotonic) {
        let is_handshaking = |own: &Encrypted| {
            own.key_of(slot).and_then(|key| own.lines.get(key)).is_some_and(|line| !line.is_ready)
        };
        while is_handshaking(self) && self.next_event(slot, now).is_some() {}
    }

    /// Begins the session of a connection whose socket is connected.
    fn begin(&mut self, key: usize, now: Monotonic) {
        self.endpoints.clock.set_system(clock::wall_ms() / 1000);
        let Some(line) = self.lines.get_mut(key) else { return };
        let shared = match self.endpoints.shared(line.endpoint) {
            Ok(shared) => shared,
            Err(sentence) => {
                self.note_problem(key, sentence, now);
                return self.lose(key, Why::Handshake, now);
            }
        };
        let connection = line.connection;
        let Stage::Connecting(socket) = std::mem::replace(&mut line.stage, Stage::Ended) else { return };
        let is_stream = matches!(socket, Socket::Stream(_));
        match Session::begin(socket, shared, line.address, &self.bench) {
            Ok(session) => line.stage = Stage::Begun(session),
            Err(error) => {
                self.note_problem(key, error.to_string(), now);
                return self.lose(key, Why::Handshake, now);
            }
        }
        self.lines.mark(key);
        // Over QUIC nothing but an answer shows that the upstream is there.
        if is_stream {
            self.tell(now, Input::Connected { connection });
        }
    }
}

/// Whether a socket is connected.
///
/// # Errors
/// Why it cannot be.
fn is_connected(socket: &Socket) -> io::Result<bool> {
    let Socket::Stream(stream) = socket else { return Ok(true) };
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream.peer_addr().is_ok()),
    }
}
