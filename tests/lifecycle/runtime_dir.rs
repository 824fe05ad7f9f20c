//! The runtime directory: who may write it, and what happens when it cannot be written or vanishes.

use crate::support::{self, Daemon, directory};
use crate::{managed, upstream};
use nix::sys::signal::Signal;
use std::process::Command;

#[test]
fn clients_are_answered_while_the_runtime_directory_cannot_be_written() {
    if !support::alone("clients_are_answered_while_the_runtime_directory_cannot_be_written") {
        return;
    }
    let upstream = upstream(0);
    for (without, with) in [("ro", "rw"), ("nr_inodes=1", "nr_inodes=100")] {
        let dir = directory();
        let run = dir.join("run");
        std::fs::create_dir_all(&run).expect("a directory");
        let mount = |options: &str| {
            assert!(support::sh(&format!("mount -t tmpfs -o {options} none {}", run.display())), "{options}");
        };
        mount(without);
        let daemon = Daemon::start_in(dir, &[&upstream], "");
        assert!(daemon.log().contains("control.sock': "), "{}", daemon.log());
        assert_eq!(support::ends(&daemon.ask("www.example")), [1]);
        assert_eq!(daemon.ctl(&["status"]).status.code(), Some(1));
        mount(&format!("remount,{with}"));
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for("the configuration is reloaded");
        let status = daemon.json(&["status"]);
        assert_eq!(status["problems"], serde_json::json!([]), "{without}: {status}");
        daemon.until("the entry is there", |daemon| daemon.ctl(&["lookup", "www.example"]).status.success());
        drop(daemon);
        assert!(support::sh(&format!("umount -l {}", run.display())));
    }
}

/// A daemon makes a directory that all programs trust, whatever its umask. In one that others can write
/// no program reads the table, no successor takes it over, and the log says so.
#[test]
fn readers_operators_and_successors_trust_the_same_runtime_directories() {
    use std::os::unix::fs::PermissionsExt as _;
    let upstream = upstream(0);
    let dir = directory();
    Daemon::configure(&dir, &[&upstream], "");
    let command = || {
        let mut command = Command::new("sh");
        let script = "umask 002; exec \"$0\" --config \"$1\"";
        command.args(["-c", script, env!("CARGO_BIN_EXE_hitherd")]).arg(dir.join("hither.toml"));
        command
    };
    let run = dir.join("run");
    let mut daemon = Daemon::spawn(dir.clone(), &mut command());
    daemon.ask("www.example");
    let mode = |path: &str| std::fs::metadata(run.join(path)).expect("there").permissions().mode() & 0o7777;
    assert_eq!((mode("."), mode("hosts")), (0o755, 0o644));
    assert!(daemon.ctl(&["lookup", "www.example"]).status.success() && !daemon.log().contains("can write"));
    let chmod = |mode| {
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    chmod(0o775);
    let refused = daemon.ctl(&["lookup", "www.example"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("can write its directory"), "{why}");
    let why = hither_client::Table::open(Some(&run)).expect_err("others can write there").to_string();
    assert!(why.contains("can write its directory"), "{why}");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("can write the runtime directory");
    daemon.process.kill().expect("it runs");
    daemon.process.wait().expect("a child");
    let again = Daemon::spawn(dir.clone(), &mut command());
    let log = again.log();
    assert!(
        log.contains("is replaced by a new one") && log.contains("can write the runtime directory"),
        "{log}"
    );
    chmod(0o755);
    assert!(!again.ctl(&["lookup", "www.example"]).status.success(), "the successor began a new table");
    again.ask("www.example");
    assert!(again.ctl(&["lookup", "www.example"]).status.success());
}

/// The files of a directory; none if it does not exist.
fn files_of(dir: &std::path::Path) -> std::collections::BTreeSet<std::ffi::OsString> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.file_name()).collect()
}

#[test]
fn files_removed_from_the_runtime_directory_are_made_again() {
    let upstream = upstream(0);
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask("www.example");
    let run = daemon.dir.join("run");
    let files = || files_of(&run);
    let before = files();
    let reader = hither_client::Table::open(Some(&run)).expect("readable");
    let emptied = || before.iter().for_each(|name| std::fs::remove_file(run.join(name)).expect("removable"));
    let removed = || std::fs::remove_dir_all(&run).expect("removable");
    let exchanged = || {
        removed();
        std::fs::create_dir(&run).expect("a directory");
    };
    let moved = || std::fs::rename(&run, daemon.dir.join("elsewhere")).expect("ours");
    let ways: [(&dyn Fn(), &str); 4] =
        [(&emptied, "file"), (&removed, "directory"), (&exchanged, "file"), (&moved, "directory")];
    for (n, is_reloaded) in [(0, true), (1, true), (2, true), (0, false), (1, false), (2, false), (3, false)]
    {
        let (take_away, what) = ways[n];
        let version = || reader.reader().generation();
        let generation = version();
        take_away();
        if is_reloaded {
            daemon.signal(Signal::SIGHUP);
            daemon.wait_for("the configuration is reloaded");
            assert_eq!(files(), before);
        } else {
            let line = daemon.wait_for("was removed or replaced");
            assert!(line.contains(what), "{line}");
            daemon.until("the files are there", |_| files() == before);
        }
        daemon.until("the sockets accept", |daemon| {
            daemon.json(&["status"])["problems"] == serde_json::json!([])
        });
        daemon.until("the entry is there", |daemon| daemon.ctl(&["lookup", "www.example"]).status.success());
        assert_eq!(upstream.count(), 1);
        // A reader that had the removed file open goes on in the new one.
        let name: hither_client::Name = "www.example".parse().expect("a name");
        let mut found = hither_client::Snapshot::new();
        daemon.until("the reader finds it", |_| reader.lookup(&name, &mut found.clone()).is_ok());
        assert_eq!(reader.lookup(&name, &mut found), Ok(()));
        assert_ne!(version(), generation, "the reader has the new table");
    }
}

#[test]
fn a_runtime_directory_that_cannot_be_made_again_is_reported_and_made_later() {
    let upstream = upstream(0);
    let daemon = Daemon::start(&[&upstream], "");
    let run = daemon.dir.join("run");
    let before = files_of(&run);
    std::fs::remove_dir_all(&run).expect("removable");
    std::fs::write(&run, "in the way").expect("written");
    daemon.wait_for("cannot create the runtime directory");
    assert_eq!(support::ends(&daemon.ask("www.example")), [1], "clients are answered");
    std::fs::remove_file(&run).expect("removable");
    daemon.until("the directory is made", |_| files_of(&run) == before);
    daemon.until("the entry is there", |daemon| daemon.ctl(&["lookup", "www.example"]).status.success());
    assert_eq!(daemon.json(&["status"])["problems"], serde_json::json!([]));
}

/// Under systemd the daemon cannot make `/run/hither`.
#[test]
fn a_runtime_directory_that_only_the_service_manager_can_make_has_the_daemon_started_again() {
    let (dir, upstream) = (directory(), upstream(0));
    let _manager = std::os::unix::net::UnixDatagram::bind(dir.join("notify")).expect("a socket");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    Daemon::configure(&dir, &[&upstream], "");
    let run = dir.join("run");
    let mut daemon = Daemon::spawn(dir.clone(), &mut managed(&dir, &socket, true));
    std::fs::remove_dir_all(&run).expect("removable");
    std::fs::write(&run, "in the way").expect("written");
    daemon.wait_for("so that the service manager makes the runtime directory");
    assert!(daemon.process.wait().expect("a child").success());
    assert!(!daemon.log().contains("could not be saved"), "{}", daemon.log());
    // As systemd does for the next start, which Restart=always demands.
    std::fs::remove_file(&run).expect("removable");
    std::fs::create_dir(&run).expect("a directory");
    let again = Daemon::spawn(dir, &mut managed(&daemon.dir, &socket, true));
    assert_eq!(support::ends(&again.ask("www.example")), [1]);
    assert!(again.ctl(&["lookup", "www.example"]).status.success());
}
