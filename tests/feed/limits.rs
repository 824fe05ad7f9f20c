//! Limits: names and connections of a user, programs that do not read, the socket's mode, and its file.

use super::*;
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use support::skip;

/// Subscribes as another user to one name, and prints the kind and reason of the answer.
const AS_OTHERS: &str = "
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
s.send(b'\\x01\\x01\\x05other\\x07example\\x00')
print(*s.recv(300)[:2])
";

#[test]
fn one_user_does_not_keep_another_out() {
    let (upstream, _) = changing(3600);
    let daemon = Daemon::start(&[&upstream], "[feed]\nnames_per_user = 3\n");
    let program = Program::connect(&daemon);
    let full = Got::Refused(Refusal::NamesOfUser);
    assert_eq!(program.subscribe(Families::A, &["a.example", "b.example", "c.example", "d.example"]), full);
    assert!(matches!(
        program.subscribe(Families::A, &["a.example", "b.example"]),
        Got::Accepted { names: 2, .. }
    ));
    assert!(matches!(
        program.subscribe(Families::Both, &["a.example", "c.example"]),
        Got::Accepted { names: 3, .. }
    ));
    let second = Program::connect(&daemon);
    assert_eq!(second.subscribe(Families::A, &["a.example"]), full, "names count once for each program");
    second.0.send(&[1, 9, 0]).expect("sent");
    assert_eq!(second.next(), Some(Got::Refused(Refusal::Malformed)));
    second.0.send(&[1; 5000]).expect("sent");
    assert_eq!(second.next(), Some(Got::Refused(Refusal::Malformed)), "it is too long");
    drop(program);
    daemon.until("the names are free", |_| {
        matches!(second.subscribe(Families::A, &["a.example"]), Got::Accepted { names: 1, .. })
    });
    let mut all: Vec<Program> = vec![second];
    let refused = loop {
        let next = Program::connect(&daemon);
        next.0.send(&[1, 9, 0]).ok();
        match next.next() {
            Some(Got::Refused(Refusal::Malformed)) => all.push(next),
            Some(Got::Refused(reason)) => break reason,
            other => panic!("{other:?} after {}", all.len()),
        }
    };
    assert_eq!((refused, all.len()), (Refusal::SubscribersOfUser, 64));
    if !nix::unistd::geteuid().is_root() {
        return skip("the other user", "needs root");
    }
    let mut other = Command::new("python3");
    other.args(["-c", AS_OTHERS]).arg(daemon.dir.join("run/changes")).uid(12_345).gid(12_345);
    let said = other.output().expect("python3");
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "3 0", "{said:?}");
}

#[test]
fn a_program_that_does_not_read_is_told_of_a_gap_and_then_of_every_name() {
    let (upstream, end) = changing(3600);
    let shares = "[feed]\nrounds = 100000\nrounds_per_user = 100000\n[limits]\nrounds = 8000\n";
    let daemon = Daemon::start(&[&upstream], shares);
    let (lazy, busy) = (Program::connect(&daemon), Program::connect(&daemon));
    let names: Vec<String> = (0..1000).map(|n| format!("host-{n}.example")).collect();
    for some in names.chunks(100) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        assert!(matches!(busy.subscribe(Families::A, &some), Got::Accepted { .. }));
        assert!(matches!(lazy.subscribe(Families::A, &some), Got::Accepted { .. }));
    }
    let until_all_have = |version: u64, program: &Program| {
        let (mut left, mut gaps) = (names.len(), 0);
        let mut last = std::collections::BTreeMap::new();
        while left > 0 {
            match program.next().expect("it lives") {
                Got::Change(told) => {
                    assert_eq!(told.cause, Cause::NewSet);
                    let before = last.insert(told.name, told.version).unwrap_or(0);
                    assert!(before < told.version, "versions grow");
                    left -= usize::from(before < version && told.version >= version);
                }
                Got::Gap => gaps += 1,
                other => panic!("{other:?}"),
            }
        }
        gaps
    };
    daemon.until("all names are known", |daemon| counter(daemon, Counter::Publishes) >= 1000);
    let version = daemon.json(&["stats"])["version"].as_u64().unwrap_or(0).max(1);
    end.store(2, Ordering::SeqCst);
    assert!(daemon.ctl(&["flush"]).status.success());
    // While one does not read, the other gets everything.
    daemon.until("all names are known again", |daemon| counter(daemon, Counter::Publishes) >= 2000);
    let mut entry = hither_table::Snapshot::new();
    let table = hither_table::Reader::open(&daemon.dir.join("run")).expect("readable");
    let key = hither_table::Key::of(&"host-0.example".parse().expect("a name"));
    table.lookup(&key, &mut entry).expect("there");
    assert!(entry.version() > version || version == 1);
    let second = names.iter().map(|name| {
        table.lookup(&hither_table::Key::of(&name.parse().expect("a name")), &mut entry).expect("there");
        entry.version()
    });
    let second = second.min().expect("some");
    assert!(until_all_have(second, &lazy) >= 1, "it is told of a gap");
    until_all_have(second, &busy);
    assert!(counter(&daemon, Counter::FeedGaps) >= 1);
}

#[test]
fn the_socket_follows_the_configuration_and_comes_back_when_it_is_removed() {
    let (upstream, _) = changing(3600);
    let daemon = Daemon::start(&[&upstream], "");
    let path = daemon.dir.join("run/changes");
    let mode = || std::fs::metadata(&path).map(|file| file.permissions().mode() & 0o777).ok();
    assert_eq!(mode(), Some(0o666));
    let early = Program::connect(&daemon);
    for (more, expected) in [("mode = \"0600\"", Some(0o600)), ("names = 0", None), ("", Some(0o666))] {
        Daemon::configure(&daemon.dir, &[&upstream], &format!("[feed]\n{more}\n"));
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for("is reloaded");
        assert_eq!(mode(), expected, "{more}");
        if expected.is_some() {
            let program = Program::connect(&daemon);
            assert!(matches!(program.subscribe(Families::A, &["b.example"]), Got::Accepted { .. }));
        } else {
            assert_eq!(early.subscribe(Families::A, &["a.example"]), Got::Refused(Refusal::NamesOfAll));
        }
    }
    assert!(matches!(early.subscribe(Families::A, &["a.example"]), Got::Accepted { .. }));
    std::fs::remove_file(&path).expect("ours");
    daemon.until("the socket is there again", |_| mode() == Some(0o666));
    assert!(matches!(Program::connect(&daemon).subscribe(Families::A, &["b.example"]), Got::Accepted { .. }));
    assert_eq!(daemon.json(&["status"])["problems"], serde_json::json!([]));
}
