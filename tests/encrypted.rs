//! The real daemon with encrypted upstreams: real servers, and scripted ones that misbehave.

#[path = "encrypted/backend.rs"]
mod backend;
#[path = "../src/secure/tests/sessions/support.rs"]
#[allow(dead_code)] // Sessions in memory are for the tests of their crate.
mod certificates;
#[path = "encrypted/host_names.rs"]
mod host_names;
#[path = "encrypted/hostile.rs"]
mod hostile;
#[path = "encrypted/manners.rs"]
mod manners;
#[path = "../src/daemon/upstreams/encrypted/tests/quic_server.rs"]
mod quic_server;
#[path = "encrypted/race.rs"]
mod race;
mod retry {
    pub use crate::support::retried;
}
#[path = "encrypted/servers.rs"]
mod servers;
mod support;
#[path = "encrypted/system.rs"]
mod system;
#[path = "../src/daemon/upstreams/encrypted/tests/tls_server.rs"]
#[allow(dead_code)] // The unit tests of the daemon need more of its scripts.
mod tls_server;

use certificates::{Authority, Leaf, NAME, TLS13_ALONE};
use hither_wire::codes::Rcode;
use hither_wire::message::Message;
use nix::sys::signal::Signal;
use servers::{Program, Protocol, Server, own_address};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use support::{Daemon, answer, ask_for, directory, ends, skip};
use tls_server::{Script, TlsServer};

fn seven(query: &[u8]) -> Vec<u8> {
    answer(query, &[7], 300)
}

/// A daemon with these upstreams, which trusts one authority.
fn daemon(authority: &Authority, upstreams: &[String]) -> Daemon {
    let dir = directory();
    std::fs::write(dir.join("ca.pem"), &authority.pem).expect("written");
    Daemon::start_in(dir.clone(), &[], &configuration(&dir, upstreams))
}

fn configuration(dir: &Path, upstreams: &[String]) -> String {
    let mut text = format!("[tls]\nca_file = {:?}\n", dir.join("ca.pem").display().to_string());
    for upstream in upstreams {
        text += &format!("[[upstream]]\naddress = {upstream:?}\n");
    }
    text
}

fn tls(address: SocketAddr) -> String {
    format!("tls://{NAME}@{address}")
}

fn rcode(reply: &[u8]) -> Rcode {
    Message::read(reply).expect("a readable reply").header().rcode()
}

/// A server of DNS over TLS in this process, with a certificate for `name`.
fn scripted(authority: &Authority, address: SocketAddr, name: &str) -> TlsServer {
    let identity = authority.issue(&Leaf { names: &[name], ..Leaf::default() });
    let config = certificates::Server::default().config(&identity);
    TlsServer::start(address, config, |_| Script::Answer, seven)
}

fn https(address: SocketAddr) -> String {
    format!("https://{NAME}@{address}/dns-query")
}

fn quic(address: SocketAddr) -> String {
    format!("quic://{NAME}@{address}")
}

#[test]
fn real_servers_are_asked_over_tls_https_and_quic() {
    for (program, protocol) in [
        (Program::Unbound, Protocol::Tls),
        (Program::Unbound, Protocol::Https),
        (Program::Dnsdist, Protocol::Tls),
        (Program::Dnsdist, Protocol::Https),
        (Program::Kresd, Protocol::Tls),
        (Program::Kresd, Protocol::Https),
        (Program::Nginx, Protocol::Https),
        (Program::Aioquic, Protocol::Quic),
    ] {
        let authority = Authority::new();
        let Some(server) = Server::start(program, protocol, &authority) else {
            skip(&format!("{protocol:?} with {program:?}"), "it is not installed");
            continue;
        };
        let (upstream, word) = match protocol {
            Protocol::Tls => (tls(server.address), "tls"),
            Protocol::Https => (https(server.address), "https"),
            Protocol::Quic => (quic(server.address), "quic"),
        };
        let daemon = daemon(&authority, &[upstream]);
        for number in 0..20 {
            let reply = daemon.ask(&format!("n{number}.example"));
            let log = daemon.log();
            assert_eq!(
                (rcode(&reply), ends(&reply)),
                (Rcode::NOERROR, vec![7]),
                "{program:?} {protocol:?} {log}"
            );
        }
        let entry = daemon.json(&["lookup", "n3.example"]);
        assert!(entry.to_string().contains("198.18.0.7"), "{entry}");
        let status = daemon.json(&["status"]);
        let tls = &status["upstreams"][0]["tls"];
        assert_eq!(
            (&status["upstreams"][0]["transport"], &tls["handshakes"]),
            (&word.into(), &1.into()),
            "{status}"
        );
    }
}

#[test]
fn an_upstream_over_quic_is_asked() {
    let authority = Authority::new();
    let server =
        certificates::Server { versions: &TLS13_ALONE, alpn: vec![b"doq".to_vec()], ..Default::default() };
    let address = quic_server::start(server.config(&authority.issue(&Leaf::default())), seven);
    let daemon = daemon(&authority, &[quic(address)]);
    for number in 0..20 {
        assert_eq!(ends(&daemon.ask(&format!("n{number}.example"))), [7], "{}", daemon.log());
    }
    assert_eq!(daemon.json(&["status"])["upstreams"][0]["transport"], "quic");
}

/// RFC 8484, section 5.1.
#[test]
fn what_a_web_server_says_of_the_age_of_a_response_shortens_its_ttl() {
    let authority = Authority::new();
    let fields = format!("{}\r\ncache-control: max-age=60\r\nage: 20", backend::DNS);
    let backend = backend::start(move |query| backend::page("200 OK", &fields, &seven(query)));
    let Some(server) = Server::before(backend, Program::Nginx, Protocol::Https, &authority) else {
        return skip("the age of a response", "nginx is not installed");
    };
    let daemon = daemon(&authority, &[https(server.address)]);
    let reply = daemon.ask("aged.example");
    let ttl = Message::read(&reply).expect("a readable reply").records().next().map(|record| record.ttl);
    assert_eq!(ends(&reply), [7]);
    assert!(ttl.is_some_and(|ttl| ttl <= 40 && ttl > 10), "{ttl:?}");
}

#[test]
fn a_server_that_cannot_be_trusted_is_never_asked_in_clear_text() {
    let (authority, address) = (Authority::new(), own_address());
    let server = scripted(&authority, address, "other.example");
    // Whatever comes to the same address without encryption, at its own port and at that of DNS.
    let mut watched = vec![UdpSocket::bind(address).expect("only TCP is in use")];
    let (mut streams, plain) = (Vec::new(), SocketAddr::new(address.ip(), 53));
    match (UdpSocket::bind(plain), TcpListener::bind(plain)) {
        (Ok(datagrams), Ok(listener)) => {
            watched.push(datagrams);
            streams.push(listener);
        }
        _ => skip("clear text at port 53", "it may not be bound"),
    }
    let daemon = daemon(&authority, &[tls(address)]);
    for number in 0..10 {
        assert_eq!(rcode(&daemon.ask(&format!("n{number}.example"))), Rcode::SERVFAIL);
    }
    let line = daemon.wait_for("cannot be used");
    assert!(
        line.contains(&tls(address)) && line.contains("the certificate is for 'other.example'"),
        "{line}"
    );
    assert_eq!(server.queries(), 0);
    for socket in &watched {
        socket.set_nonblocking(true).expect("an option");
        assert!(support::retried(|| socket.recv(&mut [0; 512])).is_err(), "a query in clear text");
    }
    for listener in &streams {
        listener.set_nonblocking(true).expect("an option");
        assert!(listener.accept().is_err(), "a connection without encryption");
    }
}

#[test]
fn the_next_upstream_answers_where_one_cannot_be_trusted() {
    let authority = Authority::new();
    let wrong = scripted(&authority, own_address(), "other.example");
    let right = scripted(&authority, own_address(), NAME);
    let daemon = daemon(&authority, &[tls(wrong.address), tls(right.address)]);
    for number in 0..10 {
        assert_eq!(ends(&daemon.ask(&format!("n{number}.example"))), [7]);
    }
    assert_eq!(wrong.queries(), 0);
}

#[test]
fn no_client_notices_that_one_of_two_servers_restarts() {
    let authority = Authority::new();
    let Some(mut unbound) = Server::start(Program::Unbound, Protocol::Tls, &authority) else {
        return skip("no_client_notices_that_one_of_two_servers_restarts", "unbound is not installed");
    };
    let other = scripted(&authority, own_address(), NAME);
    let daemon = daemon(&authority, &[tls(unbound.address), tls(other.address)]);
    let client = daemon.client();
    let mut buffer = [0; 1232];
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            for number in 0..400_u16 {
                let query =
                    ask_for(&format!("n{number}.example"), hither_wire::codes::Rtype::A, Some(1232), number);
                client.send(&query).expect("sent");
                let length = support::retried(|| client.recv(&mut buffer)).expect("a reply");
                assert_eq!(ends(&buffer[..length]), [7], "query {number}");
            }
        });
        for _ in 0..3 {
            unbound.restart();
        }
        asking.join().expect("every query is answered");
    });
    daemon.until("the server that was restarted is asked again", |daemon| {
        daemon.ask(&format!("again{}.example", other.queries()));
        let status = daemon.json(&["status"]);
        status["upstreams"].as_array().is_some_and(|all| all.iter().all(|one| one["state"] == "up"))
    });
}

#[test]
fn a_reload_keeps_connections() {
    let authority = Authority::new();
    let server = scripted(&authority, own_address(), NAME);
    let daemon = daemon(&authority, &[tls(server.address)]);
    assert_eq!(ends(&daemon.ask("before.example")), [7]);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("the configuration is reloaded");
    assert_eq!(ends(&daemon.ask("after.example")), [7]);
    assert_eq!((server.connections(), server.queries()), (1, 2));
    let other = scripted(&authority, own_address(), NAME);
    let text = configuration(&daemon.dir, &[tls(other.address)]);
    Daemon::configure(&daemon.dir, &[], &text);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("the configuration is reloaded");
    assert_eq!(ends(&daemon.ask("other.example")), [7]);
    assert_eq!((server.queries(), other.queries()), (2, 1));
}

#[test]
fn an_upstream_whose_authorities_are_missing_is_named_and_the_others_go_on() {
    let authority = Authority::new();
    let (lacking, right) =
        (scripted(&authority, own_address(), NAME), scripted(&authority, own_address(), NAME));
    let daemon = {
        let dir = directory();
        std::fs::write(dir.join("ca.pem"), &authority.pem).expect("written");
        let missing = dir.join("missing.pem").display().to_string();
        let text = configuration(&dir, &[tls(right.address)])
            + &format!("[[upstream]]\naddress = {:?}\nca_file = {missing:?}\n", tls(lacking.address));
        Daemon::start_in(dir, &[], &text)
    };
    assert_eq!(ends(&daemon.ask("www.example")), [7]);
    let log = daemon.log();
    assert!(log.contains("missing.pem") && log.contains("cannot be used"), "{log}");
    assert_eq!(lacking.connections(), 0);
}
