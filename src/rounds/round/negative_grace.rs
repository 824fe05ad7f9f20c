//! Negative grace: a weak answer (a denial, a sinkhole, withheld addresses) waits for a better answer or
//! for a second weak answer that agrees with it. `Round::conclude` ends the wait.

use crate::reply::Answer;
use crate::round::{Phase, Round};
use crate::settings::Deny;
use crate::shared::Shared;
use crate::weak_answer::{Held, WeakAnswer};
use hither_table::{Chain, Monotonic, Negative};
use std::sync::Arc;

impl Round {
    /// Holds a weak answer, or accepts it when it is the second of its kind.
    pub fn hold(&mut self, shared: &mut Shared, received_at: Monotonic, weak: WeakAnswer) {
        if shared.settings.deny == Deny::Any && !matches!(weak, WeakAnswer::Withheld { .. }) {
            return self.deny_at_once(shared, weak);
        }
        let Phase::Racing { held, .. } = &mut self.phase else { return };
        let grace = shared.settings.negative_grace;
        match held {
            None => *held = Some(Held { until: received_at.plus(grace), weak }),
            Some(first) if first.weak.agrees(&weak) => {
                if let Some(first) = held.take() {
                    self.accept(shared, first);
                }
            }
            // The first of two weak answers that disagree goes on waiting; the second is dropped.
            Some(_) => {}
        }
    }

    /// Accepts one upstream's denial at once, even after another upstream's answer (`Deny::Any`).
    fn deny_at_once(&mut self, shared: &mut Shared, weak: WeakAnswer) {
        let now = shared.now;
        if matches!(self.phase, Phase::Denied { .. }) {
            return;
        }
        self.clear_unasked(shared);
        self.cancel(shared, Some(self.deadline));
        self.phase = Phase::Racing { held: None, dangling: None };
        self.accept(shared, Held { until: now, weak });
    }

    /// Accepts a weak answer and replies to the clients.
    pub fn accept(&mut self, shared: &mut Shared, held: Held) {
        let now = shared.now;
        let exists = shared.exists_here(&self.question.name);
        match held.weak {
            WeakAnswer::Sinkhole(contribution) => self.add_addresses(shared, &contribution),
            WeakAnswer::Denial { kind, chain, soa, expire_ms } => {
                let kind = if exists && chain.is_empty() { Negative::NoData } else { kind };
                let chains = if chain.is_empty() { Vec::new() } else { vec![Chain { links: chain }] };
                self.deny(shared, kind, expire_ms, chains, soa);
            }
            WeakAnswer::Withheld { until } => self.deny_withheld(shared, until),
            WeakAnswer::CompleteDenial { stored, .. } => {
                let stored = if exists { Arc::new(stored.for_existing_name()) } else { stored };
                self.clear_unasked(shared);
                if !stored.expired(now) {
                    shared.answers.put(&self.question.asked(), Arc::clone(&stored));
                }
                self.reply_to_all(shared, &Answer::stored(&stored));
                self.phase = Phase::Denied { set: None };
            }
        }
    }
}
