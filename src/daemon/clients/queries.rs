//! Clients: their queries in, their replies out. What the cache can answer is answered first; the rest waits its turn in a bounded queue.

use crate::daemon::clients::admission::Ruling;
use crate::daemon::clients::handover::{HANDED_MAX, Handed};
use crate::daemon::clients::misses::{MISSES_MAX, Miss};
use crate::daemon::clients::pending::{Pending, Taken, Way};
use crate::daemon::clients::tcp::Look;
use crate::daemon::clients::udp::{Asked, Desk, Left, Verdict, answer, answer_batch};
use crate::daemon::event_loop::Daemon;
use crate::daemon::event_loop::tokens::{Slot, Source};
use crate::daemon::event_loop::turn::Budget;
use crate::logging::Event;
use hither_net::batch::{Route, SIZE};
use hither_net::clock;
use hither_rounds::{ClientId, Input, Question, reply};
use hither_table::{Counter, Monotonic};
use hither_wire::codes::Rcode;
use hither_wire::query::{Query, cut_to_question};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

/// Batches taken from one UDP socket before others get their turn.
const BATCHES: usize = 4;
/// Replies of rounds that leave by one system call; the first of them waits for the others.
const TOGETHER: usize = 16;
/// Queries taken from one connection before others get their turn.
const QUERIES: usize = 16;
/// Time spent on beginning rounds before hits get their turn, in nanoseconds.
const SLICE_NS: u64 = 200_000;
/// The same while there are too many queries for all of them, and how often there is such a slice: what the answers cost comes on top, and
/// hits are to find the daemon idle most of the time.
const SLICE_CROWDED_NS: u64 = 100_000;
const SLICE_EVERY: Duration = Duration::from_millis(1);

/// What those are told whose turn it is to go.
const SHED: reply::Answer = reply::Answer::Failure { rcode: Rcode::SERVFAIL, ede: Some(reply::ede::OTHER) };

impl Daemon {
    pub(crate) fn on_udp(&mut self, n: usize, now: Monotonic, budget: &mut Budget) {
        for _ in 0..BATCHES {
            match self.take_batch(n, now) {
                Some(SIZE) => budget.use_up(0),
                Some(_) | None => return,
            }
            if budget.is_spent() {
                break;
            }
        }
        self.again.push_back(Source::Udp(n));
    }

    /// Answers one batch; returns how many queries it had.
    fn take_batch(&mut self, n: usize, now: Monotonic) -> Option<usize> {
        let socket = self.udp.get(n)?;
        let count = match self.batch.receive(socket) {
            Ok(count) => count,
            // An ICMP error for an earlier reply, for instance: the next call is past it.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Some(SIZE),
            Err(_) => return None,
        };
        let desk = Desk {
            cache: &mut self.rounds,
            allow: &self.config.allow,
            limits: &self.config.limits,
            admission: &mut self.admission,
            now,
        };
        let (misses, waiting) = (&mut self.misses, &mut self.waiting);
        let most = self.config.limits.clients_per_network;
        let (mut gave_way, mut shared) = (Vec::new(), Vec::new());
        answer_batch(desk, &mut self.batch, count, |(rounds, admission), received, at, query| {
            let Some(taken) = Taken::of(received, at, query, n) else { return Left::Refused };
            if waiting.has(&taken.pending) {
                return Left::Again;
            }
            let Taken { pending, question, recursion } = taken;
            let (peer, network, source) = (pending.peer, pending.network, misses.source(pending.peer));
            if !admission.admit(network, most) {
                return Left::Refused;
            }
            if misses.has_room_for(source) {
                let client = waiting.add(source, pending);
                gave_way.extend(misses.push(Miss { client, peer, question, recursion }));
            } else if rounds.is_shared(&question) && waiting.owed.lets_join(shared.len() + 1) {
                let client = waiting.add(source, pending);
                shared.push(Miss { client, peer, question, recursion });
            } else {
                admission.release(network);
                return Left::Refused;
            }
            Left::Waits
        });
        let sent = self.batch.send(socket);
        self.rounds.counters().add(Counter::Replies, sent as u64);
        gave_way.into_iter().for_each(|client| self.shed(client, now));
        shared.into_iter().for_each(|miss| self.ask(&miss, None, now));
        Some(count)
    }

    /// What workers could not answer; those for whom there is no room are told so. All that there is moves at once: the queue between threads has
    /// no shares, so whoever fills it keeps out others. A place among misses is the cheap part of it, and queries by UDP are not this thread's.
    pub(crate) fn on_handed(&mut self, now: Monotonic, budget: &mut Budget) {
        for _ in 0..HANDED_MAX {
            let Some(handed) = self.team.take() else { return };
            budget.use_up(0);
            match handed {
                Handed::Miss(taken) => self.take_handed(*taken, now),
                Handed::Ending(question) => self.rounds.want(*question),
            }
        }
        self.again.push_back(Source::Woken);
    }

    fn take_handed(&mut self, taken: Taken, now: Monotonic) {
        let Taken { pending, question, recursion } = taken;
        if self.waiting.has(&pending) {
            return;
        }
        let (peer, network) = (pending.peer, pending.network);
        let admitted = self.admission.admit(network, self.config.limits.clients_per_network);
        let has_room = admitted && self.misses.has_room_for(self.misses.source(peer));
        let joins =
            admitted && !has_room && self.rounds.is_shared(&question) && self.waiting.owed.lets_join(1);
        if !has_room && !joins {
            self.admission.release(network.filter(|_| admitted));
            return self.shed_handed(&pending, now);
        }
        let miss = Miss { client: self.wait(pending), peer, question, recursion };
        if joins {
            self.ask(&miss, None, now);
        } else if let Some(client) = self.misses.push(miss) {
            self.shed(client, now);
        }
    }

    /// Gives a client a place, on the account of where it asks from.
    pub(crate) fn wait(&mut self, pending: Pending) -> ClientId {
        self.waiting.add(self.misses.source(pending.peer), pending)
    }

    /// There is more to do than can be done, and it is this client's turn to go.
    fn shed(&mut self, client: ClientId, now: Monotonic) {
        self.rounds.counters().add(Counter::ShedQueries, 1);
        self.deliver(client, &SHED, now);
    }

    /// The same for a query that a worker handed over, which never got a place.
    fn shed_handed(&mut self, pending: &Pending, now: Monotonic) {
        self.rounds.counters().add(Counter::ShedQueries, 1);
        if let (Way::Udp { socket, route }, Ok(read)) = (&pending.way, Query::read(&pending.query)) {
            self.reply_udp((*socket, route), (&read, pending.peer.ip()), &SHED, now);
        }
    }

    /// Sends what is owed, then begins rounds for those who wait, for a slice of time.
    pub(crate) fn serve_misses(&mut self, now: Monotonic) {
        self.deliver_owed(now);
        if self.misses.is_empty() {
            self.crowded = false;
            return;
        }
        self.crowded |= self.misses.len() >= MISSES_MAX;
        let began = clock::now();
        if self.crowded && began < self.next_slice {
            return;
        }
        self.next_slice = began.plus(SLICE_EVERY);
        let slice = if self.crowded { SLICE_CROWDED_NS } else { SLICE_NS };
        while let Some(miss) = self.misses.pop() {
            if !self.came_back(&miss, now) {
                self.ask(&miss, None, now);
            }
            if clock::now().0 >= began.0 + slice {
                break;
            }
        }
    }

    /// Has a question answered for a client, on the connection `slot` if it is one.
    fn ask(&mut self, miss: &Miss, slot: Option<Slot>, now: Monotonic) {
        let Miss { client, peer, question, recursion } = miss;
        log::debug!(
            name:% = question.name, client:% = peer.ip();
            "{} asks for {} {}, which is not in the cache",
            peer.ip(),
            question.name,
            question.rtype
        );
        if let Some(connection) = slot.and_then(|slot| self.clients.get(slot)) {
            connection.waiting.push(*client);
        }
        self.rounds.handle(now, Input::Ask { client: *client, question, recursion: *recursion });
        self.act(now);
    }

    /// Whether a query is one of our own, sent to an upstream that is ourselves after all, however that came about. It is answered with
    /// an error, which makes that upstream the last one to be asked.
    fn came_back(&mut self, miss: &Miss, now: Monotonic) -> bool {
        let Some(pending) = self.waiting.get(miss.client) else { return true };
        let peer = miss.peer;
        let id = pending.query.get(..2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_be_bytes);
        if !self.outside.is_own(peer, id, &miss.question) {
            return false;
        }
        self.rounds.counters().add(Counter::Loops, 1);
        log::error!(
            event = Event::UpstreamIsOurselves, address:% = peer;
            "a query that was sent to an upstream came back here from {peer}: that upstream leads to ourselves"
        );
        let answer = reply::Answer::Failure { rcode: Rcode::SERVFAIL, ede: Some(reply::ede::OTHER) };
        self.deliver(miss.client, &answer, now);
        true
    }

    pub(crate) fn on_listener(&mut self, n: usize, now: Monotonic, budget: &mut Budget) {
        let Some(listener) = self.tcp.get(n) else { return };
        let (more, fresh, gone) = self.clients.accept(self.poll.registry(), listener, now, budget);
        // Whoever has come is looked at before anybody else comes, and may have to give way.
        fresh.into_iter().for_each(|slot| self.again.push_back(Source::Client(slot)));
        if more {
            self.again.push_back(Source::TcpListener(n));
        }
        if let Some(error) = self.clients.short.take() {
            self.is_short(Source::TcpListener(n), &error, now);
        }
        self.forget(now, gone);
    }

    pub(crate) fn on_client(&mut self, slot: Slot, now: Monotonic, budget: &mut Budget) {
        for _ in 0..QUERIES {
            match self.clients.look(self.poll.registry(), slot, now) {
                Look::Idle => return self.make_room_for_clients(now),
                Look::Gone(clients) => return self.forget(now, clients),
                Look::Query(query) => {
                    let octets = self.on_tcp_query(slot, &query, now);
                    budget.use_up(query.len() + octets);
                }
            }
            if budget.is_spent() {
                break;
            }
        }
        self.again.push_back(Source::Client(slot));
    }

    /// Answers a query if that needs no round; returns how many octets its reply has.
    fn on_tcp_query(&mut self, slot: Slot, query: &[u8], now: Monotonic) -> usize {
        let Some(peer) = self.clients.get(slot).map(|client| client.peer) else { return 0 };
        let limit = Some(usize::from(u16::MAX));
        let asked = Asked::read(query);
        match answer(&mut self.rounds, &self.config.allow, now, (&asked, peer.ip(), limit), &mut self.reply) {
            Verdict::Reply(len) => {
                if len > 0 {
                    let reply = std::mem::take(&mut self.reply);
                    self.reply_tcp(slot, &reply[..len], now);
                    self.reply = reply;
                }
                len
            }
            Verdict::Ask(query) => {
                let pending = Pending::new(query, Way::Tcp(slot), peer);
                let most = self.config.limits.clients_per_network;
                let admitted = self.admission.admit(pending.network, most);
                let network = pending.network.filter(|_| admitted);
                let client = self.wait(Pending { network, ..pending });
                if !admitted {
                    self.shed(client, now);
                    return 0;
                }
                let (question, recursion) = (Question::of(query), query.rd());
                self.ask(&Miss { client, peer, question, recursion }, Some(slot), now);
                0
            }
        }
    }

    fn reply_tcp(&mut self, slot: Slot, octets: &[u8], now: Monotonic) {
        self.rounds.counters().add(Counter::Replies, 1);
        if !self.clients.reply(slot, octets) {
            let there = self.clients.get(slot).is_some();
            let gone = there.then(|| self.clients.drop_client(self.poll.registry(), slot.key));
            self.forget(now, gone.unwrap_or_default());
        }
        self.make_room_for_clients(now);
    }

    fn make_room_for_clients(&mut self, now: Monotonic) {
        let gone = self.clients.make_room(self.poll.registry());
        if !gone.is_empty() {
            self.forget(now, gone);
        }
    }

    /// Nobody waits for these any more.
    pub(crate) fn forget(&mut self, now: Monotonic, clients: Vec<ClientId>) {
        for client in clients {
            if let Some(pending) = self.waiting.take(client) {
                self.admission.release(pending.network);
            }
            self.rounds.handle(now, Input::ClientGone { client });
        }
        self.act(now);
    }

    pub(crate) fn deliver(&mut self, client: ClientId, answer: &reply::Answer, now: Monotonic) {
        let Some(Pending { query, way, peer, network }) = self.waiting.take(client) else { return };
        self.admission.release(network);
        let Ok(read) = Query::read(&query) else { return };
        match way {
            Way::Udp { socket, route } => self.reply_udp((socket, &route), (&read, peer.ip()), answer, now),
            Way::Tcp(slot) => {
                if let Some(connection) = self.clients.get(slot) {
                    connection.waiting.retain(|waiting| *waiting != client);
                }
                self.with_reply(&read, answer, now, |daemon, reply| daemon.reply_tcp(slot, reply, now));
                // What was left unread while too many waited, and the end of a connection that only waited for this.
                self.again.push_back(Source::Client(slot));
            }
            Way::Control(slot) => self.with_reply(&read, answer, now, |daemon, reply| {
                daemon.asked_is_answered((slot, client), answer, reply, now);
            }),
        }
    }

    fn with_reply(
        &mut self,
        query: &Query<'_>,
        answer: &reply::Answer,
        now: Monotonic,
        give: impl FnOnce(&mut Self, &[u8]),
    ) {
        let mut reply = std::mem::take(&mut self.reply);
        let len = reply::compose(now, query, answer, usize::from(u16::MAX), &mut reply);
        give(self, &reply[..len]);
        self.reply = reply;
    }

    /// Puts a reply to those that leave together.
    fn reply_udp(
        &mut self,
        (socket, route): (usize, &Route),
        (query, peer): (&Query<'_>, IpAddr),
        answer: &reply::Answer,
        now: Monotonic,
    ) {
        if self.replies_of != socket {
            self.send_replies();
            self.replies_of = socket;
        }
        let most = self.config.limits.replies_per_second;
        let (admission, mut limited) = (&mut self.admission, false);
        self.replies.push(route, |out| {
            let len = reply::compose(now, query, answer, query.udp_limit(), out);
            let ruling = admission.judge(peer, &out[..len], most, now);
            limited = ruling != Ruling::Send;
            match ruling {
                Ruling::Send => len,
                Ruling::Cut => cut_to_question(&mut out[..len]),
                Ruling::Drop => 0,
            }
        });
        self.rounds.counters().add(Counter::RateLimited, u64::from(limited));
        if self.replies.len() >= TOGETHER {
            self.send_replies();
        }
    }

    /// Sends the replies that have been collected. One that cannot be sent is lost like one that is lost on the way.
    pub(crate) fn send_replies(&mut self) {
        if self.replies.is_empty() {
            return;
        }
        if let Some(socket) = self.udp.get(self.replies_of) {
            let sent = self.replies.send(socket);
            self.rounds.counters().add(Counter::Replies, sent as u64);
        }
    }

    /// Those who have not had their turn yet when the daemon ends are told so too.
    pub(crate) fn give_up_misses(&mut self, now: Monotonic) {
        while let Some(miss) = self.misses.pop() {
            self.ask(&miss, None, now);
        }
    }
}
