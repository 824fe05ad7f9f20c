//! Lookups by the readers in Rust, Go and Python, in turns, in one table: `cargo bench -p hither-client`.
//! A language without its tools is left out.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use hither_client::{Address, Answer, Monotonic, Name, Rtt, Snapshot, Table, Wanted};
use hither_table::{Draft, FamilyDraft, Geometry, open_or_create};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const NAMES: usize = 1000;
const ROUNDS: usize = 5;
const BATCH: u32 = 100_000;

fn name(n: usize) -> String {
    format!("www.host{n:05}.example.com")
}

/// A set of four measured addresses.
fn set(version: u64, address: impl Fn(u8) -> IpAddr) -> FamilyDraft {
    let mut set = FamilyDraft::of(version, [], Monotonic::now().as_ms() + 86_400_000, 86_400);
    let measured =
        |n: u8| Address { rtt: Rtt::Micros(u32::from(n) * 1000), ..Address::new(address(n), 0, 1) };
    set.addresses = (1..=4).map(measured).collect();
    set
}

fn nanoseconds(mut run: impl FnMut()) -> f64 {
    let began = Instant::now();
    (0..BATCH).for_each(|_| run());
    began.elapsed().as_nanos() as f64 / f64::from(BATCH)
}

/// Figures in nanoseconds, by what was measured.
type Figures = BTreeMap<&'static str, Vec<f64>>;

fn rust(dir: &Path, figures: &mut Figures) {
    let table = Table::open(Some(dir)).expect("a table");
    let (text, mut entry) = (name(7), Snapshot::new());
    let parsed: Name = text.parse().expect("a name");
    let mut look = |name: &Name| {
        let answer = table.answer(black_box(name), Wanted::Both, Monotonic::now(), &mut entry);
        assert_eq!(answer, Answer::Fresh);
    };
    figures.entry("Rust name").or_default().push(nanoseconds(|| look(&parsed)));
    let parse = || black_box(&text).parse().expect("a name");
    figures.entry("Rust text").or_default().push(nanoseconds(|| look(&parse())));
    let addresses = || {
        let answer = table.answer(&parsed, Wanted::Both, Monotonic::now(), &mut entry);
        let all: Vec<Address> = table.ordered(&entry, Wanted::Both).collect();
        assert_eq!((answer, black_box(all).len()), (Answer::Fresh, 8));
    };
    figures.entry("Rust addresses").or_default().push(nanoseconds(addresses));
}

/// The lines of a program, each as its words.
fn lines(command: &mut Command) -> Vec<Vec<String>> {
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

fn go(program: &Path, dir: &Path, figures: &mut Figures) {
    let mut command = Command::new(program);
    command.args(["-test.run", "^$", "-test.bench", ".", "-test.cpu", "1", "-test.benchtime", "200ms"]);
    command.env("HITHER_RUNTIME_DIR", dir);
    for line in lines(&mut command) {
        let [first, _, ns, ..] = line.as_slice() else { continue };
        for (benchmark, what) in [
            ("BenchmarkName", "Go name"),
            ("BenchmarkText", "Go text"),
            ("BenchmarkAddresses", "Go addresses"),
        ] {
            if first == benchmark {
                figures.entry(what).or_default().push(ns.parse().expect("a number"));
            }
        }
    }
}

fn python(bindings: &Path, dir: &Path, figures: &mut Figures) {
    let mut command = Command::new("python3");
    command.arg(bindings.join("python/tests/pace.py"));
    command
        .env("PYTHONPATH", bindings.join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HITHER_RUNTIME_DIR", dir);
    for line in lines(&mut command) {
        let [what, ns] = line.as_slice() else { continue };
        let what = if what == "text" { "Python text" } else { "Python addresses" };
        figures.entry(what).or_default().push(ns.parse().expect("a number"));
    }
}

fn is_there(tool: &str) -> bool {
    Command::new(tool).arg("--help").output().is_ok()
}

fn main() {
    let dir = std::env::temp_dir().join(format!("hither-bench-languages-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let opened = open_or_create(&dir, &Geometry { entries: 65_536 }, 0o644, [1, 2, 3], 1);
    let (mut writer, _, _lock) = opened.expect("a table");
    for n in 0..NAMES {
        let versions = [writer.next_version(), writer.next_version()];
        let a = set(versions[0], |n| [192, 0, 2, n].into());
        let aaaa = set(versions[1], |n| [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)].into());
        let draft = Draft { name: name(n).parse().expect("a name"), a: Some(a), aaaa: Some(aaaa) };
        writer.put(&draft, Monotonic::now()).expect("room");
    }
    let bindings = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../bindings");
    let program = dir.join("go.test");
    let mut build = Command::new("go");
    build.args(["test", "-c", "-o"]).arg(&program).current_dir(bindings.join("go")).env("GOPROXY", "off");
    let has_go = is_there("go") && build.status().is_ok_and(|status| status.success());
    let mut figures = Figures::new();
    for _ in 0..ROUNDS {
        rust(&dir, &mut figures);
        if has_go {
            go(&program, &dir, &mut figures);
        }
        if is_there("python3") {
            python(&bindings, &dir, &mut figures);
        }
    }
    let medians = figures.iter_mut().map(|(what, all)| {
        all.sort_by(f64::total_cmp);
        (*what, all[all.len() / 2])
    });
    let medians: BTreeMap<&str, f64> = medians.collect();
    for (what, ns) in &medians {
        let of_rust = what.split(' ').nth(1).and_then(|kind| medians.get(format!("Rust {kind}").as_str()));
        println!("{what:<18}{ns:>9.0} ns {:>7.1} times Rust", of_rust.map_or(0.0, |rust| ns / rust));
    }
    let _ = std::fs::remove_dir_all(&dir);
}
