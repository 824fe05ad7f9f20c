//! Provenance: which upstreams gave each address of a set, and so the addresses of the set, its TTL, and
//! which of them may come first. All is computed from the messages alone.

use super::known::Known;
use hither_rounds::UpstreamId;
use hither_table::{Address, FamilyView, Monotonic, Rtt};
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

/// Judges that extra addresses come last.
pub(super) fn judge_place(view: &FamilyView<'_>) {
    let all: Vec<bool> = view.addresses().map(|a| a.is_trusted()).collect();
    assert!(all.is_sorted_by_key(|trusted| !trusted), "an extra address comes before a trusted one");
}

/// An order as it has to be published: trusted addresses first.
pub(super) fn in_force(ordered: &[IpAddr], trusted: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let (first, last): (Vec<_>, Vec<_>) = ordered.iter().partition(|address| trusted.contains(*address));
    first.into_iter().chain(last).copied().collect()
}

/// Judges an order that is kept while trust changes: every address keeps its place, except an address that
/// has just been confirmed, which comes before the first slower one.
pub(super) fn judge_kept(known: &Known, view: &FamilyView<'_>) {
    let now: Vec<Address> = view.addresses().collect();
    let stays = |a: &&Address| a.is_trusted() == known.trusted.contains(&a.address);
    let before: Vec<IpAddr> = known.addresses.clone();
    for part in [true, false] {
        let after: Vec<IpAddr> =
            now.iter().filter(stays).filter(|a| a.is_trusted() == part).map(|a| a.address).collect();
        let same: Vec<IpAddr> = before.iter().filter(|a| after.contains(a)).copied().collect();
        assert_eq!(after, same, "an order that was measured for another set");
    }
    let rank = |a: &Address| match a.rtt {
        Rtt::Micros(micros) => (0, micros),
        Rtt::Unmeasured => (1, 0),
        Rtt::Unreachable => (2, 0),
    };
    for (at, own) in now.iter().enumerate().filter(|(_, a)| a.is_trusted() && !stays(a)) {
        let first_after = now[at + 1..].iter().filter(|a| a.is_trusted()).find(stays);
        let before = now[..at].iter().filter(stays).all(|a| rank(a) <= rank(own));
        assert!(
            before && first_after.is_none_or(|a| rank(a) > rank(own)),
            "a confirmed address is not where its measurement puts it"
        );
    }
}
