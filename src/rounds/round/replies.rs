//! Replies to the clients that wait for a round, with stale data too.

use crate::reply::{Answer, ede};
use crate::round::{Phase, Round};
use crate::shared::Shared;
use hither_wire::codes::Rcode;

impl Round {
    /// Replies to every waiting client.
    pub fn reply_to_all(&mut self, shared: &mut Shared, answer: &Answer) {
        let mut clients = std::mem::take(&mut self.clients);
        for client in clients.drain(..) {
            shared.reply(client, answer.clone());
        }
        self.clients = clients;
    }

    pub fn serve_stale(&mut self, shared: &mut Shared) {
        self.stale_at = None;
        if let Some(answer) = shared.stale(&self.question) {
            shared.counters.add(hither_table::Counter::StaleServed, self.clients.len() as u64);
            self.reply_to_all(shared, &answer);
        }
    }

    /// Replies to the clients of a round that is evicted. The failure is not cached, since upstreams
    /// could still have answered.
    pub fn end_early(&mut self, shared: &mut Shared) {
        if let Phase::Racing { held, .. } = &mut self.phase
            && let Some(held) = held.take()
        {
            self.accept(shared, held);
        }
        if self.clients.is_empty() {
            return;
        }
        if self.stale_at.is_some() {
            self.serve_stale(shared);
        }
        shared.counters.add(hither_table::Counter::ShedQueries, self.clients.len() as u64);
        self.reply_to_all(shared, &Answer::Empty { rcode: Rcode::SERVFAIL, ede: Some(ede::OTHER) });
    }
}
