//! Connections over the loopback interface, to servers in threads.

mod quic_server;
#[path = "../../../../tests/support/retry.rs"]
mod retry;
#[path = "../../../secure/tests/sessions/support.rs"]
#[allow(dead_code, reason = "the tests of the crate need more of it")]
mod support;
mod tls_server;
mod world;

use super::host_names::tests::reply as host_reply;
use super::lines::Stage;
use super::*;
use hither_net::clock::now;
use hither_secure::{Roots, Scheme};
use hither_wire::codes::Rtype;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use support::{Authority, Leaf, TLS13_ALONE};
use tls_server::{Choose, Script, TlsServer};
use world::{Directory, LOOPBACK, One, PATIENCE, World, answer, echo, setup};

#[test]
fn a_query_over_tls_is_answered_with_its_own_id() {
    let mut one = One::new(&Leaf::default(), |_| Script::Answer);
    assert_eq!(one.ask(7), Ok(answer(7)));
    let report = one.world.report(one.setup.server);
    assert_eq!((report.version, report.problem), (Some("1.3"), None));
    assert_eq!((report.handshakes, report.resumptions), (1, 0));
    let shown = report.connection.expect("a connection");
    assert_eq!(
        (shown.state, shown.peer, shown.queries, shown.outstanding),
        ("ready", one.server.address, 1, 0)
    );
    assert!(report.expires_s.is_some_and(|at| at > 4_000_000_000), "2099: {:?}", report.expires_s);
}

#[test]
fn many_queries_share_one_connection() {
    let mut one = One::new(&Leaf::default(), |_| Script::Answer);
    (0..500).for_each(|number| one.world.send(number, one.setup.server));
    let outcomes = one.world.outcomes(500);
    assert!(outcomes.iter().all(|(number, outcome)| *outcome == Ok(answer(*number))));
    assert_eq!(one.server.connections(), 1);
    assert_eq!(one.world.transmitted, (0..500).collect::<Vec<_>>(), "each waited for the connection, once");
    assert!(one.ask(500).is_ok() && one.world.transmitted.len() == 500, "this one did not wait");
    assert!(one.world.steps <= 6, "{} steps of a handshake", one.world.steps);
}

#[test]
fn a_server_that_cannot_be_trusted_gets_no_query_and_the_operator_learns_why() {
    let mut one = One::new(&Leaf { names: &["other.example"], ..Leaf::default() }, |_| Script::Answer);
    assert_eq!(one.ask(1), Err(Failure::Handshake));
    let problem = one.world.problem(one.setup.server);
    assert!(problem.contains("'other.example'; expected 'dns.example'; set its name"), "{problem}");
    assert_eq!(one.server.queries(), 0);
    let report = one.world.report(one.setup.server);
    assert!(report.connection.is_none() && one.world.pause(one.setup.server).is_some(), "{report:?}");
    // The next one fails at once: it is too early to connect again.
    assert_eq!((one.ask(2), one.server.connections()), (Err(Failure::Backoff), 1));
}

#[test]
fn what_is_no_tls_or_hangs_up_fails_the_handshake() {
    let cases: [(Choose, &str); 2] = [
        (|_| Script::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "does not speak TLS"),
        (|_| Script::HangUp, "ended the connection during the handshake"),
    ];
    for (script, expected) in cases {
        let mut one = One::new(&Leaf::default(), script);
        assert_eq!(one.ask(1), Err(Failure::Handshake));
        let problem = one.world.problem(one.setup.server);
        assert!(problem.contains(expected), "{problem}");
        assert_eq!(one.world.encrypted.len(), 0, "no socket is left");
    }
}

#[test]
fn a_server_that_demands_a_client_certificate_is_left_alone() {
    let authority = Authority::new();
    let directory = Directory::with(&authority);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.issue(&Leaf::default()).chain[0].clone()).expect("a certificate");
    let roots = support::ClientRoots(std::sync::Arc::new(roots));
    let server = support::Server { asks_for_client_certificate: Some(roots), ..Default::default() };
    let config = server.config(&authority.issue(&Leaf::default()));
    let server = TlsServer::start(LOOPBACK, config, |_| Script::Answer, echo);
    let setup = setup(server.address, Scheme::Dot, directory.roots());
    let mut world = World::with(vec![setup.clone()]);
    // With TLS 1.3, the server refuses the client when that takes the handshake for complete.
    assert_eq!(world.ask(1, setup.server), Err(Failure::Handshake));
    let problem = world.problem(setup.server);
    assert!(problem.contains("the upstream demands a client certificate"), "{problem}");
    assert_eq!((world.ask(2, setup.server), server.connections()), (Err(Failure::Backoff), 1));
}

#[test]
fn a_closed_port_is_refused() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr());
    let address = closed.expect("a port that is free again");
    let authority = Directory::with(&Authority::new());
    for scheme in [Scheme::Dot, Scheme::Doh, Scheme::Doq] {
        let setup = setup(address, scheme, authority.roots());
        let mut world = World::with(vec![setup.clone()]);
        assert_eq!(world.ask(1, setup.server), Err(Failure::Refused), "{scheme:?}");
        let problem = world.problem(setup.server);
        assert!(problem.contains(&format!("{address} refuses connections")), "{problem}");
    }
}

#[test]
fn a_query_whose_connection_ends_is_sent_again_on_another() {
    let scripts: [Choose; 2] = [
        |nth| if nth == 0 { Script::AnswerUntil(1) } else { Script::Answer },
        |nth| if nth == 0 { Script::AnswerUntilReset(1) } else { Script::Answer },
    ];
    for script in scripts {
        let mut one = One::new(&Leaf::default(), script);
        assert_eq!(one.ask(1), Ok(answer(1)));
        assert_eq!(one.ask(2), Ok(answer(2)), "the server ends the connection at this query");
        assert_eq!((one.server.connections(), one.server.queries()), (2, 3));
        let report = one.world.report(one.setup.server);
        assert_eq!((report.handshakes, report.resumptions), (2, 1), "the second is resumed");
    }
}

#[test]
fn a_cancelled_query_has_no_outcome() {
    let mut one = One::new(&Leaf::default(), |_| Script::Answer);
    (1..=3).for_each(|number| one.world.send(number, one.setup.server));
    one.world.encrypted.cancel(AttemptId(2));
    one.world.encrypted.flush(now());
    one.world.encrypted.cancel(AttemptId(1));
    one.world.encrypted.cancel(AttemptId(99));
    assert_eq!(one.world.outcomes(1).into_iter().collect::<Vec<_>>(), [(3, Ok(answer(3)))]);
    assert_eq!(one.ask(4), Ok(answer(4)));
}

#[test]
fn an_outcome_that_waits_is_dropped_when_its_attempt_is_cancelled() {
    let mut one = One::new(&Leaf::default(), |_| Script::HangUp);
    one.world.send(1, one.setup.server);
    one.world.send(2, one.setup.server);
    let until = now().plus(PATIENCE);
    while one.world.pause(one.setup.server).is_none() {
        assert!(now() < until);
        one.world.turn(until);
    }
    one.world.encrypted.cancel(AttemptId(1));
    let left = one.world.encrypted.poll_outcome();
    assert!(matches!(left, Some(Outcome::Failed(AttemptId(2), _))), "{left:?}");
    assert!(one.world.encrypted.poll_outcome().is_none());
}

#[test]
fn settings_that_stay_keep_their_connection_and_others_are_forgotten() {
    let mut one = One::new(&Leaf::default(), |_| Script::Answer);
    assert_eq!(one.ask(1), Ok(answer(1)));
    let other = EndpointSetup { server: Server { settings: 2, ..one.setup.server }, ..one.setup.clone() };
    one.world.encrypted.set_endpoints(vec![other.clone(), one.setup.clone()], now());
    assert_eq!((one.ask(2), one.server.connections()), (Ok(answer(2)), 1));
    assert_eq!((one.world.ask(3, other.server), one.server.connections()), (Ok(answer(3)), 2));
    one.world.encrypted.set_endpoints(vec![other.clone()], now());
    assert_eq!(one.world.encrypted.len(), 1);
    assert_eq!(one.ask(4), Err(Failure::Backoff), "no longer configured");
    assert!(one.world.encrypted.report(&one.setup.server, now()).is_none());
    assert_eq!((one.world.ask(5, other.server), one.server.connections()), (Ok(answer(5)), 2));
}

#[test]
fn another_network_ends_connections_and_tickets() {
    let mut one = One::new(&Leaf::default(), |_| Script::Answer);
    assert_eq!(one.ask(1), Ok(answer(1)));
    one.world.encrypted.change_network(now());
    assert_eq!(one.world.encrypted.len(), 0);
    assert_eq!(one.ask(2), Ok(answer(2)));
    let report = one.world.report(one.setup.server);
    assert_eq!((report.handshakes, report.resumptions), (2, 0));
}

#[test]
fn authorities_that_cannot_be_read_stop_one_upstream_until_they_can() {
    let mut one = One::new(&Leaf::default(), |_| Script::Answer);
    let missing = one._directory.0.join("missing.pem");
    let lacking = setup(one.server.address, Scheme::Dot, Roots::File(missing.clone()));
    let lacking = EndpointSetup { server: Server { settings: 2, ..lacking.server }, ..lacking };
    one.world.encrypted.set_endpoints(vec![lacking.clone(), one.setup.clone()], now());
    assert_eq!(one.world.ask(1, lacking.server), Err(Failure::Handshake));
    let problem = one.world.problem(lacking.server);
    assert!(
        problem.contains("cannot read the certificate authorities in") && problem.contains("missing.pem")
    );
    assert_eq!(one.ask(2), Ok(answer(2)), "the other one goes on");
    std::fs::copy(one._directory.0.join("ca.pem"), missing).expect("copied");
    let until = now().plus(PATIENCE);
    let mut number = 10;
    while one.world.ask(number, lacking.server) != Ok(answer(number)) {
        assert!(now() < until, "{}", one.world.problem(lacking.server));
        number += 1;
        // The pause after the failure ends.
        let pause = one.world.pause(lacking.server).unwrap_or_default();
        let end = now().plus(pause);
        while now() < end {
            one.world.turn(end);
        }
    }
}

#[test]
fn authorities_are_read_again_once_their_file_has_changed() {
    let mut one = One::new(&Leaf::default(), |_| Script::Answer);
    assert_eq!(one.ask(1), Ok(answer(1)));
    std::fs::write(one._directory.0.join("ca.pem"), Authority::new().pem).expect("written");
    one.world.encrypted.set_endpoints(vec![one.setup.clone()], now());
    assert_eq!((one.ask(2), one.server.connections()), (Ok(answer(2)), 1), "the connection stays");
    one.world.encrypted.change_network(now());
    assert_eq!(one.ask(3), Err(Failure::Handshake));
    let problem = one.world.problem(one.setup.server);
    assert!(problem.contains("a signature of the certificate"), "{problem}");
}

#[test]
fn queries_wait_for_the_address_of_a_host_that_is_looked_up() {
    let mut one = One::new(&Leaf::default(), |_| Script::Answer);
    let (port, host) = (one.server.address.port(), "dns.example".parse().expect("a name"));
    let server = Server { address: SocketAddr::from(([0, 0, 0, 0], port)), ..one.setup.server };
    let setup = EndpointSetup { server, addresses: Vec::new(), lookup: Some(host), ..one.setup.clone() };
    one.world.encrypted.set_endpoints(vec![setup.clone()], now());
    one.world.send(1, server);
    one.world.encrypted.flush(now());
    assert!(one.world.encrypted.poll_outcome().is_none(), "it waits");
    one.world.encrypted.next_look_up(now()).expect("A");
    one.world.encrypted.next_look_up(now()).expect("AAAA");
    let found = one.server.address.ip().to_string();
    one.world.encrypted.note_host_reply(&host_reply(Rtype::A, 0, &[&found], 60), now());
    assert_eq!(one.world.outcomes(1), BTreeMap::from([(1, Ok(answer(1)))]));
    one.world.encrypted.set_endpoints(vec![setup], now());
    assert_eq!(one.world.ask(2, server), Ok(answer(2)));
}

#[test]
fn queries_fail_when_the_host_has_no_address() {
    let mut one = One::new(&Leaf::default(), |_| Script::Answer);
    let (port, host) = (one.server.address.port(), "dns.example".parse().expect("a name"));
    let server = Server { address: SocketAddr::from(([0, 0, 0, 0], port)), ..one.setup.server };
    let setup = EndpointSetup { server, addresses: Vec::new(), lookup: Some(host), ..one.setup.clone() };
    one.world.encrypted.set_endpoints(vec![setup], now());
    one.world.send(1, server);
    one.world.encrypted.flush(now());
    while let Some(look_up) = one.world.encrypted.next_look_up(now()) {
        let none = host_reply(look_up.question.rtype, 3, &[], 0);
        one.world.encrypted.note_host_reply(&none, now());
    }
    assert!(one.world.outcomes(1)[&1].is_err());
    assert!(one.world.problem(server).contains("NXDOMAIN"), "{}", one.world.problem(server));
}

#[test]
fn queries_over_quic_are_answered_with_their_own_ids() {
    let authority = Authority::new();
    let directory = Directory::with(&authority);
    let tls = support::Server { versions: &TLS13_ALONE, alpn: vec![b"doq".to_vec()], ..Default::default() };
    let address = quic_server::start(tls.config(&authority.issue(&Leaf::default())), echo);
    let setup = setup(address, Scheme::Doq, directory.roots());
    let mut world = World::with(vec![setup.clone()]);
    (0..200).for_each(|number| world.send(number, setup.server));
    let outcomes = world.outcomes(200);
    let report = world.report(setup.server);
    assert!(outcomes.iter().all(|(number, outcome)| *outcome == Ok(answer(*number))), "{report:?}");
    assert_eq!((report.version, report.handshakes), (Some("1.3"), 1));
    world.encrypted.change_network(now());
    assert_eq!(world.ask(300, setup.server), Ok(answer(300)));
    world.encrypted.shut_down(now());
    assert_eq!((world.encrypted.len(), world.encrypted.timeout()), (0, None));
}

#[test]
fn events_of_a_connection_that_is_gone_change_nothing() {
    let mut one = One::new(&Leaf::default(), |_| Script::Answer);
    assert_eq!(one.ask(1), Ok(answer(1)));
    one.world.encrypted.change_network(now());
    one.world.send(2, one.setup.server);
    for key in 0..3 {
        for generation in 0..3 {
            let slot = Slot { key, generation };
            if one.world.encrypted.key_of(slot).is_none() {
                assert_eq!(one.world.encrypted.note_readiness(slot), Readiness::Gone);
                one.world.encrypted.shake(slot, now());
                assert_eq!(one.world.encrypted.advance(slot, now()), None);
            }
        }
    }
    assert_eq!(one.world.outcomes(1), BTreeMap::from([(2, Ok(answer(2)))]));
}

#[test]
fn a_silent_server_ends_its_handshake_in_time() {
    let mut one = One::new(&Leaf::default(), |_| Script::Silence);
    let began = now();
    assert_eq!(one.ask(1), Err(Failure::Handshake));
    assert!(now().since(began) < Duration::from_secs(8));
    let problem = one.world.problem(one.setup.server);
    assert!(problem.contains("did not complete the handshake in time"), "{problem}");
}

#[test]
fn a_connection_that_is_given_up_during_a_step_counts_until_the_thread_gives_it_back() {
    let mut one = One::new(&Leaf::default(), |nth| if nth == 0 { Script::Silence } else { Script::Answer });
    one.world.send(1, one.setup.server);
    let until = now().plus(PATIENCE);
    let is_away =
        |world: &World| world.encrypted.lines.get(0).is_some_and(|line| matches!(line.stage, Stage::Away));
    while !is_away(&one.world) {
        assert!(now() < until);
        one.world.turn(until);
    }
    one.world.encrypted.change_network(now());
    assert_eq!(one.world.encrypted.len(), 2, "this one, and the next that the query waits for");
    assert_eq!(one.world.outcomes(1), BTreeMap::from([(1, Ok(answer(1)))]));
    assert_eq!((one.world.encrypted.len(), one.server.connections()), (1, 2));
}

#[test]
fn a_step_is_taken_where_the_thread_has_ended_and_another_thread_is_started() {
    let mut one = One::new(&Leaf::default(), |_| Script::Answer);
    one.world.encrypted.handshakes.end_thread();
    assert_eq!(one.ask(1), Ok(answer(1)));
}
