//! Mixed letter case (0x20) is undone wherever a server repeats a label of the question, and
//! nothing else changes.

use hither_wire::codes::{Class, Rtype};
use hither_wire::compose::{Composer, Owner, flags};
use hither_wire::message::{Message, Question, Section};
use hither_wire::name::Name;
use hither_wire::spell;
use proptest::prelude::*;

const SENT: &str = "aBcD.sUb.exAMPle.";

fn wire(text: &str) -> Vec<u8> {
    text.parse::<Name>().expect("a name").as_wire().to_vec()
}

/// A response to [`SENT`] with these records in the answer section.
fn reply(records: &[(&str, Rtype, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![0; 65_535];
    let mut composer = Composer::new(&mut out, 65_535).expect("room for a header");
    composer.set_header(7, flags::QR);
    assert!(composer.question(&SENT.parse().expect("a name"), Rtype::A, Class::IN));
    for (owner, rtype, rdata) in records {
        assert!(composer.record(Section::Answer, Owner::Wire(&wire(owner)), *rtype, 300, rdata));
    }
    let len = composer.finish();
    out.truncate(len);
    out
}

fn restored(octets: &[u8]) -> Vec<u8> {
    let message = Message::read(octets).expect("a reply");
    let mut out = octets.to_vec();
    let meant = SENT.to_ascii_lowercase();
    spell::restore_letter_case(&message, &mut out, &wire(SENT), &wire(&meant));
    assert!(out.eq_ignore_ascii_case(octets), "only letter case differs");
    out
}

/// RDATA of a type that contains names.
fn rdata_with(rtype: Rtype, name: &str) -> Vec<u8> {
    let name = wire(name);
    match rtype.0 {
        6 => [&name[..], &name, &[0; 20]].concat(),
        14 | 17 => [&name[..], &name].concat(),
        15 | 18 | 21 | 36 | 64 | 65 | 107 => [&[0, 1][..], &name].concat(),
        24 | 46 => [&[0; 18][..], &name, b"AbCd"].concat(),
        26 => [&[0, 1][..], &name, &name].concat(),
        33 => [&[0; 6][..], &name].concat(),
        35 => [b"\0\x01\0\x01\x01S\x03SIP\x04aBcD", &name[..]].concat(),
        47 => [&name[..], b"\0\x01\x40"].concat(),
        66 => [&[0; 5][..], &name].concat(),
        _ => name,
    }
}

#[test]
fn names_in_rdata_of_every_type_are_restored() {
    let kinds = [
        ("under another suffix", "aBcD.tgt.Example.", "abcd.tgt.Example."),
        ("the whole name", "aBcD.sUb.exAMPle.eDge.", "abcd.sub.example.eDge."),
        ("in the middle", "x.aBcD.sUb.cdn.", "x.abcd.sub.cdn."),
        ("its end", "www.sUb.exAMPle.", "www.sub.example."),
        ("another letter case than was sent", "ABCD.SUB.www.EXAMPLE.", "ABCD.SUB.www.EXAMPLE."),
        ("part of a label", "aBcDe.x-aBcD.", "aBcDe.x-aBcD."),
        ("the root", ".", "."),
    ];
    let types =
        [2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 21, 24, 26, 30, 33, 35, 36, 39, 46, 47, 64, 65, 66, 107];
    for (kind, written, meant) in kinds {
        for rtype in types.map(Rtype) {
            let got = restored(&reply(&[(written, rtype, rdata_with(rtype, written))]));
            let message = Message::read(&got).expect("a reply");
            let record = message.records().next().expect("a record");
            assert_eq!(message.question().expect("a question").name.to_string(), SENT.to_ascii_lowercase());
            assert_eq!(record.owner().to_string(), meant, "{kind}, {rtype}: owner");
            assert_eq!(record.rdata, rdata_with(rtype, meant), "{kind}, {rtype}");
        }
    }
}

#[test]
fn text_that_is_not_a_name_keeps_its_letter_case() {
    for rtype in [Rtype::TXT, Rtype::NSEC3, Rtype(65_300)] {
        let got = restored(&reply(&[("x.", rtype, wire(SENT))]));
        let message = Message::read(&got).expect("a reply");
        assert_eq!(message.records().next().expect("a record").rdata, wire(SENT), "{rtype}");
    }
    // RDATA that does not have the form of its type.
    let got = restored(&reply(&[("x.", Rtype::RP, wire(SENT))]));
    assert_eq!(Message::read(&got).expect("a reply").records().next().expect("a record").rdata, wire(SENT));
}

#[test]
fn letter_case_that_a_signature_covers_is_kept() {
    for rtype in [Rtype::NSEC, Rtype::SVCB, Rtype::HTTPS] {
        let signature = |covered: Rtype| {
            let mut rdata = rdata_with(Rtype::RRSIG, "sUb.exAMPle.");
            rdata[..2].copy_from_slice(&covered.0.to_be_bytes());
            (SENT, Rtype::RRSIG, rdata)
        };
        for (covered, kept) in [(rtype, SENT), (Rtype::SOA, "abcd.sub.example.")] {
            let got = restored(&reply(&[(SENT, rtype, rdata_with(rtype, SENT)), signature(covered)]));
            let message = Message::read(&got).expect("a reply");
            let record = message.records().next().expect("a record");
            assert_eq!(record.owner().to_string(), "abcd.sub.example.", "an owner is signed in lower case");
            assert_eq!(record.rdata, rdata_with(rtype, kept), "{rtype}, {covered} signed");
        }
    }
}

#[test]
fn a_name_that_a_pointer_leads_to_is_restored_in_place() {
    // The second owner name points to a label in the first record's RDATA; the third into octets
    // that are not a name there.
    let target = wire("x.aBcD.tgt.");
    let mut octets = reply(&[("x.", Rtype::CNAME, target), ("p.", Rtype::TXT, wire("sUb.tXt."))]);
    let find = |octets: &[u8], label: &[u8]| {
        octets
            .windows(label.len())
            .rposition(|w| w == label)
            .and_then(|at| u16::try_from(at).ok())
            .expect("a place")
    };
    for label in [&b"\x04aBcD"[..], b"\x03sUb"] {
        let at = 0xc000 | find(&octets, label);
        octets.extend([&at.to_be_bytes()[..], &[0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 198, 18, 0, 1]].concat());
        octets[7] += 1;
    }
    let got = restored(&octets);
    let owners =
        Message::read(&got).expect("a reply").records().map(|r| r.owner().to_string()).collect::<Vec<_>>();
    assert_eq!(owners, ["x.", "p.", "abcd.tgt.", "sub.tXt."]);
}

/// Thousands of records point to one name of many short labels. The work grows with the number of
/// labels plus records, not with the product.
#[test]
fn thousands_of_pointers_to_names_of_many_labels_take_little_work() {
    let sent = [&b"\x01A".repeat(20)[..], &[0]].concat();
    let name = Name::from_wire(&sent).expect("a name");
    let mut octets = vec![0; 65_535];
    let mut composer = Composer::new(&mut octets, 65_535).expect("room for a header");
    composer.set_header(7, flags::QR);
    assert!(composer.question(&name, Rtype::NS, Class::IN));
    let mut count = 0;
    while composer.record(Section::Answer, Owner::At(14), Rtype::NS, 300, b"\xc0\x0e") {
        count += 1;
    }
    assert!(count > 4000);
    let len = composer.finish();
    let message = Message::read(&octets[..len]).expect("a reply");
    let mut out = octets[..len].to_vec();
    let start = std::time::Instant::now();
    spell::restore_letter_case(&message, &mut out, &sent, &sent.to_ascii_lowercase());
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    assert!(
        Message::read(&out).expect("a reply").records().all(|r| r.owner().to_string().starts_with("a.a.a."))
    );
}

#[test]
fn a_response_without_a_question_gets_one_and_uncompressed_names() {
    let with = reply(&[
        ("aBcD.x.", Rtype::NAPTR, rdata_with(Rtype::NAPTR, "y.")),
        ("y.", Rtype::HTTPS, [&[0, 1, 0][..], &[0, 1, 0x03, 0xe8], &[b'x'; 1000]].concat()),
        ("z.", Rtype::RRSIG, [&rdata_with(Rtype::RRSIG, "s.")[..], &[7; 4000]].concat()),
    ]);
    let question = Question { name: SENT.parse().expect("a name"), rtype: Rtype::A, class: Class::IN };
    let mut without_question = [&with[..12], &with[12 + question.name.as_wire().len() + 4..]].concat();
    without_question[5] = 0;
    let mut room = vec![0; 65_535];
    let without_question = Message::read(&without_question).expect("a reply");
    let len = spell::add_question(&without_question, &question, &mut room).expect("room");
    let (was, is) = (Message::read(&with).expect("a reply"), Message::read(&room[..len]).expect("a reply"));
    assert_eq!(is.question(), Some(question));
    assert_eq!((is.header().id, is.header().flags), (was.header().id, was.header().flags));
    let all = |message: Message<'_>| {
        message.records().map(|r| (r.owner(), r.rtype, r.ttl, r.rdata.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(all(is), all(was));
}

proptest! {
    /// Labels of the question get the client's letter case, and every other label stays as it is.
    #[test]
    fn only_labels_of_the_question_change_letter_case(
        labels in prop::collection::vec(prop_oneof!["aBcD", "abcd", "ABCD", "sUb", "SUB", "exAMPle", "other", "OTHER"], 1..6),
    ) {
        let written = labels.iter().map(|l| format!("{l}.")).collect::<String>();
        let own = |l: &String| ["aBcD", "sUb", "exAMPle"].contains(&l.as_str());
        let meant = labels.iter().map(|l| if own(l) { format!("{}.", l.to_lowercase()) } else { format!("{l}.") });
        let got = restored(&reply(&[(SENT, Rtype::CNAME, wire(&written))]));
        let message = Message::read(&got).expect("a reply");
        prop_assert_eq!(message.records().next().expect("a record").rdata.to_vec(), wire(&meant.collect::<String>()));
    }
}
