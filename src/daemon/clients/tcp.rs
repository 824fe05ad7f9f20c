//! Clients by TCP: queries are read one after the other without waiting for replies, and replies are
//! sent as they become ready (RFC 7766). Idle connections are closed.

use crate::daemon::clients::admission::ClientNetwork;
use crate::daemon::clients::tcp_eviction::{Standing, first_by_idleness, first_by_memory};
use crate::daemon::shortage::has_waiting_connection;
use crate::daemon::sources::{Slot, Source};
use crate::daemon::turn::Budget;
use hither_net::frame::{Framer, Outbox};
use hither_net::shortage::is_shortage;
use hither_rounds::ClientId;
use hither_table::Monotonic;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

/// Idle timeout: the time without a complete query after which a connection is closed. RFC 7766 section
/// 6.2.3 leaves it open; unbound takes 30 seconds, dnsdist 2.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);
/// The idle timeout while more than half of the connections that may be open are.
const IDLE_TIME_CROWDED_MAX: Duration = Duration::from_secs(2);
/// Queries of one connection that may wait for their replies. At this limit no more are read.
const WAITING_MAX: usize = 128;
/// Octets of replies that a client may leave unread: the replies to all queries that may wait.
/// While any are unread, no further query of the client is read.
const UNREAD_MAX: usize = WAITING_MAX * (2 + u16::MAX as usize);
/// Octets of memory for all connections together: unread replies and incomplete queries. Beyond it, a
/// connection is closed, see `tcp_eviction.rs`.
const HELD_MAX: usize = 32 * 1024 * 1024;
/// Octets of unread replies that a client has to take for its connection to count as used.
const TAKEN_MIN: usize = 16 * 1024;
/// Idle connections closed in one turn.
const CLOSED_PER_TURN_MAX: usize = 32;
/// Connections accepted from one listener before those have their turn.
const ACCEPTED_PER_TURN_MAX: usize = 32;

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    generation: u32,
    framer: Framer,
    outbox: Outbox,
    waiting: Vec<ClientId>,
    deadline: Monotonic,
    /// When it was accepted, last sent a query, or last read replies. It cannot be computed from
    /// the deadline, since the idle timeout varies.
    used: Monotonic,
    /// Octets of unread replies that it has taken since it last counted as used.
    taken: usize,
    /// Whether the client has closed its sending side; it may still read.
    ended: bool,
}

impl Client {
    fn held(&self) -> usize {
        self.framer.held() + self.outbox.held()
    }

    fn standing(&self) -> Standing {
        Standing {
            network: ClientNetwork::of(self.peer.ip()),
            is_busy: !self.waiting.is_empty() || !self.outbox.is_empty(),
            used: self.used,
            held: self.held(),
        }
    }

    /// Writes unread replies, then reads the next query unless replies or too many queries still wait.
    fn look(&mut self) -> Look {
        match self.outbox.write_to(&mut self.stream) {
            Ok(taken) => self.taken += taken,
            Err(_) => return Look::Gone(Vec::new()),
        }
        if !self.outbox.is_empty() {
            return Look::Idle;
        }
        loop {
            if self.waiting.len() >= WAITING_MAX {
                return Look::Idle;
            }
            if let Some(message) = self.framer.message() {
                return Look::Query(message.to_vec());
            }
            if self.ended {
                break;
            }
            match self.framer.fill(&mut self.stream) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Look::Idle,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Look::Gone(Vec::new()),
            }
        }
        // The client still reads the replies to its queries.
        if self.waiting.is_empty() { Look::Gone(Vec::new()) } else { Look::Idle }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Connections {
    slab: Slab<Client>,
    deadlines: BTreeSet<(Monotonic, usize)>,
    generation: u32,
    most: usize,
    most_per_network: usize,
    /// The number of connections of each network beyond this host.
    networks: BTreeMap<ClientNetwork, usize>,
    /// Octets of memory for unread replies and incomplete queries.
    held: usize,
    /// The number of evicted connections.
    dropped: u64,
    /// Connections that may be ready: new ones, and those where a reply has allowed a further
    /// query.
    resumed: Vec<Slot>,
}

/// The outcome of accepting connections.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    /// Whether there may be more to accept.
    pub more: bool,
    /// Clients of connections that were closed for the new ones.
    pub gone: Vec<ClientId>,
    /// The error if a waiting connection could not be accepted for lack of a descriptor.
    pub short: Option<std::io::Error>,
}

/// The outcome of reading from a connection.
#[derive(Debug)]
pub(crate) enum Look {
    /// A query, to be answered or refused.
    Query(Vec<u8>),
    /// There is nothing more to read for now.
    Idle,
    /// The connection is closed. These clients are gone.
    Gone(Vec<ClientId>),
}

impl Connections {
    pub fn new(most: usize, most_per_network: usize) -> Connections {
        Connections { most, most_per_network, ..Connections::default() }
    }

    pub fn set_limits(&mut self, most: usize, most_per_network: usize) {
        (self.most, self.most_per_network) = (most, most_per_network);
    }

    /// The idle timeout that applies now.
    fn idle_timeout(&self) -> Duration {
        if self.slab.len() * 2 > self.most { IDLE_TIME_CROWDED_MAX } else { IDLE_TIME_MAX }
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// The number of evicted connections.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Accepts some of the connections that wait at `listener`.
    pub fn accept(
        &mut self,
        registry: &Registry,
        listener: &TcpListener,
        now: Monotonic,
        budget: &mut Budget,
    ) -> Accepted {
        let mut accepted = Accepted::default();
        for _ in 0..ACCEPTED_PER_TURN_MAX {
            match listener.accept() {
                Ok((stream, peer)) => {
                    let network = ClientNetwork::of(peer.ip());
                    let own = network.and_then(|network| self.networks.get(&network)).copied().unwrap_or(0);
                    if network.is_some() && own >= self.most_per_network {
                        self.dropped += 1;
                    } else {
                        while self.slab.len() >= self.most
                            && let Some(clients) = self.drop_idlest()
                        {
                            accepted.gone.extend(clients);
                        }
                        self.add(registry, stream, peer, now);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return accepted,
                // The error concerns this connection only (accept(2)).
                Err(error) if !is_shortage(&error) => {}
                Err(error) => {
                    accepted.short = has_waiting_connection(listener).then_some(error);
                    return accepted;
                }
            }
            budget.use_up(0);
            if budget.is_spent() {
                break;
            }
        }
        accepted.more = true;
        accepted
    }

    fn add(&mut self, registry: &Registry, mut stream: TcpStream, peer: SocketAddr, now: Monotonic) {
        let _ = stream.set_nodelay(true);
        let deadline = now.plus(self.idle_timeout());
        self.generation = self.generation.wrapping_add(1);
        let entry = self.slab.vacant_entry();
        let slot = Slot { key: entry.key(), generation: self.generation };
        let interests = Interest::READABLE | Interest::WRITABLE;
        if registry.register(&mut stream, Source::Client(slot).token(), interests).is_err() {
            return;
        }
        self.deadlines.insert((deadline, slot.key));
        if let Some(network) = ClientNetwork::of(peer.ip()) {
            *self.networks.entry(network).or_default() += 1;
        }
        entry.insert(Client {
            stream,
            peer,
            generation: slot.generation,
            framer: Framer::default(),
            outbox: Outbox::new(UNREAD_MAX),
            waiting: Vec::new(),
            deadline,
            used: now,
            taken: 0,
            ended: false,
        });
        self.resumed.push(slot);
    }

    /// Connections that may have something to do since the last call.
    pub fn resumed(&mut self) -> impl Iterator<Item = Source> {
        self.resumed.drain(..).map(Source::Client)
    }

    /// The peer of a connection.
    pub fn peer(&mut self, slot: Slot) -> Option<SocketAddr> {
        self.get(slot).map(|client| client.peer)
    }

    /// The address to which the peer of a connection has connected.
    pub fn local_address(&self, slot: Slot) -> Option<SocketAddr> {
        let client = self.slab.get(slot.key).filter(|client| client.generation == slot.generation)?;
        client.stream.local_addr().ok()
    }

    /// Notes that a client of this connection waits for its reply.
    pub fn waits(&mut self, slot: Slot, client: ClientId) {
        if let Some(connection) = self.get(slot) {
            connection.waiting.push(client);
        }
    }

    /// Notes that a client's reply is ready. Queries that were left unread at the limit may be read
    /// again; a connection that only waited for this reply ends.
    pub fn waits_no_longer(&mut self, slot: Slot, client: ClientId) {
        if let Some(connection) = self.get(slot) {
            connection.waiting.retain(|waiting| *waiting != client);
        }
        self.resumed.push(slot);
    }

    fn get(&mut self, slot: Slot) -> Option<&mut Client> {
        self.slab.get_mut(slot.key).filter(|client| client.generation == slot.generation)
    }

    /// The next query of a connection. Writes unread replies and reads as far as possible.
    pub fn look(&mut self, slot: Slot, now: Monotonic) -> Look {
        let until = now.plus(self.idle_timeout());
        let Some(client) = self.get(slot) else { return Look::Idle };
        let before = client.held();
        let look = client.look();
        if matches!(look, Look::Query(_)) || client.taken >= TAKEN_MIN {
            (client.taken, client.used) = (0, now);
            let deadline = std::mem::replace(&mut client.deadline, until);
            self.deadlines.remove(&(deadline, slot.key));
            self.deadlines.insert((until, slot.key));
        }
        self.recount(slot, before);
        if matches!(look, Look::Gone(_)) { Look::Gone(self.drop_client(slot.key)) } else { look }
    }

    /// Updates the memory total for a connection that held `before` octets.
    fn recount(&mut self, slot: Slot, before: usize) {
        let held = self.get(slot).map_or(0, |client| client.held());
        self.held = self.held + held - before;
    }

    /// Sends a reply, or as much of it as the client takes. If that ends the connection, its other
    /// clients are returned.
    pub fn reply(&mut self, slot: Slot, octets: &[u8]) -> Vec<ClientId> {
        let Some(client) = self.get(slot) else { return Vec::new() };
        let before = client.held();
        let sent = client.outbox.send(octets, &mut client.stream);
        self.recount(slot, before);
        if sent.unwrap_or(false) { Vec::new() } else { self.drop_client(slot.key) }
    }

    /// Closes connections until all of them together are within the memory bound.
    pub fn make_room(&mut self) -> Vec<ClientId> {
        let mut gone = Vec::new();
        while self.held > HELD_MAX
            && let Some(key) = first_by_memory(self.standings())
        {
            self.dropped += 1;
            gone.extend(self.drop_client(key));
        }
        gone
    }

    fn standings(&self) -> impl Iterator<Item = (usize, Standing)> + Clone {
        self.slab.iter().map(|(key, client)| (key, client.standing()))
    }

    fn drop_client(&mut self, key: usize) -> Vec<ClientId> {
        let Some(client) = self.slab.try_remove(key) else { return Vec::new() };
        self.held -= client.held();
        if !client.outbox.is_empty() {
            // A reset, since the client does not read: otherwise the kernel would keep
            // retransmitting the data.
            let _ = socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO));
        }
        self.deadlines.remove(&(client.deadline, key));
        if let Some(network) = ClientNetwork::of(client.peer.ip())
            && let Some(count) = self.networks.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&network);
            }
        }
        client.waiting
    }

    /// Closes the connection that is evicted first, if there is one. Its clients are returned.
    pub fn drop_idlest(&mut self) -> Option<Vec<ClientId>> {
        let key = first_by_idleness(self.standings())?;
        self.dropped += 1;
        Some(self.drop_client(key))
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Closes some connections that have been idle for too long, or do not read. One whose replies are
    /// not ready yet is not idle.
    pub fn sweep(&mut self, now: Monotonic) -> Vec<ClientId> {
        let mut gone = Vec::new();
        for _ in 0..CLOSED_PER_TURN_MAX {
            let Some((at, key)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) else { break };
            match self.slab.get_mut(key) {
                Some(client) if !client.waiting.is_empty() && client.outbox.is_empty() => {
                    self.deadlines.remove(&(at, key));
                    // The longer timeout, however many are open: a shorter one could end before the client
                    // has read a reply that comes late, and reset the connection. If all are open, the
                    // one that is idle longest is evicted anyway.
                    client.deadline = now.plus(IDLE_TIME_MAX);
                    self.deadlines.insert((client.deadline, key));
                }
                _ => gone.extend(self.drop_client(key)),
            }
        }
        gone
    }
}
