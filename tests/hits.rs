//! The real daemon's calls of the C library are counted: a hit allocates and locks nothing and has
//! no system call of its own, and an idle daemon does not wake up.
#![allow(clippy::disallowed_methods)] // Tests with real time.

mod support;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::Section;
use hither_wire::query::Query;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Daemon, Upstream, answer, ask_for, compose, directory, preloaded, retried, skip};

/// The counters, in the order of `hits/counts.c`.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    allocations: u64,
    locks: u64,
    clocks: u64,
    waits: u64,
    received: u64,
    sent: u64,
    others: u64,
}

struct Counted {
    daemon: Daemon,
    file: PathBuf,
}

impl Counted {
    /// Starts a daemon with counted calls; `None` without a C compiler.
    fn start(upstream: &Upstream, more: &str) -> Option<Counted> {
        let dir = directory();
        let (library, file) = (preloaded(&dir, "tests/hits/counts.c")?, dir.join("counts"));
        std::fs::write(&file, [0; 7 * 8]).expect("written");
        Daemon::configure(&dir, &[upstream], "");
        std::fs::create_dir_all(dir.join("hither.toml.d")).expect("a directory");
        std::fs::write(dir.join("hither.toml.d/more.toml"), more).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
        command.arg("--config").arg(dir.join("hither.toml"));
        command.env("LD_PRELOAD", &library).env("COUNTS", &file);
        Some(Counted { daemon: Daemon::spawn(dir, &mut command), file })
    }

    fn counts(&self) -> Counts {
        let octets = std::fs::read(&self.file).expect("readable");
        let mut all = octets.chunks_exact(8).map(|n| u64::from_le_bytes(n.try_into().expect("eight")));
        let mut next = || all.next().expect("there are seven");
        Counts {
            allocations: next(),
            locks: next(),
            clocks: next(),
            waits: next(),
            received: next(),
            sent: next(),
            others: next(),
        }
    }
}

/// Addresses, a chain, text, and names that do not exist.
fn upstream() -> Upstream {
    Upstream::start(|query, _| {
        let Ok(read) = Query::read(query) else { return Vec::new() };
        let reply = match (read.qtype(), read.qname().get(1)) {
            (_, Some(b'x')) => compose(query, Rcode::NXDOMAIN, 0, |out| {
                let soa = [&[0, 0][..], &[0; 16], &300_u32.to_be_bytes()].concat();
                out.record(Section::Authority, Owner::Wire(&[0]), Rtype::SOA, 300, &soa);
            }),
            (Rtype::TXT, _) => compose(query, Rcode::NOERROR, 0, |out| {
                out.record(Section::Answer, Owner::At(12), Rtype::TXT, 300, b"\x04text");
            }),
            (Rtype::AAAA, _) => compose(query, Rcode::NOERROR, 0, |out| {
                out.record(Section::Answer, Owner::At(12), Rtype::AAAA, 300, &[0x20; 16]);
            }),
            _ => answer(query, &[1, 2, 3], 300),
        };
        vec![(0, reply)]
    })
}

const NAMES: usize = 64;
/// How long the pool keeps unused sockets towards upstreams.
const KEPT: Duration = Duration::from_secs(60);

/// The n-th of some queries that are hits once they have been asked.
fn query(n: usize) -> Vec<u8> {
    let (name, edns) = (n / 4 % NAMES, (n % 8 < 4).then_some(1232));
    let (letter, rtype) = [("a", Rtype::A), ("b", Rtype::AAAA), ("c", Rtype::TXT), ("x", Rtype::A)][n % 4];
    ask_for(&format!("{letter}{name}.Hits.Example"), rtype, edns, n as u16)
}

/// Sends `count` queries while the daemon is stopped, continues it, and receives the replies.
fn backlog(counted: &Counted, socket: &UdpSocket, count: usize) {
    counted.daemon.signal(Signal::SIGSTOP);
    for n in 0..count {
        socket.send(&query(n)).expect("sent");
    }
    counted.daemon.signal(Signal::SIGCONT);
    for n in 0..count {
        let mut reply = [0; 1500];
        let len = retried(|| socket.recv(&mut reply)).unwrap_or_else(|error| panic!("reply {n}: {error}"));
        assert!(len > 12 && reply[2] & 0x80 != 0);
    }
}

fn hits_cost_nothing_of_their_own(more: &str) {
    const COUNT: usize = 2048;
    let upstream = upstream();
    let Some(counted) = Counted::start(&upstream, more) else {
        return skip("hits_cost_nothing_of_their_own", "there is no C compiler");
    };
    let socket = counted.daemon.client();
    let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(8 << 20));
    for n in 0..8 * NAMES {
        counted.daemon.exchange(&query(n));
    }
    counted.daemon.until("nothing is under way", |d| d.json(&["stats"])["rounds_live"] == 0);
    // The first batch may still allocate.
    backlog(&counted, &socket, COUNT);
    let asked = upstream.count();
    let before = counted.counts();
    backlog(&counted, &socket, COUNT);
    let after = counted.counts();
    assert_eq!(upstream.count(), asked, "all of them are hits");
    assert_eq!((after.allocations, after.locks), (before.allocations, before.locks));
    let batches = COUNT as u64 / 64;
    let received = after.received - before.received;
    assert!(received <= 2 * batches + 8, "{received} calls to receive {batches} batches");
    let sent = after.sent - before.sent;
    assert!(sent <= 2 * batches + 8, "{sent} calls to send {batches} batches");
    let (clocks, waits) = (after.clocks - before.clocks, after.waits - before.waits);
    assert!(
        clocks <= 4 * waits + 8 && waits <= 2 * batches + 8,
        "{clocks} readings of clocks, {waits} wake-ups"
    );
    let others = after.others - before.others;
    assert!(others <= 2 * waits, "{others} other calls in {waits} wake-ups");
}

#[test]
fn hits_allocate_and_lock_nothing_and_make_no_system_call_per_packet() {
    hits_cost_nothing_of_their_own("");
}

#[test]
fn hits_of_workers_allocate_and_lock_nothing_and_make_no_system_call_per_packet() {
    hits_cost_nothing_of_their_own("[listen]\nworkers = 2\n");
}

/// Whether a timer of the daemon is armed, from /proc.
fn alarm_is_set(daemon: &Daemon) -> bool {
    let all = std::fs::read_dir(format!("/proc/{}/fdinfo", daemon.process.id())).expect("it runs");
    let texts: Vec<String> = all.flatten().filter_map(|fd| std::fs::read_to_string(fd.path()).ok()).collect();
    let mut values = texts.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with("it_value:"));
    assert!(texts.iter().any(|text| text.contains("it_value:")), "there is a timer");
    values.any(|value| value != "it_value: (0, 0)")
}

/// Whether the thread that wakes readers waits for a publish, without a timeout.
fn wake_thread_sleeps(daemon: &Daemon) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.process.id())).expect("it runs");
    tasks.flatten().map(|task| task.path()).any(|task| {
        let text = |file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        text("comm").trim() == "wake" && text("syscall").starts_with(&format!("{} ", nix::libc::SYS_futex))
    })
}

/// In a process with threads, each doubling of that table would stop all replies for some
/// milliseconds.
#[test]
fn the_kernels_table_of_descriptors_is_large_enough_from_the_start() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.process.id())).expect("it runs");
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).expect("there");
    let size: u64 = size.trim().parse().expect("a number");
    let most = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("a limit").1;
    assert!(size >= most.min(16_384), "{size} of {most}");
}

#[test]
fn an_idle_daemon_does_not_wake_up() {
    let upstream = upstream();
    let Some(counted) = Counted::start(&upstream, "") else {
        return skip("an_idle_daemon_does_not_wake_up", "there is no C compiler");
    };
    let descriptors = counted.daemon.descriptors();
    for n in 0..100 {
        counted.daemon.exchange(&query(n));
    }
    assert!(counted.daemon.descriptors() >= descriptors + 64, "sockets are kept for the next queries");
    // The pool keeps unused sockets for a minute. An alarm for a deadline that is gone fires once in
    // vain. Between two alarms none is set for a moment.
    let kept = Instant::now();
    while counted.daemon.descriptors() > descriptors || alarm_is_set(&counted.daemon) {
        assert!(
            kept.elapsed() < 2 * KEPT,
            "{:?} after the last query {} descriptors are open, {descriptors} before the first, or an alarm is set",
            kept.elapsed(),
            counted.daemon.descriptors()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    // Readers are notified some milliseconds after the last publish.
    counted.daemon.until("no reader has to be woken", wake_thread_sleeps);
    let mut outside = Outside::new();
    for _ in 0..20 {
        let before = counted.counts();
        if !outside.happens_within(2500) {
            return assert_eq!(counted.counts(), before, "two and a half seconds without a query");
        }
    }
    panic!(
        "this host is never quiet: its mounts, its name or entries of /, /etc or /run change all the time"
    );
}

/// Events of the host that rightly wake a daemon: changes of mounts, of the host's name (in any
/// namespace), and of entries of directories on the path to the system's files.
struct Outside {
    directories: Inotify,
    mounts: File,
    name: File,
}

impl Outside {
    fn new() -> Outside {
        let directories = Inotify::init(InitFlags::IN_NONBLOCK).expect("inotify");
        let changes = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CLOSE_WRITE;
        for path in ["/", "/etc", "/run"] {
            directories.add_watch(path, changes).expect("a watch");
        }
        let open = |path: &str| File::open(path).expect("there");
        Outside { directories, mounts: open("/proc/self/mountinfo"), name: open("/proc/sys/kernel/hostname") }
    }

    /// Waits for such an event; `false` when none came within so many milliseconds.
    fn happens_within(&mut self, ms: u16) -> bool {
        let mut all = [
            PollFd::new(self.directories.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.mounts.as_fd(), PollFlags::POLLPRI),
            PollFd::new(self.name.as_fd(), PollFlags::POLLPRI),
        ];
        let came = poll(&mut all, ms).expect("a poll") > 0;
        while self.directories.read_events().is_ok() {}
        came
    }
}
