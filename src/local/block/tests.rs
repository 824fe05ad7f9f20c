use super::*;
use crate::Local;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// Which of `names` a list blocks, and how many of its lines are passed over.
fn blocked(list: &[u8], names: &[&str]) -> (Vec<String>, usize) {
    let mut block = Block::new(Verdict::NxDomain);
    let passed = block.add(list, Match::Subtree);
    let local = Local { blocks: vec![block], ..Local::default() };
    let blocked = names.iter().filter(|text| local.covers(&name(text)));
    (blocked.map(|text| (*text).to_owned()).collect(), passed.lines)
}

#[test]
fn each_form_of_a_name_covers_its_own_names() {
    let mut block = Block::new(Verdict::NxDomain);
    let bad = block.add(b"0.0.0.0 Ads.Example tracker.example\n127.0.0.1 localhost\nbad.example\n*.star.example # c\ntwo words\n\xff..\n", Match::Subtree);
    assert_eq!((bad.lines, block.len()), (2, 4));
    let mut exact = Block::new(Verdict::Addresses(vec!["192.0.2.1".parse().expect("an address")]));
    exact.add(b"only.example\n", Match::Exact);
    let local = Local { blocks: vec![block, exact], ..Local::default() };
    let says =
        |text: &str, rtype| local.answer(&name(text), rtype, None).map(|said| (said.exists, said.data.len()));
    assert_eq!(says("ads.example", Rtype::A), Some((false, 0)));
    assert_eq!(says("x.ads.example", Rtype::A), None, "a line of hosts(5) does not cover subdomains");
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
fn lists_in_published_formats_are_understood() {
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
fn lines_that_are_not_understood_are_passed_over_and_counted() {
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
fn an_exception_counts_only_within_its_block() {
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
