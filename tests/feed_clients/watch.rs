//! `hitherctl watch` by a subscription, with a daemon that the test plays: lines, and commands.

use crate::scripted::{Scripted, Subscriber, name};
use crate::support::{directory, until};
use hither_feed::{Cause, Families, Record};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// A running `hitherctl watch`.
struct Watch {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(run: &Path, args: &[&str]) -> Watch {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hitherctl"))
            .arg("--runtime-dir")
            .arg(run)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Watch { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line").expect("UTF-8")
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.line()).expect("JSON")
    }

    fn signal(&self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("small")), Signal::SIGTERM)
            .expect("it runs");
    }

    /// Its status, and all lines of standard error.
    fn ended(mut self) -> (ExitStatus, String) {
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        stderr.read_to_string(&mut errors).expect("UTF-8");
        (self.child.wait().expect("a child"), errors)
    }

    fn stopped(self) -> String {
        self.signal();
        let (status, errors) = self.ended();
        assert_eq!(status.code(), Some(0), "{errors}");
        errors
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The runs of a command that writes its environment to a file, and then waits for a line from a FIFO.
struct Runs {
    dir: PathBuf,
}

/// Writes a line as a whole, so that lines of two runs do not mix.
const WRITE: &str =
    "echo \"$HITHER_NAME|$HITHER_FAMILY|$HITHER_CAUSE|$HITHER_VERSION|$HITHER_ADDRESSES\" >>runs";

impl Runs {
    fn seen(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.join("runs")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn await_count(&self, count: usize) -> Vec<String> {
        until(&format!("{count} runs"), || self.seen().len() >= count);
        self.seen()
    }

    /// A command that writes its line, and ends when the file `go` is there.
    fn line(&self, then: &str) -> String {
        format!("cd '{}' && {WRITE} && {then}", self.dir.display())
    }
}

fn families_of(subscriber: &Subscriber) -> Vec<(Families, String)> {
    subscriber.accept().iter().map(|one| (one.families, one.name.to_string())).collect()
}

#[test]
fn several_names_have_a_line_for_each_change_of_the_set() {
    let dir = directory();
    let run = dir.join("run");
    let mut daemon = Scripted::start(&run);
    let (a, b, c) = (name("a.example"), name("b.example"), name("c.example"));
    daemon.publish(&a, &["192.0.2.1"]);
    daemon.publish(&c, &["192.0.2.1"]);
    let args = ["watch", "--now", "B.example", "c.example", "a.example.", "b.example"];
    let mut watch = Watch::start(&run, &args);
    let subscriber = daemon.accept();
    let both = |name: &str| (Families::Both, name.to_owned());
    assert_eq!(families_of(&subscriber), [both("a.example."), both("b.example."), both("c.example.")]);
    for name in ["a", "c"] {
        let line = watch.line();
        assert!(line.starts_with(&format!("{name}.example. A  start, version ")), "{line}");
    }
    let version = daemon.publish(&b, &["192.0.2.2", "192.0.2.3"]);
    subscriber.change(&b, Cause::Order, version);
    subscriber.change(&b, Cause::NewSet, version);
    // Told again, and older than what was printed.
    subscriber.change(&b, Cause::NewSet, version);
    assert_eq!(watch.line(), format!("b.example. A  new-set, version {version}: 192.0.2.2, 192.0.2.3"));
    daemon.remove(&b);
    subscriber.change(&b, Cause::Gone, version);
    assert_eq!(watch.line(), "b.example. A  gone: not in the table");
    watch.stopped();

    let mut watch = Watch::start(&run, &["--json", "watch", "--order", "a.example", "b.example", "a"]);
    let subscriber = daemon.accept();
    let only = |name: &str| (Families::A, name.to_owned());
    assert_eq!(families_of(&subscriber), [only("a.example."), only("b.example.")]);
    subscriber.change(&b, Cause::Local, 0);
    let version = daemon.publish(&a, &["192.0.2.4"]);
    subscriber.change(&a, Cause::Order, version);
    let line = watch.json();
    assert_eq!(&line["name"], &Value::from("a.example."), "{line}");
    assert!(["order", "start"].contains(&line["cause"].as_str().expect("a cause")), "{line}");
    assert_eq!((&line["version"], &line["addresses"][0]["address"]), (&version.into(), &"192.0.2.4".into()));
    // After a gap all is compared, and what is reported afterwards is printed once.
    let version = daemon.publish(&a, &["192.0.2.5"]);
    subscriber.tell(Record::Gap { version });
    subscriber.change(&a, Cause::NewSet, version);
    subscriber.change(&b, Cause::Local, 0);
    let (missed, local) = (watch.json(), watch.json());
    assert_eq!((&missed["cause"], &missed["version"]), (&"missed".into(), &version.into()), "{missed}");
    assert_eq!((&local["cause"], &local["addresses"]), (&"local".into(), &Value::Array(vec![])), "{local}");
    watch.stopped();
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn a_command_runs_once_for_each_change_and_never_twice_at_once_for_a_name() {
    let dir = directory();
    let run = dir.join("run");
    let mut daemon = Scripted::start(&run);
    let (a, b) = (name("a.example"), name("b.example"));
    let first = daemon.publish(&a, &["192.0.2.1"]);
    let runs = Runs { dir: dir.clone() };
    nix::unistd::mkfifo(&dir.join("go"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let line = runs.line("read line <go; exit $line");
    let watch = Watch::start(&run, &["watch", "--now", "--exec", &line, "a.example", "b.example"]);
    let go = |status: &str| std::fs::write(dir.join("go"), format!("{status}\n")).expect("it reads");
    let subscriber = daemon.accept();
    subscriber.accept();
    assert_eq!(runs.await_count(1), [format!("a.example|A|start|{first}|192.0.2.1")]);
    // While it runs, one name changes three times, and another one once.
    for address in ["192.0.2.2", "192.0.2.3", "192.0.2.4"] {
        let version = daemon.publish(&a, &[address, "192.0.2.9"]);
        subscriber.change(&a, Cause::NewSet, version);
    }
    let last = daemon.publish(&b, &["192.0.2.7"]);
    subscriber.change(&b, Cause::NewSet, last);
    assert_eq!(runs.await_count(2)[1], format!("b.example|A|new-set|{last}|192.0.2.7"), "side by side");
    // Two commands read the FIFO: one line for each, whichever takes it. The failures are reported.
    go("3");
    go("3");
    let third = runs.await_count(3);
    let coalesced = format!("a.example|A|new-set|{}|192.0.2.4 192.0.2.9", last - 1);
    assert_eq!(third[2], coalesced, "one more run, with the latest addresses");
    // An order alone is no change, and what the last run has had is none.
    subscriber.change(&a, Cause::Order, last + 1);
    subscriber.change(&a, Cause::NewSet, last - 2);
    daemon.remove(&b);
    subscriber.change(&b, Cause::Withdrawn, last + 1);
    assert_eq!(runs.await_count(4)[3], "b.example|A|withdrawn|0|");
    // Two commands run. The watch waits for them, and starts no more.
    let version = daemon.publish(&a, &["192.0.2.8"]);
    subscriber.change(&a, Cause::NewSet, version);
    watch.signal();
    go("0");
    go("0");
    let (status, errors) = watch.ended();
    assert_eq!(status.code(), Some(0), "{errors}");
    assert_eq!(errors.matches("has failed: exit status: 3").count(), 2, "{errors}");
    assert_eq!(runs.seen().len(), 4, "{:?}", runs.seen());
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn a_restart_of_the_daemon_causes_a_run_only_where_the_set_differs() {
    let dir = directory();
    let run = dir.join("run");
    let (a, b, c) = (name("a.example"), name("b.example"), name("c.example"));
    let mut daemon = Scripted::start(&run);
    daemon.publish(&a, &["192.0.2.1", "192.0.2.2"]);
    daemon.publish(&b, &["192.0.2.3"]);
    daemon.publish(&c, &["192.0.2.4"]);
    let runs = Runs { dir: dir.clone() };
    let line = runs.line("true");
    let names = ["a.example", "b.example", "c.example"];
    let watch = Watch::start(&run, &[&["watch", "--exec", &line][..], &names].concat());
    let subscriber = daemon.accept();
    subscriber.accept();
    // The watch may still be comparing, and see this before it is told.
    let version = daemon.publish(&a, &["192.0.2.2", "192.0.2.1", "192.0.2.5"]);
    subscriber.change(&a, Cause::NewSet, version);
    let first = runs.await_count(1)[0].replace("start", "new-set");
    assert_eq!(first, format!("a.example|A|new-set|{version}|192.0.2.2 192.0.2.1 192.0.2.5"));
    drop((subscriber, daemon));
    for file in std::fs::read_dir(&run).expect("a directory") {
        std::fs::remove_file(file.expect("readable").path()).expect("ours");
    }
    // A table from which nothing was saved. One set has another order, one is another, one is not there yet.
    let mut daemon = Scripted::start(&run);
    daemon.publish(&a, &["192.0.2.5", "192.0.2.1", "192.0.2.2"]);
    let other = daemon.publish(&b, &["192.0.2.6"]);
    let subscriber = daemon.accept();
    subscriber.accept();
    assert_eq!(runs.await_count(2)[1], format!("b.example|A|missed|{other}|192.0.2.6"));
    let same = daemon.publish(&c, &["192.0.2.4"]);
    subscriber.change(&c, Cause::NewSet, same);
    let last = daemon.publish(&c, &["192.0.2.7"]);
    subscriber.change(&c, Cause::NewSet, last);
    // The two changes of c may be taken at once, and are one run then.
    assert_eq!(runs.await_count(3)[2], format!("c.example|A|new-set|{last}|192.0.2.7"));
    let errors = watch.stopped();
    assert!(errors.contains("the watch goes on when it is back"), "{errors}");
    assert_eq!(runs.seen().len(), 3, "{:?}", runs.seen());
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn a_refusal_ends_the_watch_at_its_start_and_a_second_signal_ends_it_at_once() {
    let dir = directory();
    let run = dir.join("run");
    let mut daemon = Scripted::start(&run);
    let watch = Watch::start(&run, &["watch", "--exec", "true", "a.example"]);
    let subscriber = daemon.accept();
    subscriber.names();
    subscriber.tell(Record::Refused { reason: hither_feed::Refusal::NamesOfUser, names: 0 });
    let (status, errors) = watch.ended();
    assert!(status.code() == Some(1) && errors.contains("feed.names_per_user"), "{status} {errors}");

    let a = name("a.example");
    daemon.publish(&a, &["192.0.2.1"]);
    let runs = Runs { dir: dir.clone() };
    // The command ends with its parent's last signal: nothing is left running.
    let line = runs.line("exec sleep 1000");
    let watch = Watch::start(&run, &["watch", "--now", "--exec", &line, "a.example"]);
    let subscriber = daemon.accept();
    subscriber.accept();
    runs.await_count(1);
    let children = format!("/proc/{0}/task/{0}/children", watch.child.id());
    let sleep = std::fs::read_to_string(children).expect("Linux").trim().parse().expect("one command");
    watch.signal();
    // Each signal is handled once; the second one may come before the first was.
    until("it has ended", || {
        watch.signal();
        std::fs::read_to_string(format!("/proc/{}/stat", watch.child.id())).expect("a child").contains(") Z")
    });
    let masked = std::fs::read_to_string(format!("/proc/{sleep}/status")).expect("it runs");
    let masked = masked.lines().find(|line| line.starts_with("SigBlk:")).expect("a line").to_owned();
    kill(Pid::from_raw(sleep), Signal::SIGTERM).expect("it runs");
    let (status, errors) = watch.ended();
    assert_eq!(status.code(), Some(128 + 15), "{errors}");
    assert!(masked.ends_with("0000000000000000"), "commands have no blocked signals: {masked}");
    std::fs::remove_dir_all(&dir).expect("removable");
}
