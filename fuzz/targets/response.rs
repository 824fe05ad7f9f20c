//! Any octets as an upstream's answer: the core goes on, keeps its invariants, and every reply to its client can be read.
//!
//! The first octet chooses the question; the id, and unless its top bit is set the question, are made right, so that what lies behind is reached.
#![no_main]

use hither_rounds::{Action, ClientId, Input, Question, Rounds, Routes, Settings, reply};
use hither_table::{Geometry, Memory, Monotonic, Writer};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use hither_wire::message::Message;
use hither_wire::query::Query;
use libfuzzer_sys::fuzz_target;
use std::net::SocketAddr;

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
    let name = "www.example.com".parse().expect("a name");
    let rtype = TYPES[usize::from(choice % 8)];
    let dnssec_ok = choice & 8 != 0;
    let mut asked = [0; 300];
    let bits = QueryBits { rd: true, cd: false, edns: Some((1232, dnssec_ok)) };
    let len = query(&mut asked, 9, &Asked { name: &name, rtype }, bits);
    let asked = asked[..len].to_vec();
    let question = Question { name, rtype, dnssec_ok, checking_disabled: false };
    let now = Monotonic::from_ms(1_000_000);
    core.handle(now, Input::Ask { client: ClientId(1), question: &question, recursion: true });
    let mut replies = 0;
    for round in 0..64u64 {
        core.check_invariants();
        let Some(action) = core.poll_action() else {
            if round > 32 || core.poll_timeout().is_none() {
                break;
            }
            let at = core.poll_timeout().expect("just looked");
            core.handle_timeout(at);
            continue;
        };
        match action {
            Action::Send { attempt, octets: sent, .. } => {
                let mut message = octets.to_vec();
                if message.len() >= 12 && choice & 128 == 0 {
                    // That of the name that a chain leads to is longer or shorter.
                    let end = message.len().min(12 + name.as_wire().len() + 4);
                    let asked = Query::read(&sent).expect("the core's own query");
                    message[2] |= 0x80;
                    message[4..6].copy_from_slice(&[0, 1]);
                    message.splice(12..end, asked.question().iter().copied());
                }
                if message.len() >= 2 {
                    message[..2].copy_from_slice(&sent[..2]);
                }
                core.handle(now, Input::Message { attempt, octets: &message });
            }
            Action::Reply { answer, .. } => {
                replies += 1;
                let read = Query::read(&asked).expect("an own query");
                let mut out = vec![0; 65_535];
                let len = reply::compose(now, &read, &answer, 1232, &mut out);
                assert!(len <= 1232 && Message::read(&out[..len]).is_ok(), "a reply that nobody can read");
            }
            _ => {}
        }
    }
    assert!(replies <= 1, "two replies");
});
