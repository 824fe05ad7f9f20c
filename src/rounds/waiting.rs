//! Clients that wait for a round, and on whose account.

use crate::tally::Tally;
use crate::{ClientId, Source};
use std::collections::{BTreeMap, BTreeSet};

/// Clients and the rounds that they wait for; those of one source stand together, by their upper bits.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    rounds: BTreeMap<ClientId, u64>,
    tally: Tally,
    /// Those who check signatures themselves (CD), while they wait for a round whose upstreams check them.
    checkers: BTreeSet<ClientId>,
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

    /// The client checks signatures itself; noted until it is removed.
    pub fn note_checker(&mut self, client: ClientId) {
        self.checkers.insert(client);
    }

    pub fn has_checkers(&self) -> bool {
        !self.checkers.is_empty()
    }

    pub fn is_checker(&self, client: ClientId) -> bool {
        self.checkers.contains(&client)
    }

    pub fn remove(&mut self, client: ClientId) -> Option<u64> {
        self.checkers.remove(&client);
        let round = self.rounds.remove(&client)?;
        self.tally.take(client.source());
        Some(round)
    }

    /// Panics if somebody is noted who does not wait.
    pub fn check(&self) {
        assert!(self.checkers.iter().all(|client| self.rounds.contains_key(client)), "who is gone is noted");
    }

    /// Whose place one more of `source` takes: a client of whoever has more of them, the newest.
    pub fn gives_way(&self, source: Source) -> Option<ClientId> {
        let fullest = self.tally.ahead_of(source)?;
        let own = ClientId::of(fullest, 0)..=ClientId::of(fullest, u64::MAX);
        self.rounds.range(own).next_back().map(|(client, _)| *client)
    }
}
