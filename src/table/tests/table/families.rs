//! Both families together: the order over them, and which one is withheld.

use super::{NOW, heap, name};
use hither_table::{
    Address, Draft, Family, FamilyDraft, FamilyOrder, FamilyPolicy, Key, Monotonic, Rtt, Snapshot, Trust,
    Wanted, Withheld,
};
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

/// An address of a drawn set: its time, whether it is confirmed, and its verdict.
type Drawn = (Rtt, bool, Trust);

const CONFIRMED: u32 = 1 | Address::TRUSTED;

fn address(family: Family, n: usize) -> IpAddr {
    match family {
        Family::A => [192, 0, 2, n as u8].into(),
        Family::Aaaa => [0x2001, 0xdb8, 0, 0, 0, 0, 0, n as u16].into(),
    }
}

fn set(family: Family, all: &[Drawn]) -> FamilyDraft {
    let mut set = FamilyDraft::of(5, (0..all.len()).map(|n| address(family, n)), NOW.as_ms() + 60_000, 60);
    for (own, (rtt, is_confirmed, trust)) in set.addresses.iter_mut().zip(all) {
        (own.rtt, own.trust) = (*rtt, *trust);
        own.upstreams = if *is_confirmed { CONFIRMED } else { 2 };
    }
    set
}

/// The entry of a name with these two sets; an empty one is a family that is not known.
fn entry(a: &[Drawn], aaaa: &[Drawn]) -> Box<Snapshot> {
    let some = |family, all: &[Drawn]| (!all.is_empty()).then(|| set(family, all));
    let draft = Draft { name: name(1), a: some(Family::A, a), aaaa: some(Family::Aaaa, aaaa) };
    let (mut writer, mut out) = (heap(64), Box::new(Snapshot::new()));
    writer.put(&draft, NOW).expect("room");
    writer.reader().lookup(&Key::of(&name(1)), &mut out).expect("there");
    out
}

fn plain(all: &[Rtt]) -> Vec<Drawn> {
    all.iter().map(|rtt| (*rtt, true, Trust::Unknown)).collect()
}

/// The places of the addresses in an order, "4:" for IPv4 and "6:" for IPv6.
fn shown(entry: &Snapshot, order: FamilyOrder) -> String {
    let one = |own: Address| match own.address {
        IpAddr::V4(v4) => format!("4:{}", v4.octets()[3]),
        IpAddr::V6(v6) => format!("6:{}", v6.segments()[7]),
    };
    entry.ordered(Wanted::Both, order).map(one).collect::<Vec<_>>().join(" ")
}

const MS: fn(u32) -> Rtt = |ms| Rtt::Micros(ms * 1000);

#[test]
fn addresses_of_both_families_are_ordered_by_their_times() {
    let a = plain(&[MS(10), MS(30), Rtt::Unmeasured, Rtt::Unreachable]);
    let aaaa = plain(&[MS(5), MS(30), Rtt::Unmeasured, Rtt::Unreachable]);
    let entry = entry(&a, &aaaa);
    assert_eq!(shown(&entry, FamilyOrder::Measured), "6:0 4:0 6:1 4:1 6:2 4:2 6:3 4:3");
    assert_eq!(shown(&entry, FamilyOrder::AsIs), "4:0 4:1 4:2 4:3 6:0 6:1 6:2 6:3");
    assert_eq!(shown(&entry, FamilyOrder::V4First), "4:0 4:1 4:2 4:3 6:0 6:1 6:2 6:3");
    assert_eq!(shown(&entry, FamilyOrder::V6First), "6:0 6:1 6:2 6:3 4:0 4:1 4:2 4:3");
    let one: Vec<Address> = entry.ordered(Wanted::One(Family::A), FamilyOrder::Measured).collect();
    assert!(one.iter().map(|own| own.address).eq((0..4).map(|n| address(Family::A, n))));
}

#[test]
fn addresses_that_one_upstream_added_come_behind_the_others_of_both_families() {
    let a = [(MS(1), false, Trust::Unknown)];
    let aaaa = [(Rtt::Unreachable, true, Trust::Unknown), (MS(2), false, Trust::Unknown)];
    assert_eq!(shown(&entry(&a, &aaaa), FamilyOrder::Measured), "6:0 4:0 6:1");
}

#[test]
fn bad_certificates_come_last_where_an_address_of_either_family_has_a_good_one() {
    let a = [(MS(1), true, Trust::OtherName), (MS(9), true, Trust::Unknown)];
    let verified = [(MS(20), false, Trust::Verified), (MS(2), true, Trust::Untrusted)];
    let both = entry(&a, &verified);
    assert_eq!(shown(&both, FamilyOrder::Measured), "4:1 6:0 4:0 6:1");
    assert_eq!(shown(&both, FamilyOrder::V6First), "6:0 4:1 6:1 4:0");
    assert_eq!(shown(&both, FamilyOrder::V4First), "4:1 6:0 4:0 6:1");
    assert_eq!(shown(&both, FamilyOrder::AsIs), "4:0 4:1 6:0 6:1");
    let none = [(MS(20), true, Trust::Unknown), (MS(2), true, Trust::Untrusted)];
    assert_eq!(shown(&entry(&a, &none), FamilyOrder::Measured), "4:0 4:1 6:0 6:1", "all are alike");
}

fn policy(ms: u32) -> FamilyPolicy {
    FamilyPolicy { order: FamilyOrder::Measured, withhold_above_us: Some(ms * 1000) }
}

#[test]
fn a_family_is_withheld_only_where_the_other_is_measured_to_be_better() {
    let withheld = |a: &[Drawn], aaaa: &[Drawn], policy: FamilyPolicy| {
        let entry = entry(a, aaaa);
        [Family::A, Family::Aaaa].map(|family| entry.entry().withheld(family, policy, NOW))
    };
    let (near, far) = (plain(&[MS(10), MS(90)]), plain(&[MS(50), MS(36)]));
    let (dead, unknown) = (plain(&[Rtt::Unreachable; 2]), plain(&[Rtt::Unmeasured]));
    let partly = plain(&[MS(99), Rtt::Unmeasured]);
    let [slower, unreachable] = [Some(Withheld::Slower), Some(Withheld::Unreachable)];
    for (a, aaaa, expected, why) in [
        (&near, &far, [None, slower], "IPv6 is slower by 26 ms"),
        (&far, &near, [slower, None], "IPv4 is slower"),
        (&near, &dead, [None, unreachable], "IPv6 is unreachable"),
        (&dead, &near, [unreachable, None], "IPv4 is unreachable"),
        (&dead, &dead, [None, None], "both are unreachable"),
        (&near, &unknown, [None, None], "IPv6 is not measured"),
        (&unknown, &dead, [None, None], "IPv4 is not measured"),
        (&near, &partly, [None, None], "IPv6 is not measured completely"),
        (&partly, &near, [None, None], "IPv4 is not measured completely"),
        (&near, &vec![], [None, None], "IPv6 is not known"),
    ] {
        assert_eq!(withheld(a, aaaa, policy(25)), expected, "{why}");
        assert_eq!(
            withheld(a, aaaa, FamilyPolicy::default()),
            [None, None],
            "{why}, and the operator did not ask"
        );
    }
    assert_eq!(withheld(&near, &far, policy(26)), [None, None], "the margin is exactly reached");
    let lone = [(MS(1), false, Trust::Unknown)];
    assert_eq!(withheld(&far, &lone, policy(25)), [None, None], "one upstream alone withholds nothing");
    let bad = [(MS(1), true, Trust::OtherName)];
    assert_eq!(withheld(&far, &bad, policy(25)), [None, None], "the better family has a bad certificate");
    let good = [(MS(90), true, Trust::Verified)];
    assert_eq!(withheld(&near, &good, policy(25)), [None, None], "only the slower family is verified");
}

#[test]
fn nothing_is_withheld_once_a_family_has_expired() {
    let both = entry(&plain(&[MS(1)]), &plain(&[MS(90)]));
    let later = Monotonic::from_ms(NOW.as_ms() + 60_000);
    assert_eq!(both.entry().withheld(Family::Aaaa, policy(25), NOW), Some(Withheld::Slower));
    assert_eq!(both.entry().withheld(Family::Aaaa, policy(25), later), None);
}

#[test]
fn the_policy_is_in_the_header_and_is_seen_at_once() {
    let writer = heap(64);
    let reader = writer.reader();
    assert_eq!(reader.families(), FamilyPolicy::default(), "of a writer that says nothing");
    for order in FamilyOrder::ALL {
        for withhold_above_us in [None, Some(0), Some(25_000), Some(u32::MAX)] {
            let said = FamilyPolicy { order, withhold_above_us };
            writer.set_families(said);
            assert_eq!(reader.families(), said);
        }
    }
    assert_eq!(FamilyPolicy::from_word(200), FamilyPolicy::default(), "of a later version");
}

/// The rank of an address, by the words of the documentation.
fn rank((rtt, is_confirmed, trust): Drawn, has_verified: bool) -> (bool, bool, u8) {
    let is_bad = has_verified && matches!(trust, Trust::OtherName | Trust::Untrusted);
    let reach = match rtt {
        Rtt::Micros(_) => 0,
        Rtt::Unmeasured => 1,
        Rtt::Unreachable => 2,
    };
    (is_bad, !is_confirmed && trust != Trust::Verified, reach)
}

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let rtt = prop_oneof![
        4 => (0_u32..6).prop_map(Rtt::Micros),
        1 => Just(Rtt::Unmeasured),
        1 => Just(Rtt::Unreachable)
    ];
    let trust = prop_oneof![3 => Just(Trust::Unknown), 1 => (0_usize..7).prop_map(|n| Trust::ALL[n])];
    prop::collection::vec((rtt, prop::bool::weighted(0.7), trust), 0..7)
}

proptest! {
    #[test]
    fn an_order_is_a_stable_merge_of_both_sets(a in drawn(), aaaa in drawn(), order in 0_usize..4) {
        prop_assume!(!a.is_empty() || !aaaa.is_empty());
        let order = FamilyOrder::ALL[order];
        let entry = entry(&a, &aaaa);
        let merged: Vec<(Family, usize)> = entry.ordered(Wanted::Both, order).map(|own| match own.address {
            IpAddr::V4(v4) => (Family::A, usize::from(v4.octets()[3])),
            IpAddr::V6(v6) => (Family::Aaaa, usize::from(v6.segments()[7])),
        }).collect();
        let all = (0..a.len()).map(|n| (Family::A, n)).chain((0..aaaa.len()).map(|n| (Family::Aaaa, n)));
        let mut sorted = merged.clone();
        sorted.sort_unstable();
        prop_assert!(sorted.iter().copied().eq(all.clone()), "not a permutation: {:?}", merged);
        if order == FamilyOrder::AsIs || a.is_empty() || aaaa.is_empty() {
            prop_assert!(merged.into_iter().eq(all));
            return Ok(());
        }
        let own = |(family, n): (Family, usize)| if family == Family::A { a[n] } else { aaaa[n] };
        let has_verified = a.iter().chain(&aaaa).any(|own| own.2 == Trust::Verified);
        let is_second = |(family, _): (Family, usize)| (family == Family::A) == (order == FamilyOrder::V6First);
        let rank = |at: (Family, usize)| match order {
            FamilyOrder::Measured => rank(own(at), has_verified),
            _ => (rank(own(at), has_verified).0, is_second(at), 0),
        };
        for (at, one) in merged.iter().enumerate() {
            for next in &merged[at + 1..] {
                prop_assert!(rank(*one) <= rank(*next), "{:?} before {:?}", one, next);
                prop_assert!(one.0 != next.0 || rank(*one) != rank(*next) || one.1 < next.1, "not stable");
            }
        }
        let mut expected: Vec<(Family, usize)> = Vec::new();
        let ranks: BTreeSet<_> = all.clone().map(rank).collect();
        for of in ranks {
            let [mut four, mut six] = [Family::A, Family::Aaaa]
                .map(|family| all.clone().filter(|at| at.0 == family && rank(*at) == of).collect::<VecDeque<_>>());
            let time = |at: &(Family, usize)| if let Rtt::Micros(micros) = own(*at).0 { micros } else { 0 };
            while let Some(next) = match (four.front(), six.front()) {
                (Some(one), Some(other)) if time(one) < time(other) => four.pop_front(),
                (_, Some(_)) => six.pop_front(),
                (_, None) => four.pop_front(),
            } {
                expected.push(next);
            }
        }
        prop_assert_eq!(merged, expected);
    }

    #[test]
    fn never_are_both_families_withheld_nor_the_only_one_that_answers(
        a in drawn(), aaaa in drawn(), margin_us in 0_u32..4,
    ) {
        prop_assume!(!a.is_empty() || !aaaa.is_empty());
        let policy = FamilyPolicy { order: FamilyOrder::Measured, withhold_above_us: Some(margin_us) };
        let entry = entry(&a, &aaaa);
        let withheld = [Family::A, Family::Aaaa].map(|family| entry.entry().withheld(family, policy, NOW));
        prop_assert!(withheld.contains(&None));
        for (withheld, own, other) in [(withheld[0], &a, &aaaa), (withheld[1], &aaaa, &a)] {
            if withheld.is_some() {
                prop_assert!(other.iter().any(|own| (own.1 || own.2 == Trust::Verified) && matches!(own.0, Rtt::Micros(_))));
                prop_assert!(own.iter().all(|own| own.0 != Rtt::Unmeasured));
            }
        }
    }
}
