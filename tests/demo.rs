//! `hitherd --demo` and `hitherd --demo --site`: what they show, and that they leave nothing behind.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use support::{PATIENCE, directory, skip, until};

const SERVING: &str = "until Ctrl-C";

/// A demo that runs, with a directory for its files.
struct Demo {
    process: Child,
    lines: Receiver<String>,
    dir: PathBuf,
}

impl Demo {
    fn start(options: &[&str]) -> Demo {
        let dir = directory().join("run");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
        command.args(options).env("TMPDIR", &dir).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("started");
        let out = BufReader::new(process.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Demo { process, lines, dir }
    }

    /// The output up to the line with these words.
    fn shows(&self, words: &str) -> Vec<String> {
        let mut shown = Vec::new();
        while !shown.last().is_some_and(|line: &String| line.contains(words)) {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => shown.push(line),
                Err(why) => panic!("{words:?} is not shown ({why}): {shown:#?}"),
            }
        }
        shown
    }

    fn interrupt(&self) {
        let id = i32::try_from(self.process.id()).expect("small");
        kill(Pid::from_raw(id), Signal::SIGINT).expect("it runs");
    }

    /// Waits for its end: all its processes end, and its files are gone.
    fn ends(mut self, children: &[u32]) -> Option<i32> {
        let status = self.process.wait().expect("a child");
        until("every process has ended", || !children.iter().any(|id| runs(*id)));
        let left: Vec<_> = std::fs::read_dir(&self.dir).expect("there").collect();
        assert!(left.is_empty(), "{left:?}");
        std::fs::remove_dir_all(self.dir.parent().expect("a directory")).expect("removable");
        status.code()
    }
}

/// Whether a process runs; one that has ended and was not waited for does not.
fn runs(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The processes that a process has started, by any of its threads, and those that they have started.
fn children(id: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{id}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let own: Vec<u32> = lists.flat_map(|list| numbers(&list)).collect();
    let theirs: Vec<u32> = own.iter().flat_map(|id| children(*id)).collect();
    [own, theirs].concat()
}

fn numbers(list: &str) -> Vec<u32> {
    list.split_whitespace().map(|word| word.parse().expect("a number")).collect()
}

fn has_engine() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |dir: &Path| ["valkey-server", "redis-server"].iter().any(|name| dir.join(name).is_file());
    std::env::split_paths(&path).any(|dir| has(&dir))
}

#[test]
fn the_demo_shows_a_set_until_it_is_complete_and_ordered() {
    let demo = Demo::start(&["--demo"]);
    let shown = demo.shows(SERVING);
    let has = |words: &str| shown.iter().any(|line| line.contains(words));
    assert!(
        has("has its reply: 127.0.0.11") && has("complete, in the order of measured latency"),
        "{shown:#?}"
    );
    let children = children(demo.process.id());
    assert!(children.len() >= 3, "daemon, sorter and watcher: {children:?}");
    demo.interrupt();
    assert_eq!(demo.ends(&children), Some(0));
}

#[test]
fn the_demo_of_a_site_answers_at_the_second_host_without_an_upstream() {
    if !has_engine() {
        return skip("the_demo_of_a_site", "neither valkey-server nor redis-server is installed");
    }
    let demo = Demo::start(&["--demo", "--site"]);
    let shown = demo.shows(SERVING);
    let told = |who: &str| {
        let at =
            shown.iter().position(|line| line.contains(who)).unwrap_or_else(|| panic!("{who}: {shown:#?}"));
        assert!(shown[at].contains("replies: 192.0.2.1"), "{}", shown[at]);
        shown[at + 1].trim().to_owned()
    };
    assert!(told("host one is asked,").starts_with("queries to its upstream: 1;"), "{shown:#?}");
    let shared = told("host two is asked,");
    assert!(shared.starts_with("queries to its upstream: 0; from: site one"), "{shown:#?}");
    let again = told("host two is asked again,");
    assert!(again.starts_with("queries to its upstream: 1;") && !again.contains("site"), "{shown:#?}");
    let children = children(demo.process.id());
    assert!(children.len() >= 5, "an engine, and two daemons with their companions: {children:?}");
    demo.interrupt();
    assert_eq!(demo.ends(&children), Some(0));
}

#[test]
fn a_demo_of_a_site_that_is_interrupted_or_fails_leaves_nothing() {
    if !has_engine() {
        return skip(
            "a_demo_of_a_site_that_is_interrupted",
            "neither valkey-server nor redis-server is installed",
        );
    }
    let demo = Demo::start(&["--demo", "--site"]);
    demo.shows("One engine");
    let found = children(demo.process.id());
    demo.interrupt();
    demo.ends(&found);

    let demo = Demo::start(&["--demo", "--site"]);
    demo.shows(SERVING);
    let found = children(demo.process.id());
    let is_daemon = |id: &u32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.starts_with(b"hitherd\0")
    };
    let daemon = *found.iter().find(|id| is_daemon(id)).expect("a daemon");
    kill(Pid::from_raw(i32::try_from(daemon).expect("small")), Signal::SIGKILL).expect("it runs");
    demo.shows("the demo cannot continue: the daemon of host");
    assert_eq!(demo.ends(&found), Some(1));
}

#[test]
fn without_an_engine_the_demo_of_a_site_says_what_to_install() {
    let dir = directory().join("run");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    let output =
        command.args(["--demo", "--site"]).env("PATH", &dir).env("TMPDIR", &dir).output().expect("started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("apt install valkey-server"), "{text}");
    std::fs::remove_dir(&dir).expect("nothing is left in it");
    std::fs::remove_dir(dir.parent().expect("a directory")).expect("nothing else");
}
