//! The invariants that hold between any two calls of the core. Tests check them after each.

use crate::resolver::Rounds;
use crate::round::{Phase, Round};
use crate::settings::ADDRESSES_MAX;
use std::collections::BTreeSet;

impl Rounds {
    /// Checks all invariants.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check_invariants(&self) {
        assert_eq!(self.live.len(), self.rounds.len(), "one live round per question, and no other");
        for (question, id) in &self.live {
            assert_eq!(
                self.rounds.get(id).map(|r| &r.question),
                Some(question),
                "a live round answers its own question"
            );
        }
        let timers: BTreeSet<_> = self.rounds.values().map(|r| (r.timer, r.id)).collect();
        assert_eq!(timers, self.timers, "every round has its one timer");
        let answered: BTreeSet<_> = self.rounds.values().filter(|r| !r.is_racing()).map(|r| r.id).collect();
        assert_eq!(answered, self.answered, "answered rounds are known as such");
        let racing: BTreeSet<_> =
            self.rounds.values().filter(|r| r.is_racing()).map(|r| (r.source, r.id)).collect();
        assert_eq!(&racing, self.racing.all(), "racing rounds are known as such");
        self.racing.check();
        let joined: BTreeSet<_> = self
            .rounds
            .values()
            .map(|r| (r.clients.len(), r.id))
            .filter(|(clients, _)| *clients > 1)
            .collect();
        assert_eq!(joined, self.joined, "rounds with several clients are known as such");
        let attempts: usize = self.rounds.values().map(|r| r.attempts.len()).sum();
        assert_eq!(attempts, self.shared.attempts.len(), "an attempt outlived its round");
        let clients: usize = self.rounds.values().map(|r| r.clients.len()).sum();
        assert_eq!(clients, self.shared.clients.len(), "a client waits for a round that has ended");
        self.shared.clients.check();
        assert!(self.rounds.len() <= self.shared.settings.limits.rounds.max(1), "more rounds than allowed");
        let waiting = self.rounds.values().filter(|round| round.asks_site()).count();
        assert_eq!(waiting, self.shared.site.waiting, "rounds that wait for the site are counted");
        for round in self.rounds.values() {
            self.check_round(round);
        }
        self.shared.answers.check_invariants();
    }

    fn check_round(&self, round: &Round) {
        assert!(round.timer <= round.deadline, "a round sleeps past its deadline");
        let mut asked = BTreeSet::new();
        for attempt in round.attempts.iter() {
            assert_eq!(
                self.shared.attempts.get(&attempt.id),
                Some(&round.id),
                "an attempt belongs to one round"
            );
            assert!(
                asked.insert((attempt.upstream, *attempt.target.name(), attempt.mode.transport as u8)),
                "two attempts at once for one question, upstream and transport"
            );
        }
        for client in &round.clients {
            assert_eq!(self.shared.clients.get(client), Some(&round.id), "a client waits for one round");
        }
        match &round.phase {
            Phase::AsksSite { .. } => {
                assert!(round.attempts.is_empty() && round.has_sent_nothing, "a round waits and has asked");
                assert!(round.unasked.is_empty() && round.next_wave_at.is_none(), "a wave before its time");
            }
            Phase::Racing { .. } => assert!(!round.attempts.is_empty(), "a round races without an attempt"),
            Phase::Denied { .. } => {
                assert!(round.clients.is_empty(), "an answered round keeps clients waiting")
            }
            Phase::Completing { set } => {
                assert!(round.clients.is_empty(), "an answered round keeps clients waiting");
                assert!(
                    !set.addresses.is_empty() && set.addresses.len() <= ADDRESSES_MAX,
                    "a set without addresses"
                );
                let unique: BTreeSet<_> = set.addresses.iter().map(|a| a.address).collect();
                assert_eq!(unique.len(), set.addresses.len(), "an address twice in a set");
                assert_eq!(set.round, round.id, "a set of another round");
            }
        }
    }
}
