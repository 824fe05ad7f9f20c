//! Attempts on their way: a socket each, connected to its upstream; UDP sockets serve one attempt after the other.
//!
//! There are no more sockets than leave descriptors for everything else. Where there are as many, or the kernel gives none, what nobody uses is
//! given up for the attempt; only when all are used is there none for it.

mod opening;

use crate::daemon::core::Sending;
use crate::daemon::setup::Shares;
use crate::daemon::sources::{Slot, Source};
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
    /// Whose it is; `None`: it waits for the next, or for stragglers.
    attempt: Option<AttemptId>,
    generation: u32,
    line: Line,
    /// The core has done with it; it only waits for stragglers.
    lingers: Option<Monotonic>,
}

/// What came in on a socket.
#[derive(Debug)]
pub(crate) enum Event {
    /// For this attempt, or what is left of it, so many octets of the buffer.
    Message(AttemptId, usize),
    Failed(AttemptId, Failure),
}

/// What came in on a connection.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub attempt: AttemptId,
    pub messages: Vec<Vec<u8>>,
    pub failed: Option<Failure>,
    /// There may be more at once.
    pub more: bool,
}

#[derive(Debug)]
pub(crate) struct Upstreams {
    sockets: Slab<Socket>,
    attempts: BTreeMap<AttemptId, usize>,
    lingering: BTreeSet<(Monotonic, usize)>,
    /// Queries that leave together: their sockets, whose they are, octets.
    outgoing: Vec<(usize, AttemptId, Rc<[u8]>)>,
    /// To be closed when what is more urgent has been done.
    over: Vec<usize>,
    generation: u32,
    pool: Pool,
    /// How many sockets there may be.
    most: usize,
    /// Of them for stragglers alone; further ones are given to others, or closed, at once.
    lingering_most: usize,
    /// The kernel had no descriptor then.
    short: Option<Monotonic>,
    random: Random,
}

/// Messages taken from one socket in one go; one is what is expected.
pub(crate) const MESSAGES: usize = 16;
/// Octets taken from one connection in one go: the longest message, and one more.
const OCTETS: usize = 2 * 65_537;
/// Sockets closed in one turn.
const CLOSED: usize = 32;
/// How long after the kernel had no descriptor none is opened ahead.
const SHORT: Duration = Duration::from_secs(1);

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable | ErrorKind::NetworkDown => {
            Failure::Unreachable
        }
        // The link by which it is asked is gone.
        _ if error.raw_os_error() == Some(nix::libc::ENODEV) => Failure::Unreachable,
        _ => Failure::NoSocket,
    }
}

impl Upstreams {
    pub fn new(random: Random, shares: &Shares) -> Self {
        Self {
            sockets: Slab::new(),
            attempts: BTreeMap::new(),
            lingering: BTreeSet::new(),
            outgoing: Vec::new(),
            over: Vec::new(),
            generation: 0,
            pool: Pool::new(shares.idle),
            most: shares.sockets,
            lingering_most: shares.lingering,
            short: None,
            random,
        }
    }

    /// Another configuration is in force.
    pub fn set_shares(&mut self, shares: &Shares) {
        (self.most, self.lingering_most) = (shares.sockets, shares.lingering);
    }

    /// Has the query sent from a socket of its own, a datagram by [`Upstreams::send_queries`].
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
            Transport::Tcp => {
                let key = self.tcp_socket(registry, now, server, &octets).map_err(|error| failure(&error))?;
                self.sockets[key].attempt = Some(attempt);
                self.attempts.insert(attempt, key);
                Ok(())
            }
        }
    }

    /// Sends the datagrams that were handed in, one after the other: an upstream that was woken by the first finds them all. Says
    /// which failed.
    pub fn send_queries(&mut self, registry: &Registry, now: Monotonic) -> Vec<(AttemptId, Failure)> {
        let mut failed = Vec::new();
        let mut outgoing = std::mem::take(&mut self.outgoing);
        for (key, attempt, octets) in outgoing.drain(..) {
            // Unless it was given up meanwhile.
            let Some(socket) = self.sockets.get_mut(key).filter(|s| s.attempt == Some(attempt)) else {
                continue;
            };
            let Line::Udp(line) = &mut socket.line else { continue };
            match line.send(&octets, attempt) {
                Ok(()) => {}
                // A full buffer, of the socket or of the kernel, is a lost datagram: the core sends again.
                Err(error) if error.kind() == ErrorKind::WouldBlock || is_shortage(&error) => {}
                Err(_) => failed.extend(self.send_anew(registry, now, (key, attempt), &octets).err()),
            }
        }
        self.outgoing = outgoing;
        failed
    }

    /// Sends the datagram from a socket that is opened for it: the one it had may have been opened before the host's addresses changed, and
    /// so may all that wait for a query.
    fn send_anew(
        &mut self,
        registry: &Registry,
        now: Monotonic,
        (key, attempt): (usize, AttemptId),
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

    /// A socket to an upstream from which no query with this id has been sent: one of the pool, or a new one.
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

    /// Sends the query again from the same socket. A failure will show when its answer does not come.
    pub fn resend(&mut self, attempt: AttemptId, octets: &[u8]) {
        let line = self.attempts.get(&attempt).map(|key| &self.sockets[*key].line);
        if let Some(Line::Udp(line)) = line
            && let Err(error) = line.socket.send(octets)
        {
            log::debug!("a query cannot be sent again: {error}; its answer will not come, which shows");
        }
    }

    /// The core has done with an attempt.
    pub fn close(&mut self, attempt: AttemptId, linger: Option<Monotonic>, now: Monotonic) {
        let Some(key) = self.attempts.remove(&attempt) else { return };
        let socket = &mut self.sockets[key];
        socket.attempt = None;
        match linger {
            Some(until)
                if self.lingering.len() < self.lingering_most && matches!(socket.line, Line::Udp(_)) =>
            {
                socket.lingers = Some(until);
                self.lingering.insert((until, key));
            }
            _ => self.release(key, now),
        }
    }

    /// Gives a socket that nobody uses back to the pool, or up.
    fn release(&mut self, key: usize, now: Monotonic) {
        let over = match &self.sockets[key].line {
            Line::Udp(line) => self.pool.take_back(line, key, now),
            Line::Tcp { .. } => Some(key),
        };
        self.over.extend(over);
    }

    /// What nobody waits for: closes sockets that are over, opens those that will be needed.
    pub fn tidy(&mut self, registry: &Registry, now: Monotonic) {
        for _ in 0..CLOSED {
            let Some(key) = self.over.pop() else { break };
            self.drop_socket(key);
        }
        let room = self.most.saturating_sub(self.sockets.len());
        if room == 0 || self.short.is_some_and(|at| now < at.plus(SHORT)) {
            return self.pool.open_none_ahead();
        }
        let (lines, outcome) = self.pool.open_ahead(room, now, &mut self.random);
        if outcome.is_err_and(|error| is_shortage(&error)) {
            self.short = Some(now);
        }
        for line in lines {
            let (upstream, port) = (line.upstream, line.port);
            if let Ok(key) = self.enter(registry, Line::Udp(line)) {
                self.pool.opened(port, key);
                self.pool.ready(upstream, key, now);
            }
        }
    }

    /// Whether there is more for [`Upstreams::tidy`] to close.
    pub fn has_over(&self) -> bool {
        !self.over.is_empty()
    }

    /// Closes a socket, which takes it out of the poll: nobody else has it.
    fn drop_socket(&mut self, key: usize) {
        let socket = self.sockets.remove(key);
        if let Some(until) = socket.lingers {
            self.lingering.remove(&(until, key));
        }
        if let Line::Udp(line) = socket.line {
            self.pool.closed(line, key);
        }
    }

    /// The host's addresses or routes have changed: sockets that nobody uses may have a source address that is gone.
    pub fn renew(&mut self) {
        self.over.extend(self.pool.empty());
        while let Some((_, key)) = self.lingering.pop_first() {
            self.sockets[key].lingers = None;
            self.over.push(key);
        }
    }

    /// When [`Upstreams::sweep`] has something to do.
    pub fn timeout(&self) -> Option<Monotonic> {
        let lingering = self.lingering.first().map(|(until, _)| *until);
        lingering.into_iter().chain(self.pool.timeout()).min()
    }

    /// Gives sockets that have waited for stragglers to others, and closes those that nobody has needed for long.
    pub fn sweep(&mut self, now: Monotonic) {
        while let Some((until, key)) = self.lingering.first().copied()
            && until <= now
        {
            self.lingering.remove(&(until, key));
            self.sockets[key].lingers = None;
            self.release(key, now);
        }
        self.over.extend(self.pool.sweep(now));
    }

    /// What came in on a socket that is ready, put into `buffer`; `None` when there is no more, or when the attempt that it was for has ended:
    /// what is behind its answer waits for the next that comes in.
    pub fn receive(&mut self, slot: Slot, buffer: &mut [u8]) -> Option<Event> {
        let socket = self.sockets.get_mut(slot.key).filter(|socket| socket.generation == slot.generation)?;
        let Line::Udp(line) = &mut socket.line else { return None };
        loop {
            return match line.socket.recv(buffer) {
                Ok(len) => line.whose(&buffer[..len]).or(socket.attempt).map(|id| Event::Message(id, len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                Err(error) => {
                    // Of a query that nobody waits for any more: nothing to tell.
                    let Some(attempt) = socket.attempt else { continue };
                    let refused = error.kind() == ErrorKind::ConnectionRefused;
                    let failure = if refused { Failure::Refused } else { Failure::Unreachable };
                    Some(Event::Failed(attempt, failure))
                }
            };
        }
    }

    /// Whether an attempt still has the socket at a place.
    pub fn is_busy(&self, slot: Slot) -> bool {
        self.sockets.get(slot.key).is_some_and(|s| s.generation == slot.generation && s.attempt.is_some())
    }

    /// What came in on a connection that is ready, whether it failed, and whether there may be more; `None` when it is no connection, or gone.
    pub fn converse(&mut self, slot: Slot) -> Option<Conversation> {
        let socket = self.sockets.get_mut(slot.key).filter(|socket| socket.generation == slot.generation)?;
        let Line::Tcp { stream, framer, outbox, connected } = &mut socket.line else { return None };
        let mut messages = Vec::new();
        let result = converse(stream, framer, (outbox, connected), &mut messages);
        let (more, failed) = result.map_or_else(|failure| (false, Some(failure)), |more| (more, None));
        Some(Conversation { attempt: socket.attempt?, messages, failed, more })
    }

    /// Whether a query is one of ours, come back: it has the address, the port and the id that ours was sent with last, and asks the same.
    pub fn is_own(&self, peer: SocketAddr, id: u16, question: &Question) -> bool {
        let socket = self.pool.key_of(peer.port()).and_then(|key| self.sockets.get(key));
        let Some(Line::Udp(line)) = socket.map(|socket| &socket.line) else { return false };
        let from = |own: SocketAddr| own.ip().to_canonical() == peer.ip().to_canonical();
        line.has_asked(id, question) && line.socket.local_addr().is_ok_and(from)
    }

    pub fn len(&self) -> usize {
        self.sockets.len()
    }
}

fn converse(
    stream: &mut TcpStream,
    framer: &mut Framer,
    (outbox, connected): (&mut Outbox, &mut bool),
    messages: &mut Vec<Vec<u8>>,
) -> Result<bool, Failure> {
    if !*connected {
        if let Ok(Some(error)) = stream.take_error() {
            return Err(match error.kind() {
                ErrorKind::ConnectionRefused => Failure::Refused,
                // It was taken and ended before we looked.
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Failure::Closed,
                _ => Failure::Unreachable,
            });
        }
        if stream.peer_addr().is_err() {
            return Ok(false);
        }
        *connected = true;
    }
    outbox.write_to(stream).map_err(|_| Failure::Closed)?;
    let mut taken = 0;
    while taken < OCTETS {
        match framer.fill(stream) {
            Ok(0) => return Err(Failure::Closed),
            Ok(octets) => {
                taken += octets;
                while let Some(message) = framer.message() {
                    messages.push(message.to_vec());
                }
                if messages.len() > MESSAGES {
                    return Err(Failure::Closed);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Failure::Closed),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
