//! Questions of clients: the reply comes from the cache, from a live round that the client joins, or
//! from a new round.

use crate::ids::ClientId;
use crate::question::Question;
use crate::reply::{Answer, ede};
use crate::resolver::Rounds;
use crate::round::{Round, Start};
use crate::settings::{DOWN_DEADLINE, DOWN_TRIAL};
use crate::site::Ask;
use hither_local::{LocalAnswer, Reason};
use hither_table::{AnswerSource, Counter, FamilyView, Key};
use hither_wire::codes::Rcode;
use std::rc::Rc;

impl Rounds {
    pub(crate) fn ask(&mut self, client: ClientId, question: &Question, recursion: bool) {
        let now = self.shared.now;
        if self.stopping {
            return self.refuse(client, Rcode::SERVFAIL, ede::NOT_READY);
        }
        self.remove_void(&question.name);
        if let Some(said) = self.shared.local_answer(question) {
            return self.reply_locally(client, &Rc::new(said));
        }
        if let Some(answer) = self.shared.cached(question) {
            self.shared.count(Counter::Hits);
            let coalesced = self.shared.coalesced_question(question);
            let failed = self.shared.answers.has_failed(now, &coalesced.asked());
            let source =
                if self.is_from_before(&answer) { AnswerSource::Restored } else { AnswerSource::Hit };
            self.shared.counters.add(Counter::RestoredHits, u64::from(source == AnswerSource::Restored));
            self.shared.counters.add(Counter::SiteHits, u64::from(self.is_from_site(&answer)));
            self.shared.reply_from(source, client, answer);
            if failed {
                self.retry_while_down(&coalesced);
            }
            return;
        }
        let checks = question.checking_disabled;
        let question = &self.shared.coalesced_question(question);
        // The cache has no fresh answer: it has just been searched.
        let stale = match question.family() {
            Some(family) => self.shared.is_stale(family),
            None => self.shared.stale(question).is_some(),
        };
        if self.shared.group(&question.name).is_empty() {
            return self.refuse(client, Rcode::SERVFAIL, ede::NOT_READY);
        }
        self.shared.count(Counter::Misses);
        if !recursion {
            return self.refuse(client, Rcode::REFUSED, ede::NOT_READY);
        }
        if let Some(fault) = self.shared.faults.planted()
            && self.spoil_client(fault, client, question)
        {
            return self.shed(client);
        }
        if checks && !question.checking_disabled {
            self.shared.clients.note_validating(client);
        }
        match self.live.get(question).copied() {
            Some(id) => self.join(id, client),
            None => {
                let question = self.pool.question(question);
                let clients = self.pool.client(client);
                self.begin(question, clients, stale);
            }
        }
    }

    pub(crate) fn reply_locally(&mut self, client: ClientId, said: &Rc<LocalAnswer>) {
        self.shared.count(Counter::LocalAnswers);
        self.shared.counters.add(Counter::Blocked, u64::from(said.reason == Reason::Blocked));
        self.shared.reply(client, Answer::Local(Rc::clone(said)));
    }

    /// Resolves a question whose failure is cached if every upstream is down and [`DOWN_TRIAL`] has
    /// passed, to learn when an upstream is back.
    fn retry_while_down(&mut self, question: &Question) {
        let now = self.shared.now;
        if now < self.trial_at
            || self.live.contains_key(question)
            || !self.shared.all_down(&self.shared.group(&question.name))
        {
            return;
        }
        self.trial_at = now.plus(DOWN_TRIAL);
        let stale = self.shared.stale(question).is_some();
        let question = self.pool.question(question);
        self.begin(question, Vec::new(), stale);
    }

    /// Begins a round without clients for an entry that is about to expire. No round that clients wait
    /// for is evicted for it.
    pub(crate) fn refresh(&mut self, question: Question) {
        let now = self.shared.now;
        if !self.may_refresh(&question) {
            return;
        }
        let Some(family) = question.family() else { return };
        self.remove_void(&question.name);
        if !self.shared.writer.get(&Key::of(&question.name), &mut self.shared.scratch) {
            return;
        }
        let due = |set: &FamilyView<'_>| set.is_ending(now) && !set.expired(now);
        if self.shared.scratch.family(family).is_some_and(|set| due(&set)) {
            self.shared.count(Counter::Prefetches);
            let question = self.pool.question(&question);
            self.begin(question, Vec::new(), false);
        }
    }

    /// Begins a round without clients for a name that a program subscribes to, as [`Rounds::refresh`] does,
    /// but also if the table has no answer, or one that has expired.
    pub(crate) fn lease(&mut self, question: Question) {
        let now = self.shared.now;
        let Some(family) = question.family() else { return };
        if !self.may_refresh(&question) || self.shared.answers.has_failed(now, &question.asked()) {
            return;
        }
        self.remove_void(&question.name);
        let is_known = self.shared.writer.get(&Key::of(&question.name), &mut self.shared.scratch);
        let set = self.shared.scratch.family(family).filter(|_| is_known);
        let is_fresh = set.is_some_and(|set| !set.expired(now) && !set.is_ending(now));
        if is_fresh && !self.shared.faults.may_renew_what_is_fresh() {
            return;
        }
        let is_stale = is_known && self.shared.is_stale(family);
        self.shared.count(Counter::FeedRefreshes);
        let question = self.pool.question(&question);
        self.begin(question, Vec::new(), is_stale);
    }

    /// Whether there is room for rounds that no client waits for: they take half of it at most.
    #[must_use]
    pub fn has_room_for_refresh(&self) -> bool {
        self.rounds.len() < self.shared.settings.limits.rounds / 2
    }

    /// Whether a refresh of an entry may begin now.
    pub(crate) fn may_refresh(&self, question: &Question) -> bool {
        let unknown =
            self.shared.group(&question.name).is_empty() || self.shared.local_answer(question).is_some();
        !(self.stopping || unknown || !self.has_room_for_refresh() || self.live.contains_key(question))
    }

    /// Lets a client join the live round. A round that has answered is superseded instead: its set has
    /// expired, or the query would have been a hit.
    pub(crate) fn join(&mut self, id: u64, client: ClientId) {
        let now = self.shared.now;
        let Some(round) = self.rounds.get_mut(&id) else { return self.shed(client) };
        let question = Rc::clone(&round.question);
        if !round.is_racing() {
            self.supersede(id);
            let stale = self.shared.stale(&question).is_some();
            let clients = self.pool.client(client);
            return self.begin(question, clients, stale);
        }
        if round.stale_at.is_none()
            && now.since(round.trace.started) >= self.shared.settings.stale_wait
            && let Some(answer) = self.shared.stale(&question)
        {
            self.shared.count(Counter::StaleServed);
            return self.shared.reply(client, answer);
        }
        if !self.evict_for_client(client, &question) {
            return self.shed(client);
        }
        self.shared.clients.insert(client, id);
        if let Some(round) = self.rounds.get_mut(&id) {
            round.source = self.racing.move_to_smaller_source(id, round.source, client.source());
        }
        self.with(id, |round, _| {
            round.clients.push(client);
            None
        });
    }

    pub(crate) fn begin(&mut self, question: Rc<Question>, clients: Vec<ClientId>, stale: bool) {
        let now = self.shared.now;
        if !self.admit(clients.first().copied(), &question) {
            return clients.into_iter().for_each(|client| self.shed(client));
        }
        let mut time_limit = self.shared.settings.deadline;
        if self.shared.all_down(&self.shared.group(&question.name)) {
            time_limit = time_limit.min(DOWN_DEADLINE);
        }
        let deadline = now.plus(time_limit);
        let ask = if clients.is_empty() { Ask::No } else { self.how_to_ask_site(&question) };
        self.start_round(Start { question, clients, deadline, stale, ask });
    }

    pub(crate) fn start_round(&mut self, start: Start) {
        self.shared.count(Counter::RoundsStarted);
        self.note_newer_than_saved(&start.question);
        let mut round = Round::start(&mut self.shared, start, self.pool.take());
        self.live.insert(Rc::clone(&round.question), round.id);
        match round.conclude(&mut self.shared) {
            Some(end) => self.finish(round, end),
            None => self.index(round),
        }
    }

    pub(crate) fn shed(&mut self, client: ClientId) {
        self.shared.count(Counter::ShedQueries);
        self.refuse(client, Rcode::SERVFAIL, ede::OTHER);
    }

    pub(crate) fn refuse(&mut self, client: ClientId, rcode: Rcode, ede: u16) {
        self.shared.reply(client, Answer::Empty { rcode, ede: Some(ede) });
    }

    pub(crate) fn client_gone(&mut self, client: ClientId) {
        let Some(id) = self.shared.clients.remove(client) else { return };
        // No other round may begin here, since the client may be evicted for a new one.
        self.with_round_only(id, |round, _| {
            // The client is usually one of the latest.
            if let Some(at) = round.clients.iter().rposition(|waiting| *waiting == client) {
                round.clients.remove(at);
            }
            None
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, Failure, Input, Routes, Settings};
    use hither_table::{Geometry, Memory, Monotonic, Writer};
    use hither_wire::codes::Rtype;
    use std::net::SocketAddr;

    #[test]
    fn a_lease_begins_one_round_and_none_while_its_failure_is_cached() {
        let geometry = Geometry { entries: 64 };
        let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
        let upstream = SocketAddr::from(([192, 0, 2, 1], 53));
        let settings = Settings { mix_case: false, ..Settings::default() };
        let mut rounds =
            Rounds::new(settings, Routes::from(&[upstream][..]), writer.expect("a table"), Box::new(|| 7));
        let name = "www.example".parse().expect("a name");
        let question = Question { name, rtype: Rtype::A, dnssec_ok: false, checking_disabled: false };
        let lease = |rounds: &mut Rounds, ms| {
            rounds.handle(Monotonic::from_ms(ms), Input::Lease { question });
            let sent = rounds.drain().into_iter().filter_map(|action| match action {
                Action::Send { attempt, .. } => Some(attempt),
                _ => None,
            });
            let sent: Vec<_> = sent.collect();
            rounds.check_invariants();
            sent
        };
        let first = lease(&mut rounds, 1000);
        assert_eq!((first.len(), lease(&mut rounds, 1001).len()), (1, 0), "one round");
        let mut attempts = first;
        let mut ms = 1002;
        while let Some(attempt) = attempts.pop() {
            ms += 1;
            rounds.handle(Monotonic::from_ms(ms), Input::Failed { attempt, failure: Failure::Unreachable });
            attempts.extend(rounds.drain().into_iter().filter_map(|action| match action {
                Action::Send { attempt, .. } => Some(attempt),
                _ => None,
            }));
        }
        assert_eq!(lease(&mut rounds, ms + 1).len(), 0, "its failure is cached");
        assert_eq!(lease(&mut rounds, ms + 60_000).len(), 1, "the failure is forgotten");
        assert_eq!(rounds.counters().get(Counter::FeedRefreshes), 2);
    }
}
