//! Malformed and odd queries, each with the reply that the standards ask for (RFC 1035, 6891, 7873,
//! 8906, 9619).

use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use hither_wire::message::Message;
use hither_wire::name::Name;
use hither_wire::query::{Query, Refusal, refuse};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Expect {
    Answered,
    Silent,
    Rcode(u16),
}

fn query_for_a(edns: bool) -> Vec<u8> {
    query_for(&"www.example.com".parse().expect("a name"), Rtype::A, edns)
}

fn query_for(name: &Name, rtype: Rtype, edns: bool) -> Vec<u8> {
    let mut out = [0; 300];
    let bits = QueryBits { rd: true, cd: false, edns: edns.then_some((1232, false)) };
    let len = query(&mut out, 0xabcd, &Asked { name, rtype }, bits);
    out[..len].to_vec()
}

fn with(mut octets: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    octets[at] = value;
    octets
}

fn with_options(options: &[u8]) -> Vec<u8> {
    let mut octets = query_for_a(true);
    let at = octets.len() - 2;
    octets[at..].copy_from_slice(&u16::try_from(options.len()).expect("short").to_be_bytes());
    octets.extend_from_slice(options);
    octets
}

fn cookie(length: usize) -> Vec<u8> {
    let mut option = vec![0, 10];
    option.extend(u16::try_from(length).expect("short").to_be_bytes());
    option.extend(vec![0x5a; length]);
    with_options(&option)
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[allow(clippy::too_many_lines)] // A table.
fn cases() -> Vec<(String, Vec<u8>, Expect)> {
    use Expect::{Answered, Rcode, Silent};
    let formerr = Rcode(1);
    let mut cases: Vec<(String, Vec<u8>, Expect)> = Vec::new();
    let mut case = |name: &str, octets: Vec<u8>, expect| cases.push((name.to_owned(), octets, expect));
    for len in 0..12 {
        case(&format!("cut to {len}"), query_for_a(false)[..len].to_vec(), Silent);
    }
    case("a response", with(query_for_a(false), 2, 0x81), Silent);
    case("all ones", vec![0xff; 512], Silent);
    for len in [12, 13, 16, 20, 28, 30, 32] {
        case(&format!("question cut at {len}"), query_for_a(false)[..len].to_vec(), formerr);
    }
    for opcode in 1..16u8 {
        case(&format!("opcode {opcode}"), with(query_for_a(false), 2, opcode << 3), Rcode(4));
    }
    for (count, octet) in [(0, 0), (2, 2), (255, 255)] {
        case(&format!("QDCOUNT {count}"), with(query_for_a(false), 5, octet), formerr);
    }
    case("an answer record missing", with(query_for_a(false), 7, 1), formerr);
    case("an authority record missing", with(query_for_a(false), 9, 1), formerr);
    case("an additional record missing", with(query_for_a(false), 11, 1), formerr);
    case("the second of two OPT missing", with(query_for_a(true), 11, 2), formerr);
    let opt = query_for_a(true)[33..].to_vec();
    case("two OPT", with(joined(&[&query_for_a(true), &opt]), 11, 2), formerr);
    let owned_opt = joined(&[&query_for_a(false), &[1, b'a'], &opt]);
    case("OPT owned by a name", with(owned_opt, 11, 1), formerr);
    case("OPT cut", query_for_a(true)[..40].to_vec(), formerr);
    case("RDLENGTH of OPT too long", with(query_for_a(true), 43, 9), formerr);
    case("an option that runs over", with_options(&[0, 9, 0, 8, 1]), formerr);
    case("an option header cut", with_options(&[0, 9, 0]), formerr);
    for length in (1..8).chain(9..16).chain([41, 42, 64]) {
        case(&format!("cookie of {length}"), cookie(length), formerr);
    }
    for length in [8, 16, 24, 40] {
        case(&format!("cookie of {length}"), cookie(length), Answered);
    }
    case("unknown option", with_options(&[0xff, 0xfe, 0, 3, 1, 2, 3]), Answered);
    case("empty option", with_options(&[0, 3, 0, 0]), Answered);
    case("EDNS version 1", with(query_for_a(true), 39, 1), Rcode(16));
    case("EDNS version 255", with(query_for_a(true), 39, 255), Rcode(16));
    case("unknown EDNS flags", with(query_for_a(true), 41, 0x7f), Answered);
    for size in [0, 1, 255] {
        case(&format!("EDNS size {}", u32::from(size) << 8), with(query_for_a(true), 36, size), Answered);
    }
    for class in [0, 3, 4, 254, 255] {
        let at = query_for_a(false).len() - 1;
        case(&format!("class {class}"), with(query_for_a(false), at, class), Rcode(5));
    }
    let name: Name = "example.com".parse().expect("a name");
    for rtype in
        [Rtype::AXFR, Rtype::IXFR, Rtype::TKEY, Rtype::TSIG, Rtype::OPT, Rtype::MAILA, Rtype::MAILB, Rtype(0)]
    {
        case(&format!("type {rtype}"), query_for(&name, rtype, false), Rcode(5));
    }
    for rtype in [Rtype::HTTPS, Rtype::ANY, Rtype(65280), Rtype(65535), Rtype::RRSIG] {
        case(&format!("type {rtype}"), query_for(&name, rtype, true), Answered);
    }
    case("pointer in QNAME", with(query_for_a(false), 12, 0xc0), formerr);
    case("label type 01", with(query_for_a(false), 12, 0x41), formerr);
    case("label type 10", with(query_for_a(false), 12, 0x81), formerr);
    case("a label longer than the message", with(query_for_a(false), 12, 63), formerr);
    let long: Vec<u8> = [&[63][..], &[b'a'; 63]].concat().repeat(4);
    case("a name of 257 octets", joined(&[&query_for_a(false)[..12], &long, &[0, 0, 1, 0, 1]]), formerr);
    let longest = joined(&[&long[..192], &[61], &[b'z'; 61], &[0]]);
    case(
        "a name of 255 octets",
        query_for(&Name::from_wire(&longest).expect("255"), Rtype::A, true),
        Answered,
    );
    for wire in [&b"\x03a\0b\0"[..], b"\x03a.b\0", b"\x02\xff\xfe\0", b"\x04a\nb%\0", b"\0"] {
        case(
            &format!("odd name {wire:?}"),
            query_for(&Name::from_wire(wire).expect("a name"), Rtype::A, true),
            Answered,
        );
    }
    case(
        "127 labels",
        query_for(
            &Name::from_wire(&[&b"\x01x".repeat(127)[..], b"\0"].concat()).expect("a name"),
            Rtype::A,
            false,
        ),
        Answered,
    );
    case("Z, AD and CD", with(query_for_a(false), 3, 0x70), Answered);
    case("TC in a query", with(query_for_a(false), 2, 0x03), Answered);
    case("octets after the question", joined(&[&query_for_a(false), &[1, 2, 3]]), Answered);
    let tsig = joined(&[&query_for_a(false), &[0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 2, 9, 9]]);
    case("TSIG with an unknown key", with(tsig, 11, 1), Answered);
    cases
}

#[test]
fn every_odd_query_gets_the_reply_that_the_standards_ask_for() {
    let cases = cases();
    assert!(cases.len() >= 100, "{}", cases.len());
    for (name, octets, expect) in cases {
        let got = match Query::read(&octets) {
            Ok(_) => Expect::Answered,
            Err(Refusal::Silent) => Expect::Silent,
            Err(Refusal::Reply { rcode, malformed }) => {
                assert_eq!(malformed, rcode == 1, "{name}");
                Expect::Rcode(rcode)
            }
        };
        assert_eq!(got, expect, "{name}");
    }
}

#[test]
fn a_refusal_is_a_readable_reply_that_never_amplifies() {
    for (name, octets, expect) in cases() {
        let Expect::Rcode(rcode) = expect else { continue };
        let mut out = [0; 512];
        let len = refuse(&octets, rcode, &mut out);
        assert!(len >= 12 && len <= octets.len(), "{name}: {len} of {}", octets.len());
        let reply = Message::read(&out[..len]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(reply.header().id, u16::from_be_bytes([octets[0], octets[1]]), "{name}");
        assert!(reply.header().qr() && u16::from(reply.header().rcode().0) == rcode & 15, "{name}");
        assert_eq!(reply.header().opcode().0, octets[2] >> 3 & 15, "{name}");
        let extended = reply.edns().map(|edns| u16::from(edns.extended_rcode));
        assert!(rcode < 16 || extended == Some(1), "{name}: BADVERS needs OPT");
        assert_eq!(
            reply.edns().is_some(),
            extended.is_some() && octets.len() > 40,
            "{name}: OPT only if asked"
        );
    }
}

#[test]
fn the_question_is_repeated_as_it_was_sent() {
    let name: Name = "WwW.ExAmPlE.CoM".parse().expect("a name");
    let octets = query_for(&name, Rtype::AAAA, true);
    let query = Query::read(&octets).expect("a query");
    assert_eq!(query.question(), &octets[12..octets.len() - 11]);
    assert_eq!(query.name_lower().to_string(), "www.example.com.");
    assert_eq!((query.udp_limit(), query.qtype()), (1232, Rtype::AAAA));
    assert_eq!(Query::read(&query_for(&name, Rtype::A, false)).expect("a query").udp_limit(), 512);
}
