//! What the daemon's user can do to processes that read its table: nothing to those that can be root. A file that is mapped ends its readers
//! by SIGBUS when its owner cuts it.
//!
//! Needs root, to be two users at once, and says so.

mod support;

use hither_table::{Counter, Key, Lookup, Reader, Snapshot, Step};
use hither_wire::name::Name;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Daemon, PATIENCE, Upstream, answer, compile, directory, libraries};

/// Whom the table belongs to here, and who else reads it.
const DAEMON: u32 = 65_533;
const SOMEBODY: u32 = 65_531;
const NAME: &str = "www.example";
/// How often it is cut.
const CUTS: usize = 40;

fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: needs root to be two users at once");
    }
    root
}

/// A table of the daemon's user, with one name.
struct Table {
    /// For as long as its answers are to hold.
    _daemon: Daemon,
    dir: PathBuf,
    whole: Vec<u8>,
}

impl Table {
    fn new() -> Table {
        let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[3], 600))]);
        let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n[table]\nentries = 1024\n");
        daemon.ask(NAME);
        let whole = std::fs::read(daemon.dir.join("run/hosts")).expect("readable");
        let dir = directory();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let table = Table { _daemon: daemon, dir, whole };
        table.restore();
        chown(table.run(), Some(DAEMON), Some(DAEMON)).expect("root");
        chown(table.file(), Some(DAEMON), Some(DAEMON)).expect("root");
        table
    }

    fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    fn file(&self) -> PathBuf {
        self.run().join("hosts")
    }

    /// As the daemon's user, who needs no right but to the file.
    fn cut(&self, octets: usize) {
        let cut =
            Command::new("truncate").arg("-s").arg(octets.to_string()).arg(self.file()).uid(DAEMON).status();
        assert!(cut.expect("truncate runs").success());
    }

    fn restore(&self) {
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(self.file());
        file.and_then(|mut file| file.write_all(&self.whole)).expect("writable");
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// `cut.c` as some user.
fn looker(table: &Table, uid: u32) -> (Child, impl Iterator<Item = String>) {
    let program = compile(&table.dir, "tests/native/cut.c", &["-ldl"]);
    let mut child = Command::new(program)
        .arg(NAME)
        .env("LD_LIBRARY_PATH", libraries())
        .env("HITHER_RUNTIME_DIR", table.run())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .uid(uid)
        .spawn()
        .expect("started");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    (child, lines)
}

/// Ended when it is let go, also by a test that fails.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn end(mut child: Child) -> std::process::ExitStatus {
    drop(child.stdin.take());
    child.wait().expect("a child")
}

#[test]
fn root_reads_a_table_that_is_cut_under_it_and_goes_on() {
    if !is_root("root_reads_a_table_that_is_cut_under_it_and_goes_on") {
        return;
    }
    let table = Table::new();
    let (child, mut lines) = looker(&table, 0);
    assert_eq!(lines.next().as_deref(), Some("found"));
    for n in 0..CUTS {
        // All of it, a part of the index, a part of the data.
        table.cut([0, 4096, table.whole.len() / 8, table.whole.len() / 2][n % 4]);
        assert_eq!(lines.next().as_deref(), Some("gone"), "cut {n}");
        table.restore();
        assert_eq!(lines.next().as_deref(), Some("found"), "cut {n}");
    }
    assert_eq!(end(child).code(), Some(0));
    // The same attack ends who is not root and has the file mapped: it is one.
    let (mut child, mut lines) = looker(&table, SOMEBODY);
    assert_eq!(lines.next().as_deref(), Some("found"));
    table.cut(0);
    // Its standard input stays open: it ends by nothing else.
    let _held = child.stdin.take();
    let status = child.wait().expect("a child");
    assert_eq!(status.signal(), Some(nix::sys::signal::Signal::SIGBUS as i32), "{status}");
}

#[test]
fn rust_programs_of_root_and_hitherctl_go_on_too() {
    if !is_root("rust_programs_of_root_and_hitherctl_go_on_too") {
        return;
    }
    let table = Table::new();
    let ctl = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hitherctl"));
        command.arg("--runtime-dir").arg(table.run()).args(args);
        command
    };
    let whole = ctl(&["dump"]).output().expect("runs");
    assert!(String::from_utf8_lossy(&whole.stdout).contains(NAME), "{whole:?}");
    assert!(ctl(&["verify"]).status().expect("runs").success());
    let watch = ctl(&["--json", "watch", NAME, "A"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("runs");
    let mut watch = Ended(watch);
    let mut lines = BufReader::new(watch.0.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.next().is_some_and(|line| line.contains("198.18.0.3")));
    for n in 0..CUTS {
        let reader = Reader::open(&table.run()).expect("readable");
        let mut follower = reader.follow();
        let (mut out, key) = (Snapshot::new(), Key::of(&NAME.parse::<Name>().expect("a name")));
        assert_eq!(reader.lookup(&key, &mut out), Lookup::Hit);
        assert_eq!((follower.step(&mut out), reader.replaced()), (Step::Nothing, false));
        let verify = ctl(&["verify"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
        // All of it, all but the header, a part of the index.
        table.cut([0, 4096, 40_000][n % 3]);
        let status = verify.wait_with_output().expect("a child").status;
        assert!(status.code().is_some(), "{status}");
        assert_eq!(reader.lookup(&key, &mut out), Lookup::Missing);
        // The index word may be in what is left; its record is not.
        let found = reader.verify();
        assert!(found.entries == found.bad.len() && !reader.entries().next(&mut out), "{found:?}");
        if n % 3 == 0 {
            assert_eq!((follower.step(&mut out), reader.replaced()), (Step::Replaced, true));
            let began = Instant::now();
            follower.wait(PATIENCE);
            assert!(began.elapsed() < PATIENCE, "nobody waits for what is not there");
            assert_eq!(reader.counters().get(Counter::Queries), 0);
        }
        assert!(Reader::open(&table.run()).is_err());
        table.restore();
    }
    assert!(watch.0.try_wait().expect("a child").is_none(), "it still watches");
}

/// Waiting works without looking: a change is seen at once.
#[test]
fn root_is_woken_by_what_it_does_not_map() {
    if !is_root("root_is_woken_by_what_it_does_not_map") {
        return;
    }
    let dir = directory();
    let run = dir.join("run");
    std::fs::create_dir_all(&run).expect("a directory");
    let geometry = hither_table::Geometry { entries: 64 };
    let (mut writer, ..) =
        hither_table::open_or_create(&run, &geometry, 0o644, [1, 2, 3], 1).expect("a table");
    chown(run.join("hosts"), Some(DAEMON), None).expect("root");
    chown(&run, Some(DAEMON), None).expect("root");
    let mut follower = Reader::open(&run).expect("readable").follow();
    let waits = std::thread::spawn(move || {
        let (began, mut out) = (Instant::now(), Snapshot::new());
        while follower.step(&mut out) == Step::Nothing && began.elapsed() < 2 * PATIENCE {
            follower.wait(2 * PATIENCE);
        }
        began.elapsed()
    });
    while !is_waited_for(&run) {
        std::thread::sleep(Duration::from_millis(1));
    }
    writer.flush_all();
    writer.wake_followers();
    let took = waits.join().expect("no panic");
    assert!(took < PATIENCE, "{took:?}");
    drop(writer);
    std::fs::remove_dir_all(dir).expect("removable");
}

/// Whether a thread of this process waits at a futex that is in a file of the directory: then it is in the system call.
fn is_waited_for(_: &Path) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").expect("there");
    let waits = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.ok()?.path().join("syscall")).ok()?;
        let number = text.split_whitespace().next()?.parse::<i64>().ok()?;
        (number == nix::libc::SYS_futex).then_some(())
    };
    tasks.filter_map(waits).count() >= 2
}
