//! Hands any octets to the core as an upstream's response. The core keeps its invariants, and the client
//! gets at most one reply, which can be read.
//!
//! The first octet chooses the question. The id is set to that of the query, and so is the question unless
//! the top bit of the first octet is set. So the fuzzer also reaches the code behind these checks.
#![no_main]

use hither_rounds::{Action, ClientId, Input, Question, Rounds, Routes, Settings, reply};
use hither_table::{Geometry, Memory, Monotonic, Writer};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use hither_wire::message::Message;
use hither_wire::name::Name;
use hither_wire::query::Query;
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::net::SocketAddr;

const NAME: &str = "www.example.com";
const TYPES: [Rtype; 8] =
    [Rtype::A, Rtype::AAAA, Rtype::CNAME, Rtype::TXT, Rtype::ANY, Rtype::HTTPS, Rtype::SOA, Rtype(65_280)];

fuzz_target!(|input: &[u8]| {
    let Some((choice, octets)) = input.split_first() else { return };
    let geometry = Geometry { entries: 16 };
    let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table");
    let routes = Routes::from(&[SocketAddr::from(([192, 0, 2, 1], 53))][..]);
    let mut seed = 7u64;
    let random = Box::new(move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed
    });
    let mut core = Rounds::new(Settings::default(), routes, writer, random);
    let name: Name = NAME.parse().expect("a name");
    let rtype = TYPES[usize::from(choice % 8)];
    let dnssec_ok = choice & 8 != 0;
    let mut asked = [0; 300];
    let bits = QueryBits { rd: true, cd: false, edns: Some((1232, dnssec_ok)) };
    let len = query(&mut asked, 9, &Asked { name: &name, rtype }, bits);
    let asked = asked[..len].to_vec();
    let question = Question { name, rtype, dnssec_ok, checking_disabled: false };
    let now = Monotonic::from_ms(1_000_000);
    core.handle(now, Input::Ask { client: ClientId(1), question: &question, recursion: true });
    let (mut replies, mut queries) = (0, VecDeque::new());
    for round in 0..64u64 {
        core.check_invariants();
        while let Some(action) = core.poll_action() {
            match action {
                Action::Send { attempt, octets: sent, .. } => queries.push_back((attempt, sent)),
                Action::Reply { answer, .. } => {
                    replies += 1;
                    let read = Query::read(&asked).expect("an own query");
                    let mut out = vec![0; 65_535];
                    let len = reply::compose(now, &read, &answer, 1232, &mut out);
                    assert!(len <= 1232 && Message::read(&out[..len]).is_ok(), "a reply that cannot be read");
                }
                _ => {}
            }
        }
        match (queries.pop_front(), core.poll_timeout()) {
            (Some((attempt, sent)), _) => {
                let message = response(octets, &sent, choice & 128 == 0);
                core.handle(now, Input::Message { attempt, octets: &message });
            }
            (None, Some(at)) if round <= 32 => core.handle_timeout(at),
            (None, _) => break,
        }
    }
    assert!(replies <= 1, "two replies");
});

/// The input as a response to a query: with its id, and if `asked` with its question.
fn response(octets: &[u8], query: &[u8], asked: bool) -> Vec<u8> {
    let mut message = octets.to_vec();
    if message.len() >= 12 && asked {
        // The input has the question of the round's name; that of an alias is longer or shorter.
        let name: Name = NAME.parse().expect("a name");
        let end = message.len().min(12 + name.as_wire().len() + 4);
        let query = Query::read(query).expect("the core's own query");
        message[2] |= 0x80;
        message[4..6].copy_from_slice(&[0, 1]);
        message.splice(12..end, query.question().iter().copied());
    }
    if message.len() >= 2 {
        message[..2].copy_from_slice(&query[..2]);
    }
    message
}
