//! Validating clients (CD): they get the unvalidated answer if the upstream's validation fails.

use crate::ids::ClientId;
use crate::question::Question;
use crate::resolver::Rounds;
use crate::round::Start;
use crate::site::Ask;
use hither_table::Monotonic;
use std::rc::Rc;

impl Rounds {
    /// Moves validating clients out of a round whose upstream may have rejected signatures, into a round
    /// without validation.
    pub(crate) fn separate_validating_clients(&mut self, id: u64) {
        let Some(round) = self.rounds.get(&id).filter(|round| round.is_racing() && round.heard.has_servfail)
        else {
            return;
        };
        let (question, deadline) = (Rc::clone(&round.question), round.deadline);
        if self.has_capacity() || self.live.contains_key(&question.unvalidated()) {
            let mut validating = Vec::new();
            self.with_round_only(id, |round, shared| {
                validating = round.take_validating_clients(shared);
                None
            });
            self.ask_unvalidated(&question, validating, deadline);
        }
    }

    /// Lets validating clients wait for the answer without validation (RFC 4035 section 3.2.2). They are
    /// already counted as waiting clients.
    pub(crate) fn ask_unvalidated(&mut self, of: &Question, clients: Vec<ClientId>, deadline: Monotonic) {
        if clients.is_empty() {
            return;
        }
        let question = of.unvalidated();
        let live = self.live.get(&question).copied();
        if let Some(id) = live.filter(|id| self.rounds.get(id).is_some_and(|round| round.is_racing())) {
            for client in &clients {
                self.shared.clients.insert(*client, id);
                if let Some(round) = self.rounds.get_mut(&id) {
                    round.source = self.racing.move_to_smaller_source(id, round.source, client.source());
                }
            }
            return self.with(id, |round, _| {
                round.clients.extend(clients);
                None
            });
        }
        if let Some(id) = live {
            self.supersede(id);
        }
        let stale = self.shared.stale(&question).is_some();
        self.start_round(Start { question: Rc::new(question), clients, deadline, stale, ask: Ask::No });
    }
}
