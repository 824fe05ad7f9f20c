//! Answers for tests, made from messages.

use hither_answers::Stored;
use hither_table::Monotonic;
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, Composer, Owner, QueryBits, flags, query};
use hither_wire::message::{Message, Section};
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::sync::Arc;

pub const NOW: Monotonic = Monotonic(0);

pub fn name(n: u32) -> Name {
    format!("n{n}.example").parse().expect("a name")
}

/// The answer about the n-th name: a text of `octets` + 1 octets, each of them `octets`.
pub fn stored(n: u32, octets: u8, ttl_s: u32) -> Arc<Stored> {
    let mut asked = [0; 300];
    let bits = QueryBits { rd: true, cd: false, edns: None };
    let len = query(&mut asked, 1, &Asked { name: &name(n), rtype: Rtype::TXT }, bits);
    let read = Query::read(&asked[..len]).expect("a query");
    let mut out = [0; 1000];
    let mut composer = Composer::new(&mut out, 1000).expect("room");
    composer.set_header(1, flags::QR);
    composer.question_octets(read.question());
    let text = vec![octets; usize::from(octets) + 1];
    composer.record(Section::Answer, Owner::At(12), Rtype::TXT, ttl_s, &text);
    let len = composer.finish();
    let message = Message::read(&out[..len]).expect("a message");
    Arc::new(Stored::new(&message, NOW, ttl_s, Section::Authority, |record| record.ttl).expect("an answer"))
}
