//! The sockets of outstanding attempts, each connected to its upstream. A UDP socket serves one attempt
//! after the other.
//!
//! Their number is bounded, so that descriptors remain for everything else. At the bound, or if the
//! kernel has no descriptor, an idle socket is closed for a new attempt; an attempt fails only when
//! all sockets are in use.

mod late_responses;
mod opening;
mod receiving;

pub(crate) use receiving::{Conversation, MESSAGES_PER_TURN_MAX, Received};

use crate::daemon::core::Sending;
use crate::daemon::setup::Shares;
use crate::daemon::sources::{Slot, Source};
use crate::daemon::upstreams::encrypted::Encrypted;
use crate::daemon::upstreams::pool::{Pool, UdpLine, id_of};
use hither_net::frame::{Framer, Outbox};
use hither_net::random::Random;
use hither_net::shortage::is_shortage;
use hither_rounds::{AttemptId, Failure, Question, Server, Transport};
use hither_table::Monotonic;
use mio::net::TcpStream;
use mio::{Interest, Registry};
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

#[derive(Debug)]
enum Line {
    Udp(UdpLine),
    Tcp { stream: TcpStream, framer: Framer, outbox: Outbox, connected: bool },
}

#[derive(Debug)]
struct Socket {
    /// The attempt that uses it; `None`: it is idle, or waits for late responses.
    attempt: Option<AttemptId>,
    generation: u32,
    line: Line,
    /// Set when its attempt has ended: until this time it waits for late responses.
    lingers: Option<Monotonic>,
}

/// Everything between the core and its upstreams.
///
/// The part owns the sockets of attempts, those that wait for late responses, and the pool of idle ones.
/// The event loop drives it: `send`, `resend` and `close` execute actions of the core,
/// `send_queries` sends the datagrams of a turn together, `receive` and `converse` read a socket
/// that is ready, `tidy` opens and closes sockets when no client waits for that.
///
/// It promises that an attempt has a socket of its own while it is outstanding, that no id is sent from
/// a port twice, and that there are never more sockets than its share of the descriptors. It never
/// calls the core: failures are returned.
#[derive(Debug)]
pub(crate) struct Upstreams {
    sockets: Slab<Socket>,
    attempts: BTreeMap<AttemptId, usize>,
    lingering: BTreeSet<(Monotonic, usize)>,
    /// Queries that are sent together: socket, attempt, octets.
    outgoing: Vec<(usize, AttemptId, Rc<[u8]>)>,
    /// Sockets to close after more urgent work.
    over: Vec<usize>,
    generation: u32,
    pool: Pool,
    /// The bounds on sockets. Those beyond the bound on waiting for late responses become idle, or are
    /// closed, at once.
    shares: Shares,
    /// When the kernel last had no descriptor.
    short: Option<Monotonic>,
    random: Random,
    /// Buffer for one message, lent to the event loop.
    buffer: Vec<u8>,
    /// The connections to encrypted upstreams, which count as sockets.
    encrypted: Encrypted,
}

/// Sockets closed in one turn.
const CLOSED_PER_TURN_MAX: usize = 32;
/// The time after a shortage of descriptors in which no socket is opened ahead.
const SHORTAGE_LASTS: Duration = Duration::from_secs(1);

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::NetworkDown => {
            Failure::Unreachable
        }
        // The interface that the socket is bound to is gone.
        _ if error.raw_os_error() == Some(nix::libc::ENODEV) => Failure::Unreachable,
        _ => Failure::NoSocket,
    }
}

impl Upstreams {
    pub fn new(random: Random, shares: &Shares, encrypted: Encrypted) -> Self {
        Self {
            sockets: Slab::new(),
            attempts: BTreeMap::new(),
            lingering: BTreeSet::new(),
            outgoing: Vec::new(),
            over: Vec::new(),
            generation: 0,
            pool: Pool::new(shares.idle),
            shares: shares.clone(),
            short: None,
            random,
            buffer: vec![0; 65_535],
            encrypted,
        }
    }

    /// Lends the buffer for one message. The caller gives it back.
    pub fn lend_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    pub fn give_back_buffer(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }

    /// Takes over the bounds of another configuration.
    pub fn set_shares(&mut self, shares: &Shares) {
        self.shares = shares.clone();
        self.encrypted.set_most(shares.encrypted);
    }

    /// The connections to encrypted upstreams.
    pub fn encrypted(&mut self) -> &mut Encrypted {
        &mut self.encrypted
    }

    /// Gives a query a socket of its own. A datagram leaves with the next [`Upstreams::send_queries`].
    pub fn send(&mut self, registry: &Registry, now: Monotonic, query: Sending) -> Result<(), Failure> {
        let Sending { attempt, server, transport, octets } = query;
        match transport {
            Transport::Udp => {
                let id = id_of(&octets).unwrap_or(0);
                let key = self.udp_socket(registry, now, server, id)?;
                self.sockets[key].attempt = Some(attempt);
                self.attempts.insert(attempt, key);
                self.outgoing.push((key, attempt, octets));
                Ok(())
            }
            Transport::Tls | Transport::Https | Transport::Quic => {
                self.encrypted.send(Sending { attempt, server, transport, octets });
                Ok(())
            }
            Transport::Tcp => {
                let key = self.tcp_socket(registry, now, server, &octets).map_err(|error| failure(&error))?;
                self.sockets[key].attempt = Some(attempt);
                self.attempts.insert(attempt, key);
                Ok(())
            }
        }
    }

    /// Sends the datagrams of this turn together, so that an upstream that the first one wakes
    /// finds them all. Returns the attempts that failed.
    pub fn send_queries(&mut self, registry: &Registry, now: Monotonic) -> Vec<(AttemptId, Failure)> {
        let mut failed = Vec::new();
        let mut outgoing = std::mem::take(&mut self.outgoing);
        for (key, attempt, octets) in outgoing.drain(..) {
            // The attempt may have ended meanwhile.
            let Some(socket) = self.sockets.get_mut(key).filter(|s| s.attempt == Some(attempt)) else {
                continue;
            };
            let Line::Udp(line) = &mut socket.line else { continue };
            match line.send(&octets, attempt) {
                Ok(()) => {}
                // A full buffer, of the socket or of the kernel, counts as a lost datagram: the core
                // retransmits.
                Err(error) if error.kind() == ErrorKind::WouldBlock || is_shortage(&error) => {}
                Err(_) => failed.extend(self.send_anew(registry, now, key, attempt, &octets).err()),
            }
        }
        self.outgoing = outgoing;
        failed
    }

    /// Sends a datagram from a new socket: its old one, and all idle ones, may have been opened
    /// before the host's addresses changed.
    fn send_anew(
        &mut self,
        registry: &Registry,
        now: Monotonic,
        key: usize,
        attempt: AttemptId,
        octets: &Rc<[u8]>,
    ) -> Result<(), (AttemptId, Failure)> {
        self.renew();
        let Line::Udp(line) = &self.sockets[key].line else { return Ok(()) };
        let upstream = line.upstream;
        self.sockets[key].attempt = None;
        self.attempts.remove(&attempt);
        self.over.push(key);
        let failed = |error: io::Error| (attempt, failure(&error));
        let key = self.open(registry, now, upstream, id_of(octets).unwrap_or(0)).map_err(failed)?;
        self.sockets[key].attempt = Some(attempt);
        self.attempts.insert(attempt, key);
        match &mut self.sockets[key].line {
            Line::Udp(line) => line.send(octets, attempt).map_err(failed),
            Line::Tcp { .. } => Ok(()),
        }
    }

    /// A socket to an upstream from which no query with this id has been sent: from the pool, or a new one.
    fn udp_socket(
        &mut self,
        registry: &Registry,
        now: Monotonic,
        upstream: Server,
        id: u16,
    ) -> Result<usize, Failure> {
        if let Some(key) = self.pool.draw(upstream, now, &mut self.random) {
            match &self.sockets[key].line {
                Line::Udp(line) if line.may_send(id, now) => return Ok(key),
                _ => self.over.push(key),
            }
        }
        self.open(registry, now, upstream, id).map_err(|error| failure(&error))
    }

    fn enter(&mut self, registry: &Registry, mut line: Line) -> io::Result<usize> {
        self.generation = self.generation.wrapping_add(1);
        let entry = self.sockets.vacant_entry();
        let slot = Slot { key: entry.key(), generation: self.generation };
        let token = Source::Upstream(slot).token();
        match &mut line {
            Line::Udp(udp) => registry.register(&mut udp.socket, token, Interest::READABLE)?,
            Line::Tcp { stream, .. } => {
                registry.register(stream, token, Interest::READABLE | Interest::WRITABLE)?;
            }
        }
        entry.insert(Socket { attempt: None, generation: slot.generation, line, lingers: None });
        Ok(slot.key)
    }

    /// Retransmits a query. If that fails, it counts as a lost datagram.
    pub fn resend(&mut self, attempt: AttemptId, octets: &[u8]) {
        let line = self.attempts.get(&attempt).map(|key| &self.sockets[*key].line);
        if let Some(Line::Udp(line)) = line
            && let Err(error) = line.socket.send(octets)
        {
            log::debug!("a query cannot be retransmitted: {error}; it counts as lost");
        }
    }

    /// Gives an unused socket back to the pool, or schedules it for closing.
    fn release(&mut self, key: usize, now: Monotonic) {
        let over = match &self.sockets[key].line {
            Line::Udp(line) => self.pool.take_back(line, key, now),
            Line::Tcp { .. } => Some(key),
        };
        self.over.extend(over);
    }

    /// Closes unneeded sockets, and opens some for the next queries.
    pub fn tidy(&mut self, registry: &Registry, now: Monotonic) {
        for _ in 0..CLOSED_PER_TURN_MAX {
            let Some(key) = self.over.pop() else { break };
            self.drop_socket(key);
        }
        let room = self.shares.sockets.saturating_sub(self.len());
        if room == 0 || self.short.is_some_and(|at| now < at.plus(SHORTAGE_LASTS)) {
            return self.pool.open_none_ahead();
        }
        let (lines, outcome) = self.pool.open_ahead(room, now, &mut self.random);
        if outcome.is_err_and(|error| is_shortage(&error)) {
            self.short = Some(now);
        }
        for line in lines {
            let (upstream, port) = (line.upstream, line.port);
            if let Ok(key) = self.enter(registry, Line::Udp(line)) {
                self.pool.note_opened(port, key);
                self.pool.add_ahead(upstream, key, now);
            }
        }
    }

    /// Whether [`Upstreams::tidy`] has more sockets to close.
    pub fn has_over(&self) -> bool {
        !self.over.is_empty()
    }

    /// Closes a socket, which removes it from the epoll instance.
    fn drop_socket(&mut self, key: usize) {
        let socket = self.sockets.remove(key);
        if let Some(until) = socket.lingers {
            self.lingering.remove(&(until, key));
        }
        if let Line::Udp(line) = socket.line {
            self.pool.note_closed(line, key);
        }
    }

    /// Whether a client's query is one of our own that came back through a forwarding loop: it has
    /// the address, port and id of the latest query of one of our sockets, and the same question.
    pub fn is_own(&self, peer: SocketAddr, id: u16, question: &Question) -> bool {
        let socket = self.pool.key_of(peer.port()).and_then(|key| self.sockets.get(key));
        let Some(Line::Udp(line)) = socket.map(|socket| &socket.line) else { return false };
        let from = |own: SocketAddr| own.ip().to_canonical() == peer.ip().to_canonical();
        line.has_asked(id, question) && line.socket.local_addr().is_ok_and(from)
    }

    /// The number of open sockets.
    pub fn len(&self) -> usize {
        self.sockets.len() + self.encrypted.len()
    }
}

#[cfg(test)]
impl Upstreams {
    /// Makes the queries that are sent next longer than a datagram may be, so that the kernel refuses
    /// them. Returns their number.
    pub fn lengthen_queries(&mut self) -> usize {
        self.outgoing.iter_mut().for_each(|(_, _, octets)| *octets = vec![0; 70_000].into());
        self.outgoing.len()
    }
}

#[cfg(test)]
mod tests;
