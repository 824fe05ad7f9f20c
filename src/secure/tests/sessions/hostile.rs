//! Servers that break the rules: each gives a typed failure, in bounded memory and time.

use crate::support::{
    Authority, ClientRoots, Leaf, Pair, Server, TLS12_ALONE, TLS13_ALONE, framed, message, policy, shared,
};
use hither_secure::{DotSession, Error, Event, Phase, Scheme, Shared};
use proptest::prelude::*;
use rustls::{RootCertStore, ServerConfig};
use std::io::Write;
use std::sync::{Arc, OnceLock};

fn honest(server: &Server) -> (Shared, Arc<ServerConfig>) {
    let authority = Authority::new();
    let shared = shared(policy(Scheme::Dot), &authority.trust());
    (shared, server.config(&authority.issue(&Leaf::default())))
}

/// The error of a session that receives these octets instead of a handshake.
fn after(shared: &Shared, octets: &[u8]) -> Option<Error> {
    let mut session = DotSession::new(shared).expect("a session");
    let mut hello = Vec::new();
    session.transmit(&mut hello).expect("memory takes everything");
    session.query(1, &[7; 12]).expect("taken");
    let goes_on = session.receive_octets(octets);
    let events: Vec<_> = std::iter::from_fn(|| session.poll_event()).collect();
    assert_eq!(goes_on, events.is_empty(), "{events:?}");
    let mut out = Vec::new();
    session.transmit(&mut out).expect("memory takes everything");
    assert!(out.len() < 100, "an alert at most, but {} octets", out.len());
    match events.as_slice() {
        [] => None,
        [Event::Closed(error)] => Some(error.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_tls_is_called_so() {
    let (shared, _) = honest(&Server::default());
    for octets in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.6\r\n", &[0; 64], &[0xff; 70_000]]
    {
        assert_eq!(after(&shared, octets), Some(Error::NotTls));
    }
}

#[test]
fn every_alert_in_every_phase_is_reported() {
    let (shared, config) = honest(&Server::default());
    for code in (0..=255_u8).filter(|code| *code != 0 && *code != 90) {
        let error = after(&shared, &[21, 3, 3, 0, 2, 2, code]).expect("fatal");
        assert_eq!(error, Error::Alert(code, Phase::Handshake));
        assert!(error.to_string().contains("during the handshake") || code == 116, "{error}");
    }
    // In clear text where everything is encrypted, an alert is a broken rule.
    let mut pair = Pair::new(&shared, &config);
    pair.run(usize::MAX);
    pair.session.receive_octets(&[21, 3, 3, 0, 2, 2, 40]);
    let Some(Event::Closed(error)) = pair.session.poll_event() else { panic!("no end") };
    assert!(matches!(error, Error::Tls(_, Phase::Ready)), "{error:?}");
}

#[test]
fn a_server_that_demands_a_client_certificate_is_reported() {
    let authority = Authority::new();
    let mut roots = RootCertStore::empty();
    roots.add(authority.issue(&Leaf::default()).chain[0].clone()).expect("a certificate");
    for versions in [&TLS13_ALONE, &TLS12_ALONE] {
        let asks_for_client_certificate = Some(ClientRoots(Arc::new(roots.clone())));
        let (shared, config) = honest(&Server { versions, asks_for_client_certificate, ..Server::default() });
        let mut pair = Pair::new(&shared, &config);
        let error = pair.run(usize::MAX).error().cloned().expect("closed");
        assert!(matches!(error, Error::Alert(116, _)), "{error:?}");
        assert!(error.to_string().contains("client certificate"), "{error}");
    }
}

#[test]
fn a_server_of_other_versions_is_reported() {
    let (shared, _) = honest(&Server::default());
    // A ServerHello of TLS 1.1 with TLS_RSA_WITH_AES_128_CBC_SHA.
    let body = [&[3, 2][..], &[9; 32], &[0, 0, 47, 0]].concat();
    let hello = [&[22, 3, 2, 0, body.len() as u8 + 4, 2, 0, 0, body.len() as u8][..], &body].concat();
    let error = after(&shared, &hello).expect("refused");
    assert!(matches!(error, Error::Incompatible(_)), "{error:?}");
    assert!(error.to_string().contains("TLS 1.2 or 1.3"), "{error}");
}

#[test]
fn octets_one_at_a_time_are_as_good_as_many() {
    for versions in [&TLS13_ALONE, &TLS12_ALONE] {
        let (shared, config) = honest(&Server { versions, ..Server::default() });
        let mut pair = Pair::new(&shared, &config);
        pair.run(1);
        for id in 0..3 {
            pair.server.writer().write_all(&framed(&message(id, 200))).expect("taken");
        }
        pair.run(1);
        assert_eq!(pair.responses().len(), 3);
        assert_eq!(pair.error(), None);
    }
}

#[test]
fn an_end_after_every_octet_of_the_handshake_is_reported() {
    let (shared, config) = honest(&Server::default());
    let mut pair = Pair::new(&shared, &config);
    let mut hello = Vec::new();
    pair.session.transmit(&mut hello).expect("memory takes everything");
    let flight = pair.serve(&hello);
    for end in 0..flight.len() {
        // Random octets of another session make its flight useless to this one; only the end counts here.
        let mut session = DotSession::new(&shared).expect("a session");
        session.transmit(&mut Vec::new()).expect("memory takes everything");
        session.receive_octets(&flight[..end.min(5)]);
        session.end();
        assert_eq!(session.poll_event(), Some(Event::Closed(Error::Ended(Phase::Handshake))));
        assert_eq!(session.poll_event(), None);
    }
    for end in [0, 1, 5, flight.len() - 1] {
        let mut pair = Pair::new(&shared, &config);
        let mut hello = Vec::new();
        pair.session.transmit(&mut hello).expect("memory takes everything");
        let flight = pair.serve(&hello);
        assert!(pair.session.receive_octets(&flight[..end.min(flight.len() - 1)]));
        pair.session.end();
        assert_eq!(pair.session.poll_event(), Some(Event::Closed(Error::Ended(Phase::Handshake))));
    }
}

#[test]
fn half_a_message_is_no_response() {
    let (shared, config) = honest(&Server::default());
    let mut pair = Pair::new(&shared, &config);
    pair.run(usize::MAX);
    pair.say(&framed(&message(1, 100))[..60]);
    pair.session.end();
    assert!(pair.responses().is_empty());
    assert_eq!(pair.session.poll_event(), Some(Event::Closed(Error::Ended(Phase::Ready))));
    assert_eq!(pair.session.poll_event(), None);
}

#[test]
fn messages_that_are_no_dns_end_the_connection() {
    for length in [0, 1, 11] {
        let (shared, config) = honest(&Server::default());
        let mut pair = Pair::new(&shared, &config);
        pair.run(usize::MAX);
        let octets = [framed(&vec![0; length]), framed(&message(1, 12))].concat();
        pair.say(&octets);
        assert_eq!(pair.error(), Some(&Error::ShortMessage(length)));
        assert!(pair.responses().is_empty(), "nothing after it counts");
    }
}

#[test]
fn a_megabyte_of_messages_stays_within_bounds() {
    let (shared, config) = honest(&Server::default());
    let mut pair = Pair::new(&shared, &config);
    pair.run(usize::MAX);
    for _ in 0..16 {
        pair.say(&framed(&message(9, 65_000)));
    }
    assert_eq!(pair.error(), None);
    assert_eq!(pair.responses().len(), 16);
}

#[test]
fn records_that_are_too_large_or_broken_end_the_connection() {
    let (shared, config) = honest(&Server::default());
    let broken: [Vec<u8>; 4] = [
        // Longer than a record may be.
        [&[23, 3, 3, 0xff, 0xff][..], &[0; 70_000]].concat(),
        // With octets that no key fits.
        [&[23, 3, 3, 0, 64][..], &[0; 64]].concat(),
        // Empty.
        vec![23, 3, 3, 0, 0],
        // Of a type that does not exist.
        vec![99, 3, 3, 0, 1, 0],
    ];
    for octets in broken {
        let mut pair = Pair::new(&shared, &config);
        pair.run(usize::MAX);
        pair.session.receive_octets(&octets);
        let Some(Event::Closed(error)) = pair.session.poll_event() else { panic!("no end: {octets:?}") };
        assert!(matches!(error, Error::Tls(_, Phase::Ready)), "{error:?}");
    }
}

/// A ServerHello's handshake header that announces a message of 16 MiB, and then endless records of it.
#[test]
fn a_handshake_without_end_is_cut_off() {
    let (shared, _) = honest(&Server::default());
    let mut octets = Vec::new();
    for turn in 0..100 {
        let mut record = vec![0; 16_384];
        if turn == 0 {
            record[..4].copy_from_slice(&[2, 0xff, 0xff, 0xff]);
        }
        octets.extend([22, 3, 3, 0x40, 0]);
        octets.extend(record);
    }
    assert!(matches!(after(&shared, &octets), Some(Error::Tls(_, Phase::Handshake))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn garbage_gives_an_error_or_waits(octets in proptest::collection::vec(any::<u8>(), 0..600), kind in 20_u8..25) {
        let shared = &world().shared;
        after(shared, &octets);
        let length = (octets.len() as u16).to_be_bytes();
        after(shared, &[&[kind, 3, 3, length[0], length[1]][..], &octets].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_flight_with_a_changed_octet_fails_or_waits(at in any::<prop::sample::Index>(), change in 1_u8.., is_12: bool) {
        let world = world();
        let config = if is_12 { &world.tls12 } else { &world.tls13 };
        let mut pair = Pair::new(&world.shared, config);
        let mut hello = Vec::new();
        pair.session.transmit(&mut hello).expect("memory takes everything");
        let mut flight = pair.serve(&hello);
        let at = at.index(flight.len());
        flight[at] ^= change;
        pair.session.receive_octets(&flight);
        let events: Vec<_> = std::iter::from_fn(|| pair.session.poll_event()).collect();
        let has_response = events.iter().any(|event| matches!(event, Event::Response { .. }));
        prop_assert!(!has_response);
        prop_assert!(events.len() <= 2, "{events:?}");
    }
}

/// One upstream for all cases, and its servers of either version.
struct World {
    shared: Shared,
    tls13: Arc<ServerConfig>,
    tls12: Arc<ServerConfig>,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let authority = Authority::new();
        let identity = authority.issue(&Leaf::default());
        let of = |versions| Server { versions, ..Server::default() }.config(&identity);
        World {
            shared: shared(policy(Scheme::Dot), &authority.trust()),
            tls13: of(&TLS13_ALONE),
            tls12: of(&TLS12_ALONE),
        }
    })
}
