//! One upstream of each kind: UDP, TLS, HTTPS and QUIC. The answers of older rounds come late, and never
//! take the place of newer ones.

use super::backend::{self, page};
use super::servers::{Program, Protocol, Server};
use super::{Authority, Daemon, configuration, https, quic, tls};
use crate::support::{ask_for, compose, directory, frame, framed, retried, skip};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::{Message, Section};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// The last version of the addresses, which every upstream gives at once.
const LAST: u8 = 30;
const NAME: &str = "www.example";

/// What the four upstreams answer: the address 198.18.VERSION.UPSTREAM. In each version but the last, one or
/// two of them answer only when the next version has been seen.
#[derive(Default)]
struct Stage {
    current: AtomicU8,
    seen: Mutex<u8>,
    is_seen: Condvar,
}

impl Stage {
    fn answer(&self, upstream: u8, query: &[u8]) -> Vec<u8> {
        let version = self.current.load(Ordering::SeqCst);
        if version < LAST && (version + upstream).is_multiple_of(3) {
            let seen = self.seen.lock().expect("no panic");
            drop(self.is_seen.wait_while(seen, |seen| *seen <= version).expect("no panic"));
        }
        compose(query, Rcode::NOERROR, 0, |composer| {
            let address = [198, 18, version, upstream];
            assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 300, &address));
        })
    }

    fn note_seen(&self, version: u8) {
        *self.seen.lock().expect("no panic") = version;
        self.is_seen.notify_all();
    }

    /// A server of plain DNS that answers as this upstream, over UDP and TCP. It ends with the process.
    fn serve(self: &Arc<Stage>, upstream: u8) -> SocketAddr {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("bound");
        let stage = Arc::clone(self);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, peer)) = retried(|| udp.recv_from(&mut buffer)) {
                let socket = udp.try_clone().expect("a descriptor");
                // A peer that has gone needs no answer.
                stage.answer_later(upstream, &buffer[..length], move |answer| {
                    drop(socket.send_to(answer, peer));
                });
            }
        });
        let stage = Arc::clone(self);
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().map_while(Result::ok) {
                let stage = Arc::clone(&stage);
                std::thread::spawn(move || {
                    while let Some(query) = framed(&mut stream) {
                        let stream = stream.try_clone().expect("a descriptor");
                        stage.answer_later(upstream, &query, move |answer| {
                            drop((&stream).write_all(&frame(answer)));
                        });
                    }
                });
            }
        });
        address
    }

    /// Answers in a thread of its own, since an answer may have to wait.
    fn answer_later(self: &Arc<Stage>, upstream: u8, query: &[u8], send: impl Fn(&[u8]) + Send + 'static) {
        let (query, stage) = (query.to_vec(), Arc::clone(self));
        std::thread::spawn(move || send(&stage.answer(upstream, &query)));
    }
}

/// Version and upstream of each address of a reply.
fn addresses(reply: &[u8]) -> Vec<(u8, u8)> {
    let message = Message::read(reply).expect("a readable reply");
    assert_eq!(message.header().rcode(), Rcode::NOERROR);
    let parts = |address: IpAddr| match address {
        IpAddr::V4(v4) => (v4.octets()[2], v4.octets()[3]),
        IpAddr::V6(v6) => panic!("{v6} is nobody's"),
    };
    message.records().filter_map(|record| record.address()).map(parts).collect()
}

/// Asks all the time, until it is told to stop: what was flushed before a query is in no reply to it.
fn ask_until(client: &UdpSocket, stop: &AtomicBool, floor: &AtomicU8) -> u16 {
    let (mut asked, mut buffer) = (0_u16, [0; 1232]);
    while !stop.load(Ordering::SeqCst) {
        let oldest = floor.load(Ordering::SeqCst);
        client.send(&ask_for(NAME, Rtype::A, Some(1232), asked)).expect("sent");
        let length = retried(|| client.recv(&mut buffer)).expect("a reply");
        let found = addresses(&buffer[..length]);
        assert!(
            !found.is_empty() && found.iter().all(|(version, _)| *version >= oldest),
            "{oldest}: {found:?}"
        );
        asked = asked.wrapping_add(1);
    }
    asked
}

/// The servers in front of a stage, and the upstreams that the daemon asks; `None` if one is missing.
fn upstreams(authority: &Authority, stage: &Arc<Stage>) -> Option<(Vec<Server>, Vec<String>)> {
    let before = |program, protocol, backend| {
        let server = Server::before(backend, program, protocol, authority);
        if server.is_none() {
            skip("a race of four kinds of upstreams", &format!("{program:?} is not installed"));
        }
        server
    };
    let of_tls = before(Program::Dnsdist, Protocol::Tls, stage.serve(2))?;
    let pages = Arc::clone(stage);
    let web = backend::start(move |query| page("200 OK", backend::DNS, &pages.answer(3, query)));
    let of_https = before(Program::Nginx, Protocol::Https, web)?;
    let of_quic = before(Program::Aioquic, Protocol::Quic, stage.serve(4))?;
    let names =
        vec![stage.serve(1).to_string(), tls(of_tls.address), https(of_https.address), quic(of_quic.address)];
    Some((vec![of_tls, of_https, of_quic], names))
}

#[test]
fn no_older_answer_follows_a_newer_one_of_four_kinds_of_upstreams() {
    let (authority, stage) = (Authority::new(), Arc::new(Stage::default()));
    let Some((_servers, names)) = upstreams(&authority, &stage) else { return };
    let dir = directory();
    std::fs::write(dir.join("ca.pem"), &authority.pem).expect("written");
    let daemon = Daemon::start_in(dir.clone(), &[], &configuration(&dir, &names));
    let (stop, floor) = (AtomicBool::new(false), AtomicU8::new(0));
    let clients = [daemon.client(), daemon.client()];
    std::thread::scope(|scope| {
        let (stop, floor) = (&stop, &floor);
        let ask = |client| scope.spawn(move || ask_until(client, stop, floor));
        let asking = clients.each_ref().map(ask);
        for version in 0..=LAST {
            stage.current.store(version, Ordering::SeqCst);
            assert!(daemon.ctl(&["flush", NAME]).status.success());
            floor.store(version, Ordering::SeqCst);
            let found = addresses(&daemon.ask(NAME));
            assert!(!found.is_empty() && found.iter().all(|(of, _)| *of == version), "{version}: {found:?}");
            stage.note_seen(version);
        }
        stop.store(true, Ordering::SeqCst);
        let asked = asking.into_iter().map(|thread| thread.join().expect("no older answer"));
        assert!(asked.map(u64::from).sum::<u64>() > 0);
    });
    let all: Vec<(u8, u8)> = (1..=4).map(|upstream| (LAST, upstream)).collect();
    let is_complete = |daemon: &Daemon| {
        let mut found = addresses(&daemon.ask(NAME));
        found.sort_unstable();
        found == all
    };
    daemon.until("the set has the addresses of all upstreams", is_complete);
    daemon.until("a late response has come", |daemon| {
        daemon.json(&["stats"])["late_responses_dropped"].as_u64() >= Some(1)
    });
    // Another round meanwhile, in which each of the four answers.
    let report = daemon.json(&["query", "other.example"]);
    let attempts = report["attempts"].as_array().expect("a list");
    let asked: Vec<_> = attempts.iter().map(|attempt| attempt["upstream"].as_str()).collect();
    for name in &names {
        assert!(asked.contains(&Some(name)), "{name} is not in {report}");
    }
    for attempt in attempts {
        assert_eq!(attempt["addresses"].as_array().map(Vec::len), Some(1), "{report}");
    }
    assert!(is_complete(&daemon), "{}", daemon.log());
}
