//! The state that all rounds share: the time, settings, upstreams, the cache, and the queue of actions.

mod cache;
mod local_names;
mod private_addresses;
mod publish;

pub(crate) use publish::Published;

use crate::action::Action;
use crate::faults::Faults;
use crate::ids::{ClientId, UpstreamId};
use crate::reply::Answer;
use crate::rounds_by_attempt::RoundsByAttempt;
use crate::routes::Groups;
use crate::settings::Settings;
use crate::site::SiteState;
use crate::trace::{Cause, Traces};
use crate::upstream::Upstream;
use crate::waiting_clients::Waiting;
use hither_answers::Answers;
use hither_local::Local;
use hither_table::{AnswerSource, Counter, Counters, Family, Monotonic, Snapshot, UpstreamFailure, Writer};
use hither_wire::name::Name;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) struct Shared {
    /// The time of the call in progress; [`crate::Rounds::handle`] sets it.
    pub now: Monotonic,
    pub settings: Settings,
    pub upstreams: Vec<Upstream>,
    /// Whether one of them has changed since the shell has looked.
    pub has_changed_upstreams: bool,
    pub groups: Groups,
    /// The names that are answered locally.
    pub local: Arc<Local>,
    pub writer: Writer,
    pub answers: Answers,
    pub counters: Counters,
    pub actions: VecDeque<Action>,
    pub random: Box<dyn FnMut() -> u64>,
    pub traces: Traces,
    /// The round of each outstanding attempt.
    pub attempts: RoundsByAttempt,
    pub clients: Waiting,
    /// The other hosts of the site, as far as they have told anything.
    pub site: SiteState,
    pub scratch: Box<Snapshot>,
    /// Memory for a message in another letter case.
    pub plain: Vec<u8>,
    pub faults: Faults,
}

impl Shared {
    pub fn count(&mut self, counter: Counter) {
        self.counters.add(counter, 1);
    }

    /// Notes that both sets of a name were removed from the table.
    pub fn note_removed(&mut self, name: &Name, cause: Cause) {
        for family in [Family::A, Family::Aaaa] {
            if !self.faults.may_forget_flushes() {
                self.site.note_own(name, family, self.now);
            }
            self.traces.versions.note_removal(name, family, cause, self.now);
        }
    }

    pub fn upstream(&mut self, id: UpstreamId) -> Option<&mut Upstream> {
        let upstream = self.upstreams.get_mut(usize::from(id.0))?;
        (self.has_changed_upstreams, upstream.has_changed) = (true, true);
        Some(upstream)
    }

    /// Counts an attempt without a useful response.
    pub fn count_failure(&mut self, id: UpstreamId, kind: UpstreamFailure) {
        if let Some(upstream) = self.upstream(id) {
            upstream.counts.note_failure(kind);
        }
    }

    /// The upstreams of a name.
    pub fn group(&self, name: &Name) -> Rc<[UpstreamId]> {
        self.groups.of(name)
    }

    /// Whether every upstream of a group is down.
    pub fn all_down(&self, group: &[UpstreamId]) -> bool {
        let now = self.now;
        group
            .iter()
            .filter_map(|id| self.upstreams.get(usize::from(id.0)))
            .all(|upstream| upstream.is_down(now))
    }

    /// Replies to a client, once: the client is removed. The answer is that of a round, unless it says
    /// itself where it came from.
    pub fn reply(&mut self, client: ClientId, answer: Answer) {
        self.reply_from(AnswerSource::Round, client, answer);
    }

    /// [`Shared::reply`] by an answer from a source.
    pub fn reply_from(&mut self, source: AnswerSource, client: ClientId, answer: Answer) {
        self.clients.remove(client);
        let source = answer.source().unwrap_or(source);
        let answer = self.filtered(answer);
        self.actions.push_back(Action::Reply { client, answer, source });
    }
}
