//! Provenance: the upstreams that gave an address, and the rule that extra addresses come last.
//!
//! The addresses of a round's first response are trusted, as in any forwarder. An address that only one
//! later upstream adds comes after them, however short its round-trip time is, until another upstream
//! confirms it. [`crate::shared::Shared::publish`] applies this rule to every set.

use crate::faults::Faults;
use crate::ids::UpstreamId;
use hither_table::{Address, Rtt};

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

/// The parts of a set, in the order in which they stand in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// The first answer had the address, or a second upstream confirmed it.
    Confirmed,
    /// One later upstream alone gave the address.
    Unconfirmed,
}

impl Part {
    /// The part of its set to which an address belongs.
    fn of(address: &Address) -> Part {
        if address.is_trusted() { Part::Confirmed } else { Part::Unconfirmed }
    }
}

/// Moves trusted addresses to the front; each part keeps its order.
pub(crate) fn trusted_first(addresses: &mut [Address], faults: Faults) {
    if !faults.may_mix_trust() && !addresses.is_sorted_by_key(Part::of) {
        addresses.sort_by_key(Part::of);
    }
}

/// Why an address stands where it stands: its part of the set, and its place in the part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The part of the set.
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
pub(crate) fn standings(addresses: &[Address], is_sorted: bool) -> Vec<Standing> {
    let mut standings = Vec::with_capacity(addresses.len());
    for part in addresses.chunk_by(|a, b| Part::of(a) == Part::of(b)) {
        for (place, own) in part.iter().enumerate() {
            let is_slower = part.iter().skip(place + 1).any(|behind| rank(behind.rtt) < rank(own.rtt));
            let within = match own.rtt {
                _ if !is_sorted => Within::Arrived,
                _ if is_slower => Within::Kept,
                Rtt::Micros(_) => Within::Latency,
                Rtt::Unmeasured => Within::Unmeasured,
                Rtt::Unreachable => Within::Unreachable,
            };
            standings.push(Standing { part: Part::of(own), place, of: part.len(), within });
        }
    }
    standings
}

/// Moves an address that has just become trusted within a measured order: before the first trusted one
/// that is slower.
pub(crate) fn put_in_place(addresses: &mut [Address], at: usize) {
    let Some((own, before)) = addresses.get(..=at).and_then(|part| part.split_last()) else { return };
    let slower = |other: &Address| other.is_trusted() && rank(other.rtt) > rank(own.rtt);
    if let Some(to) = before.iter().position(slower) {
        addresses[to..=at].rotate_right(1);
    }
}

/// The rank of a measurement, as the sorter ranks them: unmeasured comes before unreachable.
fn rank(rtt: Rtt) -> (u8, u32) {
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
        trusted_first(&mut all, Faults::default());
        assert_eq!(ends(&all), ["1", "2", "4", "3"]);
    }

    #[test]
    fn each_address_stands_where_it_stands_for_a_reason() {
        let ms = Rtt::Micros;
        let all = of(&[(1, ms(9), true), (2, ms(5), true), (3, Rtt::Unmeasured, true), (4, ms(4), false)]);
        let reasons = |sorted| standings(&all, sorted).into_iter().map(|s| (s.part, s.place, s.of, s.within));
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
            put_in_place(&mut all, 3);
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
