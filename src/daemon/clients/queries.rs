//! Received queries: hits are answered at once, misses wait for a round or, at a limit, are
//! refused.

use crate::daemon::clients::asked::Asked;
use crate::daemon::clients::handover::Handed;
use crate::daemon::clients::hit_times::BatchTimes;
use crate::daemon::clients::tap::Seen;
use crate::daemon::clients::tcp::Look;
use crate::daemon::clients::udp::{ClientQuery, Responder, Taking, Verdict, answer, answer_batch};
use crate::daemon::clients::waiting_clients::{Pending, ReplyTo, Taken};
use crate::daemon::clients::waiting_queries::Miss;
use crate::daemon::clients::{Clients, Effects};
use crate::daemon::core::Core;
use crate::daemon::sources::Slot;
use hither_net::batch::BATCH_MAX;
use hither_net::clock;
use hither_rounds::{ClientId, Question};
use hither_table::{BatchCounts, Counter, Monotonic, Timing};
use hither_wire::query::Query;
use std::io::ErrorKind;
use std::net::SocketAddr;

/// The outcome of reading from a TCP connection.
#[derive(Debug)]
pub(crate) enum TcpStep {
    /// There is nothing more to read for now, or the connection has ended.
    Done(Effects),
    /// A query was read, and perhaps answered: the octets of both.
    Query { octets: usize, effects: Effects },
}

/// A client by TCP: its connection, and its address.
#[derive(Clone, Copy)]
struct TcpClient {
    slot: Slot,
    peer: SocketAddr,
}

/// The hits that the core had counted before a batch.
#[derive(Clone, Copy)]
struct HitCount {
    hits: u64,
    restored: u64,
}

impl HitCount {
    fn of(core: &mut Core) -> HitCount {
        let counters = core.counters();
        HitCount { hits: counters.get(Counter::Hits), restored: counters.get(Counter::RestoredHits) }
    }

    /// The hits since then.
    fn until(self, core: &mut Core) -> BatchCounts {
        let HitCount { hits, restored } = HitCount::of(core);
        let (hits, restored) = (hits.wrapping_sub(self.hits), restored.wrapping_sub(self.restored));
        BatchCounts { hits, restored, ..BatchCounts::default() }
    }
}

/// Adds a batch of the event loop to the metrics.
fn note_batch(core: &Core, batch: &BatchCounts, times: &mut BatchTimes, began: Option<Monotonic>) {
    let timing = if batch.hits > 0 { times.end(began) } else { Timing::default() };
    core.rounds().recorder().note_batch(batch, timing);
}

impl Clients {
    /// Reads one batch of queries from a UDP socket and answers its hits. Returns the number of
    /// queries; `None`: there are no more for now.
    pub fn take_batch(&mut self, n: usize, core: &mut Core, now: Monotonic) -> Option<(usize, Effects)> {
        let socket = self.udp.sockets.get(n)?;
        let count = match self.udp.batch.receive(socket) {
            Ok(count) => count,
            // For instance an ICMP error for an earlier reply. The next call returns the next
            // datagram.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                return Some((BATCH_MAX, Effects::default()));
            }
            Err(_) => return None,
        };
        let (began, before) = (self.counted.udp_times.begin(), HitCount::of(core));
        let mut misses_taken = 0;
        let responder = Responder {
            cache: &mut *core,
            allow: &self.rules.allow,
            limits: &self.rules.limits,
            rate_limit: &mut self.rate_limit,
            observer: &mut self.rules.observer,
            now,
        };
        let admission = &mut self.admission;
        let (misses, waiting, due) = (&mut self.misses, &mut self.waiting, &self.due);
        let most = self.rules.limits.clients_per_network;
        let (mut evicted, mut joining) = (Vec::new(), Vec::new());
        answer_batch(responder, &mut self.udp.batch, count, |core, received, at, query| {
            let Some(taken) = Taken::of(received, at, query, n, now) else { return Taking::Refused };
            if waiting.has(&taken.pending) {
                return Taking::Repeated;
            }
            let Taken { pending, question, recursion } = taken;
            let (peer, network, source) = (pending.peer, pending.network, misses.source(pending.peer));
            if !admission.admit(network, most) {
                return Taking::Refused;
            }
            if misses.has_room_for(source) {
                let client = waiting.add(source, pending);
                evicted.extend(misses.push(Miss { client, peer, question, recursion }));
            } else if core.rounds().is_shared(&question) && due.lets_join(joining.len() + 1) {
                let client = waiting.add(source, pending);
                joining.push(Miss { client, peer, question, recursion });
            } else {
                admission.release(network);
                return Taking::Refused;
            }
            misses_taken += 1;
            Taking::Waits
        });
        let sent = self.udp.batch.send(socket);
        self.counted.add(Counter::Replies, sent as u64);
        let batch = BatchCounts { queries: count as u64, misses: misses_taken, ..before.until(core) };
        note_batch(core, &batch, &mut self.counted.udp_times, began);
        let mut effects = Effects { gone: Vec::new(), asks: joining };
        evicted.into_iter().for_each(|client| self.shed(client, now, &mut effects));
        Some((count, effects))
    }

    /// The next item that a worker has handed over.
    pub fn next_handed(&self) -> Option<Handed> {
        self.workers.take()
    }

    /// Takes a miss that a worker has handed over. It is refused if there is no slot for it.
    pub fn take_handed(&mut self, taken: Taken, core: &Core, now: Monotonic) -> Effects {
        let Taken { pending, question, recursion } = taken;
        let mut effects = Effects::default();
        if self.waiting.has(&pending) {
            return effects;
        }
        let (peer, network) = (pending.peer, pending.network);
        let admitted = self.admission.admit(network, self.rules.limits.clients_per_network);
        let has_room = admitted && self.misses.has_room_for(self.misses.source(peer));
        let joins = admitted && !has_room && core.rounds().is_shared(&question) && self.due.lets_join(1);
        if !has_room && !joins {
            self.admission.release(network.filter(|_| admitted));
            self.shed_handed(&pending, now);
            return effects;
        }
        let miss = Miss { client: self.wait(pending), peer, question, recursion };
        if joins {
            effects.asks.push(miss);
        } else if let Some(client) = self.misses.push(miss) {
            self.shed(client, now, &mut effects);
        }
        effects
    }

    /// Begins a slice of time in which rounds may be begun, and returns its end. `None` if no query
    /// waits, or if it is the turn of hits.
    pub fn begin_slice(&mut self) -> Option<Monotonic> {
        self.misses.begin_slice(clock::now)
    }

    /// The next query that gets its round.
    pub fn next_miss(&mut self) -> Option<Miss> {
        self.misses.pop()
    }

    /// The id of a query that waits; `None` if its client is gone.
    pub fn id_of(&self, client: ClientId) -> Option<u16> {
        let id = self.waiting.get(client)?.query.first_chunk();
        Some(id.map_or(0, |id| u16::from_be_bytes(*id)))
    }

    /// Reads the next query of a connection, and answers it if the cache can.
    pub fn on_connection(&mut self, slot: Slot, core: &mut Core, now: Monotonic) -> TcpStep {
        match self.connections.look(slot, now) {
            Look::Idle => {
                let gone = self.connections.make_room();
                TcpStep::Done(self.gone(gone))
            }
            Look::Gone(clients) => TcpStep::Done(self.gone(clients)),
            Look::Query(query) => {
                let mut effects = Effects::default();
                let client = self.connections.peer(slot).map(|peer| TcpClient { slot, peer });
                let reply =
                    client.map_or(0, |client| self.on_tcp_query(client, &query, core, now, &mut effects));
                TcpStep::Query { octets: query.len() + reply, effects }
            }
        }
    }

    /// Answers a query if it is a hit, and returns the octets of the reply.
    fn on_tcp_query(
        &mut self,
        client: TcpClient,
        query: &[u8],
        core: &mut Core,
        now: Monotonic,
        effects: &mut Effects,
    ) -> usize {
        let limit = Some(usize::from(u16::MAX));
        let (octets, asked) = (query, Asked::read(query));
        let query = ClientQuery { asked: &asked, client: client.peer.ip(), limit };
        let (began, before, mut misses) = (self.counted.tcp_times.begin(), HitCount::of(core), 0);
        let mut reply = self.replies.lend();
        let verdict = answer(&mut *core, &self.rules.allow, now, query, &mut reply);
        if self.rules.observer.is_on()
            && let Ok(query) = &asked.read
        {
            let len = if let Verdict::Reply(len) = verdict { len } else { 0 };
            let seen = Seen { query, octets, reply: &reply[..len], client: client.peer, is_tcp: true };
            self.rules.observer.by_tcp(seen, self.connections.local_address(client.slot), now);
        }
        let octets = match verdict {
            Verdict::Reply(0) => 0,
            Verdict::Reply(len) => {
                effects.gone.extend(self.reply_tcp(client.slot, &reply[..len]));
                len
            }
            Verdict::Ask(query) => {
                self.begin_tcp(client, query, now, effects);
                misses = 1;
                0
            }
        };
        self.replies.give_back(reply);
        let batch = BatchCounts { queries: 1, misses, ..before.until(core) };
        note_batch(core, &batch, &mut self.counted.tcp_times, began);
        octets
    }

    /// Has a round begun for a query by TCP, unless its network has as many waiting as it may.
    fn begin_tcp(&mut self, client: TcpClient, query: &Query<'_>, now: Monotonic, effects: &mut Effects) {
        let TcpClient { slot, peer } = client;
        let pending = Pending::new(query, ReplyTo::Tcp(slot), peer, now);
        let admitted = self.admission.admit(pending.network, self.rules.limits.clients_per_network);
        let network = pending.network.filter(|_| admitted);
        let client = self.wait(Pending { network, ..pending });
        if !admitted {
            return self.shed(client, now, effects);
        }
        self.connections.waits(slot, client);
        let (question, recursion) = (Question::of(query), query.rd());
        effects.asks.push(Miss { client, peer, question, recursion });
    }
}
