//! The real daemon while programs of another user send to it without end, or occupy its connections:
//! hits are answered, root's requests are served, the watchdog is fed, and memory stays bounded.
//!
//! The other user is nobody, played by another process of this test program
//! (`another_user_occupies_the_daemon`). Needs root, and prints SKIPPED without it.

#[path = "starved/large_replies.rs"]
mod large_replies;
mod support;

use hither_control::{CONTROL_SOCKET, Request, Response, SORTER_SOCKET, decode, encode};
use hither_net::seqpacket::Connection;
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Owner, flags};
use hither_wire::message::Section;
use hither_wire::query::Query;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::{
    Daemon, PATIENCE, Upstream, answer, ask_for, compose, directory, ends, frame, framed, retried, skip,
};

const NOBODY: u32 = 65_534;
/// Connections of the other user to the control socket: more than its limit.
const PEERS: usize = 100;

/// A process of the other user, which runs until this is dropped.
struct Other(Child);

impl Other {
    /// Starts it and waits until its activity is under way; `None` without root.
    fn begin(what: &str, daemon: &Daemon) -> Option<Other> {
        if !nix::unistd::geteuid().is_root() {
            skip(what, "needs root to be another user as well");
            return None;
        }
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "another_user_occupies_the_daemon", "--include-ignored", "--nocapture"]);
        command.env("OTHER", what).env("OTHER_DIR", daemon.dir.join("run"));
        command.env("OTHER_SERVER", daemon.server.to_string());
        command.uid(NOBODY).gid(NOBODY).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("under way")), "the other user fails");
        Some(Other(child))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test: the other user's program. Its environment names the activity, which lasts until
/// standard input ends or five minutes have passed.
#[test]
#[ignore = "other tests start it as another user"]
fn another_user_occupies_the_daemon() {
    let (Ok(what), Ok(dir)) = (std::env::var("OTHER"), std::env::var("OTHER_DIR")) else { return };
    let (dir, end) = (PathBuf::from(dir), Instant::now() + Duration::from_secs(300));
    match what.as_str() {
        "asks for the status" => ask_without_end(&dir, end),
        "says nothing" => {
            let all: Vec<_> = (0..PEERS).map(|_| connect(&dir)).collect();
            say_so();
            let _ = std::io::stdin().read(&mut [0; 1]);
            drop(all);
        }
        "sends hints" => {
            let hint = [&[1, 3][..], b"\x07nowhere\x07example\0"].concat();
            let socket = UnixDatagram::unbound().expect("a socket");
            socket.set_nonblocking(true).expect("an option");
            let mut sent = 0_u32;
            while Instant::now() < end {
                if socket.send_to(&hint, dir.join("hint")).is_ok() {
                    sent += 1;
                    if sent == 1000 {
                        say_so();
                    }
                }
            }
        }
        other => panic!("unknown activity '{other}'"),
    }
}

#[allow(clippy::print_stdout)] // The parent process reads it.
fn say_so() {
    println!("under way");
}

fn connect(dir: &Path) -> Connection {
    Connection::connect(&dir.join(CONTROL_SOCKET), Some(PATIENCE)).expect("connected")
}

/// Sends requests on many connections, as many on each as the kernel takes; reads the replies, and
/// replaces closed connections.
fn ask_without_end(dir: &Path, end: Instant) {
    let connect = || Connection::connect(&dir.join(CONTROL_SOCKET), None);
    let request = encode(&Request::Status).expect("short");
    let mut all: Vec<Option<Connection>> = (0..PEERS).map(|_| None).collect();
    let (mut buffer, mut heard, mut is_under_way) = (vec![0; 65_536], 0_u32, false);
    while Instant::now() < end {
        for one in &mut all {
            if one.is_none() {
                *one = connect().ok();
            }
            let Some(connection) = one else { continue };
            let mut gone = false;
            let mut over = |result: std::io::Result<bool>| match result {
                Ok(more) => !more,
                Err(error) => {
                    gone |= error.kind() != ErrorKind::WouldBlock;
                    true
                }
            };
            while !over(connection.send(&request).map(|()| true)) {}
            while !over(connection.receive(&mut buffer).map(|octets| {
                heard += 1;
                !octets.is_empty()
            })) {}
            if gone {
                *one = None;
            }
        }
        if heard > 100 && !std::mem::replace(&mut is_under_way, true) {
            say_so();
        }
    }
}

fn good() -> Upstream {
    Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))])
}

/// Sends `count` queries that are hits, and receives each reply.
fn hits(daemon: &Daemon, count: usize) {
    let (socket, query) = (daemon.client(), ask_for("www.example", Rtype::A, None, 7));
    for n in 0..count {
        socket.send(&query).expect("sent");
        let mut reply = [0; 512];
        let len = retried(|| socket.recv(&mut reply)).unwrap_or_else(|error| panic!("hit {n}: {error}"));
        assert_eq!(ends(&reply[..len]), [1]);
    }
}

/// A daemon whose service manager is this test, and its notification socket, which is not read yet.
fn managed(upstream: &Upstream) -> (Daemon, UnixDatagram) {
    let dir = directory();
    let manager = UnixDatagram::bind(dir.join("notify")).expect("bound");
    Daemon::configure(&dir, &[upstream], "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    command.env("NOTIFY_SOCKET", dir.join("notify")).env("WATCHDOG_USEC", "400000");
    (Daemon::spawn(dir, &mut command), manager)
}

/// The same, with a thread that reads the socket and forwards each watchdog message.
fn watched(upstream: &Upstream) -> (Daemon, mpsc::Receiver<()>) {
    let (daemon, manager) = managed(upstream);
    let (sender, alive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut message = [0; 1024];
        while let Ok(len) = retried(|| manager.recv(&mut message)) {
            let is_alive = String::from_utf8_lossy(&message[..len]).contains("WATCHDOG=1");
            if is_alive && sender.send(()).is_err() {
                break;
            }
        }
    });
    (daemon, alive)
}

fn beside(what: &str) {
    let upstream = good();
    let (daemon, alive) = watched(&upstream);
    assert_eq!(ends(&daemon.ask("www.example")), [1]);
    let Some(mut other) = Other::begin(what, &daemon) else { return };
    while alive.try_recv().is_ok() {}
    hits(&daemon, 300);
    (0..3).for_each(|_| alive.recv_timeout(PATIENCE).expect("a watchdog message in time"));
    for words in [&["status"][..], &["query", "www.example"], &["flush", "other.example"], &["reload"]] {
        let done = daemon.ctl(words);
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    hits(&daemon, 10);
    assert!(other.0.try_wait().is_ok_and(|ended| ended.is_none()), "the other user's process ran to the end");
}

#[test]
fn a_service_manager_that_reads_nothing_is_notified_later_and_delays_no_client() {
    let upstream = good();
    let (daemon, manager) = managed(&upstream);
    assert_eq!(ends(&daemon.ask("www.example")), [1]);
    let other = UnixDatagram::unbound().expect("a socket");
    other.set_nonblocking(true).expect("an option");
    while other.send_to(b"X=1\n", daemon.dir.join("notify")).is_ok() {}
    daemon.wait_for("the service manager cannot be notified");
    hits(&daemon, 10);
    let done = daemon.ctl(&["reload"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    hits(&daemon, 10);
    // The manager reads again: the delayed notifications come, in their order.
    manager.set_read_timeout(Some(PATIENCE)).expect("an option");
    let mut expected = ["RELOADING=1", "READY=1", "WATCHDOG=1"].into_iter().peekable();
    let mut is_over = false;
    while let Some(next) = expected.peek() {
        let mut message = [0; 1024];
        let len = retried(|| manager.recv(&mut message)).unwrap_or_else(|error| panic!("no {next}: {error}"));
        let text = String::from_utf8_lossy(&message[..len]).into_owned();
        // Messages that the socket held before come first.
        is_over |= text == "X=1\n";
        if is_over && text.starts_with(next) {
            expected.next();
        }
    }
}

#[test]
fn endless_requests_of_another_user_keep_no_client_from_an_answer() {
    beside("asks for the status");
}

#[test]
fn endless_hints_of_another_user_keep_no_client_from_an_answer() {
    beside("sends hints");
}

#[test]
fn idle_connections_of_another_user_lock_out_neither_root_nor_the_sorter() {
    beside("says nothing");
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    let Some(_other) = Other::begin("says nothing", &daemon) else { return };
    let sorter = Connection::connect(&daemon.dir.join("run").join(SORTER_SOCKET), Some(PATIENCE));
    let _sorter = sorter.expect("connected");
    daemon.wait_for("is the sorter");
}

#[test]
fn a_client_that_does_not_read_its_replies_loses_its_connection() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    let connection =
        Connection::connect(&daemon.dir.join("run").join(CONTROL_SOCKET), None).expect("connected");
    let (request, end) = (encode(&Request::Status).expect("short"), Instant::now() + PATIENCE);
    let gone = loop {
        match connection.send(&request) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(_) => break true,
        }
        if Instant::now() > end {
            break false;
        }
    };
    assert!(gone, "the connection is still open");
    assert!(daemon.ctl(&["status"]).status.success());
}

#[test]
fn requests_on_one_connection_are_answered_in_their_order() {
    let upstream = Upstream::start(|query, _| vec![(200, answer(query, &[1], 300))]);
    let daemon = Daemon::start(&[&upstream], "");
    let connection = connect(&daemon.dir.join("run"));
    let query = Request::Query { name: "slow.example".into(), rtype: "A".into() };
    let flush = Request::Flush { names: (0..300).map(|n| format!("h{n}.example")).collect() };
    for request in [&query, &Request::Status, &flush, &Request::Reload, &Request::Status] {
        connection.send(&encode(request).expect("short")).expect("sent");
    }
    let mut buffer = vec![0; 65_536];
    let mut next = || {
        let octets = connection.receive(&mut buffer).expect("a reply");
        decode::<Response>(octets).expect("a response")
    };
    assert!(matches!(next(), Response::Query(_)));
    assert!(matches!(next(), Response::Status(_)));
    assert!(matches!(next(), Response::Flushed { .. }));
    assert_eq!(next(), Response::Reloaded);
    assert!(matches!(next(), Response::Status(_)));
}
