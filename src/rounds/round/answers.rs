//! Answers: the meaning of a response is applied to the round.

use crate::action::{Action, Note};
use crate::address_set::{Contribution, all_sinkholes};
use crate::attempt::{Attempt, Target};
use crate::complete_answer::AnswerBuilder;
use crate::ids::AttemptId;
use crate::rebinding::WITHHELD_MAX_S;
use crate::reply::Answer;
use crate::response::Meaning;
use crate::round::{Phase, Round};
use crate::settings::{Bounds, CNAMES_MAX, Deny};
use crate::shared::Shared;
use crate::trace::Cause;
use crate::trace::Refused;
use crate::weak_answer::{DanglingCname, WeakAnswer};
use hither_answers::Stored;
use hither_table::{Counter, Link, Monotonic, UpstreamFailure};
use hither_wire::codes::Rcode;
use hither_wire::message::Message;
use hither_wire::name::Name;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A private address in a response for a public name.
#[derive(Clone, Copy)]
struct PrivateAddress {
    address: IpAddr,
    ttl_s: u32,
    /// How many private addresses the response has.
    count: u32,
    /// Whether the response has no other addresses.
    is_only: bool,
}

/// A response with an answer, and the attempt that it has ended.
#[derive(Clone, Copy)]
pub(crate) struct Answered<'a> {
    pub attempt: &'a Attempt,
    pub message: &'a Message<'a>,
    pub received_at: Monotonic,
}

impl Answered<'_> {
    /// When data with a TTL expires, in milliseconds: no later than the CNAMEs before it.
    fn expire_ms(&self, ttl_s: u32) -> u64 {
        let expires = self.received_at.plus(Duration::from_secs(u64::from(ttl_s)));
        expires.as_ms().min(self.attempt.target.expire_ms())
    }
}

impl Round {
    pub fn on_answer(
        &mut self,
        shared: &mut Shared,
        received_at: Monotonic,
        id: AttemptId,
        meaning: Meaning,
        message: &Message<'_>,
    ) {
        let attempt = self.close(shared, id, outcome(&meaning));
        self.note_response(shared, attempt.upstream, attempt.response_time(received_at), true);
        self.learn_from_plain_retry(shared, &attempt, message);
        let answered = Answered { attempt: &attempt, message, received_at };
        let before = self.published();
        if !self.apply_answer(shared, answered, meaning) {
            shared.count_failure(attempt.upstream, UpstreamFailure::BadResponse);
            self.next_after_failure(shared);
        }
        let after = self.published();
        if after != before
            && let Some(trace) = self.trace.attempts.get_mut(attempt.trace)
        {
            trace.published = after;
        }
    }

    /// The version that the round has published last.
    fn published(&self) -> Option<u64> {
        match &self.phase {
            Phase::Completing { set } | Phase::Denied { set: Some(set) } => Some(set.version),
            Phase::AsksSite { .. } | Phase::Racing { .. } | Phase::Denied { set: None } => None,
        }
    }

    /// Applies the meaning of a response. `false`: the response is unusable, since its CNAMEs are too
    /// many or loop, or the answer is too long.
    pub fn apply_answer(
        &mut self,
        shared: &mut Shared,
        mut answered: Answered<'_>,
        mut meaning: Meaning,
    ) -> bool {
        if let Some(fault) = shared.faults.planted()
            && self.spoil_answer(fault, shared.now, &mut answered, &mut meaning)
        {
            return true;
        }
        let Answered { attempt, message, received_at } = answered;
        self.heard.answer(attempt.upstream, &meaning);
        let target = &attempt.target;
        let joined = |chain: Vec<Link>| join(&self.question.name, target.prefix(), chain);
        match meaning {
            Meaning::Addresses { chain, addresses, ttl_s } => {
                let Some(chain) = joined(chain) else { return false };
                let expire_ms = answered.expire_ms(ttl_s);
                let contribution = Contribution { from: attempt.upstream, chain, addresses, expire_ms };
                self.apply_addresses(shared, &answered, contribution, ttl_s);
            }
            Meaning::Negative { kind, chain, soa, ttl_s } => {
                let Some(chain) = joined(chain) else { return false };
                let expire_ms = answered.expire_ms(ttl_s);
                self.hold(shared, received_at, WeakAnswer::Denial { kind, chain, soa, expire_ms });
            }
            Meaning::Dangling { chain } => {
                let builder = self.answer_builder(shared, target, &chain, Rcode::NOERROR);
                let before = builder.chain_so_far(message, received_at);
                let (Some(before), Some(links)) = (before, joined(chain)) else { return false };
                let until = received_at.plus(shared.settings.negative_grace);
                let current = target.leg() == self.target.leg();
                if let Phase::Racing { dangling: dangling @ None, .. } = &mut self.phase
                    && current
                {
                    *dangling = Some(DanglingCname { until, from: attempt.upstream, links, before });
                }
            }
            Meaning::Complete { chain, rcode } => {
                let builder = self.answer_builder(shared, target, &chain, rcode);
                let stored = builder.stored(message, received_at, None);
                let withheld = shared.withheld_of(&builder, message);
                let (Some(stored), Some(_)) = (stored, joined(chain)) else { return false };
                if let Some(private) = withheld {
                    let left_s = stored.expires().since(shared.now).as_secs();
                    let ttl_s = u32::try_from(left_s).unwrap_or(u32::MAX);
                    let private = PrivateAddress { address: private, ttl_s, count: 1, is_only: true };
                    self.on_private_address(shared, received_at, attempt, private);
                } else if !matches!(self.phase, Phase::Completing { .. }) {
                    self.store_complete(shared, Arc::new(stored));
                }
            }
            Meaning::CompleteDenial { kind, chain, ttl_s } => {
                let builder = self.answer_builder(shared, target, &chain, message.header().rcode());
                let stored = builder.stored(message, received_at, Some(ttl_s));
                let (Some(stored), Some(_)) = (stored, joined(chain)) else { return false };
                debug_assert!(!stored.is_withheld(), "an upstream's denial looks like withheld addresses");
                self.hold(shared, received_at, WeakAnswer::CompleteDenial { kind, stored: Arc::new(stored) });
            }
            Meaning::Truncated | Meaning::Failed(_) => {}
        }
        true
    }

    /// Applies the addresses of a response, except private addresses of a public name.
    fn apply_addresses(
        &mut self,
        shared: &mut Shared,
        answered: &Answered<'_>,
        mut contribution: Contribution,
        ttl_s: u32,
    ) {
        let Answered { attempt, received_at, .. } = *answered;
        let given = contribution.addresses.len();
        if let Some(address) = shared.withhold(&self.question.name, &mut contribution.addresses) {
            let count = (given - contribution.addresses.len()) as u32;
            let is_only = contribution.addresses.is_empty();
            let private = PrivateAddress { address, ttl_s, count, is_only };
            self.on_private_address(shared, received_at, attempt, private);
            if is_only {
                return;
            }
        }
        let counts = shared.settings.deny == Deny::Any || matches!(self.phase, Phase::Racing { .. });
        if all_sinkholes(&contribution) && counts {
            self.heard.denial(attempt.upstream);
            self.trace_addresses(attempt.trace, contribution.addresses.clone());
            self.hold(shared, received_at, WeakAnswer::Sinkhole(contribution));
        } else {
            let left_out = shared.counters.get(Counter::AdditionsLeftOut);
            self.add_addresses(shared, &contribution);
            let left_out = shared.counters.get(Counter::AdditionsLeftOut) - left_out;
            if left_out > 0 {
                self.trace_refusal(attempt.trace, Refused::LeftOut, left_out as u32, shared.now);
            }
            self.trace_addresses(attempt.trace, contribution.addresses);
        }
    }

    /// Notes that a response has private addresses for a public name. If it has no others, this is held
    /// like a denial.
    fn on_private_address(
        &mut self,
        shared: &mut Shared,
        received_at: Monotonic,
        attempt: &Attempt,
        private: PrivateAddress,
    ) {
        let PrivateAddress { address, ttl_s, count, is_only } = private;
        shared.count(Counter::RebindingBlocked);
        self.heard.private(attempt.upstream);
        self.trace_refusal(attempt.trace, Refused::Private(address), count, shared.now);
        let name = Box::new(self.question.name);
        if let Some(server) = shared.upstream(attempt.upstream).map(|upstream| upstream.server) {
            shared.actions.push_back(Action::Note(Note::Rebinding { name, address, server }));
        }
        if is_only {
            self.trace_addresses(attempt.trace, vec![address]);
            if let Some(trace) = self.trace.attempts.get_mut(attempt.trace) {
                trace.outcome = "withheld".into();
            }
            let ttl_s = Bounds::of(&shared.settings).denial(ttl_s.min(WITHHELD_MAX_S));
            let until = received_at.plus(Duration::from_secs(u64::from(ttl_s)));
            self.hold(shared, received_at, WeakAnswer::Withheld { until });
        }
    }

    /// The builder of the round's answer from a message that has the CNAMEs `chain`, from `target` on.
    fn answer_builder<'a>(
        &'a self,
        shared: &Shared,
        target: &'a Target,
        chain: &'a [Link],
        rcode: Rcode,
    ) -> AnswerBuilder<'a> {
        AnswerBuilder {
            question: &self.question,
            before: target.before(),
            asked: target.name(),
            chain,
            rcode,
            bounds: Bounds::of(&shared.settings),
            faults: shared.faults,
        }
    }

    fn trace_addresses(&mut self, trace: usize, addresses: Vec<IpAddr>) {
        if let Some(trace) = self.trace.attempts.get_mut(trace) {
            trace.addresses = addresses;
        }
    }

    /// Stores a complete answer: of another type, signed, or too large for a set.
    pub fn store_complete(&mut self, shared: &mut Shared, stored: Arc<Stored>) {
        let now = shared.now;
        let stored = shared.with_hints_in_order(&self.question, stored);
        if let Some(family) = self.question.family() {
            shared.unpublish(&self.question.name, family, Cause::Replaced);
        }
        self.clear_unasked(shared);
        if !stored.expired(now) {
            shared.answers.put(&self.question.asked(), Arc::clone(&stored));
        }
        self.reply_to_all(shared, &Answer::stored(&stored));
        self.cancel(shared, None);
        self.phase = Phase::Denied { set: None };
    }
}

/// Joins the CNAMEs before a target and the CNAMEs after it. `None`: they are too many, or loop.
fn join(name: &Name, prefix: &[Link], chain: Vec<Link>) -> Option<Vec<Link>> {
    if prefix.is_empty() {
        return Some(chain);
    }
    let seen = |link: &Link| {
        link.target.eq_ignore_case(name)
            || prefix.iter().any(|known| known.target.eq_ignore_case(&link.target))
    };
    (prefix.len() + chain.len() <= CNAMES_MAX && !chain.iter().any(seen))
        .then(|| prefix.iter().cloned().chain(chain).collect())
}

fn outcome(meaning: &Meaning) -> &'static str {
    match meaning {
        Meaning::Addresses { .. } => "answer",
        Meaning::Negative { kind, .. } => kind.as_str(),
        Meaning::Dangling { .. } => "cname",
        Meaning::CompleteDenial { kind, .. } => kind.as_str(),
        Meaning::Complete { .. } => "answer",
        Meaning::Truncated | Meaning::Failed(_) => "unusable",
    }
}
