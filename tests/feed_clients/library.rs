//! libhither and the Rust client with a daemon that the test plays.

use crate::scripted::{Scripted, name};
use crate::support::{PATIENCE, compile, directory, libraries, skip};
use hither_client::{Cause, Family, Missed, Refusal, SubscribeError, Table, Wanted};
use hither_feed::{Families, Record};
use hither_wire::name::Name;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The longest name: 255 octets, of which 250 are written as four each.
fn longest() -> Name {
    let label = |len: u8| [&[len][..], &vec![0xff; usize::from(len)]].concat();
    let wire = [label(63), label(63), label(63), label(61), vec![0]].concat();
    Name::from_wire(&wire).expect("255 octets")
}

/// Plays the daemon for `tests/native/subscribe.c`.
fn play(program: &mut Command) -> std::process::Output {
    let dir = directory();
    let run = dir.join("run");
    let daemon = Scripted::start(&run);
    let empty = dir.join("empty");
    std::fs::create_dir(&empty).expect("a directory");
    program.env("LD_LIBRARY_PATH", libraries()).arg(&run).arg(&empty);
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    // At the end of its output the program has failed, and says at which line.
    let mut await_line = |text: &str| lines.next().is_some_and(|line| line.expect("UTF-8") == text);
    let subscriber = daemon.accept();
    let names: Vec<_> = subscriber.accept().iter().map(|one| (one.families, one.name.to_string())).collect();
    assert_eq!(
        names,
        [(Families::Both, "www.example.".to_owned()), (Families::Both, "b.example.".to_owned())]
    );
    if !await_line("subscribed") {
        return child.wait_with_output().expect("a child");
    }
    subscriber.change(&name("www.example"), Cause::NewSet, 7);
    subscriber.octets(&[9; 40]);
    subscriber.octets(b"x");
    subscriber.tell(Record::Gap { version: 8 });
    subscriber.change(&name("b.example"), Cause::Gone, 9);
    subscriber.change(&longest(), Cause::Order, 10);
    drop(subscriber);
    let refused = daemon.accept();
    refused.names();
    refused.tell(Record::Refused { reason: Refusal::NamesOfUser, names: 0 });
    let hangs = daemon.accept();
    if !await_line("waited") {
        return child.wait_with_output().expect("a child");
    }
    drop(hangs);
    let kept = daemon.stop_listening();
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"on\n").expect("it reads");
    if !await_line("refused") {
        return child.wait_with_output().expect("a child");
    }
    std::fs::remove_file(run.join("changes")).expect("ours");
    stdin.write_all(b"on\n").expect("it reads");
    let output = child.wait_with_output().expect("a child");
    drop(kept);
    std::fs::remove_dir_all(&dir).expect("removable");
    output
}

#[test]
fn the_c_library_reports_changes_gaps_and_the_end_under_sanitizers_and_valgrind() {
    let test = "the_c_library_reports_changes_gaps_and_the_end_under_sanitizers_and_valgrind";
    let has =
        |tool: &str| Command::new(tool).arg("--version").output().is_ok_and(|done| done.status.success());
    if !has("gcc") {
        return skip(test, "gcc is not installed");
    }
    let dir = directory();
    let plain = compile(&dir, "tests/native/subscribe.c", &[]);
    let sanitized = ["-fsanitize=address,undefined", "-fno-sanitize-recover"];
    let sanitized = compile(&dir, "tests/native/subscribe.c", &sanitized);
    for program in [&plain, &sanitized] {
        let output = play(&mut Command::new(program));
        assert!(output.status.success(), "{output:?}");
    }
    if has("valgrind") {
        let options = ["-q", "--error-exitcode=9", "--leak-check=full", "--track-fds=yes"];
        let output = play(Command::new("valgrind").args(options).arg(&plain));
        assert!(output.status.success(), "{output:?}");
    } else {
        skip(test, "valgrind is not installed");
    }
    std::fs::remove_dir_all(&dir).expect("removable");
}

/// The example prints the addresses after it has subscribed, and again when they change.
#[test]
fn the_example_in_c_follows_a_name_over_a_restart() {
    let test = "the_example_in_c_follows_a_name_over_a_restart";
    if Command::new("gcc").arg("--version").output().is_err() {
        return skip(test, "gcc is not installed");
    }
    let dir = directory();
    let run = dir.join("run");
    let mut daemon = Scripted::start(&run);
    let www = name("www.example");
    daemon.publish(&www, &["192.0.2.1", "192.0.2.2"]);
    let mut child = Command::new(compile(&dir, "src/capi/examples/subscribe.c", &[]))
        .env("LD_LIBRARY_PATH", libraries())
        .env("HITHER_RUNTIME_DIR", &run)
        .arg("www.example")
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut line = || lines.next().expect("a line").expect("UTF-8");
    let subscriber = daemon.accept();
    subscriber.accept();
    assert_eq!(line(), "www.example: 192.0.2.1 192.0.2.2");
    let version = daemon.publish(&www, &["192.0.2.3"]);
    subscriber.change(&www, Cause::NewSet, version);
    assert_eq!(line(), "www.example: 192.0.2.3");
    daemon.publish(&www, &["192.0.2.4"]);
    drop(subscriber);
    let again = daemon.accept();
    again.accept();
    assert_eq!(line(), "www.example: 192.0.2.4");
    child.kill().expect("it runs");
    child.wait().expect("a child");
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn the_rust_client_subscribes_to_many_names_and_reads_every_kind_of_record() {
    let dir = directory();
    let run: &Path = &dir.join("run");
    let daemon = Scripted::start(run);
    let table = Table::open(Some(run)).expect("readable");
    let names: Vec<Name> = (0..1000).map(|n| name(&format!("Name-{n}.of.many.Example"))).collect();
    let changes = std::thread::scope(|scope| {
        let subscribed = scope.spawn(|| table.subscribe(&names, Wanted::One(Family::A)));
        let subscriber = daemon.accept();
        let mut seen = Vec::new();
        while seen.len() < names.len() {
            seen.extend(subscriber.accept());
            // Changes before the last answer are in the table already.
            subscriber.change(&names[0].to_lower(), Cause::NewSet, 1);
        }
        assert!(seen.iter().all(|one| one.families == Families::A));
        assert!(seen.iter().map(|one| one.name).eq(names.iter().map(Name::to_lower)));
        let changes = subscribed.join().expect("no panic").expect("accepted");
        // The one after the last answer.
        let last = changes.next(PATIENCE).expect("no gap").expect("a change");
        assert_eq!((last.name, last.version), (names[0].to_lower(), 1));
        assert_eq!(changes.try_next(), Ok(None));
        assert_eq!(changes.next(Duration::from_millis(5)), Ok(None));
        subscriber.change(&names[7].to_lower(), Cause::Withdrawn, 2);
        subscriber.octets(&[0xff; 300]);
        subscriber.tell(Record::Gap { version: 3 });
        let told = changes.next(PATIENCE).expect("no gap").expect("a change");
        assert_eq!((told.name, told.family, told.cause), (names[7].to_lower(), Family::A, Cause::Withdrawn));
        assert_eq!((told.version, told.set_version, told.coalesced), (2, 2, false));
        assert_eq!(changes.next(PATIENCE), Err(Missed::Gap));
        changes
    });
    assert_eq!(changes.next(PATIENCE), Err(Missed::Ended));
    assert_eq!(changes.try_next(), Err(Missed::Ended));
    std::thread::scope(|scope| {
        let subscribed = scope.spawn(|| table.subscribe(&names[..1], Wanted::Both));
        let subscriber = daemon.accept();
        subscriber.names();
        subscriber.tell(Record::Refused { reason: Refusal::NamesOfAll, names: 0 });
        let refused = subscribed.join().expect("no panic").expect_err("refused");
        assert!(matches!(refused, SubscribeError::Refused(Refusal::NamesOfAll)), "{refused}");
        assert!(refused.to_string().contains("feed.names"), "{refused}");
        // A daemon that closes at once, after its reason.
        let subscribed = scope.spawn(|| table.subscribe(&names[..1], Wanted::Both));
        daemon.accept().tell(Record::Refused { reason: Refusal::SubscribersOfUser, names: 0 });
        let refused = subscribed.join().expect("no panic").expect_err("refused");
        assert!(matches!(refused, SubscribeError::Refused(_) | SubscribeError::NoDaemon(_)), "{refused}");
    });
    drop(daemon);
    assert!(matches!(table.subscribe(&names, Wanted::Both), Err(SubscribeError::NoDaemon(_))));
    std::fs::remove_dir_all(&dir).expect("removable");
}
