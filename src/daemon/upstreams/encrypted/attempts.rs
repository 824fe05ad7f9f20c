//! The attempts of the core that encrypted upstreams are asked for: queued, outstanding, ended.

use super::Outcome;
use crate::daemon::core::Sending;
use hither_rounds::{AttemptId, Failure};
use std::collections::{BTreeMap, VecDeque};

/// An attempt that has not ended.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// The message id of its query. On the wire it is another one.
    id: u16,
    /// Whether the machine has the query.
    is_handed: bool,
}

/// All attempts. Their number is bounded by the core.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    live: BTreeMap<AttemptId, Attempt>,
    queued: VecDeque<Sending>,
    /// Those that the machine has to forget.
    cancelled: Vec<AttemptId>,
    outcomes: VecDeque<Outcome>,
}

impl Attempts {
    pub fn queue(&mut self, query: Sending) {
        let id = query.octets.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
        self.live.insert(query.attempt, Attempt { id, is_handed: false });
        self.queued.push_back(query);
    }

    /// Ends an attempt. A query that the machine has is taken back; one that is queued is dropped later.
    pub fn cancel(&mut self, attempt: AttemptId) {
        if self.live.remove(&attempt).is_some_and(|found| found.is_handed) {
            self.cancelled.push(attempt);
        }
    }

    pub fn next_cancelled(&mut self) -> Option<AttemptId> {
        self.cancelled.pop()
    }

    /// The next query that has not been cancelled, for the machine.
    pub fn next_query(&mut self) -> Option<Sending> {
        while let Some(query) = self.queued.pop_front() {
            if let Some(found) = self.live.get_mut(&query.attempt) {
                found.is_handed = true;
                return Some(query);
            }
        }
        None
    }

    /// A query that had waited leaves now.
    pub fn note_transmitted(&mut self, attempt: AttemptId) {
        self.outcomes.push_back(Outcome::Transmitted(attempt));
    }

    /// A response has come. It gets the message id of its query.
    pub fn deliver(&mut self, attempt: AttemptId, mut octets: Box<[u8]>) {
        let Some(found) = self.live.get_mut(&attempt) else { return };
        found.is_handed = false;
        if let Some(id) = octets.first_chunk_mut() {
            *id = found.id.to_be_bytes();
        }
        self.outcomes.push_back(Outcome::Message(attempt, octets));
    }

    /// The query has ended without a response.
    pub fn fail(&mut self, attempt: AttemptId, failure: Failure) {
        let Some(found) = self.live.get_mut(&attempt) else { return };
        found.is_handed = false;
        self.outcomes.push_back(Outcome::Failed(attempt, failure));
    }

    /// The next outcome of an attempt that has not been cancelled.
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        while let Some(outcome) = self.outcomes.pop_front() {
            let is_live = match &outcome {
                Outcome::Transmitted(attempt) => self.live.contains_key(attempt),
                Outcome::Message(attempt, _) | Outcome::Failed(attempt, _) => {
                    self.live.remove(attempt).is_some()
                }
            };
            if is_live {
                return Some(outcome);
            }
        }
        None
    }

    /// Whether nothing is to be handed to the machine.
    pub fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.cancelled.is_empty()
    }
}
