//! Attempts on their way: a fresh socket each, connected to its upstream, closed when the core says so.

use super::tokens::{Slot, Source};
use hither_net::frame::{Framer, Outbox};
use hither_net::ports;
use hither_net::random::Random;
use hither_rounds::{AttemptId, Failure, Transport};
use hither_table::Monotonic;
use mio::net::{TcpStream, UdpSocket};
use mio::{Interest, Registry};
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

#[derive(Debug)]
enum Line {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, framer: Framer, outbox: Outbox, connected: bool },
}

#[derive(Debug)]
struct Socket {
    attempt: AttemptId,
    generation: u32,
    line: Line,
    /// Its port, for datagrams.
    port: u16,
    /// The core has done with it; it only waits for stragglers.
    lingers: Option<Monotonic>,
}

/// What came in on one socket in one go.
#[derive(Debug)]
pub(super) enum Event {
    Message(Vec<u8>),
    Failed(Failure),
}

#[derive(Debug)]
pub(super) struct Outside {
    sockets: Slab<Socket>,
    attempts: BTreeMap<AttemptId, usize>,
    lingering: BTreeSet<(Monotonic, usize)>,
    generation: u32,
    /// Ports in use, and the id of the query that was sent from each.
    sent: HashMap<u16, u16>,
    random: Random,
    buffer: Vec<u8>,
}

/// Messages taken from one socket in one go; one is what is expected.
const MESSAGES: usize = 16;
/// Sockets kept open for stragglers; further ones are closed at once.
pub(super) const LINGERING_MAX: usize = 1024;

impl Outside {
    pub fn new(random: Random) -> Self {
        Self {
            sockets: Slab::new(),
            attempts: BTreeMap::new(),
            lingering: BTreeSet::new(),
            generation: 0,
            sent: HashMap::new(),
            random,
            buffer: vec![0; 65_536],
        }
    }

    /// Opens a socket and sends the query.
    pub fn send(
        &mut self,
        registry: &Registry,
        attempt: AttemptId,
        (address, transport): (SocketAddr, Transport),
        octets: &[u8],
    ) -> Result<(), Failure> {
        let failure = |error: io::Error| match error.kind() {
            ErrorKind::ConnectionRefused => Failure::Refused,
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::NetworkDown => {
                Failure::Unreachable
            }
            _ => Failure::NoSocket,
        };
        let mut port = 0;
        let mut line = match transport {
            Transport::Udp => {
                let random = &mut self.random;
                let (socket, own) = ports::udp(address, || random.draw()).map_err(failure)?;
                port = own;
                match socket.send(octets) {
                    // A full buffer is a lost datagram: the core sends again.
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(failure(error)),
                    _ => Line::Udp(socket),
                }
            }
            Transport::Tcp => {
                let mut outbox = Outbox::new(1024);
                outbox.queue(octets);
                let stream = ports::tcp(address).map_err(failure)?;
                Line::Tcp { stream, framer: Framer::default(), outbox, connected: false }
            }
        };
        self.generation = self.generation.wrapping_add(1);
        let entry = self.sockets.vacant_entry();
        let slot = Slot { key: entry.key(), generation: self.generation };
        let token = Source::Outside(slot).token();
        let registered = match &mut line {
            Line::Udp(socket) => registry.register(socket, token, Interest::READABLE),
            Line::Tcp { stream, .. } => {
                registry.register(stream, token, Interest::READABLE | Interest::WRITABLE)
            }
        };
        registered.map_err(failure)?;
        self.attempts.insert(attempt, slot.key);
        if let (1.., Some([high, low])) = (port, octets.get(..2)) {
            self.sent.insert(port, u16::from_be_bytes([*high, *low]));
        }
        entry.insert(Socket { attempt, generation: slot.generation, line, port, lingers: None });
        Ok(())
    }

    /// Sends the query again from the same socket. A failure will show when its answer does not come.
    pub fn resend(&mut self, attempt: AttemptId, octets: &[u8]) {
        if let Some(Line::Udp(socket)) = self.attempts.get(&attempt).map(|key| &self.sockets[*key].line) {
            let _ = socket.send(octets);
        }
    }

    /// The core has done with an attempt.
    pub fn close(&mut self, registry: &Registry, attempt: AttemptId, linger: Option<Monotonic>) {
        let Some(key) = self.attempts.remove(&attempt) else { return };
        match linger {
            Some(until)
                if self.lingering.len() < LINGERING_MAX && matches!(self.sockets[key].line, Line::Udp(_)) =>
            {
                self.sockets[key].lingers = Some(until);
                self.lingering.insert((until, key));
            }
            _ => self.drop_socket(registry, key),
        }
    }

    fn drop_socket(&mut self, registry: &Registry, key: usize) {
        let mut socket = self.sockets.remove(key);
        self.sent.remove(&socket.port);
        if let Some(until) = socket.lingers {
            self.lingering.remove(&(until, key));
        }
        // Closing deregisters too; this only keeps the order clean.
        let _ = match &mut socket.line {
            Line::Udp(socket) => registry.deregister(socket),
            Line::Tcp { stream, .. } => registry.deregister(stream),
        };
    }

    /// When the next socket that waits for stragglers is to be closed.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.lingering.first().map(|(until, _)| *until)
    }

    pub fn sweep(&mut self, registry: &Registry, now: Monotonic) {
        while let Some((until, key)) = self.lingering.first().copied()
            && until <= now
        {
            self.drop_socket(registry, key);
        }
    }

    /// What came in on a socket that is ready; when that were too many at once, ask again.
    pub fn ready(&mut self, slot: Slot) -> Option<(AttemptId, Vec<Event>, bool)> {
        let socket = self.sockets.get_mut(slot.key).filter(|socket| socket.generation == slot.generation)?;
        let mut events = Vec::new();
        match &mut socket.line {
            Line::Udp(udp) => receive(udp, &mut self.buffer, &mut events),
            Line::Tcp { stream, framer, outbox, connected } => {
                if let Err(failure) = converse(stream, framer, (outbox, connected), &mut events) {
                    events.push(Event::Failed(failure));
                }
            }
        }
        let more = events.len() == MESSAGES;
        Some((socket.attempt, events, more))
    }

    /// Whether a query with this id is out from this port: then who sends it to us is ourselves.
    pub fn has_sent(&self, port: u16, id: u16) -> bool {
        self.sent.get(&port) == Some(&id)
    }

    pub fn len(&self) -> usize {
        self.sockets.len()
    }
}

fn receive(udp: &UdpSocket, buffer: &mut [u8], events: &mut Vec<Event>) {
    for _ in 0..MESSAGES {
        match udp.recv(buffer) {
            Ok(len) => events.push(Event::Message(buffer[..len].to_vec())),
            Err(error) => {
                match error.kind() {
                    ErrorKind::WouldBlock => {}
                    ErrorKind::ConnectionRefused => events.push(Event::Failed(Failure::Refused)),
                    _ => events.push(Event::Failed(Failure::Unreachable)),
                }
                return;
            }
        }
    }
}

fn converse(
    stream: &mut TcpStream,
    framer: &mut Framer,
    (outbox, connected): (&mut Outbox, &mut bool),
    events: &mut Vec<Event>,
) -> Result<(), Failure> {
    if !*connected {
        if let Ok(Some(error)) = stream.take_error() {
            return Err(if error.kind() == ErrorKind::ConnectionRefused {
                Failure::Refused
            } else {
                Failure::Unreachable
            });
        }
        if stream.peer_addr().is_err() {
            return Ok(());
        }
        *connected = true;
    }
    outbox.write_to(stream).map_err(|_| Failure::Closed)?;
    loop {
        match framer.fill(stream) {
            Ok(0) => return Err(Failure::Closed),
            Ok(_) => {
                while let Some(message) = framer.message() {
                    events.push(Event::Message(message.to_vec()));
                }
                if events.len() > MESSAGES {
                    return Err(Failure::Closed);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Failure::Closed),
        }
    }
}
