//! Planted faults of one round: in what it makes of an answer, and of a failure.

use crate::mutant::Mutant;
use crate::response::Meaning;
use crate::response::cname_chain::answers;
use crate::round::answers::Answered;
use crate::round::{Phase, Round};
use crate::shared::Shared;
use hither_table::{Link, Monotonic};
use hither_wire::codes::Rtype;
use std::time::Duration;

impl Round {
    /// Spoils an answer. `true`: it is lost.
    pub fn spoil_answer(
        &mut self,
        fault: Mutant,
        now: Monotonic,
        answered: &mut Answered<'_>,
        meaning: &mut Meaning,
    ) -> bool {
        let is_completing = matches!(self.phase, Phase::Completing { .. });
        match (fault, meaning) {
            (Mutant::HeldAnswersAreNew, _) => answered.received_at = now,
            (Mutant::DenialsAgeAMillisecondLate, Meaning::Negative { .. }) => {
                answered.received_at = answered.received_at.plus(Duration::from_millis(1));
            }
            (Mutant::NegativeBeatsPositive, Meaning::Negative { .. }) if is_completing => {
                self.phase = Phase::Racing { held: None, dangling: None };
            }
            (Mutant::NegativeIsNeverCorrected, Meaning::Addresses { .. }) => {
                return matches!(self.phase, Phase::Denied { .. });
            }
            (
                Mutant::BoundsSpareTheChain,
                Meaning::Addresses { chain, .. }
                | Meaning::Negative { chain, .. }
                | Meaning::Dangling { chain }
                | Meaning::Complete { chain, .. }
                | Meaning::CompleteDenial { chain, .. },
            ) => unbound(chain, answered),
            _ => {}
        }
        false
    }

    /// Spoils the reaction to a failed attempt. `true`: no other upstream is asked.
    pub fn spoil_failure(&mut self, shared: &mut Shared, fault: Mutant) -> bool {
        if fault == Mutant::ServfailBeforeTheLastAttempt && self.is_racing() {
            self.fail(shared);
        }
        fault == Mutant::FailureStartsNobody
    }
}

/// Gives each CNAME the TTL of its record, whatever the bounds are.
fn unbound(chain: &mut [Link], answered: &Answered<'_>) {
    let Answered { attempt, message, received_at } = *answered;
    let mut owner = *attempt.target.name();
    for link in chain {
        let own =
            answers(message).filter(|record| record.rtype == Rtype::CNAME && record.is_owned_by(&owner));
        if let Some(ttl_s) = own.map(|record| record.ttl).min() {
            link.expire_ms = received_at.plus(Duration::from_secs(u64::from(ttl_s))).as_ms();
        }
        owner = link.target;
    }
}
