//! The largest messages that there are, made to be work: none of them holds the event loop up,
//! whatever it is full of.
#![cfg(debug_assertions)] // Steps are counted where the code is checked; where its speed matters nothing counts them.
#![allow(clippy::print_stdout)] // What each took.

#[path = "large/messages.rs"]
mod messages;
#[path = "large/world.rs"]
mod world;

use hither_rounds::Answer;
use hither_wire::work::steps;
use messages::{KINDS, asked, message};
use world::World;

/// Labels and pointers that are followed for one message: in few passes, of what it may have, three
/// to an octet.
const STEPS_MAX: u64 = 6 * 3 * 65_536;

#[test]
fn no_message_of_64_kib_is_work_without_end() {
    for kind in KINDS {
        let mut world = World::new();
        world.ask(kind, 0);
        let before = steps();
        let (answer, len) = world.ask(kind, 1);
        // Whether aliases lead somewhere, or what cannot be read can be read without EDNS, is asked
        // by one more message each.
        let took = (steps() - before) / world.messages();
        println!("{}: {took} steps for each of {} messages", kind.0, world.messages());
        assert!(took < STEPS_MAX, "{}: {took}", kind.0);
        assert!(len > 12, "{}: no reply", kind.0);
        let failed = matches!(answer, Answer::Failure { .. });
        // Aliases that lead nowhere, and names by more labels and pointers than a message may have.
        let expected = ["aliases", "signed-aliases", "moved", "deep-name", "broken-data", "rp", "https"]
            .contains(&kind.0);
        assert_eq!(failed, expected, "{}: whether there is an answer", kind.0);
    }
    for (kind, rtype, dnssec_ok) in KINDS {
        use hither_wire::compose::{Asked, QueryBits, query};
        let name = asked(kind, 0).parse().expect("a name");
        let bits = QueryBits { rd: true, cd: false, edns: Some((1232, dnssec_ok)) };
        let mut octets = [0; 300];
        let len = query(&mut octets, 7, &Asked { name: &name, rtype }, bits);
        assert!(message(kind, &octets[..len]).len() > 65_535 - 64, "{kind} is no message of 64 KiB");
    }
}
