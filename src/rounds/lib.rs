//! The resolver core: rounds of attempts, the cache they fill, and nothing that touches the outside.
//!
//! It performs no I/O: there is no socket, clock, thread or log, and no randomness of its own. Time and what happened are arguments of
//! [`Rounds::handle`] and [`Rounds::handle_timeout`]; what is to be done comes out of [`Rounds::poll_action`] and is executed
//! once each, in order, before the next call; [`Rounds::poll_timeout`] says when to call again.
//!
//! Invariants (`check_invariants`): at most one round is live per question; every round has a deadline; an outstanding attempt belongs to exactly
//! one live round and a waiting client to exactly one; nothing is published but by `Shared::publish`.

#![forbid(unsafe_code)]

mod action;
mod ascending;
mod ask;
mod attempt;
mod change;
mod cookie;
mod doubt;
mod due;
mod hear;
mod held;
mod hit;
mod input;
mod invariants;
mod letters;
mod local;
pub mod mutant;
mod order;
mod question;
mod racing;
mod rebinding;
pub mod reply;
mod response;
mod restore;
mod review;
mod round;
mod routes;
mod server;
mod set;
mod settings;
mod shared;
mod spare;
mod tally;
mod trace;
mod trust;
mod upkeep;
mod upstream;
mod waiting;
mod whole;

pub use action::{Action, Note, OrderResult, Transport};
pub use hit::Hits;
pub use hither_answers::Stored;
pub use input::{AttemptId, ClientId, Failure, Input, Order, SenderId, Source, UpstreamId};
pub use question::Question;
pub use rebinding::Rebinding;
pub use reply::Answer;
pub use restore::{Restore, Restored, SavedSet};
pub use routes::Routes;
pub use server::Server;
pub use settings::{Deny, Limits, Settings};
pub use tally::Tally;
pub use trace::{AttemptTrace, Trace};
pub use upkeep::Upkeep;
pub use upstream::UpstreamReport;

use ascending::Ascending;
use hither_table::{Counter, Counters, Monotonic, Reader, Snapshot, Writer};
use racing::Racing;
use round::{End, Phase, Round};
use routes::Groups;
use shared::Shared;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use waiting::Waiting;

/// The core.
pub struct Rounds {
    shared: Shared,
    rounds: Ascending<u64, Box<Round>>,
    /// The one live round of each question (I3).
    live: BTreeMap<Rc<Question>, u64>,
    /// When each round wants to be woken.
    timers: BTreeSet<(Monotonic, u64)>,
    /// Rounds whose clients have been answered, oldest first: the ones to end early when there are too many.
    answered: BTreeSet<u64>,
    /// The others: which of them ends early when that is not enough.
    racing: Racing,
    /// Rounds that several clients wait for, by how many.
    crowds: BTreeSet<(usize, u64)>,
    stopping: bool,
    reviews: VecDeque<review::Review>,
    /// How often there was one more of them, or one less.
    changed: u64,
    /// What was saved is being taken up.
    restoring: Option<restore::Restoring>,
    restored: Option<restore::FromBefore>,
    /// Entries that were answered from the cache when their time was nearly over; a few, until the shell asks.
    wanted: VecDeque<Question>,
    /// When a question whose failure is remembered may be asked again, while every upstream is down.
    trial_at: Monotonic,
}

/// Entries remembered for [`Rounds::wanted`]; who is asked for often is asked for again.
const WANTED_MAX: usize = 32;

impl Rounds {
    /// A core that asks the upstreams of `routes` and keeps its addresses in `writer`'s table. `random` must not be predictable from outside: it
    /// gives the ids of queries (RFC 5452 section 9.2).
    #[must_use]
    pub fn new(
        settings: Settings,
        routes: Routes,
        writer: Writer,
        mut random: Box<dyn FnMut() -> u64>,
    ) -> Self {
        let (capacity, seed) = (settings.answers, random());
        let shared = Shared {
            settings,
            upstreams: routes.all().into_iter().map(upstream::Upstream::new).collect(),
            groups: Groups::new(routes),
            local: Arc::default(),
            writer,
            answers: hither_answers::Answers::new(capacity, seed),
            counters: Counters::default(),
            actions: VecDeque::new(),
            random,
            traces: trace::Traces::default(),
            spare: spare::Spare::default(),
            attempts: Ascending::new(),
            clients: Waiting::default(),
            next_attempt: 0,
            scratch: Box::new(Snapshot::new()),
            plain: Vec::new(),
            mutants: mutant::Mutants::default(),
        };
        Self {
            shared,
            rounds: Ascending::new(),
            live: BTreeMap::new(),
            timers: BTreeSet::new(),
            answered: BTreeSet::new(),
            racing: Racing::new(),
            crowds: BTreeSet::new(),
            stopping: false,
            reviews: VecDeque::new(),
            changed: 0,
            restoring: None,
            restored: None,
            wanted: VecDeque::with_capacity(WANTED_MAX),
            trial_at: Monotonic(0),
        }
    }

    /// Plants a fault that tests must notice.
    #[cfg(any(test, feature = "mutants"))]
    pub fn plant(&mut self, mutant: mutant::Mutant) {
        self.shared.mutants.plant(mutant);
    }

    /// Tells the core what happened. Deadlines before `now` pass first, those of the round that it concerns always, of others a few.
    pub fn handle(&mut self, now: Monotonic, input: Input<'_>) {
        let before = Monotonic(now.0.saturating_sub(1));
        self.pass(before, now);
        self.catch_up(before, now, &input);
        match input {
            Input::Ask { client, question, recursion } => self.ask(now, client, question, recursion),
            Input::Message { attempt, octets } => match self.shared.attempts.get(&attempt).copied() {
                Some(id) => {
                    self.with(now, id, |round, shared| round.on_message(shared, now, attempt, octets));
                }
                None => self.late(now, octets),
            },
            Input::Failed { attempt, failure } => {
                if let Some(id) = self.shared.attempts.get(&attempt).copied() {
                    self.with(now, id, |round, shared| round.on_failure(shared, now, attempt, failure));
                }
            }
            Input::Refresh { question } => self.refresh(now, question),
            Input::ClientGone { client } => self.client_gone(now, client),
            Input::Order { sender, order } => self.order(now, sender, &order),
            Input::Flush { names } => self.flush(now, names.as_deref()),
            Input::Reload { settings, routes } => self.reload(now, settings, routes),
            Input::Local { local } => self.relocate(now, local),
            Input::NetworkChanged => self.network_changed(now),
            Input::Restore(restore) => self.restore(now, restore),
            Input::Shutdown => self.shutdown(now),
        }
        self.gauges();
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.shared.actions.pop_front()
    }

    /// Lets a round do something, then notes when it is to be woken, or ends it.
    fn with(&mut self, now: Monotonic, id: u64, act: impl FnOnce(&mut Round, &mut Shared) -> Option<End>) {
        self.with_round(now, id, act);
        if self.shared.clients.has_checkers() {
            self.part_checkers(now, id);
        }
    }

    fn with_round(
        &mut self,
        now: Monotonic,
        id: u64,
        act: impl FnOnce(&mut Round, &mut Shared) -> Option<End>,
    ) {
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
                self.finish(now, round, end);
            }
            return;
        }
        let timer = round.wake(&self.shared);
        if timer != round.timer {
            self.timers.remove(&(round.timer, id));
            self.timers.insert((timer, id));
            round.timer = timer;
        }
        if round.crowd != round.clients.len() {
            note_crowd(&mut self.crowds, round);
        }
    }

    fn index(&mut self, mut round: Box<Round>) {
        round.timer = round.wake(&self.shared);
        self.timers.insert((round.timer, round.id));
        match round.phase {
            Phase::Racing { .. } => {
                let most = self.shared.settings.limits.rounds;
                self.racing.enter(round.id, round.source, round.trace.started, most);
            }
            Phase::Denied { .. } | Phase::Completing { .. } => {
                self.answered.insert(round.id);
            }
        }
        note_crowd(&mut self.crowds, &mut round);
        self.rounds.insert(round.id, round);
    }

    fn unindex(&mut self, round: &Round) {
        self.timers.remove(&(round.timer, round.id));
        match round.phase {
            Phase::Racing { .. } => self.racing.leave(round.id, round.source, None),
            Phase::Denied { .. } | Phase::Completing { .. } => {
                self.answered.remove(&round.id);
            }
        }
        if round.crowd > 1 {
            self.crowds.remove(&(round.crowd, round.id));
        }
    }

    /// Whether a question of these octets is being asked, and several wait for its answer: one more costs next to nothing.
    #[must_use]
    pub fn is_shared(&self, question: &Question) -> bool {
        let is_crowded = |question: &Question| {
            self.live.get(question).is_some_and(|id| self.rounds.get(id).is_some_and(|r| r.crowd > 1))
        };
        let checks = question.checking_disabled;
        !self.crowds.is_empty() && (is_crowded(question) || checks && is_crowded(&question.checked()))
    }

    /// How long a round may race before it may have to give way to a newcomer, as is usual for rounds.
    #[must_use]
    pub fn longest_usual(&self) -> Duration {
        self.racing.longest()
    }

    fn gauges(&mut self) {
        self.shared.counters.set(Counter::RoundsLive, self.rounds.len() as u64);
        self.shared.counters.set(Counter::AttemptsOutstanding, self.shared.attempts.len() as u64);
        let entries = self.shared.writer.entries() + self.shared.answers.len();
        self.shared.counters.set(Counter::Entries, entries as u64);
        self.shared.counters.set(Counter::Evictions, self.shared.writer.evictions());
    }

    /// Whom is asked for what.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.shared.groups.routes
    }

    /// The counters, for the shell to add its own.
    pub fn counters(&mut self) -> &mut Counters {
        &mut self.shared.counters
    }

    /// A reader of the table.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.shared.writer.reader()
    }

    /// The table, for everything but publishing.
    pub fn table(&mut self) -> Upkeep<'_> {
        Upkeep::of(&mut self.shared.writer)
    }

    /// Ends the core and gives its table back.
    #[must_use]
    pub fn into_writer(self) -> Writer {
        self.shared.writer
    }

    /// What is known of the upstreams.
    #[must_use]
    pub fn upstreams(&self, now: Monotonic) -> Vec<UpstreamReport> {
        self.shared.upstreams.iter().map(|upstream| upstream.report(now)).collect()
    }

    /// What happened in the live or else the latest round for a question.
    #[must_use]
    pub fn trace(&self, question: &Question) -> Option<&Trace> {
        let live = self.live.get(question).and_then(|id| self.rounds.get(id)).map(|round| &round.trace);
        live.or_else(|| self.shared.traces.latest(question))
    }
}

/// Writes down how many clients a round has, where there is more than one.
fn note_crowd(crowds: &mut BTreeSet<(usize, u64)>, round: &mut Round) {
    let now = round.clients.len();
    if round.crowd > 1 {
        crowds.remove(&(round.crowd, round.id));
    }
    if now > 1 {
        crowds.insert((now, round.id));
    }
    round.crowd = now;
}
