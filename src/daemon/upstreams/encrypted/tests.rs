//! Connections over the loopback interface, to servers in threads.

mod quic_server;
#[path = "../../../../tests/support/retry.rs"]
mod retry;
#[path = "../../../secure/tests/sessions/support.rs"]
#[allow(dead_code, reason = "the tests of the crate need more of it")]
mod support;
mod tls_server;

use super::host_names::tests::reply as host_reply;
use super::*;
use hither_net::clock::now;
use hither_rounds::Transport;
use hither_secure::{Policy, Roots, Scheme};
use hither_wire::codes::Rtype;
use mio::{Events, Poll};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use support::{Authority, Identity, Leaf, TLS13_ALONE};
use tls_server::{Choose, Script, TlsServer};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How long an event may take that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The part of the event loop that drives connections.
struct World {
    poll: Poll,
    random: Random,
    ready: VecDeque<Source>,
    encrypted: Encrypted,
    /// Steps of handshakes so far.
    steps: usize,
    /// Attempts whose query waited before it left.
    transmitted: Vec<u64>,
}

impl World {
    fn new() -> World {
        let random = || Random::new().expect("random numbers");
        let encrypted = Encrypted::new(random(), 64, now());
        let (poll, ready) = (Poll::new().expect("a poll"), VecDeque::new());
        World { poll, random: random(), ready, encrypted, steps: 0, transmitted: Vec::new() }
    }

    fn with(setups: Vec<EndpointSetup>) -> World {
        let mut world = World::new();
        world.encrypted.set_endpoints(setups, now());
        world
    }

    /// One turn, which waits at most until `until`.
    fn turn(&mut self, until: Monotonic) {
        self.encrypted.flush(now());
        self.ready.extend(self.encrypted.take_woken());
        let until = self.encrypted.timeout().map_or(until, |at| at.min(until));
        let wait = if self.ready.is_empty() { until.since(now()) } else { Duration::ZERO };
        // The poll waits for whole milliseconds.
        let wait = wait + Duration::from_micros(999) * u32::from(!wait.is_zero());
        let mut events = Events::with_capacity(64);
        self.poll.poll(&mut events, Some(wait)).expect("events");
        self.ready.extend(events.iter().map(|event| Source::of(event.token())));
        for source in std::mem::take(&mut self.ready) {
            self.look_at(source);
        }
        self.encrypted.on_time(now());
        self.encrypted.flush(now());
        self.ready.extend(self.encrypted.take_woken());
    }

    fn look_at(&mut self, source: Source) {
        match source {
            Source::Secure(slot) => match self.encrypted.note_readiness(slot) {
                Readiness::Gone => {}
                Readiness::Handshake => self.ready.push_back(Source::Handshake(slot)),
                Readiness::Events => while self.encrypted.advance(slot, now()).is_some() {},
            },
            Source::Handshake(slot) if self.encrypted.is_planned(slot) => {
                if let Err(error) = self.encrypted.open(self.poll.registry(), slot, now(), &mut self.random) {
                    self.encrypted.give_up(slot, &error, now());
                }
            }
            Source::Handshake(slot) => {
                self.steps += 1;
                self.encrypted.shake(slot, now());
            }
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, attempt: u64, server: Server) {
        let octets = Rc::from(query(attempt));
        self.encrypted.send(Sending {
            attempt: AttemptId(attempt),
            server,
            transport: server.transport,
            octets,
        });
    }

    /// The outcomes of so many attempts, by their numbers.
    fn outcomes(&mut self, count: usize) -> BTreeMap<u64, Result<Vec<u8>, Failure>> {
        let (mut outcomes, until) = (BTreeMap::new(), now().plus(PATIENCE));
        self.encrypted.flush(now());
        loop {
            while let Some(outcome) = self.encrypted.poll_outcome() {
                let (attempt, result) = match outcome {
                    Outcome::Transmitted(attempt) => {
                        self.transmitted.push(attempt.0);
                        continue;
                    }
                    Outcome::Message(attempt, octets) => (attempt, Ok(octets.into_vec())),
                    Outcome::Failed(attempt, failure) => (attempt, Err(failure)),
                };
                assert!(outcomes.insert(attempt.0, result).is_none(), "{attempt:?} ends twice");
            }
            if outcomes.len() >= count {
                return outcomes;
            }
            assert!(now() < until, "only {outcomes:?}");
            self.turn(until);
        }
    }

    /// Asks one query, and returns its outcome.
    fn ask(&mut self, attempt: u64, server: Server) -> Result<Vec<u8>, Failure> {
        self.send(attempt, server);
        self.outcomes(1).remove(&attempt).expect("the outcome of this attempt")
    }

    fn report(&self, server: Server) -> EncryptedReport {
        self.encrypted.report(&server, now()).expect("an encrypted upstream")
    }

    /// The time until the next try after a failure.
    fn pause(&self, server: Server) -> Option<Duration> {
        let id = self.encrypted.endpoints.id_of(&server).expect("an encrypted upstream");
        let report = self.encrypted.machine.report(id).expect("an endpoint");
        report.pauses_until.map(|until| until.since(now()))
    }

    fn problem(&self, server: Server) -> String {
        self.report(server).problem.expect("a problem")
    }
}

/// A query with this number as its message id and in its question.
fn query(number: u64) -> Vec<u8> {
    let mut octets = vec![0; 20];
    octets[..2].copy_from_slice(&(number as u16).to_be_bytes());
    octets[12..].copy_from_slice(&number.to_be_bytes());
    octets
}

fn answer(number: u64) -> Vec<u8> {
    let mut octets = query(number);
    octets[2] = 0x80;
    octets
}

/// The response of the servers to a query.
fn echo(query: &[u8]) -> Vec<u8> {
    let mut octets = query.to_vec();
    octets[2] |= 0x80;
    octets
}

/// A directory with the file of an authority.
struct Directory(std::path::PathBuf);

impl Directory {
    fn with(authority: &Authority) -> Directory {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("hither-encrypted-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        std::fs::write(path.join("ca.pem"), &authority.pem).expect("written");
        Directory(path)
    }

    fn roots(&self) -> Roots {
        Roots::File(self.0.join("ca.pem"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn setup(address: SocketAddr, scheme: Scheme, roots: Roots) -> EndpointSetup {
    let transport = match scheme {
        Scheme::Dot => Transport::Tls,
        Scheme::Doh => Transport::Https,
        Scheme::Doq => Transport::Quic,
    };
    EndpointSetup {
        server: Server { address, link: 0, transport, settings: 1 },
        label: "tls://dns.example".to_owned(),
        policy: Policy { roots, ..support::policy(scheme) },
        addresses: vec![address],
        lookup: None,
    }
}

/// An authority with its file, a server of DNS over TLS, and the world with that one upstream.
struct One {
    _directory: Directory,
    server: TlsServer,
    setup: EndpointSetup,
    world: World,
}

impl One {
    fn new(leaf: &Leaf<'_>, script: Choose) -> One {
        let authority = Authority::new();
        let directory = Directory::with(&authority);
        let server = TlsServer::start(LOOPBACK, config(&authority.issue(leaf)), script, echo);
        let setup = setup(server.address, Scheme::Dot, directory.roots());
        let world = World::with(vec![setup.clone()]);
        One { _directory: directory, server, setup, world }
    }

    fn ask(&mut self, number: u64) -> Result<Vec<u8>, Failure> {
        self.world.ask(number, self.setup.server)
    }
}

fn config(identity: &Identity) -> std::sync::Arc<rustls::ServerConfig> {
    support::Server::default().config(identity)
}

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
    assert!(problem.contains("'other.example'; expected 'dns.example'; set 'name'"), "{problem}");
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
