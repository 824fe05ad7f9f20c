//! A reader and follower in C that were written from hither-table(5) alone, compared with hitherctl.

use crate::support::{Daemon, ask_for, compile, directory, retried};
use crate::{has, text, upstream};
use hither_table::{
    Address, Agreement, Chain, Draft, Family, FamilyDraft, Geometry, Link, Monotonic, Negative, Rtt,
    SoaRecord, StaleTime, State, Trust, open_or_create,
};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const NAMES: u64 = 10_000;
/// As many names are written, since some have expired and are not shown.
const WRITTEN: u64 = 2 * NAMES;

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A name of 1 to 200 octets, the n-th of its length. One in sixteen has octets that are escaped.
fn name(numbers: &mut Numbers, n: u64) -> Name {
    let mut text = format!("{n:x}");
    if n.is_multiple_of(16) {
        text += numbers.one(&["\\000", "\\.", "\\\"", "\\\\", "\\255", "\\032", "\\@"]);
    }
    for _ in 0..numbers.below(9) {
        let label = ["a", "bc", "www", "x-1", "_tcp", "example", "averylonglabel0123456789"];
        text = format!("{text}.{}", numbers.one(&label));
    }
    text.parse().expect("a name")
}

fn link(numbers: &mut Numbers) -> Link {
    let n = numbers.below(1000);
    Link { target: name(numbers, n), expire_ms: numbers.below(1 << 40) }
}

/// A family with any content that the daemon could publish, of `version`.
fn family(numbers: &mut Numbers, family: Family, version: u64, now_ms: u64) -> FamilyDraft {
    let negative = match numbers.below(8) {
        0 => Some(Negative::NoData),
        1 => Some(Negative::NxDomain),
        2 => Some(Negative::Withheld),
        _ => None,
    };
    let chains: Vec<Chain> = (0..=numbers.below(4))
        .map(|_| Chain { links: (0..numbers.below(4)).map(|_| link(numbers)).collect() })
        .collect();
    let many = if negative.is_some() { 0 } else { numbers.one(&[1, 1, 2, 2, 3, 4, 9, 40]) };
    let addresses = (0..many).map(|_| Address {
        address: match family {
            Family::A => Ipv4Addr::from(numbers.below(1 << 32) as u32).into(),
            Family::Aaaa => {
                Ipv6Addr::from(u128::from(numbers.below(u64::MAX)) << 64 | u128::from(numbers.0)).into()
            }
        },
        rtt: match numbers.below(3) {
            0 => Rtt::Unmeasured,
            1 => Rtt::Unreachable,
            _ => Rtt::Micros(numbers.below(1 << 31) as u32),
        },
        chain: numbers.below(chains.len() as u64) as u8,
        upstreams: numbers.below(1 << 24) as u32,
        trust: Trust::from_number(numbers.below(7) as u8),
        sources: numbers.below(32) as u8,
    });
    let addresses = addresses.collect();
    let owner = name(numbers, version);
    let expire_ms = numbers.below(1 << 40);
    let soa = SoaRecord { owner, expire_ms, rdata: vec![7; 22 + numbers.below(60) as usize] };
    FamilyDraft {
        version,
        set_version: version - numbers.below(version),
        round: numbers.below(1 << 52),
        state: numbers.one(&[State::First, State::Partial, State::Complete]),
        negative,
        sorted: numbers.below(2) == 0,
        // Fresh for long; expired, but not for so long as it may be used; and expired before that.
        expire_ms: match numbers.below(4) {
            0 => now_ms - now_ms / 8,
            1 => now_ms / 8,
            _ => now_ms + 3_600_000 + numbers.below(1 << 33),
        },
        lifetime_s: numbers.below(100_000) as u32,
        agreement: Agreement {
            answered: numbers.below(256) as u8,
            disputes: numbers.one(&[0, 0, 0, 1, 2, 3, 4, 5, 6, 7]),
            dissenters: numbers.below(1 << 23) as u32,
        },
        addresses,
        chains,
        soa: negative.filter(|kind| *kind != Negative::Withheld).map(|_| Box::new(soa)),
    }
}

/// The lines of JSON, by name and type.
fn entries(output: &str) -> BTreeMap<(String, String), Value> {
    let field = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let lines = lines.filter(|line| line["name"].is_string());
    lines.map(|line| ((field(&line, "name"), field(&line, "type")), line)).collect()
}

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

fn dump(run: &Path) -> BTreeMap<(String, String), Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherctl"));
    let output = command.args(["--json", "--runtime-dir"]).arg(run).arg("dump").output().expect("started");
    assert!(output.status.success(), "{output:?}");
    entries(&text(&output))
}

/// Whether both lines say the same, as far as the reader in C prints it. The time goes on between them.
fn agree(reader: &Value, ours: &Value) -> bool {
    let ttl = |line: &Value| line["ttl"].as_u64().expect("a number");
    let fields = reader.as_object().expect("an object").keys().filter(|key| *key != "ttl");
    let same = fields.into_iter().all(|key| reader[key] == ours[key] || key == "addresses");
    let [theirs, own] = [reader, ours].map(|line| line["addresses"].as_array().expect("a list"));
    let address = |(reader, ours): (&Value, &Value)| {
        reader.as_object().expect("an object").iter().all(|(key, value)| ours[key] == *value)
    };
    same && theirs.len() == own.len()
        && theirs.iter().zip(own).all(address)
        && ttl(reader).abs_diff(ttl(ours)) <= 120
}

fn differences(
    readers: &BTreeMap<(String, String), Value>,
    ours: &BTreeMap<(String, String), Value>,
) -> Vec<String> {
    let keys: BTreeSet<_> = readers.keys().chain(ours.keys()).collect();
    let differ = keys.into_iter().filter(|key| match (readers.get(key), ours.get(key)) {
        (Some(reader), Some(ours)) => !agree(reader, ours),
        _ => true,
    });
    differ.map(|key| format!("{key:?}: {:?} and {:?}", readers.get(key), ours.get(key))).collect()
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
    let geometry = Geometry { entries: 2 * WRITTEN as usize };
    let (mut writer, _, _lock) = open_or_create(&table, &geometry, 0o644, [1, 2, 3], 1).expect("a table");
    let (now, mut numbers) = (Monotonic::now(), Numbers(0x1234_5678_9abc));
    writer.set_stale_time(StaleTime::of(Duration::from_millis(now.as_ms() / 2)));
    let mut plain = String::new();
    for n in 0..WRITTEN {
        let name = name(&mut numbers, n);
        let has = numbers.one(&[(true, false), (false, true), (true, true)]);
        let [a, aaaa] = [(has.0, Family::A), (has.1, Family::Aaaa)].map(|(has, of)| {
            has.then(|| {
                let version = writer.next_version();
                family(&mut numbers, of, version, now.as_ms())
            })
        });
        writer.put(&Draft { name, a, aaaa }, now).expect("room");
        if !name.to_string().contains('\\') {
            plain += &format!("{name}\n");
        }
    }
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
