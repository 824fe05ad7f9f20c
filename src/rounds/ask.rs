//! The lives of rounds: how one begins, is joined, gives way to another, and ends.

use crate::mutant::Mutant;
use crate::reply::{Answer, ede};
use crate::round::{End, Phase, Round, Start};
use crate::settings::{DOWN_DEADLINE, DOWN_TRIAL, PATIENCE};
use crate::{Action, ClientId, Question, Rounds, Source};
use hither_local::{LocalAnswer, Reason};
use hither_table::{Counter, FamilyView, Key, Monotonic, State};
use hither_wire::codes::Rcode;
use std::rc::Rc;

impl Rounds {
    pub(crate) fn ask(&mut self, now: Monotonic, client: ClientId, question: &Question, recursion: bool) {
        if self.stopping {
            return self.refuse(client, Rcode::SERVFAIL, ede::NOT_READY);
        }
        self.purge(&question.name);
        if let Some(said) = self.shared.said_here(question) {
            return self.say_here(client, &Rc::new(said));
        }
        if let Some(answer) = self.shared.cached(now, question) {
            self.shared.count(Counter::Hits);
            let flight = self.shared.flight(now, question);
            let failed = self.shared.answers.has_failed(now, &flight.asked());
            self.shared.reply(client, answer);
            if failed {
                self.try_again(now, &flight);
            }
            return;
        }
        let checks = question.checking_disabled;
        let question = &self.shared.flight(now, question);
        // The cache has just been looked into.
        let stale = match question.family() {
            Some(family) => self.shared.is_stale(now, family),
            None => self.shared.stale(now, question).is_some(),
        };
        if self.shared.group(&question.name).is_empty() {
            return self.refuse(client, Rcode::SERVFAIL, ede::NOT_READY);
        }
        self.shared.count(Counter::Misses);
        if !recursion {
            return self.refuse(client, Rcode::REFUSED, ede::NOT_READY);
        }
        let early = self.shared.mutants.has(Mutant::TwoGiveWayForOne);
        if early && !self.makes_room_for(now, client, question) {
            return self.shed(client);
        }
        if checks && !question.checking_disabled {
            self.shared.clients.note_checker(client);
        }
        match self.live.get(question).copied() {
            Some(id) if !self.shared.mutants.has(Mutant::NoCoalescing) => self.join(now, id, client),
            Some(_) | None => {
                let question = self.shared.spare.question(question);
                let clients = self.shared.spare.client(client);
                self.begin(now, question, clients, stale);
            }
        }
    }

    fn say_here(&mut self, client: ClientId, said: &Rc<LocalAnswer>) {
        self.shared.count(Counter::LocalAnswers);
        self.shared.counters.add(Counter::Blocked, u64::from(said.reason == Reason::Blocked));
        self.shared.reply(client, Answer::Local(Rc::clone(said)));
    }

    /// While nobody can be reached a question is asked now and then although its failure is remembered, to see who is back.
    fn try_again(&mut self, now: Monotonic, question: &Question) {
        if now < self.trial_at
            || self.live.contains_key(question)
            || !self.shared.all_down(now, &question.name)
        {
            return;
        }
        self.trial_at = now.plus(DOWN_TRIAL);
        let stale = self.shared.stale(now, question).is_some();
        let question = self.shared.spare.question(question);
        self.begin(now, question, Vec::new(), stale);
    }

    /// A round that nobody waits for, where an entry is about to end; never at the cost of one that somebody waits for.
    pub(crate) fn refresh(&mut self, now: Monotonic, question: Question) {
        let room = self.rounds.len() < self.shared.settings.limits.rounds / 2;
        let unknown =
            self.shared.group(&question.name).is_empty() || self.shared.said_here(&question).is_some();
        if self.stopping || unknown || !room || self.live.contains_key(&question) {
            return;
        }
        let Some(family) = question.family() else { return };
        self.purge(&question.name);
        if !self.shared.writer.get(&Key::of(&question.name), &mut self.shared.scratch) {
            return;
        }
        let any = self.shared.mutants.has(Mutant::RefreshesWhatIsFresh);
        let due = |set: &FamilyView<'_>| (set.is_ending(now) || any) && !set.expired(now);
        if self.shared.scratch.family(family).is_some_and(|set| due(&set)) {
            self.shared.count(Counter::Prefetches);
            let question = self.shared.spare.question(&question);
            self.begin(now, question, Vec::new(), false);
        }
    }

    /// The client waits for the round that is live, unless that has been answered: then what it published is over, and so is it.
    fn join(&mut self, now: Monotonic, id: u64, client: ClientId) {
        let Some(round) = self.rounds.get_mut(&id) else { return self.shed(client) };
        let question = Rc::clone(&round.question);
        if !matches!(round.phase, Phase::Racing { .. }) {
            self.supersede(now, id);
            let stale = self.shared.stale(now, &question).is_some();
            let clients = self.shared.spare.client(client);
            return self.begin(now, question, clients, stale);
        }
        if round.stale_at.is_none()
            && now.since(round.trace.started) >= self.shared.settings.stale_wait
            && let Some(answer) = self.shared.stale(now, &question)
        {
            self.shared.count(Counter::StaleServed);
            return self.shared.reply(client, answer);
        }
        if self.shared.mutants.has(Mutant::SharedRoundIsBounded) && !round.clients.is_empty() {
            return self.shed(client);
        }
        if !self.makes_room_for(now, client, &question) {
            return self.shed(client);
        }
        self.shared.clients.insert(client, id);
        if let Some(round) = self.rounds.get_mut(&id) {
            round.source = self.racing.share(id, round.source, client.source());
        }
        self.with(now, id, |round, _| {
            round.clients.push(client);
            None
        });
    }

    /// Whether as many clients wait as may.
    fn is_full(&self) -> bool {
        self.shared.clients.len() >= self.shared.settings.limits.clients
    }

    /// Makes room for a round and for who waits for it; `false`: it is the newcomer's turn to go. Nobody gives way to a round that nobody waits for.
    ///
    /// Who waits for a round that ends leaves a place: so the round's room comes first, and nobody else has to go where that is enough.
    fn admits(&mut self, now: Monotonic, newcomer: Option<ClientId>, question: &Question) -> bool {
        let Some(client) = newcomer else { return self.has_room() };
        // Nobody waits for a round that has answered. Where no client would give way it ends in vain.
        let in_vain = (self.has_room() || !self.answered.is_empty())
            && self.is_full()
            && self.client_that_gives_way(client, question).is_none();
        !in_vain && self.makes_room(now, client.source()) && self.makes_room_for(now, client, question)
    }

    /// Lets somebody who waits go for a newcomer, when as many wait as may; `false`: it is the newcomer's turn to go.
    fn makes_room_for(&mut self, now: Monotonic, newcomer: ClientId, question: &Question) -> bool {
        if !self.is_full() {
            return true;
        }
        let Some(client) = self.client_that_gives_way(newcomer, question) else { return false };
        self.client_gone(now, client);
        self.shed(client);
        true
    }

    /// Who of those who wait goes for a newcomer: one of the source that has most, else one of those who ask what most ask.
    fn client_that_gives_way(&self, newcomer: ClientId, question: &Question) -> Option<ClientId> {
        let own = self.live.get(question).and_then(|id| self.rounds.get(id)).map_or(0, |r| r.clients.len());
        let fullest = self.shared.clients.gives_way(newcomer.source());
        let asked_most = || {
            let (most, id) = self.crowds.last()?;
            self.rounds.get(id).filter(|_| *most > own + 1)?.clients.last().copied()
        };
        fullest.or_else(asked_most)
    }

    fn begin(&mut self, now: Monotonic, question: Rc<Question>, clients: Vec<ClientId>, stale: bool) {
        if !self.admits(now, clients.first().copied(), &question) {
            return clients.into_iter().for_each(|client| self.shed(client));
        }
        let mut patience = self.shared.settings.deadline;
        if self.shared.all_down(now, &question.name) {
            patience = patience.min(DOWN_DEADLINE);
        }
        let deadline = now.plus(patience);
        self.begin_with(now, Start { question, clients, deadline, stale });
    }

    /// Whether there is room for one more round, with its first attempts.
    fn has_room(&self) -> bool {
        let (limits, first) = (&self.shared.settings.limits, self.shared.settings.first.max(1));
        self.rounds.len() < limits.rounds && self.shared.attempts.len() + first <= limits.attempts.max(first)
    }

    /// Ends rounds until there is room for one of `source`, or at least for one attempt of it; `false`: there is none.
    fn makes_room(&mut self, now: Monotonic, source: Source) -> bool {
        // Each that ends gives a place, and an attempt at least.
        for _ in 0..=self.shared.settings.first.max(1) {
            if self.has_room() {
                return true;
            }
            if let Some(oldest) = self.answered.first().copied() {
                self.end(now, oldest, End::Partial);
            } else if let Some(id) = self.gives_way(now, source) {
                self.give_way(now, id);
            } else {
                break;
            }
        }
        let limits = &self.shared.settings.limits;
        self.rounds.len() < limits.rounds && self.shared.attempts.len() < limits.attempts
    }

    /// Which of the rounds that race ends for a newcomer of `source`.
    fn gives_way(&self, now: Monotonic, source: Source) -> Option<u64> {
        let mutants = self.shared.mutants;
        let fullest =
            self.racing.of_the_fullest(now, source).filter(|_| !mutants.has(Mutant::TheNewestGivesWay));
        let slowest = || self.racing.slowest(now, source);
        fullest.or_else(|| slowest().filter(|_| !mutants.has(Mutant::NewcomerIsRefusedBeforeTheSlow)))
    }

    /// A round ends for a newcomer's sake: who waits for it is told what is known, or else that there is more to do than can be done.
    fn give_way(&mut self, now: Monotonic, id: u64) {
        self.with(now, id, |round, shared| {
            round.give_up(shared, now);
            Some(End::Partial)
        });
    }

    fn begin_with(&mut self, now: Monotonic, start: Start) {
        self.shared.count(Counter::RoundsStarted);
        self.supersede_saved(&start.question);
        let mut round = Round::start(&mut self.shared, now, start);
        self.live.insert(Rc::clone(&round.question), round.id);
        match round.conclude(&mut self.shared, now) {
            Some(end) => self.finish(now, round, end),
            None => self.index(round),
        }
    }

    fn shed(&mut self, client: ClientId) {
        self.shared.count(Counter::ShedQueries);
        self.refuse(client, Rcode::SERVFAIL, ede::OTHER);
    }

    pub(crate) fn refuse(&mut self, client: ClientId, rcode: Rcode, ede: u16) {
        self.shared.reply(client, Answer::Failure { rcode, ede: Some(ede) });
    }

    pub(crate) fn client_gone(&mut self, now: Monotonic, client: ClientId) {
        let Some(id) = self.shared.clients.remove(client) else { return };
        // Others begin nothing because of that: it may be to make room.
        self.with_round(now, id, |round, _| {
            // Mostly it is one of the latest.
            if let Some(at) = round.clients.iter().rposition(|waiting| *waiting == client) {
                round.clients.remove(at);
            }
            None
        });
    }

    pub(crate) fn end(&mut self, now: Monotonic, id: u64, end: End) {
        self.with(now, id, |_, _| Some(end));
    }

    /// Ends a live round whose clients have been answered, or whose clients the caller takes over.
    pub(crate) fn supersede(&mut self, now: Monotonic, id: u64) {
        self.end(now, id, End::Superseded);
    }

    /// Ends a live round; clients that still wait go on in a fresh one with the old deadline, or are told what is said here by now.
    pub(crate) fn restart(&mut self, now: Monotonic, id: u64) {
        if let Some(start) = self.halt(now, id) {
            self.go_on(now, start);
        }
    }

    /// Ends a live round; what [`Rounds::go_on`] begins for clients that still wait.
    pub(crate) fn halt(&mut self, now: Monotonic, id: u64) -> Option<Start> {
        let round = self.rounds.get_mut(&id)?;
        let (question, deadline) = (Rc::clone(&round.question), round.deadline);
        if now >= deadline {
            // No time is left for another: its clients get what a round without an answer ends with.
            self.with(now, id, |round, shared| {
                if !round.clients.is_empty() {
                    round.fail(shared, now);
                }
                Some(End::Superseded)
            });
            return None;
        }
        let clients = std::mem::take(&mut round.clients);
        self.supersede(now, id);
        (!clients.is_empty()).then_some(Start { question, clients, deadline, stale: false })
    }

    /// Goes on with the clients of a round that was ended.
    pub(crate) fn go_on(&mut self, now: Monotonic, start: Start) {
        if let Some(said) = self.shared.said_here(&start.question) {
            let said = Rc::new(said);
            return start.clients.into_iter().for_each(|client| self.say_here(client, &said));
        }
        self.purge(&start.question.name);
        let stale = self.shared.stale(now, &start.question).is_some();
        self.begin_with(now, Start { stale, ..start });
    }

    /// Those who check signatures themselves do not wait for what others may find wrong.
    pub(crate) fn part_checkers(&mut self, now: Monotonic, id: u64) {
        let Some(round) = self.rounds.get(&id).filter(|round| round.is_racing() && round.refuted) else {
            return;
        };
        let (question, deadline) = (Rc::clone(&round.question), round.deadline);
        if self.has_room() || self.live.contains_key(&question.unchecked()) {
            let mut checkers = Vec::new();
            self.with_round(now, id, |round, shared| {
                checkers = round.take_checkers(shared, now);
                None
            });
            self.ask_unchecked(now, &question, checkers, deadline);
        }
    }

    /// Clients that have their places and check signatures themselves get the answer as it is (RFC 4035 section 3.2.2).
    fn ask_unchecked(&mut self, now: Monotonic, of: &Question, clients: Vec<ClientId>, deadline: Monotonic) {
        if clients.is_empty() {
            return;
        }
        let question = of.unchecked();
        let live = self.live.get(&question).copied();
        if let Some(id) = live.filter(|id| self.rounds.get(id).is_some_and(|round| round.is_racing())) {
            for client in &clients {
                self.shared.clients.insert(*client, id);
                if let Some(round) = self.rounds.get_mut(&id) {
                    round.source = self.racing.share(id, round.source, client.source());
                }
            }
            return self.with(now, id, |round, _| {
                round.clients.extend(clients);
                None
            });
        }
        if let Some(id) = live {
            self.supersede(now, id);
        }
        let stale = self.shared.stale(now, &question).is_some();
        self.begin_with(now, Start { question: Rc::new(question), clients, deadline, stale });
    }

    /// The end of a round: afterwards it holds no socket, timer or memory (I4). What it held is lent to others.
    pub(crate) fn finish(&mut self, now: Monotonic, mut round: Box<Round>, end: End) {
        if self.live.get(&round.question) == Some(&round.id) {
            self.live.remove(&round.question);
        }
        self.shared.count(match end {
            End::Complete => Counter::RoundsComplete,
            End::Partial => Counter::RoundsPartial,
            End::Superseded => Counter::RoundsSuperseded,
        });
        round.stop_asking(&mut self.shared);
        let given_up = matches!(round.phase, Phase::Racing { .. });
        if end == End::Partial && (now >= round.deadline || given_up) {
            self.unanswered(now, &mut round);
        }
        round.cancel(&mut self.shared, now, Some(round.deadline));
        if end != End::Superseded || self.shared.mutants.has(Mutant::PublishesAfterSupersede) {
            self.publish_end(now, &mut round, end);
        }
        let (checkers, question, deadline) =
            (std::mem::take(&mut round.clients), Rc::clone(&round.question), round.deadline);
        self.shared.spare.keep(round, &mut self.shared.traces);
        self.ask_unchecked(now, &question, checkers, deadline);
    }

    /// Attempts that had their time and were not answered: failures of their upstreams.
    fn unanswered(&mut self, now: Monotonic, round: &mut Round) {
        while let Some(at) = round
            .attempts
            .iter()
            .position(|a| now.since(a.sent) >= PATIENCE.min(self.shared.settings.deadline))
        {
            let attempt = round.close(&mut self.shared, now, at, "timeout");
            // A connection was opened because of an answer.
            if attempt.is_udp()
                && let Some(upstream) = self.shared.upstream(attempt.upstream)
                && let Some(note) = upstream.failed(now, attempt.sent)
            {
                self.shared.actions.push_back(Action::Note(note));
            }
        }
    }

    fn publish_end(&mut self, now: Monotonic, round: &mut Round, end: End) {
        // The round has ended: its set is not looked at again.
        let (Phase::Completing { mut set } | Phase::Denied { set: Some(mut set) }) = round.take_phase()
        else {
            return;
        };
        let state = if end == End::Complete { State::Complete } else { State::Partial };
        let Some(family) = round.question.family() else { return };
        if set.state != state {
            set.state = state;
            match self.shared.publish(now, &round.question.name, family, set) {
                Ok(published) => set = published.set,
                Err(error) => {
                    let reason = error.reason();
                    return self.shared.actions.push_back(Action::Note(crate::Note::NotStored { reason }));
                }
            }
        }
        (round.room.addresses, round.room.chains) = (set.addresses, set.chains);
    }
}
