//! The end of a round: complete, partial or superseded. An ended round has no socket, timer or client
//! (I4).

use crate::action::Action;
use crate::attempt::Attempt;
use crate::reply::ede;
use crate::resolver::Rounds;
use crate::round::{End, Phase, Round, Start};
use crate::settings::TIMEOUT_MIN;
use crate::site::Ask;
use crate::trace::{Cause, RoundEnd, SiteOutcome};
use hither_table::{Counter, State, Timed, UpstreamFailure};
use hither_wire::codes::Rcode;
use std::rc::Rc;

impl Rounds {
    pub(crate) fn end(&mut self, id: u64, end: End) {
        self.with(id, |_, _| Some(end));
    }

    /// Ends a live round that has answered its clients, or whose clients the caller takes over.
    pub(crate) fn supersede(&mut self, id: u64) {
        self.end(id, End::Superseded);
    }

    /// Ends a live round. Its waiting clients continue in a new round with the same deadline, or get a
    /// local answer.
    pub(crate) fn restart(&mut self, id: u64) {
        if let Some(start) = self.stop_for_restart(id) {
            self.begin_again(start);
        }
    }

    /// Ends a live round and returns what [`Rounds::begin_again`] needs for its waiting clients.
    pub(crate) fn stop_for_restart(&mut self, id: u64) -> Option<Start> {
        let now = self.shared.now;
        let round = self.rounds.get_mut(&id)?;
        let (question, deadline) = (Rc::clone(&round.question), round.deadline);
        if now >= deadline {
            // The deadline has passed: the clients get the replies of a failed round.
            self.with(id, |round, shared| {
                if !round.clients.is_empty() {
                    round.fail(shared);
                }
                Some(End::Superseded)
            });
            return None;
        }
        let clients = std::mem::take(&mut round.clients);
        self.supersede(id);
        (!clients.is_empty()).then_some(Start { question, clients, deadline, stale: false, ask: Ask::No })
    }

    /// Continues with the waiting clients of a round that was ended.
    pub(crate) fn begin_again(&mut self, start: Start) {
        if let Some(said) = self.shared.local_answer(&start.question) {
            let said = Rc::new(said);
            return start.clients.into_iter().for_each(|client| self.reply_locally(client, &said));
        }
        self.remove_void(&start.question.name);
        let stale = self.shared.stale(&start.question).is_some();
        self.start_round(Start { stale, ..start });
    }

    /// Ends a round: afterwards it has no socket, timer or client (I4). Its memory is reused.
    pub(crate) fn finish(&mut self, mut round: Box<Round>, end: End) {
        let now = self.shared.now;
        if self.live.get(&round.question) == Some(&round.id) {
            self.live.remove(&round.question);
        }
        self.shared.count(match end {
            End::Complete => Counter::RoundsComplete,
            End::Partial => Counter::RoundsPartial,
            End::Superseded => Counter::RoundsSuperseded,
        });
        self.note_time(&round, end);
        round.end_site_wait(&mut self.shared, SiteOutcome::NotAwaited);
        round.clear_unasked(&mut self.shared);
        let given_up = round.is_racing();
        if end == End::Partial && (now >= round.deadline || given_up) {
            self.note_timeouts(&mut round);
        }
        round.cancel(&mut self.shared, Some(round.deadline));
        if end != End::Superseded || self.shared.faults.may_publish_superseded() {
            self.publish_end(&mut round, end);
        }
        let how = match end {
            End::Complete => "complete",
            End::Partial => "partial",
            End::Superseded => "superseded",
        };
        round.trace.ended = Some(RoundEnd { at: now, how });
        let (validating, question, deadline) =
            (std::mem::take(&mut round.clients), Rc::clone(&round.question), round.deadline);
        self.pool.keep(round, &mut self.shared.traces);
        self.ask_unvalidated(&question, validating, deadline);
    }

    fn note_time(&self, round: &Round, end: End) {
        let of = match end {
            End::Complete => Timed::RoundComplete,
            End::Partial => Timed::RoundPartial,
            End::Superseded => return,
        };
        self.recorder().note_time(of, self.shared.now.since(round.trace.started));
    }

    /// Counts attempts that had enough time and no response as failures of their upstreams.
    fn note_timeouts(&mut self, round: &mut Round) {
        let now = self.shared.now;
        let timeout = TIMEOUT_MIN.min(self.shared.settings.deadline);
        let timed_out = |a: &&Attempt| now.since(a.sent) >= timeout;
        while let Some(id) = round.attempts.iter().find(timed_out).map(|a| a.id) {
            let attempt = round.close(&mut self.shared, id, "timeout");
            self.shared.count_failure(attempt.upstream, UpstreamFailure::Timeout);
            round.note_failure(&mut self.shared, &attempt);
        }
    }

    fn publish_end(&mut self, round: &mut Round, end: End) {
        // The round has ended: its set is not used again.
        let (Phase::Completing { mut set } | Phase::Denied { set: Some(mut set) }) = round.take_phase()
        else {
            return;
        };
        let state = if end == End::Complete { State::Complete } else { State::Partial };
        let Some(family) = round.question.family() else { return };
        if set.state != state {
            set.state = state;
            set.agreement = round.heard.agreement(&set.addresses, self.shared.faults);
            match self.shared.publish(&round.question.name, family, set, Cause::Ended) {
                Ok(published) => set = published.set,
                Err(error) => {
                    let reason = error.reason();
                    return self.shared.actions.push_back(Action::Note(crate::Note::NotStored { reason }));
                }
            }
        }
        (round.lists.addresses, round.lists.chains) = (set.addresses, set.chains);
    }

    pub(crate) fn shutdown(&mut self) {
        self.stopping = true;
        self.restoring = None;
        let live: Vec<u64> = self.live.values().copied().collect();
        for id in live {
            let Some(round) = self.rounds.get_mut(&id) else { continue };
            for client in std::mem::take(&mut round.clients) {
                self.refuse(client, Rcode::SERVFAIL, ede::NOT_READY);
            }
            self.supersede(id);
        }
    }
}
