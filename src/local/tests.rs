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
    let passed = hosts.add(b"\xef\xbb\xbf# B\xfcro\n192.0.2.1\tNas.Home nas # here\n::1 localhost\n192.0.2.2 nas\n192.0.2.1 other\n\nnonsense\n192.0.2.9\n2001:db8::5%eth0 six. nas\r\n0 zero\r\n::ffff:192.0.2.7 mapped#glued\n192.0.2.3 a/b good_one ; not this\n192.0.2.4 m\xc3\xbcller.home\n192.0.2.5 no\xfc.home");
    assert_eq!((passed.lines, hosts.len()), (4, 10));
    let told = passed.to_string();
    assert!(
        told.starts_with(
            "line 7: 'nonsense': 'nonsense' is no address; line 8: '192.0.2.9': a name is missing"
        ),
        "{told}"
    );
    assert!(
        told.contains("line 12: ") && told.contains("'a/b' is no name: '/' cannot be part of it; and 1 more"),
        "{told}"
    );
    let local = Local { hosts, ..Local::default() };
    let data = |text: &str, rtype| local.answer(&name(text), rtype, None).expect("ours").data;
    assert_eq!(data("nas.home", Rtype::A), [ip("192.0.2.1")]);
    assert_eq!(data("nas", Rtype::A), [ip("192.0.2.1"), ip("192.0.2.2")]);
    assert_eq!(data("nas", Rtype::AAAA), [ip("2001:db8::5")]);
    assert_eq!(data("nas", Rtype::ANY).len(), 3, "each of its addresses");
    assert_eq!(data("1.2.0.192.in-addr.arpa", Rtype::PTR), [Data::Pointer(name("nas.home"))]);
    assert_eq!(data("nas.home", Rtype::AAAA), [], "no data rather than a question for strangers");
    assert_eq!(
        (data("zero", Rtype::A), data("mapped", Rtype::A)),
        (vec![ip("0.0.0.0")], vec![ip("192.0.2.7")])
    );
    assert_eq!(
        (data("good_one", Rtype::A), data("xn--mller-kva.home", Rtype::A)),
        (vec![ip("192.0.2.3")], vec![ip("192.0.2.4")])
    );
    assert_eq!(
        data("m\\195\\188ller.home", Rtype::A),
        [ip("192.0.2.4")],
        "as who knows nothing of IDNA asks"
    );
    assert!(
        local.answer(&name("nas.home"), Rtype::MX, None).is_none()
            && local.answer(&name("this"), Rtype::MX, None).is_none()
    );
    let zero = local.answer(&name("0.0.0.0.in-addr.arpa"), Rtype::PTR, None).expect("special");
    assert_eq!((zero.exists, zero.data), (false, vec![]), "nobody is called that");
    assert!(
        local.covers(&name("nas.home"))
            && !local.covers(&name("www.example.com"))
            && !local.covers(&name("home"))
    );
}

#[test]
fn short_addresses_are_read_as_inet_aton_reads_them() {
    for (text, expected) in [
        ("0", Some("0.0.0.0")),
        ("127.1", Some("127.0.0.1")),
        ("127.0.1", Some("127.0.0.1")),
        ("0x7f.1", Some("127.0.0.1")),
        ("3221225985", Some("192.0.2.1")),
        ("198.51.100.004", Some("198.51.100.4")),
        ("198.51.100.010", None),
        ("256.1", None),
        ("1.2.3.4.5", None),
        ("1..2", None),
        ("+1", None),
        ("0x", None),
        ("fe80::1%lo0", Some("fe80::1")),
        ("::ffff:192.0.2.1", Some("192.0.2.1")),
        ("a", None),
        ("", None),
    ] {
        assert_eq!(
            address(text.as_bytes()),
            expected.map(|text| text.parse().expect("an address")),
            "{text}"
        );
    }
}

#[test]
fn what_hosts_files_know_exists_for_every_type() {
    let mut hosts = Hosts::default();
    hosts.add(b"192.0.2.1 nas.lan.home.arpa\n10.1.2.3 x.ads.example\n192.0.2.2 printer.local");
    let mut block = Block::new(Verdict::NxDomain);
    block.add(b"ads.example", Match::Subtree);
    let own = OwnName { names: vec![name("box.example.net"), name("box")], addresses: Vec::new() };
    let local = Local { hosts, own: Some(own), blocks: vec![block], held: None };
    let known = |text: &str| local.known(&name(text));
    for text in ["nas.lan.home.arpa", "box", "box.example.net", "3.2.1.10.in-addr.arpa"] {
        assert_eq!(known(text), Known::Itself, "{text}");
    }
    for text in
        ["lan.home.arpa", "home.arpa", "local", "example.net", "2.1.10.in-addr.arpa", "10.in-addr.arpa"]
    {
        assert_eq!(known(text), Known::Above, "{text}");
    }
    for text in
        ["x.nas.lan.home.arpa", "xlan.home.arpa", "4.2.1.10.in-addr.arpa", "11.in-addr.arpa", "com", "."]
    {
        assert_eq!(known(text), Known::No, "{text}");
    }
    let exists = |text: &str, rtype| local.answer(&name(text), rtype, None).map(|said| said.exists);
    assert_eq!(exists("nas.lan.home.arpa", Rtype::TXT), Some(true), "a reserved zone does not deny it");
    assert_eq!(exists("lan.home.arpa", Rtype::A), Some(true), "nor what is above it");
    assert_eq!(exists("other.home.arpa", Rtype::TXT), Some(false));
    assert_eq!(exists("printer.local", Rtype::MX), Some(true));
    assert_eq!(exists("3.2.1.10.in-addr.arpa", Rtype::TXT), Some(true));
    assert_eq!(exists("1.10.in-addr.arpa", Rtype::PTR), Some(true));
    assert_eq!(exists("x.ads.example", Rtype::TXT), Some(true), "nor a list");
    assert_eq!(exists("ads.example", Rtype::A), Some(false), "which is meant for what is above it");
}

#[test]
fn whether_a_reserved_zone_is_signed_is_asked_of_its_parent() {
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
        assert!(special(text, Rtype::DS).is_some(), "{text} is nobody's");
    }
}

#[test]
fn any_of_a_reserved_name_has_what_is_there() {
    assert_eq!(special("localhost", Rtype::ANY).expect("ours").data, [ip("127.0.0.1"), ip("::1")]);
    assert_eq!(special("ipv4only.arpa", Rtype::ANY).expect("ours").data.len(), 2);
    assert_eq!(special("1.0.0.127.in-addr.arpa", Rtype::ANY).expect("ours").data.len(), 1);
    assert_eq!(special("10.in-addr.arpa", Rtype::ANY).expect("ours").data, [Data::Authority]);
}

#[test]
fn a_networks_own_zones_are_reserved_ones_and_none_of_the_hosts() {
    let all: Vec<Name> = of_networks().collect();
    assert_eq!(all.len(), 90);
    for zone in &all {
        let said = Local::default().answer(zone, Rtype::SOA, None).expect("served here");
        assert_eq!(said.zone, Some(*zone), "{zone}");
        assert!(Local::default().answer(zone, Rtype::SOA, Some(zone)).is_none() && may_be_of_a_network(zone));
    }
    for text in ["a.home.arpa", "corp.local", "local", "2.1.10.in-addr.arpa"] {
        assert!(may_be_of_a_network(&name(text)), "{text}");
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
        assert!(!may_be_of_a_network(&name(text)), "{text}");
    }
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

/// Which of some names a list blocks, and how many of its lines are passed over.
fn blocked(list: &[u8], names: &[&str]) -> (Vec<String>, usize) {
    let mut block = Block::new(Verdict::NxDomain);
    let passed = block.add(list, Match::Subtree);
    let local = Local { blocks: vec![block], ..Local::default() };
    let blocked = names.iter().filter(|text| local.covers(&name(text)));
    (blocked.map(|text| (*text).to_owned()).collect(), passed.lines)
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
fn block_lists_cover_what_they_say() {
    let mut block = Block::new(Verdict::NxDomain);
    let bad = block.add(b"0.0.0.0 Ads.Example tracker.example\n127.0.0.1 localhost\nbad.example\n*.star.example # c\ntwo words\n\xff..\n", Match::Subtree);
    assert_eq!((bad.lines, block.len()), (2, 4));
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
    assert_eq!(says("only.example", Rtype::ANY), Some((true, 1)));
    assert_eq!(says("only.example", Rtype::AAAA), Some((true, 0)));
    assert_eq!(says("x.only.example", Rtype::A), None);
    assert_eq!(says("localhost", Rtype::A), Some((true, 1)), "localhost is not blocked");
}

#[test]
fn lists_of_other_formats_are_understood() {
    let all = ["x.a.example", "b.example", "c.example", "d.example", "e.example"];
    let first = |n: usize| all[..n].iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let adblock = b"[Adblock Plus 2.0]\n! Title: x\n||a.example^\n||b.example^$important\n||*.c.example^\n||d.example^$third-party\n||e.example\n";
    assert_eq!(blocked(adblock, &all), (first(3), 2));
    let dnsmasq = b"address=/a.example/0.0.0.0\naddress=/b.example/c.example/\nlocal=/d.example/\nserver=/e.example/\nserver=/f.example/192.0.2.1\n";
    assert_eq!(blocked(dnsmasq, &all), (first(5), 1));
    let unbound = b"server:\nlocal-zone: \"a.example\" always_nxdomain\nlocal-zone: \"b.example.\" static\nlocal-zone: \"c.example\" redirect\nlocal-data: \"c.example A 0.0.0.0\"\nlocal-data: \"d.example. 60 IN AAAA ::\"\nlocal-zone: \"e.example\" transparent\nlocal-data: \"e.example TXT x\"\n";
    assert_eq!(blocked(unbound, &all), (first(4), 2));
    assert_eq!(
        blocked(b"*.a.example\n.b.example\n0 c.example\n127.1 d.example#x\nE.EXAMPLE. ; why", &all),
        (first(5), 0)
    );
    assert_eq!(
        blocked("anz\u{e4}ge.example".as_bytes(), &["xn--anzge-ira.example", "anz\\195\\164ge.example"])
            .0
            .len(),
        2
    );
}

#[test]
fn what_a_list_says_otherwise_is_passed_over_and_counted() {
    for line in [
        "http://a.example/",
        "a.example:443",
        "a.example/path",
        "a.example,b.example",
        "*a.example",
        "a.*",
        "/a[0-9]+\\.example/",
        "(\\.|^)a\\.example$",
        "a\\.example",
        "DOMAIN-SUFFIX,a.example",
        "+.a.example",
        "domain:a.example",
        "full:a.example",
        "a.example CNAME .",
        "a.example##.banner",
        "a.example#@#.banner",
        "|https://a.example^",
        "||a.example^$client=x",
        "0.0.0.0 local=/a.example/",
        "0.0.0.0",
        "address=/a.example",
        "a..example",
        "<html>",
        ".",
        "address=//",
        "server=/a.example/#",
        "local-zone: a.example nodefault",
        "anz\u{e4}ge.example\u{0}x",
    ] {
        let (blocked, passed) =
            blocked(line.as_bytes(), &["a.example", "x.a.example", "b.example", "example"]);
        assert_eq!((blocked, passed), (vec![], 1), "{line}");
    }
    let utf16: Vec<u8> = "a.example\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(blocked(&utf16, &["a.example"]), (vec![], 1));
    let mut block = Block::new(Verdict::NxDomain);
    let passed = block.add(b"! x\n\n# y\n[z]\n; v\n$TTL 3\na/b", Match::Exact);
    assert_eq!(
        (passed.remarks, passed.lines, passed.to_string().as_str()),
        (4, 1, "line 7: 'a/b': '/' cannot be part of it")
    );
}

#[test]
fn an_exception_of_a_list_counts_within_its_block_and_not_against_the_configuration() {
    let mut block = Block::new(Verdict::NxDomain);
    block.add(b"||ads.example^\n", Match::Subtree);
    block.add(b"@@||good.ads.example^\n@@||mine.example^$important\n", Match::Subtree);
    let mut own = Block::new(Verdict::NxDomain);
    own.push(std::sync::Arc::new(List::of(&[
        (name("mine.example"), Match::Subtree),
        (name("one.example"), Match::Exact),
    ])));
    let local = Local { blocks: vec![own, block], ..Local::default() };
    let covers = |text: &str| local.covers(&name(text));
    assert!(
        covers("ads.example")
            && covers("bad.ads.example")
            && !covers("good.ads.example")
            && !covers("x.good.ads.example")
    );
    assert!(covers("x.mine.example") && covers("one.example") && !covers("x.one.example"));
}

#[test]
fn a_million_names_take_less_than_64_mib() {
    let mut text = Vec::new();
    for n in 0..1_000_000u32 {
        text.extend_from_slice(format!("tracker-{n}.ads{}.example.com\n", n % 977).as_bytes());
    }
    let (list, passed) = List::read(&text, Match::Subtree);
    assert_eq!((passed.lines, list.len()), (0, 1_000_000));
    let mut block = Block::new(Verdict::NoData);
    block.push(std::sync::Arc::new(list));
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
        let lines = text::lines(&text).count();
        let mut hosts = Hosts::default();
        prop_assert!(hosts.add(&text).lines <= lines);
        let mut block = Block::new(Verdict::NxDomain);
        let passed = block.add(&text, Match::Exact);
        prop_assert!(passed.lines + passed.remarks <= lines);
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
