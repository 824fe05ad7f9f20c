//! The log of the real daemon: the entries that the journal receives, and a journal or pipe that
//! hangs or disappears.

mod support;

use hither::logging::Event;
use hither_wire::codes::Rtype;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::Mode;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use support::journal::Journaled;
use support::{Daemon, PATIENCE, Upstream, answer, ask_for, directory, ends, retried, skip};

fn ask(server: &str, name: &str) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket.send_to(&ask_for(name, Rtype::A, None, 7), server).expect("sent");
    let mut buffer = [0; 512];
    let len = retried(|| socket.recv(&mut buffer)).expect("a reply");
    buffer[..len].to_vec()
}

#[test]
fn clients_are_answered_while_the_journal_hangs_and_after_it_is_gone() {
    let test = "clients_are_answered_while_the_journal_hangs_and_after_it_is_gone";
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))]);
    let Some(mut daemon) = Journaled::start(&[&upstream], "[log]\nlevel = \"debug\"\n") else {
        return skip(test, "needs root, mount namespaces and unshare(1)");
    };
    let ready = daemon.event(Event::Ready);
    assert_eq!((ready["PRIORITY"].as_str(), ready["SYSLOG_IDENTIFIER"].as_str()), ("6", "hitherd"));
    assert_eq!(ready["MESSAGE_ID"], format!("{:032x}", Event::Ready.id()));
    let server = ready["HITHER_ADDRESSES"].clone();
    let mut n = 0;
    let mut answers = || {
        n += 1;
        assert_eq!(ends(&ask(&server, &format!("n{n}.example"))), [1]);
    };
    answers();
    // The journal hangs: its socket and standard error are full.
    let probe = UnixDatagram::unbound().expect("a socket");
    probe.set_nonblocking(true).expect("an option");
    while probe.send_to(b"MESSAGE=probe\n", daemon.dir.join("journal/socket")).is_ok() {}
    let octets = [b'\n'; 1000];
    while send(daemon.stderr.1.as_raw_fd(), &octets, MsgFlags::MSG_DONTWAIT).is_ok() {}
    for _ in 0..3 {
        daemon.signal(Signal::SIGHUP);
        answers();
    }
    // The journal has stopped: its socket and standard error are gone.
    std::fs::remove_file(daemon.dir.join("journal/socket")).expect("removable");
    daemon.socket = UnixDatagram::unbound().expect("a socket");
    daemon.stderr.0.shutdown(std::net::Shutdown::Both).expect("it is open");
    for _ in 0..3 {
        daemon.signal(Signal::SIGHUP);
        answers();
    }
    // The journal has started again, and receives the number of lost lines.
    daemon.socket = Journaled::bind(&daemon.dir);
    daemon.signal(Signal::SIGHUP);
    let lost = daemon.event(Event::LinesLost);
    assert!(lost["HITHER_LINES"].parse::<u64>().is_ok_and(|lines| lines >= 6), "{lost:?}");
    daemon.event(Event::ConfigurationReloaded);
    answers();
    daemon.signal(Signal::SIGTERM);
    daemon.event(Event::Stopping);
    assert_eq!(daemon.process.wait().expect("a child").code(), Some(0));
}

#[test]
fn a_pipe_that_nobody_reads_does_not_stop_the_daemon() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))]);
    let dir = directory();
    Daemon::configure(&dir, &[&upstream], "[log]\nlevel = \"debug\"\n");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // A second open file, so that the daemon's own stays blocking.
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let filler =
        nix::fcntl::open(path.as_str(), OFlag::O_WRONLY | OFlag::O_NONBLOCK, Mode::empty()).expect("ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml")).stderr(Stdio::from(writer));
    let process = command.spawn().expect("started");
    let mut lines = BufReader::new(reader).lines().map(|line| line.expect("text"));
    let ready = lines.find(|line| line.contains("ready at ")).expect("it starts");
    let server = ready.split("ready at ").nth(1).expect("an address").to_owned();
    let mut daemon = Piped { dir, process };
    while nix::unistd::write(&filler, &[b'\n'; 1000]).is_ok() {}
    while nix::unistd::write(&filler, b"\n").is_ok() {}
    for n in 0..3 {
        assert_eq!(ends(&ask(&server, &format!("n{n}.example"))), [1]);
    }
    let read = std::thread::spawn(move || {
        let lost = |line: &String| line.split_once(" lines of the log are lost")?.0.parse::<u32>().ok();
        lines.find_map(|line| lost(&line))
    });
    let end = Instant::now() + PATIENCE;
    for n in 3.. {
        assert_eq!(ends(&ask(&server, &format!("n{n}.example"))), [1]);
        if read.is_finished() || Instant::now() > end {
            break;
        }
    }
    daemon.process.kill().expect("it runs");
    drop(filler);
    assert!(read.join().expect("no panic") >= Some(3), "the number of lost lines is logged");
}

struct Piped {
    dir: PathBuf,
    process: Child,
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The names that clients ask for are private.
#[test]
fn names_and_clients_are_in_the_log_at_debug_and_never_above() {
    use hither_net::seqpacket::Connection;
    for (level, said) in [("info", false), ("debug", true)] {
        let upstream = Upstream::start(|query, _| {
            // Some queries get no response, some a malformed one.
            match query[12] {
                15 => Vec::new(),
                14 => vec![(0, vec![0xff; 40])],
                _ => vec![(0, answer(query, &[1], 300))],
            }
        });
        let more = format!("[log]\nlevel = \"{level}\"\n[round]\ndeadline = \"300ms\"\n");
        let daemon = Daemon::start(&[&upstream], &more);
        for name in
            ["secret-silence.example", "secret-silences.example", "secret-rubbish.example", "secret.example"]
        {
            daemon.ask(name);
        }
        // The error about a malformed request must not quote it.
        for socket in ["run/control.sock", "run/sorter.sock"] {
            for octets in [&b"{\"secret\":1}"[..], b"{\"Query\":\"secret\"}", b"\"secret\""] {
                let near = Connection::connect(&daemon.dir.join(socket), Some(PATIENCE)).expect("connected");
                near.send(octets).expect("sent");
                let mut buffer = vec![0; 70_000];
                while !near.receive(&mut buffer).expect("no hang").is_empty() {}
            }
        }
        assert!(daemon.ctl(&["query", "secret-query.example"]).status.code().is_some());
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for("is reloaded");
        let log = daemon.log();
        assert_eq!(log.contains("asks for secret.example. A"), said, "{log}");
        assert_eq!(log.contains("secret"), said, "{log}");
        assert_eq!(log.contains("127.0.0.1 asks"), said, "{log}");
    }
}

#[test]
fn upstreams_that_fall_silent_and_answer_again_are_logged_once() {
    static SILENT: AtomicBool = AtomicBool::new(true);
    let start = |end: &'static [u8]| {
        Upstream::start(move |query, _| {
            if SILENT.load(Ordering::SeqCst) { Vec::new() } else { vec![(0, answer(query, end, 300))] }
        })
    };
    let upstreams = [start(&[1]), start(&[2])];
    // A third upstream, of a domain, gets no query.
    let more =
        "[round]\ndeadline = \"200ms\"\n[[domain]]\nnames = [\"corp.test\"]\nupstreams = [\"127.0.0.1:1\"]\n";
    let daemon = Daemon::start(&upstreams.each_ref(), more);
    for n in 0.. {
        daemon.ask(&format!("n{n}.example"));
        if daemon.log().contains("no upstream answers") {
            break;
        }
        assert!(n < 20, "{}", daemon.log());
    }
    // On a busy machine a response after the deadline would be one more failure.
    Daemon::configure(&daemon.dir, &upstreams.each_ref(), &more.replace("200ms", "20s"));
    assert!(daemon.ctl(&["reload"]).status.success());
    SILENT.store(false, Ordering::SeqCst);
    let count = std::cell::Cell::new(0);
    daemon.until("both answer again", |d| {
        count.set(count.get() + 1);
        d.ask(&format!("again{}.example", count.get()));
        d.log().matches("answers again").count() == 2
    });
    let log = daemon.log();
    for upstream in &upstreams {
        for line in ["has failed 2 times in a row", "answers again"] {
            let line = format!("upstream {} {line}", upstream.address);
            assert_eq!(log.matches(&line).count(), 1, "{line}: {log}");
        }
    }
    assert_eq!(log.matches("no upstream answers, of ").count(), 1, "{log}");
    // A new set of upstreams, of which one was in the old set.
    Daemon::configure(&daemon.dir, &[&upstreams[1]], "");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for(&format!("the upstreams have changed: {}", upstreams[1].address));
}
