//! What the real daemon records: each answer once, by its source, also while upstreams fail, in workers,
//! and after it has stopped.

use crate::support::{self, Daemon, HELD, PATIENCE, Upstream, answer, ask_for, compose, ends, frame, framed};
use hither_control::{SORTER_SOCKET, SorterCounts, SorterMessage, VERSION, encode};
use hither_net::seqpacket::Connection;
use hither_table::{
    AnswerSource, Doing, Metrics, ProbeMethod, ProbeOutcome, Reader, Timed, Trust, UpstreamFailure,
    UpstreamState, UpstreamTransport,
};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::query::Query;
use nix::sys::signal::Signal;
use std::io::Write as _;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

fn metrics(daemon: &Daemon) -> Metrics {
    let reader = Reader::open(&daemon.dir.join("run")).expect("a table");
    reader.metrics().expect("it has metrics")
}

/// Waits until the metrics are as expected. The loop writes them at the end of a turn, after the reply.
fn until(daemon: &Daemon, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
    daemon.until(what, |daemon| holds(&metrics(daemon)));
    metrics(daemon)
}

fn count(metrics: &Metrics, source: AnswerSource) -> u64 {
    metrics.answers(source).count()
}

/// The label of the query's first name.
fn asked(query: &[u8]) -> String {
    let read = Query::read(query).expect("a query");
    String::from_utf8_lossy(&read.qname()[1..=usize::from(read.qname()[0])]).to_lowercase()
}

/// Answers, but does not answer `silent`, answers `old` only once and with a TTL of a second, and refuses
/// `broken`.
fn moody() -> Upstream {
    let times = std::sync::atomic::AtomicUsize::new(0);
    Upstream::start(move |query, _| match &asked(query)[..] {
        "silent" => vec![],
        "slow" => vec![(HELD, answer(query, &[1], 60))],
        "broken" => vec![(0, compose(query, Rcode::SERVFAIL, 0, |_| {}))],
        "old" if times.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 => vec![],
        "old" => vec![(0, answer(query, &[1], 1))],
        _ => vec![(0, answer(query, &[1], 60))],
    })
}

#[test]
fn each_answer_is_recorded_once_by_its_source() {
    let upstream = moody();
    let daemon = Daemon::start(&[&upstream], "[cache]\nprefetch = false\nstale_wait = \"50ms\"\n");
    let began = Instant::now();
    assert_eq!(ends(&daemon.ask("old.example")), [1]);
    for n in 0..5 {
        assert_eq!(ends(&daemon.ask(&format!("n{n}.example"))), [1]);
    }
    // 40 hits one by one, then one over TCP.
    for n in 0..40 {
        assert_eq!(ends(&daemon.ask(&format!("n{}.example", n % 5))), [1]);
    }
    let mut stream = daemon.tcp();
    stream.write_all(&frame(&ask_for("n0.example", Rtype::A, None, 3))).expect("sent");
    assert_eq!(ends(&framed(&mut stream).expect("a reply")), [1]);
    daemon.ask("localhost");
    assert_eq!(daemon.ask("broken.example")[3] & 15, 2, "SERVFAIL");
    let expires = began + Duration::from_millis(1100);
    std::thread::sleep(expires.saturating_duration_since(Instant::now()));
    assert_eq!(ends(&daemon.ask("old.example")), [1]);

    let found = until(&daemon, "the stale answer", |found| count(found, AnswerSource::Stale) == 1);
    let counts: Vec<u64> = AnswerSource::ALL.iter().map(|source| count(&found, *source)).collect();
    assert_eq!(counts, [41, 6, 1, 0, 1, 1, 0], "{:?}", AnswerSource::ALL);
    assert_eq!(daemon.json(&["stats"])["hits"], 41);
    let [event_loop] = &found.workers[..] else { panic!("{:?}", found.workers) };
    assert_eq!((event_loop.number, event_loop.runs), (0, true));
    assert_eq!((event_loop.queries, event_loop.misses), (50, 9));
    let stale = found.answers(AnswerSource::Stale);
    assert!(stale.sum_ns >= 50_000_000, "it waits for {:?}", stale.sum_ns);
    let hits = found.answers(AnswerSource::Hit);
    assert!((41..10_000_000_000).contains(&hits.sum_ns), "{hits:?}");
    assert!(found.timed(Timed::RoundComplete).count() >= 5);
    let [only] = &found.upstreams[..] else { panic!("{:?}", found.upstreams) };
    assert_eq!((&only.label, only.transport), (&upstream.address.to_string(), UpstreamTransport::Udp));
    assert!(only.srtt.is_some() && only.counts.queries >= 8, "{only:?}");
    assert_eq!(only.counts.times.count(), only.counts.answers);
    assert!(only.counts.failures(UpstreamFailure::Servfail) >= 1, "{only:?}");
    assert!(found.capacity >= 1024 && found.entries == 6, "{found:?}");
}

#[test]
fn failures_of_upstreams_are_recorded_by_their_kind() {
    let silent = moody();
    // The port of a socket that is gone.
    let gone = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let more = format!("[[upstream]]\naddress = \"{gone}\"\n[round]\ndeadline = \"600ms\"\n");
    let daemon = Daemon::start(&[&silent], &more);
    assert_eq!(daemon.ask("silent.example")[3] & 15, 2, "SERVFAIL");
    let found = until(&daemon, "the timeout", |found| {
        found.upstreams[0].counts.failures(UpstreamFailure::Timeout) >= 1
    });
    assert_eq!(count(&found, AnswerSource::Failure), 1);
    assert!(found.answers(AnswerSource::Failure).sum_ns >= 100_000_000);
    let [first, second] = &found.upstreams[..] else { panic!("{:?}", found.upstreams) };
    assert_eq!((first.counts.answers, first.srtt), (0, None));
    assert_ne!(first.state, UpstreamState::Up);
    assert!(second.counts.failures(UpstreamFailure::ConnectionRefused) >= 1, "{second:?}");
    assert_eq!(second.counts.failures(UpstreamFailure::Timeout), 0);
    // Another list of upstreams: those that stay keep their counts, under their number.
    let dir = daemon.dir.clone();
    let timeouts = first.counts.failures(UpstreamFailure::Timeout);
    let other = Upstream::start(|query, _| vec![(0, answer(query, &[1], 60))]);
    Daemon::configure(&dir, &[&other, &silent], "[round]\ndeadline = \"600ms\"\n");
    assert!(daemon.ctl(&["reload"]).status.success());
    let found = until(&daemon, "the new list", |found| {
        found.upstreams.len() == 2 && found.upstreams[1].label == silent.address.to_string()
    });
    assert_eq!(found.upstreams[0].label, other.address.to_string());
    assert_eq!(found.upstreams[0].counts.queries, 0);
    assert_eq!(found.upstreams[1].counts.failures(UpstreamFailure::Timeout), timeouts);
}

#[test]
fn workers_have_counts_of_their_own_that_outlive_them_and_the_daemon() {
    let upstream = moody();
    let dir = support::directory();
    Daemon::configure(&dir, &[&upstream], "");
    std::fs::create_dir_all(dir.join("hither.toml.d")).expect("a directory");
    std::fs::write(dir.join("hither.toml.d/more.toml"), "[listen]\nworkers = 3\n").expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    let mut daemon = Daemon::spawn(dir, &mut command);
    assert_eq!(ends(&daemon.ask("n0.example")), [1]);
    // Each socket stays with one worker.
    for _ in 0..50 {
        assert_eq!(ends(&daemon.ask("n0.example")), [1]);
    }
    let found = until(&daemon, "all hits", |found| count(found, AnswerSource::Hit) == 50);
    daemon.until("workers publish their counters", |daemon| daemon.json(&["stats"])["hits"] == 50);
    let numbers: Vec<usize> = found.workers.iter().map(|worker| worker.number).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    let (event_loop, workers) = found.workers.split_first().expect("four");
    assert_eq!((event_loop.queries, event_loop.hits.count()), (0, 0));
    assert!(workers.iter().filter(|worker| worker.hits.count() > 0).count() > 1, "{workers:?}");
    assert_eq!(workers.iter().map(|worker| worker.queries).sum::<u64>(), 51);
    assert_eq!(workers.iter().map(|worker| worker.misses).sum::<u64>(), 1);
    assert_eq!(count(&found, AnswerSource::Round), 1);
    // A table of another size goes on with all counts, those of the workers included.
    let before = found;
    std::fs::write(
        daemon.dir.join("hither.toml.d/more.toml"),
        "[listen]\nworkers = 3\n[table]\nentries = 5000\n",
    )
    .expect("written");
    assert!(daemon.ctl(&["reload"]).status.success());
    let found = until(&daemon, "the new table", |found| found.capacity == 5000);
    assert_eq!(found.workers, before.workers);
    for _ in 0..10 {
        assert_eq!(ends(&daemon.ask("n0.example")), [1]);
    }
    until(&daemon, "hits in the new table", |found| count(found, AnswerSource::Hit) == 60);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.process.wait().expect("it ends").success());
    let found = metrics(&daemon);
    assert_eq!(count(&found, AnswerSource::Hit), 60);
    let run: Vec<bool> = found.workers.iter().map(|worker| worker.runs).collect();
    assert_eq!(run, [true, false, false, false], "the event loop has closed the table");
}

#[test]
fn an_idle_daemon_says_how_long_it_sleeps_and_a_stopped_one_is_overdue() {
    let upstream = moody();
    let daemon = Daemon::start(&[&upstream], "");
    let found = until(&daemon, "it sleeps", |found| found.life.doing != Doing::Works);
    let now = hither_net::clock::now();
    assert!(found.started <= found.life.turn && found.life.turn <= now);
    assert_eq!(found.life.overdue(now), Duration::ZERO);
    // A round has timers: the loop does not sleep for long.
    daemon.client().send(&ask_for("slow.example", Rtype::A, None, 3)).expect("sent");
    until(&daemon, "it waits for the upstream", |found| {
        let soon = hither_net::clock::now().plus(Duration::from_secs(4));
        matches!(found.life.doing, Doing::SleepsUntil(at) if at < soon)
    });
    daemon.signal(Signal::SIGSTOP);
    let end = Instant::now() + PATIENCE;
    let overdue = || metrics(&daemon).life.overdue(hither_net::clock::now());
    while overdue() < Duration::from_millis(20) {
        assert!(Instant::now() < end, "{:?}", metrics(&daemon).life);
        std::thread::sleep(Duration::from_millis(10));
    }
    daemon.signal(Signal::SIGCONT);
    until(&daemon, "it goes on", |found| found.life.overdue(hither_net::clock::now()).is_zero());
}

#[test]
fn what_sorters_report_is_added_up() {
    let upstream = moody();
    let daemon = Daemon::start(&[&upstream], "");
    let sorter = |answered| {
        let connection = Connection::connect(&daemon.dir.join("run").join(SORTER_SOCKET), Some(PATIENCE));
        let connection = connection.expect("it listens");
        let mut counts = SorterCounts { sent: answered, ..SorterCounts::default() };
        counts.probes[ProbeMethod::Icmp as usize][ProbeOutcome::Answered as usize] = answered;
        counts.verdicts[Trust::Verified as usize] = 2;
        let hello = SorterMessage::Hello { version: VERSION, lacks: Vec::new() };
        for message in [hello, SorterMessage::Stats(counts)] {
            connection.send(&encode(&message).expect("short")).expect("sent");
        }
        connection
    };
    let first = sorter(5);
    let answered = |found: &Metrics| found.sorter.probes(ProbeMethod::Icmp, ProbeOutcome::Answered);
    let found = until(&daemon, "the first report", |found| answered(found) == 5);
    assert!(found.sorter.connected);
    assert_eq!(found.sorter.verdicts(Trust::Verified), 2);
    drop(first);
    until(&daemon, "it is gone", |found| !found.sorter.connected);
    // The same process reports what it has done since its start.
    let _again = sorter(6);
    until(&daemon, "the second report", |found| answered(found) == 6 && found.sorter.connected);
}
