//! The resolver core: it takes events, hands each to the round that it concerns, and queues actions.

mod ask;
mod cache_hits;
mod eviction;
mod explain;
mod faults;
mod flush;
mod invariants;
mod live_rounds;
mod memory_pool;
mod network_change;
mod offers;
mod reload;
mod restore;
mod review;
mod round_end;
mod sorter_orders;
mod timers;
mod validating_clients;

pub use cache_hits::{Hit, Hits, PlacedQuery};
pub use explain::{Due, Explained, Origin};
pub use live_rounds::LiveRound;

use crate::action::Action;
use crate::ascending::Ascending;
use crate::faults::Faults;
use crate::ids::AttemptId;
use crate::input::Input;
use crate::question::Question;
use crate::racing::Racing;
use crate::resolver::cache_hits::EXPIRING_MAX;
use crate::resolver::memory_pool::MemoryPool;
use crate::resolver::restore::{FromBefore, Restoring};
use crate::resolver::review::Review;
use crate::round::Round;
use crate::rounds_by_attempt::RoundsByAttempt;
use crate::routes::{Groups, Routes};
use crate::server::Server;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::site::SiteState;
use crate::table_upkeep::Upkeep;
use crate::trace::{Refused, Trace, Traces};
use crate::upstream::{Upstream, UpstreamReport};
use crate::waiting_clients::Waiting;
use hither_answers::Answers;
use hither_table::{Counter, Counters, HandshakeCounts, Monotonic, Reader, Recorder, Snapshot, Writer};
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The resolver core, which answers clients from the cache or by rounds. The crate's documentation
/// shows how to run it.
pub struct Rounds {
    pub(crate) shared: Shared,
    /// Whether no action is left and the shell has executed the last one, so that the next call may
    /// come.
    is_drained: bool,
    /// The memory of ended rounds.
    pool: MemoryPool,
    rounds: Ascending<u64, Box<Round>>,
    /// The live round of each question: at most one (I3).
    live: BTreeMap<Rc<Question>, u64>,
    /// The timer of each round.
    timers: BTreeSet<(Monotonic, u64)>,
    /// Rounds that have answered their clients, oldest first. They are the first to end early at the
    /// limit of rounds.
    answered: BTreeSet<u64>,
    /// Rounds that have not answered yet, in the order of eviction.
    racing: Racing,
    /// Rounds with several waiting clients, by the number of clients.
    joined: BTreeSet<(usize, u64)>,
    stopping: bool,
    reviews: VecDeque<Review>,
    /// The number of reviews that have begun or ended.
    changed: u64,
    /// The restore that is under way.
    restoring: Option<Restoring>,
    restored: Option<FromBefore>,
    /// Cached entries that were used shortly before their expiry, for [`Rounds::next_expiring`].
    expiring: VecDeque<Question>,
    /// When a question whose failure is cached may be resolved again although every upstream is down.
    trial_at: Monotonic,
}

impl Rounds {
    /// A core that queries the upstreams of `routes` and publishes into `writer`'s table. `random` must
    /// be unpredictable: it gives the ids of queries (RFC 5452 section 9.2).
    #[must_use]
    pub fn new(
        settings: Settings,
        routes: Routes,
        mut writer: Writer,
        mut random: Box<dyn FnMut() -> u64>,
    ) -> Self {
        let (capacity, seed) = (settings.limits.answers, random());
        let traces = Traces::new(seed, writer.last_version());
        writer.set_families(settings.families);
        let site = SiteState::new(&mut writer, settings.site.is_on, seed);
        let shared = Shared {
            now: Monotonic(0),
            settings,
            upstreams: routes.all().into_iter().map(Upstream::new).collect(),
            has_changed_upstreams: true,
            groups: Groups::new(routes),
            local: Arc::default(),
            writer,
            answers: Answers::new(capacity, seed),
            counters: Counters::default(),
            actions: VecDeque::new(),
            random,
            traces,
            attempts: RoundsByAttempt::new(),
            clients: Waiting::default(),
            site,
            scratch: Box::new(Snapshot::new()),
            plain: Vec::new(),
            faults: Faults::default(),
        };
        Self {
            shared,
            is_drained: true,
            pool: MemoryPool::default(),
            rounds: Ascending::new(),
            live: BTreeMap::new(),
            timers: BTreeSet::new(),
            answered: BTreeSet::new(),
            racing: Racing::new(),
            joined: BTreeSet::new(),
            stopping: false,
            reviews: VecDeque::new(),
            changed: 0,
            restoring: None,
            restored: None,
            expiring: VecDeque::with_capacity(EXPIRING_MAX),
            trial_at: Monotonic(0),
        }
    }

    /// Handles an event. Timers before `now` fire first: those of the event's own round, and a bounded
    /// number of others.
    ///
    /// The actions of the call before must have been executed: [`Rounds::poll_action`] has returned
    /// `None`.
    pub fn handle(&mut self, now: Monotonic, input: Input<'_>) {
        debug_assert!(self.is_drained, "actions of the call before have not been executed");
        self.shared.now = now;
        let before = Monotonic(now.0.saturating_sub(1));
        self.fire_timers(before);
        self.fire_timers_of(before, &input);
        match self.shared.faults.planted() {
            Some(fault) => self.act_with(fault, input),
            None => self.act(input),
        }
        self.end_call();
    }

    /// Handles an event once the timers before it have fired.
    fn act(&mut self, input: Input<'_>) {
        match input {
            Input::Ask { client, question, recursion } => self.ask(client, question, recursion),
            Input::Message { attempt, octets } => match self.shared.attempts.get(&attempt).copied() {
                Some(id) => {
                    self.with(id, |round, shared| round.on_message(shared, attempt, octets));
                }
                // A late response: its attempt has ended. It changes no round and no cache.
                None => self.on_late_response(attempt),
            },
            Input::Transmitted { attempt } => {
                if let Some(id) = self.shared.attempts.get(&attempt).copied() {
                    self.with(id, |round, shared| round.on_transmitted(shared, attempt));
                }
            }
            Input::Failed { attempt, failure } => {
                if let Some(id) = self.shared.attempts.get(&attempt).copied() {
                    self.with(id, |round, shared| round.on_failure(shared, attempt, failure));
                }
            }
            Input::Refresh { question } => self.refresh(question),
            Input::Lease { question } => self.lease(question),
            Input::ClientGone { client } => self.client_gone(client),
            Input::Order { sender, order } => self.order(sender, &order),
            Input::Flush { names } => self.flush(names.as_deref()),
            Input::Reload { settings, routes } => self.reload(settings, routes),
            Input::Local { local } => self.replace_local(local),
            Input::NetworkChanged => self.network_changed(),
            Input::Restore(restore) => self.restore(restore),
            Input::Site(site) => self.site(site),
            Input::Shutdown => self.shutdown(),
        }
    }

    /// Counts a late response, and notes it in the trace of its attempt.
    fn on_late_response(&mut self, attempt: AttemptId) {
        self.shared.count(Counter::LateResponsesDropped);
        let Some(id) = self.shared.traces.ended.round_of(attempt) else { return };
        let live = self.rounds.get_mut(&id).map(|round| &mut round.trace);
        if let Some(trace) = live.or_else(|| self.shared.traces.of_round(id))
            && let Some(trace) = trace.attempt(attempt)
        {
            trace.refuse(Refused::Late, 1, self.shared.now);
        }
    }

    /// Ends a call of [`Rounds::handle`] or [`Rounds::handle_timeout`].
    fn end_call(&mut self) {
        self.gauges();
        if let Some(fault) = self.shared.faults.planted() {
            self.spoil_actions(fault);
        }
        self.is_drained = self.shared.actions.is_empty();
    }

    /// All actions that are to be executed.
    #[cfg(test)]
    pub(crate) fn drain(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.poll_action()).collect()
    }

    /// The next action to execute; `None` when all are done.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.shared.actions.pop_front();
        self.is_drained = action.is_none();
        action
    }

    /// Whether several clients wait for this question. One more client then costs no query.
    #[must_use]
    pub fn is_shared(&self, question: &Question) -> bool {
        let is_crowded = |question: &Question| {
            self.live.get(question).is_some_and(|id| self.rounds.get(id).is_some_and(|r| r.joined > 1))
        };
        let checks = question.checking_disabled;
        !self.joined.is_empty() && (is_crowded(question) || checks && is_crowded(&question.validated()))
    }

    /// The time that a round may race before it may be evicted.
    #[must_use]
    pub fn longest_race(&self) -> Duration {
        self.racing.evictable_after()
    }

    pub(crate) fn gauges(&mut self) {
        self.shared.counters.set(Counter::RoundsLive, self.rounds.len() as u64);
        self.shared.counters.set(Counter::AttemptsOutstanding, self.shared.attempts.len() as u64);
        let entries = self.shared.writer.entries() + self.shared.answers.len();
        self.shared.counters.set(Counter::Entries, entries as u64);
        self.shared.counters.set(Counter::Evictions, self.shared.writer.evictions());
    }

    /// The upstreams of each domain.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.shared.groups.routes
    }

    /// The counters, so that the shell can add its own.
    pub fn counters(&mut self) -> &mut Counters {
        &mut self.shared.counters
    }

    /// A reader of the core's table.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.shared.writer.reader()
    }

    /// The table, for everything but publishing.
    pub fn table(&mut self) -> Upkeep<'_> {
        Upkeep::of(&mut self.shared.writer)
    }

    /// Ends the core and returns its table.
    #[must_use]
    pub fn into_writer(self) -> Writer {
        self.shared.writer
    }

    /// The state of each upstream.
    #[must_use]
    pub fn upstreams(&self, now: Monotonic) -> Vec<UpstreamReport> {
        self.shared.upstreams.iter().map(|upstream| upstream.report(now)).collect()
    }

    /// Writes the counts and the state of each upstream that has changed since the last call into the
    /// metrics. `handshakes` gives what the shell knows of an encrypted one.
    pub fn record_upstreams(
        &mut self,
        now: Monotonic,
        mut handshakes: impl FnMut(&Server) -> HandshakeCounts,
    ) {
        if !std::mem::take(&mut self.shared.has_changed_upstreams) {
            return;
        }
        let Shared { upstreams, writer, .. } = &mut self.shared;
        let recorder = writer.recorder();
        for (n, upstream) in upstreams.iter_mut().enumerate() {
            if std::mem::take(&mut upstream.has_changed) {
                recorder.set_upstream(n, &upstream.counts, &upstream.gauges(now, &mut handshakes));
            }
        }
    }

    /// Lets [`Rounds::record_upstreams`] write all upstreams.
    pub fn note_upstreams_changed(&mut self) {
        self.shared.has_changed_upstreams = true;
        self.shared.upstreams.iter_mut().for_each(|upstream| upstream.has_changed = true);
    }

    /// The metrics in the table, for the shell to add its own.
    #[must_use]
    pub fn recorder(&self) -> Recorder<'_> {
        self.shared.writer.recorder()
    }

    /// The trace of the live round for a question, else of the latest round for it.
    #[must_use]
    pub fn trace(&self, question: &Question) -> Option<&Trace> {
        let live = self.live.get(question).and_then(|id| self.rounds.get(id)).map(|round| &round.trace);
        live.or_else(|| self.shared.traces.latest(question))
    }

    /// The answer to a question that hither answers itself, which the table never has.
    #[must_use]
    pub fn own_answer(&self, question: &Question) -> Option<hither_local::LocalAnswer> {
        self.shared.local_answer(question)
    }

    /// The index of the block list that blocks a name, among those of `Input::Local`.
    #[must_use]
    pub fn blocked_by(&self, name: &Name) -> Option<usize> {
        self.shared.local.blocked_by(name)
    }
}
