//! Daemon and sorter together: open and closed ports on loopback decide the order; the sorter dies
//! and is restarted. The modules test certificates of addresses (`certificates`), and each alone: the
//! sorter with more names than it can measure (`many`), the daemon with a malicious sorter (`hostile`).

#[path = "../src/secure/tests/sessions/support.rs"]
#[allow(dead_code)] // Sessions in memory are for the tests of their crate.
mod authorities;
#[path = "sorter/certificates.rs"]
mod certificates;
#[path = "sorter/hostile.rs"]
mod hostile;
#[path = "sorter/many.rs"]
mod many;
mod support;

use hither_wire::codes::Rcode;
use hither_wire::codes::Rtype;
use hither_wire::compose::Owner;
use hither_wire::message::Message;
use hither_wire::message::Section;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Instant;
use support::{Daemon, PATIENCE, Upstream, ask_for, compose, directory, retried};

const DAEMON: &str = env!("CARGO_BIN_EXE_hitherd");

/// Listeners at 127.0.0.61 and 127.0.0.63, all at one port, and none at 127.0.0.62.
fn doors() -> (Vec<TcpListener>, u16) {
    loop {
        let first = TcpListener::bind("127.0.0.61:0").expect("a port");
        let port = first.local_addr().expect("bound").port();
        if let Ok(other) = TcpListener::bind(("127.0.0.63", port)) {
            return (vec![first, other], port);
        }
    }
}

fn sorter_pid(daemon: &Daemon) -> Option<i64> {
    daemon.json(&["status"])["sorter"]["pid"].as_i64()
}

#[test]
fn a_closed_port_comes_last_and_a_sorter_that_dies_comes_back() {
    let (_doors, port) = doors();
    let upstream = Upstream::start(|query, _| {
        vec![(
            0,
            compose(query, Rcode::NOERROR, 0, |c| {
                for end in [62, 61, 63] {
                    assert!(c.record(
                        Section::Answer,
                        Owner::At(12),
                        hither_wire::codes::Rtype::A,
                        300,
                        &[127, 0, 0, end]
                    ));
                }
            }),
        )]
    });
    let dir = directory();
    Daemon::configure(&dir, &[&upstream], &format!("[sort]\nprobes = [\"tcp:{port}\"]\nprivate = true\n"));
    let mut command = Command::new(DAEMON);
    command.arg("--with-sorter").arg("--config").arg(dir.join("hither.toml"));
    let daemon = Daemon::spawn(dir, &mut command);
    let sorted = |name: &'static str| {
        daemon.ask(name);
        daemon.until("the set is sorted", |d| d.json(&["lookup", name])["sorted"] == true);
        let entry = daemon.json(&["lookup", name]);
        let addresses = entry["addresses"].as_array().expect("a list").clone();
        assert_eq!(addresses[2]["address"], "127.0.0.62");
        assert_eq!(addresses[2]["reachable"], false);
        assert!(addresses[..2].iter().all(|a| a["reachable"] == true && a["rtt_us"].is_u64()), "{entry}");
        entry["version"].as_u64().expect("a version")
    };
    sorted("a.example");
    daemon.until("the probes are reported", |d| d.json(&["status"])["sorter"]["probes"] == 3);
    sorted("b.example");
    assert_eq!(
        daemon.json(&["status"])["sorter"]["probes"],
        3,
        "another name with the same addresses costs no probe"
    );
    let known = daemon.json(&["explain", "a.example", "A"]);
    assert_eq!(known["sorter"], "answered", "{known}");
    for address in known["addresses"].as_array().expect("a list") {
        let probe = &address["probes"][0];
        assert_eq!(probe["method"], format!("tcp:{port}"), "{known}");
        let is_closed = address["address"] == "127.0.0.62";
        let (result, answered) =
            if is_closed { ("refused", &0.into()) } else { ("answered", &probe["sent"]) };
        assert_eq!((&probe["result"], &probe["answered"]), (&result.into(), answered), "{known}");
        let why = if is_closed { "last of these, since it does not answer" } else { "confirmed addresses; " };
        assert!(address["why"].as_str().is_some_and(|said| said.contains(why)), "{known}");
    }
    let pid = sorter_pid(&daemon).expect("connected");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL)
        .expect("it runs");
    assert_eq!(support::ends(&daemon.ask("a.example")).len(), 3, "queries are answered");
    daemon.until("another sorter is there", |d| sorter_pid(d).is_some_and(|now| now != pid));
    sorted("c.example");
}

/// One address of each family, of which the IPv6 one is refused: the sorter measures both families, and the
/// daemon withholds IPv6, since the operator says so.
#[test]
fn of_two_families_with_one_address_each_the_one_that_is_refused_is_withheld() {
    if TcpListener::bind("[::1]:0").is_err() {
        return support::skip(
            "of_two_families_with_one_address_each_the_one_that_is_refused_is_withheld",
            "no ::1",
        );
    }
    let (_doors, port) = doors();
    let upstream = Upstream::start(|query, _| {
        let rtype = hither_wire::query::Query::read(query).expect("the daemon's own").qtype();
        let address = if rtype == Rtype::A { vec![127, 0, 0, 61] } else { [vec![0; 15], vec![1]].concat() };
        let reply = compose(query, Rcode::NOERROR, 0, |c| {
            assert!(c.record(Section::Answer, Owner::At(12), rtype, 300, &address));
        });
        vec![(0, reply)]
    });
    let dir = directory();
    let sort = format!("[sort]\nprobes = [\"tcp:{port}\"]\nprivate = true\nwithhold = true\n");
    Daemon::configure(&dir, &[&upstream], &sort);
    let mut command = Command::new(DAEMON);
    command.arg("--with-sorter").arg("--config").arg(dir.join("hither.toml"));
    let daemon = Daemon::spawn(dir, &mut command);
    let ask = |rtype| daemon.exchange(&ask_for("both.example", rtype, Some(1232), 7));
    let count = |octets: &[u8]| Message::read(octets).expect("readable").header().ancount;
    assert_eq!((count(&ask(Rtype::A)), count(&ask(Rtype::AAAA))), (1, 1), "nothing is measured yet");
    for rtype in ["A", "AAAA"] {
        daemon.until("both are measured", |d| d.json(&["lookup", "both.example", rtype])["sorted"] == true);
    }
    assert_eq!((count(&ask(Rtype::A)), count(&ask(Rtype::AAAA))), (1, 0));
    let entry = daemon.json(&["lookup", "both.example", "AAAA"]);
    assert_eq!(entry["addresses"][0]["reachable"], false, "{entry}");
}

/// A process that may be stopped, and is killed when this is dropped.
struct Still(Pid);

impl Drop for Still {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

#[test]
fn a_stopped_sorter_delays_neither_waiting_clients_nor_the_end_of_the_daemon() {
    let upstream = Upstream::start(|_, _| vec![]);
    let dir = directory();
    Daemon::configure(&dir, &[&upstream], "");
    let mut command = Command::new(DAEMON);
    command.arg("--with-sorter").arg("--config").arg(dir.join("hither.toml"));
    let mut daemon = Daemon::spawn(dir, &mut command);
    daemon.until("the sorter is there", |d| sorter_pid(d).is_some());
    let sorter = Pid::from_raw(sorter_pid(&daemon).expect("connected") as i32);
    let client = daemon.client();
    client.send(&ask_for("www.example", Rtype::A, None, 7)).expect("sent");
    daemon.until("a client waits", |_| upstream.count() > 0);
    let still = Still(sorter);
    kill(still.0, Signal::SIGSTOP).expect("it runs");
    daemon.signal(Signal::SIGTERM);
    let mut reply = [0; 512];
    let len = retried(|| client.recv(&mut reply)).expect("the waiting client gets a reply");
    assert_eq!(Message::read(&reply[..len]).expect("readable").header().rcode(), Rcode::SERVFAIL);
    let end = Instant::now() + PATIENCE;
    while daemon.process.try_wait().expect("our child").is_none() {
        assert!(Instant::now() < end, "the daemon waits for its sorter:\n{}", daemon.log());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // Its parent may not have collected its status yet.
    let is_gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{sorter}/stat"));
        stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    };
    while !is_gone() {
        assert!(Instant::now() < end, "the sorter outlives its daemon");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_service_manager_that_reads_nothing_does_not_delay_the_sorter() {
    let (dir, upstream) = (directory(), Upstream::start(|_, _| vec![]));
    let manager = UnixDatagram::bind(dir.join("notify")).expect("bound");
    let other = UnixDatagram::unbound().expect("a socket");
    other.set_nonblocking(true).expect("an option");
    while other.send_to(b"X=1\n", dir.join("notify")).is_ok() {}
    Daemon::configure(&dir, &[&upstream], "");
    let daemon =
        Daemon::spawn(dir.clone(), Command::new(DAEMON).arg("--config").arg(dir.join("hither.toml")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_hither-sorter"));
    command.arg("--config").arg(dir.join("hither.toml")).env("NOTIFY_SOCKET", dir.join("notify"));
    let mut sorter = command.spawn().expect("started");
    let still = Still(Pid::from_raw(sorter.id() as i32));
    daemon.until("the sorter is connected", |d| sorter_pid(d) == Some(i64::from(sorter.id())));
    let mut message = [0; 1024];
    manager.set_read_timeout(Some(PATIENCE)).expect("an option");
    while !message.starts_with(b"READY=1\n") {
        retried(|| manager.recv(&mut message)).expect("the notification comes later");
    }
    kill(still.0, Signal::SIGTERM).expect("it runs");
    assert!(sorter.wait().expect("our child").success());
}
