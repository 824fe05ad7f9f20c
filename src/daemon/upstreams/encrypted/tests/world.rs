//! The part of the event loop that drives connections, an authority, and one upstream.

use super::support::{self, Authority, Identity, Leaf};
use super::tls_server::{Choose, TlsServer};
use crate::daemon::core::Sending;
use crate::daemon::sources::Source;
use crate::daemon::upstreams::EndpointSetup;
use crate::daemon::upstreams::encrypted::{Encrypted, EncryptedReport, Outcome, Readiness};
use hither_net::clock::now;
use hither_net::random::Random;
use hither_rounds::{AttemptId, Failure, Server, Transport};
use hither_secure::{Policy, Roots, Scheme};
use hither_table::Monotonic;
use mio::{Events, Poll, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How long an event may take that must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The part of the event loop that drives connections.
pub struct World {
    pub poll: Poll,
    pub random: Random,
    pub ready: VecDeque<Source>,
    pub encrypted: Encrypted,
    /// Steps of handshakes so far.
    pub steps: usize,
    /// Attempts whose query waited before it left.
    pub transmitted: Vec<u64>,
}

impl World {
    pub fn new() -> World {
        let random = || Random::new().expect("random numbers");
        let (poll, ready) = (Poll::new().expect("a poll"), VecDeque::new());
        let waker = Arc::new(Waker::new(poll.registry(), Source::Woken.token()).expect("a waker"));
        let encrypted = Encrypted::new(random(), 64, waker, now());
        World { poll, random: random(), ready, encrypted, steps: 0, transmitted: Vec::new() }
    }

    pub fn with(setups: Vec<EndpointSetup>) -> World {
        let mut world = World::new();
        world.encrypted.set_endpoints(setups, now());
        world
    }

    /// One turn, which waits at most until `until`.
    pub fn turn(&mut self, until: Monotonic) {
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
            Source::Woken => self.encrypted.take_back(now()),
            other => panic!("{other:?}"),
        }
    }

    pub fn send(&mut self, attempt: u64, server: Server) {
        let octets = Rc::from(query(attempt));
        self.encrypted.send(Sending {
            attempt: AttemptId(attempt),
            server,
            transport: server.transport,
            octets,
        });
    }

    /// The outcomes of so many attempts, by their numbers.
    pub fn outcomes(&mut self, count: usize) -> BTreeMap<u64, Result<Vec<u8>, Failure>> {
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
    pub fn ask(&mut self, attempt: u64, server: Server) -> Result<Vec<u8>, Failure> {
        self.send(attempt, server);
        self.outcomes(1).remove(&attempt).expect("the outcome of this attempt")
    }

    pub fn report(&self, server: Server) -> EncryptedReport {
        self.encrypted.report(&server, now()).expect("an encrypted upstream")
    }

    /// The time until the next try after a failure.
    pub fn pause(&self, server: Server) -> Option<Duration> {
        let id = self.encrypted.endpoints.id_of(&server).expect("an encrypted upstream");
        let report = self.encrypted.machine.report(id).expect("an endpoint");
        report.pauses_until.map(|until| until.since(now()))
    }

    pub fn problem(&self, server: Server) -> String {
        self.report(server).problem.expect("a problem")
    }
}

/// A query with this number as its message id and in its question.
pub fn query(number: u64) -> Vec<u8> {
    let mut octets = vec![0; 20];
    octets[..2].copy_from_slice(&(number as u16).to_be_bytes());
    octets[12..].copy_from_slice(&number.to_be_bytes());
    octets
}

pub fn answer(number: u64) -> Vec<u8> {
    let mut octets = query(number);
    octets[2] = 0x80;
    octets
}

/// The response of the servers to a query.
pub fn echo(query: &[u8]) -> Vec<u8> {
    let mut octets = query.to_vec();
    octets[2] |= 0x80;
    octets
}

/// A directory with the file of an authority.
pub struct Directory(pub std::path::PathBuf);

impl Directory {
    pub fn with(authority: &Authority) -> Directory {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("hither-encrypted-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        std::fs::write(path.join("ca.pem"), &authority.pem).expect("written");
        Directory(path)
    }

    pub fn roots(&self) -> Roots {
        Roots::File(self.0.join("ca.pem"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn setup(address: SocketAddr, scheme: Scheme, roots: Roots) -> EndpointSetup {
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
pub struct One {
    pub _directory: Directory,
    pub server: TlsServer,
    pub setup: EndpointSetup,
    pub world: World,
}

impl One {
    pub fn new(leaf: &Leaf<'_>, script: Choose) -> One {
        let authority = Authority::new();
        let directory = Directory::with(&authority);
        let server = TlsServer::start(LOOPBACK, config(&authority.issue(leaf)), script, echo);
        let setup = setup(server.address, Scheme::Dot, directory.roots());
        let world = World::with(vec![setup.clone()]);
        One { _directory: directory, server, setup, world }
    }

    pub fn ask(&mut self, number: u64) -> Result<Vec<u8>, Failure> {
        self.world.ask(number, self.setup.server)
    }
}

pub fn config(identity: &Identity) -> std::sync::Arc<rustls::ServerConfig> {
    support::Server::default().config(identity)
}
