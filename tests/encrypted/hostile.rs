//! Hostile and broken servers beside a plain one that answers: clients notice nothing, the operator learns
//! what is wrong, and the daemon neither grows nor panics.

use super::backend::{self, page};
use super::certificates::{self, Authority, ClientRoots, Identity, Leaf, TLS12_ALONE, TLS13_ALONE};
use super::manners::{self, Manner};
use super::servers::{Program, Protocol, Server, own_address};
use super::tls_server::{Script, TlsServer};
use super::{Daemon, configuration, ends, https, quic, quic_server, seven, tls};
use crate::support::{Upstream, ask_for, directory, retried, skip};
use hither_connections::{DRAINING_MAX, READY_MAX};
use hither_wire::codes::Rtype;
use rustls::{RootCertStore, ServerConfig};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Queries that are asked together, and rounds of them.
const BURST: u16 = 16;
const BURSTS: u16 = 10;
/// How long the replies may take that are awaited together, on a busy machine.
const BURST_WITHIN: Duration = Duration::from_secs(10);
/// Descriptors and memory by which the daemon may grow while it asks.
const DESCRIPTORS_MORE: usize = 24;
const KIB_MORE: u64 = 2_048;
/// Connections to the hostile server: some take queries, some are drained, one is made.
const CONNECTIONS_MAX: usize = READY_MAX + DRAINING_MAX + 1;

/// What the status says of an upstream in the end.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// The problem contains these words, as the log did.
    Says(&'static str),
    /// It is not taken as usable, since it does not answer.
    Silent,
    /// It answers as others do.
    Works,
}
use Expected::{Says, Silent, Works};

struct Case {
    what: String,
    /// Its address in the configuration.
    upstream: String,
    /// More keys of it.
    keys: String,
    expected: Expected,
    /// Ends with the case.
    _server: Option<Server>,
}

fn case(what: impl Into<String>, upstream: String, expected: Expected) -> Case {
    Case { what: what.into(), upstream, keys: String::new(), expected, _server: None }
}

/// Tries all cases side by side.
fn run(authority: &Authority, cases: Vec<Case>) {
    std::thread::scope(|scope| {
        for case in cases {
            let pem = &authority.pem;
            let name = case.what.clone();
            let thread = std::thread::Builder::new().name(name);
            thread.spawn_scoped(scope, move || try_case(pem, &case)).expect("a thread");
        }
    });
}

fn try_case(pem: &str, case: &Case) {
    let good = Upstream::start(|query, _| vec![(0, seven(query))]);
    let dir = directory();
    std::fs::write(dir.join("ca.pem"), pem).expect("written");
    let hostile = configuration(&dir, std::slice::from_ref(&case.upstream)) + &case.keys;
    let text = format!("{hostile}[[upstream]]\naddress = \"{}\"\n", good.address);
    let daemon = Daemon::start_in(dir, &[], &text);
    ask(&daemon, case, BURST);
    daemon.until(&format!("{}: {:?}", case.what, case.expected), |daemon| {
        ask(daemon, case, 2);
        let log = daemon.log();
        match case.expected {
            // The status is asked once the log has it.
            Says(words) => log.contains(words) && problem(daemon).contains(words),
            Silent => ["silent", "down"].contains(&&*state(daemon)),
            Works => state(daemon) == "up",
        }
    });
    let (descriptors, kib) = (daemon.descriptors(), private_kib(&daemon));
    (0..BURSTS).for_each(|_| ask(&daemon, case, BURST));
    // The thread of handshakes may still have the socket of a connection that is given up.
    daemon.until(&format!("{}: few connections", case.what), |_| connections(case) <= CONNECTIONS_MAX);
    let grown = private_kib(&daemon).saturating_sub(kib);
    assert!(grown < KIB_MORE, "{}: {grown} KiB more", case.what);
    // Each query over UDP has a socket of its own, which is kept for a while.
    let most = descriptors + usize::from(BURSTS * BURST) + DESCRIPTORS_MORE;
    assert!(daemon.descriptors() < most, "{}: {} descriptors", case.what, daemon.descriptors());
    assert!(!daemon.log().contains("panicked"), "{}: {}", case.what, daemon.log());
}

fn state(daemon: &Daemon) -> String {
    daemon.json(&["status"])["upstreams"][0]["state"].as_str().unwrap_or_default().to_owned()
}

fn problem(daemon: &Daemon) -> String {
    daemon.json(&["status"])["upstreams"][0]["tls"]["problem"].as_str().unwrap_or_default().to_owned()
}

/// Asks for so many names that nobody has asked for. Each gets the address that is right.
fn ask(daemon: &Daemon, case: &Case, names: u16) {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    let (client, began) = (daemon.client(), Instant::now());
    for id in 0..names {
        let name = format!("n{}.example", NAMES.fetch_add(1, Ordering::SeqCst));
        client.send(&ask_for(&name, Rtype::A, Some(1232), id)).expect("sent");
    }
    let mut buffer = [0; 1232];
    for _ in 0..names {
        let length = retried(|| client.recv(&mut buffer)).expect("a reply");
        assert_eq!(ends(&buffer[..length]), [7], "{}: {}", case.what, daemon.log());
    }
    assert!(began.elapsed() < BURST_WITHIN, "{}: {:?}", case.what, began.elapsed());
}

/// The memory that the daemon alone uses.
fn private_kib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.process.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line of the kernel");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The sockets that are connected to the hostile server, and have not been closed by the daemon.
fn connections(case: &Case) -> usize {
    let place = case.upstream.split('@').nth(1).expect("an address");
    let address: SocketAddrV4 = place.trim_end_matches("/dns-query").parse().expect("an address");
    let remote = format!("{:08X}:{:04X}", address.ip().to_bits().swap_bytes(), address.port());
    let of = |table: &str| {
        let text = std::fs::read_to_string(format!("/proc/net/{table}")).expect("a table of the kernel");
        let is_own = |line: &&str| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next() == Some(&remote) && fields.nth(6) != Some("0")
        };
        text.lines().filter(is_own).count()
    };
    of("tcp") + of("udp")
}

/// The configuration of a server with this certificate, for each of the three schemes.
fn of_schemes(identity: &Identity, clients: Option<&Arc<RootCertStore>>) -> [Arc<ServerConfig>; 3] {
    ["dot", "h2", "doq"].map(|alpn| {
        let asks_for_client_certificate = clients.map(|roots| ClientRoots(Arc::clone(roots)));
        let alpn = vec![alpn.into()];
        certificates::Server { versions: &TLS13_ALONE, alpn, asks_for_client_certificate }.config(identity)
    })
}

/// A server of each scheme, and its address in the configuration.
fn each_scheme([dot, doh, doq]: [Arc<ServerConfig>; 3]) -> [String; 3] {
    let over_tls = |config| manners::start(config, Manner::Mute);
    [tls(over_tls(dot)), https(over_tls(doh)), quic(quic_server::start(doq, seven))]
}

#[test]
fn a_server_that_cannot_be_authenticated_is_named() {
    let (authority, stranger) = (Authority::new(), Authority::called("another authority"));
    let leaf = |first, last| Leaf { years: (first, last), ..Leaf::default() };
    let mut roots = RootCertStore::empty();
    roots.add(authority.issue(&Leaf::default()).chain[0].clone()).expect("a certificate");
    let clients = Some(Arc::new(roots));
    let right = authority.issue(&Leaf::default());
    let other_pin = format!("pins = [\"sha256/{}=\"]\n", "A".repeat(43));
    let mut cases = Vec::new();
    for (identity, clients, keys, words) in [
        (&authority.issue(&leaf(2000, 2001)), None, "", "the certificate expired at 2001-01-01"),
        (&authority.issue(&leaf(2090, 2099)), None, "", "the certificate is valid from 2090-01-01"),
        (&stranger.issue(&Leaf::default()), None, "", "the certificate is not issued by a known authority"),
        (&right, None, &other_pin, "the key of the certificate is none of 'pins'"),
        (&right, clients.as_ref(), "", "the upstream demands a client certificate"),
    ] {
        for upstream in each_scheme(of_schemes(identity, clients)) {
            let keys = keys.to_owned();
            cases.push(Case { keys, ..case(upstream.clone(), upstream, Says(words)) });
        }
    }
    run(&authority, cases);
}

#[test]
fn no_manner_of_a_server_over_tls_harms_clients() {
    let authority = Authority::new();
    let identity = authority.issue(&Leaf::default());
    let usual = certificates::Server::default().config(&identity);
    let older = certificates::Server { versions: &TLS12_ALONE, ..Default::default() }.config(&identity);
    let late = Says("did not complete the handshake in time");
    let ends = Says("accepts connections and answers no query on them");
    let mut cases = Vec::new();
    for (manner, config, expected) in [
        (Manner::Octets(0), &usual, late),
        (Manner::Octets(60), &usual, late),
        (Manner::Flights(1), &older, late),
        (Manner::Flights(1), &usual, Silent),
        (Manner::Mute, &usual, Silent),
        (Manner::OtherId, &usual, ends),
        (Manner::Twice, &usual, Works),
        (Manner::Backwards, &usual, Works),
        (Manner::OneByOne, &usual, Works),
        (Manner::OneByOne, &older, Works),
        (Manner::EndsAfterEach, &usual, Works),
        (Manner::HalfClosed, &usual, ends),
        (Manner::Resets, &usual, ends),
        (Manner::HalfAnswer, &usual, ends),
        (Manner::Short, &usual, Says("a message of 3 octets; expected at least the 12 of DNS")),
        (Manner::Chatters, &usual, ends),
    ] {
        let address = manners::start(Arc::clone(config), manner);
        cases.push(case(format!("{manner:?}"), tls(address), expected));
    }
    let raw = |script| TlsServer::start(own_address(), Arc::clone(&usual), script, seven).address;
    let speaks_http = raw(|_| Script::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    cases.push(case("no TLS", tls(speaks_http), Says("does not speak TLS")));
    let hangs_up = raw(|_| Script::HangUp);
    cases.push(case(
        "hangs up",
        tls(hangs_up),
        Says("the upstream ended the connection during the handshake"),
    ));
    run(&authority, cases);
}

#[test]
fn no_response_of_a_web_server_harms_clients() {
    let authority = Authority::new();
    let identity = authority.issue(&Leaf::default());
    let mut cases = Vec::new();
    let tries: [(&str, Vec<u8>, &'static str); 7] = [
        ("500", page("500 Internal Server Error", "x: y", b"oops"), "HTTP status 500; expected 200"),
        ("302", page("302 Found", "location: https://login.example/", b""), "HTTP status 302; expected 200"),
        (
            "429",
            page("429 Too Many Requests", "retry-after: 120", b""),
            "HTTP status 429 and wants no query for 120 s",
        ),
        ("503", page("503 Service Unavailable", "retry-after: \"", b""), "HTTP status 503; expected 200"),
        ("text", page("200 OK", "content-type: text/html", b"<html>"), "is not 'application/dns-message'"),
        ("empty", page("200 OK", backend::DNS, b""), "fewer octets than a DNS message has"),
        ("huge", page("200 OK", backend::DNS, &[7; 3_000_000]), "or more than 65535"),
    ];
    for (what, response, words) in tries {
        let backend = backend::start(move |_| response.clone());
        let Some(server) = Server::before(backend, Program::Nginx, Protocol::Https, &authority) else {
            skip("hostile web servers", "nginx is not installed");
            break;
        };
        let upstream = https(server.address);
        cases.push(Case { _server: Some(server), ..case(what, upstream, Says(words)) });
    }
    let of_alpn = |alpn: &[&str]| {
        let alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        certificates::Server { alpn, ..Default::default() }.config(&identity)
    };
    for (what, alpn, words) in [
        ("no ALPN", &[][..], "does not speak the protocol 'h2'"),
        ("no HTTP/2", &["h2"], "the upstream broke the rules of HTTP/2"),
    ] {
        let address = manners::start(of_alpn(alpn), Manner::Chatters);
        cases.push(case(what, https(address), Says(words)));
    }
    run(&authority, cases);
}

#[test]
fn a_web_server_that_asks_for_time_is_left_alone() {
    let authority = Authority::new();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let backend = backend::start(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        page("503 Service Unavailable", "retry-after: 3600", b"")
    });
    let Some(server) = Server::before(backend, Program::Nginx, Protocol::Https, &authority) else {
        return skip("a web server that asks for time", "nginx is not installed");
    };
    let good = Upstream::start(|query, _| vec![(0, seven(query))]);
    let daemon = super::daemon(&authority, &[https(server.address), good.address.to_string()]);
    let case = case("503", https(server.address), Works);
    ask(&daemon, &case, 1);
    daemon.wait_for("HTTP status 503 and wants no query for 3600 s");
    let before = requests.load(Ordering::SeqCst);
    (0..50).for_each(|_| ask(&daemon, &case, 1));
    let report = daemon.json(&["query", "left-alone.example"]).to_string();
    assert!(report.contains("not connected"), "{report}");
    assert_eq!(requests.load(Ordering::SeqCst), before, "it is asked although it wants no query");
}

/// A server that answers each datagram of QUIC with the one version that it has, which nobody else has.
fn other_version() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut buffer = [0; 2_000];
        while let Ok((length, peer)) = retried(|| socket.recv_from(&mut buffer)) {
            // The ids of both sides change places (RFC 9000, section 17.2.1).
            let Some((own, rest)) = buffer[5..length].split_at_checked(1 + usize::from(buffer[5])) else {
                continue;
            };
            let Some(theirs) = rest.get(..1 + usize::from(rest[0])) else { continue };
            let offer = [&[0x80, 0, 0, 0, 0][..], theirs, own, &[0x1a, 0x2a, 0x3a, 0x4a]].concat();
            let _ = socket.send_to(&offer, peer);
        }
    });
    address
}

/// A server that receives datagrams and sends none.
fn silent() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    std::thread::spawn(move || while retried(|| socket.recv(&mut [0; 2_000])).is_ok() {});
    address
}

#[test]
fn no_manner_of_a_server_over_quic_harms_clients() {
    let authority = Authority::new();
    let identity = authority.issue(&Leaf::default());
    let of_http =
        certificates::Server { versions: &TLS13_ALONE, alpn: vec![b"h3".to_vec()], ..Default::default() };
    let of_http = quic_server::start(of_http.config(&identity), seven);
    let closed = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let mut cases = vec![
        case("other version", quic(other_version()), Says("it does not speak version 1 of QUIC")),
        case("silent", quic(silent()), Says("cannot be reached")),
        case("another protocol", quic(of_http), Says("check scheme and port of the upstream")),
        case("closed", quic(closed), Says("refuses connections")),
    ];
    let nowhere = Upstream::start(|_, _| Vec::new());
    match Server::that_resets(nowhere.address, &authority) {
        Some(server) => {
            let upstream = quic(server.address);
            let expected = Says("accepts connections and answers no query on them");
            cases.push(Case { _server: Some(server), ..case("stateless reset", upstream, expected) });
        }
        None => skip("a stateless reset of QUIC", "aioquic is not installed"),
    }
    run(&authority, cases);
}
