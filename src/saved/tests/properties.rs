//! Written sets are read unchanged; other octets give an error, never a panic; no restored set lasts
//! longer than it would have without a restart.

use hither_saved::{
    AGE_MARGIN, AGE_MAX, Age, CHAINS_MAX, CNAMES_MAX, Clocks, Header, Link, ReadError, Reader, Set, Unusable,
    Writer,
};
use hither_table::{Address, Agreement, Family, Rtt, Trust};
use hither_wire::name::Name;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEADER: Header = Header { saved_ms: 1_790_000_000_000, version: 77, usual: [9, 8, 7, 0, 0, 0, 0, 1] };
/// The length of a header.
const HEADER_LEN: usize = 100;

fn any_name() -> impl Strategy<Value = Name> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..12), 0..5).prop_map(|labels| {
        let mut wire = Vec::new();
        for label in labels {
            wire.push(u8::try_from(label.len()).expect("short label"));
            wire.extend(label);
        }
        wire.push(0);
        Name::from_wire(&wire).expect("built from labels")
    })
}

fn any_rtt() -> impl Strategy<Value = Rtt> {
    prop_oneof![Just(Rtt::Unmeasured), Just(Rtt::Unreachable), (0..u32::MAX - 1).prop_map(Rtt::Micros),]
}

fn any_address(family: Family, chains: usize) -> impl Strategy<Value = Address> {
    let address = any::<u128>().prop_map(move |bits| match family {
        Family::A => IpAddr::from(Ipv4Addr::from(bits as u32)),
        Family::Aaaa => IpAddr::from(Ipv6Addr::from(bits)),
    });
    let trust = prop::sample::select(&Trust::ALL[..]);
    (address, any_rtt(), 0..chains, any::<bool>(), 0..=Address::SOURCES_MAX, trust).prop_map(
        |(address, rtt, chain, trusted, sources, trust)| Address {
            address,
            rtt,
            chain: u8::try_from(chain).expect("few"),
            upstreams: if trusted { Address::TRUSTED } else { 0 },
            sources,
            trust,
        },
    )
}

fn any_chain() -> impl Strategy<Value = Vec<Link>> {
    let link = (any_name(), any::<u64>()).prop_map(|(target, left_ms)| Link { target, left_ms });
    prop::collection::vec(link, 0..4)
}

fn any_set() -> impl Strategy<Value = Set> {
    let family = prop_oneof![Just(Family::A), Just(Family::Aaaa)];
    let chains = prop::collection::vec(any_chain(), 1..=CHAINS_MAX);
    (family, chains).prop_flat_map(|(family, chains)| {
        let addresses = prop::collection::vec(any_address(family, chains.len()), 1..20);
        let flags = (any::<bool>(), any::<bool>());
        let numbers = (any::<u64>(), any::<u64>(), any::<u32>(), any::<[u8; 2]>());
        (any_name(), Just(chains), addresses, flags, numbers).prop_map(
            move |(name, chains, mut addresses, (complete, sorted), numbers)| {
                let (route, left_ms, lifetime_s, [answered, disputes]) = numbers;
                let agreement = Agreement { answered, disputes, dissenters: 0 };
                addresses.sort_by_key(|a| a.address);
                addresses.dedup_by_key(|a| a.address);
                let name = name.to_lower();
                Set {
                    name,
                    family,
                    route,
                    complete,
                    sorted,
                    left_ms,
                    lifetime_s,
                    agreement,
                    addresses,
                    chains,
                }
            },
        )
    })
}

fn written(sets: &[Set]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), &HEADER).expect("memory");
    for set in sets {
        assert!(writer.add(set).expect("memory"), "a set that can be read");
    }
    assert_eq!(writer.sets(), sets.len() as u64);
    writer.finish().expect("memory")
}

fn read(octets: &[u8]) -> Result<Vec<Set>, ReadError> {
    let (header, mut reader) = Reader::open(octets)?;
    assert_eq!(header, HEADER);
    let mut sets = Vec::new();
    while let Some(set) = reader.next_set()? {
        sets.push(set);
    }
    assert!(reader.next_set()?.is_none(), "the end stays the end");
    Ok(sets)
}

fn plain() -> Set {
    Set {
        name: "www.example".parse().expect("a name"),
        family: Family::A,
        route: 0,
        complete: true,
        sorted: false,
        left_ms: 300_000,
        lifetime_s: 300,
        agreement: Agreement::default(),
        addresses: vec![Address::new(Ipv4Addr::new(192, 0, 2, 1).into(), 0, 0)],
        chains: vec![Vec::new()],
    }
}

proptest! {
    #[test]
    fn written_sets_are_read_unchanged(sets in prop::collection::vec(any_set(), 0..6)) {
        prop_assert_eq!(read(&written(&sets)).expect("own octets"), sets);
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_an_error(sets in prop::collection::vec(any_set(), 0..3), at in any::<prop::sample::Index>()) {
        let octets = written(&sets);
        let at = at.index(octets.len());
        prop_assert!(matches!(read(&octets[..at]), Err(ReadError::Cut)), "cut at {at}");
    }

    #[test]
    fn a_changed_octet_is_an_error(sets in prop::collection::vec(any_set(), 0..3), at in any::<prop::sample::Index>(), change in 1..=u8::MAX) {
        let mut octets = written(&sets);
        let at = at.index(octets.len());
        octets[at] ^= change;
        prop_assert!(read(&octets).is_err(), "changed at {at}");
    }

    #[test]
    fn any_octets_are_sets_or_an_error(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = read(&octets);
        if let Ok(set) = Set::decode(&octets) {
            let mut again = Vec::new();
            set.encode(&mut again).expect("what was read can be written");
            prop_assert_eq!(again, octets);
        }
    }

    /// Octets that resemble a set reach more checks than random ones.
    #[test]
    fn a_set_with_changed_octets_is_a_set_or_an_error(set in any_set(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut octets = Vec::new();
        set.encode(&mut octets).expect("a set");
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        if let Ok(set) = Set::decode(&octets) {
            let mut again = Vec::new();
            set.encode(&mut again).expect("what was read can be written");
            prop_assert_eq!(again, octets);
        }
    }

    #[test]
    fn no_restored_set_lasts_longer_than_it_would_have(left_ms in any::<u64>(), saved_ms in any::<u64>(), wall_ms in any::<u64>(), boot_ms in 0..1_u64 << 48) {
        let now = Clocks { wall_ms, boot_ms };
        match Age::of(&Header { saved_ms, version: 0, usual: [0; 8] }, now) {
            Ok(age) => {
                let elapsed_ms = wall_ms - saved_ms;
                let left_now_ms = age.expire_ms(left_ms) - boot_ms;
                prop_assert!(left_now_ms <= left_ms.saturating_sub(elapsed_ms));
                prop_assert!(age.elapsed() <= AGE_MAX);
            }
            Err(Unusable::Ahead { .. }) => prop_assert!(wall_ms < saved_ms),
            Err(Unusable::Old { age }) => prop_assert!(age > AGE_MAX),
        }
    }
}

#[test]
fn each_fault_of_a_file_has_its_error() {
    let good = written(&[plain(), Set { route: 9, ..plain() }]);
    assert_eq!(read(&good).expect("own octets").len(), 2);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut octets = good.clone();
        change(&mut octets);
        read(&octets).expect_err("changed").to_string()
    };
    assert_eq!(with(&|o| o[0] = b'h'), "its first octets are others");
    assert_eq!(with(&|o| o[8] = 1), "it has version 1, known is 3");
    let swapped = with(&|o| o[8..16].chunks_exact_mut(4).for_each(<[u8]>::reverse));
    assert_eq!(swapped, "it is from a machine of the other byte order");
    assert_eq!(with(&|o| o[16] ^= 1), "the checksum of its header is wrong");
    assert_eq!(with(&|o| o.truncate(HEADER_LEN)), "it is cut off");
    assert_eq!(with(&|o| o.clear()), "it is cut off");
    assert_eq!(with(&|o| o.push(0)), "something follows its end");
    assert_eq!(with(&|o| o[HEADER_LEN + 2] = 0x80), "set 0 in it is wrong: it has unknown flags");
    assert_eq!(with(&|o| o[HEADER_LEN + 3] = 1), "its checksum is wrong");
    let count = good.len() - 12;
    assert_eq!(with(&|o| o[count] = 7), "its checksum is wrong");
    // A file made of parts of others, with a right checksum.
    let other = with(&|o| {
        o[count] = 7;
        let sum = crc32fast::hash(&o[..o.len() - 4]).to_le_bytes();
        let at = o.len() - 4;
        o[at..].copy_from_slice(&sum);
    });
    assert_eq!(other, "it has another number of sets than it says");
}

#[test]
fn a_set_that_could_not_be_decoded_is_left_out() {
    let link = Link { target: "edge.example".parse().expect("a name"), left_ms: 1 };
    let address = plain().addresses[0];
    let v6 = Address { address: Ipv6Addr::LOCALHOST.into(), ..address };
    for bad in [
        Set { name: "WWW.example".parse().expect("a name"), ..plain() },
        Set { addresses: Vec::new(), ..plain() },
        Set { addresses: vec![address, address], ..plain() },
        Set { addresses: vec![v6], ..plain() },
        Set { addresses: vec![Address { chain: 1, ..address }], ..plain() },
        Set { chains: Vec::new(), ..plain() },
        Set { chains: vec![Vec::new(); CHAINS_MAX + 1], ..plain() },
        Set { chains: vec![vec![link; CNAMES_MAX + 1]], ..plain() },
    ] {
        let mut writer = Writer::begin(Vec::new(), &HEADER).expect("memory");
        assert!(!writer.add(&bad).expect("memory"), "{bad:?}");
        assert!(writer.add(&plain()).expect("memory"));
        assert_eq!(read(&writer.finish().expect("memory")).expect("own octets"), [plain()]);
    }
}

#[test]
fn an_age_is_the_difference_of_clocks_and_a_margin() {
    let header = Header { saved_ms: 1_000_000, version: 0, usual: [0; 8] };
    let now = |wall_ms| Clocks { wall_ms, boot_ms: 500 };
    let age = Age::of(&header, now(1_060_000)).expect("a minute");
    let margin_ms = u64::try_from(AGE_MARGIN.as_millis()).expect("small");
    assert_eq!(age.expire_ms(300_000), 500 + 240_000 - margin_ms);
    assert_eq!(age.expire_ms(60_000 + margin_ms), 500, "it has just expired");
    assert_eq!(age.expire_ms(0), 500);
    let ahead = Age::of(&header, now(999_999)).expect_err("the clock is behind").to_string();
    assert_eq!(ahead, "by the clock it will be written in 1 s, so that its age cannot be told");
    let day_ms = 86_400_000;
    assert!(Age::of(&header, now(1_000_000 + day_ms)).is_ok());
    let old = Age::of(&header, now(1_001_000 + day_ms)).expect_err("too old").to_string();
    assert_eq!(old, "it is 86401 s old, more than 86400 s");
}

#[test]
fn a_clock_that_is_set_forward_is_distinguished_from_time_that_passed() {
    let before = Clocks { wall_ms: 10_000, boot_ms: 1_000 };
    let forward = |wall_ms, boot_ms| Clocks { wall_ms, boot_ms }.set_forward_since(&before).as_millis();
    assert_eq!(forward(70_000, 61_000), 0, "a minute passed");
    assert_eq!(forward(70_000, 31_000), 30_000, "half of it did");
    assert_eq!(forward(9_000, 31_000), 0, "set back");
}
