//! Agreement: how many upstreams of a round have answered, and which of them say otherwise than the
//! others.

use crate::faults::Faults;
use crate::ids::UpstreamId;
use crate::provenance::bit_of;
use crate::rebinding::is_sinkhole;
use crate::response::Meaning;
use hither_table::{Address, Agreement, Trust};

/// What the upstreams of a round have said; each upstream is a bit. There are at most 64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Heard {
    answered: u64,
    /// Those that denied the name or the type, or gave sinkholes.
    denied: u64,
    /// Those that gave private addresses for the public name.
    private: u64,
    /// Whether one has responded with SERVFAIL, as validating upstreams do when validation fails.
    pub has_servfail: bool,
}

fn bit(upstream: UpstreamId) -> u64 {
    1 << u32::from(upstream.0).min(63)
}

impl Heard {
    /// Notes the meaning of an upstream's response. A later response of the same upstream replaces its
    /// denial.
    pub fn answer(&mut self, from: UpstreamId, meaning: &Meaning) {
        match meaning {
            Meaning::Addresses { .. } | Meaning::Dangling { .. } | Meaning::Complete { .. } => {
                self.answered |= bit(from);
                self.denied &= !bit(from);
            }
            Meaning::Negative { .. } | Meaning::CompleteDenial { .. } => self.denial(from),
            Meaning::Truncated | Meaning::Failed(_) => {}
        }
    }

    /// Notes that an upstream denies the name or the type.
    pub fn denial(&mut self, from: UpstreamId) {
        self.answered |= bit(from);
        self.denied |= bit(from);
    }

    /// Notes that an upstream gave private addresses for the public name.
    pub fn private(&mut self, from: UpstreamId) {
        self.private |= bit(from);
    }

    /// What the upstreams say about a set with these addresses. A set without addresses, or of sinkholes,
    /// is itself a denial, and not disputed.
    pub fn agreement(&self, addresses: &[Address], faults: Faults) -> Agreement {
        let answered = self.answered.count_ones() as u8;
        if !addresses.iter().any(|own| !is_sinkhole(&own.address)) {
            return Agreement { answered, ..Agreement::default() };
        }
        let denied = if faults.may_forget_denials() { 0 } else { self.denied };
        let reason = |bits: u64, reason: u8| if bits == 0 { 0 } else { reason };
        let disputes = reason(self.private, Agreement::PRIVATE) | reason(denied, Agreement::DENIED);
        let dissenters = (0..64).filter(|n| (self.private | denied) >> n & 1 != 0);
        let dissenters = dissenters.fold(0, |bits, n| bits | bit_of(UpstreamId(n)));
        Agreement { answered, disputes, dissenters }
    }
}

/// The agreement about a set with what certificates say of it: `before`, with
/// [`Agreement::CERTIFICATES`] if the upstreams fall into groups without a common address, of which one
/// has certificates for other names and another has none.
///
/// An address that was restored belongs to no upstream any more: a restart may number the upstreams
/// anew, so their bits are not saved. A set with such addresses keeps what was said of it.
pub(crate) fn agreement_of(addresses: &[Address], mut before: Agreement) -> Agreement {
    if addresses.is_empty() || addresses.iter().any(|own| own.given_by() == 0) {
        return before;
    }
    let is_wrong = |own: &Address| own.trust == Trust::OtherName;
    let wrong = addresses.iter().filter(|own| is_wrong(own)).fold(0, |bits, own| bits | own.given_by());
    // The upstreams that gave such an address, with all that gave an address of theirs.
    let mut connected = wrong;
    while let Some(more) =
        addresses.iter().map(Address::given_by).find(|bits| bits & connected != 0 && bits & !connected != 0)
    {
        connected |= more;
    }
    let is_apart = addresses.iter().any(|own| own.given_by() & connected == 0);
    before.disputes &= !Agreement::CERTIFICATES;
    if wrong != 0 && is_apart {
        before.disputes |= Agreement::CERTIFICATES;
        before.dissenters |= wrong;
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(end: u8, given_by: u32, trust: Trust) -> Address {
        Address { trust, ..Address::new([198, 51, 100, end].into(), 0, given_by) }
    }

    #[test]
    fn disjoint_sets_are_disputed_if_one_has_certificates_for_other_names() {
        let (good, bad, unknown) = (Trust::Verified, Trust::OtherName, Trust::Unknown);
        for (set, disputed) in [
            (vec![address(1, 1, good), address(2, 2, bad)], true),
            (vec![address(1, 1, unknown), address(2, 2, bad)], true),
            (vec![address(1, 1, good), address(2, 1, bad)], false),
            // A third upstream gave addresses of both.
            (vec![address(1, 5, good), address(2, 6, bad)], false),
            (vec![address(1, 1, good), address(2, 2, bad), address(3, 3, good)], false),
            (vec![address(1, 1, bad), address(2, 2, bad)], true),
            (vec![address(1, 1, good), address(2, 2, good)], false),
            (vec![address(1, 1, bad)], false),
            (Vec::new(), false),
        ] {
            let found = agreement_of(&set, Agreement::default());
            // Where all sets have such certificates, no set is better than another.
            let all_bad = set.iter().all(|own| own.trust == bad);
            assert_eq!(found.is_disputed(), disputed && !all_bad, "{set:?}");
            assert_eq!(found.dissenters, if found.is_disputed() { 2 } else { 0 }, "{set:?}");
        }
    }

    #[test]
    fn a_restored_set_keeps_what_was_said_of_it() {
        let set = [address(1, 0, Trust::Verified), address(2, 0, Trust::OtherName)];
        let before = Agreement { answered: 2, disputes: Agreement::CERTIFICATES, dissenters: 0 };
        assert_eq!(agreement_of(&set, before), before);
    }

    #[test]
    fn a_denial_and_private_addresses_are_disputes_only_beside_addresses() {
        let mut heard = Heard::default();
        heard.answer(UpstreamId(0), &Meaning::Truncated);
        heard.denial(UpstreamId(2));
        heard.private(UpstreamId(40));
        let none = heard.agreement(&[], Faults::default());
        assert_eq!(none, Agreement { answered: 1, ..Agreement::default() });
        let sinkhole = Address::new([0, 0, 0, 0].into(), 0, 1);
        assert!(!heard.agreement(&[sinkhole], Faults::default()).is_disputed());
        let set = heard.agreement(&[address(1, 1, Trust::Unknown)], Faults::default());
        assert_eq!(set.reasons().collect::<Vec<_>>(), ["private", "denied"]);
        assert_eq!(set.dissenters, 1 << 2 | 1 << 22);
    }
}
