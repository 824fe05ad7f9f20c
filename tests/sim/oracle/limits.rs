//! More queries than the limits allow: the client that is refused, or the client whose round is evicted.

use super::Oracle;
use hither_rounds::{ClientId, Question, Source};
use hither_table::Monotonic;

/// The client that asks in a call, and the question that is refused or evicted for it.
#[derive(Debug, Default)]
pub(super) struct Newcomer {
    asks: Option<(ClientId, Question)>,
    /// Whether the limit of rounds was reached when the client asked.
    pub is_full: bool,
    /// The question of the clients that were refused or evicted in this call.
    evicted: Option<Question>,
}

impl Newcomer {
    pub fn of(client: ClientId, question: Question, is_full: bool) -> Newcomer {
        Newcomer { asks: Some((client, question)), is_full, evicted: None }
    }
}

impl Oracle {
    /// Judges a reply that a limit is reached: the client is the newcomer, or was evicted for the newcomer.
    ///
    /// In worlds with low limits, each name has clients of one source.
    pub(super) fn is_evicted(&mut self, now: Monotonic, client: ClientId) {
        let (newcomer, asked) = self.newcomer.asks.expect("a client is evicted, and no new client has asked");
        let found = self.questions.iter().find(|(_, known)| known.clients.contains_key(&client));
        let question = *found.expect("a reply to a client that does not wait").0;
        self.evict_one(question);
        let (own, other) = (newcomer.source(), client.source());
        let waiting = |source: Source| {
            self.clients().filter(|(id, _)| id.source() == source && *id != newcomer).count()
        };
        let crowd = |asked: Question| self.clients().filter(|(id, q)| *q == asked && *id != newcomer).count();
        let limits = self.settings.limits;
        let longest = self.rating.longest;
        let all_clients = self.clients().filter(|(id, _)| *id != newcomer).count() >= limits.clients;
        let all_rounds = self.has_all_rounds();
        assert!(all_clients || all_rounds, "{client:?} is evicted although no limit is reached");
        if client == newcomer {
            let others = || self.clients().map(|(id, _)| id.source());
            let fair = others().all(|other| other == own || waiting(other) <= waiting(own) + 1)
                && self.clients().all(|(_, q)| crowd(q) <= crowd(asked) + 1);
            let late = |began| now.since(began) > longest;
            let slow = self.live().find(|(_, began, stage)| *stage == Stage::Races && late(*began));
            let behind =
                self.live().find(|(other, ..)| *other != own && self.least(*other) > self.most(own) + 1);
            let answered = self.live().any(|(.., stage)| stage == Stage::Answered);
            assert!(
                (all_clients && fair) || (all_rounds && slow.is_none() && behind.is_none() && !answered),
                "{client:?} is refused although {slow:?} is slow, or a source has more rounds: {behind:?}"
            );
        } else {
            let fair = waiting(other) > waiting(own) + 1 || crowd(question) > crowd(asked) + 1;
            let round = self.questions[&question].rounds.last();
            let slow = round.is_some_and(|r| now.since(r.started) > longest);
            let fullest = self.most(other) > self.least(own) + 1;
            assert!(
                (all_clients && fair) || (all_rounds && (slow || fullest)),
                "{client:?} is evicted although its round is not slow and its source has not the most"
            );
        }
        if let Some(known) = self.questions.get_mut(&question) {
            known.clients.remove(&client);
        }
    }

    /// Notes that a client with this question is refused or evicted. In one call this is one client, or all
    /// clients of one round.
    fn evict_one(&mut self, question: Question) {
        let first = *self.newcomer.evicted.get_or_insert(question);
        assert!(
            first == question,
            "{first:?} and {question:?} are both evicted, and one would have sufficed"
        );
    }

    /// Whether a client has its answer because its round is evicted for a new client.
    pub(super) fn is_pressed(&mut self, client: ClientId, question: Question) -> bool {
        let Some((newcomer, asked)) = self.newcomer.asks else { return false };
        let evicted = self.newcomer.evicted;
        assert!(client != newcomer || evicted.is_none(), "{evicted:?} is evicted for one that does not wait");
        let pressed = self.newcomer.is_full && asked != question;
        if pressed {
            self.evict_one(question);
        }
        pressed
    }

    /// Whether the limits allow no other round.
    pub(super) fn has_all_rounds(&self) -> bool {
        let limits = self.settings.limits;
        self.live().count() >= limits.rounds || self.open.len() + self.settings.first > limits.attempts
    }

    fn clients(&self) -> impl Iterator<Item = (ClientId, Question)> {
        self.questions.iter().flat_map(|(question, known)| known.clients.keys().map(|id| (*id, *question)))
    }

    /// Live rounds: their source, when they began, and their stage.
    fn live(&self) -> impl Iterator<Item = (Source, Monotonic, Stage)> {
        self.questions.values().filter_map(|known| {
            let round = known.rounds.last().filter(|round| !round.open.is_empty())?;
            let stage = match (round.good.is_empty(), round.dissent.denials.is_empty()) {
                (true, true) => Stage::Races,
                (true, false) => Stage::Denied,
                (false, _) => Stage::Answered,
            };
            Some((known.source?, round.started, stage))
        })
    }

    /// The number of a source's rounds that certainly race.
    fn least(&self, source: Source) -> usize {
        self.live().filter(|(own, _, stage)| *stage == Stage::Races && *own == source).count()
    }

    /// The number of a source's rounds that may race.
    fn most(&self, source: Source) -> usize {
        self.live().filter(|(own, _, stage)| *stage != Stage::Answered && *own == source).count()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Races,
    /// A denial was received: clients have it, or it waits for a second one.
    Denied,
    Answered,
}
