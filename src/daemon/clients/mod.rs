//! Clients: queries by UDP and TCP in, replies out, hit workers, and the queues in which queries and
//! replies wait.

pub(crate) mod admission;
pub(crate) mod asked;
pub(crate) mod due_replies;
pub(crate) mod fair_queue;
pub(crate) mod handover;
pub(crate) mod hit_times;
pub(crate) mod listeners;
mod queries;
pub(crate) mod rate_limit;
mod replies;
pub(crate) mod tap;
pub(crate) mod tcp;
pub(crate) mod tcp_eviction;
pub(crate) mod udp;
pub(crate) mod waiting_clients;
pub(crate) mod waiting_queries;
pub(crate) mod workers;

pub(crate) use queries::TcpStep;
pub(crate) use replies::{Answered, OperatorReply};

use crate::config::{Config, Limits, Network};
use crate::daemon::clients::admission::Admission;
use crate::daemon::clients::due_replies::DueReplies;
use crate::daemon::clients::hit_times::BatchTimes;
use crate::daemon::clients::listeners::Listeners;
use crate::daemon::clients::rate_limit::RateLimit;
use crate::daemon::clients::replies::UdpReplies;
use crate::daemon::clients::tap::{Observer, Tap};
use crate::daemon::clients::tcp::Connections;
use crate::daemon::clients::waiting_clients::{Pending, ReplyTo, Waiting};
use crate::daemon::clients::waiting_queries::{Miss, Misses};
use crate::daemon::clients::workers::{WorkerState, Workers};
use crate::daemon::sources::Source;
use crate::daemon::turn::Budget;
use hither_net::batch::Batch;
use hither_net::clock::now;
use hither_rounds::{ClientId, Rounds};
use hither_table::{Counter, Counters, Monotonic};
use mio::net::{TcpListener, UdpSocket};
use mio::{Interest, Registry, Waker};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tcp::Accepted;

/// Everything between clients and the core.
///
/// The part owns the sockets for clients, their TCP connections, the hit workers, the queries that wait
/// for a round, the clients that wait for a reply, and the limits on them. The event loop drives
/// it: it calls `take_batch`, `accept` and `on_connection` when a socket is ready, `take_handed`
/// when a worker has handed something over, `next_miss` when rounds may be begun, and `deliver`
/// when the core has a reply.
///
/// It promises one reply to each query that it took, unless the limit on similar replies forbids
/// it; that hits are answered before rounds are begun for misses; and that each queue has a bound.
/// It calls the core only to read the cache. It returns inputs for the core as [`Effects`].
pub(crate) struct Clients {
    udp: UdpSockets,
    /// Replies of rounds by UDP, which are sent together.
    replies: UdpReplies,
    listeners: Vec<TcpListener>,
    connections: Connections,
    workers: Workers,
    admission: Admission,
    rate_limit: RateLimit,
    /// Queries that wait for their rounds to begin.
    misses: Misses,
    waiting: Waiting,
    due: DueReplies,
    rules: Rules,
    counted: Counted,
}

/// What this part counts and measures.
#[derive(Default)]
struct Counted {
    counters: Counters,
    udp_times: BatchTimes,
    tcp_times: BatchTimes,
}

impl Counted {
    fn add(&mut self, counter: Counter, more: u64) {
        self.counters.add(counter, more);
    }
}

/// The UDP sockets for clients.
struct UdpSockets {
    sockets: Vec<UdpSocket>,
    /// All addresses that accept queries, by UDP or TCP.
    addresses: Vec<SocketAddr>,
    /// Queries that were read together, and their replies.
    batch: Batch,
}

/// The networks that may send queries, the limits on their queries and replies, and who looks at them.
#[derive(Debug)]
struct Rules {
    allow: Vec<Network>,
    limits: Limits,
    /// The number of workers, which a reload does not change.
    workers: usize,
    /// The observer of the event loop, and the tap for those of the workers.
    observer: Observer,
    tap: Tap,
    /// Whether replies are reported to the caller of [`Clients::deliver`].
    reports_replies: bool,
}

/// Inputs for the core that result from a call, in this order: clients that are gone, then
/// questions to ask.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub gone: Vec<ClientId>,
    pub asks: Vec<Miss>,
}

impl Clients {
    pub fn new(listeners: Listeners, config: &Config, waker: Arc<Waker>, seed: u64) -> Clients {
        Clients {
            udp: UdpSockets {
                sockets: listeners.udp.into_iter().map(UdpSocket::from_std).collect(),
                addresses: listeners.addresses,
                batch: Batch::new(),
            },
            replies: UdpReplies::new(),
            listeners: listeners.tcp.into_iter().map(TcpListener::from_std).collect(),
            connections: Connections::new(config.limits.tcp, config.limits.tcp_per_network),
            workers: Workers::new(waker),
            admission: Admission::default(),
            rate_limit: RateLimit::new(seed),
            misses: Misses::new(),
            waiting: Waiting::default(),
            due: DueReplies::default(),
            rules: Rules {
                allow: config.listen.allow.clone(),
                limits: config.limits,
                workers: config.listen.workers,
                observer: Observer::default(),
                tap: Tap::default(),
                reports_replies: false,
            },
            counted: Counted::default(),
        }
    }

    /// The addresses that accept queries.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.udp.addresses
    }

    /// Adds the sockets to the epoll instance. Returns all of them, since queries may have come before.
    pub fn register(&mut self, registry: &Registry) -> io::Result<Vec<Source>> {
        let mut sources = Vec::new();
        let own = self.own_sockets();
        for (n, socket) in self.udp.sockets.iter_mut().enumerate().take(own) {
            registry.register(socket, Source::Udp(n).token(), Interest::READABLE)?;
            sources.push(Source::Udp(n));
        }
        for (n, socket) in self.listeners.iter_mut().enumerate() {
            registry.register(socket, Source::TcpListener(n).token(), Interest::READABLE)?;
            sources.push(Source::TcpListener(n));
        }
        Ok(sources)
    }

    /// How many UDP sockets the event loop reads: none if workers read them.
    fn own_sockets(&self) -> usize {
        if self.rules.workers > 1 { 0 } else { self.udp.sockets.len() }
    }

    /// The UDP sockets that the event loop reads.
    pub fn udp_sources(&self) -> impl Iterator<Item = Source> + use<> {
        (0..self.own_sockets()).map(Source::Udp)
    }

    /// Starts the workers, if more than one is configured.
    pub fn start_workers(&mut self, rounds: &Rounds) -> io::Result<()> {
        if self.rules.workers > 1 {
            let state = self.rules.worker_state(rounds);
            self.workers.start(self.rules.workers, &self.udp.sockets, state, now().0)?;
            log::info!("{} workers answer from the cache", self.rules.workers);
        }
        Ok(())
    }

    /// Takes over the limits of another configuration.
    pub fn configure(&mut self, config: &Config) {
        self.rules.allow.clone_from(&config.listen.allow);
        self.rules.limits = config.limits;
        self.connections.set_limits(config.limits.tcp, config.limits.tcp_per_network);
    }

    /// Takes over who looks at queries. `reports_replies`: the log of queries does.
    pub fn set_tap(&mut self, tap: Tap, reports_replies: bool) {
        self.rules.observer.set(tap.clone());
        (self.rules.tap, self.rules.reports_replies) = (tap, reports_replies);
    }

    /// The address to which a client that waits has sent its query, and whether by TCP.
    pub fn server_of(&self, client: ClientId) -> Option<(SocketAddr, bool)> {
        match &self.waiting.get(client)?.reply_to {
            ReplyTo::Udp { socket, .. } => Some((self.udp.sockets.get(*socket)?.local_addr().ok()?, false)),
            ReplyTo::Tcp(slot) => Some((self.connections.local_address(*slot)?, true)),
            ReplyTo::Control(_) | ReplyTo::HostName => None,
        }
    }

    /// Gives the workers the current table and configuration.
    pub fn update_workers(&mut self, rounds: &Rounds) {
        self.workers.update(rounds.changed(), || self.rules.worker_state(rounds));
    }

    /// Like [`Clients::update_workers`], but only if the core has changed since.
    pub fn follow_changes(&mut self, rounds: &Rounds) {
        if !self.workers.have(rounds.changed()) {
            self.update_workers(rounds);
        }
    }

    /// Whether a worker has ended without being stopped.
    pub fn has_failed(&self) -> bool {
        self.workers.has_failed()
    }

    /// Ends the workers. The queries that they handed over can still be taken.
    pub fn stop_workers(&mut self) {
        self.workers.stop();
    }

    /// When [`Clients::on_time`] has something to do, or the next rounds may be begun.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.connections.timeout().into_iter().chain(self.misses.timeout()).min()
    }

    /// Closes connections that were idle for too long.
    pub fn on_time(&mut self, now: Monotonic) -> Effects {
        let gone = self.connections.sweep(now);
        self.gone(gone)
    }

    /// Whether work is left that needs no event.
    pub fn has_more(&self) -> bool {
        self.misses.is_due() || !self.due.is_empty()
    }

    /// Whether no client waits for anything.
    pub fn is_empty(&self) -> bool {
        self.misses.is_empty() && self.waiting.is_empty() && self.replies.is_empty()
    }

    /// Accepts connections that wait at a listener.
    pub fn accept(&mut self, n: usize, registry: &Registry, now: Monotonic, budget: &mut Budget) -> Accepted {
        let Some(listener) = self.listeners.get(n) else { return Accepted::default() };
        let accepted = self.connections.accept(registry, listener, now, budget);
        accepted.gone.iter().for_each(|client| self.release(*client));
        accepted
    }

    /// Closes the connection that is evicted first, see `tcp_eviction.rs`. `None` if there is none.
    pub fn drop_idlest(&mut self) -> Option<Effects> {
        let gone = self.connections.drop_idlest()?;
        Some(self.gone(gone))
    }

    /// Connections that may be ready since the last call.
    pub fn resumed(&mut self) -> impl Iterator<Item = Source> {
        self.connections.resumed()
    }

    /// Adds what clients and workers have counted.
    pub fn add_counts(&self, all: &mut Counters) {
        self.workers.add_counts(all);
        for counter in COUNTED {
            all.add(counter, self.counted.counters.get(counter));
        }
        all.set(Counter::TcpClients, self.connections.len() as u64);
        all.set(Counter::TcpDropped, self.connections.dropped());
    }

    /// Adds a client that waits for its reply. It counts for the source of its query.
    pub fn wait(&mut self, pending: Pending) -> ClientId {
        self.waiting.add(self.misses.source(pending.peer), pending)
    }

    /// Releases the resources of clients that are gone with their connection.
    fn gone(&mut self, gone: Vec<ClientId>) -> Effects {
        gone.iter().for_each(|client| self.release(*client));
        Effects { gone, asks: Vec::new() }
    }

    fn release(&mut self, client: ClientId) {
        if let Some(pending) = self.waiting.take(client) {
            self.admission.release(pending.network);
        }
    }
}

#[cfg(test)]
impl Clients {
    /// Fills the queue of misses with copies of a query of `peer`.
    pub fn fill_misses(&mut self, peer: SocketAddr, question: hither_rounds::Question) {
        let client = ClientId::of(self.misses.source(peer), 0);
        while self.misses.len() < waiting_queries::MISSES_MAX {
            let miss = Miss { client, peer, question, recursion: true };
            assert_eq!(self.misses.push(miss), None);
        }
    }

    /// How many replies are due and have not been sent.
    pub fn due_replies(&self) -> usize {
        self.due.len()
    }
}

/// The counters of this part.
const COUNTED: [Counter; 4] = [Counter::Replies, Counter::RateLimited, Counter::ShedQueries, Counter::Loops];

impl Rules {
    fn worker_state(&self, rounds: &Rounds) -> WorkerState {
        let tap = self.tap.clone();
        WorkerState::new(rounds.hits(), self.allow.clone(), self.limits, self.workers).with_tap(tap)
    }
}
