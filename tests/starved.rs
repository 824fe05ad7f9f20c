//! The real daemon beside programs of another user that feed one of its sources without end, or
//! hold what others need: who asks for what is in the cache is answered, root is heard, the service
//! manager hears that all is well, and memory stays bounded.
//!
//! The other user is nobody: its part is played by this test's own program, started anew
//! (`the_other_user`). That takes root, and is said where there is none.

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
/// Connections of the other user to the control socket: more than there are places.
const PEERS: usize = 100;

/// A process of the other user, which goes on until it is dropped.
struct Other(Child);

impl Other {
    /// Starts it and waits until it has what it does well under way; `None` without root.
    fn begin(what: &str, daemon: &Daemon) -> Option<Other> {
        if !nix::unistd::geteuid().is_root() {
            skip(what, "needs root to be another user as well");
            return None;
        }
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "the_other_user", "--include-ignored", "--nocapture"]);
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

/// Not a test: what the other user does, by its environment, until its standard input ends or five
/// minutes have passed.
#[test]
#[ignore = "it is what other tests start as another user"]
fn the_other_user() {
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
        other => panic!("nobody does '{other}'"),
    }
}

#[allow(clippy::print_stdout)] // It is read by who started this.
fn say_so() {
    println!("under way");
}

fn connect(dir: &Path) -> Connection {
    Connection::connect(&dir.join(CONTROL_SOCKET), Some(PATIENCE)).expect("connected")
}

/// Requests on many connections, as many on each as the kernel takes; replies are read, and who was
/// closed comes again.
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

/// So many hits, each with its reply.
fn hits(daemon: &Daemon, count: usize) {
    let (socket, query) = (daemon.client(), ask_for("www.example", Rtype::A, None, 7));
    for n in 0..count {
        socket.send(&query).expect("sent");
        let mut reply = [0; 512];
        let len = retried(|| socket.recv(&mut reply)).unwrap_or_else(|error| panic!("hit {n}: {error}"));
        assert_eq!(ends(&reply[..len]), [1]);
    }
}

/// A daemon whose service manager is this test: its socket, which nobody reads yet.
fn managed(upstream: &Upstream) -> (Daemon, UnixDatagram) {
    let dir = directory();
    let manager = UnixDatagram::bind(dir.join("notify")).expect("bound");
    Daemon::configure(&dir, &[upstream], "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    command.env("NOTIFY_SOCKET", dir.join("notify")).env("WATCHDOG_USEC", "400000");
    (Daemon::spawn(dir, &mut command), manager)
}

/// The same, and what the manager hears: that the daemon is alive.
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
    (0..3).for_each(|_| alive.recv_timeout(PATIENCE).expect("the service manager hears that all is well"));
    for words in [&["status"][..], &["query", "www.example"], &["flush", "other.example"], &["reload"]] {
        let done = daemon.ctl(words);
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    hits(&daemon, 10);
    assert!(other.0.try_wait().is_ok_and(|ended| ended.is_none()), "it went on all the time");
}

#[test]
fn a_service_manager_that_reads_nothing_is_told_later_and_holds_nobody_up() {
    let upstream = good();
    let (daemon, manager) = managed(&upstream);
    assert_eq!(ends(&daemon.ask("www.example")), [1]);
    let other = UnixDatagram::unbound().expect("a socket");
    other.set_nonblocking(true).expect("an option");
    while other.send_to(b"X=1\n", daemon.dir.join("notify")).is_ok() {}
    daemon.wait_for("the service manager cannot be told anything");
    hits(&daemon, 10);
    let done = daemon.ctl(&["reload"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    hits(&daemon, 10);
    // Now it reads again: what it could not be told comes, in its order.
    manager.set_read_timeout(Some(PATIENCE)).expect("an option");
    let mut expected = ["RELOADING=1", "READY=1", "WATCHDOG=1"].into_iter().peekable();
    let mut is_over = false;
    while let Some(next) = expected.peek() {
        let mut message = [0; 1024];
        let len = retried(|| manager.recv(&mut message)).unwrap_or_else(|error| panic!("no {next}: {error}"));
        let text = String::from_utf8_lossy(&message[..len]).into_owned();
        // What it took before comes first.
        is_over |= text == "X=1\n";
        if is_over && text.starts_with(next) {
            expected.next();
        }
    }
}

#[test]
fn requests_without_end_of_another_user_keep_nobody_from_an_answer() {
    beside("asks for the status");
}

#[test]
fn hints_without_end_of_another_user_keep_nobody_from_an_answer() {
    beside("sends hints");
}

#[test]
fn idle_connections_of_another_user_keep_neither_root_nor_the_sorter_out() {
    beside("says nothing");
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    let Some(_other) = Other::begin("says nothing", &daemon) else { return };
    let sorter = Connection::connect(&daemon.dir.join("run").join(SORTER_SOCKET), Some(PATIENCE));
    let _sorter = sorter.expect("connected");
    daemon.wait_for("is the sorter");
}

#[test]
fn who_does_not_read_its_replies_loses_its_connection() {
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
    assert!(gone, "its connection is as it was");
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

/// Octets of text in the large answer.
const LARGE: usize = 60_000;

/// Answers with some 60 KiB of text over TCP, and with TC over UDP.
fn large() -> Upstream {
    Upstream::start(|query, tcp| {
        let reply = match Query::read(query) {
            Ok(read) if read.qtype() == Rtype::TXT && tcp => compose(query, Rcode::NOERROR, 0, |out| {
                let text = [&[255][..], &[b'x'; 255]].concat();
                for n in 0..LARGE / 250 {
                    let text = [&text[..], &[5], format!("{n:05}").as_bytes()].concat();
                    out.record(Section::Answer, Owner::At(12), Rtype::TXT, 300, &text);
                }
            }),
            Ok(read) if read.qtype() == Rtype::TXT => compose(query, Rcode::NOERROR, flags::TC, |_| {}),
            _ => answer(query, &[1], 300),
        };
        vec![(0, reply)]
    })
}

fn resident(daemon: &Daemon) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.process.id())).expect("it runs");
    // What is the table's is shared with every reader.
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("there");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Octets of memory that the kernel holds for the daemon's connections; `None` without ss(8).
fn in_kernel(server: SocketAddr) -> Option<usize> {
    let mut command = Command::new("ss");
    let ss = command
        .args(["-tmnH", "state", "all", "sport", "=", &format!(":{}", server.port())])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&ss.stdout).into_owned();
    let memory = text.split("skmem:(").skip(1).filter_map(|rest| rest.split(')').next());
    // Received and not read, sent and not acknowledged or not sent; what is reserved beyond.
    let of = |fields: &str| {
        let field = |letter: &str| {
            let number = |f: &str| f.strip_prefix(letter).and_then(|n| n.parse::<usize>().ok());
            fields.split(',').find_map(number).unwrap_or(0)
        };
        field("r") + field("w") + field("f")
    };
    Some(memory.map(of).sum())
}

#[test]
fn a_thousand_clients_who_do_not_read_hold_little_memory_and_not_for_long() {
    let upstream = large();
    let daemon = Daemon::start(&[&upstream], "");
    let query = frame(&ask_for("large.example", Rtype::TXT, None, 9));
    let mut stream = daemon.tcp();
    stream.write_all(&query).expect("written");
    assert!(framed(&mut stream).expect("a reply").len() > LARGE);
    assert_eq!(ends(&daemon.ask("www.example")), [1]);
    let before = resident(&daemon);
    let clients: Vec<TcpStream> = (0..999)
        .map(|_| {
            let stream = TcpStream::connect(daemon.server).expect("connected");
            let _ = nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::RcvBuf, &4096);
            stream.set_nonblocking(true).expect("an option");
            for _ in 0..64 {
                let _ = (&stream).write(&query);
            }
            stream
        })
        .collect();
    if in_kernel(daemon.server).is_none() {
        skip("the kernel's part of a_thousand_clients_who_do_not_read_hold_little_memory", "needs ss(8)");
    }
    // As long as it grows.
    let (mut most, mut most_in_kernel) = (0, 0);
    loop {
        assert_eq!(ends(&daemon.ask("www.example")), [1], "a hit");
        std::thread::sleep(Duration::from_millis(100));
        let own = resident(&daemon).saturating_sub(before);
        let kernel = in_kernel(daemon.server).unwrap_or(0);
        if own + kernel <= most + most_in_kernel {
            break;
        }
        (most, most_in_kernel) = (own, kernel);
    }
    #[allow(clippy::print_stdout)]
    {
        println!("{} KiB of its own, {} KiB in the kernel", most / 1024, most_in_kernel / 1024);
    }
    assert!(most + most_in_kernel < 128 << 20, "{most} of its own, {most_in_kernel} in the kernel");
    let end = Instant::now() + 4 * PATIENCE;
    while daemon.json(&["stats"])["tcp_clients"].as_u64() > Some(1) {
        assert!(Instant::now() < end, "who does not read is not closed: {}", daemon.json(&["stats"]));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        in_kernel(daemon.server).is_none_or(|left| left < 1 << 20),
        "the kernel goes on with those closed"
    );
    drop(clients);
}

#[test]
fn who_reads_slowly_gets_all_of_its_large_replies() {
    let upstream = large();
    let daemon = Daemon::start(&[&upstream], "");
    let mut stream = daemon.tcp();
    for id in 0..40_u16 {
        stream.write_all(&frame(&ask_for("large.example", Rtype::TXT, None, id))).expect("written");
    }
    for id in 0..40_u16 {
        std::thread::sleep(Duration::from_millis(20));
        let reply = framed(&mut stream).expect("a reply");
        assert!(reply.len() > LARGE && reply[..2] == id.to_be_bytes(), "reply {id}");
    }
}
