//! What the daemon's user can do to processes that read its table: nothing to those that can be root. A file that is mapped ends its readers
//! by SIGBUS when its owner cuts it.
//!
//! Needs root, to be two users at once, and says so.

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

/// What a program says, a line at a time; none is waited for longer than [`PATIENCE`].
struct Lines(mpsc::Receiver<String>);

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Lines {
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Lines(lines)
    }

    /// The next one; `None` if it says no more, or nothing for too long.
    fn next(&self) -> Option<String> {
        self.0.recv_timeout(PATIENCE).ok()
    }

    /// How the program ends, which it does soon.
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

/// `cut.c` as some user.
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

/// Ended when it is let go, also by a test that fails.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn root_reads_a_table_that_is_cut_under_it_and_goes_on() {
    if !is_root("root_reads_a_table_that_is_cut_under_it_and_goes_on") {
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
    // The same attack ends who is not root and has the file mapped: it is one.
    let (mut child, lines) = looker(&table, SOMEBODY);
    assert_eq!(lines.next().as_deref(), Some("found"));
    table.cut(0);
    // Its standard input stays open: it ends by nothing else.
    let _held = child.0.stdin.take();
    let status = lines.end(&mut child.0);
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

/// It was replaced after it was opened: who tells of changes does so in another one.
#[test]
fn root_does_not_wait_at_a_table_whose_place_another_has_taken() {
    if !is_root("root_does_not_wait_at_a_table_whose_place_another_has_taken") {
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

/// Whether a thread of this process waits at a futex that is in the table of the directory: then it is in the system call.
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
