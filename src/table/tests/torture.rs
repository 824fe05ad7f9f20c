//! Reader processes beside writer processes that run at full speed and are killed: no entry is a
//! mix of two versions, and no version goes back. `HITHER_TORTURE_S` sets the duration in seconds.
#![cfg(feature = "writer")]
#![allow(clippy::print_stdout)] // Prints the counts.

use hither_table::{
    Address, Draft, Family, FamilyDraft, Geometry, Key, Monotonic, NoEntry, Reader, Rtt, Snapshot, State,
    Step, Writer, open_or_create, rotate,
};
use hither_wire::name::Name;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const NAMES: u64 = 64;
const ROLE: &str = "HITHER_TORTURE_ROLE";
const MAPPED: &str = "reader";
const UNMAPPED: &str = "unmapped reader";
/// The line that a reader prints when it has the file open.
const READING: &str = "reading";

fn name(n: u64) -> Name {
    format!("host{n}.example.com").parse().expect("a name")
}

/// A set of which every part is derived from its version, so that a mix of two is noticed.
fn set(version: u64, family: Family) -> FamilyDraft {
    let count = 1 + version % 16;
    let address = |n: u64| -> IpAddr {
        match family {
            Family::A => {
                Ipv4Addr::from((version as u32).wrapping_mul(2_654_435_761).wrapping_add(n as u32)).into()
            }
            Family::Aaaa => Ipv6Addr::from(u128::from(version) << 64 | u128::from(n)).into(),
        }
    };
    FamilyDraft {
        version,
        set_version: version,
        round: version,
        state: State::Complete,
        negative: None,
        sorted: version.is_multiple_of(2),
        expire_ms: version % (1 << 40),
        lifetime_s: (version % 64) as u32,
        agreement: hither_table::Agreement::default(),
        addresses: (0..count)
            .map(|n| Address {
                rtt: Rtt::Micros((version ^ n) as u32 & 0x7fff_ffff),
                ..Address::new(address(n), 0, 1)
            })
            .collect(),
        chains: vec![hither_table::Chain::default()],
        soa: None,
    }
}

fn geometry(large: bool) -> Geometry {
    Geometry { entries: if large { 2048 } else { 128 } }
}

fn open(dir: &Path) -> (Writer, impl Sized + use<>) {
    loop {
        match open_or_create(dir, &geometry(false), 0o644, [1, 2, 3], 1) {
            Ok((writer, _, lock)) => return (writer, lock),
            // The predecessor was killed just now, and the kernel is about to release its lock.
            Err(hither_table::ShareError::Locked(_)) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn write(dir: &Path) {
    let steps = std::env::var("HITHER_TORTURE_STEPS").ok().and_then(|n| n.parse().ok());
    hither_table::die_after(steps.unwrap_or(u64::MAX));
    let (mut writer, _lock) = open(dir);
    println!("writing");
    let mut n = u64::from(std::process::id());
    let mut large = false;
    loop {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = name((n >> 33) % NAMES);
        if n.is_multiple_of(16) {
            let _ = writer.work(((n >> 8) % 300) as usize, Monotonic(0));
        }
        let version = writer.next_version();
        match (n >> 20) % 50 {
            0 => drop(writer.remove(&Key::of(&name))),
            1 if n.is_multiple_of(97) => writer.flush_all(),
            2 if (n >> 13).is_multiple_of(401) => {
                large = !large;
                rotate(&mut writer, dir, &geometry(large), 0o644, [4, 5, 6]).expect("there is room");
            }
            _ => {
                let aaaa = version.is_multiple_of(3).then(|| set(version, Family::Aaaa));
                let draft = Draft { name, a: Some(set(version, Family::A)), aaaa };
                writer.put(&draft, Monotonic(0)).expect("room is made");
            }
        }
    }
}

#[derive(Default, Debug)]
struct Counts {
    reads: u64,
    hits: u64,
    busy: u64,
    torn: u64,
    back: u64,
    followed: u64,
}

fn check(snapshot: &Snapshot, last: &mut u64, counts: &mut Counts) {
    let draft = snapshot.to_draft();
    let whole = draft.as_ref().is_some_and(|draft| {
        let version = draft.version();
        draft.a.as_ref() == Some(&set(version, Family::A))
            && draft.aaaa.as_ref().is_none_or(|own| *own == set(version, Family::Aaaa))
    });
    counts.torn += u64::from(!whole);
    counts.back += u64::from(snapshot.version() < *last);
    *last = snapshot.version();
}

/// Reads until standard input ends, with or without a mapping; prints its counts.
fn read(dir: &Path, is_mapped: bool) {
    let open = if is_mapped { Reader::open } else { Reader::open_unmapped };
    let mut reader = open(dir).expect("readable");
    let (mut snapshot, mut counts, mut last) = (Snapshot::new(), Counts::default(), vec![0; NAMES as usize]);
    let mut follower = reader.follow();
    println!("{READING}");
    let (stop, stopped) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        let _ = stop.send(());
    });
    loop {
        // One more pass after the stop, so that a file replaced since the previous pass is opened too.
        let is_last = stopped.try_recv().is_ok();
        let mut replaced = !reader.is_current(dir);
        for n in 0..NAMES {
            counts.reads += 1;
            match reader.lookup(&Key::of(&name(n)), &mut snapshot) {
                Ok(()) => {
                    counts.hits += 1;
                    check(&snapshot, &mut last[n as usize], &mut counts);
                }
                Err(NoEntry::Missing) => {}
                Err(NoEntry::Busy | NoEntry::TooLarge) => counts.busy += 1,
                Err(NoEntry::Replaced) => replaced = true,
            }
        }
        // Records to which the ring leads are of one version too, however late they are read.
        for _ in 0..64 {
            if follower.step(&mut snapshot) == Step::Record {
                check(&snapshot, &mut 0, &mut counts);
            }
        }
        if replaced {
            reader = open(dir).expect("there is always a whole file");
            follower = reader.follow();
            counts.followed += 1;
        }
        if is_last {
            break;
        }
    }
    let Counts { reads, hits, busy, torn, back, followed } = counts;
    println!("{reads} {hits} {busy} {torn} {back} {followed}");
}

fn child(role: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "no_entry_is_torn_while_writers_are_killed", "--nocapture"])
        .env(ROLE, role)
        .env("HITHER_TORTURE_DIR", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started")
}

/// A reader that has the file open, and what it prints from then on.
fn start_reader(role: &str, dir: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut reader = child(role, dir);
    let mut output = BufReader::new(reader.stdout.take().expect("piped"));
    let is_reading = output.by_ref().lines().map_while(Result::ok).any(|line| line.ends_with(READING));
    assert!(is_reading, "a reader fails");
    (reader, output)
}

fn writer(dir: &Path, steps: u64) -> Child {
    Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "no_entry_is_torn_while_writers_are_killed", "--nocapture"])
        .env(ROLE, "writer")
        .env("HITHER_TORTURE_DIR", dir)
        .env("HITHER_TORTURE_STEPS", steps.to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("started")
}

#[test]
fn no_entry_is_torn_while_writers_are_killed() {
    if let Ok(role) = std::env::var(ROLE) {
        let dir = PathBuf::from(std::env::var_os("HITHER_TORTURE_DIR").expect("given"));
        return if role == "writer" { write(&dir) } else { read(&dir, role == MAPPED) };
    }
    let seconds = std::env::var("HITHER_TORTURE_S").ok().and_then(|s| s.parse().ok()).unwrap_or(2);
    let shm = Path::new("/dev/shm");
    let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let dir = base.join(format!("hither-torture-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    drop(open(&dir));
    let readers = [MAPPED, MAPPED, UNMAPPED].map(|role| start_reader(role, &dir));
    let (end, mut kills, mut n) = (Instant::now() + Duration::from_secs(seconds), [0; 3], 7_u64);
    // Longer on a busy machine: until each way of killing was used, and the file has been replaced under
    // readers that had it open.
    let first = Reader::open(&dir).expect("readable");
    let latest = end + Duration::from_secs(60);
    let is_enough = |kills: &[u64; 3]| kills.iter().all(|n| *n > 0) && !first.is_current(&dir);
    while Instant::now() < end || (!is_enough(&kills) && Instant::now() < latest) {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let way = (n >> 40) % 3;
        kills[way as usize] += 1;
        // The writer kills itself at a step during the takeover or later; or this process kills it.
        let steps =
            if way == 0 { [(n >> 20) % 300, (n >> 20) % 200_000][(n >> 50) as usize % 2] } else { u64::MAX };
        let mut writer = writer(&dir, steps);
        if way == 0 {
            assert!(!writer.wait().expect("a child").success(), "it dies at step {steps}");
            continue;
        }
        // Just after its start, or after it was stopped and continued.
        std::thread::sleep(Duration::from_micros((n >> 24) % 60_000));
        if way == 2 {
            let pid = nix::unistd::Pid::from_raw(writer.id() as i32);
            let signal = |signal| nix::sys::signal::kill(pid, signal).expect("it runs");
            signal(nix::sys::signal::Signal::SIGSTOP);
            let stopped = nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WUNTRACED));
            assert!(matches!(stopped, Ok(nix::sys::wait::WaitStatus::Stopped(..))), "{stopped:?}");
            // Readers continue beside a stopped writer, and beside one that continues.
            std::thread::sleep(Duration::from_millis(20));
            signal(nix::sys::signal::Signal::SIGCONT);
            std::thread::sleep(Duration::from_millis(20));
        }
        writer.kill().expect("running");
        writer.wait().expect("a child");
    }
    let mut total = Counts::default();
    for (mut reader, mut output) in readers {
        reader.stdin.take().expect("piped").write_all(b"stop\n").expect("it reads");
        let mut text = String::new();
        output.read_to_string(&mut text).expect("text");
        reader.wait().expect("a child");
        let numbers =
            text.lines().map(|line| line.split(' ').filter_map(|n| n.parse().ok()).collect::<Vec<u64>>());
        let counted = numbers
            .into_iter()
            .find(|numbers| numbers.len() == 6)
            .unwrap_or_else(|| panic!("no counts: {text}"));
        assert!(counted[1] > 1000, "one of them found hardly anything: {text}");
        total.reads += counted[0];
        total.hits += counted[1];
        total.busy += counted[2];
        total.torn += counted[3];
        total.back += counted[4];
        total.followed += counted[5];
    }
    let [steps, random, stopped] = kills;
    println!(
        "{seconds} s, writers killed at a step {steps}, at random {random}, after a stop {stopped}: {total:?}"
    );
    let bad = Reader::open(&dir).expect("readable").verify().bad;
    assert!(bad.is_empty(), "what a dead writer leaves is whole: {bad:?}");
    std::fs::remove_dir_all(&dir).expect("removable");
    assert!(kills.iter().all(|n| *n > 0) && total.followed > 0, "{total:?}");
    assert_eq!((total.torn, total.back), (0, 0), "{total:?}");
}

/// The check notices an entry that is made of halves of two versions.
#[test]
fn a_mix_of_two_versions_would_be_noticed() {
    let geometry = Geometry { entries: 128 };
    let memory = hither_table::Memory::heap(geometry.words());
    let mut writer = Writer::create(memory, &geometry, [1, 2], 3, 10).expect("a table");
    let mut mixed = set(20, Family::A);
    mixed.addresses[0].address = set(21, Family::A).addresses[0].address;
    writer.put(&Draft { name: name(1), a: Some(mixed), aaaa: None }, Monotonic(0)).expect("room");
    let (mut snapshot, mut counts) = (Snapshot::new(), Counts::default());
    assert!(writer.get(&Key::of(&name(1)), &mut snapshot));
    check(&snapshot, &mut 0, &mut counts);
    assert_eq!(counts.torn, 1);
    check(&snapshot, &mut 30, &mut counts);
    assert_eq!(counts.back, 1);
}
