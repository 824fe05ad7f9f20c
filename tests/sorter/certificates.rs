//! Certificates of addresses: real servers with each fault, servers that know several names, and those that
//! hang or speak something else.

use crate::authorities::{Authority, Identity, Leaf, Server};
use crate::support::{Daemon, Upstream, compose, directory, ends, retried};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::Section;
use hither_wire::query::Query;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NAME: &str = "www.example";

/// What listens at an address.
#[derive(Clone)]
enum Host {
    /// A server with this certificate.
    Shows(Arc<ServerConfig>),
    /// Says something else at once.
    Says(&'static [u8]),
    /// Says the beginning of what a server with this certificate says, octet by octet.
    Begins(Arc<ServerConfig>),
    /// Accepts, and says nothing.
    Silent,
    /// Closes each connection at once.
    Closes,
}

/// What servers have seen.
#[derive(Default)]
struct Seen {
    /// The names that were shown to each address, one for each handshake.
    names: BTreeMap<IpAddr, Vec<String>>,
    /// The offered protocols.
    protocols: Vec<Vec<u8>>,
    /// Handshakes that were completed.
    completed: usize,
}

/// A certificate by the name that is asked for.
#[derive(Debug)]
struct ByName(BTreeMap<String, Arc<CertifiedKey>>, Arc<CertifiedKey>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.0.get(name));
        Some(Arc::clone(named.unwrap_or(&self.1)))
    }
}

fn certified(identity: &Identity) -> Arc<CertifiedKey> {
    let key = rustls::crypto::ring::sign::any_supported_type(&identity.key()).expect("a key");
    Arc::new(CertifiedKey::new(identity.chain.clone(), key))
}

fn shows(identity: &Identity) -> Host {
    let server = Server { alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()], ..Server::default() };
    Host::Shows(server.config(identity))
}

/// Reads what the client sends, until it ends the connection.
fn read_to_end(stream: &mut TcpStream) -> Option<()> {
    let mut octets = [0; 4096];
    while retried(|| stream.read(&mut octets)).ok()? > 0 {}
    Some(())
}

/// Serves one connection until its end.
fn serve(mut stream: TcpStream, at: IpAddr, host: &Host, seen: &Mutex<Seen>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let (config, is_slow) = match host {
        Host::Shows(config) => (config, false),
        Host::Begins(config) => (config, true),
        Host::Says(octets) => {
            stream.write_all(octets).ok()?;
            read_to_end(&mut stream)?;
            return None;
        }
        Host::Silent => {
            read_to_end(&mut stream)?;
            return None;
        }
        Host::Closes => return None,
    };
    let mut connection = ServerConnection::new(Arc::clone(config)).ok()?;
    while connection.is_handshaking() {
        while connection.wants_write() {
            if is_slow {
                let mut octets = Vec::new();
                connection.write_tls(&mut octets).ok()?;
                for octet in octets.chunks(1).take(200) {
                    stream.write_all(octet).ok()?;
                }
                read_to_end(&mut stream)?;
                return None;
            }
            connection.write_tls(&mut stream).ok()?;
        }
        if connection.read_tls(&mut stream).ok()? == 0 {
            return None;
        }
        let is_right = connection.process_new_packets().is_ok();
        if let Some(name) = connection.server_name() {
            let mut seen = seen.lock().expect("no panic");
            let names = seen.names.entry(at).or_default();
            names.push(name.to_owned());
            let protocol = connection.alpn_protocol().map(<[u8]>::to_vec);
            seen.protocols.extend(protocol);
        }
        if !is_right {
            return None;
        }
    }
    seen.lock().expect("no panic").completed += 1;
    Some(())
}

/// Hosts at addresses 127.0.0.n, all at one port.
struct Net {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Net {
    fn start(hosts: &[(u8, Host)]) -> Net {
        let bind = || -> Option<(u16, Vec<TcpListener>)> {
            let first = TcpListener::bind(("127.0.0.1", 0)).ok()?;
            let port = first.local_addr().ok()?.port();
            let listen =
                |(end, _): &(u8, Host)| TcpListener::bind((Ipv4Addr::new(127, 0, 0, *end), port)).ok();
            Some((port, hosts.iter().map(listen).collect::<Option<Vec<_>>>()?))
        };
        let (port, listeners) = std::iter::repeat_with(bind).take(50).flatten().next().expect("a port");
        let seen = Arc::new(Mutex::new(Seen::default()));
        for (listener, (_, host)) in listeners.into_iter().zip(hosts.iter().cloned()) {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || {
                let at = listener.local_addr().expect("bound").ip();
                while let Ok((stream, _)) = retried(|| listener.accept()) {
                    let (host, seen) = (host.clone(), Arc::clone(&seen));
                    std::thread::spawn(move || serve(stream, at, &host, &seen));
                }
            });
        }
        Net { port, seen }
    }

    /// How many handshakes have begun with each name.
    fn handshakes(&self) -> BTreeMap<String, usize> {
        let seen = self.seen.lock().expect("no panic");
        let mut count = BTreeMap::new();
        seen.names.values().flatten().for_each(|name| *count.entry(name.clone()).or_default() += 1);
        count
    }
}

/// An upstream that gives each name addresses 127.0.0.n.
fn upstream(sets: &'static [(&'static str, &'static [u8])]) -> Upstream {
    Upstream::start(move |query, _| {
        let asked = Query::read(query).expect("the daemon's own query");
        let name = asked.name_lower().to_string();
        let set =
            sets.iter().find(|(own, _)| name.trim_end_matches('.') == *own).map_or(&[][..], |(_, set)| set);
        vec![(
            0,
            compose(query, Rcode::NOERROR, 0, |c| {
                for end in set.iter().filter(|_| asked.qtype() == Rtype::A) {
                    assert!(c.record(Section::Answer, Owner::At(12), Rtype::A, 300, &[127, 0, 0, *end]));
                }
            }),
        )]
    })
}

fn daemon(upstream: &Upstream, authority: &Authority, port: u16, more: &str) -> Daemon {
    let dir = directory();
    let file = dir.join("ca.pem");
    std::fs::write(&file, &authority.pem).expect("written");
    let text = format!(
        "[tls]\nca_file = {:?}\n[sort]\nprobes = [\"tls:{port}\"]\nprivate = true\ntimeout = \"500ms\"\n{more}",
        file.display().to_string()
    );
    Daemon::configure(&dir, &[upstream], &text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--with-sorter").arg("--config").arg(dir.join("hither.toml"));
    let daemon = Daemon::spawn(dir, &mut command);
    daemon.until("the sorter is there", |d| d.json(&["status"])["sorter"]["pid"].is_i64());
    daemon
}

/// The addresses of a name in the table, by their last octets, with their verdicts.
fn trusts(daemon: &Daemon, name: &str) -> Vec<(u8, String)> {
    let entry = daemon.json(&["lookup", name]);
    let one = |one: &Value| {
        let end = one["address"].as_str()?.rsplit('.').next()?.parse().ok()?;
        Some((end, one["trust"].as_str()?.to_owned()))
    };
    entry["addresses"].as_array().into_iter().flatten().filter_map(one).collect()
}

#[test]
fn an_address_with_another_certificate_comes_last_and_stays_there() {
    let authority = Authority::new();
    let good = authority.issue(&Leaf { names: &[NAME, "excepted.example"], ..Leaf::default() });
    let other = authority.issue(&Leaf { names: &["other.example"], ..Leaf::default() });
    let net = Net::start(&[(71, shows(&other)), (72, shows(&good)), (73, shows(&good)), (74, shows(&good))]);
    let upstream = upstream(&[(NAME, &[71, 72, 73, 74]), ("excepted.example", &[71, 72, 73, 74])]);
    let daemon = daemon(&upstream, &authority, net.port, "tls_except = [\"excepted.example\"]\n");
    daemon.ask("excepted.example");
    daemon.ask(NAME);
    let is_last = |d: &Daemon| {
        let all = trusts(d, NAME);
        all.last() == Some(&(71, "other_name".to_owned()))
            && all.iter().filter(|(_, trust)| trust == "verified").count() == 3
    };
    daemon.until("the address is last", is_last);
    assert_eq!(ends(&daemon.ask(NAME)).last(), Some(&71), "over DNS too");
    daemon.until("the other name is sorted", |d| d.json(&["lookup", "excepted.example"])["sorted"] == true);
    assert!(trusts(&daemon, "excepted.example").iter().all(|(_, trust)| trust == "unknown"));
    assert_eq!(net.handshakes(), BTreeMap::from([(NAME.to_owned(), 4)]), "one for each address");
    {
        let seen = net.seen.lock().expect("no panic");
        assert_eq!(seen.protocols, vec![b"h2".to_vec(); 4]);
        assert_eq!(seen.completed, 0, "each ends with the certificate");
    }
    // Another sorter knows no verdict; those of the table stay until it has its own.
    let pid = daemon.json(&["status"])["sorter"]["pid"].as_i64().expect("connected");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL)
        .expect("it runs");
    daemon.until("another sorter has judged the name", |_| net.handshakes().get(NAME) == Some(&8));
    assert!(is_last(&daemon), "{:?}", trusts(&daemon, NAME));
}

#[test]
fn each_fault_has_its_word_and_no_server_stops_the_sorter() {
    let authority = Authority::new();
    let issue = |names: &[&str], years| authority.issue(&Leaf { names, years, ..Leaf::default() });
    let (valid, name) = ((2020, 2099), &[NAME][..]);
    let good = issue(name, valid);
    let stranger = Authority::called("another one").issue(&Leaf { names: name, ..Leaf::default() });
    let Host::Shows(begun) = shows(&good) else { panic!("a server") };
    let hosts = [
        (81, shows(&issue(&["other.example"], valid)), "other_name"),
        (82, shows(&issue(name, (2020, 2024))), "expired"),
        (83, shows(&issue(name, (2098, 2099))), "not_yet"),
        (84, shows(&stranger), "untrusted"),
        (85, Host::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "no_tls"),
        (86, Host::Silent, "unknown"),
        (87, Host::Begins(begun), "unknown"),
        (88, Host::Closes, "no_tls"),
        (89, shows(&good), "verified"),
        (90, Host::Says(b"\x15\x03\x03\x00\x02\x02\x70"), "other_name"),
        (91, Host::Says(b"\x15\x03\x03\x00\x02\x02\x28"), "unknown"),
    ];
    let net = Net::start(&hosts.clone().map(|(end, host, _)| (end, host)));
    let upstream = upstream(&[(NAME, &[81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92])]);
    let daemon = daemon(&upstream, &authority, net.port, "");
    daemon.ask(NAME);
    let mut expected: BTreeMap<u8, String> =
        hosts.iter().map(|(end, _, trust)| (*end, (*trust).to_owned())).collect();
    expected.insert(92, "no_tls".to_owned());
    daemon.until("all are judged", |d| trusts(d, NAME).into_iter().collect::<BTreeMap<_, _>>() == expected);
    let order = trusts(&daemon, NAME);
    let last: Vec<u8> = order.iter().rev().take(3).map(|(end, _)| *end).collect();
    let mut sorted = last.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [81, 84, 90], "those that are not the name's: {order:?}");
}

#[test]
fn a_server_of_several_names_is_judged_for_each_and_nothing_moves_where_all_fail() {
    let authority = Authority::new();
    let one = certified(&authority.issue(&Leaf { names: &["one.example"], ..Leaf::default() }));
    let default = certified(&authority.issue(&Leaf { names: &["default.example"], ..Leaf::default() }));
    let by_name = ByName(BTreeMap::from([("one.example".to_owned(), one)]), default);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_cert_resolver(Arc::new(by_name));
    let host = Host::Shows(Arc::new(config));
    let net = Net::start(&[(75, host.clone()), (76, host)]);
    let upstream = upstream(&[("one.example", &[75, 76]), ("two.example", &[75, 76])]);
    let daemon = daemon(&upstream, &authority, net.port, "");
    for (name, expected) in [("one.example", "verified"), ("two.example", "other_name")] {
        daemon.ask(name);
        let is_judged = |d: &Daemon| {
            let all = trusts(d, name);
            all.len() == 2 && all.iter().all(|(_, trust)| trust == expected)
        };
        daemon.until("both are judged", is_judged);
    }
    assert_eq!(daemon.json(&["lookup", "two.example"])["sorted"], true);
    let address = SocketAddr::from(([127, 0, 0, 75], net.port));
    assert!(TcpStream::connect(address).is_ok(), "the servers still run");
}
