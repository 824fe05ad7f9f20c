//! Tests with the real kernel: batches, ports, alarms, signals, local sockets, sockets passed by systemd.
#![allow(clippy::print_stdout)] // The child of a test prints its findings.

#[path = "../../../tests/support/retry.rs"]
mod retry;
#[path = "../../../tests/support/skip.rs"]
mod skip;

use hither_net::batch::{Batch, Outgoing};
use hither_net::random::Random;
use hither_net::seqpacket::{Connection, Listener};
use hither_net::{activation, clock, listen, ports, signals};
use hither_table::Monotonic;
use mio::{Events, Interest, Poll, Token};
use retry::retried;
use skip::skip;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn client(server: SocketAddr) -> UdpSocket {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket.connect(server).expect("a route");
    socket
}

/// Replies to `left` datagrams with their octets reversed.
fn echo_reversed(socket: &UdpSocket, mut left: usize) {
    let mut mio = mio::net::UdpSocket::from_std(socket.try_clone().expect("a descriptor"));
    let (mut poll, mut events) = (Poll::new().expect("a poll"), Events::with_capacity(8));
    poll.registry().register(&mut mio, Token(0), Interest::READABLE).expect("registered");
    let mut batch = Batch::new();
    while left > 0 {
        let Ok(n) = batch.receive(socket) else {
            retried(|| poll.poll(&mut events, Some(PATIENCE))).expect("polled");
            assert!(!events.is_empty(), "{left} datagrams never came");
            continue;
        };
        for at in 0..n {
            assert!(batch.peer(at).is_some_and(|peer| peer.port() != 0));
            let (received, mut replies) = batch.parts();
            let query = received.query(at);
            replies.write(at, |out| {
                out[..query.len()].copy_from_slice(query);
                out[..query.len()].reverse();
                query.len()
            });
        }
        left -= batch.send(socket);
    }
}

fn exchange(bind: &str, ask: &[&str]) {
    let server = match listen::udp(bind.parse().expect("an address"), false) {
        Ok(server) => server,
        Err(error) => return skip(&format!("exchanges at {bind}"), &error.to_string()),
    };
    let port = server.local_addr().expect("bound").port();
    let clients: Vec<UdpSocket> = ask
        .iter()
        .flat_map(|ip| (0..20).map(move |_| client(SocketAddr::new(ip.parse().expect("an address"), port))))
        .collect();
    for client in &clients {
        for n in 0..5u8 {
            client.send(&[n, 1, 2, 3]).expect("sent");
        }
    }
    echo_reversed(&server, 5 * clients.len());
    for client in &clients {
        // The socket is connected: only datagrams from the queried address are received.
        let answers: BTreeSet<u8> = (0..5)
            .map(|_| {
                let mut reply = [0; 16];
                assert_eq!(retried(|| client.recv(&mut reply)).expect("a reply"), 4);
                reply[3]
            })
            .collect();
        assert_eq!(answers.len(), 5);
    }
}

#[test]
fn every_datagram_of_a_batch_is_answered_from_the_address_it_was_sent_to() {
    exchange("127.0.0.1:0", &["127.0.0.1"]);
    exchange("0.0.0.0:0", &["127.0.0.1", "127.0.0.5", "127.9.9.9"]);
    exchange("[::1]:0", &["::1"]);
    exchange("[::]:0", &["::1"]);
}

#[test]
fn a_late_reply_takes_the_route_of_its_query() {
    let server = listen::udp("0.0.0.0:0".parse().expect("an address"), false).expect("bound");
    let port = server.local_addr().expect("bound").port();
    let client = client(SocketAddr::new("127.0.0.7".parse().expect("an address"), port));
    client.send(b"query").expect("sent");
    let mut batch = Batch::new();
    while batch.receive(&server).is_err() {
        std::thread::yield_now();
    }
    let mut later = Outgoing::new();
    let written = later.push(&batch.route(0), |out| {
        out[..5].copy_from_slice(b"reply");
        5
    });
    assert!(written && later.send(&server) == 1 && later.is_empty());
    let mut reply = [0; 16];
    assert_eq!(retried(|| client.recv(&mut reply)).expect("a reply"), 5);
}

#[test]
fn ports_of_upstream_sockets_are_spread_over_the_range() {
    let upstream = UdpSocket::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound");
    let mut random = Random::new().expect("a seed");
    let ports: BTreeSet<u16> =
        (0..500).map(|_| ports::udp(upstream, 0, || random.draw()).expect("a socket").1).collect();
    assert!(ports.len() >= 480, "{}", ports.len());
    let (low, high) = (ports.first().expect("some"), ports.last().expect("some"));
    assert!(*low < 5_000 && *high > 61_000, "chosen from the whole range, not {low} to {high}");
    let taken = ports.len();
    assert!(
        taken > 0 && ports::udp(upstream, 0, || 0).is_ok() && ports::udp(upstream, 0, || 0).is_ok(),
        "a port in use is not an error"
    );
}

#[test]
fn an_alarm_rings_after_its_time_and_not_before() {
    let mut alarm = clock::Alarm::new().expect("a timer");
    let (mut poll, mut events) = (Poll::new().expect("a poll"), Events::with_capacity(8));
    poll.registry().register(&mut alarm, Token(0), Interest::READABLE).expect("registered");
    let at = clock::now().plus(Duration::from_millis(3));
    alarm.set(Some(at)).expect("set");
    retried(|| poll.poll(&mut events, Some(PATIENCE))).expect("polled");
    assert!(!events.is_empty() && clock::now() >= at);
    alarm.ack();
    alarm.set(Some(Monotonic(1))).expect("a time that has passed rings at once");
    retried(|| poll.poll(&mut events, Some(PATIENCE))).expect("polled");
    assert!(!events.is_empty());
}

#[test]
fn local_messages_stay_separate_and_the_sender_is_known() {
    let path = std::env::temp_dir().join(format!("hither-net-{}.sock", std::process::id()));
    let listener = Listener::bind(&path, 0o600).expect("bound");
    assert!(listener.accept().expect("nothing wrong").is_none());
    let near = Connection::connect(&path, Some(PATIENCE)).expect("connected");
    let far = listener.accept().expect("nothing wrong").expect("a connection");
    assert_eq!(far.peer().expect("known").pid, i32::try_from(std::process::id()).expect("small"));
    near.send(b"one").expect("sent");
    near.send(&[7; 100]).expect("sent");
    let mut buffer = [0; 50];
    assert_eq!(far.receive(&mut buffer).expect("there"), b"one");
    assert_eq!(far.receive(&mut buffer).expect_err("too long").kind(), ErrorKind::InvalidData);
    assert_eq!(far.receive(&mut buffer).expect_err("nothing").kind(), ErrorKind::WouldBlock);
    drop(near);
    assert!(far.receive(&mut buffer).expect("the end").is_empty());
    let _second = Listener::bind(&path, 0o600).expect("a predecessor's socket is replaced");
    std::fs::remove_file(&path).expect("removable");
}

/// Runs this test as a child process with descriptors where systemd puts them. The child prints the
/// sockets that it finds.
#[test]
fn sockets_passed_by_systemd_are_distinguished_by_name_and_type() {
    if std::env::var_os("HITHER_TEST_CHILD").is_some() {
        match activation::inherited() {
            Ok(found) => found.iter().for_each(|one| match one {
                Ok(one) => println!("{} {:?}", one.name, one.socket),
                Err(error) => println!("{error}"),
            }),
            Err(error) => println!("{error}"),
        }
        assert!(activation::inherited().expect("taken already").is_empty());
        return;
    }
    let run = |names: &str, fds: &str| {
        let script = format!(
            "exec env LISTEN_PID=$$ LISTEN_FDS={fds} LISTEN_FDNAMES={names} \"$0\" --exact sockets_passed_by_systemd_are_distinguished_by_name_and_type --nocapture"
        );
        let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let path = std::env::temp_dir().join(format!("hither-handed-over-{}", std::process::id()));
        let local = Listener::bind(&path, 0o600).expect("bound");
        std::fs::remove_file(&path).expect("removable");
        let (one, _other) = std::os::unix::net::UnixDatagram::pair().expect("two");
        let mut command = Command::new("/bin/bash");
        // From descriptor 3: a datagram socket, a listening one, a local one with complete messages,
        // one that cannot be used.
        let copies = [udp.as_fd(), tcp.as_fd(), local.as_fd(), one.as_fd()]
            .map(|fd| nix::unistd::dup(fd).expect("a descriptor"));
        let moves = copies
            .iter()
            .enumerate()
            .fold(String::from("exec"), |all, (n, fd)| format!("{all} {}<&{}", n + 3, fd.as_raw_fd()));
        let moves = format!("{moves}; {script}");
        let output = command
            .args(["-c", &moves])
            .arg(std::env::current_exe().expect("known"))
            .env("HITHER_TEST_CHILD", "1")
            .output()
            .expect("started");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let out = run("dns:dns:control:odd", "4");
    for part in [
        "dns Udp(127.0.0.1:",
        "dns Tcp(127.0.0.1:",
        "control Local(",
        "'odd' handed over by systemd is a local",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let out = run("dns", "2");
    assert!(out.contains("cannot be taken"), "{out}");
}

#[test]
fn signals_arrive_as_events() {
    let mut taken = signals::Signals::new().expect("signals");
    assert_eq!(taken.take(), None);
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGHUP).expect("raised");
    assert_eq!(taken.take(), Some(signals::Signal::Reload));
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).expect("raised");
    assert_eq!(taken.take(), Some(signals::Signal::Terminate));
}

/// Runs ip(8) with these lines.
fn ip(lines: &str) -> bool {
    use std::io::Write as _;
    let child =
        Command::new("ip").args(["-force", "-batch", "-"]).stdin(std::process::Stdio::piped()).spawn();
    let Ok(mut child) = child else { return false };
    let written = child.stdin.take().is_some_and(|mut stdin| stdin.write_all(lines.as_bytes()).is_ok());
    child.wait().is_ok_and(|status| status.success()) && written
}

#[test]
fn changes_are_noticed_after_an_overrun_of_netlink() {
    // A network namespace for this thread and its children.
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err() || !ip("link set lo up\n") {
        let test = "changes_are_noticed_after_an_overrun_of_netlink";
        return skip(test, "needs root, namespaces and ip(8)");
    }
    let mut netlink = hither_net::netlink::Netlink::new().expect("a socket");
    let (mut poll, mut events) = (Poll::new().expect("a poll"), Events::with_capacity(8));
    let fd = netlink.as_raw_fd();
    poll.registry()
        .register(&mut mio::unix::SourceFd(&fd), Token(0), Interest::READABLE)
        .expect("registered");
    let mut take_changes = |netlink: &mut hither_net::netlink::Netlink| {
        retried(|| poll.poll(&mut events, Some(PATIENCE))).expect("polled");
        !events.is_empty() && netlink.take().any
    };
    assert!(!netlink.take().any, "nothing has happened");
    let storm: String =
        (0..3000).map(|n| format!("address add 10.{}.{}.1/32 dev lo\n", n / 250, n % 250)).collect();
    assert!(ip(&storm));
    // One call per event, and more only if it reports that there may be more.
    assert!(take_changes(&mut netlink));
    while netlink.take().more {}
    assert!(ip("address add 10.99.0.1/32 dev lo\n"));
    assert!(take_changes(&mut netlink), "a change after the storm");
}
