//! Upstreams by host name, which the daemon looks up at its bootstrap servers.

use super::{Authority, NAME, configuration, own_address, rcode, scripted};
use crate::support::{Daemon, Upstream, compose, directory, ends};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::{Message, Section};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

/// A server that knows one address for each name, and how often it was asked for another name than
/// [`NAME`].
struct Bootstrap {
    server: Upstream,
    address: Arc<Mutex<IpAddr>>,
    others: Arc<Mutex<Vec<String>>>,
}

impl Bootstrap {
    fn start(address: IpAddr) -> Bootstrap {
        let (address, others) = (Arc::new(Mutex::new(address)), Arc::new(Mutex::new(Vec::new())));
        let (current, seen) = (Arc::clone(&address), Arc::clone(&others));
        let server = Upstream::start(move |query, _| {
            let message = Message::read(query).expect("the daemon's own query");
            let question = message.question().expect("a question");
            let name = question.name.to_lower().to_string();
            if name != format!("{NAME}.") {
                seen.lock().expect("no panic").push(name);
            }
            let IpAddr::V4(found) = *current.lock().expect("no panic") else { return Vec::new() };
            vec![(0, of_address(query, found))]
        });
        Bootstrap { server, address, others }
    }
}

/// The answer of a server that knows this address for each name.
fn of_address(query: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let message = Message::read(query).expect("the daemon's own query");
    let rtype = message.question().expect("a question").rtype;
    compose(query, Rcode::NOERROR, 0, |composer| {
        if rtype == Rtype::A {
            assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 3600, &address.octets()));
        }
    })
}

fn start(authority: &Authority, bootstrap: SocketAddr, port: u16) -> Daemon {
    let dir = directory();
    std::fs::write(dir.join("ca.pem"), &authority.pem).expect("written");
    let text = configuration(&dir, &[format!("tls://{NAME}:{port}")]);
    let servers = format!("bootstrap = [\"{bootstrap}\"]\n[[upstream]]");
    Daemon::start_in(dir, &[], &text.replacen("[[upstream]]", &servers, 1))
}

#[test]
fn the_host_name_of_an_upstream_is_looked_up_at_the_bootstrap_servers_alone() {
    let authority = Authority::new();
    let server = scripted(&authority, own_address(), NAME);
    let bootstrap = Bootstrap::start(server.address.ip());
    let daemon = start(&authority, bootstrap.server.address, server.address.port());
    for number in 0..10 {
        assert_eq!(ends(&daemon.ask(&format!("n{number}.example"))), [7], "{}", daemon.log());
    }
    assert_eq!(*bootstrap.others.lock().expect("no panic"), Vec::<String>::new(), "in clear text");
    // A client that asks for the name itself is answered by the bootstrap server too.
    assert_eq!(rcode(&daemon.ask(NAME)), Rcode::NOERROR);
    let status = daemon.json(&["status"]);
    let upstream = &status["upstreams"][0];
    assert_eq!(upstream["address"], format!("tls://{NAME}:{}", server.address.port()), "{status}");
    let tls = &upstream["tls"];
    assert_eq!(
        (&tls["peer"], &tls["handshakes"]),
        (&server.address.to_string().into(), &1.into()),
        "{status}"
    );
    assert_eq!((&tls["version"], &tls["problem"]), (&"1.3".into(), &serde_json::Value::Null), "{status}");
}

#[test]
fn a_network_that_wants_a_login_is_named_and_left_behind_as_soon_as_it_lets_through() {
    let authority = Authority::new();
    let portal = scripted(&authority, own_address(), "login.example");
    let server = scripted(&authority, SocketAddr::new(own_address().ip(), portal.address.port()), NAME);
    let bootstrap = Bootstrap::start(portal.address.ip());
    let daemon = start(&authority, bootstrap.server.address, portal.address.port());
    daemon.until("the operator learns why", |daemon| {
        daemon.ask("www.example");
        let problems = daemon.json(&["status"])["problems"].to_string();
        problems.contains("captive portal") && problems.contains("opportunistic")
    });
    daemon.wait_for("captive portal");
    assert_eq!((portal.queries(), server.connections()), (0, 0));
    // The login is done: the network's own server tells the truth.
    *bootstrap.address.lock().expect("no panic") = server.address.ip();
    daemon.until("what the portal said is forgotten", |daemon| ends(&daemon.ask("www.example")) == [7]);
    daemon.until("the problem is over", |daemon| {
        !daemon.json(&["status"])["problems"].to_string().contains("captive portal")
    });
    assert_eq!(*bootstrap.others.lock().expect("no panic"), Vec::<String>::new(), "in clear text");
}

#[test]
fn a_host_name_that_cannot_be_looked_up_is_logged_until_it_can() {
    let authority = Authority::new();
    let server = scripted(&authority, own_address(), NAME);
    let address = Arc::new(Mutex::new(None::<Ipv4Addr>));
    let current = Arc::clone(&address);
    let names = Upstream::start(move |query, _| match *current.lock().expect("no panic") {
        None => vec![(0, compose(query, Rcode::SERVFAIL, 0, |_| ()))],
        Some(found) => vec![(0, of_address(query, found))],
    });
    let daemon = start(&authority, names.address, server.address.port());
    daemon.until("no query is answered", |daemon| rcode(&daemon.ask("www.example")) == Rcode::SERVFAIL);
    daemon.wait_for("cannot be used: looking up the address of 'dns.example.' gave SERVFAIL");
    let IpAddr::V4(found) = server.address.ip() else { panic!("{}", server.address) };
    *address.lock().expect("no panic") = Some(found);
    daemon.until("the name is looked up again", |daemon| ends(&daemon.ask("www.example")) == [7]);
    daemon.wait_for("can be used again");
}
