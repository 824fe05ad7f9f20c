//! The real daemon with few descriptors, and for a while without a free one: it works with those
//! that are open, each client gets a reply, and it recovers when descriptors are free again.
#![allow(clippy::disallowed_methods)] // Tests with real time.

mod support;

use hither_control::{MESSAGE_MAX, Request, encode};
use hither_net::seqpacket::Connection;
use hither_wire::codes::{Rcode, Rtype};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::{Daemon, PATIENCE, Upstream, answer, ask_for, directory, ends, frame, framed, retried, sh};

/// A daemon with this descriptor limit.
fn limited(descriptors: usize, upstreams: &[SocketAddr], more: &str) -> Daemon {
    let dir = directory();
    Daemon::configure(&dir, &[], "");
    let servers: String =
        upstreams.iter().map(|address| format!("[[upstream]]\naddress = \"{address}\"\n")).collect();
    std::fs::create_dir_all(dir.join("hither.toml.d")).expect("a directory");
    std::fs::write(dir.join("hither.toml.d/more.toml"), servers + more).expect("written");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "sh"]);
    command.arg(descriptors.to_string()).arg(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    Daemon::spawn(dir, &mut command)
}

fn rcode(reply: &[u8]) -> Rcode {
    Rcode(reply[3] & 15)
}

/// Queries that one socket sends at once: as many as its buffer can hold replies for.
struct Asked(UdpSocket, usize);

/// Sends a query for each name at once.
fn send_all(daemon: &Daemon, names: impl Iterator<Item = String>) -> Vec<Asked> {
    let names: Vec<String> = names.collect();
    let send = |names: &[String]| {
        let socket = daemon.client();
        for (id, name) in (0..).zip(names) {
            socket.send(&ask_for(name, Rtype::A, None, id)).expect("sent");
        }
        Asked(socket, names.len())
    };
    names.chunks(100).map(send).collect()
}

/// Receives one reply to each query, and counts the replies of each RCODE.
fn take_all(all: &[Asked]) -> BTreeMap<u8, usize> {
    let mut codes = BTreeMap::new();
    for Asked(socket, count) in all {
        let mut seen = BTreeSet::new();
        for n in 0..*count {
            let mut reply = [0; 512];
            let len =
                retried(|| socket.recv(&mut reply)).unwrap_or_else(|error| panic!("{n} replies: {error}"));
            *codes.entry(rcode(&reply[..len]).0).or_default() += 1;
            assert!(seen.insert([reply[0], reply[1]]), "one reply each");
        }
    }
    codes
}

fn all_are_answered(daemon: &Daemon, word: &str) {
    for n in 0..100 {
        let reply = daemon.ask(&format!("{word}{n}.example"));
        assert_eq!((rcode(&reply), ends(&reply)), (Rcode::NOERROR, vec![1]), "{word}{n}: {}", daemon.log());
    }
}

fn serves_operators_and_files(daemon: &Daemon) {
    assert_eq!(daemon.ctl(&["status"]).status.code(), Some(0), "there is a descriptor for the operator");
    assert_eq!(daemon.ctl(&["reload"]).status.code(), Some(0), "and for files");
}

fn exhausted(descriptors: usize) {
    // Well below the second after which an upstream counts as down, also on a busy machine.
    let delay = Arc::new(AtomicU64::new(300));
    let upstream = Upstream::start({
        let delay = Arc::clone(&delay);
        move |query, _| vec![(delay.load(Ordering::SeqCst), answer(query, &[1], 300))]
    });
    let daemon = limited(descriptors, &[upstream.address], "[round]\ndeadline = \"10s\"\n");
    let idle: Vec<TcpStream> =
        (0..2 * descriptors).map(|_| TcpStream::connect(daemon.server).expect("connected")).collect();
    let mut answered = 0;
    for turn in 0..3 {
        let asked = send_all(&daemon, (0..400).map(|n| format!("t{turn}n{n}.example")));
        serves_operators_and_files(&daemon);
        let codes = take_all(&asked);
        let other: Vec<&u8> =
            codes.keys().filter(|code| ![Rcode::NOERROR.0, Rcode::SERVFAIL.0].contains(code)).collect();
        assert!(other.is_empty(), "{codes:?}");
        answered += codes.get(&Rcode::NOERROR.0).unwrap_or(&0);
    }
    assert!(answered > 0, "no query is answered in an overload");
    delay.store(0, Ordering::SeqCst);
    all_are_answered(&daemon, "after");
    let mut stream = daemon.tcp();
    stream.write_all(&frame(&ask_for("stream.example", Rtype::A, None, 1))).expect("written");
    assert_eq!(
        ends(&framed(&mut stream).expect("a descriptor is freed for a client that sends a query")),
        [1]
    );
    assert!(daemon.descriptors() <= descriptors);
    drop(idle);
}

#[test]
fn with_256_descriptors_the_daemon_recovers_from_an_overload() {
    exhausted(256);
}

#[test]
fn with_64_descriptors_the_daemon_recovers_from_an_overload() {
    exhausted(64);
}

/// With this descriptor limit this many queries are outstanding at once: the upstream answers none
/// before it has received all.
fn are_out_at_once(descriptors: usize, at_once: usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut waiting: HashMap<(SocketAddr, [u8; 2]), Vec<u8>> = HashMap::new();
        while let Ok((len, peer)) = retried(|| socket.recv_from(&mut buffer)) {
            waiting.insert((peer, [buffer[0], buffer[1]]), buffer[..len].to_vec());
            for ((peer, _), query) in waiting.iter().filter(|_| waiting.len() >= at_once) {
                socket.send_to(&answer(query, &[1], 300), peer).expect("sent");
            }
        }
    });
    let daemon = limited(descriptors, &[address], "[round]\ndeadline = \"20s\"\n");
    let codes = take_all(&send_all(&daemon, (0..at_once).map(|n| format!("n{n}.example"))));
    assert_eq!(codes, BTreeMap::from([(Rcode::NOERROR.0, at_once)]));
}

#[test]
fn with_1024_descriptors_256_queries_are_outstanding_at_once() {
    are_out_at_once(1024, 256);
}

#[test]
fn with_256_descriptors_a_hundred_queries_are_outstanding_at_once() {
    are_out_at_once(256, 100);
}

/// Processor time of the daemon, in nanoseconds.
fn busy(daemon: &Daemon) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", daemon.process.id())).expect("it runs");
    text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number")
}

/// Like a host without free descriptors: the daemon cannot foresee it, and closing its own sockets
/// does not help.
#[test]
fn without_free_descriptors_open_sockets_serve_and_waiting_clients_are_served_afterwards() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))]);
    let daemon = Daemon::start(&[&upstream], "");
    let before = daemon.descriptors();
    all_are_answered(&daemon, "warm");
    assert!(daemon.descriptors() >= before + 40, "sockets are kept for the next queries");
    let limit = |soft: &str| {
        assert!(sh(&format!("prlimit --pid {} --nofile={soft}:", daemon.process.id())), "prlimit(1)");
    };
    limit("3");
    all_are_answered(&daemon, "during");
    // The kernel has accepted the connection, the daemon cannot.
    let mut stream = daemon.tcp();
    stream.write_all(&frame(&ask_for("warm1.example", Rtype::A, None, 1))).expect("written");
    daemon.wait_for("cannot be accepted");
    let began = busy(&daemon);
    std::thread::sleep(Duration::from_secs(2));
    let spent = Duration::from_nanos(busy(&daemon) - began);
    assert!(spent < Duration::from_millis(100), "{spent:?} of two seconds: a busy loop");
    // An operator's connection also waits: the kernel has accepted it when connect returns.
    let operator =
        Connection::connect(&daemon.dir.join("run/control.sock"), Some(PATIENCE)).expect("connected");
    operator.send(&encode(&Request::Status).expect("short")).expect("sent");
    limit("20000");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    assert_eq!(ends(&framed(&mut stream).expect("the waiting client is served first")), [1]);
    let mut told = vec![0; MESSAGE_MAX];
    assert!(operator.receive(&mut told).is_ok_and(|told| !told.is_empty()), "the operator is served as well");
    all_are_answered(&daemon, "after");
    assert!(
        !daemon.log().contains("the network has changed"),
        "a network that cannot be read does not count as changed"
    );
    let told = daemon.log().matches("cannot be accepted").count();
    assert!(told <= 2, "said {told} times");
}
