//! What measurements say about a set: whether that is worth an order, and the order.

use crate::sorter::probe_choice::ProbeChoice;
use crate::sorter::ranking::{Candidate, Outcome, improves, ranked};
use hither_client::{FamilyView, Monotonic, Rtt};
use hither_control::OrderedAddress;
use hither_table::{Address, Parts};
use std::time::Duration;

/// The addresses of a set, in the order of the table, with their outcomes and verdicts.
#[derive(Debug)]
pub(super) struct Measured {
    candidates: Vec<Candidate>,
}

impl Measured {
    /// Of an address that this process has not judged, the verdict in the table stays: it is for this set.
    pub fn of(view: &FamilyView<'_>, name: &[u8], choice: &ProbeChoice, now: Monotonic) -> Measured {
        let judged = |known: Address| {
            let trust = choice.judging.trust(name, &known.address, now).unwrap_or(known.trust);
            Address { trust, ..known }
        };
        let addresses: Vec<Address> = view.addresses().map(judged).collect();
        let parts = Parts::of(&addresses, &view.agreement());
        let candidate = |known: &Address| Candidate {
            address: known.address,
            outcome: choice.outcome(&known.address),
            trust: known.trust,
            part: parts.part(known),
        };
        Measured { candidates: addresses.iter().map(candidate).collect() }
    }

    /// Whether an order would tell the daemon something. While addresses are missing, two must have
    /// answered.
    pub fn is_worth_sending(&self, view: &FamilyView<'_>, hysteresis: Duration, is_complete: bool) -> bool {
        let gains = || improves(&self.candidates, hysteresis);
        let is_answered = |one: &&Candidate| matches!(one.outcome, Outcome::Answered(_));
        if is_complete {
            let is_known = self.candidates.iter().any(|one| one.outcome != Outcome::Unmeasured);
            is_known && (!view.sorted() || gains() || self.tells_more(view, hysteresis))
        } else {
            self.candidates.iter().filter(is_answered).count() >= 2 && (!view.sorted() || gains())
        }
    }

    /// Whether it is known of an address what the table does not say: that it can be reached, that it cannot,
    /// or another verdict; or another time, where the times of both families are compared.
    fn tells_more(&self, view: &FamilyView<'_>, hysteresis: Duration) -> bool {
        let is_compared = view.has_counterpart();
        view.addresses().zip(&self.candidates).any(|(known, one)| match one.outcome {
            _ if one.trust != known.trust => true,
            Outcome::Unmeasured => false,
            Outcome::Answered(rtt) => match known.rtt {
                Rtt::Micros(micros) => is_compared && has_moved(micros, rtt, hysteresis),
                Rtt::Unmeasured | Rtt::Unreachable => true,
            },
            Outcome::Refused | Outcome::Silent => known.rtt != Rtt::Unreachable,
        })
    }

    /// The addresses for an order, the best one first.
    pub fn ranked(&self) -> Vec<OrderedAddress> {
        ranked(&self.candidates).into_iter().map(ordered_address).collect()
    }
}

/// Whether a time differs from the one in the table by more than the hysteresis, and by more than a fourth.
fn has_moved(before_us: u32, rtt: Duration, hysteresis: Duration) -> bool {
    let before = Duration::from_micros(before_us.into());
    before.abs_diff(rtt) > hysteresis.max(before / 4)
}

fn ordered_address(one: Candidate) -> OrderedAddress {
    let (rtt_us, reachable) = match one.outcome {
        // The two greatest numbers have other meanings in the table.
        Outcome::Answered(rtt) => (Some(u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX - 2)), Some(true)),
        Outcome::Unmeasured => (None, None),
        Outcome::Refused | Outcome::Silent => (None, Some(false)),
    };
    OrderedAddress { address: one.address, rtt_us, reachable, verdict: one.trust.into() }
}
