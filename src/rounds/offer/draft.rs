//! Makes a set for the table of an offer. Nothing of an offer is believed before it is checked here: a
//! companion that lies may publish a wrong answer, and nothing worse.

use crate::faults::Faults;
use crate::offer::Offer;
use crate::provenance::rank;
use crate::response::may_deny;
use crate::settings::{ADDRESSES_MAX, Bounds, CHAINS_MAX, CNAMES_MAX};
use hither_table::{Address, Agreement, Chain, Family, FamilyDraft, Monotonic, Negative, Rtt};
use hither_table::{SoaRecord, State, Trust};
use hither_wire::name::Name;
use hither_wire::reach::Reach;
use std::collections::BTreeSet;
use std::time::Duration;

/// Octets of the name of a host or an upstream.
const LABEL_MAX: usize = 64;
/// Upstreams that are named.
const SAID_BY_MAX: usize = 8;
/// The five numbers at the end of an SOA record.
const SOA_NUMBERS: usize = 20;

/// The time, the bounds of TTLs and the planted fault of the core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judge {
    pub now: Monotonic,
    pub bounds: Bounds,
    pub faults: Faults,
}

impl Judge {
    /// The set that an offer has, with this round. `None`: the offer is malformed or has expired.
    ///
    /// Upstreams of another host have no number here, and certificates are judged by each host itself: of
    /// the provenance of an address only remains whether it is confirmed. Round-trip times of the other host
    /// give the first order, and count as no measurement.
    pub fn draft(self, offer: &Offer, round: u64) -> Option<FamilyDraft> {
        self.has_sane_times(offer).then_some(())?;
        has_sane_labels(offer).then_some(())?;
        match offer.negative {
            None => self.has_sane_addresses(offer),
            Some(kind) => has_sane_denial(offer, kind, self.faults),
        }
        .then_some(())?;
        has_sane_chains(offer).then_some(())?;
        let latest = self.latest(offer);
        let (mut chains, mut soa) = (offer.chains.clone(), offer.soa.clone());
        let mut expire_ms = offer.times.expire_ms.min(latest);
        let links = chains.iter_mut().flat_map(|chain| &mut chain.links).map(|link| &mut link.expire_ms);
        for until in links.chain(soa.as_mut().map(|soa| &mut soa.expire_ms)) {
            *until = latest.min(*until);
            expire_ms = expire_ms.min(*until);
        }
        if expire_ms <= self.now.as_ms() {
            return None;
        }
        let mut addresses = offer.addresses.clone();
        addresses.sort_by_key(|own| rank(own.rtt));
        for own in &mut addresses {
            (own.rtt, own.trust) = (Rtt::Unmeasured, Trust::Unknown);
            own.upstreams &= Address::TRUSTED;
            own.sources = own.sources.min(Address::SOURCES_MAX);
        }
        let disputes = offer.agreement.disputes & (Agreement::PRIVATE | Agreement::DENIED);
        Some(FamilyDraft {
            version: 0,
            set_version: 0,
            round,
            state: State::Complete,
            negative: offer.negative,
            sorted: false,
            expire_ms,
            lifetime_s: self.lifetime_s(offer),
            agreement: Agreement { answered: offer.agreement.answered, disputes, dissenters: 0 },
            addresses,
            chains,
            soa,
        })
    }

    fn has_sane_times(self, offer: &Offer) -> bool {
        offer.times.asked <= offer.times.learned
            && offer.times.learned <= self.now
            && offer.times.expire_ms > self.now.as_ms()
    }

    fn has_sane_addresses(self, offer: &Offer) -> bool {
        let mut seen = BTreeSet::new();
        let is_sane = |own: &Address| {
            Family::of(&own.address) == offer.family
                && usize::from(own.chain) < offer.chains.len()
                && (Reach::of(own.address) == Reach::Public || self.faults.may_publish_private_offers())
        };
        (1..=ADDRESSES_MAX).contains(&offer.addresses.len())
            && (1..=CHAINS_MAX).contains(&offer.chains.len())
            && offer.soa.is_none()
            && offer.addresses.iter().all(|own| is_sane(own) && seen.insert(own.address))
    }

    /// The TTL of the set within the bounds of this host. The least TTL lengthens nothing: that would be
    /// added again by each host.
    fn lifetime_s(self, offer: &Offer) -> u32 {
        match offer.negative {
            None => self.bounds.shared(offer.times.lifetime_s),
            Some(_) => self.bounds.denial(offer.times.lifetime_s),
        }
    }

    /// When the set expires at the latest, in milliseconds: as if the upstream had answered at once.
    fn latest(self, offer: &Offer) -> u64 {
        if self.faults.may_outlive_its_ttl() {
            return offer.times.expire_ms.saturating_add(u64::from(offer.times.lifetime_s) * 1000);
        }
        offer.times.asked.plus(Duration::from_secs(u64::from(self.lifetime_s(offer)))).as_ms()
    }
}

fn has_sane_labels(offer: &Offer) -> bool {
    let is_sane = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len()) && label.bytes().all(|octet| (b' '..=b'~').contains(&octet))
    };
    is_sane(&offer.host)
        && offer.said_by.len() <= SAID_BY_MAX
        && offer.said_by.iter().all(|label| is_sane(label))
        && offer.name == offer.name.to_lower()
}

/// A denial comes with the SOA record of a zone that has the name, and without an address.
fn has_sane_denial(offer: &Offer, kind: Negative, faults: Faults) -> bool {
    let Some(soa) = &offer.soa else { return false };
    let end = offer.chains.iter().flat_map(|chain| &chain.links).next_back();
    let end = end.map_or(&offer.name, |link| &link.target);
    kind != Negative::Withheld
        && offer.addresses.is_empty()
        && offer.chains.len() <= 1
        && may_deny(&soa.owner, end, faults)
        && is_soa(soa)
}

/// Whether the RDATA is that of an SOA record: two uncompressed names and five numbers.
fn is_soa(soa: &SoaRecord) -> bool {
    let after_two = name_end(&soa.rdata).and_then(|at| Some(at + name_end(soa.rdata.get(at..)?)?));
    after_two.is_some_and(|at| at + SOA_NUMBERS == soa.rdata.len())
}

/// Where the name at the beginning of `octets` ends.
fn name_end(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = usize::from(*octets.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Name::from_wire(octets.get(..at)?).ok().map(|_| at);
        }
        if length > 63 {
            return None;
        }
    }
}

/// Chains are as long as own ones may be, and none is a loop.
fn has_sane_chains(offer: &Offer) -> bool {
    let is_sane = |chain: &Chain| {
        let targets: BTreeSet<Name> = chain.links.iter().map(|link| link.target.to_lower()).collect();
        chain.links.len() <= CNAMES_MAX
            && targets.len() == chain.links.len()
            && !targets.contains(&offer.name)
    };
    offer.chains.iter().all(is_sane)
}
