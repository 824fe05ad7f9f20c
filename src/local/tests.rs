use super::*;
use proptest::prelude::*;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn special(text: &str, rtype: Rtype) -> Option<Said> {
    Local::default().answer(&name(text), rtype, None)
}

fn ip(text: &str) -> Data {
    Data::Address(text.parse().expect("an address"))
}

#[test]
fn reserved_names_stay_here() {
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
fn what_reserved_names_say() {
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
fn who_has_upstreams_for_a_reserved_zone_is_asked_there() {
    let local = Local::default();
    let asked = |text: &str, route: &str| local.answer(&name(text), Rtype::A, Some(&name(route))).is_none();
    assert!(
        asked("nas.home.arpa", "home.arpa") && asked("a.b.local", "b.local") && asked("printer", "printer")
    );
    assert!(
        asked("1.0.0.10.in-addr.arpa", "10.in-addr.arpa")
            && asked("1.1.16.172.in-addr.arpa", "16.172.in-addr.arpa")
    );
    assert!(!asked("nas.home.arpa", "arpa") && !asked("localhost", "localhost"), "too wide, or never");
}

#[test]
fn hosts_files_are_read_as_hosts_5_says() {
    let mut hosts = Hosts::default();
    let bad = hosts.add(b"# c\n192.0.2.1\tNas.Home nas # here\n::1 localhost\n192.0.2.2 nas\n192.0.2.1 other\n\nnonsense\n192.0.2.9\n2001:db8::5%eth0 six nas\r\n");
    assert_eq!((bad, hosts.len()), (2, 5));
    let local = Local { hosts, ..Local::default() };
    let data = |text: &str, rtype| local.answer(&name(text), rtype, None).expect("ours").data;
    assert_eq!(data("nas.home", Rtype::A), [ip("192.0.2.1")]);
    assert_eq!(data("nas", Rtype::A), [ip("192.0.2.1"), ip("192.0.2.2")]);
    assert_eq!(data("nas", Rtype::AAAA), [ip("2001:db8::5")]);
    assert_eq!(data("1.2.0.192.in-addr.arpa", Rtype::PTR), [Data::Pointer(name("nas.home"))]);
    assert_eq!(data("nas.home", Rtype::AAAA), [], "no data rather than a question for strangers");
    assert!(local.answer(&name("nas.home"), Rtype::MX, None).is_none());
    assert!(local.covers(&name("nas.home")) && !local.covers(&name("www.example.com")));
}

#[test]
fn the_own_name_has_the_hosts_addresses() {
    let own = OwnName {
        names: vec![name("box.example.net"), name("box")],
        addresses: vec!["192.0.2.7".parse().expect("an address")],
    };
    let local = Local { own: Some(own), ..Local::default() };
    assert_eq!(local.answer(&name("box"), Rtype::A, None).expect("ours").data, [ip("192.0.2.7")]);
    assert_eq!(
        local.answer(&name("7.2.0.192.in-addr.arpa"), Rtype::PTR, None).expect("ours").data,
        [Data::Pointer(name("box.example.net"))]
    );
}

#[test]
fn the_own_name_is_what_the_host_is_called_if_others_can_ask_for_it() {
    let names = |text: &str| {
        let own = OwnName::of(text, Vec::new())?;
        Some(own.names.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let some = |all: &[&str]| Some(all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(names("box"), some(&["box."]));
    assert_eq!(names("Box.Example.NET"), some(&["box.example.net.", "box."]));
    assert_eq!(names("box.example.net."), some(&["box.example.net.", "box."]));
    assert_eq!(names("my_box-2"), some(&["my_box-2."]));
    let long = "a".repeat(64);
    let none = [
        "",
        "(none)",
        "localhost",
        "LOCALHOST",
        "localhost.localdomain",
        "box.localhost",
        "192.0.2.1",
        "::1",
        "a b",
    ];
    for text in none.into_iter().chain(["a..b", ".", ".box", "b\u{fc}ro", "a;id", "a\\046b", long.as_str()]) {
        assert_eq!(names(text), None, "{text}");
    }
}

#[test]
fn block_lists_of_both_formats_cover_what_they_say() {
    let mut block = Block::new(Verdict::NxDomain);
    let bad = block.add(b"0.0.0.0 Ads.Example tracker.example\n127.0.0.1 localhost\nbad.example\n*.star.example # c\ntwo words\n\xff..\n", Match::Subtree);
    assert_eq!((bad, block.len()), (2, 4));
    let mut exact = Block::new(Verdict::Addresses(vec!["192.0.2.1".parse().expect("an address")]));
    exact.add(b"only.example\n", Match::Exact);
    let local = Local { blocks: vec![block, exact], ..Local::default() };
    let says =
        |text: &str, rtype| local.answer(&name(text), rtype, None).map(|said| (said.exists, said.data.len()));
    assert_eq!(says("ads.example", Rtype::A), Some((false, 0)));
    assert_eq!(says("x.ads.example", Rtype::A), None, "a line of hosts(5) is one name");
    assert_eq!(says("x.y.bad.example", Rtype::TXT), Some((false, 0)));
    assert_eq!(says("xbad.example", Rtype::A), None);
    assert_eq!(says("a.star.example", Rtype::A), Some((false, 0)));
    assert_eq!(says("only.example", Rtype::A), Some((true, 1)));
    assert_eq!(says("only.example", Rtype::AAAA), Some((true, 0)));
    assert_eq!(says("x.only.example", Rtype::A), None);
    assert_eq!(says("localhost", Rtype::A), Some((true, 1)), "localhost is not blocked");
}

#[test]
fn a_million_names_take_less_than_64_mib() {
    let mut block = Block::new(Verdict::NoData);
    let mut text = Vec::new();
    for n in 0..1_000_000u32 {
        text.clear();
        text.extend_from_slice(format!("tracker-{n}.ads{}.example.com\n", n % 977).as_bytes());
        assert_eq!(block.add(&text, Match::Subtree), 0);
    }
    block.shrink();
    assert_eq!(block.len(), 1_000_000);
    assert!(block.memory() < 64 << 20, "{} octets", block.memory());
    let local = Local { blocks: vec![block], ..Local::default() };
    assert!(
        (0..1_000_000u32)
            .step_by(997)
            .all(|n| local.covers(&name(&format!("x.tracker-{n}.ads{}.example.com", n % 977))))
    );
    assert!(!local.covers(&name("tracker-1000000.ads1.example.com")));
}

proptest! {
    #[test]
    fn any_octets_are_a_list_or_bad_lines(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        let lines = text.split(|b| *b == b'\n').count();
        let mut hosts = Hosts::default();
        prop_assert!(hosts.add(&text) <= lines);
        let mut block = Block::new(Verdict::NxDomain);
        prop_assert!(block.add(&text, Match::Exact) <= lines);
    }

    #[test]
    fn names_are_found_exactly_when_they_were_added(all in proptest::collection::btree_map("[a-d]{1,3}(\\.[a-d]{1,3}){0,3}", any::<u32>(), 0..200), other in "[a-d]{1,3}(\\.[a-d]{1,3}){0,3}") {
        let mut names = Names::default();
        for (text, number) in &all {
            prop_assert_eq!(names.insert(&name(text), *number), Some(*number));
        }
        prop_assert_eq!(names.len(), all.len());
        for (text, number) in &all {
            prop_assert_eq!(names.get(name(text).as_wire()), Some(*number));
        }
        prop_assert_eq!(names.get(name(&other).as_wire()), all.get(&other).copied());
    }
}
