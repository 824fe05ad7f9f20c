//! The NSS module through getent: answers, denials, a daemon that hangs, hints.

use crate::support::{Daemon, PATIENCE, libraries};
use crate::{addresses, command, getent, has, skipped, upstream};
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn getent_reads_the_daemons_answers_in_its_order() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    // The table is empty, so the module asks the daemon.
    let (status, lines) = getent(&daemon, &["ahostsv4", "www.example"]);
    assert_eq!((status, addresses(&lines)), (Some(0), vec!["198.18.0.3", "198.18.0.1", "198.18.0.2"]));
    let asked = upstream.count();
    let (_, lines) = getent(&daemon, &["ahosts", "www.EXAMPLE."]);
    assert!(
        lines.iter().any(|l| l.starts_with("2001::5 ")) && lines.iter().any(|l| l.starts_with("198.18.0.3 ")),
        "{lines:?}"
    );
    let once = upstream.count();
    assert!(once <= asked + 1, "A came from the table");
    let (_, lines) = getent(&daemon, &["hosts", "www.example"]);
    assert!(lines.iter().all(|line| line.contains("www.example")), "{lines:?}");
    assert_eq!(upstream.count(), once, "everything came from the table");
    // Canonical name and aliases.
    let (_, lines) = getent(&daemon, &["ahostsv4", "alias.example"]);
    assert!(lines[0].starts_with("198.18.0.9 ") && lines[0].contains("last.example"), "{lines:?}");
    let (_, lines) = getent(&daemon, &["hosts", "alias.example"]);
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(words, ["198.18.0.9", "last.example", "alias.example", "middle.example"]);
    // An answer that needs the module's larger buffer, and more than getaddrinfo's first one.
    let (status, lines) = getent(&daemon, &["ahostsv4", "many.example"]);
    assert_eq!((status, addresses(&lines).len()), (Some(0), 40));
    assert_eq!(daemon.json(&["stats"])["malformed_queries"], 0);
}

#[test]
fn missing_names_are_denied_at_once_and_names_of_other_modules_are_left_to_them() {
    let upstream = upstream();
    let mut daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    assert_eq!(getent(&daemon, &["hosts", "none.example"]).0, Some(2));
    let asked = upstream.count();
    assert_eq!(getent(&daemon, &["ahosts", "none.example"]).0, Some(2));
    assert_eq!(upstream.count(), asked, "the denial came from the table");
    // With [NOTFOUND=return] a denial ends the search; if the module leaves the name to the next
    // one, the search continues.
    let after = |source: &str, name: &str| {
        let output = command(&daemon, "getent")
            .args(["-s", &format!("hosts:hither {source} files"), "hosts", name])
            .output()
            .expect("getent");
        output.status.code()
    };
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    if hosts.lines().any(|line| line.split_whitespace().skip(1).any(|name| name == "localhost")) {
        assert_eq!(after("[NOTFOUND=return]", "localhost"), Some(0), "localhost is for the next module");
    } else {
        skipped(
            "the check with /etc/hosts in missing_names_are_denied_at_once_and_names_of_other_modules_are_left_to_them",
            "/etc/hosts has no localhost",
        );
    }
    assert_eq!(after("[NOTFOUND=return]", "none.example"), Some(2));
    assert_eq!(
        getent(&daemon, &["hosts", "single"]).0,
        Some(2),
        "it has no dot, and no search list completes it"
    );
    assert_eq!(getent(&daemon, &["hosts", "broken.example"]).0, Some(2));
    let (_, mapped) = getent(&daemon, &["ahostsv6", "v4.example"]);
    assert!(
        mapped.iter().all(|line| line.starts_with("::ffff:")),
        "no IPv6, so getent shows IPv4 mapped: {mapped:?}"
    );
    assert_eq!(getent(&daemon, &["ahosts", "v4.example"]).0, Some(0));
    let long = format!("{}.example", "a".repeat(64));
    assert_eq!(getent(&daemon, &["hosts", &long]).0, Some(2));
    // A daemon that hangs: published names are found, and others are left to the next module.
    daemon.ask("www.example");
    daemon.signal(nix::sys::signal::Signal::SIGSTOP);
    assert_eq!(getent(&daemon, &["ahostsv4", "www.example"]).0, Some(0));
    assert_eq!(getent(&daemon, &["ahostsv4", "unknown.example"]).0, Some(2));
    // The daemon is gone: its socket refuses at once, so there is no waiting.
    let dir = daemon.dir.clone();
    daemon.process.kill().expect("it runs");
    daemon.process.wait().expect("a child");
    let began = Instant::now();
    let gone = Command::new("getent")
        .env("LD_LIBRARY_PATH", libraries())
        .env("HITHER_RUNTIME_DIR", dir.join("run"))
        .args(["-s", "hosts:hither", "hosts", "unknown.example"])
        .status();
    assert_eq!(gone.expect("getent").code(), Some(2));
    assert!(began.elapsed() < Duration::from_secs(1), "a refused datagram ends the wait");
    drop(daemon);
}

#[test]
fn a_daemon_that_hangs_is_waited_for_once_and_a_slow_one_is_asked_again() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    daemon.ask("www.example");
    // The daemon is slow because its upstream is. The next name is still asked.
    let (_, lines) = getent(&daemon, &["ahostsv4", "silent.example", "other.example"]);
    assert_eq!(addresses(&lines), ["198.18.0.3", "198.18.0.1", "198.18.0.2"], "{lines:?}");
    daemon.signal(nix::sys::signal::Signal::SIGSTOP);
    let began = Instant::now();
    let names = ["a.example", "b.example", "www.example", "c.example", "d.example", "e.example", "f.example"];
    let (_, lines) = getent(&daemon, &[&["ahostsv4"], &names[..]].concat());
    let took = began.elapsed();
    println!("six names that a stopped daemon does not answer: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(addresses(&lines), ["198.18.0.3", "198.18.0.1", "198.18.0.2"], "a published name is found");
    let began = Instant::now();
    assert_eq!(getent(&daemon, &["hosts", "uncached.example"]).0, Some(2));
    println!("getent hosts: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    daemon.signal(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(getent(&daemon, &["ahostsv4", "a.example"]).0, Some(0), "another process asks at once");
}

#[test]
fn a_reader_that_still_uses_an_entry_keeps_it_fresh() {
    let test = "a_reader_that_still_uses_an_entry_keeps_it_fresh";
    if !has("gcc", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[cache]\nprefetch = false\n[sort]\nenabled = false\n");
    daemon.ask("short.example");
    assert_eq!(upstream.count(), 1);
    let version = daemon.json(&["lookup", "short.example"])["version"].as_u64().expect("a version");
    // No query reaches the daemon: programs only read the table, and send a hint in the last of
    // five seconds. If the machine is too slow for that second the entry expires, the module asks,
    // and another five seconds begin.
    let table = hither_table::Reader::open(&daemon.dir.join("run")).expect("readable");
    let (mut began, mut asked, mut looked) = (Instant::now(), 1, Instant::now());
    let mut gap = Duration::ZERO;
    let deadline = Instant::now() + 3 * PATIENCE;
    while daemon.json(&["stats"])["hints"] == 0 {
        assert!(Instant::now() < deadline, "no hint is received: {}", daemon.json(&["stats"]));
        let (status, _) = getent(&daemon, &["ahostsv4", "short.example"]);
        assert_eq!(status, Some(0), "the name is always found");
        gap = gap.max(looked.elapsed());
        looked = Instant::now();
        // The counters are published about once a second.
        let shown = Instant::now() + Duration::from_millis(2500);
        while upstream.count() > asked && daemon.json(&["stats"])["hints"] == 0 && Instant::now() < shown {
            table.follow().wait(Duration::from_millis(50));
        }
        if upstream.count() > asked && daemon.json(&["stats"])["hints"] == 0 {
            assert!(gap > Duration::from_millis(800), "asked anew without a hint, looked at every {gap:?}");
            (began, asked, gap) = (looked, upstream.count(), Duration::ZERO);
        }
        // The reader stops now: only a lookup sends the hint.
        table.follow().wait(Duration::from_millis(50));
    }
    let last = began.elapsed().as_millis();
    assert!(last >= 3_500, "a hint after {last} ms, when it still had most of its time");
    daemon.until("the entry is renewed", |d| {
        d.json(&["lookup", "short.example"])["version"].as_u64() > Some(version)
    });
    daemon.until("it was refreshed once", |d| d.json(&["stats"])["prefetches"] == 1);
    // Malformed hints are counted.
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    for junk in [&[][..], &[1, 9, 0], &[1, 1, 64], &[7; 600]] {
        socket.send_to(junk, daemon.dir.join("run/hint")).expect("any user may send");
    }
    daemon.until("junk is counted", |d| d.json(&["stats"])["hints_dropped"] == 4);
}
