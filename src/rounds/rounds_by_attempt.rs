//! The outstanding attempts of all rounds: their ids, and the round of each.

use crate::ascending::Ascending;
use crate::ids::AttemptId;

/// The round of each outstanding attempt.
#[derive(Debug)]
pub(crate) struct RoundsByAttempt {
    rounds: Ascending<AttemptId, u64>,
    /// The number of the latest attempt.
    latest: u64,
}

impl RoundsByAttempt {
    pub fn new() -> Self {
        Self { rounds: Ascending::new(), latest: 0 }
    }

    /// Adds an attempt of a round, and returns its id.
    pub fn begin(&mut self, round: u64) -> AttemptId {
        self.latest += 1;
        let id = AttemptId(self.latest);
        self.rounds.insert(id, round);
        id
    }

    pub fn get(&self, id: &AttemptId) -> Option<&u64> {
        self.rounds.get(id)
    }

    pub fn remove(&mut self, id: &AttemptId) {
        self.rounds.remove(id);
    }

    pub fn len(&self) -> usize {
        self.rounds.len()
    }
}
