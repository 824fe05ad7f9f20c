//! SVCB and HTTPS records: what is malformed stays as it is, and address hints are only permuted.

use hither_wire::svcb::{HINTS_MAX, Svcb, order_hints};
use proptest::prelude::*;

/// RDATA of these parameters, for the record's owner itself.
fn rdata(priority: u16, params: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut octets = priority.to_be_bytes().to_vec();
    octets.push(0);
    for (key, value) in params {
        octets.extend(key.to_be_bytes());
        octets.extend(u16::try_from(value.len()).expect("short").to_be_bytes());
        octets.extend(value);
    }
    octets
}

fn v4(ends: &[u8]) -> Vec<u8> {
    ends.iter().flat_map(|end| [192, 0, 2, *end]).collect()
}

fn v6(ends: &[u8]) -> Vec<u8> {
    ends.iter().flat_map(|end| six(*end)).collect()
}

fn six(end: u8) -> [u8; 16] {
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, end]
}

#[test]
fn hints_are_put_in_order_and_unknown_ones_follow() {
    let with = |four: &[u8], other: &[u8]| {
        let mandatory = [0, 1, 0, 4].to_vec();
        let params = [
            (0, mandatory),
            (1, b"\x02h2".to_vec()),
            (4, v4(four)),
            (5, vec![254, 13, 0, 1]),
            (6, v6(other)),
        ];
        rdata(1, &params)
    };
    let mut octets = with(&[1, 2, 3, 4], &[5, 6]);
    let order = [[192, 0, 2, 3], [192, 0, 2, 9], [192, 0, 2, 1]];
    assert!(order_hints(&mut octets, order.into_iter(), [six(6), six(5)].into_iter()));
    assert_eq!(octets, with(&[3, 1, 2, 4], &[6, 5]));
    assert!(!order_hints(&mut octets, order.into_iter(), [six(6)].into_iter()), "they are in order");
    assert_eq!(octets, with(&[3, 1, 2, 4], &[6, 5]));
}

#[test]
fn a_hint_that_is_there_twice_stays_twice() {
    let mut octets = rdata(1, &[(4, v4(&[1, 2, 1, 3, 2]))]);
    assert!(order_hints(&mut octets, [[192, 0, 2, 2]].into_iter(), std::iter::empty()));
    assert_eq!(octets, rdata(1, &[(4, v4(&[2, 2, 1, 1, 3]))]));
}

#[test]
fn a_target_name_is_read_and_the_rest_is_left_alone() {
    let mut octets = b"\0\x10\x03foo\x07example\0\0\x04\0\x08".to_vec();
    octets.extend(v4(&[1, 2]));
    assert_eq!(Svcb::read(&octets).expect("well formed").target, b"\x03foo\x07example\0");
    let before = octets.clone();
    assert!(order_hints(&mut octets, [[192, 0, 2, 2]].into_iter(), std::iter::empty()));
    let at = octets.len() - 8;
    assert_eq!((&octets[..at], &octets[at..]), (&before[..at], &v4(&[2, 1])[..]));
}

#[test]
fn what_is_malformed_or_an_alias_stays_as_it_is() {
    let hints = (4, v4(&[1, 2]));
    let alone = rdata(1, std::slice::from_ref(&hints));
    let many: Vec<u8> = (0..=HINTS_MAX).flat_map(|n| [192, 0, 2, n as u8]).collect();
    for (octets, why) in [
        (vec![], "nothing"),
        (alone[..10].to_vec(), "a value is cut off"),
        (rdata(1, &[hints.clone(), (3, vec![1, 187])]), "keys not in order"),
        (rdata(1, &[hints.clone(), hints.clone()]), "a key twice"),
        (rdata(1, &[(4, v4(&[1, 2])[..7].to_vec())]), "hints of another length"),
        (rdata(1, &[hints.clone(), (6, vec![1; 15])]), "the other hints are malformed"),
        (rdata(1, &[(3, vec![1]), hints.clone()]), "a port of one octet"),
        (rdata(1, &[(2, vec![1]), hints.clone()]), "a value where there is none"),
        (rdata(1, &[(1, vec![]), hints.clone()]), "no ALPN id"),
        (rdata(1, &[(1, vec![2, b'h']), hints.clone()]), "an ALPN id that is cut off"),
        (rdata(1, &[(1, vec![1, b'h', 0]), hints.clone()]), "an empty ALPN id"),
        (rdata(1, &[(0, vec![]), hints.clone()]), "no mandatory key"),
        (rdata(1, &[(0, vec![0]), hints.clone()]), "half a mandatory key"),
        (rdata(1, &[(0, vec![0, 0]), hints.clone()]), "mandatory is mandatory"),
        (rdata(1, &[(0, vec![0, 3]), hints.clone()]), "a mandatory key is not there"),
        (rdata(1, &[(0, vec![0, 4, 0, 4]), hints.clone()]), "a mandatory key twice"),
        ([&[0, 1, 0xc0, 12][..], &alone[3..]].concat(), "a compressed name"),
        (rdata(0, &[hints]), "AliasMode"),
        (rdata(1, &[(4, many)]), "more hints than are put in order"),
    ] {
        let mut same = octets.clone();
        assert!(!order_hints(&mut same, [[192, 0, 2, 2]].into_iter(), std::iter::empty()), "{why}");
        assert_eq!(same, octets, "{why}");
    }
}

/// Octets that are well-formed RDATA more often than not.
fn any_rdata() -> impl Strategy<Value = Vec<u8>> {
    let hints = |size: usize| {
        prop::collection::vec(0_u8..4, 1..6).prop_map(move |ends| {
            ends.iter().flat_map(|end| [*end; 16].into_iter().take(size)).collect::<Vec<u8>>()
        })
    };
    let sound = (hints(4), hints(16), prop::collection::vec(any::<u8>(), 0..9))
        .prop_map(|(four, other, ech)| rdata(1, &[(4, four), (5, ech), (6, other), (900, vec![7])]));
    prop_oneof![3 => sound.clone(), 1 => prop::collection::vec(any::<u8>(), 0..60), 1 => (sound, any::<(usize, u8)>())
    .prop_map(|(mut octets, (at, octet))| {
        let at = at % octets.len();
        octets[at] = octet;
        octets
    })]
}

/// The hints of each kind, sorted, and all that is not a hint.
type Parts = (Vec<[u8; 4]>, Vec<[u8; 16]>, Vec<Vec<u8>>);

fn parts(octets: &[u8]) -> Parts {
    let Some(svcb) = Svcb::read(octets) else { return (vec![], vec![], vec![octets.to_vec()]) };
    let (mut four, mut other, mut rest) = (vec![], vec![], vec![svcb.target.to_vec()]);
    for param in svcb.params() {
        match param.key {
            4 => four.extend_from_slice(param.value.as_chunks().0),
            6 => other.extend_from_slice(param.value.as_chunks().0),
            key => rest.push([&key.to_be_bytes(), param.value].concat()),
        }
    }
    four.sort_unstable();
    other.sort_unstable();
    (four, other, rest)
}

proptest! {
    #[test]
    fn any_octets_keep_their_length_their_hints_and_all_else(
        octets in any_rdata(),
        order in prop::collection::vec(0_u8..6, 0..8),
    ) {
        let mut moved = octets.clone();
        let changed = order_hints(&mut moved, order.iter().map(|n| [*n; 4]), order.iter().map(|n| [*n; 16]));
        prop_assert_eq!(moved.len(), octets.len());
        prop_assert_eq!(changed, moved != octets);
        prop_assert_eq!(parts(&moved), parts(&octets));
        let again = order_hints(&mut moved, order.iter().map(|n| [*n; 4]), order.iter().map(|n| [*n; 16]));
        prop_assert!(!again, "the order was not complete");
    }
}
