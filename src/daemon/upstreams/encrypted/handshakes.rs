//! Handshakes, in steps: the event loop opens the socket and waits for it; the session begins and goes on
//! in a thread (`handshake_thread`), and the event loop takes over what came of each step.

use super::handshake_thread::{Done, Step, Taken};
use super::lines::Stage;
use super::session::Socket;
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
            self.note_own_problem(key, sentence, now);
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

    /// Takes one step of a handshake, or has the thread take it.
    pub fn shake(&mut self, slot: Slot, now: Monotonic) {
        let Some(key) = self.key_of(slot) else { return };
        let Some(line) = self.lines.get_mut(key) else { return };
        if line.is_ready {
            // The step was queued before the handshake ended.
            return self.lines.wake(key);
        }
        match std::mem::replace(&mut line.stage, Stage::Ended) {
            Stage::Connecting(socket) => match is_connected(&socket) {
                Ok(true) => self.begin(slot, key, socket, now),
                Ok(false) => line.stage = Stage::Connecting(socket),
                Err(error) => self.lose(key, why::of_socket(&error), now),
            },
            Stage::Begun(session) if std::mem::take(&mut line.may_read) => {
                self.hand_over(slot, Step::Receive(session), now);
            }
            Stage::Begun(session) => {
                line.stage = Stage::Begun(session);
                if let Some(why) = line.broken {
                    self.lose(key, why, now);
                }
            }
            Stage::Back(taken) => self.take_over(slot, *taken, now),
            stage @ (Stage::Planned | Stage::Away | Stage::Ended) => line.stage = stage,
        }
    }

    /// Begins the session of a connection whose socket is connected.
    fn begin(&mut self, slot: Slot, key: usize, socket: Socket, now: Monotonic) {
        self.endpoints.clock.set_system(clock::wall_ms() / 1000);
        let Some(line) = self.lines.get(key) else { return };
        let (connection, peer) = (line.connection, line.address);
        let shared = match self.endpoints.shared(line.endpoint) {
            Ok(shared) => shared.clone(),
            Err(sentence) => {
                self.note_own_problem(key, sentence, now);
                return self.lose(key, Why::Handshake, now);
            }
        };
        let is_stream = matches!(socket, Socket::Stream(_));
        self.hand_over(slot, Step::Begin { socket, shared, peer }, now);
        // Over QUIC nothing but an answer shows that the upstream is there.
        if is_stream {
            self.tell(now, Input::Connected { connection });
        }
    }

    /// Hands the session of a connection to the thread.
    fn hand_over(&mut self, slot: Slot, step: Step, now: Monotonic) {
        if let Some(line) = self.key_of(slot).and_then(|key| self.lines.get_mut(key)) {
            (line.stage, line.timeout) = (Stage::Away, None);
        }
        if let Some(done) = self.handshakes.take(slot, step) {
            self.note_done(done, now);
        }
    }

    /// Takes back the sessions whose steps the thread has taken. The event loop looks at each when it gets
    /// to it.
    pub fn take_back(&mut self, now: Monotonic) {
        while let Some(done) = self.handshakes.next_done() {
            self.note_done(done, now);
        }
    }

    fn note_done(&mut self, done: Done, now: Monotonic) {
        let Some(key) = self.lines.take_back(done.slot) else { return };
        match done.taken {
            Ok(taken) => {
                if let Some(line) = self.lines.get_mut(key) {
                    line.stage = Stage::Back(taken);
                    self.lines.wake(key);
                }
            }
            Err(error) => {
                self.note_own_problem(key, error.to_string(), now);
                self.lose(key, Why::Handshake, now);
            }
        }
    }

    /// Goes on with a session after a step of the thread.
    fn take_over(&mut self, slot: Slot, taken: Taken, now: Monotonic) {
        let Taken { mut session, received, sent, events } = taken;
        let Some(line) = self.key_of(slot).and_then(|key| self.lines.get_mut(key)) else { return };
        let (connection, is_heard) = (line.connection, session.is_heard());
        line.timeout = session.poll_timeout();
        line.stage = Stage::Begun(session);
        line.note_received(received);
        if let Err(error) = sent {
            (line.broken, line.may_read) = (Some(why::of_socket(&error)), true);
        }
        if is_heard {
            self.tell(now, Input::Connected { connection });
        }
        self.bench.now = now;
        for event in events {
            let Some(key) = self.key_of(slot) else { return };
            self.handle_event(key, event, now);
        }
        let Some(key) = self.key_of(slot) else { return };
        let line = self.lines.get(key);
        if line.is_some_and(|line| line.is_ready || line.may_read || line.broken.is_some()) {
            self.lines.wake(key);
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
