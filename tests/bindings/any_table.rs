//! Readers of other languages, compared about tables with any content.

use crate::support::sets::{differences, dump, entries, write_any};
use crate::support::{directory, skip};
use crate::{go_lookup, has, python, succeeds};
use hither_client::{Answer, Family, FamilyOrder, FamilyPolicy, Monotonic, Name, Snapshot, Table, Wanted};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const NAMES: u64 = 800;

/// A language, and what makes a command that shows the names on its standard input.
type Reader = (&'static str, Box<dyn Fn() -> Command>);

/// The order, the withheld families, and the answers for A, AAAA and both, as the reader in Rust has them.
fn summary(table: &Table, text: &str) -> Value {
    let (name, mut entry): (Name, _) = (text.parse().expect("a name"), Snapshot::new());
    let now = Monotonic::now();
    let wanted = [Wanted::One(Family::A), Wanted::One(Family::Aaaa), Wanted::Both];
    let answers = wanted.map(|wanted| match table.answer(&name, wanted, now, &mut entry) {
        Answer::Fresh => "fresh",
        Answer::Stale => "stale",
        Answer::Partial => "incomplete",
        Answer::Missing => "missing",
        other => panic!("{text}: {other:?}"),
    });
    let (mut order, mut withheld) = (Vec::new(), Vec::new());
    if answers[2] != "missing" {
        order = table.ordered(&entry, Wanted::Both).map(|own| own.address.to_string()).collect();
        let policy = table.families();
        for (family, word) in [(Family::A, "A"), (Family::Aaaa, "AAAA")] {
            if entry.entry().withheld(family, policy, now).is_some() {
                withheld.push(word);
            }
        }
    }
    json!({"asked": text, "answers": answers, "order": order, "withheld": withheld})
}

fn feed(command: &mut Command, run: &Path, names: &str) -> String {
    command.env("HITHER_RUNTIME_DIR", run).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let (mut stdin, names) = (child.stdin.take().expect("piped"), names.to_owned());
    let writer = std::thread::spawn(move || stdin.write_all(names.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    let _ = writer.join().expect("no panic");
    succeeds(output)
}

/// Compares a reader with hitherctl, name by name and set by set, and with the reader in Rust.
fn compare(what: &str, make: &dyn Fn() -> Command, run: &Path, names: &str) {
    let table = Table::open(Some(run)).expect("a table");
    let output = feed(&mut make(), run, names);
    let different = differences(&entries(&output), &dump(run));
    assert_eq!(different.len(), 0, "{what}: {:?}", &different[..different.len().min(3)]);
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let shown: Vec<Value> = lines.filter(|line| line["asked"].is_string()).collect();
    let asked: Vec<&str> = names.lines().collect();
    assert_eq!(shown.len(), asked.len(), "{what}");
    let mut withheld = 0;
    for (line, name) in shown.iter().zip(&asked) {
        let own = summary(&table, name);
        withheld += own["withheld"].as_array().map_or(0, Vec::len);
        assert_eq!(*line, own, "{what}");
    }
    assert!(withheld > 0 || table.families().withhold_above_us.is_none(), "{what}: no family is withheld");
}

#[test]
fn readers_of_other_languages_agree_about_any_table() {
    let test = "readers_of_other_languages_agree_about_any_table";
    let go = go_lookup(test);
    let mut readers: Vec<Reader> = Vec::new();
    if let Some(program) = go {
        readers.push(("Go", Box::new(move || Command::new(program))));
    }
    if has("python3", test) {
        readers.push(("Python", Box::new(|| python(&["-m", "hither"]))));
    }
    let dir = directory();
    let run = dir.join("run");
    let (mut writer, _, _lock) = write_any(&run, NAMES);
    let mut names: String = dump(&run).keys().map(|(name, _)| format!("{name}\n")).collect::<String>();
    // Each name once, those that have one family only too, and one that is not there, of 255 octets.
    let mut lines: Vec<&str> = names.lines().collect();
    lines.dedup();
    let longest = format!("{}{}", format!("{}.", "a".repeat(63)).repeat(3), "b".repeat(61));
    names = format!("{}\nnone.such\n{longest}\n", lines.join("\n"));
    for order in FamilyOrder::ALL {
        writer.set_families(FamilyPolicy { order, withhold_above_us: Some(1000) });
        for (what, make) in &readers {
            compare(what, make, &run, &names);
        }
    }
    // Root does not map a table of another user, and reads it by system calls.
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        let other = Some(nix::unistd::Uid::from_raw(65_534));
        for path in [run.clone(), run.join("hosts")] {
            nix::unistd::chown(&path, other, None).expect("root may");
        }
        for (what, make) in &readers {
            compare(&format!("{what}, not mapped"), make, &run, &names);
        }
    } else {
        skip(test, "not root: no table of another user");
    }
    writer.flush_all();
    for (what, make) in &readers {
        let output = feed(&mut make(), &run, &names);
        assert!(!output.contains("\"name\""), "{what}: entries after a flush");
    }
    drop(writer);
    std::fs::remove_dir_all(dir).expect("removable");
}
