//! A round: all the work on one question, from its first query to its end.
//!
//! The phases are asking the site, where that is wanted, and racing, then denied or completing. A phase has
//! only the data that is valid in it.
//! Each event ends in [`Round::conclude`], the only function that decides whether a weak answer is
//! accepted or the round ends.

mod addresses;
mod answers;
mod asking;
mod case_0x20;
mod closing;
mod cname_chase;
mod deadlines;
mod denial;
mod failed_attempts;
mod failure;
mod faults;
mod learning;
mod messages;
mod negative_grace;
mod replies;
mod site_wait;
mod tcp_confirmation;

use crate::agreement::Heard;
use crate::attempt::{Attempts, QueryMode, Target};
use crate::ids::{ClientId, Source, UpstreamId};
use crate::question::Question;
use crate::round::deadlines::Deadline;
use crate::settings::DOWN_DEADLINE;
use crate::shared::Shared;
use crate::site::Ask;
use crate::trace::Trace;
use crate::weak_answer::{DanglingCname, Held};
use hither_table::{Address, Chain, FamilyDraft, Monotonic};
use std::collections::VecDeque;
use std::mem::take;
use std::net::IpAddr;
use std::rc::Rc;

/// Items that the lists of an ended round keep memory for. Few rounds have more clients or attempts.
const ITEMS_MAX: usize = 16;

/// The phase of a round.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The site is asked first: the round has sent nothing, and no client has a reply, except stale data.
    AsksSite {
        /// When the round asks upstreams, unless the site has answered.
        until: Monotonic,
    },
    /// The round has no answer yet. No client has a reply, except stale data.
    Racing {
        /// A weak answer that waits for a second upstream.
        held: Option<Held>,
        /// A CNAME whose target no upstream has looked up.
        dangling: Option<DanglingCname>,
    },
    /// Clients got a denial or another final answer; an outstanding attempt may still correct a denial.
    Denied {
        /// The denial as published, where the table keeps it.
        set: Option<FamilyDraft>,
    },
    /// Clients have their reply and the table has the set so far; other upstreams may add addresses.
    Completing {
        /// The set as it was published.
        set: FamilyDraft,
    },
}

/// How a round ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Every upstream has answered or failed.
    Complete,
    /// The round's deadline or the expiry of its set was reached, or the round was evicted.
    Partial,
    /// A newer round, a flush, a reload or the end of the process ended it.
    Superseded,
}

pub(crate) struct Round {
    pub id: u64,
    pub question: Rc<Question>,
    pub deadline: Monotonic,
    pub clients: Vec<ClientId>,
    /// The source that the round counts for while it races.
    pub source: Source,
    /// The number of clients, as noted in the index of live rounds.
    pub joined: usize,
    pub phase: Phase,
    /// The outstanding attempts of the round.
    pub attempts: Attempts,
    /// The upstreams to query next, best first.
    pub unasked: VecDeque<UpstreamId>,
    /// Whether some upstreams were not queried, for want of time or sockets. Such a round is never
    /// complete.
    pub is_cut_short: bool,
    /// Whether no attempt has sent its query so far: each failed for want of a socket, or since its
    /// upstream could not be connected to just before. Such attempts are no failures of their upstreams.
    pub has_sent_nothing: bool,
    /// When the next upstreams are queried.
    pub next_wave_at: Option<Monotonic>,
    /// When waiting clients get stale data, if there is any.
    pub stale_at: Option<Monotonic>,
    /// When the round checks whether every upstream is down.
    pub down_check_at: Option<Monotonic>,
    /// The name that the next queries ask for: the question's, or the end of a chased chain.
    pub target: Target,
    /// The modes in which to repeat queries that upstreams answered with an error, when no other
    /// upstream is left.
    pub plain: Vec<QueryMode>,
    /// The extended error if all attempts fail.
    pub ede: u16,
    /// Which upstreams have answered, and which of them say otherwise than the set.
    pub heard: Heard,
    pub trace: Trace,
    /// Memory that the next round reuses.
    pub lists: Lists,
    /// When the round is woken, as noted in the index of live rounds.
    pub timer: Monotonic,
}

/// The data that a new round begins with.
pub(crate) struct Start {
    pub question: Rc<Question>,
    pub clients: Vec<ClientId>,
    /// When the round ends at the latest. A round that replaces another inherits the deadline.
    pub deadline: Monotonic,
    /// Whether the cache has stale data for the clients.
    pub stale: bool,
    /// How the site is asked.
    pub ask: Ask,
}

impl Round {
    /// Whether the round has not answered yet.
    pub fn is_racing(&self) -> bool {
        matches!(self.phase, Phase::AsksSite { .. } | Phase::Racing { .. })
    }

    /// Begins a round and sends its first wave, unless the site is asked first. `reused`: memory of an
    /// ended round.
    pub fn start(shared: &mut Shared, start: Start, mut reused: Option<Box<Self>>) -> Box<Self> {
        let now = shared.now;
        let Start { question, clients, deadline, stale, ask } = start;
        let id = shared.writer.next_version();
        for client in &clients {
            shared.clients.insert(*client, id);
        }
        let lent = reused.as_mut().map(|old| {
            let Self { attempts, unasked, trace, lists, .. } = &mut **old;
            (take(attempts), take(unasked), take(&mut trace.attempts), take(lists))
        });
        let (attempts, unasked, traced, lists) = lent.unwrap_or_default();
        let begun = Self {
            id,
            trace: Trace {
                round: id,
                question: Rc::clone(&question),
                started: now,
                ended: None,
                site: None,
                attempts: traced,
            },
            lists,
            deadline,
            source: clients.first().map_or(Source::NOBODY, |client| client.source()),
            clients,
            joined: 0,
            phase: Phase::Racing { held: None, dangling: None },
            attempts,
            unasked,
            is_cut_short: false,
            has_sent_nothing: true,
            next_wave_at: None,
            stale_at: stale.then(|| now.plus(shared.settings.stale_wait)),
            down_check_at: Some(now.plus(DOWN_DEADLINE)),
            target: Target::of(Rc::clone(&question)),
            plain: Vec::new(),
            ede: crate::reply::ede::NO_REACHABLE_AUTHORITY,
            heard: Heard::default(),
            timer: deadline,
            question,
        };
        let mut round = match reused {
            Some(mut old) => {
                *old = begun;
                old
            }
            None => Box::new(begun),
        };
        round.begin_to_ask(shared, ask);
        round
    }

    /// Handles the deadlines that have passed, then concludes.
    pub fn on_time(&mut self, shared: &mut Shared) -> Option<End> {
        let now = shared.now;
        // Datagrams that waited for TCP are handled first: after a sleep of the host, other deadlines
        // have passed too.
        self.end_overdue_confirmations(shared);
        self.accept_overdue_denials(shared);
        if self.is_due(now, Deadline::StaleReply) {
            self.serve_stale(shared);
        }
        if self.is_due(now, Deadline::SiteWait) {
            self.give_up_on_site(shared);
        }
        if self.is_due(now, Deadline::AllDown) {
            self.down_check_at = None;
        }
        if matches!(self.phase, Phase::Racing { .. }) {
            for attempt in self.attempts.iter_mut() {
                attempt.resend(shared);
            }
        }
        if self.is_due(now, Deadline::NextWave) {
            let batch = shared.settings.batch.max(1);
            self.ask_next(shared, batch);
            self.next_wave_at = (!self.unasked.is_empty()).then(|| now.plus(shared.settings.stagger));
        }
        self.conclude(shared)
    }

    /// Accepts a weak answer if it is time, queries further upstreams where needed, and returns how the
    /// round ends, if it does.
    pub fn conclude(&mut self, shared: &mut Shared) -> Option<End> {
        let now = shared.now;
        loop {
            let is_due = self.is_due(now, Deadline::End);
            let is_denial_due = self.is_due(now, Deadline::NegativeGrace);
            let is_chase_due = self.is_due(now, Deadline::CnameChase);
            let idle = self.attempts.is_empty() && self.unasked.is_empty();
            let end_if_idle = if self.is_cut_short { End::Partial } else { End::Complete };
            // Whether a response of an upstream that usually responds may still arrive.
            let asked = self.attempts.iter().map(|a| &a.upstream).chain(&self.unasked);
            let hopeful =
                asked.filter_map(|id| shared.upstreams.get(usize::from(id.0))).any(|u| u.is_trusted(now));
            let hopeless = self.is_hopeless(shared);
            match &mut self.phase {
                Phase::AsksSite { .. } => return None,
                Phase::Completing { set } => {
                    let over = is_due || now.as_ms() >= set.expire_ms;
                    return if idle { Some(end_if_idle) } else { over.then_some(End::Partial) };
                }
                Phase::Denied { .. } => {
                    let settled = self.attempts.is_empty();
                    return if settled { Some(end_if_idle) } else { is_due.then_some(End::Partial) };
                }
                Phase::Racing { held, dangling } => {
                    let settle = idle || is_due || !hopeful;
                    if held.is_some() && (settle || is_denial_due) {
                        let held = held.take()?;
                        self.accept(shared, held);
                    } else if is_due || hopeless {
                        self.fail(shared);
                        return Some(End::Partial);
                    } else if dangling.is_some() && (settle || is_chase_due) {
                        let dangling = dangling.take()?;
                        self.chase_cname(shared, dangling);
                    } else if idle && !self.ask_plainly(shared) {
                        self.fail(shared);
                        return Some(end_if_idle);
                    } else if self.attempts.is_empty() {
                        self.ask_next(shared, 1);
                    } else {
                        return None;
                    }
                }
            }
        }
    }

    /// Whether clients have waited long enough although every upstream is down.
    fn is_hopeless(&self, shared: &Shared) -> bool {
        let now = shared.now;
        let is_long = now.since(self.trace.started) >= DOWN_DEADLINE;
        is_long && shared.all_down(&shared.groups.of_target(&self.question.name, self.target.name()))
    }
}

/// Memory for the lists of a round, reused from round to round.
#[derive(Default)]
pub(crate) struct Lists {
    /// Memory for the addresses of the set.
    pub addresses: Vec<Address>,
    /// Memory for the chains of the set.
    pub chains: Vec<Chain>,
    /// Memory for the addresses of one response.
    pub response_addresses: Vec<IpAddr>,
}

impl Lists {
    pub fn empty(&mut self) {
        self.addresses.clear();
        self.addresses.shrink_to(ITEMS_MAX);
        self.chains.clear();
        self.response_addresses.clear();
        self.response_addresses.shrink_to(ITEMS_MAX);
    }
}

impl Round {
    /// Takes the phase out of an ended round.
    pub fn take_phase(&mut self) -> Phase {
        std::mem::replace(&mut self.phase, Phase::Racing { held: None, dangling: None })
    }

    /// Empties the lists of an ended round, and keeps no more memory than most rounds need.
    pub fn empty(&mut self) {
        self.take_phase();
        self.clients.clear();
        self.clients.shrink_to(ITEMS_MAX);
        self.attempts.empty(ITEMS_MAX);
        self.unasked.clear();
        self.trace.attempts.shrink_to(ITEMS_MAX);
        self.lists.empty();
    }
}
