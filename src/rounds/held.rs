//! Answers that are not believed at once: denials, sinkholes, and CNAMEs that lead nowhere yet.

use crate::UpstreamId;
use crate::hear::When;
use crate::mutant::Mutant;
use crate::reply::{Answer, ede};
use crate::response::is_sinkhole;
use crate::round::{Phase, Round};
use crate::set::Contribution;
use crate::settings::LINKS_MAX;
use crate::shared::Shared;
use crate::whole::Before;
use hither_answers::Stored;
use hither_table::{Chain, FamilyDraft, Link, Monotonic, Negative, SoaRecord, State};
use hither_wire::codes::Rcode;
use std::sync::Arc;

/// An answer that waits for a second opinion.
#[derive(Debug)]
pub(crate) struct Held {
    /// When it counts even alone.
    pub until: Monotonic,
    pub weak: Weak,
}

#[derive(Debug)]
pub(crate) enum Weak {
    Denial {
        kind: Negative,
        chain: Vec<Link>,
        soa: Option<Box<SoaRecord>>,
        expire_ms: u64,
    },
    /// Nothing but 0.0.0.0 and its like: a real address wins against it.
    Sinkhole(Contribution),
    /// A denial that is kept whole.
    Whole {
        kind: Negative,
        stored: Arc<Stored>,
    },
}

impl Weak {
    fn agrees(&self, other: &Weak) -> bool {
        match (self, other) {
            (Weak::Denial { kind: a, .. }, Weak::Denial { kind: b, .. }) => a == b,
            (Weak::Sinkhole(_), Weak::Sinkhole(_)) => true,
            (Weak::Whole { kind: a, .. }, Weak::Whole { kind: b, .. }) => a == b,
            (Weak::Denial { .. } | Weak::Sinkhole(_) | Weak::Whole { .. }, _) => false,
        }
    }
}

/// A CNAME whose target nobody has looked up yet.
#[derive(Debug)]
pub(crate) struct Bare {
    /// When it is chased even while attempts are out.
    pub until: Monotonic,
    /// Who said so: asked first for the target, since what it knows of the name fits.
    pub from: UpstreamId,
    pub links: Vec<Link>,
    /// Their records.
    pub before: Before,
}

impl Round {
    /// Holds a weak answer, or settles it when it is the second of its kind.
    pub fn hold(&mut self, shared: &mut Shared, When { now, came }: When, weak: Weak) {
        let Phase::Racing { held, .. } = &mut self.phase else { return };
        let grace = shared.settings.negative_grace;
        match held {
            None if shared.mutants.has(Mutant::NoNegativeGrace) => {
                self.settle(shared, now, Held { until: now, weak })
            }
            None => *held = Some(Held { until: came.plus(grace), weak }),
            Some(first) if first.weak.agrees(&weak) => {
                if let Some(first) = held.take() {
                    self.settle(shared, now, first);
                }
            }
            Some(_) => {}
        }
    }

    /// Believes it.
    pub fn settle(&mut self, shared: &mut Shared, now: Monotonic, held: Held) {
        let exists = shared.exists_here(&self.question.name);
        match held.weak {
            Weak::Sinkhole(contribution) => self.contribute(shared, now, &contribution),
            Weak::Denial { kind, chain, soa, expire_ms } => {
                let kind = if exists && chain.is_empty() { Negative::NoData } else { kind };
                // The others are not asked, unless an attempt that is out brings an address after all.
                self.wave_at = None;
                let set = FamilyDraft {
                    version: 0,
                    set_version: 0,
                    round: self.id,
                    state: if self.attempts.is_empty() && !self.cut { State::Complete } else { State::First },
                    negative: Some(kind),
                    sorted: false,
                    expire_ms,
                    lifetime_s: 0,
                    addresses: Vec::new(),
                    chains: if chain.is_empty() { Vec::new() } else { vec![Chain { links: chain }] },
                    soa,
                };
                self.deny(shared, now, set);
            }
            Weak::Whole { stored, .. } => {
                let stored = if exists { Arc::new(stored.of_existing()) } else { stored };
                self.stop_asking(shared);
                if !stored.expired(now) {
                    shared.answers.put(&self.question.asked(), Arc::clone(&stored));
                }
                self.tell(shared, &Answer::stored(&stored));
                self.phase = Phase::Denied { set: None };
            }
        }
    }

    fn deny(&mut self, shared: &mut Shared, now: Monotonic, set: FamilyDraft) {
        let Some(family) = self.question.family() else { return };
        match shared.publish(now, &self.question.name, family, set) {
            Ok(published) => {
                self.tell(shared, &Answer::Record { record: published.record, family, stale_ttl_s: None });
                self.phase = Phase::Denied { set: Some(published.set) };
            }
            Err(error) => self.not_stored(shared, error),
        }
    }

    /// The table cannot take it: the clients are told so, and the operator.
    pub fn not_stored(&mut self, shared: &mut Shared, error: hither_table::PutError) {
        let reason = error.reason();
        shared.actions.push_back(crate::Action::Note(crate::Note::NotStored { reason }));
        self.tell(shared, &Answer::Failure { rcode: Rcode::SERVFAIL, ede: Some(ede::OTHER) });
        self.phase = Phase::Denied { set: None };
    }

    pub fn stop_asking(&mut self, shared: &mut Shared) {
        while let Some(id) = self.unasked.pop_front() {
            if let Some(upstream) = shared.upstream(id) {
                upstream.trial_over();
            }
        }
        self.wave_at = None;
    }

    /// Asks for the name that a CNAME leads to, within the same round and its deadline.
    pub fn chase(&mut self, shared: &mut Shared, now: Monotonic, bare: Bare) {
        let Some(last) = bare.links.last() else { return };
        let name = last.target.to_lower();
        let loops = name == self.question.name
            || bare.links.iter().rev().skip(1).any(|link| link.target.eq_ignore_case(&name));
        if loops || bare.links.len() > LINKS_MAX {
            self.ede = ede::OTHER;
            return;
        }
        self.target = self.target.chased(name, bare.links, bare.before);
        self.ask_all_from(shared, now, bare.from);
    }

    fn ask_all_from(&mut self, shared: &mut Shared, now: Monotonic, from: UpstreamId) {
        self.ask_all(shared, now, 0);
        if let Some(at) = self.unasked.iter().position(|id| *id == from) {
            self.unasked.swap(0, at);
        }
        if self.attempts.iter().all(|a| a.target.leg() != self.target.leg()) {
            self.ask_next(shared, now, 1);
        }
        self.wave_at = (!self.unasked.is_empty()).then(|| now.plus(shared.settings.fallback));
    }

    /// Every attempt failed, or time is up: clients get stale data or SERVFAIL, and the failure is remembered (RFC 9520).
    pub fn fail(&mut self, shared: &mut Shared, now: Monotonic) {
        let ede = self.ede;
        let answer = shared
            .stale(now, &self.question)
            .unwrap_or(Answer::Failure { rcode: Rcode::SERVFAIL, ede: Some(ede) });
        if !matches!(answer, Answer::Failure { .. }) {
            shared.counters.add(hither_table::Counter::StaleServed, self.clients.len() as u64);
        }
        self.tell(shared, &answer);
        // Who has old data is not asked for again before that is due (RFC 8767 section 5: not within 30 seconds).
        let pause = match answer {
            Answer::Failure { .. } => shared.settings.failure_ttl,
            _ => shared.settings.failure_ttl.max(shared.settings.stale_ttl),
        };
        shared.answers.fail(&self.question.asked(), now.plus(pause));
    }
}

/// Whether an answer names nothing but sinkholes.
pub(crate) fn all_sinkholes(contribution: &Contribution) -> bool {
    contribution.addresses.iter().all(is_sinkhole)
}
