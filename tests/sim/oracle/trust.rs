//! Verdicts on certificates and the agreement of upstreams, computed from orders and messages alone.

use super::known::{Known, SeenRound};
use super::provenance::Set;
use hither_table::{Address, Agreement, FamilyView, State, Trust};
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The verdict on each address of a set.
pub(super) type Verdicts = BTreeMap<IpAddr, Trust>;

/// The addresses of an order, each with its verdict.
pub(super) type Ordered = Vec<(IpAddr, Trust)>;

pub(super) fn verdicts(view: &FamilyView<'_>) -> Verdicts {
    view.addresses().map(|own| (own.address, own.trust)).collect()
}

/// Where an address stands: before those with a greater number.
fn place(own: Trust, is_confirmed: bool, all: &Verdicts, is_disputed: bool) -> u8 {
    let some_verified = all.values().any(|trust| *trust == Trust::Verified);
    match own {
        Trust::OtherName | Trust::Untrusted if some_verified => 3,
        Trust::Verified if is_disputed => 0,
        Trust::Verified => 1,
        _ if is_confirmed => 1,
        _ => 2,
    }
}

/// Where each address of a set stands.
pub(super) fn places(view: &FamilyView<'_>) -> Vec<u8> {
    let (all, is_disputed) = (verdicts(view), view.agreement().is_disputed());
    view.addresses().map(|own| place(own.trust, own.is_trusted(), &all, is_disputed)).collect()
}

/// Judges that extra addresses and those with a wrong certificate come last, and the verified ones of a
/// disputed set first.
pub(super) fn judge_place(view: &FamilyView<'_>) {
    let places = places(view);
    assert!(places.is_sorted(), "an address stands before a better part of its set: {places:?}");
}

/// An order as it has to be published: part by part.
pub(super) fn in_force(ordered: &Ordered, trusted: &BTreeSet<IpAddr>, is_disputed: bool) -> Vec<IpAddr> {
    let all: Verdicts = ordered.iter().copied().collect();
    let mut placed = ordered.to_vec();
    placed.sort_by_key(|(address, trust)| place(*trust, trusted.contains(address), &all, is_disputed));
    placed.into_iter().map(|(address, _)| address).collect()
}

impl Known {
    /// Judges that verdicts are those of the order for this set: the one that was just applied, or an
    /// earlier one. A new set has none.
    pub fn judge_verdicts(&self, view: &FamilyView<'_>, applied: Option<&Ordered>) {
        let expected = match applied {
            Some(ordered) => ordered.iter().copied().collect(),
            None if self.set_version != 0 && view.set_version() == self.set_version => {
                self.standing.1.clone()
            }
            None => view.addresses().map(|own| (own.address, Trust::Unknown)).collect(),
        };
        assert_eq!(verdicts(view), expected, "a verdict is not for this set");
    }
}

/// Judges what a set says about the upstreams of its round.
pub(super) fn judge_agreement(name: &Name, round: &SeenRound, view: &FamilyView<'_>) {
    let agreement = view.agreement();
    let has_ended = view.state() != State::First;
    let stated = Set::of(name, &round.good).addresses;
    for own in view.addresses() {
        let by = stated.get(&own.address).map_or(0, BTreeSet::len);
        let sources = usize::from(own.sources);
        assert!(sources <= by && (!has_ended || sources == by), "{by} upstreams gave it, not {sources}");
    }
    let gave: BTreeSet<_> = round.good.iter().map(|good| good.from).collect();
    let answered = usize::from(agreement.answered);
    assert!(answered <= round.asked.len(), "{answered} answered of {}", round.asked.len());
    assert!(!has_ended || answered >= gave.len(), "{} gave addresses, {answered} answered", gave.len());
    let has = |reason: u8| agreement.disputes & reason != 0;
    let denied = round.dissent.denied.iter().any(|(from, counts)| *counts && !gave.contains(from));
    let is_positive = !view.is_empty();
    assert!(!has(Agreement::DENIED) || is_positive && !round.dissent.denied.is_empty(), "nobody denied it");
    assert!(has(Agreement::DENIED) || !(has_ended && denied && is_positive), "a denial is no dispute");
    assert!(!has(Agreement::PRIVATE) || !round.dissent.private.is_empty(), "nobody gave a private address");
    let is_private = has_ended && is_positive && !round.dissent.private.is_empty();
    assert!(has(Agreement::PRIVATE) || !is_private, "private addresses are no dispute");
}

/// Judges whether the set says that certificates divide it.
pub(super) fn judge_division(view: &FamilyView<'_>) {
    let all: Vec<Address> = view.addresses().collect();
    if all.iter().any(|own| own.given_by() == 0) {
        return;
    }
    // Each address with those that it shares an upstream with, directly or by others.
    let mut groups: Vec<(u32, bool)> = Vec::new();
    for own in &all {
        let is_wrong = own.trust == Trust::OtherName;
        let (joined, apart): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|(bits, _)| bits & own.given_by() != 0);
        let merged = joined
            .iter()
            .fold((own.given_by(), is_wrong), |(bits, wrong), (more, is)| (bits | more, wrong || *is));
        groups = apart;
        groups.push(merged);
    }
    let divided = groups.iter().any(|(_, wrong)| *wrong) && groups.iter().any(|(_, wrong)| !wrong);
    let says = view.agreement().disputes & Agreement::CERTIFICATES != 0;
    assert_eq!(says, divided, "certificates divide the set: {all:?}");
}
