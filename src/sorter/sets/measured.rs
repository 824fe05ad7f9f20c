//! What measurements say about a set: whether that is worth an order, and the order.

use crate::sorter::probe_choice::ProbeChoice;
use crate::sorter::ranking::{Outcome, improves, ranked};
use hither_client::{FamilyView, Rtt};
use hither_control::{OrderedAddress, Verdict};
use std::net::IpAddr;
use std::time::Duration;

/// The addresses of a set, in the order of the table, with their outcomes.
#[derive(Debug)]
pub(super) struct Measured {
    outcomes: Vec<(IpAddr, Outcome)>,
    /// How many come before the extra addresses.
    trusted: usize,
}

impl Measured {
    pub fn of(view: &FamilyView<'_>, choice: &ProbeChoice) -> Measured {
        let outcomes = view.addresses().map(|a| (a.address, choice.outcome(&a.address))).collect();
        Measured { outcomes, trusted: view.trusted().count() }
    }

    /// The addresses before the extra ones, and these. The daemon puts extra addresses behind the others,
    /// regardless of the order.
    fn parts(&self) -> [&[(IpAddr, Outcome)]; 2] {
        let (trusted, extra) = self.outcomes.split_at(self.trusted);
        [trusted, extra]
    }

    /// Whether an order would tell the daemon something. While addresses are missing, two must have
    /// answered.
    pub fn is_worth_sending(&self, view: &FamilyView<'_>, hysteresis: Duration, is_complete: bool) -> bool {
        let gains = || self.parts().iter().any(|part| improves(part, hysteresis));
        let is_answered = |(_, outcome): &&(IpAddr, Outcome)| matches!(outcome, Outcome::Answered(_));
        if is_complete {
            let is_known = self.outcomes.iter().any(|(_, outcome)| *outcome != Outcome::Unmeasured);
            is_known && (!view.sorted() || gains() || self.tells_more(view, hysteresis))
        } else {
            self.outcomes.iter().filter(is_answered).count() >= 2 && (!view.sorted() || gains())
        }
    }

    /// Whether measurements say of an address what the table does not: that it can be reached, or that it
    /// cannot; or another time, where the times of both families are compared.
    fn tells_more(&self, view: &FamilyView<'_>, hysteresis: Duration) -> bool {
        let is_compared = view.has_counterpart();
        view.addresses().zip(&self.outcomes).any(|(known, (_, outcome))| match outcome {
            Outcome::Unmeasured => false,
            Outcome::Answered(rtt) => match known.rtt {
                Rtt::Micros(micros) => is_compared && has_moved(micros, *rtt, hysteresis),
                Rtt::Unmeasured | Rtt::Unreachable => true,
            },
            Outcome::Refused | Outcome::Silent => known.rtt != Rtt::Unreachable,
        })
    }

    /// The addresses for an order, the best one first.
    pub fn ranked(&self) -> Vec<OrderedAddress> {
        let ranked = self.parts().into_iter().flat_map(ranked);
        ranked.map(|(address, outcome)| ordered_address(address, outcome)).collect()
    }
}

/// Whether a time differs from the one in the table by more than the hysteresis, and by more than a fourth.
fn has_moved(before_us: u32, rtt: Duration, hysteresis: Duration) -> bool {
    let before = Duration::from_micros(before_us.into());
    before.abs_diff(rtt) > hysteresis.max(before / 4)
}

fn ordered_address(address: IpAddr, outcome: Outcome) -> OrderedAddress {
    let (rtt_us, reachable) = match outcome {
        // The two greatest numbers have other meanings in the table.
        Outcome::Answered(rtt) => (Some(u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX - 2)), Some(true)),
        Outcome::Unmeasured => (None, None),
        Outcome::Refused | Outcome::Silent => (None, Some(false)),
    };
    OrderedAddress { address, rtt_us, reachable, verdict: Verdict::Unknown }
}
