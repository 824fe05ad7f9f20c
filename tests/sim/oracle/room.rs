//! When there is more to do than may be done: who is refused, and who gives way to whom.

use super::Oracle;
use hither_rounds::{ClientId, Question, Source};
use hither_table::Monotonic;
use std::time::Duration;

/// What happens in a step, as far as room is concerned.
#[derive(Debug, Default)]
pub struct Room {
    /// Who asks.
    pub newcomer: Option<(ClientId, Question)>,
    /// There was no room for another round when it asked.
    pub is_full: bool,
    /// What they asked who gave way.
    pub gone: Option<Question>,
    /// What the core takes for longer than usual; that this is well judged is the business of its own tests.
    pub longest: Duration,
}

impl Oracle {
    /// What the core takes for longer than usual.
    pub fn before_ask(&mut self, longest: Duration) {
        self.room.longest = longest;
    }

    /// A client is told that there is more to do than can be done: a newcomer, or for a newcomer's sake.
    ///
    /// Worlds in which that happens have names of which each is asked by one source alone.
    pub fn gives_way(&mut self, now: Monotonic, client: ClientId) {
        let (newcomer, asked) = self.room.newcomer.expect("somebody gives way, and nobody has come");
        let found = self.questions.iter().find(|(_, known)| known.clients.contains_key(&client));
        let question = *found.expect("a reply to a client that does not wait").0;
        self.leaves_a_place(question);
        let (own, other) = (newcomer.source(), client.source());
        let waiting = |source: Source| {
            self.clients().filter(|(id, _)| id.source() == source && *id != newcomer).count()
        };
        let crowd = |asked: Question| self.clients().filter(|(id, q)| *q == asked && *id != newcomer).count();
        let limits = self.settings.limits;
        let all_clients = self.clients().filter(|(id, _)| *id != newcomer).count() >= limits.clients;
        let all_rounds = self.has_all_rounds();
        assert!(all_clients || all_rounds, "{client:?} gives way although there is room");
        if client == newcomer {
            let others = || self.clients().map(|(id, _)| id.source());
            let fair = others().all(|other| other == own || waiting(other) <= waiting(own) + 1)
                && self.clients().all(|(_, q)| crowd(q) <= crowd(asked) + 1);
            let late = |began| now.since(began) > self.room.longest;
            let slow = self.live().find(|(_, began, stage)| *stage == Stage::Races && late(*began));
            let behind =
                self.live().find(|(other, ..)| *other != own && self.least(*other) > self.most(own) + 1);
            let answered = self.live().any(|(.., stage)| stage == Stage::Answered);
            assert!(
                (all_clients && fair) || (all_rounds && slow.is_none() && behind.is_none() && !answered),
                "{client:?} is refused before one that is slow {slow:?}, or of who has more {behind:?}"
            );
        } else {
            let fair = waiting(other) > waiting(own) + 1 || crowd(question) > crowd(asked) + 1;
            let slow = self.questions[&question]
                .rounds
                .last()
                .is_some_and(|r| now.since(r.started) > self.room.longest);
            let fullest = self.most(other) > self.least(own) + 1;
            assert!(
                (all_clients && fair) || (all_rounds && (slow || fullest)),
                "{client:?} gives way although it is neither slow nor of who has most"
            );
        }
        if let Some(known) = self.questions.get_mut(&question) {
            known.clients.remove(&client);
        }
    }

    /// Somebody who asks this has gone for the newcomer's sake, or is the newcomer: one does, with all who wait for the same where their round ends.
    fn leaves_a_place(&mut self, question: Question) {
        let first = *self.room.gone.get_or_insert(question);
        assert!(first == question, "{first:?} and {question:?} both give way, where one would do");
    }

    /// A client has an answer: whether it has it because its round ends for a newcomer's sake.
    pub fn is_pressed(&mut self, client: ClientId, question: Question) -> bool {
        let Some((newcomer, asked)) = self.room.newcomer else { return false };
        let gone = self.room.gone;
        assert!(client != newcomer || gone.is_none(), "{gone:?} gave way to one who does not wait");
        let pressed = self.room.is_full && asked != question;
        if pressed {
            self.leaves_a_place(question);
        }
        pressed
    }

    pub fn has_all_rounds(&self) -> bool {
        let limits = self.settings.limits;
        self.live().count() >= limits.rounds || self.open.len() + self.settings.first > limits.attempts
    }

    fn clients(&self) -> impl Iterator<Item = (ClientId, Question)> {
        self.questions.iter().flat_map(|(question, known)| known.clients.keys().map(|id| (*id, *question)))
    }

    /// Rounds that go on: whose they are, since when, and how far they have come.
    fn live(&self) -> impl Iterator<Item = (Source, Monotonic, Stage)> {
        self.questions.values().filter_map(|known| {
            let round = known.rounds.last().filter(|round| !round.open.is_empty())?;
            let stage = match (round.good.is_empty(), round.denials.is_empty()) {
                (true, true) => Stage::Races,
                (true, false) => Stage::Denied,
                (false, _) => Stage::Answered,
            };
            Some((known.source?, round.started, stage))
        })
    }

    /// How many rounds of a source race for certain, and how many may.
    fn least(&self, source: Source) -> usize {
        self.live().filter(|(own, _, stage)| *stage == Stage::Races && *own == source).count()
    }

    fn most(&self, source: Source) -> usize {
        self.live().filter(|(own, _, stage)| *stage != Stage::Answered && *own == source).count()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Races,
    /// A denial has come: clients have it, or it waits for a second one.
    Denied,
    Answered,
}
