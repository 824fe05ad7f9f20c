//! Waiting clients: the round that each waits for, and their number by source.

use crate::ids::{ClientId, Source};
use crate::tally::Tally;
use std::collections::{BTreeMap, BTreeSet};

/// Clients and the rounds that they wait for. The clients of one source are adjacent in the map, since
/// their upper bits are the same.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    rounds: BTreeMap<ClientId, u64>,
    tally: Tally,
    /// Clients that validate signatures themselves (CD), while they wait for a validated round.
    validating: BTreeSet<ClientId>,
}

impl Waiting {
    pub fn len(&self) -> usize {
        self.rounds.len()
    }

    pub fn get(&self, client: &ClientId) -> Option<&u64> {
        self.rounds.get(client)
    }

    pub fn insert(&mut self, client: ClientId, round: u64) {
        if self.rounds.insert(client, round).is_none() {
            self.tally.add(client.source());
        }
    }

    /// Notes a validating client until it is removed.
    pub fn note_validating(&mut self, client: ClientId) {
        self.validating.insert(client);
    }

    pub fn has_validating(&self) -> bool {
        !self.validating.is_empty()
    }

    pub fn is_validating(&self, client: ClientId) -> bool {
        self.validating.contains(&client)
    }

    pub fn remove(&mut self, client: ClientId) -> Option<u64> {
        self.validating.remove(&client);
        let round = self.rounds.remove(&client)?;
        self.tally.take(client.source());
        Some(round)
    }

    /// Checks that every validating client waits for a round.
    ///
    /// # Panics
    /// If a validating client does not wait.
    pub fn check(&self) {
        assert!(
            self.validating.iter().all(|client| self.rounds.contains_key(client)),
            "a validating client that does not wait is noted"
        );
    }

    /// The client to evict for one of `source`: the newest client of the source with the most clients.
    pub fn client_to_evict(&self, source: Source) -> Option<ClientId> {
        let fullest = self.tally.ahead_of(source)?;
        let own = ClientId::of(fullest, 0)..=ClientId::of(fullest, u64::MAX);
        self.rounds.range(own).next_back().map(|(client, _)| *client)
    }
}
