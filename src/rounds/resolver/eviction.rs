//! Eviction: the choice of a round or client that ends early when a limit is reached.

use crate::ids::{ClientId, Source};
use crate::question::Question;
use crate::resolver::Rounds;
use crate::round::End;

impl Rounds {
    /// Evicts rounds and clients until a new round and its client are within the limits. `false`: the
    /// new client is refused. A round without clients evicts nothing.
    ///
    /// Rounds are evicted first, since their clients are evicted with them. If that suffices, no other
    /// client is evicted.
    pub(crate) fn admit(&mut self, newcomer: Option<ClientId>, question: &Question) -> bool {
        let Some(client) = newcomer else { return self.has_capacity() };
        // A round that has answered has no clients, so ending it does not help at the limit of
        // clients.
        let in_vain = (self.has_capacity() || !self.answered.is_empty())
            && self.is_full()
            && self.client_to_evict(client, question).is_none();
        !in_vain && self.evict_for_round(client.source()) && self.evict_for_client(client, question)
    }

    /// Whether the limit of waiting clients is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.clients.len() >= self.shared.settings.limits.clients
    }

    /// Evicts a client for a new one, at the limit of waiting clients. `false`: the new client is
    /// refused.
    pub(crate) fn evict_for_client(&mut self, newcomer: ClientId, question: &Question) -> bool {
        if !self.is_full() {
            return true;
        }
        let Some(client) = self.client_to_evict(newcomer, question) else { return false };
        self.client_gone(client);
        self.shed(client);
        true
    }

    /// The client to evict: one of the source with the most clients, else one of the question with the
    /// most clients.
    fn client_to_evict(&self, newcomer: ClientId, question: &Question) -> Option<ClientId> {
        let own = self.live.get(question).and_then(|id| self.rounds.get(id)).map_or(0, |r| r.clients.len());
        let fullest = self.shared.clients.client_to_evict(newcomer.source());
        let asked_most = || {
            let (most, id) = self.joined.last()?;
            self.rounds.get(id).filter(|_| *most > own + 1)?.clients.last().copied()
        };
        fullest.or_else(asked_most)
    }

    /// Whether the limits allow one more round with its first attempts.
    pub(crate) fn has_capacity(&self) -> bool {
        let (limits, first) = (&self.shared.settings.limits, self.shared.settings.first.max(1));
        self.rounds.len() < limits.rounds && self.attempts_in_view() + first <= limits.attempts.max(first)
    }

    /// The outstanding attempts, and those of the rounds that wait for the site.
    fn attempts_in_view(&self) -> usize {
        let first = self.shared.settings.first.max(1);
        self.shared.attempts.len() + first.saturating_mul(self.shared.site.waiting)
    }

    /// Ends rounds until the limits allow a new round of `source` with all first attempts, or at least
    /// with one. `false`: they do not.
    fn evict_for_round(&mut self, source: Source) -> bool {
        // Each round that ends frees at least one attempt.
        for _ in 0..=self.shared.settings.first.max(1) {
            if self.has_capacity() {
                return true;
            }
            if let Some(oldest) = self.answered.first().copied() {
                self.end(oldest, End::Partial);
            } else if let Some(id) = self.round_to_evict(source) {
                self.evict_round(id);
            } else {
                break;
            }
        }
        let limits = &self.shared.settings.limits;
        self.rounds.len() < limits.rounds && self.attempts_in_view() < limits.attempts
    }

    /// The racing round to evict for one of `source`.
    fn round_to_evict(&self, source: Source) -> Option<u64> {
        let now = self.shared.now;
        let candidates = [self.racing.of_the_fullest(now, source), self.racing.slowest(now, source)];
        self.shared.faults.candidates(candidates).into_iter().flatten().next()
    }

    /// Evicts a round. Its clients get a held denial or stale data, else SERVFAIL.
    fn evict_round(&mut self, id: u64) {
        self.with(id, |round, shared| {
            round.end_early(shared);
            Some(End::Partial)
        });
    }
}
