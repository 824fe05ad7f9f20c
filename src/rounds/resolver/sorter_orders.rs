//! Orders from the sorter: each is applied to the set that it was measured for, or rejected (I5).

use crate::action::{Action, OrderResult};
use crate::agreement::agreement_of;
use crate::ids::SenderId;
use crate::input::{Order, OrderedAddress};
use crate::provenance::put_parts_in_order;
use crate::question::Question;
use crate::resolver::Rounds;
use crate::round::Phase;
use crate::trace::Cause;
use hither_table::{Address, Counter, FamilyDraft, Key, Timed};

/// A set in the order that was measured, and why it is published; `None` if nothing differs.
struct Ordered {
    set: FamilyDraft,
    /// Whether the set had no order before.
    is_first: bool,
    cause: Option<Cause>,
}

impl Rounds {
    pub(crate) fn order(&mut self, sender: SenderId, order: &Order) {
        let result = match self.ordered(order) {
            // An order that changes nothing is accepted without a new version. If it were rejected, the
            // sorter would repeat it: it may rank an extra address first, which provenance keeps last.
            Ok(Ordered { set, cause: None, .. }) => OrderResult::Applied { version: set.version },
            Ok(Ordered { set, cause: Some(cause), is_first }) => {
                if is_first {
                    self.note_first_order(order);
                }
                match self.shared.publish(&order.name, order.family, set, cause) {
                    Ok(published) => {
                        self.adopt_order(order, published.set.clone());
                        self.reorder_hints(&order.name);
                        OrderResult::Applied { version: published.set.version }
                    }
                    Err(error) => OrderResult::Rejected { reason: error.reason(), set_version: None },
                }
            }
            Err((reason, set_version)) => OrderResult::Rejected { reason, set_version },
        };
        self.shared.count(match result {
            OrderResult::Applied { .. } => Counter::OrdersApplied,
            OrderResult::Rejected { .. } => Counter::OrdersRejected,
        });
        self.shared.actions.push_back(Action::OrderResult { sender, result });
    }

    /// The table's set in the new order, and why it is published. An error is the reason, with the set
    /// version in the table.
    fn ordered(&mut self, order: &Order) -> Result<Ordered, (&'static str, Option<u64>)> {
        self.remove_void(&order.name);
        let shared = &mut self.shared;
        if order.generation != shared.writer.reader().generation() {
            return Err(("another table", None));
        }
        if !shared.writer.get(&Key::of(&order.name), &mut shared.scratch) {
            return Err(("not in the table", None));
        }
        let draft = shared.scratch.to_draft();
        let set = draft.and_then(|draft| match order.family {
            hither_table::Family::A => draft.a,
            hither_table::Family::Aaaa => draft.aaaa,
        });
        let Some(mut set) = set else { return Err(("not in the table", None)) };
        shared.faults.on_order(order, &mut set);
        let refused = |reason| Err((reason, Some(set.set_version)));
        if set.set_version != order.set_version {
            return refused("outdated set");
        }
        let mut addresses: Vec<Address> = Vec::with_capacity(set.addresses.len());
        for OrderedAddress { address, rtt, trust } in order.addresses.iter().copied() {
            match set.addresses.iter().find(|known| known.address == address) {
                Some(known) if addresses.iter().all(|a| a.address != address) => {
                    addresses.push(Address { rtt, trust, ..*known });
                }
                _ => return refused("not a permutation of the set"),
            }
        }
        if addresses.is_empty() || addresses.len() != set.addresses.len() {
            return refused("not a permutation of the set");
        }
        let agreement = agreement_of(&addresses, set.agreement);
        put_parts_in_order(&mut addresses, &agreement, shared.faults);
        let changes = !set.sorted || set.addresses != addresses || set.agreement != agreement;
        let cause = changes.then(|| cause(&set, &addresses));
        set.addresses = addresses;
        let is_first = !std::mem::replace(&mut set.sorted, true);
        Ok(Ordered { set, is_first, cause })
    }

    /// Notes how long a set has waited for its first order, if its publish is remembered.
    fn note_first_order(&self, order: &Order) {
        let versions = &self.shared.traces.versions;
        if let Some(at) = versions.published_at(&order.name, order.family, order.set_version) {
            self.recorder().note_time(Timed::FirstOrder, self.shared.now.since(at));
        }
    }

    /// Lets a live round continue with the set as it is published now.
    fn adopt_order(&mut self, order: &Order, published: FamilyDraft) {
        let question = Question {
            name: order.name,
            rtype: order.family.rtype(),
            dnssec_ok: false,
            checking_disabled: false,
        };
        let live = self.live.get(&question).and_then(|id| self.rounds.get_mut(id));
        if let Some(Phase::Completing { set }) = live.map(|round| &mut round.phase)
            && set.round == published.round
        {
            let known = std::mem::replace(set, published);
            // The round knows of upstreams that have given an address since the last version.
            for own in &mut set.addresses {
                let known = known.addresses.iter().find(|known| known.address == own.address);
                own.upstreams |= known.map_or(0, |known| known.upstreams);
            }
        }
    }
}

/// Why an order is published: it moves addresses or measures them, or it only judges certificates.
fn cause(set: &FamilyDraft, ordered: &[Address]) -> Cause {
    let mut pairs = set.addresses.iter().zip(ordered);
    let is_judged = set.addresses.iter().zip(ordered).any(|(before, after)| before.trust != after.trust);
    let stays = set.sorted && pairs.all(|(before, after)| before.address == after.address);
    if stays && is_judged { Cause::Judged } else { Cause::Ordered }
}
