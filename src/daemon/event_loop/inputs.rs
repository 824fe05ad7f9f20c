//! Reads messages of clients and upstreams from their sockets, and hands them to the core.

use crate::daemon::clients::handover::{HANDED_MAX, Handed};
use crate::daemon::clients::waiting_queries::Miss;
use crate::daemon::clients::{Effects, TcpStep};
use crate::daemon::event_loop::Daemon;
use crate::daemon::sources::{Slot, Source};
use crate::daemon::turn::Budget;
use crate::daemon::upstreams::{Conversation, MESSAGES_PER_TURN_MAX, Received};
use crate::logging::Event;
use hither_net::batch::BATCH_MAX;
use hither_net::clock;
use hither_rounds::Input;
use hither_table::Monotonic;

/// Batches taken from one UDP socket before others get their turn.
const BATCHES_PER_TURN_MAX: usize = 4;
/// Queries taken from one connection before others get their turn.
const QUERIES_PER_TURN_MAX: usize = 16;

impl Daemon {
    pub(super) fn on_udp(&mut self, n: usize, now: Monotonic, budget: &mut Budget) {
        for _ in 0..BATCHES_PER_TURN_MAX {
            let Some((count, effects)) = self.clients.take_batch(n, &mut self.core, now) else { return };
            self.apply(effects, now);
            if count < BATCH_MAX {
                return;
            }
            budget.use_up(0);
            if budget.is_spent() {
                break;
            }
        }
        self.ready.push_back(Source::Udp(n));
    }

    /// Takes everything that workers have handed over: their queue is not fair, so a client that
    /// fills it would keep out others. Adding to the queue of misses costs little.
    pub(crate) fn on_handed(&mut self, now: Monotonic, budget: &mut Budget) {
        for _ in 0..HANDED_MAX {
            let Some(handed) = self.clients.next_handed() else { return };
            budget.use_up(0);
            match handed {
                Handed::Miss(taken) => {
                    let effects = self.clients.take_handed(*taken, &self.core, now);
                    self.apply(effects, now);
                }
                Handed::Refresh(question) => self.core.want(*question),
            }
        }
        self.ready.push_back(Source::Woken);
    }

    /// Hands the core the inputs that a call to the clients returned.
    pub(crate) fn apply(&mut self, effects: Effects, now: Monotonic) {
        for client in effects.gone {
            self.tell(now, Input::ClientGone { client });
        }
        effects.asks.iter().for_each(|miss| self.ask(miss, now));
    }

    /// Begins a round for a query.
    fn ask(&mut self, miss: &Miss, now: Monotonic) {
        let Miss { client, peer, question, recursion } = miss;
        if self.admin.insight.sees_misses() {
            self.note_miss(miss, now);
        }
        log::debug!(
            name:% = question.name, client:% = peer.ip();
            "{} asks for {} {}, which is not in the cache",
            peer.ip(),
            question.name,
            question.rtype
        );
        self.tell(now, Input::Ask { client: *client, question, recursion: *recursion });
    }

    /// Sends replies that are due since an earlier turn, then begins rounds for a slice of time.
    pub(super) fn begin_rounds(&mut self, now: Monotonic) {
        self.deliver_due(now);
        let Some(until) = self.clients.begin_slice() else { return };
        while let Some(miss) = self.clients.next_miss() {
            if !self.refuse_own(&miss, now) {
                self.ask(&miss, now);
            }
            if clock::now() >= until {
                break;
            }
        }
    }

    /// Begins the rounds of all queries that wait when the daemon stops, so that each gets a reply.
    pub(crate) fn begin_all_rounds(&mut self, now: Monotonic) {
        while let Some(miss) = self.clients.next_miss() {
            self.ask(&miss, now);
        }
    }

    /// Refuses a query that is one of our own: its upstream forwards to this daemon. After the refusal
    /// this upstream is asked last. Returns whether the query needs no round.
    fn refuse_own(&mut self, miss: &Miss, now: Monotonic) -> bool {
        let Some(id) = self.clients.id_of(miss.client) else { return true };
        let peer = miss.peer;
        if !self.upstreams.is_own(peer, id, &miss.question) {
            return false;
        }
        log::error!(
            event = Event::UpstreamIsOurselves, address:% = peer;
            "a query that was sent to an upstream came back here from {peer}: that upstream leads to ourselves"
        );
        let effects = self.clients.refuse_loop(miss.client, now);
        self.apply(effects, now);
        true
    }

    /// Sends due replies, as many as fit into a turn.
    fn deliver_due(&mut self, now: Monotonic) {
        while let Some(reply) = self.clients.next_due() {
            let (core, mut executor) = self.executor();
            let gone = executor.deliver(now, core.rounds(), &reply);
            self.apply(Effects { gone, asks: Vec::new() }, now);
        }
    }

    /// Sends all due replies when the daemon stops.
    pub(crate) fn deliver_all(&mut self, now: Monotonic) {
        while self.clients.has_due_replies() {
            self.deliver_due(now);
        }
    }

    pub(super) fn on_listener(&mut self, n: usize, now: Monotonic, budget: &mut Budget) {
        let accepted = self.clients.accept(n, self.poll.registry(), now, budget);
        // New connections are read before others are accepted, which may close them.
        self.clients.resumed().for_each(|source| self.ready.push_back(source));
        if accepted.more {
            self.ready.push_back(Source::TcpListener(n));
        }
        if let Some(error) = accepted.short {
            self.note_shortage(Source::TcpListener(n), &error, now);
        }
        self.apply(Effects { gone: accepted.gone, asks: Vec::new() }, now);
    }

    pub(super) fn on_connection(&mut self, slot: Slot, now: Monotonic, budget: &mut Budget) {
        for _ in 0..QUERIES_PER_TURN_MAX {
            match self.clients.on_connection(slot, &mut self.core, now) {
                TcpStep::Done(effects) => return self.apply(effects, now),
                TcpStep::Query { octets, effects } => {
                    self.apply(effects, now);
                    budget.use_up(octets);
                }
            }
            if budget.is_spent() {
                break;
            }
        }
        self.ready.push_back(Source::Client(slot));
    }

    pub(super) fn on_upstream(&mut self, slot: Slot, now: Monotonic, budget: &mut Budget) {
        if let Some(Conversation { attempt, messages, failed, more }) = self.upstreams.converse(slot) {
            for octets in messages {
                self.tell(now, Input::Message { attempt, octets: &octets });
                budget.use_up(octets.len());
            }
            if let Some(failure) = failed {
                self.tell(now, Input::Failed { attempt, failure });
            }
            if more {
                self.ready.push_back(Source::Upstream(slot));
            }
            return;
        }
        let mut buffer = self.upstreams.lend_buffer();
        let mut left = MESSAGES_PER_TURN_MAX;
        while left > 0
            && let Some(event) = self.upstreams.receive(slot, &mut buffer)
        {
            left -= 1;
            let waits = self.upstreams.is_busy(slot);
            match event {
                Received::Message(attempt, len) => {
                    budget.use_up(len);
                    self.tell(now, Input::Message { attempt, octets: &buffer[..len] });
                }
                Received::Failed(attempt, failure) => self.tell(now, Input::Failed { attempt, failure }),
            }
            if waits && !self.upstreams.is_busy(slot) {
                // The attempt has its response. Later messages are separate events.
                break;
            }
            if budget.is_spent() {
                left = 0;
            }
        }
        self.upstreams.give_back_buffer(buffer);
        if left == 0 {
            self.ready.push_back(Source::Upstream(slot));
        }
    }

    /// Sends the queries of this turn to upstreams. Those that cannot be sent are handed to the
    /// core as failures, one by one.
    pub(super) fn send_queries(&mut self, now: Monotonic) {
        loop {
            let failed = self.upstreams.send_queries(self.poll.registry(), now);
            let has_outcomes = self.flush_encrypted(now);
            if failed.is_empty() && !has_outcomes {
                return;
            }
            for (attempt, failure) in failed {
                self.tell(now, Input::Failed { attempt, failure });
            }
        }
    }
}
