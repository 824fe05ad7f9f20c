//! The set of addresses that a round gathers from several responses, and which upstream gave each address.

use crate::ids::UpstreamId;
use crate::provenance::{bit_of, confirm, would_confirm};
use crate::rebinding::is_sinkhole;
use crate::reply::OPT_WITH_EDE;
use crate::settings::{ADDRESSES_MAX, CHAINS_MAX, LIFE_LEFT_MIN, REPLY_MAX};
use crate::shared::Shared;
use hither_table::{Address, Chain, Counter, FamilyDraft, Link, Trust};
use hither_wire::header::HEADER_LEN;
use hither_wire::name::Name;
use std::net::IpAddr;

/// The addresses that one response gives for the round's name.
#[derive(Clone, Debug)]
pub(crate) struct Contribution {
    pub from: UpstreamId,
    /// All CNAMEs, beginning at the round's own name.
    pub chain: Vec<Link>,
    pub addresses: Vec<IpAddr>,
    /// When the first of the records expires, in milliseconds of the table's clock.
    pub expire_ms: u64,
}

impl Contribution {
    /// Whether the addresses are valid long enough to join a set and to shorten its lifetime: as long
    /// as the set, or [`LIFE_LEFT_MIN`].
    fn lasts(&self, shared: &Shared, set: &FamilyDraft) -> bool {
        let now = shared.now;
        self.expire_ms >= set.expire_ms.min(now.plus(LIFE_LEFT_MIN).as_ms())
            || shared.faults.may_join_too_short()
    }

    /// Whether it expires before the set, whose life it then shortens.
    fn ends_sooner(&self, shared: &Shared, set: &FamilyDraft) -> bool {
        if shared.faults.may_prefer_longer() && set.expire_ms != u64::MAX {
            return self.expire_ms > set.expire_ms;
        }
        self.expire_ms < set.expire_ms
    }
}

/// Whether all addresses of the response are sinkholes.
pub(crate) fn all_sinkholes(contribution: &Contribution) -> bool {
    contribution.addresses.iter().all(is_sinkhole)
}

/// Whether `more` has nothing new for the set, as with most second responses. If so, the upstream is
/// noted in the set, and the set needs no new version.
pub(crate) fn restates(shared: &Shared, set: &mut FamilyDraft, more: &Contribution) -> bool {
    let bit = bit_of(more.from);
    let known = |address: &IpAddr| {
        let own = set.addresses.iter().find(|own| own.address == *address);
        own.is_some_and(|own| !is_confirmed(shared, own, bit))
    };
    let shorter = more.ends_sooner(shared, set) && more.lasts(shared, set);
    if shorter || !more.addresses.iter().all(known) {
        return false;
    }
    for own in set.addresses.iter_mut().filter(|own| more.addresses.contains(&own.address)) {
        own.upstreams |= bit;
    }
    true
}

/// Merges a response into a set. Returns the set, and whether it needs a new version. The set's TTL is
/// the lowest TTL of the responses in it (RFC 2181 section 5.2).
///
/// The first response is taken as it is. A later response adds no address with which replies would need
/// TC, and does not make the set expire at once.
pub(crate) fn merge(
    shared: &mut Shared,
    name: &Name,
    mut merged: FamilyDraft,
    more: &Contribution,
) -> (FamilyDraft, bool) {
    let begins = merged.addresses.iter().all(|own| is_sinkhole(&own.address))
        && (merged.addresses.is_empty() || !more.addresses.iter().all(is_sinkhole));
    if begins {
        // The expiry and the chain of a sinkhole are discarded with its address.
        merged.addresses.clear();
        merged.chains.clear();
        (merged.expire_ms, merged.lifetime_s) = (u64::MAX, 0);
    }
    let (chain, bit) = (chain_of(&merged, &more.chain), bit_of(more.from));
    let lasts = begins || more.lasts(shared, &merged);
    let most = if begins { ADDRESSES_MAX } else { most(shared, name, &merged, more) };
    let (mut added, mut stated, mut confirmed, mut left_out) = (false, false, false, 0);
    // Any other address replaces a sinkhole, whichever came first.
    let is_real = |address: &IpAddr| !is_sinkhole(address);
    let real = more.addresses.iter().any(is_real) || merged.addresses.iter().any(|own| is_real(&own.address));
    for address in more.addresses.iter().copied().filter(|address| !real || is_real(address)) {
        if let Some(at) = merged.addresses.iter().position(|own| own.address == address) {
            stated = true;
            confirmed |= gives(shared, &mut merged, at, chain, bit);
        } else if lasts
            && merged.addresses.len() < most
            && chain < CHAINS_MAX
            && let Ok(chain) = u8::try_from(chain)
        {
            merged.addresses.push(Address::new(address, chain, bit));
            added = true;
        } else {
            left_out += 1;
        }
    }
    shared.counters.add(Counter::AdditionsLeftOut, left_out);
    // The addresses of the first response are trusted.
    if !merged.addresses.iter().any(Address::is_trusted) {
        merged.addresses.iter_mut().for_each(confirm);
    }
    let shorter = more.ends_sooner(shared, &merged) && lasts && (added || stated);
    if added {
        merged.set_version = 0;
        merged.sorted = false;
        // Verdicts are for the set that was judged, as orders are (I5).
        if !shared.faults.may_keep_verdicts() {
            merged.addresses.iter_mut().for_each(|own| own.trust = Trust::Unknown);
        }
        if chain == merged.chains.len() {
            merged.chains.push(Chain { links: more.chain.clone() });
        }
    }
    if shorter {
        merged.expire_ms = more.expire_ms;
        merged.lifetime_s = 0;
    }
    if added || shorter {
        shorten(&mut merged, chain, &more.chain);
    }
    (merged, added || shorter || confirmed)
}

/// Notes that an upstream gave a known address behind a chain. Returns whether this confirms the
/// address.
fn gives(shared: &Shared, set: &mut FamilyDraft, at: usize, chain: usize, bit: u32) -> bool {
    let chains = set.chains.len();
    let Some(own) = set.addresses.get_mut(at) else { return false };
    let confirmed = is_confirmed(shared, own, bit);
    own.upstreams |= bit;
    if !confirmed {
        return false;
    }
    confirm(own);
    // A chain with a lower index is from an earlier response, and is preferred.
    if let Some(older) = u8::try_from(chain).ok().filter(|older| chain < chains && *older < own.chain) {
        own.chain = older;
    }
    true
}

/// Whether this upstream's response makes an address trusted.
fn is_confirmed(shared: &Shared, address: &Address, bit: u32) -> bool {
    would_confirm(address, bit) && !shared.faults.may_ignore_confirmation()
}

/// The number of addresses that a set may have once `more` joins: as many as fit into a reply of
/// [`REPLY_MAX`] octets behind the longest chain.
fn most(shared: &Shared, name: &Name, set: &FamilyDraft, more: &Contribution) -> usize {
    const HEAD: usize = HEADER_LEN + 4 + OPT_WITH_EDE;
    /// Octets of a record without its data: compressed owner, type, class, TTL, length.
    const RECORD: usize = 12;
    if shared.faults.may_exceed_reply() {
        return ADDRESSES_MAX;
    }
    let octets = |links: &[Link]| links.iter().map(|l| RECORD + l.target.as_wire().len()).sum::<usize>();
    let longest = set.chains.iter().map(|chain| octets(&chain.links)).max().unwrap_or(0);
    let before = HEAD + name.as_wire().len() + longest.max(octets(&more.chain));
    let data = if more.addresses.iter().any(IpAddr::is_ipv6) { 16 } else { 4 };
    (REPLY_MAX.saturating_sub(before) / (RECORD + data)).min(ADDRESSES_MAX)
}

/// The index of a chain in the set, or the next free index.
fn chain_of(set: &FamilyDraft, links: &[Link]) -> usize {
    let same = |chain: &Chain| {
        chain.links.len() == links.len()
            && chain.links.iter().zip(links).all(|(a, b)| a.target.eq_ignore_case(&b.target))
    };
    set.chains.iter().position(same).unwrap_or(set.chains.len())
}

/// Gives each CNAME that two responses have the earlier expiry of both.
fn shorten(set: &mut FamilyDraft, chain: usize, links: &[Link]) {
    if let Some(kept) = set.chains.get_mut(chain) {
        for (kept, link) in kept.links.iter_mut().zip(links) {
            kept.expire_ms = kept.expire_ms.min(link.expire_ms);
        }
    }
}
