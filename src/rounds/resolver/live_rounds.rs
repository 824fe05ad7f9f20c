//! The index of live rounds: by timer, by age and source, by number of clients. Every change of a round
//! is made through it.

use crate::resolver::Rounds;
use crate::round::{End, Phase, Round};
use crate::shared::Shared;
use crate::trace::Trace;
use std::collections::BTreeSet;

/// A live round, as operators see it.
#[derive(Clone, Copy, Debug)]
pub struct LiveRound<'r> {
    /// Its question, its age and its attempts.
    pub trace: &'r Trace,
    /// How many clients wait for its answer.
    pub clients: usize,
}

impl Rounds {
    /// The live rounds, the oldest first.
    pub fn live_rounds(&self) -> impl Iterator<Item = LiveRound<'_>> {
        self.rounds.values().map(|round| LiveRound { trace: &round.trace, clients: round.clients.len() })
    }

    /// Lets a round act, then sets its timer, or ends it.
    pub(crate) fn with(&mut self, id: u64, act: impl FnOnce(&mut Round, &mut Shared) -> Option<End>) {
        self.with_round_only(id, act);
        if self.shared.clients.has_validating() {
            self.separate_validating_clients(id);
        }
    }

    /// As [`Rounds::with`], but does not move validating clients to a round of their own.
    pub(crate) fn with_round_only(
        &mut self,
        id: u64,
        act: impl FnOnce(&mut Round, &mut Shared) -> Option<End>,
    ) {
        let now = self.shared.now;
        let Some(round) = self.rounds.get_mut(&id) else { return };
        let raced = round.is_racing();
        let end = act(round, &mut self.shared);
        if raced && !round.is_racing() {
            self.racing.leave(id, round.source, Some(now));
            self.answered.insert(id);
        }
        if let Some(end) = end {
            if let Some(round) = self.rounds.remove(&id) {
                self.unindex(&round);
                self.finish(round, end);
            }
            return;
        }
        let timer = round.wake();
        if timer != round.timer {
            self.timers.remove(&(round.timer, id));
            self.timers.insert((timer, id));
            round.timer = timer;
        }
        if round.joined != round.clients.len() {
            note_joined(&mut self.joined, round);
        }
    }

    pub(crate) fn index(&mut self, mut round: Box<Round>) {
        round.timer = round.wake();
        self.timers.insert((round.timer, round.id));
        match round.phase {
            Phase::AsksSite { .. } | Phase::Racing { .. } => {
                let most = self.shared.settings.limits.rounds;
                self.racing.enter(round.id, round.source, round.trace.started, most);
            }
            Phase::Denied { .. } | Phase::Completing { .. } => {
                self.answered.insert(round.id);
            }
        }
        note_joined(&mut self.joined, &mut round);
        self.rounds.insert(round.id, round);
    }

    fn unindex(&mut self, round: &Round) {
        self.timers.remove(&(round.timer, round.id));
        match round.phase {
            Phase::AsksSite { .. } | Phase::Racing { .. } => {
                self.racing.leave(round.id, round.source, None);
            }
            Phase::Denied { .. } | Phase::Completing { .. } => {
                self.answered.remove(&round.id);
            }
        }
        if round.joined > 1 {
            self.joined.remove(&(round.joined, round.id));
        }
    }
}

/// Notes the number of a round's clients, if there are several.
fn note_joined(joined: &mut BTreeSet<(usize, u64)>, round: &mut Round) {
    let now = round.clients.len();
    if round.joined > 1 {
        joined.remove(&(round.joined, round.id));
    }
    if now > 1 {
        joined.insert((now, round.id));
    }
    round.joined = now;
}
