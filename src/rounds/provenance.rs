//! Provenance: the upstreams that gave an address, and the rule by which the parts of a set stand.
//!
//! The addresses of a round's first response are trusted, as in any forwarder. An address that only one
//! later upstream adds comes after them, however short its round-trip time is, until another upstream
//! confirms it, or its server shows a certificate for the name. An address whose server shows one for
//! other names comes last, if another's is for the name. [`crate::shared::Shared::publish`] applies this
//! rule, which is [`Parts`], to every set.

use crate::faults::Faults;
use crate::ids::UpstreamId;
use hither_table::{Address, Agreement, Part, Parts, Rtt, Trust};

/// The bit of an upstream in [`Address::upstreams`]. Upstreams beyond the first 22 share one bit, so
/// that they cannot confirm each other.
pub(crate) fn bit_of(upstream: UpstreamId) -> u32 {
    1 << u32::from(upstream.0).min(Address::TRUSTED.trailing_zeros() - 1)
}

/// Whether the upstream of `bit` would confirm an address that other upstreams gave.
pub(crate) fn would_confirm(address: &Address, bit: u32) -> bool {
    !address.is_trusted() && address.given_by() & !bit != 0
}

/// Marks an address as confirmed by a second upstream.
pub(crate) fn confirm(address: &mut Address) {
    address.upstreams |= Address::TRUSTED;
}

/// Puts the parts of a set in their order; each part keeps its own.
pub(crate) fn put_parts_in_order(addresses: &mut Vec<Address>, agreement: &Agreement, faults: Faults) {
    let parts = Parts::of(addresses.iter(), agreement);
    let key = |own: &Address| faults.part(parts.part(own));
    if !addresses.is_sorted_by_key(key) {
        addresses.sort_by_key(key);
    }
    faults.drop_wrong(addresses, parts);
}

/// Why an address stands where it stands: its part of the set, and its place in the part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The part of the set that has it.
    pub part: Part,
    /// Its place among the addresses of the part, from 0.
    pub place: usize,
    /// How many addresses the part has.
    pub of: usize,
    /// Why it has that place.
    pub within: Within,
}

/// Why an address has its place among those of its part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Within {
    /// No order was applied: the addresses stand as they arrived.
    Arrived,
    /// By its round-trip time.
    Latency,
    /// Behind those that answer, since it is not measured.
    Unmeasured,
    /// Last, since it does not answer.
    Unreachable,
    /// Where it stood before: it is slower than one behind it, by less than an order has to gain.
    Kept,
}

/// Why each address of a set stands where it stands, in the order of the set.
pub(crate) fn standings(addresses: &[Address], agreement: &Agreement, is_sorted: bool) -> Vec<Standing> {
    let mut standings = Vec::with_capacity(addresses.len());
    let parts = Parts::of(addresses, agreement);
    for part in addresses.chunk_by(|a, b| parts.part(a) == parts.part(b)) {
        for (place, own) in part.iter().enumerate() {
            let is_slower = part.iter().skip(place + 1).any(|behind| rank(behind.rtt) < rank(own.rtt));
            let within = match own.rtt {
                _ if !is_sorted => Within::Arrived,
                _ if is_slower => Within::Kept,
                Rtt::Micros(_) => Within::Latency,
                Rtt::Unmeasured => Within::Unmeasured,
                Rtt::Unreachable => Within::Unreachable,
            };
            standings.push(Standing { part: parts.part(own), place, of: part.len(), within });
        }
    }
    standings
}

/// Moves an address that has just become trusted within a measured order: before the first slower one of
/// the part that it joins. A certificate may have put it into another part before.
pub(crate) fn put_in_place(addresses: &mut [Address], at: usize, parts: Parts) {
    let Some((own, before)) = addresses.get(..=at).and_then(|part| part.split_last()) else { return };
    if own.trust == Trust::Verified || parts.part(own) != Part::Confirmed {
        return;
    }
    let slower = |other: &Address| parts.part(other) == Part::Confirmed && rank(other.rtt) > rank(own.rtt);
    if let Some(to) = before.iter().position(slower) {
        addresses[to..=at].rotate_right(1);
    }
}

/// The rank of a measurement, as the sorter ranks them: unmeasured comes before unreachable.
pub(crate) fn rank(rtt: Rtt) -> (u8, u32) {
    match rtt {
        Rtt::Micros(micros) => (0, micros),
        Rtt::Unmeasured => (1, 0),
        Rtt::Unreachable => (2, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: &[(u8, Rtt, bool)]) -> Vec<Address> {
        let address = |(end, rtt, trusted): &(u8, Rtt, bool)| Address {
            rtt: *rtt,
            ..Address::new([192, 0, 2, *end].into(), 0, if *trusted { 1 | Address::TRUSTED } else { 2 })
        };
        all.iter().map(address).collect()
    }

    fn ends(all: &[Address]) -> Vec<String> {
        all.iter().map(|a| a.address.to_string().replace("192.0.2.", "")).collect()
    }

    #[test]
    fn trusted_addresses_come_first_and_both_groups_keep_their_order() {
        let ms = Rtt::Micros;
        let mut all = of(&[(4, ms(4), false), (1, ms(9), true), (3, ms(2), false), (2, ms(5), true)]);
        put_parts_in_order(&mut all, &Agreement::default(), Faults::default());
        assert_eq!(ends(&all), ["1", "2", "4", "3"]);
    }

    #[test]
    fn each_address_stands_where_it_stands_for_a_reason() {
        let ms = Rtt::Micros;
        let all = of(&[(1, ms(9), true), (2, ms(5), true), (3, Rtt::Unmeasured, true), (4, ms(4), false)]);
        let reasons = |sorted| {
            standings(&all, &Agreement::default(), sorted)
                .into_iter()
                .map(|s| (s.part, s.place, s.of, s.within))
        };
        let (yes, no) = (Part::Confirmed, Part::Unconfirmed);
        let expected = [
            (yes, 0, 3, Within::Kept),
            (yes, 1, 3, Within::Latency),
            (yes, 2, 3, Within::Unmeasured),
            (no, 0, 1, Within::Latency),
        ];
        assert_eq!(reasons(true).collect::<Vec<_>>(), expected);
        assert!(reasons(false).all(|(_, _, _, within)| within == Within::Arrived));
    }

    #[test]
    fn a_confirmed_address_is_ranked_by_its_measured_latency() {
        let known = [(1, Rtt::Micros(10), true), (2, Rtt::Micros(30), true), (3, Rtt::Unreachable, true)];
        for (rtt, expected) in [
            (Rtt::Micros(5), ["9", "1", "2", "3"]),
            (Rtt::Micros(10), ["1", "9", "2", "3"]),
            (Rtt::Unmeasured, ["1", "2", "9", "3"]),
            (Rtt::Unreachable, ["1", "2", "3", "9"]),
        ] {
            let mut all = of(&known);
            all.extend(of(&[(9, rtt, true)]));
            let parts = Parts::of(&all, &Agreement::default());
            put_in_place(&mut all, 3, parts);
            assert_eq!(ends(&all), expected, "{rtt:?}");
        }
    }

    #[test]
    fn an_upstream_does_not_confirm_itself_nor_do_those_that_share_a_bit() {
        let bit = |n: u16| bit_of(UpstreamId(n));
        let mut address = of(&[(1, Rtt::Unmeasured, false)])[0];
        for (given, more, confirms) in
            [(0, 0, false), (0, 1, true), (21, 22, true), (22, 63, false), (63, 3, true)]
        {
            address.upstreams = bit(given);
            assert_eq!(would_confirm(&address, bit(more)), confirms, "{given} and {more}");
        }
        confirm(&mut address);
        assert!(address.is_trusted() && address.given_by() == bit(63));
    }
}
