//! DNS over QUIC against a server of quinn-proto in memory.

use crate::quic::{Pair, client, config, upstream};
use crate::support::{Authority, Leaf, framed, message, policy, shared};
use hither_secure::{Error, Event, Fault, Phase, Policy, Reason, Refused, Scheme, Shared, Verify};
use hither_table::Monotonic;
use quinn_proto::{ServerConfig, VarInt};
use std::sync::Arc;
use std::time::Duration;

/// More than the time for which QUIC delays an acknowledgement (RFC 9000, section 18.2: 25 ms).
const ACKNOWLEDGEMENT: Duration = Duration::from_millis(30);

/// An authority, its upstream, and a server that it issued a certificate for.
fn world(streams_max: u32) -> (Shared, Arc<ServerConfig>) {
    let authority = Authority::new();
    let shared = shared(policy(Scheme::Doq), &authority.trust());
    (shared, config(&authority.issue(&Leaf::default()), b"doq", streams_max))
}

#[test]
fn queries_have_streams_of_their_own_and_the_id_0() {
    let (shared, config) = world(100);
    let mut pair = Pair::new(&shared, &config);
    assert_eq!(pair.session.query(1, &message(7, 12)), Err(Refused::NotReady));
    let ready = pair.run().ready().expect("ready").clone();
    assert_eq!((ready.version, ready.has_alpn, ready.is_resumed), ("1.3", true, false));
    assert!(ready.expires_s.is_some() && ready.problem.is_none());
    for channel in [70, 71, 72] {
        pair.session.query(channel, &message(0x1234, 40)).expect("taken");
    }
    pair.run();
    assert_eq!(pair.queries.len(), 3);
    assert!(pair.queries.values().all(|query| *query == framed(&message(0, 40))), "{:?}", pair.queries);
    pair.events.clear();
    for nth in [2, 0] {
        let id = pair.stream(nth);
        pair.respond(id, &framed(&message(0, 30 + nth)));
    }
    pair.run();
    let mut found: Vec<_> = pair
        .events
        .iter()
        .map(|event| match event {
            Event::Response { channel, octets, .. } => (*channel, octets.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(70, 30), (72, 32)]);
}

#[test]
fn a_later_connection_is_resumed_until_tickets_are_void() {
    let (mut shared, config) = world(100);
    let resumed = |shared: &Shared| Pair::new(shared, &config).run().ready().expect("ready").is_resumed;
    assert_eq!([resumed(&shared), resumed(&shared)], [false, true]);
    shared.void_tickets();
    assert!(!resumed(&shared));
}

#[test]
fn a_refused_certificate_is_reported_as_over_tls() {
    let authority = Authority::new();
    let expired = config(&authority.issue(&Leaf { years: (2020, 2024), ..Leaf::default() }), b"doq", 10);
    let mut pair = Pair::new(&shared(policy(Scheme::Doq), &authority.trust()), &expired);
    let error = pair.run().error().cloned().expect("refused");
    assert!(matches!(error, Error::Certificate(Fault::Expired { .. })), "{error:?}");
    let identity = authority.issue(&Leaf::default());
    let pinned = Policy { pins: vec![[1; 32]], verify: Verify::Pin, ..policy(Scheme::Doq) };
    let mut pair = Pair::new(&shared(pinned, &authority.trust()), &config(&identity, b"doq", 10));
    assert_eq!(pair.run().error(), Some(&Error::Certificate(Fault::OtherKey(identity.pin))));
}

#[test]
fn a_server_of_another_protocol_is_refused() {
    let authority = Authority::new();
    let other = config(&authority.issue(&Leaf::default()), b"h3", 10);
    let mut pair = Pair::new(&shared(policy(Scheme::Doq), &authority.trust()), &other);
    let error = pair.run().error().cloned().expect("refused");
    assert_eq!(error, Error::Alert(120, Phase::Handshake), "no_application_protocol");
}

#[test]
fn a_silent_server_ends_in_bounded_time() {
    let (shared, config) = world(10);
    let mut pair = Pair::new(&shared, &config);
    pair.lost = usize::MAX;
    let mut datagram = Vec::new();
    let (mut sent, mut octets) = (0, 0);
    while pair.events.is_empty() {
        while pair.session.transmit(pair.now, &mut datagram).is_some() {
            sent += 1;
            octets += datagram.len();
        }
        pair.now = pair.session.poll_timeout().expect("a timer while it is alive");
        pair.session.handle_timeout(pair.now);
        pair.events.extend(std::iter::from_fn(|| pair.session.poll_event()));
        assert!(sent < 40, "{sent} datagrams, {octets} octets");
    }
    assert_eq!(pair.error(), Some(&Error::Silent(Phase::Handshake)));
    assert!(pair.now.since(Monotonic::from_ms(5_000)) < Duration::from_secs(60));
}

#[test]
fn queries_beyond_the_streams_of_the_server_wait_in_bounded_number() {
    let (shared, config) = world(2);
    let mut pair = Pair::new(&shared, &config);
    pair.run();
    let taken = (0..3000).take_while(|channel| pair.session.query(*channel, &message(0, 12)).is_ok()).count();
    assert_eq!(taken, 1024 + 2);
    pair.run();
    assert_eq!(pair.queries.len(), 2);
    pair.session.cancel(2);
    let id = pair.stream(0);
    pair.respond(id, &framed(&message(0, 12)));
    // A stream of the server ends when its last octets are acknowledged.
    pair.run().wait(ACKNOWLEDGEMENT);
    let responses =
        pair.events.iter().filter(|event| matches!(event, Event::Response { channel: 0, .. })).count();
    assert_eq!((responses, pair.queries.len()), (1, 3), "one stream has ended, so one more query is sent");
}

#[test]
fn responses_that_are_none_fail_their_query_alone() {
    let (shared, config) = world(100);
    let bad: [(Vec<u8>, Reason); 5] = [
        (vec![], Reason::Incomplete),
        (vec![0], Reason::Incomplete),
        (framed(&message(0, 40))[..20].to_vec(), Reason::Incomplete),
        (framed(&[0; 11]), Reason::Size),
        ([framed(&message(0, 12)), framed(&message(0, 12))].concat(), Reason::Incomplete),
    ];
    let mut pair = Pair::new(&shared, &config);
    pair.run();
    for (channel, (octets, reason)) in (0..).zip(bad) {
        pair.session.query(channel, &message(0, 12)).expect("taken");
        pair.run();
        pair.events.clear();
        let id = pair.stream(channel as usize);
        pair.respond(id, &octets);
        pair.run();
        assert_eq!(pair.events, [Event::Reset { channel, may_retry: true, reason }]);
    }
    pair.session.query(50, &message(0, 12)).expect("taken");
    pair.run();
    pair.events.clear();
    let id = pair.stream(5);
    pair.server().send_stream(id).reset(VarInt::from_u32(1)).expect("open");
    pair.run();
    assert_eq!(pair.events, [Event::Reset { channel: 50, may_retry: true, reason: Reason::Stream(1) }]);
}

#[test]
fn another_id_than_0_ends_the_connection() {
    let (shared, config) = world(100);
    let mut pair = Pair::new(&shared, &config);
    pair.run().session.query(3, &message(0, 12)).expect("taken");
    pair.run();
    let id = pair.stream(0);
    pair.respond(id, &framed(&message(1, 12)));
    pair.run();
    assert!(matches!(pair.error(), Some(Error::Quic(_, Phase::Ready))), "{:?}", pair.events);
}

#[test]
fn the_largest_messages_go_both_ways() {
    let (shared, config) = world(100);
    let mut pair = Pair::new(&shared, &config);
    pair.run().session.query(3, &message(9, 65_535)).expect("taken");
    pair.run();
    assert_eq!(pair.queries.values().next().map(Vec::len), Some(65_537));
    let id = pair.stream(0);
    pair.respond(id, &framed(&message(0, 65_535)));
    pair.run();
    let found = pair
        .events
        .iter()
        .any(|event| matches!(event, Event::Response { octets, .. } if octets.len() == 65_535));
    assert!(found && pair.error().is_none());
}

#[test]
fn a_lost_flight_is_sent_again() {
    let (shared, config) = world(100);
    let mut pair = Pair::new(&shared, &config);
    pair.lost = 2;
    for _ in 0..40 {
        pair.run();
        if pair.ready().is_some() {
            return;
        }
        pair.now = pair.session.poll_timeout().expect("a timer");
        pair.session.handle_timeout(pair.now);
        let now = pair.instant();
        pair.server().handle_timeout(now);
    }
    panic!("never ready: {:?}", pair.events);
}

#[test]
fn closes_of_either_side_are_told_apart() {
    let (shared, config) = world(100);
    for code in [0, 5] {
        let mut pair = Pair::new(&shared, &config);
        pair.run();
        let now = pair.instant();
        pair.server().close(now, VarInt::from_u32(code), bytes::Bytes::from_static(b"\x1bbye"));
        let error = pair.run().error().cloned().expect("closed");
        assert_eq!(error == Error::Ended(Phase::Ready), code == 0, "{error:?}");
        assert!(!error.to_string().contains('\x1b'));
    }
    let mut pair = Pair::new(&shared, &config);
    let now = pair.run().now;
    pair.session.close(now);
    pair.run();
    assert_eq!(pair.session.query(1, &message(0, 12)), Err(Refused::NotReady));
    assert!(pair.server().is_closed());
}

#[test]
fn garbage_changes_nothing() {
    let (shared, config) = world(100);
    let mut pair = Pair::new(&shared, &config);
    pair.run();
    let strategy = proptest::collection::vec(0_u8.., 0..1300);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..3000 {
        use proptest::strategy::{Strategy, ValueTree};
        let octets = strategy.new_tree(&mut runner).expect("octets").current();
        pair.session.receive(pair.now, upstream(), &octets);
        pair.session.receive(pair.now, client(), &octets);
    }
    pair.session.query(3, &message(0, 12)).expect("taken");
    pair.run();
    assert_eq!((pair.queries.len(), pair.error()), (1, None));
}
