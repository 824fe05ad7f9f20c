//! The names asked most, and the open rounds: what `hitherctl top` asks the daemon for.

use crate::support::{Daemon, PATIENCE, Upstream, answer, ask_for, retried};
use crate::upstream;
use hither_control::{Request, Response, TopReport, decode, encode};
use hither_net::seqpacket::Connection;
use hither_wire::codes::Rtype;

/// The answer of the daemon's control socket.
pub fn request(daemon: &Daemon, request: &Request) -> Response {
    let near = Connection::connect(&daemon.dir.join("run/control.sock"), Some(PATIENCE)).expect("connected");
    near.send(&encode(request).expect("short")).expect("sent");
    let mut buffer = vec![0; hither_control::MESSAGE_MAX];
    decode(near.receive(&mut buffer).expect("an answer")).expect("a response")
}

pub fn report(daemon: &Daemon) -> TopReport {
    match request(daemon, &Request::Top {}) {
        Response::Top(report) => *report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_are_counted_while_somebody_looks_and_not_before() {
    for workers in [1, 2] {
        let upstream = upstream();
        let dir = crate::support::directory();
        Daemon::configure(&dir, &[&upstream], "");
        let path = dir.join("hither.toml");
        let text = std::fs::read_to_string(&path).expect("readable");
        let text =
            text.replace("dns = [\"127.0.0.1:0\"]", &format!("dns = [\"127.0.0.1:0\"]\nworkers = {workers}"));
        std::fs::write(&path, text).expect("writable");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hitherd"));
        let daemon = Daemon::spawn(dir, command.arg("--config").arg(&path));
        daemon.ask("before.example");
        let first = report(&daemon);
        assert_eq!((first.queries, first.names.len(), first.rounds.len()), (0, 0, 0), "{first:?}");
        for _ in 0..30 {
            daemon.ask("often.example");
        }
        daemon.ask("Once.example");
        // Hits are looked for at once when a report is composed; a report is kept for a moment.
        daemon.until("all queries are counted", |daemon| report(daemon).queries >= 31);
        let seen = report(&daemon);
        let names: Vec<_> = seen.names.iter().map(|n| (n.name.as_str(), n.queries, n.misses)).collect();
        assert_eq!(
            names,
            [("often.example.", 30, 1), ("once.example.", 1, 1)],
            "{workers} workers: {seen:?}"
        );
        assert_eq!((seen.queries, seen.misses, seen.names[0].permille, seen.names[0].error), (31, 2, 967, 0));
        assert!(seen.window_ms > 0, "{seen:?}");
    }
}

#[test]
fn thousands_of_queries_by_batches_are_estimated_from_samples() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "");
    for name in ["most.example", "less.example"] {
        daemon.ask(name);
    }
    report(&daemon);
    let socket = daemon.client();
    let mut buffer = [0; 512];
    const ROUNDS: u64 = 300;
    for _ in 0..ROUNDS {
        // Eight at once, which may be one batch: three quarters for one name.
        for n in 0..8 {
            let name = if n % 4 == 0 { "less.example" } else { "most.example" };
            socket.send(&ask_for(name, Rtype::A, None, n)).expect("sent");
        }
        for _ in 0..8 {
            retried(|| socket.recv(&mut buffer)).expect("a reply");
        }
    }
    let more = std::cell::Cell::new(0);
    daemon.until("all are counted", |daemon| {
        // The next sample stands for those since the last one too.
        daemon.ask("most.example");
        more.set(more.get() + 1);
        report(daemon).queries >= ROUNDS * 8
    });
    let seen = report(&daemon);
    assert!(seen.queries <= ROUNDS * 8 + more.get(), "{seen:?}");
    assert_eq!(seen.names[0].name, "most.example.");
    assert!((600..=900).contains(&seen.names[0].permille), "{seen:?}");
}

#[test]
fn open_rounds_are_shown_with_the_upstreams_that_have_not_answered() {
    let silent = Upstream::start(|_, _| Vec::new());
    let daemon = Daemon::start(&[&silent], "[round]\ndeadline = \"20s\"\n");
    let socket = daemon.client();
    socket.send(&ask_for("slow.example", Rtype::AAAA, None, 1)).expect("sent");
    daemon.until("the round is shown", |daemon| !report(daemon).rounds.is_empty());
    let seen = report(&daemon);
    let round = &seen.rounds[0];
    assert_eq!((round.name.as_str(), round.rtype.as_str(), round.clients), ("slow.example.", "AAAA", 1));
    assert_eq!((round.outstanding.as_slice(), seen.rounds_more), (&[silent.address.to_string()][..], 0));
}

#[test]
fn looking_ends_soon_after_the_last_request() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))]);
    let daemon = Daemon::start(&[&upstream], "");
    report(&daemon);
    daemon.ask("a.example");
    daemon.until("the query is counted", |daemon| report(daemon).queries == 1);
    // Nothing announces the end: what is asked after it is not counted.
    std::thread::sleep(std::time::Duration::from_secs(6));
    daemon.ask("b.example");
    assert_eq!(report(&daemon).names, []);
}
