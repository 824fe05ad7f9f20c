//! Any octets give a value or an error; composed messages can be read; messages are read as
//! hickory-proto reads them.

use hickory_proto::op::Message as Oracle;
use hither_wire::codes::{Class, Rtype};
use hither_wire::compose::{Asked, Composer, Owner, QueryBits, flags, query};
use hither_wire::message::{Message, Section};
use hither_wire::name::{Name, NameError};
use hither_wire::query::{Query, refuse};
use hither_wire::spell;
use proptest::prelude::*;

/// A typical answer: a CNAME, addresses, an SOA record, OPT.
fn answer(owner: &Name, addresses: &[[u8; 4]], ttl: u32) -> Vec<u8> {
    let mut out = vec![0; 4096];
    let mut composer = Composer::new(&mut out, 4096).expect("room for a header");
    composer.set_header(0x1234, flags::QR | flags::RD | flags::RA);
    assert!(composer.question(owner, Rtype::A, Class::IN));
    let target: Name = "edge.example.net.".parse().expect("a name");
    assert!(composer.record(Section::Answer, Owner::At(12), Rtype::CNAME, ttl, target.as_wire()));
    let at = composer.position() - target.as_wire().len();
    for address in addresses {
        assert!(composer.record(Section::Answer, Owner::At(at), Rtype::A, ttl, address));
    }
    assert!(composer.opt(1232, 0, false, &[]));
    let len = composer.finish();
    out.truncate(len);
    out
}

fn any_name() -> impl Strategy<Value = Name> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..8).prop_map(|labels| {
        let mut wire = Vec::new();
        for label in labels {
            wire.push(u8::try_from(label.len()).expect("short label"));
            wire.extend(label);
        }
        wire.push(0);
        Name::from_wire(&wire).expect("built from labels")
    })
}

fn read_all(octets: &[u8]) {
    if let Ok(message) = Message::read(octets) {
        for record in message.records() {
            let _ = (record.owner(), record.address(), record.target(), record.soa());
        }
    }
    if let Ok(message) = Message::open(octets) {
        for record in message.records() {
            let _ = (record.owner(), record.address(), record.target(), record.soa(), record.is_sound());
        }
        let mut copy = octets.to_vec();
        let name: Name = "aB.example".parse().expect("a name");
        spell::restore_letter_case(&message, &mut copy, name.as_wire(), name.to_lower().as_wire());
        assert!(copy.eq_ignore_ascii_case(octets));
        let question = hither_wire::message::Question { name, rtype: Rtype::A, class: Class::IN };
        let mut room = vec![0; 65_535];
        let len = spell::add_question(&message, &question, &mut room).unwrap_or(0);
        assert!(len == 0 || Message::open(&room[..len]).is_ok_and(|m| m.asked().is_some()));
    }
    let mut out = [0; 512];
    match Query::read(octets) {
        Ok(query) => {
            let _ = (query.name_lower(), query.udp_limit(), query.edns().map(|e| e.options().count()));
        }
        Err(_) => {
            assert!(refuse(octets, 1, &mut out) <= octets.len().max(12) + 11, "a refusal never amplifies")
        }
    }
}

proptest! {
    #[test]
    fn any_octets_are_read_without_a_panic(octets in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..400) {
        read_all(&octets);
        let _ = Name::read(&octets, at);
        let _ = Name::from_wire(&octets);
    }

    /// Labels of any length and valid and invalid pointers in few octets, so that names are long,
    /// share labels and loop.
    #[test]
    fn a_name_in_place_is_compared_like_its_copy(
        octets in prop::collection::vec(prop_oneof![0u8..5, 60u8..64, 0xc0u8..0xc2, 0x41u8..0x43, 0x61u8..0x63], 0..400),
        (at, other_at) in (0usize..400, 0usize..400),
    ) {
        let read = Name::read(&octets, at);
        prop_assert_eq!(Name::skip(&octets, at), read.map(|(_, next)| next));
        let others = [Name::read(&octets, other_at), read].into_iter().flatten();
        for (other, _) in others {
            let same = read.is_ok_and(|(name, _)| name.eq_ignore_case(&other));
            prop_assert_eq!(other.stands_at(&octets, at), same);
            prop_assert_eq!(other.to_lower().stands_at(&octets, at), same);
        }
    }

    #[test]
    fn the_names_of_a_message_are_compared_in_place(owner in any_name(), other in any_name()) {
        let octets = answer(&owner, &[[192, 0, 2, 1]], 300);
        let message = Message::read(&octets).expect("our own message");
        for name in [owner, owner.to_lower(), other] {
            prop_assert_eq!(message.asks(&name), owner.eq_ignore_case(&name));
            prop_assert_eq!(message.asks_exactly(name.as_wire()), owner == name);
            prop_assert!(message.records().all(|r| r.is_owned_by(&name) == r.owner().eq_ignore_case(&name)));
        }
        let upper = octets.to_ascii_uppercase();
        let asked = message.respelled(&upper).question().expect("a question").name;
        prop_assert!(asked.eq_ignore_case(&owner));
    }

    #[test]
    fn a_changed_answer_is_read_without_a_panic(at in 0usize..200, value in any::<u8>(), cut in 0usize..200) {
        let mut octets = answer(&"www.example.com".parse().expect("a name"), &[[192, 0, 2, 1], [192, 0, 2, 2]], 300);
        let len = octets.len();
        octets[at % len] = value;
        read_all(&octets);
        read_all(&octets[..cut.min(len)]);
    }

    #[test]
    fn a_name_written_as_text_is_read_as_the_same_name(name in any_name()) {
        prop_assert_eq!(name.to_string().parse::<Name>(), Ok(name));
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in ".{0,300}") {
        if let Ok(name) = text.parse::<Name>() {
            prop_assert!(name.as_wire().len() <= 255);
        }
    }

    #[test]
    fn messages_are_read_as_hickory_reads_them(owner in any_name(), addresses in prop::collection::vec(any::<[u8; 4]>(), 0..6), ttl in 0u32..=0x7fff_ffff) {
        let octets = answer(&owner, &addresses, ttl);
        let ours = Message::read(&octets).expect("our own message");
        let theirs = Oracle::from_vec(&octets).expect("hickory reads it");
        prop_assert_eq!(ours.header().id, theirs.metadata.id);
        let records: Vec<_> = ours.records().filter(|r| r.rtype != Rtype::OPT).collect();
        prop_assert_eq!(records.len(), theirs.answers.len());
        for (our, their) in records.iter().zip(&theirs.answers) {
            prop_assert_eq!(our.ttl, their.ttl);
            prop_assert_eq!(our.address(), their.data.ip_addr());
            prop_assert_eq!(our.rtype.0, u16::from(their.record_type()));
            let labels: Vec<Vec<u8>> = their.name.iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(our.owner().labels().map(<[u8]>::to_vec).collect::<Vec<_>>(), labels);
        }
        prop_assert_eq!(ours.edns().map(|e| e.udp_size), theirs.edns.as_ref().map(hickory_proto::op::Edns::max_payload));
    }

    /// hickory-proto refuses more than this crate (an empty RDATA, an odd record). What it accepts
    /// of a changed message this crate accepts too.
    #[test]
    fn a_changed_answer_that_both_accept_has_as_many_addresses(at in 12usize..120, value in any::<u8>()) {
        let mut octets = answer(&"www.example.com".parse().expect("a name"), &[[192, 0, 2, 1], [192, 0, 2, 2]], 300);
        let len = octets.len();
        octets[at % len] = value;
        if let (Ok(ours), Ok(theirs)) = (Message::read(&octets), Oracle::from_vec(&octets)) {
            let addresses = ours.records().filter(|r| r.section == Section::Answer).filter_map(|r| r.address()).count();
            let in_class = theirs.answers.iter().filter(|r| u16::from(r.dns_class) == 1);
            prop_assert_eq!(addresses, in_class.filter(|r| r.data.ip_addr().is_some()).count());
        }
    }

    /// A message that is cut anywhere gives each section completely or not at all.
    #[test]
    fn a_message_that_is_cut_has_each_section_completely_or_not_at_all(len in 0usize..200) {
        let octets = answer(&"www.example.com".parse().expect("a name"), &[[192, 0, 2, 1], [192, 0, 2, 2]], 300);
        let cut = &octets[..len.min(octets.len())];
        let strict = Message::read(cut);
        if let Ok(message) = Message::open(cut) {
            prop_assert_eq!(strict.err(), message.fault().map(|fault| fault.error));
            let answers = message.records().filter(|r| r.section == Section::Answer).count();
            prop_assert!(answers == 3 || (answers == 0 && message.fault().is_some_and(|f| f.section == Section::Answer)));
        } else {
            prop_assert!(strict.is_err() && len < 33);
        }
    }

    #[test]
    fn our_queries_are_read_by_hickory(name in any_name(), id in any::<u16>(), cd in any::<bool>()) {
        let mut out = [0; 300];
        let bits = QueryBits { rd: true, cd, edns: Some((1232, true)) };
        let len = query(&mut out, id, &Asked { name: &name, rtype: Rtype::HTTPS }, bits);
        let theirs = Oracle::from_vec(&out[..len]).expect("hickory reads it");
        prop_assert_eq!((theirs.metadata.id, theirs.metadata.checking_disabled), (id, cd));
        prop_assert_eq!(theirs.queries.len(), 1);
        let ours = Query::read(&out[..len]).expect("we read it");
        prop_assert_eq!(ours.qname(), name.as_wire());
        prop_assert!(ours.dnssec_ok());
    }
}

#[test]
fn a_pointer_must_point_strictly_backward() {
    let loops: &[&[u8]] = &[&[0xc0, 0], &[1, b'a', 0xc0, 0], &[0xc0, 2, 0xc0, 0]];
    for octets in loops {
        assert_eq!(Name::read(octets, 0), Err(NameError::BadPointer), "{octets:?}");
    }
    let forward = [0xc0, 2, 1, b'a', 0];
    assert_eq!(Name::read(&forward, 0), Err(NameError::BadPointer));
    let backward = [1, b'a', 0, 1, b'b', 0xc0, 0];
    assert_eq!(Name::read(&backward, 3).map(|(n, next)| (n.to_string(), next)), Ok(("b.a.".into(), 7)));
}

#[test]
fn escapes_are_decimal_and_letter_case_is_kept() {
    let name: Name = r"We\046ird\032\.x.example".parse().expect("a name");
    assert_eq!(name.labels().next(), Some(&b"We.ird .x"[..]));
    assert_eq!(name.to_string(), r"We\.ird\032\.x.example.");
    assert!(name.eq_ignore_case(&name.to_lower()) && name != name.to_lower());
    for wrong in ["a..b", "", r"a\25", r"a\256", &"a".repeat(64), &"abcdefg.".repeat(32)] {
        assert!(wrong.parse::<Name>().is_err(), "{wrong:?}");
    }
    assert!(
        "www.Example.com"
            .parse::<Name>()
            .expect("a name")
            .ends_with(&"eXample.com.".parse().expect("a name"))
    );
    assert!(
        !"wwwexample.com"
            .parse::<Name>()
            .expect("a name")
            .ends_with(&"example.com.".parse().expect("a name"))
    );
}

#[test]
fn a_ttl_with_the_top_bit_counts_as_zero() {
    let mut octets = answer(&"a.example".parse().expect("a name"), &[[192, 0, 2, 1]], 300);
    let at = Message::read(&octets).expect("our own").records().next().expect("a record").ttl_at;
    octets[at] = 0x80;
    assert_eq!(Message::read(&octets).expect("readable").records().next().map(|r| r.ttl), Some(0));
}

#[test]
fn parts_that_do_not_fit_are_not_written() {
    let name: Name = "a.example".parse().expect("a name");
    let mut out = [0; 50];
    let mut composer = Composer::new(&mut out, 50).expect("a header fits");
    composer.set_header(7, flags::QR);
    assert!(composer.question(&name, Rtype::A, Class::IN));
    assert!(composer.reserve(11));
    assert!(!composer.record(Section::Answer, Owner::At(12), Rtype::A, 1, &[192, 0, 2, 1]));
    composer.truncate_to_question();
    assert!(composer.opt(1232, 0, false, &[]));
    let len = composer.finish();
    let message = Message::read(&out[..len]).expect("readable");
    assert!(message.header().tc() && message.edns().is_some() && message.header().ancount == 0);
}
