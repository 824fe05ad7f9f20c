//! The real daemon with hit workers while its event loop is stopped: each query gets one reply, and
//! the daemon works as before afterwards.
#![allow(clippy::disallowed_methods)] // Tests with real time.

mod support;

use hither_wire::codes::{Rcode, Rtype};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use support::{Daemon, PATIENCE, Upstream, answer, ask_for, ends, retried, skip};

/// The TTL of the entry that workers report as about to expire.
const TTL_S: u32 = 10;

/// The thread of the event loop, stopped while this lives. The daemon's other threads run.
struct Stopped(Pid);

impl Stopped {
    /// `None` when the kernel does not permit it.
    fn stop(daemon: &Daemon) -> Option<Stopped> {
        // The id of a process's first thread is the process id.
        let thread = Pid::from_raw(i32::try_from(daemon.process.id()).expect("small"));
        ptrace::seize(thread, ptrace::Options::empty()).ok()?;
        ptrace::interrupt(thread).expect("we trace it");
        waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
        Some(Stopped(thread))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        ptrace::detach(self.0, None).expect("it runs on");
    }
}

fn rcode(reply: &[u8]) -> Rcode {
    Rcode(reply[3] & 15)
}

/// Whether a query for the entry has the reply of a hit.
fn hit(socket: &UdpSocket, id: u16) -> bool {
    socket.send(&ask_for("hot.example", Rtype::A, None, id)).expect("sent");
    let mut reply = [0; 512];
    let Ok(len) = retried(|| socket.recv(&mut reply)) else { return false };
    reply[..2] == id.to_be_bytes() && ends(&reply[..len]) == [1]
}

/// A daemon with two workers whose entry `hot.example` is in the last tenth of its TTL, and the
/// time when that entry expires.
fn near_the_end(upstream: &Upstream) -> (Daemon, Instant) {
    let dir = support::directory();
    Daemon::configure(&dir, &[upstream], "");
    std::fs::create_dir_all(dir.join("hither.toml.d")).expect("a directory");
    std::fs::write(dir.join("hither.toml.d/more.toml"), "[listen]\nworkers = 2\n").expect("written");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    let daemon = Daemon::spawn(dir, &mut command);
    let (hits, began) = (daemon.client(), Instant::now());
    assert!((0..3).all(|n| hit(&hits, n)));
    let lifetime = Duration::from_secs(u64::from(TTL_S));
    std::thread::sleep((lifetime.mul_f64(0.9) + Duration::from_millis(50)).saturating_sub(began.elapsed()));
    assert_eq!(ends(&daemon.ask("pace.example")), [1]);
    (daemon, began + lifetime)
}

/// Sends hits until shortly before the entry expires. Each gives the event loop a message. Returns how
/// many there were.
fn fill_the_queues(daemon: &Daemon, end: Instant) -> u32 {
    let hits = daemon.client();
    hits.set_read_timeout(Some(Duration::from_secs(2))).expect("an option");
    let in_time = |_: &u16| Instant::now() + Duration::from_millis(100) < end;
    let count = (0..50_000).cycle().take_while(in_time).take_while(|id| hit(&hits, *id)).count();
    u32::try_from(count).expect("a second of hits")
}

#[test]
fn a_stopped_event_loop_loses_no_reply_and_leaves_nothing_behind() {
    const TEST: &str = "a_stopped_event_loop_loses_no_reply_and_leaves_nothing_behind";
    /// More hits than a queue can hold.
    const ENOUGH: u32 = 2500;
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1], TTL_S))]);
    // A busy machine may not send that many in the last second of the entry.
    for _ in 0..3 {
        let (daemon, end) = near_the_end(&upstream);
        let Some(stopped) = Stopped::stop(&daemon) else {
            return skip(TEST, "threads of a child cannot be stopped here");
        };
        if fill_the_queues(&daemon, end) > ENOUGH {
            return misses_are_answered(&daemon, stopped);
        }
    }
    skip(TEST, "this machine is too busy to fill the queues within a second");
}

/// How many datagrams the kernel has dropped because the socket's receive buffer was full.
fn dropped(socket: &UdpSocket) -> usize {
    let port = format!(":{:04X}", socket.local_addr().expect("bound").port());
    // The kernel writes the table in parts, and may leave out a socket while others are closed.
    let own = (0..100).find_map(|_| {
        let table = std::fs::read_to_string("/proc/net/udp").expect("the kernel's table");
        let is_own = |line: &&str| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&port));
        table.lines().find(is_own).map(str::to_owned)
    });
    let own = own.expect("the socket is in the table");
    own.split_whitespace().last().and_then(|count| count.parse().ok()).expect("a number of drops")
}

fn misses_are_answered(daemon: &Daemon, stopped: Stopped) {
    const MISSES: u16 = 4096;
    let misses = daemon.client();
    // More queries than a queue can hold, but no more at once than the kernel's buffers hold.
    let mut replies: BTreeMap<u16, (usize, Rcode)> = BTreeMap::new();
    let take = |replies: &mut BTreeMap<u16, (usize, Rcode)>| {
        let mut reply = [0; 512];
        let Ok(len) = retried(|| misses.recv(&mut reply)) else { return false };
        let count = replies.entry(u16::from_be_bytes([reply[0], reply[1]])).or_insert((0, Rcode::NOERROR));
        *count = (count.0 + 1, rcode(&reply[..len]));
        true
    };
    for id in 0..MISSES {
        misses.send(&ask_for(&format!("n{id}.example"), Rtype::A, None, id)).expect("sent");
        // When a later query has its reply, the workers have processed the earlier ones.
        if id % 64 == 63 {
            misses.send(&ask_for("pace.example", Rtype::A, None, MISSES)).expect("sent");
            while replies.remove(&MISSES).is_none() {
                assert!(take(&mut replies), "a worker has stopped at query {id}");
            }
        }
    }
    misses.set_read_timeout(Some(Duration::from_millis(500))).expect("an option");
    while take(&mut replies) {}
    let told = replies.len();
    assert!(told > 0 && replies.values().all(|(_, rcode)| *rcode == Rcode::SERVFAIL), "{told} replies");
    drop(stopped);
    misses.set_read_timeout(Some(PATIENCE)).expect("an option");
    // The kernel drops replies that this test, on a busy machine, does not read in time.
    while replies.len() + dropped(&misses) < usize::from(MISSES) {
        let count = replies.len();
        assert!(take(&mut replies), "{count} of {MISSES} queries are answered, {told} at once");
    }
    assert!(replies.values().all(|(count, _)| *count == 1), "one reply each");
    let shed = daemon.json(&["stats"])["shed_queries"].as_u64();
    assert!(shed >= Some(told as u64), "{told} were refused at once, {shed:?} are counted");
    for n in 0..500 {
        assert_eq!(ends(&daemon.ask(&format!("after{n}.example"))), [1], "new names are resolved at once");
    }
}
