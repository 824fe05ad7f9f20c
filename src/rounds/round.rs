//! One round: a question that is being answered, from its first attempt to its end.
//!
//! Racing → Denied or Completing → gone. A state carries what is true in it and nothing else. Each event ends in
//! [`Round::conclude`], the only place that decides whether something is settled or over.

use crate::attempt::{Attempt, Plan, Target, Way, send};
use crate::held::{Bare, Held};
use crate::mutant::Mutant;
use crate::reply::{Answer, ede};
use crate::settings::DOWN_DEADLINE;
use crate::shared::Shared;
use crate::spare::Room;
use crate::trace::{ATTEMPTS_KEPT, AttemptTrace, Trace};
use crate::upstream::choose;
use crate::{ClientId, Question, Source, UpstreamId};
use hither_table::{FamilyDraft, Monotonic};
use hither_wire::codes::Rcode;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::mem::take;
use std::rc::Rc;

/// How far a round has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// No client has been told anything but stale data.
    Racing {
        /// An answer that waits for a second opinion.
        held: Option<Held>,
        /// A CNAME whose target nobody has looked up yet.
        bare: Option<Bare>,
    },
    /// Clients were told that it does not exist; an attempt that is still out may know better.
    Denied {
        /// What the table says of it, where it keeps such answers.
        set: Option<FamilyDraft>,
    },
    /// Clients have their answer, and the table the set so far; the others may add to it.
    Completing {
        /// The set as published.
        set: FamilyDraft,
    },
}

/// How a round ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Every upstream answered or failed.
    Complete,
    /// Time was up: its own, or its set's.
    Partial,
    /// A newer round, a flush, a reload or the end of the process took its place.
    Superseded,
}

pub(crate) struct Round {
    pub id: u64,
    pub question: Rc<Question>,
    pub deadline: Monotonic,
    pub clients: Vec<ClientId>,
    /// On whose account it is while it races.
    pub source: Source,
    /// How many clients it has, as written in the table of crowds.
    pub crowd: usize,
    pub phase: Phase,
    /// Outstanding ones only.
    pub attempts: Vec<Attempt>,
    /// Whom to ask next, best first.
    pub unasked: VecDeque<UpstreamId>,
    /// Some were not asked: there was no time or no socket left. Such a round is never complete.
    pub cut: bool,
    /// So far nothing has come of any attempt but that there was no socket for it. What was not asked has not failed.
    pub starved: bool,
    /// When to ask them.
    pub wave_at: Option<Monotonic>,
    /// When waiting clients get stale data, if there is any.
    pub stale_at: Option<Monotonic>,
    /// When it is looked at whether anybody still answers anything.
    pub look_at: Option<Monotonic>,
    /// What is asked now: the question's name, or the end of a chain that is being chased.
    pub target: Target,
    /// How those are asked once more that had an error for it, when nobody is left.
    pub plain: Vec<Way>,
    /// An upstream has failed in a way in which it would if signatures were wrong.
    pub refuted: bool,
    /// The extended error to tell if all fails.
    pub ede: u16,
    pub trace: Trace,
    pub room: Room,
    /// When it is woken, as written in the table of timers.
    pub timer: Monotonic,
}

/// What a round begins with.
pub(crate) struct Start {
    pub question: Rc<Question>,
    pub clients: Vec<ClientId>,
    /// Inherited when it takes the place of one with waiting clients.
    pub deadline: Monotonic,
    /// There is stale data for them.
    pub stale: bool,
}

impl Round {
    /// Whether nobody has an answer of it yet.
    pub fn is_racing(&self) -> bool {
        matches!(self.phase, Phase::Racing { .. })
    }

    /// Begins a round and sends its first wave.
    pub fn start(shared: &mut Shared, now: Monotonic, start: Start) -> Box<Self> {
        let Start { question, clients, deadline, stale } = start;
        let id = shared.writer.next_version();
        for client in &clients {
            shared.clients.insert(*client, id);
        }
        let wait = match shared.mutants.has(Mutant::StaleIsServedAtOnce) {
            true => std::time::Duration::ZERO,
            false => shared.settings.stale_wait,
        };
        let mut spare = shared.spare.take();
        let lent = spare.as_mut().map(|old| {
            let Self { attempts, unasked, trace, room, .. } = &mut **old;
            (take(attempts), take(unasked), take(&mut trace.attempts), take(room))
        });
        let (attempts, unasked, traced, room) = lent.unwrap_or_default();
        let begun = Self {
            id,
            trace: Trace {
                round: id,
                question: Rc::clone(&question),
                started: now,
                ended: false,
                attempts: traced,
            },
            room,
            deadline,
            source: clients.first().map_or(Source::NOBODY, |client| client.source()),
            clients,
            crowd: 0,
            phase: Phase::Racing { held: None, bare: None },
            attempts,
            unasked,
            cut: false,
            starved: true,
            wave_at: None,
            stale_at: stale.then(|| now.plus(wait)),
            look_at: Some(now.plus(DOWN_DEADLINE)),
            target: Target::of(Rc::clone(&question)),
            plain: Vec::new(),
            refuted: false,
            ede: crate::reply::ede::NO_REACHABLE_AUTHORITY,
            timer: deadline,
            question,
        };
        let mut round = match spare {
            Some(mut old) => {
                *old = begun;
                old
            }
            None => Box::new(begun),
        };
        let first = shared.settings.first;
        round.ask_all(shared, now, first);
        round
    }

    /// Puts all usable upstreams in line for the target and asks the first of them.
    pub fn ask_all(&mut self, shared: &mut Shared, now: Monotonic, first: usize) {
        self.plain.clear();
        let group = shared.group(self.target.name());
        let choice = choose(&mut shared.upstreams, &group, now, (first, take(&mut self.unasked)));
        self.unasked = choice.order;
        self.ask_next(shared, now, choice.first);
        let lost = shared.mutants.has(Mutant::LostFallback);
        self.wave_at = (!self.unasked.is_empty() && !lost).then(|| now.plus(shared.settings.fallback));
    }

    /// Asks the next `count` upstreams.
    pub fn ask_next(&mut self, shared: &mut Shared, now: Monotonic, count: usize) {
        for _ in 0..count {
            let Some(upstream) = self.unasked.pop_front() else { break };
            let target = self.target.clone();
            if !self.send(shared, now, &target, Way::to(upstream)) {
                if let Some(upstream) = shared.upstream(upstream) {
                    upstream.trial_over();
                }
                self.unasked.clear();
                self.cut = true;
            }
        }
        if self.unasked.is_empty() {
            self.wave_at = None;
        }
    }

    /// Those who had an error are asked once more, without what that may be for. `false` if there is nobody.
    fn ask_plainly(&mut self, shared: &mut Shared, now: Monotonic) -> bool {
        let (ways, target) = (take(&mut self.plain), self.target.clone());
        ways.into_iter().filter(|way| self.send(shared, now, &target, *way)).count() > 0
    }

    pub fn send(&mut self, shared: &mut Shared, now: Monotonic, target: &Target, way: Way) -> bool {
        let trace = self.trace.attempts.len();
        let plan = Plan { round: self.id, question: &self.question, target, way, trace };
        // What is asked when time is up cannot be heard.
        if now >= self.deadline {
            return false;
        }
        let Some(attempt) = send(shared, now, &plan) else { return false };
        if trace < ATTEMPTS_KEPT
            && let Some(upstream) = shared.upstream(way.upstream)
        {
            self.trace.attempts.push(AttemptTrace {
                upstream: upstream.server,
                transport: way.transport,
                sent: now,
                ended: None,
                outcome: "waiting".into(),
                addresses: Vec::new(),
            });
        }
        self.attempts.push(attempt);
        true
    }

    /// Sends what is out once more, from fresh sockets.
    pub fn send_again(&mut self, shared: &mut Shared, now: Monotonic) {
        let ids: Vec<_> = self.attempts.iter().map(|a| a.id).collect();
        for id in &ids {
            let Some(at) = self.attempts.iter().position(|a| a.id == *id) else { continue };
            let mut old = self.close(shared, now, at, "network changed");
            // What was to be confirmed is asked again altogether.
            let twice = old.doubt.confirms.is_some_and(|doubted| ids.contains(&doubted));
            if !twice && !shared.mutants.has(Mutant::ForgetsWhatAChangeCutOff) {
                // In another network a connection that ended has its second try again.
                let way = crate::attempt::Way { again: false, ..old.way };
                if !self.follow(shared, now, &mut old, way) {
                    self.stands(shared, now, &mut old);
                }
            }
        }
    }

    /// The attempt has ended: nothing from it matters any more.
    pub fn close(
        &mut self,
        shared: &mut Shared,
        now: Monotonic,
        at: usize,
        outcome: impl Into<Cow<'static, str>>,
    ) -> Attempt {
        let attempt = self.attempts.swap_remove(at);
        shared.attempts.remove(&attempt.id);
        shared.actions.push_back(crate::Action::Close { attempt: attempt.id, linger: None });
        if let Some(trace) = self.trace.attempts.get_mut(attempt.trace) {
            trace.ended = Some(now);
            trace.outcome = outcome.into();
        }
        attempt
    }

    /// What is due at `now`, then [`Round::conclude`].
    pub fn on_time(&mut self, shared: &mut Shared, now: Monotonic) -> Option<End> {
        // What has waited for a connection is fresh: after a sleep both may be due.
        self.stop_waiting_for_tcp(shared, now);
        self.stop_waiting_for_lower(shared, now);
        if self.stale_at.is_some_and(|at| now >= at) {
            self.serve_stale(shared, now);
        }
        self.look_at = self.look_at.filter(|at| now < *at);
        if matches!(self.phase, Phase::Racing { .. }) {
            for attempt in &mut self.attempts {
                attempt.resend(shared, now);
            }
        }
        if self.wave_at.is_some_and(|at| now >= at) {
            let batch = shared.settings.batch.max(1);
            self.ask_next(shared, now, batch);
            self.wave_at = (!self.unasked.is_empty()).then(|| now.plus(shared.settings.stagger));
        }
        self.conclude(shared, now)
    }

    fn serve_stale(&mut self, shared: &mut Shared, now: Monotonic) {
        self.stale_at = None;
        if let Some(answer) = shared.stale(now, &self.question) {
            shared.counters.add(hither_table::Counter::StaleServed, self.clients.len() as u64);
            self.tell(shared, &answer);
        }
    }

    /// There is no more time for it, although its own is not over: nothing is known that would be worth remembering.
    pub fn give_up(&mut self, shared: &mut Shared, now: Monotonic) {
        if let Phase::Racing { held, .. } = &mut self.phase
            && let Some(held) = held.take()
        {
            self.settle(shared, now, held);
        }
        if self.clients.is_empty() {
            return;
        }
        if self.stale_at.is_some() {
            self.serve_stale(shared, now);
        }
        shared.counters.add(hither_table::Counter::ShedQueries, self.clients.len() as u64);
        self.tell(shared, &Answer::Failure { rcode: Rcode::SERVFAIL, ede: Some(ede::OTHER) });
    }

    /// Tells every waiting client.
    pub fn tell(&mut self, shared: &mut Shared, answer: &Answer) {
        let mut clients = std::mem::take(&mut self.clients);
        if shared.mutants.has(Mutant::ForgetsAClient) && clients.len() > 1 {
            clients.pop();
        }
        for client in clients.drain(..) {
            shared.reply(client, answer.clone());
        }
        self.clients = clients;
    }

    /// Settles what can be settled, asks whom it takes, and says whether the round is over.
    pub fn conclude(&mut self, shared: &mut Shared, now: Monotonic) -> Option<End> {
        loop {
            let due = self.due(shared);
            let idle = self.attempts.is_empty() && self.unasked.is_empty();
            let heard = if self.cut { End::Partial } else { End::Complete };
            // Whether somebody who usually answers may still do so.
            let asked = self.attempts.iter().map(|a| &a.upstream).chain(&self.unasked);
            let hopeful =
                asked.filter_map(|id| shared.upstreams.get(usize::from(id.0))).any(|u| u.is_trusted(now));
            let hopeless = self.is_hopeless(shared, now);
            match &mut self.phase {
                Phase::Completing { set } => {
                    let over = now >= due || now.as_ms() >= set.expire_ms;
                    return if idle { Some(heard) } else { over.then_some(End::Partial) };
                }
                Phase::Denied { .. } => {
                    let settled = self.attempts.is_empty();
                    return if settled { Some(heard) } else { (now >= due).then_some(End::Partial) };
                }
                Phase::Racing { held, bare } => {
                    let settle = idle || now >= due || !hopeful;
                    if held.as_ref().is_some_and(|h| settle || now >= h.until) {
                        let held = held.take()?;
                        self.settle(shared, now, held);
                    } else if now >= due || hopeless {
                        self.fail(shared, now);
                        return Some(End::Partial);
                    } else if bare.as_ref().is_some_and(|b| settle || now >= b.until) {
                        let bare = bare.take()?;
                        self.chase(shared, now, bare);
                    } else if idle && !self.ask_plainly(shared, now) {
                        self.fail(shared, now);
                        return Some(heard);
                    } else if self.attempts.is_empty() {
                        self.ask_next(shared, now, 1);
                    } else {
                        return None;
                    }
                }
            }
        }
    }

    /// Whether clients have waited as long as makes sense while nobody answers anything.
    fn is_hopeless(&self, shared: &Shared, now: Monotonic) -> bool {
        now.since(self.trace.started) >= DOWN_DEADLINE && shared.all_down(now, self.target.name())
    }

    fn due(&self, shared: &Shared) -> Monotonic {
        let late = u64::from(shared.mutants.has(Mutant::DeadlineOffByOne)) * 1_000_000_000;
        Monotonic(self.deadline.0 + late)
    }

    /// When [`Round::on_time`] has something to do.
    pub fn wake(&self, shared: &Shared) -> Monotonic {
        let phase = match &self.phase {
            Phase::Racing { held, bare } => {
                let resend = self.attempts.iter().filter_map(|a| a.resend_at).min();
                [held.as_ref().map(|h| h.until), bare.as_ref().map(|b| b.until), resend, self.look_at]
                    .into_iter()
                    .flatten()
                    .min()
            }
            Phase::Completing { set } => Some(Monotonic::from_ms(set.expire_ms)),
            Phase::Denied { .. } => None,
        };
        let waits = |a: &Attempt| a.doubt.until.into_iter().chain(a.denied.as_ref().map(|d| d.until)).min();
        let doubt = self.attempts.iter().filter_map(waits).min();
        let stale = self.stale_at.filter(|_| !self.clients.is_empty());
        [phase, self.wave_at, stale, doubt]
            .into_iter()
            .flatten()
            .min()
            .map_or(self.due(shared), |at| at.min(self.due(shared)))
    }
}
