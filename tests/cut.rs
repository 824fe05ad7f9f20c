//! An attack by the daemon's user: it cuts the table's file while others read it. Processes that
//! have the file mapped are killed by SIGBUS; processes that can become root read it by system
//! calls and are not affected.
//!
//! Needs root, to act as two users, and prints SKIPPED without it.

mod support;

use hither_table::layout::{SUPERSEDED, head};
use hither_table::{Counter, Key, NoEntry, Reader, Snapshot, Step};
use hither_wire::name::Name;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;
use support::{Daemon, PATIENCE, Upstream, answer, compile, directory, libraries, skip};

/// The table's owner, and another user that reads it.
const DAEMON: u32 = 65_533;
const SOMEBODY: u32 = 65_531;
const NAME: &str = "www.example";
/// How often the file is cut.
const CUTS: usize = 40;

fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(test, "needs root to be two users at once");
    }
    root
}

/// A table of the daemon's user, with one name.
struct Table {
    /// Keeps the upstream running while the table is in use.
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

    /// Cuts the file as the daemon's user.
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

/// The output lines of a program. None is waited for longer than [`PATIENCE`].
struct Lines(mpsc::Receiver<String>);

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Lines {
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Lines(lines)
    }

    /// The next line; `None` at the end of the output or after [`PATIENCE`].
    fn next(&self) -> Option<String> {
        self.0.recv_timeout(PATIENCE).ok()
    }

    /// Waits for the end of the program, and returns its status.
    fn end(&self, child: &mut Child) -> ExitStatus {
        loop {
            match self.0.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it goes on"),
            }
        }
        child.wait().expect("a child")
    }
}

/// Starts `cut.c` as a user.
fn looker(table: &Table, uid: u32) -> (Ended, Lines) {
    start(table, uid, Command::new(compile(&table.dir, "tests/native/cut.c", &["-ldl"])).arg(NAME))
}

fn start(table: &Table, uid: u32, program: &mut Command) -> (Ended, Lines) {
    let mut child = program
        .env("LD_LIBRARY_PATH", libraries())
        .env("HITHER_RUNTIME_DIR", table.run())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .uid(uid)
        .spawn()
        .expect("started");
    let lines = Lines::of(child.stdout.take().expect("piped"));
    (Ended(child), lines)
}

/// A program that is killed when this is dropped, also by a test that fails.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn root_reads_a_table_that_is_cut_meanwhile_and_is_not_killed() {
    if !is_root("root_reads_a_table_that_is_cut_meanwhile_and_is_not_killed") {
        return;
    }
    let table = Table::new();
    let (mut child, lines) = looker(&table, 0);
    assert_eq!(lines.next().as_deref(), Some("found"));
    for n in 0..CUTS {
        // All of it, a part of the index, a part of the data.
        table.cut([0, 4096, table.whole.len() / 8, table.whole.len() / 2][n % 4]);
        assert_eq!(lines.next().as_deref(), Some("gone"), "cut {n}");
        table.restore();
        assert_eq!(lines.next().as_deref(), Some("found"), "cut {n}");
    }
    drop(child.0.stdin.take());
    assert_eq!(lines.end(&mut child.0).code(), Some(0));
    // The same attack kills a process that has the file mapped, so the test is effective.
    let (mut child, lines) = looker(&table, SOMEBODY);
    assert_eq!(lines.next().as_deref(), Some("found"));
    table.cut(0);
    // Its standard input stays open, so it does not end for another reason.
    let _held = child.0.stdin.take();
    let status = lines.end(&mut child.0);
    assert_eq!(status.signal(), Some(nix::sys::signal::Signal::SIGBUS as i32), "{status}");
}

#[test]
fn rust_programs_of_root_and_hitherctl_are_not_killed_either() {
    if !is_root("rust_programs_of_root_and_hitherctl_are_not_killed_either") {
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
    let lines = Lines::of(watch.0.stdout.take().expect("piped"));
    assert!(lines.next().is_some_and(|line| line.contains("198.18.0.3")));
    for n in 0..CUTS {
        let reader = Reader::open(&table.run()).expect("readable");
        let mut follower = reader.follow();
        let (mut out, key) = (Snapshot::new(), Key::of(&NAME.parse::<Name>().expect("a name")));
        assert_eq!(reader.lookup(&key, &mut out), Ok(()));
        assert_eq!((follower.step(&mut out), reader.replaced()), (Step::Nothing, false));
        let verify = ctl(&["verify"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
        // All of it, all but the header, a part of the index.
        table.cut([0, 4096, 40_000][n % 3]);
        let status = verify.wait_with_output().expect("a child").status;
        assert!(status.code().is_some(), "{status}");
        assert_eq!(reader.lookup(&key, &mut out), Err(NoEntry::Missing));
        // The index word may be in the rest of the file; its record is not.
        let found = reader.verify();
        assert!(found.entries == found.bad.len() && !reader.entries().next(&mut out), "{found:?}");
        if n % 3 == 0 {
            assert_eq!((follower.step(&mut out), reader.replaced()), (Step::Replaced, true));
            let began = Instant::now();
            follower.wait(PATIENCE);
            assert!(began.elapsed() < PATIENCE, "the wait ends at once in a file that was cut");
            assert_eq!(reader.counters().get(Counter::Queries), 0);
        }
        assert!(Reader::open(&table.run()).is_err());
        table.restore();
    }
    assert!(watch.0.try_wait().expect("a child").is_none(), "it still watches");
}

/// The table is replaced after it was opened, so there are no more changes in it.
#[test]
fn root_does_not_wait_at_a_table_that_was_replaced() {
    if !is_root("root_does_not_wait_at_a_table_that_was_replaced") {
        return;
    }
    let table = Table::new();
    let file = std::fs::OpenOptions::new().write(true).open(table.file()).expect("root");
    file.write_all_at(&SUPERSEDED.to_le_bytes(), head::STATE as u64 * 8).expect("root");
    let (mut child, lines) =
        start(&table, 0, &mut Command::new(compile(&table.dir, "tests/native/wait.c", &[])));
    assert_eq!(lines.next().as_deref(), Some("waits"));
    assert_eq!(lines.next().as_deref(), Some("woken"));
    assert_eq!(lines.end(&mut child.0).code(), Some(0));
}

/// A waiting process is woken by a change although it does not map the table.
#[test]
fn root_is_woken_by_a_change_of_a_table_that_it_does_not_map() {
    if !is_root("root_is_woken_by_a_change_of_a_table_that_it_does_not_map") {
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
    assert!(!is_waited_for(&run), "nobody does yet");
    let waits = std::thread::spawn(move || {
        let (began, mut out) = (Instant::now(), Snapshot::new());
        while follower.step(&mut out) == Step::Nothing && began.elapsed() < 2 * PATIENCE {
            follower.wait(2 * PATIENCE);
        }
        began.elapsed()
    });
    let end = Instant::now() + PATIENCE;
    while !is_waited_for(&run) {
        assert!(Instant::now() < end, "it never waits");
        std::thread::yield_now();
    }
    writer.flush_all();
    writer.wake_followers();
    let took = waits.join().expect("no panic");
    assert!(took < PATIENCE, "{took:?}");
    drop(writer);
    std::fs::remove_dir_all(dir).expect("removable");
}

/// Whether a thread of this process is in a futex system call at an address in the table.
fn is_waited_for(dir: &Path) -> bool {
    let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let file = dir.join("hosts");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("there");
    let mapped = maps.lines().filter(|line| line.ends_with(file.to_str().expect("text")));
    let ranges: Vec<_> = mapped
        .filter_map(|line| line.split_whitespace().next()?.split_once('-'))
        .filter_map(|(from, to)| Some(hex(from)?..hex(to)?))
        .collect();
    let waits = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("syscall")).ok()?;
        let mut words = text.split_whitespace();
        let number = words.next()?.parse::<i64>().ok()?;
        let word = hex(words.next()?)?;
        Some(number == nix::libc::SYS_futex && ranges.iter().any(|range| range.contains(&word)))
    };
    let tasks = std::fs::read_dir("/proc/self/task").expect("there");
    tasks.filter_map(Result::ok).any(|task| waits(task) == Some(true))
}
