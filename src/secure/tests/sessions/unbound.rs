//! A real server: unbound with a certificate of an authority made here.
#![allow(clippy::disallowed_types, reason = "a real server has sockets")]

use crate::skip::skip;
use crate::support::{Authority, Leaf, NAME, policy, shared};
use hither_secure::{
    DohSession, DotSession, Error, Event, Fault, Policy, Refused, Scheme, ServerName, Shared,
};
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Timeout for events that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the sessions of both protocols have in common.
trait Session {
    fn query(&mut self, channel: u64, octets: &[u8]) -> Result<(), Refused>;
    fn transmit(&mut self, octets: &mut Vec<u8>);
    fn receive_octets(&mut self, octets: &[u8]);
    fn end(&mut self);
    fn poll_event(&mut self) -> Option<Event>;
}

macro_rules! session {
    ($session:ty) => {
        impl Session for $session {
            fn query(&mut self, channel: u64, octets: &[u8]) -> Result<(), Refused> {
                <$session>::query(self, channel, octets)
            }
            fn transmit(&mut self, octets: &mut Vec<u8>) {
                <$session>::transmit(self, octets).expect("memory takes everything");
            }
            fn receive_octets(&mut self, octets: &[u8]) {
                <$session>::receive_octets(self, octets);
            }
            fn end(&mut self) {
                <$session>::end(self);
            }
            fn poll_event(&mut self) -> Option<Event> {
                <$session>::poll_event(self)
            }
        }
    };
}

session!(DotSession);
session!(DohSession);

/// A server that answers names of `example.` over TLS and HTTPS.
struct Unbound {
    process: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// An address of the loopback network that no other test uses, and a free port of it. The server that is
/// to listen there finds the port still free, and no other server is taken for it.
fn own_address(test: u32) -> SocketAddr {
    let [_, host @ ..] = (std::process::id() << 2 | test).to_be_bytes();
    let address = Ipv4Addr::new(127, host[0], host[1], host[2]);
    TcpListener::bind((address, 0)).and_then(|listener| listener.local_addr()).expect("a port")
}

impl Unbound {
    /// `None` if unbound is not installed. `test` is 0, 1 or 2, and another one in each test.
    fn start(authority: &Authority, test: u32, scheme: Scheme) -> Option<Unbound> {
        let address = own_address(test);
        let ip = address.ip().to_string();
        let identity = authority.issue(&Leaf { names: &[NAME, &ip], ..Leaf::default() });
        let directory = std::env::temp_dir().join(format!("hither-secure-{}-{test}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let path = |file: &str| directory.join(file).display().to_string();
        fs::write(path("chain.pem"), &identity.chain_pem).expect("written");
        fs::write(path("key.pem"), &identity.key_pem).expect("written");
        let port = address.port();
        let kind = if scheme == Scheme::Doh { "https" } else { "tls" };
        let text = format!(
            "server:\n directory: \"{0}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n \
             interface: {ip}@{port}\n {kind}-port: {port}\n tls-service-key: \"{1}\"\n tls-service-pem: \"{2}\"\n \
             module-config: \"iterator\"\n local-zone: example. redirect\n local-data: \"example. A 192.0.2.7\"\n \
             edns-tcp-keepalive: yes\nremote-control:\n control-enable: no\n",
            directory.display(),
            path("key.pem"),
            path("chain.pem"),
        );
        fs::write(path("unbound.conf"), text).expect("written");
        let started = Command::new("unbound")
            .args(["-d", "-c", &path("unbound.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = started else {
            skip("DNS over TLS and HTTPS with unbound", "unbound is not installed");
            return None;
        };
        Some(Unbound { process, directory, address })
    }

    /// A connection, as soon as the server listens.
    #[expect(clippy::disallowed_methods, reason = "the server is a process with a clock of its own")]
    fn connect(&self) -> TcpStream {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
                    return stream;
                }
                Err(error) => assert!(Instant::now() < deadline, "unbound does not listen: {error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends queries on one connection, and returns all events up to the last response or the end.
    fn ask(&self, mut session: impl Session, queries: u16) -> Vec<Event> {
        let mut stream = self.connect();
        for channel in 0..queries {
            session.query(u64::from(channel) + 100, &query(channel)).expect("taken");
        }
        let (mut events, mut left) = (Vec::new(), queries);
        while left > 0 && !matches!(events.last(), Some(Event::Closed(_))) {
            let mut octets = Vec::new();
            session.transmit(&mut octets);
            stream.write_all(&octets).expect("a server that reads");
            // A blocking stream gives what there is; one read is enough for a turn.
            let mut buffer = [0; 16_384];
            let count = std::io::Read::read(&mut stream, &mut buffer).expect("a server that writes");
            if count == 0 {
                session.end();
            }
            session.receive_octets(&buffer[..count]);
            for event in std::iter::from_fn(|| session.poll_event()) {
                left -= u16::from(matches!(event, Event::Response { .. }));
                events.push(event);
            }
        }
        events
    }
}

/// A query for the address of `nN.example.`, with EDNS.
fn query(number: u16) -> Vec<u8> {
    let label = format!("n{number}");
    let mut octets = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, label.len() as u8];
    octets.extend(label.as_bytes());
    octets.extend(b"\x07example\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0");
    octets
}

/// The channels of the responses, each of which has the address of `example.`.
fn answered(events: &[Event]) -> Vec<u64> {
    let mut channels = Vec::new();
    for event in events {
        if let Event::Response { channel, octets, .. } = event {
            assert!(octets.windows(4).any(|window| window == [192, 0, 2, 7]), "the address is in it");
            channels.push(*channel);
        }
    }
    channels.sort_unstable();
    channels
}

fn dot(shared: &Shared) -> DotSession {
    DotSession::new(shared).expect("a session")
}

#[test]
fn unbound_answers_many_queries_over_tls_and_resumes_the_connection() {
    let authority = Authority::new();
    let Some(unbound) = Unbound::start(&authority, 0, Scheme::Dot) else { return };
    let shared = shared(policy(Scheme::Dot), &authority.trust());
    for is_resumed in [false, true] {
        let events = unbound.ask(dot(&shared), 200);
        let Some(Event::Ready(ready)) = events.first() else { panic!("{events:?}") };
        assert_eq!((ready.version, ready.is_resumed), ("1.3", is_resumed));
        assert_eq!(answered(&events), (100..300).collect::<Vec<_>>());
    }
}

#[test]
fn unbound_answers_many_queries_over_https_and_resumes_the_connection() {
    let authority = Authority::new();
    let Some(unbound) = Unbound::start(&authority, 1, Scheme::Doh) else { return };
    let shared = shared(policy(Scheme::Doh), &authority.trust());
    for is_resumed in [false, true] {
        let events = unbound.ask(DohSession::new(&shared).expect("a session"), 50);
        let Some(Event::Ready(ready)) = events.first() else { panic!("{events:?}") };
        assert_eq!((ready.version, ready.has_alpn, ready.is_resumed), ("1.3", true, is_resumed));
        assert_eq!(answered(&events), (100..150).collect::<Vec<_>>());
    }
}

#[test]
fn unbound_is_accepted_by_its_address_and_refused_by_another_name() {
    let authority = Authority::new();
    let Some(unbound) = Unbound::start(&authority, 2, Scheme::Dot) else { return };
    let named = |name: &str| {
        let server_name = ServerName::try_from(name.to_owned()).expect("a name");
        shared(Policy { server_name, ..policy(Scheme::Dot) }, &authority.trust())
    };
    let events = unbound.ask(dot(&named(&unbound.address.ip().to_string())), 1);
    assert_eq!(answered(&events), [100], "{events:?}");
    let events = unbound.ask(dot(&named("other.example")), 1);
    let is_refused =
        matches!(events.as_slice(), [Event::Closed(Error::Certificate(Fault::OtherName { .. }))]);
    assert!(is_refused, "{events:?}");
}
