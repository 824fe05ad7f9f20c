//! Provenance: which upstreams gave each address of a set, and so the addresses of the set, its TTL, and
//! which of them may come first. All is computed from the messages alone.

use super::known::Known;
use super::trust::places;
use hither_rounds::UpstreamId;
use hither_table::{Address, FamilyView, Monotonic, Rtt, Trust};
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// An answer that counts, without its private addresses.
#[derive(Clone, Debug)]
pub(super) struct Good {
    pub from: UpstreamId,
    /// When the answer counted.
    pub at: Monotonic,
    pub addresses: Vec<IpAddr>,
    /// When the answer expires, in milliseconds.
    pub until_ms: u64,
    /// Octets that the answer's CNAMEs take in a reply.
    pub links: usize,
}

/// A set as it has to be published.
#[derive(Debug, Default)]
pub(super) struct Set {
    pub addresses: BTreeMap<IpAddr, BTreeSet<UpstreamId>>,
    pub trusted: BTreeSet<IpAddr>,
    /// When the set expires, in milliseconds; `None` while it is empty.
    pub until_ms: Option<u64>,
}

/// The time that an answer after the first must have left to add to a set, and to shorten its TTL.
const LEAST_LEFT: Duration = Duration::from_secs(1);

impl Set {
    pub fn of(name: &Name, good: &[Good]) -> Set {
        let (mut set, mut longest) = (Set::default(), 0);
        for answer in good {
            let first = set.addresses.is_empty();
            let floor = answer.at.plus(LEAST_LEFT).as_ms();
            let lasts = set.until_ms.is_none_or(|until| answer.until_ms >= until.min(floor));
            // A reply has a header, a question, an OPT record with an extended error, and for each address a
            // compressed owner, ten octets and the address.
            let head = 12 + name.as_wire().len() + 4 + 17 + answer.links.max(longest);
            let most = if first { usize::MAX } else { (1232 - head) / 16 };
            let (mut belongs, mut adds) = (false, false);
            for address in &answer.addresses {
                let there = set.addresses.contains_key(address);
                if !there && (!lasts || set.addresses.len() >= most) {
                    continue;
                }
                adds |= !there;
                belongs = true;
                let by = set.addresses.entry(*address).or_default();
                by.insert(answer.from);
                if first || by.len() > 1 {
                    set.trusted.insert(*address);
                }
            }
            if adds {
                longest = longest.max(answer.links);
            }
            if belongs && lasts {
                set.until_ms = Some(set.until_ms.map_or(answer.until_ms, |until| until.min(answer.until_ms)));
            }
        }
        set
    }

    pub fn has(&self, addresses: &BTreeSet<IpAddr>) -> bool {
        self.addresses.len() == addresses.len() && addresses.iter().all(|a| self.addresses.contains_key(a))
    }
}

pub(super) fn is_private(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10)
}

pub(super) fn trusted(view: &FamilyView<'_>) -> BTreeSet<IpAddr> {
    view.addresses().filter(Address::is_trusted).map(|a| a.address).collect()
}

/// Judges an order that is kept while trust changes: part by part, every address keeps its place, except
/// an address that has just been confirmed, which comes before the first slower one.
pub(super) fn judge_kept(known: &Known, view: &FamilyView<'_>) {
    let now: Vec<Address> = view.addresses().collect();
    let places = places(view);
    let is_new = |at: usize| {
        let own = &now[at];
        own.is_trusted()
            && !known.standing.0.contains(&own.address)
            && own.trust != Trust::Verified
            && places[at] == 1
    };
    let before: Vec<IpAddr> = known.addresses.clone();
    for part in 0..=3 {
        let stays = (0..now.len()).filter(|at| places[*at] == part && !is_new(*at));
        let after: Vec<IpAddr> = stays.map(|at| now[at].address).collect();
        let same: Vec<IpAddr> = before.iter().filter(|a| after.contains(a)).copied().collect();
        assert_eq!(after, same, "an order that was measured for another set");
    }
    let rank = |at: usize| match now[at].rtt {
        Rtt::Micros(micros) => (0, micros),
        Rtt::Unmeasured => (1, 0),
        Rtt::Unreachable => (2, 0),
    };
    for at in (0..now.len()).filter(|at| is_new(*at)) {
        let others = |range: std::ops::Range<usize>| range.filter(|n| places[*n] == 1 && !is_new(*n));
        let before = others(0..at).all(|n| rank(n) <= rank(at));
        assert!(
            before && others(at + 1..now.len()).next().is_none_or(|n| rank(n) > rank(at)),
            "a confirmed address is not where its measurement puts it"
        );
    }
}
