use super::*;
use hither_wire::compose::{Asked, QueryBits, query};

const fn at(ms: u64) -> Monotonic {
    Monotonic::from_ms(ms)
}

fn name() -> Name {
    "dns.example".parse().expect("a name")
}

fn hosts(now: Monotonic) -> HostNames {
    let mut hosts = HostNames::default();
    hosts.set_hosts(&BTreeSet::from([name()]), now);
    hosts
}

/// A reply to a question about `dns.example` with these addresses and this TTL.
pub fn reply(rtype: Rtype, rcode: u8, addresses: &[&str], ttl_s: u32) -> Vec<u8> {
    let mut octets = [0; 300];
    let bits = QueryBits { rd: true, cd: false, edns: None };
    let len = query(&mut octets, 0, &Asked { name: &name(), rtype }, bits);
    let mut reply = octets[..len].to_vec();
    (reply[2], reply[3], reply[7]) = (0x81, 0x80 | rcode, addresses.len() as u8);
    for address in addresses {
        let rdata = match address.parse().expect("an address") {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let kind = if rdata.len() == 4 { 1 } else { 28 };
        reply.extend([0xc0, 12, 0, kind, 0, 1]);
        reply.extend(ttl_s.to_be_bytes());
        reply.extend([0, rdata.len() as u8]);
        reply.extend(rdata);
    }
    reply
}

fn questions(hosts: &mut HostNames, now: Monotonic) -> Vec<Rtype> {
    std::iter::from_fn(|| hosts.next_look_up(now)).map(|look_up| look_up.question.rtype).collect()
}

fn addresses(hosts: &HostNames) -> Vec<String> {
    hosts.addresses(&name()).0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_host_is_looked_up_at_once_and_both_families_are_used() {
    let mut hosts = hosts(at(0));
    assert_eq!(questions(&mut hosts, at(0)), [Rtype::A, Rtype::AAAA]);
    assert_eq!(hosts.addresses(&name()), (Vec::new(), true));
    hosts.note_reply(&reply(Rtype::A, 0, &["192.0.2.1", "192.0.2.2"], 60), at(5));
    assert_eq!(hosts.addresses(&name()).0.len(), 2);
    hosts.note_reply(&reply(Rtype::AAAA, 0, &["2001:db8::1"], 90), at(6));
    assert_eq!(addresses(&hosts), ["2001:db8::1", "192.0.2.1", "192.0.2.2"]);
    assert!(!hosts.addresses(&name()).1);
    assert_eq!(questions(&mut hosts, at(60_000)), []);
    assert_eq!(hosts.timeout(), Some(at(60_005)), "when the first TTL is over");
    assert_eq!(questions(&mut hosts, at(60_005)), [Rtype::A]);
}

#[test]
fn addresses_are_kept_while_look_ups_fail() {
    let mut hosts = hosts(at(0));
    questions(&mut hosts, at(0));
    hosts.note_reply(&reply(Rtype::A, 0, &["192.0.2.1"], 60), at(0));
    hosts.note_reply(&reply(Rtype::AAAA, 0, &[], 60), at(0));
    let (mut now, mut pauses) = (at(60_000), Vec::new());
    for _ in 0..9 {
        hosts.note_used(&name(), now);
        assert_eq!(questions(&mut hosts, now), [Rtype::A]);
        hosts.note_reply(&reply(Rtype::A, 2, &[], 0), now);
        assert_eq!((addresses(&hosts), hosts.problem(&name())), (vec!["192.0.2.1".to_owned()], None));
        let next = hosts.timeout().expect("another try");
        pauses.push(next.since(now).as_millis());
        now = next;
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    questions(&mut hosts, now);
    hosts.note_reply(&reply(Rtype::A, 0, &["192.0.2.9"], 60), now);
    assert_eq!(addresses(&hosts), ["192.0.2.9"], "the new one replaces it");
}

#[test]
fn a_host_that_no_query_needs_is_left_alone_until_one_does() {
    let mut hosts = hosts(at(0));
    questions(&mut hosts, at(0));
    hosts.note_reply(&reply(Rtype::A, 0, &["192.0.2.1"], 3600), at(0));
    hosts.note_reply(&reply(Rtype::AAAA, 0, &["2001:db8::1"], 3600), at(0));
    assert_eq!(hosts.timeout(), None);
    assert_eq!(questions(&mut hosts, at(4_000_000)), []);
    hosts.note_used(&name(), at(4_000_000));
    assert_eq!(questions(&mut hosts, at(4_000_000)), [Rtype::A, Rtype::AAAA]);
    assert_eq!(addresses(&hosts).len(), 2, "the old ones serve meanwhile");
}

#[test]
fn a_host_without_an_address_is_explained() {
    let mut hosts = hosts(at(0));
    questions(&mut hosts, at(0));
    assert_eq!(hosts.problem(&name()), None, "the look-up goes on");
    hosts.note_reply(&reply(Rtype::A, 0, &["0.0.0.0"], 3600), at(1));
    let said = hosts.problem(&name()).expect("a reason");
    assert!(said.contains("0.0.0.0") && said.contains("this host itself"), "{said}");
    hosts.note_reply(&reply(Rtype::AAAA, 3, &[], 0), at(2));
    assert_eq!(hosts.problem(&name()), Some("looking up the address of 'dns.example.' gave NXDOMAIN"));
    assert_eq!(hosts.addresses(&name()), (Vec::new(), false));
}

#[test]
fn another_network_has_all_hosts_looked_up_again() {
    let mut hosts = hosts(at(0));
    questions(&mut hosts, at(0));
    hosts.note_reply(&reply(Rtype::A, 0, &["192.0.2.1"], 3600), at(0));
    hosts.note_reply(&reply(Rtype::AAAA, 0, &["2001:db8::1"], 3600), at(0));
    hosts.change_network(at(900_000));
    assert_eq!(questions(&mut hosts, at(900_000)), [Rtype::A, Rtype::AAAA]);
    assert_eq!(addresses(&hosts).len(), 2);
}

#[test]
fn a_host_that_cannot_be_connected_to_is_looked_up_past_the_cache() {
    let mut hosts = hosts(at(0));
    questions(&mut hosts, at(0));
    hosts.note_reply(&reply(Rtype::A, 0, &["192.0.2.1"], 3600), at(0));
    hosts.note_reply(&reply(Rtype::AAAA, 0, &["2001:db8::1"], 3600), at(0));
    hosts.suspect(&name(), true, at(100));
    hosts.note_used(&name(), at(5_100));
    let look_up = hosts.next_look_up(at(5_100)).expect("it is due");
    assert!(look_up.is_past_cache);
    hosts.note_reply(&reply(Rtype::A, 0, &["192.0.2.1"], 3600), at(5_100));
    assert_eq!(hosts.timeout(), Some(at(5_100)), "the other family");
    questions(&mut hosts, at(5_100));
    hosts.note_reply(&reply(Rtype::AAAA, 0, &["2001:db8::1"], 3600), at(5_100));
    assert_eq!(hosts.timeout(), Some(at(10_100)), "not the TTL");
    hosts.suspect(&name(), false, at(6_000));
    assert!(!hosts.next_look_up(at(10_100)).expect("due").is_past_cache);
}

#[test]
fn a_reply_that_was_lost_is_asked_for_again_and_strangers_change_nothing() {
    let mut hosts = hosts(at(0));
    questions(&mut hosts, at(0));
    hosts.note_reply(b"junk", at(1));
    hosts.note_reply(&reply(Rtype::TXT, 0, &[], 0), at(1));
    assert_eq!((questions(&mut hosts, at(9_999)), hosts.timeout()), (vec![], Some(at(10_000))));
    assert_eq!(questions(&mut hosts, at(10_000)), [Rtype::A, Rtype::AAAA]);
    hosts.set_hosts(&BTreeSet::new(), at(10_001));
    hosts.note_reply(&reply(Rtype::A, 0, &["192.0.2.1"], 60), at(10_002));
    assert_eq!((hosts.timeout(), hosts.addresses(&name()).0), (None, vec![]));
}
