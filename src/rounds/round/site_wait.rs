//! A round that asks the site before it asks upstreams: it has sent nothing, and waits a few milliseconds.

use crate::action::Action;
use crate::reply::Answer;
use crate::round::{Phase, Round};
use crate::shared::Shared;
use crate::site::Ask;
use crate::trace::{SiteOutcome, SiteTrace};
use hither_table::{AnswerSource, Counter, Monotonic};

impl Round {
    /// Whether the round waits for the site, and so has sent nothing.
    pub fn asks_site(&self) -> bool {
        matches!(self.phase, Phase::AsksSite { .. })
    }

    /// Begins to ask: the site or the first upstreams, or both.
    pub fn begin_to_ask(&mut self, shared: &mut Shared, ask: Ask) {
        let now = shared.now;
        if let Ask::Before(until) = ask {
            self.phase = Phase::AsksSite { until: shared.faults.end_of_site_wait(until, self.deadline) };
            self.trace.site = Some(SiteTrace { asked: now, ended: None, outcome: SiteOutcome::Waiting });
            shared.site.waiting += 1;
        } else {
            let first = shared.settings.first;
            self.ask_all(shared, first);
        }
        if ask == Ask::Beside && shared.site.breaker.begin_trial(self.id, now) {
            shared.count(Counter::SiteUnanswered);
        }
        if ask != Ask::No {
            shared.count(Counter::SiteAsks);
            shared.actions.push_back(Action::AskSite { round: self.id, question: *self.question });
        }
    }

    /// Ends the wait without an answer, and asks the first upstreams.
    pub fn go_on_without_site(&mut self, shared: &mut Shared, outcome: SiteOutcome) {
        if self.end_site_wait(shared, outcome) {
            self.phase = Phase::Racing { held: None, dangling: None };
            let first = shared.settings.first;
            self.ask_all(shared, first);
        }
    }

    /// The site has not answered in time.
    pub fn give_up_on_site(&mut self, shared: &mut Shared) {
        let now = shared.now;
        shared.count(Counter::SiteUnanswered);
        shared.site.breaker.note_missed(now);
        self.go_on_without_site(shared, SiteOutcome::Unanswered);
    }

    /// Replies to all clients by a set of the site, which has just been published. The round is over.
    pub fn answer_by_site(&mut self, shared: &mut Shared, answer: &Answer, version: u64) {
        self.end_site_wait(shared, SiteOutcome::Answer { version });
        let mut clients = std::mem::take(&mut self.clients);
        for client in clients.drain(..) {
            shared.reply_from(AnswerSource::Site, client, answer.clone());
        }
        self.clients = clients;
    }

    /// Notes how the wait ended. `false`: the round does not wait.
    pub fn end_site_wait(&mut self, shared: &mut Shared, outcome: SiteOutcome) -> bool {
        let now = shared.now;
        let Some(trace) = self.trace.site.as_mut().filter(|trace| trace.ended.is_none()) else {
            return false;
        };
        (trace.ended, trace.outcome) = (Some(now), outcome);
        shared.site.waiting -= 1;
        true
    }

    /// When the wait for the site ends at the latest.
    pub fn site_wait_ends(&self) -> Option<Monotonic> {
        match self.phase {
            Phase::AsksSite { until } => Some(until),
            Phase::Racing { .. } | Phase::Denied { .. } | Phase::Completing { .. } => None,
        }
    }
}
