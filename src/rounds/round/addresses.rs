//! Addresses of responses: the first addresses answer the clients, further ones join the set.

use crate::address_set::{Contribution, merge, restates};
use crate::ids::Source;
use crate::reply::Answer;
use crate::round::{Phase, Round};
use crate::shared::Shared;
use crate::trace::Cause;
use hither_table::{Agreement, FamilyDraft, State};

impl Round {
    /// Adds the addresses of a response: the first ones answer the clients, further ones join the set
    /// of this round (I3).
    pub fn add_addresses(&mut self, shared: &mut Shared, contribution: &Contribution) {
        let Some(family) = self.question.family() else { return };
        if let Phase::Completing { set } = &mut self.phase
            && restates(shared, set, contribution)
        {
            return;
        }
        let name = self.question.name;
        let (mut set, changed) = match &self.phase {
            Phase::Completing { set } => merge(shared, &name, set.clone(), contribution),
            Phase::AsksSite { .. } | Phase::Racing { .. } | Phase::Denied { .. } => {
                let set = merge(shared, &name, self.empty_set(), contribution);
                self.ask_the_others(shared);
                set
            }
        };
        if !changed {
            // A further upstream of a known address is published with the set's next version.
            if let Phase::Completing { set: kept } = &mut self.phase {
                *kept = set;
            }
            return;
        }
        set.state = if self.attempts.is_empty() && self.unasked.is_empty() && !self.is_cut_short {
            State::Complete
        } else {
            State::First
        };
        set.agreement = self.heard.agreement(&set.addresses, shared.faults);
        let cause = self.cause_of(&set);
        match shared.publish(&self.question.name, family, set, cause) {
            Ok(published) => {
                shared.answers.forget_failure(&self.question.asked());
                self.reply_to_all(
                    shared,
                    &Answer::Record { record: published.record, family, stale_ttl_s: None },
                );
                self.phase = Phase::Completing { set: published.set };
            }
            // A set that has become too large stays as it was last published.
            Err(_) if matches!(self.phase, Phase::Completing { .. }) => {}
            Err(error) => self.reply_not_stored(shared, error),
        }
    }

    /// Why the next version of the round's set is published.
    fn cause_of(&self, set: &FamilyDraft) -> Cause {
        match &self.phase {
            Phase::Completing { .. } if set.set_version == 0 => Cause::Merged,
            Phase::Completing { .. } => Cause::Confirmed,
            Phase::Denied { .. } => Cause::Corrected,
            Phase::AsksSite { .. } | Phase::Racing { .. } if self.source == Source::NOBODY => {
                Cause::Refreshed
            }
            Phase::AsksSite { .. } | Phase::Racing { .. } => Cause::First,
        }
    }

    fn empty_set(&mut self) -> FamilyDraft {
        let addresses = std::mem::take(&mut self.lists.addresses);
        let chains = std::mem::take(&mut self.lists.chains);
        FamilyDraft {
            version: 0,
            set_version: 0,
            round: self.id,
            state: State::First,
            negative: None,
            sorted: false,
            expire_ms: u64::MAX,
            lifetime_s: 0,
            agreement: Agreement::default(),
            addresses,
            chains,
            soa: None,
        }
    }

    /// Queries the remaining upstreams after the first accepted answer, if the settings want complete
    /// sets; else ends all attempts.
    fn ask_the_others(&mut self, shared: &mut Shared) {
        let now = shared.now;
        if !shared.settings.complete {
            self.clear_unasked(shared);
            self.cancel(shared, None);
            return;
        }
        let batch = shared.settings.batch.max(1);
        self.ask_next(shared, batch);
        if !self.unasked.is_empty() {
            self.next_wave_at = Some(now.plus(shared.settings.stagger));
        }
    }
}
