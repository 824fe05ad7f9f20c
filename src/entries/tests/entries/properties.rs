//! Any entry is read as it was written; any octets give an entry or a refusal; any change is refused.

use crate::{addresses, denial, measured, name, seal_of, signing};
use hither_entries::{
    Content, Entry, HOST_MAX, Keys, Link, Refusal, SAID_BY_MAX, Soa, TIME_MAX, Times, decode_message,
};
use hither_table::{Address, Agreement, Family, Negative, Rtt, Trust};
use hither_wire::name::Name;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

fn any_family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::A), Just(Family::Aaaa)]
}

fn any_address(family: Family, chains: usize, has_rtt: bool) -> impl Strategy<Value = Address> {
    let address = any::<u128>().prop_map(move |bits| match family {
        Family::A => IpAddr::from(Ipv4Addr::from(bits as u32)),
        Family::Aaaa => IpAddr::from(Ipv6Addr::from(bits)),
    });
    let rtt =
        prop_oneof![Just(Rtt::Unmeasured), Just(Rtt::Unreachable), (0..u32::MAX - 1).prop_map(Rtt::Micros)];
    (address, rtt, 0..chains, any::<bool>(), 0..=Address::SOURCES_MAX).prop_map(
        move |(address, rtt, chain, trusted, sources)| Address {
            address,
            rtt: if has_rtt { rtt } else { Rtt::Unmeasured },
            chain: u8::try_from(chain).expect("few"),
            upstreams: if trusted { Address::TRUSTED } else { 0 },
            sources,
            trust: Trust::Unknown,
        },
    )
}

fn any_chains() -> impl Strategy<Value = Vec<Vec<Link>>> {
    let link = (any_name(), any::<u64>()).prop_map(|(target, left_ms)| Link { target, left_ms });
    prop::collection::vec(prop::collection::vec(link, 0..3), 1..4)
}

fn any_content(family: Family, chains: usize, has_rtt: bool) -> impl Strategy<Value = Content> {
    let addresses = prop::collection::vec(any_address(family, chains, has_rtt), 1..20).prop_map(|mut all| {
        all.sort_by_key(|a| a.address);
        all.dedup_by_key(|a| a.address);
        Content::Addresses(all)
    });
    let names = (any_name(), any_name(), any::<[u8; 20]>(), any::<u32>());
    let soa = prop::option::of(names.prop_map(|(one, other, numbers, left_ms)| {
        let rdata = [one.as_wire(), other.as_wire(), &numbers].concat();
        Box::new(Soa { owner: Name::ROOT, left_ms, rdata })
    }));
    let negative = prop_oneof![Just(Negative::NoData), Just(Negative::NxDomain)];
    prop_oneof![addresses, (negative, soa).prop_map(|(negative, soa)| Content::Denial { negative, soa })]
}

fn any_times() -> impl Strategy<Value = Times> {
    (0..=TIME_MAX, 0..=TIME_MAX, any::<u32>(), any::<u32>()).prop_map(|(one, other, left_ms, lifetime_s)| {
        Times { asked_ms: one.min(other), learned_ms: one.max(other), left_ms, lifetime_s }
    })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let group = prop_oneof![Just(String::new()), "[!-~]{1,32}"];
    (any_family(), any_chains(), group).prop_flat_map(|(family, chains, group)| {
        let content = any_content(family, chains.len(), !group.is_empty());
        let host = proptest::string::string_regex(&format!("[!-~]{{1,{HOST_MAX}}}")).expect("a pattern");
        let said_by = prop::collection::vec("[a-z\u{e4}.]{1,20}", 0..=SAID_BY_MAX);
        let fixed = (Just((family, chains, group)), any::<[u8; 2]>());
        (host, any_times(), said_by, any_name(), content, fixed).prop_map(
            |(host, times, said_by, name, content, ((family, chains, group), [answered, disputes]))| Entry {
                host: host.into(),
                group: group.into(),
                times,
                agreement: Agreement { answered, disputes, dissenters: 0 },
                said_by: said_by.into_iter().map(Box::from).collect(),
                name: name.to_lower(),
                family,
                chains,
                content,
            },
        )
    })
}

/// Octets that are an entry are those that the entry gives.
fn check_octets(octets: &[u8]) {
    if let Ok(entry) = Entry::decode(octets) {
        let mut again = Vec::new();
        entry.encode(&mut again).expect("what was read can be written");
        assert_eq!(again, octets);
    }
}

proptest! {
    #[test]
    fn entries_are_read_unchanged(entry in any_entry()) {
        for seal in [signing(), seal_of("lab", None)] {
            let (key, value) = seal.seal(&entry).expect("an entry");
            prop_assert_eq!(seal.open(key.as_bytes(), &value), Ok(entry.clone()));
            prop_assert_eq!(seal.keys().parse(key.as_bytes()), Some((entry.name, entry.family)));
        }
    }

    #[test]
    fn any_octets_are_an_entry_or_a_fault(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        check_octets(&octets);
        let key = b"{hither}:a:www.example.";
        for seal in [signing(), seal_of("hither", None)] {
            prop_assert!(seal.open(key, &octets).is_err());
            prop_assert!(seal.open(&octets, &octets).is_err());
        }
        prop_assert_eq!(signing().keys().parse(&octets), None);
        let _ = decode_message(&octets);
    }

    /// Octets that resemble an entry reach more checks than random ones.
    #[test]
    fn an_entry_with_changed_octets_is_an_entry_or_a_fault(entry in any_entry(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in prop::option::of(any::<prop::sample::Index>())) {
        let mut octets = Vec::new();
        entry.encode(&mut octets).expect("an entry");
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        if let Some(cut) = cut {
            octets.truncate(cut.index(octets.len()));
        }
        check_octets(&octets);
    }

    #[test]
    fn any_name_has_one_key(octets in "[ -~]{0,40}", name in any_name(), family in any_family()) {
        let keys = Keys::new("h").expect("a prefix");
        let key = keys.key(&name, family);
        prop_assert_eq!(keys.parse(key.as_bytes()), Some((name.to_lower(), family)));
        let typed = format!("{{h}}:a:{octets}");
        if let Some((name, family)) = keys.parse(typed.as_bytes()) {
            prop_assert_eq!(keys.key(&name, family), typed);
        }
    }
}

#[test]
fn any_change_of_one_bit_is_refused() {
    for entry in [addresses(), measured(), denial()] {
        let (key, value) = signing().seal(&entry).expect("an entry");
        for bit in 0..value.len() * 8 {
            let mut changed = value.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let refused = signing().open(key.as_bytes(), &changed).expect_err("it was changed");
            assert!(matches!(refused, Refusal::Signature | Refusal::Malformed(_)), "bit {bit}: {refused}");
            assert!(bit < 40 || refused == Refusal::Signature, "bit {bit}: {refused}");
        }
        for cut in 0..value.len() {
            assert!(signing().open(key.as_bytes(), &value[..cut]).is_err(), "cut at {cut}");
        }
    }
}

#[test]
fn a_value_of_another_key_prefix_or_secret_is_refused() {
    let (key, value) = signing().seal(&addresses()).expect("an entry");
    let mail = Entry { name: name("mail.example"), ..addresses() };
    let (other_key, _) = signing().seal(&mail).expect("an entry");
    assert_eq!(signing().open(other_key.as_bytes(), &value), Err(Refusal::Signature));
    assert_eq!(signing().open(b"{hither}:6:www.example.", &value), Err(Refusal::Signature));
    let secret = "a secret of the site";
    let lab = seal_of("lab", Some(secret));
    assert_eq!(lab.open(key.as_bytes(), &value), Err(Refusal::Prefix));
    assert_eq!(lab.open(b"{lab}:a:www.example.", &value), Err(Refusal::Signature));
    assert_eq!(
        seal_of("hither", Some("a secret of the sitf")).open(key.as_bytes(), &value),
        Err(Refusal::Signature)
    );
}
