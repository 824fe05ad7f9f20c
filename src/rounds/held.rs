//! Answers that are not believed at once: denials, sinkholes, and CNAMEs that lead nowhere yet.

use crate::hear::When;
use crate::mutant::Mutant;
use crate::reply::{Answer, ede};
use crate::response::is_sinkhole;
use crate::round::{Phase, Round};
use crate::set::Contribution;
use crate::settings::{Deny, LINKS_MAX};
use crate::shared::Shared;
use crate::whole::Before;
use crate::{ClientId, Question, UpstreamId};
use hither_answers::Stored;
use hither_table::{Chain, FamilyDraft, Link, Monotonic, Negative, SoaRecord, State};
use hither_wire::codes::{Class, Rcode};
use hither_wire::compose::{Composer, flags};
use hither_wire::message::{Message, Section};
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
    /// Nothing but addresses that are withheld, and until when that is remembered.
    Withheld {
        until: Monotonic,
    },
}

impl Weak {
    fn agrees(&self, other: &Weak) -> bool {
        match (self, other) {
            (Weak::Denial { kind: a, .. }, Weak::Denial { kind: b, .. }) => a == b,
            (Weak::Sinkhole(_), Weak::Sinkhole(_)) => true,
            (Weak::Whole { kind: a, .. }, Weak::Whole { kind: b, .. }) => a == b,
            (Weak::Withheld { .. }, Weak::Withheld { .. }) => true,
            (Weak::Denial { .. } | Weak::Sinkhole(_) | Weak::Whole { .. } | Weak::Withheld { .. }, _) => {
                false
            }
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
        if shared.settings.deny == Deny::Any && !matches!(weak, Weak::Withheld { .. }) {
            return self.overrule(shared, now, weak);
        }
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

    /// One upstream's denial counts whatever others say, have said, or may say yet: nobody else is waited for.
    fn overrule(&mut self, shared: &mut Shared, now: Monotonic, weak: Weak) {
        if matches!(self.phase, Phase::Denied { .. }) {
            return;
        }
        self.stop_asking(shared);
        self.cancel(shared, now, Some(self.deadline));
        self.phase = Phase::Racing { held: None, bare: None };
        self.settle(shared, now, Held { until: now, weak });
    }

    /// Believes it.
    pub fn settle(&mut self, shared: &mut Shared, now: Monotonic, held: Held) {
        let exists = shared.exists_here(&self.question.name);
        match held.weak {
            Weak::Sinkhole(contribution) => self.contribute(shared, now, &contribution),
            Weak::Denial { kind, chain, soa, expire_ms } => {
                let kind = if exists && chain.is_empty() { Negative::NoData } else { kind };
                let chains = if chain.is_empty() { Vec::new() } else { vec![Chain { links: chain }] };
                self.deny(shared, now, (kind, expire_ms), (chains, soa));
            }
            Weak::Withheld { until } => self.say_withheld(shared, now, until),
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

    fn say_withheld(&mut self, shared: &mut Shared, now: Monotonic, until: Monotonic) {
        if self.question.family().is_some() {
            return self.deny(shared, now, (Negative::Withheld, until.as_ms()), (Vec::new(), None));
        }
        self.stop_asking(shared);
        let left_s = u32::try_from(until.since(now).as_secs()).unwrap_or(u32::MAX);
        if let Some(stored) = withheld(&self.question, now, left_s).filter(Stored::is_withheld) {
            shared.answers.put(&self.question.asked(), Arc::new(stored));
        }
        self.tell(shared, &Answer::Failure { rcode: Rcode::NOERROR, ede: Some(ede::BLOCKED) });
        self.phase = Phase::Denied { set: None };
    }

    fn deny(
        &mut self,
        shared: &mut Shared,
        now: Monotonic,
        (kind, expire_ms): (Negative, u64),
        (chains, soa): (Vec<Chain>, Option<Box<SoaRecord>>),
    ) {
        let Some(family) = self.question.family() else { return };
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
            chains,
            soa,
        };
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

    /// The clients to whom it is no answer that an upstream may have found signatures wrong, while there is time for another question.
    pub fn take_checkers(&mut self, shared: &Shared, now: Monotonic) -> Vec<ClientId> {
        if !self.refuted || self.question.checking_disabled || now >= self.deadline {
            return Vec::new();
        }
        self.clients.extract_if(.., |client| shared.clients.is_checker(*client)).collect()
    }

    /// Every attempt failed, or time is up: clients get stale data or SERVFAIL, and the failure is remembered (RFC 9520). That nothing could be sent from
    /// here is not: there may be a socket for the next one.
    pub fn fail(&mut self, shared: &mut Shared, now: Monotonic) {
        let is_ours = self.starved && self.attempts.is_empty();
        let ede = self.ede;
        let answer = shared
            .stale(now, &self.question)
            .unwrap_or(Answer::Failure { rcode: Rcode::SERVFAIL, ede: Some(ede) });
        if !matches!(answer, Answer::Failure { .. }) {
            shared.counters.add(hither_table::Counter::StaleServed, self.clients.len() as u64);
        }
        let stay = matches!(answer, Answer::Failure { .. });
        let checkers = if stay { self.take_checkers(shared, now) } else { Vec::new() };
        self.tell(shared, &answer);
        self.clients = checkers;
        if is_ours {
            return;
        }
        // Who has old data is not asked for again before that is due (RFC 8767 section 5: not within 30 seconds).
        let pause = match answer {
            Answer::Failure { .. } => shared.settings.failure_ttl,
            _ => shared.settings.failure_ttl.max(shared.settings.stale_ttl),
        };
        shared.answers.fail(&self.question.asked(), now.plus(pause));
        // That nobody answers has nothing to do with who checks.
        if self.question.dnssec_ok && !self.refuted {
            shared.answers.fail(&self.question.unchecked().asked(), now.plus(pause));
        }
    }
}

/// That the answer to a question is withheld.
fn withheld(question: &Question, now: Monotonic, ttl_s: u32) -> Option<Stored> {
    let mut out = [0; 300];
    let mut composer = Composer::new(&mut out, 300)?;
    composer.set_header(0, flags::QR | flags::RD | flags::RA);
    composer.question(&question.name, question.rtype, Class::IN).then_some(())?;
    let len = composer.finish();
    Stored::new(&Message::read(out.get(..len)?).ok()?, now, (ttl_s, Section::Answer), |record| record.ttl)
}

/// Whether an answer names nothing but sinkholes.
pub(crate) fn all_sinkholes(contribution: &Contribution) -> bool {
    contribution.addresses.iter().all(is_sinkhole)
}
