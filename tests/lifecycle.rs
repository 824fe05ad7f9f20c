//! Reload, stop and failed starts, as seen by operators and waiting clients. Tests that need a
//! service manager are in `tests/systemd`.

#[path = "lifecycle/runtime_dir.rs"]
mod runtime_dir;
mod support;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::message::Message;
use nix::sys::signal::Signal;
use std::process::Command;
use std::time::Instant;
use support::{Daemon, HELD, PATIENCE, Upstream, answer, ask_for, directory, retried, until};

fn upstream(after_ms: u64) -> Upstream {
    Upstream::start(move |query, _| vec![(after_ms, answer(query, &[1], 3600))])
}

#[test]
fn a_reload_returns_when_the_new_configuration_is_in_force() {
    let upstream = upstream(0);
    let daemon = Daemon::start(&[&upstream], "");
    let list = daemon.dir.join("list");
    std::fs::write(&list, (0..20_000).map(|n| format!("n{n}.blocked.example\n")).collect::<String>())
        .expect("writable");
    Daemon::configure(
        &daemon.dir,
        &[&upstream],
        &format!("[[block]]\nfiles = [{list:?}]\n[cache]\nmax_ttl = \"77s\"\n"),
    );
    let done = daemon.ctl(&["reload"]);
    assert!(done.status.success(), "{done:?}");
    // No wait in between: the reload has returned.
    let reply = daemon.ask("n19999.blocked.example");
    assert_eq!(Message::read(&reply).expect("readable").header().rcode(), Rcode::NXDOMAIN);
    daemon.ask("www.example");
    assert!(daemon.json(&["lookup", "www.example"])["ttl"].as_u64() <= Some(77));
    assert_eq!(daemon.json(&["reload"])["reloaded"], true);
}

#[test]
fn a_wrong_configuration_fails_the_reload_with_its_reason_and_the_old_one_stays() {
    let upstream = upstream(0);
    let daemon = Daemon::start(&[&upstream], "");
    Daemon::configure(&daemon.dir, &[&upstream], "[cache]\nmax_tll = \"1h\"\n");
    let done = daemon.ctl(&["reload"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1));
    assert!(
        said.contains("hither.toml:") && said.contains("'max_tll'") && said.contains("'max_ttl'"),
        "{said}"
    );
    let reply = daemon.ask("www.example");
    assert_eq!(Message::read(&reply).expect("readable").header().rcode(), Rcode::NOERROR);
    Daemon::configure(&daemon.dir, &[&upstream], "");
    assert!(daemon.ctl(&["reload"]).status.success(), "a valid configuration is accepted again");
}

#[test]
fn clients_waiting_for_a_name_that_becomes_local_get_the_local_answer() {
    let slow = upstream(HELD);
    let dir = directory();
    let hosts = dir.join("hosts");
    let daemon = Daemon::start_in(dir, &[&slow], &format!("[hosts]\nfiles = [{hosts:?}]\n"));
    let client = daemon.client();
    client.send(&ask_for("printer.example", Rtype::A, None, 1)).expect("sent");
    daemon.until("the upstream is asked", |_| slow.count() == 1);
    std::fs::write(&hosts, "192.0.2.77 printer.example\n").expect("writable");
    assert!(daemon.ctl(&["reload"]).status.success());
    let mut buffer = [0; 512];
    let len = retried(|| client.recv(&mut buffer)).expect("a reply");
    let address = |reply: &[u8]| {
        Message::read(reply).expect("readable").records().next().map(|record| record.rdata.to_vec())
    };
    assert_eq!(address(&buffer[..len]), Some(vec![192, 0, 2, 77]));
    daemon.until("its round has ended", |d| d.json(&["stats"])["rounds_live"] == 0);
    assert_eq!(address(&daemon.ask("printer.example")), Some(vec![192, 0, 2, 77]));
    assert_eq!(slow.count(), 1);
}

#[test]
fn clients_waiting_when_the_daemon_is_stopped_are_still_answered() {
    let upstream = upstream(HELD);
    let daemon = Daemon::start(&[&upstream], "");
    let client = daemon.client();
    client.send(&ask_for("www.example", Rtype::A, None, 1)).expect("sent");
    daemon.until("the upstream is asked", |_| upstream.count() == 1);
    // The daemon is stopped meanwhile, so that it finds the response and the signal at the same time.
    daemon.signal(Signal::SIGSTOP);
    daemon.signal(Signal::SIGTERM);
    upstream.release();
    until("the response is sent", || upstream.sent() > 0);
    daemon.signal(Signal::SIGCONT);
    let mut buffer = [0; 512];
    let len = retried(|| client.recv(&mut buffer)).expect("a reply");
    let read = Message::read(&buffer[..len]).expect("readable");
    assert_eq!((read.header().rcode(), read.records().count()), (Rcode::NOERROR, 1));
}

#[test]
fn clients_that_would_wait_too_long_get_a_reply_at_once_and_the_stop_is_quick() {
    let silent = Upstream::start(|_, _| Vec::new());
    let mut daemon = Daemon::start(&[&silent], "[round]\ndeadline = \"60s\"\n");
    let client = daemon.client();
    client.send(&ask_for("www.example", Rtype::A, None, 1)).expect("sent");
    daemon.until("the upstream is asked", |_| silent.count() == 1);
    daemon.signal(Signal::SIGTERM);
    // The deadline of the round is later than this client waits.
    let mut buffer = [0; 512];
    let len = retried(|| client.recv(&mut buffer)).expect("a reply");
    assert_eq!(Message::read(&buffer[..len]).expect("readable").header().rcode(), Rcode::SERVFAIL);
    assert!(daemon.process.wait().expect("our child").success());
}

#[test]
fn a_daemon_that_is_stopped_leaves_new_queries_to_its_successor() {
    let slow = upstream(40);
    let mut daemon = Daemon::start(&[&slow], "");
    daemon.ask("known.example");
    daemon.client().send(&ask_for("www.example", Rtype::A, None, 1)).expect("sent");
    daemon.until("the upstream is asked", |_| slow.count() == 2);
    daemon.signal(Signal::SIGTERM);
    daemon.wait_for("stopping");
    let late = daemon.client();
    late.send(&ask_for("known.example", Rtype::A, None, 1)).expect("sent");
    // The daemon ended without reading this query. In the socket of a service manager the query would
    // wait for the successor.
    assert!(daemon.process.wait().expect("our child").success());
    late.set_nonblocking(true).expect("an option");
    assert!(retried(|| late.recv(&mut [0; 512])).is_err(), "a query was read after the signal to stop");
}

#[test]
fn a_credential_is_read_after_all_other_configuration() {
    let dir = directory();
    std::fs::create_dir_all(&dir).expect("writable");
    std::fs::write(dir.join("hither.toml"), "[cache]\nmax_tll = \"1h\"\n").expect("writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    let done = command.arg("--check").env("CREDENTIALS_DIRECTORY", &dir).output().expect("started");
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(78), "EX_CONFIG");
    assert!(
        said.contains(&dir.join("hither.toml").display().to_string()) && said.contains("max_ttl"),
        "{said}"
    );
    std::fs::remove_dir_all(dir).expect("removable");
}

/// Starts the daemon like a service manager: with a passed socket, a notification socket, and a runtime
/// directory.
fn managed(dir: &std::path::Path, socket: &std::net::UdpSocket, notify: bool) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --config \"$1\""])
        .arg(env!("CARGO_BIN_EXE_hitherd"))
        .arg(dir.join("hither.toml"))
        .env("RUNTIME_DIRECTORY", dir.join("run"))
        .stdin(std::os::fd::OwnedFd::from(socket.try_clone().expect("a copy")));
    if notify {
        command.env("NOTIFY_SOCKET", dir.join("notify"));
    }
    command
}

#[test]
fn a_wrong_configuration_fails_the_first_start_and_the_next_one_answers_not_ready_until_it_is_right() {
    let (dir, upstream) = (directory(), upstream(0));
    let _manager = std::os::unix::net::UnixDatagram::bind(dir.join("notify")).expect("a socket");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let wrong = |more: &str| Daemon::configure(&dir, &[&upstream], more);
    wrong("[cache]\nmax_tll = \"1h\"\n");
    for notify in [false, false, true] {
        let done = managed(&dir, &socket, notify).output().expect("started");
        assert_eq!(done.status.code(), Some(78), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let daemon = Daemon::spawn(dir.clone(), &mut managed(&dir, &socket, true));
    let refused = daemon.ask("www.example");
    let message = Message::read(&refused).expect("readable");
    assert_eq!(message.header().rcode(), Rcode::SERVFAIL);
    // Extended DNS Error 14, Not Ready (RFC 8914).
    assert!(refused.windows(6).any(|octets| octets == [0, 15, 0, 2, 0, 14]), "{refused:?}");
    let status = daemon.json(&["status"]);
    assert!(status["problems"][0].as_str().is_some_and(|text| text.contains("max_tll")), "{status}");
    assert_eq!(daemon.ctl(&["reload"]).status.code(), Some(1));
    // The file is followed, without a reload.
    wrong("[cache]\nmax_tll = \"2h\"\n");
    daemon.until("another error is reported", |d| {
        d.json(&["status"])["problems"][0].to_string().contains("2h")
    });
    wrong("[[block]]\nnames = [\"blocked.example\"]\n");
    daemon.until("the valid configuration is in force", |d| {
        let blocked = Message::read(&d.ask("blocked.example")).expect("readable").header().rcode();
        assert_ne!(blocked, Rcode::NOERROR, "a blocked name is never answered");
        Message::read(&d.ask("www.example")).expect("readable").header().rcode() == Rcode::NOERROR
    });
    assert_eq!(daemon.json(&["status"])["problems"], serde_json::json!([]));
    // The next start reports the next error.
    let mut daemon = daemon;
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.process.wait().expect("our child").success());
    wrong("[cache]\nmax_tll = \"3h\"\n");
    assert_eq!(managed(&dir, &socket, true).output().expect("started").status.code(), Some(78));
}

#[test]
fn a_runtime_directory_that_cannot_be_made_fails_the_first_start_and_the_next_one_answers_servfail() {
    let (dir, upstream) = (directory(), upstream(0));
    let _manager = std::os::unix::net::UnixDatagram::bind(dir.join("notify")).expect("a socket");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    Daemon::configure(&dir, &[&upstream], "");
    let text = std::fs::read_to_string(dir.join("hither.toml")).expect("readable");
    let text = text.replacen(&dir.join("run").display().to_string(), "/proc/none/of/this", 1);
    std::fs::write(dir.join("hither.toml"), text).expect("writable");
    let done = managed(&dir, &socket, true).output().expect("started");
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(
        said.contains("'/proc/none/of/this'") && said.contains("runtime_dir in hither.toml(5)"),
        "{said}"
    );
    let daemon = Daemon::spawn(dir.clone(), &mut managed(&dir, &socket, true));
    assert_eq!(
        Message::read(&daemon.ask("www.example")).expect("readable").header().rcode(),
        Rcode::SERVFAIL
    );
}

#[test]
fn clients_are_answered_while_the_lists_of_a_corrected_configuration_are_read() {
    let (dir, upstream) = (directory(), upstream(0));
    let _manager = std::os::unix::net::UnixDatagram::bind(dir.join("notify")).expect("a socket");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let list = dir.join("list");
    let text: String = (0..300_000).map(|n| format!("a.name.that.is.blocked{n}.example\n")).collect();
    std::fs::write(&list, text + "blocked.example\n").expect("written");
    Daemon::configure(&dir, &[&upstream], "[cache]\nmax_tll = \"1h\"\n");
    let first = managed(&dir, &socket, true).output().expect("started");
    assert_eq!(first.status.code(), Some(78), "{}", String::from_utf8_lossy(&first.stderr));
    let daemon = Daemon::spawn(dir.clone(), &mut managed(&dir, &socket, true));
    let rcode = || Message::read(&daemon.ask("blocked.example")).expect("readable").header().rcode();
    assert_eq!(rcode(), Rcode::SERVFAIL);
    let is_read = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.process.id())).expect("it runs");
        open.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|file| file == list))
    };
    let right = format!("[[block]]\nfiles = [{list:?}]\n");
    let problems = |d: &Daemon| d.json(&["status"])["problems"].to_string();
    // While the list is read a client is answered as before. A reply counts when the list was open
    // before the query and after the reply; on a busy machine the test may run only after the list
    // has been read.
    let end = Instant::now() + PATIENCE;
    for n in 0.. {
        assert!(Instant::now() < end, "no reply while the list is read:\n{}", daemon.log());
        Daemon::configure(&dir, &[&upstream], &right);
        while !is_read() && problems(&daemon) != "[]" {}
        let (was_open, rcode, is_open) = (is_read(), rcode(), is_read());
        // The configuration becomes invalid again, most likely before the list has been read.
        Daemon::configure(&dir, &[&upstream], &format!("[cache]\nmax_tll = \"{n}h\"\n"));
        if was_open && is_open {
            assert_eq!(rcode, Rcode::SERVFAIL);
            daemon.until("another error is reported", |d| problems(d).contains(&format!("{n}h")));
            break;
        }
    }
    Daemon::configure(&dir, &[&upstream], &right);
    assert!(daemon.ctl(&["reload"]).status.success());
    assert_eq!(problems(&daemon), "[]", "the valid configuration is in force");
    assert_eq!(rcode(), Rcode::NXDOMAIN, "a blocked name is denied");
}
