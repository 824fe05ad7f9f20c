//! TTLs of responses that HTTP caches kept.

use hither_wire::codes::{Class, Rtype};
use hither_wire::compose::{Composer, Owner, flags};
use hither_wire::message::{Message, Section};
use hither_wire::name::Name;
use hither_wire::ttl;
use proptest::prelude::*;

/// A response with an A record in each section, and OPT with flags where other records have their TTL.
fn response(ttls: [u32; 3]) -> Vec<u8> {
    let mut out = vec![0; 512];
    let mut composer = Composer::new(&mut out, 512).expect("room for a header");
    composer.set_header(0, flags::QR);
    let name: Name = "www.example".parse().expect("a name");
    assert!(composer.question(&name, Rtype::A, Class::IN));
    for (section, ttl_s) in [Section::Answer, Section::Authority, Section::Additional].into_iter().zip(ttls) {
        assert!(composer.record(section, Owner::At(12), Rtype::A, ttl_s, &[192, 0, 2, 1]));
    }
    assert!(composer.opt(1232, 0, true, &[0, 12, 0, 2, 0, 0]));
    let len = composer.finish();
    out.truncate(len);
    out
}

fn ttls(octets: &[u8]) -> Vec<u32> {
    let message = Message::read(octets).expect("a message");
    message.records().filter(|record| record.rtype != Rtype::OPT).map(|record| record.ttl).collect()
}

fn aged(start: [u32; 3], age_s: u32, lifetime_s: Option<u32>) -> Vec<u32> {
    let mut octets = response(start);
    ttl::age(&mut octets, age_s, lifetime_s);
    assert!(Message::read(&octets).expect("a message").edns().expect("OPT stays").dnssec_ok);
    ttls(&octets)
}

#[test]
fn each_ttl_is_lowered_by_the_age_and_to_what_is_left_of_the_lifetime() {
    assert_eq!(aged([300, 60, 5], 10, None), [290, 50, 0]);
    assert_eq!(aged([300, 60, 5], 0, Some(30)), [30, 30, 5]);
    assert_eq!(aged([300, 60, 5], 10, Some(30)), [20, 20, 0]);
    assert_eq!(aged([300, 60, 5], 40, Some(30)), [0, 0, 0], "stale already");
    assert_eq!(aged([300, 60, 5], 0, None), [300, 60, 5]);
    assert_eq!(aged([u32::MAX, 60, 5], 1, Some(u32::MAX)), [0, 59, 4], "the top bit counts as 0");
}

#[test]
fn a_message_that_is_cut_keeps_what_cannot_be_read() {
    let mut octets = response([300, 60, 5]);
    octets.truncate(octets.len() - 20);
    let before = octets.clone();
    ttl::age(&mut octets, 10, None);
    assert_eq!(
        Message::open(&octets).expect("a question").records().map(|r| r.ttl).collect::<Vec<_>>(),
        [290, 50]
    );
    assert_eq!(octets[octets.len() - 4..], before[before.len() - 4..]);
}

proptest! {
    /// Names may point into the TTL of an earlier record; then they are others afterwards, but no record
    /// appears, vanishes or moves.
    #[test]
    fn any_octets_are_aged_in_place(
        octets in prop::collection::vec(any::<u8>(), 0..300), age_s in any::<u32>(), lifetime_s in any::<Option<u32>>(),
        head in any::<bool>(),
    ) {
        let mut octets = octets;
        if head && octets.len() > 12 {
            octets[4..12].copy_from_slice(&[0, 0, 0, 3, 0, 2, 0, 1]);
        }
        let before = octets.clone();
        ttl::age(&mut octets, age_s, lifetime_s);
        prop_assert_eq!(octets.len(), before.len());
        if let Ok(message) = Message::open(&before) {
            for record in message.records() {
                let field = &octets[record.ttl_at..record.ttl_at + 4];
                let now = u32::from_be_bytes(field.try_into().expect("four octets"));
                prop_assert!(record.rtype == Rtype::OPT || now <= record.ttl.saturating_sub(age_s));
            }
        } else {
            prop_assert_eq!(octets, before);
        }
    }
}
