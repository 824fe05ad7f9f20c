use super::*;
use proptest::prelude::*;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

#[test]
fn names_of_hosts_files_exist_for_every_type() {
    let mut hosts = Hosts::default();
    hosts.add(b"192.0.2.1 nas.lan.home.arpa\n10.1.2.3 x.ads.example\n192.0.2.2 printer.local");
    let mut block = Block::new(Verdict::NxDomain);
    block.add(b"ads.example", Match::Subtree);
    let own = OwnName { names: vec![name("box.example.net"), name("box")], addresses: Vec::new() };
    let local = Local { hosts, own: Some(own), blocks: vec![block], keep_alive: None };
    let known = |text: &str| local.presence(&name(text));
    for text in ["nas.lan.home.arpa", "box", "box.example.net", "3.2.1.10.in-addr.arpa"] {
        assert_eq!(known(text), Presence::Listed, "{text}");
    }
    for text in
        ["lan.home.arpa", "home.arpa", "local", "example.net", "2.1.10.in-addr.arpa", "10.in-addr.arpa"]
    {
        assert_eq!(known(text), Presence::Ancestor, "{text}");
    }
    for text in
        ["x.nas.lan.home.arpa", "xlan.home.arpa", "4.2.1.10.in-addr.arpa", "11.in-addr.arpa", "com", "."]
    {
        assert_eq!(known(text), Presence::Absent, "{text}");
    }
    let exists = |text: &str, rtype| local.answer(&name(text), rtype, None).map(|said| said.exists);
    assert_eq!(exists("nas.lan.home.arpa", Rtype::TXT), Some(true), "a reserved zone does not deny it");
    assert_eq!(exists("lan.home.arpa", Rtype::A), Some(true), "nor its ancestors");
    assert_eq!(exists("other.home.arpa", Rtype::TXT), Some(false));
    assert_eq!(exists("printer.local", Rtype::MX), Some(true));
    assert_eq!(exists("3.2.1.10.in-addr.arpa", Rtype::TXT), Some(true));
    assert_eq!(exists("1.10.in-addr.arpa", Rtype::PTR), Some(true));
    assert_eq!(exists("x.ads.example", Rtype::TXT), Some(true), "a block list does not deny it");
    assert_eq!(exists("ads.example", Rtype::A), Some(false), "an ancestor of a listed name can be blocked");
}

proptest! {
    #[test]
    fn any_octets_are_entries_or_lines_passed_over(text in proptest::collection::vec(any::<u8>(), 0..400)) {
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
