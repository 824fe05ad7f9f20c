//! Messages of 64 KiB that are expensive to process: the work for each is bounded, so none holds up
//! the event loop.
#![cfg(debug_assertions)] // Steps are counted only with debug assertions.
#![allow(clippy::print_stdout)] // The counts are printed.

#[path = "large/messages.rs"]
mod messages;
#[path = "large/world.rs"]
mod world;

use hither_rounds::Answer;
use hither_wire::work::steps;
use messages::{KINDS, asked, message};
use world::World;

/// Bound of the labels and pointers that are followed for one message: about three per octet, since
/// a message is read in few passes.
const STEPS_MAX: u64 = 6 * 3 * 65_536;

#[test]
fn the_work_for_a_message_of_64_kib_is_bounded() {
    for kind in KINDS {
        let mut world = World::new();
        world.ask(kind, 0);
        let before = steps();
        let (answer, len) = world.ask(kind, 1);
        // One more query follows a CNAME, and one more asks without EDNS after an unreadable response.
        let took = (steps() - before) / world.messages();
        println!("{}: {took} steps for each of {} messages", kind.0, world.messages());
        assert!(took < STEPS_MAX, "{}: {took}", kind.0);
        assert!(len > 12, "{}: no reply", kind.0);
        let failed = matches!(answer, Answer::Empty { .. });
        // Dangling CNAMEs, and names with more labels and pointers than a message may have.
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
