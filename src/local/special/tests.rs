use super::*;
use crate::{Local, standard};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn special(text: &str, rtype: Rtype) -> Option<LocalAnswer> {
    Local::default().answer(&name(text), rtype, None)
}

fn ip(text: &str) -> Data {
    Data::Address(text.parse().expect("an address"))
}

#[test]
fn a_reserved_name_has_its_standard() {
    for (text, expected) in [
        ("a.localhost", "RFC 6761"),
        ("invalid", "RFC 6761"),
        ("printer.local", "RFC 6762"),
        ("abc.onion", "RFC 7686"),
        ("pet.alt", "RFC 9476"),
        ("nas.home.arpa", "RFC 8375"),
        ("ipv4only.arpa", "RFC 8880"),
        ("170.0.0.192.in-addr.arpa", "RFC 8880"),
        ("_dns.resolver.arpa", "RFC 9462"),
        ("3.64.100.in-addr.arpa", "RFC 7793"),
        ("1.0.0.10.in-addr.arpa", "RFC 6303"),
        ("a.d.f.ip6.arpa", "RFC 6303"),
        ("printer", "a host name without a domain"),
    ] {
        assert!(special(text, Rtype::A).is_some(), "{text}");
        assert_eq!(standard(&name(text)), expected, "{text}");
    }
}

#[test]
fn reserved_names_are_not_forwarded() {
    for text in [
        "localhost",
        "a.b.localhost",
        "x.invalid",
        "invalid",
        "abc.onion",
        "pet.alt",
        "printer.local",
        "local",
        "home.arpa",
        "nas.home.arpa",
        "1.0.0.10.in-addr.arpa",
        "5.16.172.in-addr.arpa",
        "9.31.172.in-addr.arpa",
        "1.1.168.192.in-addr.arpa",
        "7.254.169.in-addr.arpa",
        "3.64.100.in-addr.arpa",
        "3.127.100.in-addr.arpa",
        "5.0.0.127.in-addr.arpa",
        "a.d.f.ip6.arpa",
        "b.e.f.ip6.arpa",
        "_dns.resolver.arpa",
        "ipv4only.arpa",
        "printer",
        "8.b.d.0.1.0.0.2.ip6.arpa",
    ] {
        assert!(special(text, Rtype::A).is_some(), "{text} is forwarded");
    }
    for text in [
        "example.test",
        "www.example.com",
        "example",
        "localhost.example",
        "1.1.1.1.in-addr.arpa",
        "5.15.172.in-addr.arpa",
        "5.32.172.in-addr.arpa",
        "3.63.100.in-addr.arpa",
        "3.128.100.in-addr.arpa",
        "a.e.f.f.ip6.arpa",
        "xlocal.example",
        "8.8.8.8.in-addr.arpa",
        "in-addr.arpa",
        ".",
    ] {
        let rtype = if text == "example" { Rtype::NS } else { Rtype::A };
        assert!(special(text, rtype).is_none(), "{text} is not forwarded");
    }
}

#[test]
fn reserved_names_have_the_answers_of_their_standards() {
    assert_eq!(special("localhost", Rtype::A).expect("ours").data, [ip("127.0.0.1")]);
    assert_eq!(special("x.localhost", Rtype::AAAA).expect("ours").data, [ip("::1")]);
    let mx = special("localhost", Rtype::MX).expect("ours");
    assert!(mx.exists && mx.data.is_empty());
    assert_eq!(
        special("ipv4only.arpa", Rtype::A).expect("ours").data,
        [ip("192.0.0.170"), ip("192.0.0.171")]
    );
    let one = "1.0.0.127.in-addr.arpa";
    assert_eq!(special(one, Rtype::PTR).expect("ours").data, [Data::Pointer(name("localhost"))]);
    let private = special("9.9.168.192.in-addr.arpa", Rtype::PTR).expect("ours");
    assert_eq!((private.exists, private.zone), (false, Some(name("168.192.in-addr.arpa"))));
    let apex = special("10.in-addr.arpa", Rtype::SOA).expect("ours");
    assert_eq!((apex.exists, apex.data), (true, vec![Data::Authority]));
    assert!(special("_dns.resolver.arpa", Rtype::SVCB).expect("ours").exists);
    assert!(!special("printer", Rtype::A).expect("ours").exists && special("com", Rtype::NS).is_none());
}

#[test]
fn a_reserved_zone_with_upstreams_of_its_own_is_forwarded_to_them() {
    let local = Local::default();
    let asked = |text: &str, route: &str| local.answer(&name(text), Rtype::A, Some(&name(route))).is_none();
    assert!(
        asked("nas.home.arpa", "home.arpa") && asked("a.b.local", "b.local") && asked("printer", "printer")
    );
    assert!(
        asked("1.0.0.10.in-addr.arpa", "10.in-addr.arpa")
            && asked("1.1.16.172.in-addr.arpa", "16.172.in-addr.arpa")
    );
    assert!(
        !asked("nas.home.arpa", "arpa") && !asked("localhost", "localhost"),
        "a route above the zone does not count, and localhost is never forwarded"
    );
}

#[test]
fn the_ds_of_a_reserved_zone_is_forwarded_to_its_parent() {
    for text in [
        "home.arpa",
        "10.in-addr.arpa",
        "16.172.in-addr.arpa",
        "d.f.ip6.arpa",
        "resolver.arpa",
        "ipv4only.arpa",
    ] {
        assert!(special(text, Rtype::DS).is_none(), "{text}");
        assert!(
            special(text, Rtype::SOA).is_some() && special(&format!("x.{text}"), Rtype::DS).is_some()
                || text == "ipv4only.arpa"
        );
    }
    for text in ["localhost", "local", "onion", "invalid", "x.local"] {
        assert!(special(text, Rtype::DS).is_some(), "{text} has no parent in the DNS");
    }
}

#[test]
fn any_of_a_reserved_name_has_all_its_records() {
    assert_eq!(special("localhost", Rtype::ANY).expect("ours").data, [ip("127.0.0.1"), ip("::1")]);
    assert_eq!(special("ipv4only.arpa", Rtype::ANY).expect("ours").data.len(), 2);
    assert_eq!(special("1.0.0.127.in-addr.arpa", Rtype::ANY).expect("ours").data.len(), 1);
    assert_eq!(special("10.in-addr.arpa", Rtype::ANY).expect("ours").data, [Data::Authority]);
}

#[test]
fn locally_served_zones_are_reserved_and_none_is_the_hosts_own() {
    let all: Vec<Name> = locally_served_zones().collect();
    assert_eq!(all.len(), 90);
    for zone in &all {
        let answer = Local::default().answer(zone, Rtype::SOA, None).expect("served here");
        assert_eq!(answer.zone, Some(*zone), "{zone}");
        assert!(
            Local::default().answer(zone, Rtype::SOA, Some(zone)).is_none() && may_be_locally_served(zone)
        );
    }
    for text in ["a.home.arpa", "corp.local", "local", "2.1.10.in-addr.arpa"] {
        assert!(may_be_locally_served(&name(text)), "{text}");
    }
    for text in [
        "localhost",
        "x.onion",
        "invalid",
        "127.in-addr.arpa",
        "resolver.arpa",
        "1.in-addr.arpa",
        "lan",
        "example",
    ] {
        assert!(!may_be_locally_served(&name(text)), "{text}");
    }
}
