//! A reader and follower in C that were written from hither-table(5) alone, compared with hitherctl.

use crate::support::sets::{differences, dump, entries, write_any};
use crate::support::{Daemon, ask_for, compile, directory, retried};
use crate::{has, text, upstream};
use hither_wire::codes::Rtype;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

const NAMES: u64 = 10_000;
/// As many names are written, since some have expired and are not shown.
const WRITTEN: u64 = 2 * NAMES;

fn run(program: &Path, run: &Path, what: &str, input: &str) -> String {
    let mut child = Command::new(program)
        .arg(run)
        .arg(what)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let (mut stdin, input) = (child.stdin.take().expect("piped"), input.to_owned());
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads");
    assert!(output.status.success(), "{output:?}");
    text(&output)
}

#[test]
fn a_reader_written_from_the_page_agrees_with_dump_about_ten_thousand_names() {
    let test = "a_reader_written_from_the_page_agrees_with_dump_about_ten_thousand_names";
    if !has("gcc", test) {
        return;
    }
    let dir = directory();
    let program = compile(&dir, "tests/native/table_reader.c", &[]);
    let table = dir.join("run");
    std::fs::create_dir_all(&table).expect("a directory");
    let (mut writer, plain, _lock) = write_any(&table, WRITTEN);
    let ours = dump(&table);
    let shown = ours.keys().map(|(name, _)| name).collect::<BTreeSet<_>>().len();
    assert!(shown as u64 >= NAMES, "{shown} names");
    let different = differences(&entries(&run(&program, &table, "all", "")), &ours);
    assert_eq!(different.len(), 0, "{:?}", &different[..different.len().min(3)]);
    let found = entries(&run(&program, &table, "names", &format!("{plain}none.such\n")));
    let plain: BTreeMap<_, _> = ours.into_iter().filter(|((name, _), _)| !name.contains('\\')).collect();
    let different = differences(&found, &plain);
    assert_eq!(different.len(), 0, "{:?}", &different[..different.len().min(3)]);
    // After a flush nothing is left.
    writer.flush_all();
    assert_eq!((run(&program, &table, "all", ""), dump(&table).len()), (String::new(), 0));
    std::fs::remove_dir_all(dir).expect("removable");
}

/// Asks the daemon for both types of many names, some of them at a time.
fn ask_all(daemon: &Daemon, names: std::ops::Range<u64>) {
    const AT_A_TIME: u64 = 32;
    let socket = daemon.client();
    let mut buffer = [0; 4096];
    for first in names.clone().step_by(AT_A_TIME as usize) {
        let some = first..names.end.min(first + AT_A_TIME);
        for (n, rtype) in some.flat_map(|n| [(n, Rtype::A), (n, Rtype::AAAA)]) {
            socket.send(&ask_for(&format!("n{n}.example"), rtype, Some(1232), n as u16)).expect("sent");
        }
        let some = first..names.end.min(first + AT_A_TIME);
        for _ in some.flat_map(|_| [(); 2]) {
            retried(|| socket.recv(&mut buffer)).expect("a reply");
        }
    }
}

/// Follows a daemon with a table of that many names while it is asked for all names; `is_stopped` for a
/// while, so that it misses changes. What the follower knows at the end is compared with the table.
fn follow(program: &Path, entries_max: u64, is_stopped: bool) {
    let upstream = upstream();
    let more = format!("[sort]\nenabled = false\n[table]\nentries = {entries_max}\n");
    let daemon = Daemon::start(&[&upstream], &more);
    let table = daemon.dir.join("run");
    let mut child = Command::new(program)
        .arg(&table)
        .arg("follow")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    output.read_line(&mut String::new()).expect("it says that it follows");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("small"));
    if is_stopped {
        kill(pid, Signal::SIGSTOP).expect("it runs");
    }
    ask_all(&daemon, 0..NAMES / 2);
    if is_stopped {
        kill(pid, Signal::SIGCONT).expect("it runs");
    }
    ask_all(&daemon, NAMES / 2..NAMES);
    let ours = dump(&table);
    drop(child.stdin.take());
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("UTF-8");
    assert!(child.wait().expect("it ends").success());
    let known = entries(&rest);
    let missed: Vec<_> = ours
        .iter()
        .filter(|(key, line)| known.get(key).is_none_or(|own| own["version"] != line["version"]))
        .collect();
    let last = rest.lines().last().unwrap_or_default().to_owned();
    println!("{entries_max} entries: {last}");
    assert!(ours.len() as u64 > entries_max.min(NAMES) / 2, "{}", ours.len());
    assert_eq!(missed.len(), 0, "{:?}; {last}", &missed[..missed.len().min(3)]);
    let last: Value = serde_json::from_str(&last).expect("JSON");
    if is_stopped {
        assert!(last["rescans"].as_u64() > Some(0), "it missed changes and did not notice: {last}");
    }
}

#[test]
fn a_follower_written_from_the_page_misses_nothing_under_load() {
    let test = "a_follower_written_from_the_page_misses_nothing_under_load";
    if !has("gcc", test) {
        return;
    }
    let dir = directory();
    let program = compile(&dir, "tests/native/table_reader.c", &[]);
    follow(&program, 2 * NAMES, false);
    follow(&program, 2 * NAMES, true);
    // Names are evicted, and records are moved.
    follow(&program, NAMES / 8, false);
    std::fs::remove_dir_all(dir).expect("removable");
}
