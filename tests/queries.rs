//! Insight into queries: the log of queries, dnstap, the names asked most, and the units that ask.

#[path = "queries/dnstap.rs"]
mod dnstap;
mod support;
#[path = "queries/top.rs"]
mod top;
#[path = "queries/units.rs"]
mod units;

use hither::logging::Event;
use hither_wire::codes::Rtype;
use std::net::UdpSocket;
use support::journal::Journaled;
use support::{Daemon, PATIENCE, Upstream, answer, ask_for, ends, retried, skip};

fn upstream() -> Upstream {
    Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))])
}

/// Waits until the daemon has logged queries that were answered before, also those of workers.
fn until_logged(daemon: &Daemon, text: &str) {
    daemon.until(text, |daemon| daemon.log().contains(text));
}

#[test]
fn queries_are_logged_as_far_as_the_configuration_says_and_a_reload_changes_that() {
    for workers in [1, 2] {
        let upstream = upstream();
        let more = |queries: &str| format!("workers = {workers}\n[log]\nqueries = \"{queries}\"\n");
        let configure = |daemon: &Daemon, queries: &str| {
            let path = daemon.dir.join("hither.toml");
            let text = std::fs::read_to_string(&path).expect("readable");
            let text = text.split("[log]").next().expect("a text").to_owned();
            std::fs::write(&path, format!("{text}[log]\nqueries = \"{queries}\"\n")).expect("writable");
            assert!(daemon.ctl(&["reload"]).status.success());
        };
        let dir = support::directory();
        Daemon::configure(&dir, &[], "");
        let text = std::fs::read_to_string(dir.join("hither.toml")).expect("readable") + &more("off");
        let text = text + &format!("[[upstream]]\naddress = \"{}\"\n", upstream.address);
        std::fs::write(dir.join("hither.toml"), text.replace("[log]\nqueries = \"off\"\n", ""))
            .expect("writable");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hitherd"));
        command.arg("--config").arg(dir.join("hither.toml"));
        let daemon = Daemon::spawn(dir, &mut command);
        assert_eq!(ends(&daemon.ask("off.example")), [1]);
        configure(&daemon, "misses");
        assert_eq!(ends(&daemon.ask("Miss.example")), [1]);
        assert_eq!(ends(&daemon.ask("miss.example")), [1], "a hit");
        until_logged(
            &daemon,
            &format!("asked for miss.example. A: NOERROR from upstream {} in", upstream.address),
        );
        configure(&daemon, "all");
        assert_eq!(ends(&daemon.ask("off.example")), [1]);
        until_logged(&daemon, "asked for off.example. A: NOERROR from cache in 0.0 ms");
        configure(&daemon, "off");
        assert_eq!(ends(&daemon.ask("off.example")), [1]);
        assert_eq!(ends(&daemon.ask("over.example")), [1]);
        drop(daemon.ctl(&["flush"]));
        let log = daemon.log();
        assert_eq!(log.matches("asked for").count(), 2, "{workers} workers: {log}");
    }
}

#[test]
fn an_entry_of_the_log_of_queries_has_fields() {
    let upstream = upstream();
    let Some(daemon) = Journaled::start(&[&upstream], "[log]\nqueries = \"all\"\n") else {
        return skip(
            "an_entry_of_the_log_of_queries_has_fields",
            "needs root, mount namespaces and unshare(1)",
        );
    };
    let server = daemon.event(Event::Ready)["HITHER_ADDRESSES"].clone();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    let mut entries = Vec::new();
    for id in 0..2 {
        socket.send_to(&ask_for("www.example", Rtype::A, None, id), &server).expect("sent");
        retried(|| socket.recv(&mut [0; 512])).expect("a reply");
        entries.push(daemon.event(Event::Query));
    }
    let port = socket.local_addr().expect("an address").port().to_string();
    for (entry, source) in entries.iter().zip(["upstream", "cache"]) {
        assert_eq!(entry["MESSAGE_ID"], format!("{:032x}", Event::Query.id()));
        for (field, value) in [
            ("PRIORITY", "6"),
            ("HITHER_NAME", "www.example."),
            ("HITHER_TYPE", "A"),
            ("HITHER_CLIENT", "127.0.0.1"),
            ("HITHER_PORT", &port),
            ("HITHER_PROTOCOL", "udp"),
            ("HITHER_SOURCE", source),
            ("HITHER_RCODE", "NOERROR"),
        ] {
            assert_eq!(entry.get(field).map(String::as_str), Some(value), "{field}: {entry:?}");
        }
    }
    assert_eq!(entries[0]["HITHER_UPSTREAM"], upstream.address.to_string());
    assert!(entries[0]["HITHER_TIME_US"].parse::<u64>().is_ok_and(|us| us > 0), "{entries:?}");
    assert!(!entries[1].contains_key("HITHER_UPSTREAM"), "{entries:?}");
}

#[test]
fn the_log_of_queries_is_bounded_in_rate_and_counts_what_it_leaves_out() {
    const QUERIES: usize = 3000;
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[log]\nqueries = \"all\"\n");
    let socket = daemon.client();
    let mut buffer = [0; 512];
    for id in 0..QUERIES as u16 {
        socket.send(&ask_for("www.example", Rtype::A, None, id)).expect("sent");
        retried(|| socket.recv(&mut buffer)).expect("a reply");
    }
    let counts = |daemon: &Daemon| {
        let log = daemon.log();
        let left_out =
            log.lines().filter_map(|line| line.split_once(" queries were left out")?.0.parse::<usize>().ok());
        (log.matches("asked for www.example. A").count(), left_out.sum::<usize>())
    };
    daemon.until("each query is logged or counted", |daemon| {
        // What was left out is said with the next query, or when its second is over.
        daemon.ask("last.example");
        let (logged, left_out) = counts(daemon);
        logged + left_out >= QUERIES
    });
    let (logged, left_out) = counts(&daemon);
    assert!(logged >= 100 && left_out > 0, "{logged} logged, {left_out} left out");
    assert!(left_out >= QUERIES.saturating_sub(logged), "{logged} logged, {left_out} left out");
}
