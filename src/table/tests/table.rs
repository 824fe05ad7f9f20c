//! The table against a model, against damage, and as a file.
#![cfg(feature = "writer")]
#![allow(clippy::print_stdout)] // A word from one process of a test to the other.

use hither_table::{
    Address, Chain, Draft, Family, FamilyDraft, Geometry, Key, Link, Memory, Monotonic, Negative, NoEntry,
    Origin, PutError, Reader, Rtt, Snapshot, SoaRecord, State, Step, Writer, first_version, open_or_create,
    rotate,
};
use hither_wire::name::Name;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

const NOW: Monotonic = Monotonic::from_ms(1_000_000);

fn name(n: u32) -> Name {
    format!("host{n}.example.com").parse().expect("a name")
}

fn set(version: u64, family: Family, count: usize) -> FamilyDraft {
    let address = |n: usize| -> IpAddr {
        match family {
            Family::A => Ipv4Addr::from((0xc612_0000 + version * 256 + n as u64) as u32).into(),
            Family::Aaaa => Ipv6Addr::from(u128::from(version) << 64 | n as u128).into(),
        }
    };
    let rtt = |n: usize| [Rtt::Micros(n as u32), Rtt::Unmeasured, Rtt::Unreachable][n % 3];
    FamilyDraft {
        version,
        set_version: version,
        round: version,
        state: [State::First, State::Partial, State::Complete][version as usize % 3],
        negative: None,
        sorted: version.is_multiple_of(2),
        expire_ms: NOW.as_ms() + 1000 * (version % 1000),
        lifetime_s: (version % 64) as u32,
        addresses: (0..count)
            .map(|n| Address { address: address(n), rtt: rtt(n), chain: (n % 2) as u8, upstreams: n as u32 })
            .collect(),
        chains: vec![Chain::default()],
        soa: None,
    }
}

fn both(n: u32, version: u64, counts: (usize, usize)) -> Draft {
    Draft {
        name: name(n),
        a: Some(set(version, Family::A, counts.0)),
        aaaa: (counts.1 > 0).then(|| set(version, Family::Aaaa, counts.1)),
    }
}

fn heap(entries: usize) -> Writer {
    let geometry = Geometry { entries };
    Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table")
}

#[test]
fn versions_go_on_above_those_of_a_table_that_is_gone() {
    let mut writer = heap(10);
    let last = 5 << 40;
    writer.go_on_above(last);
    let next = writer.next_version();
    assert!(next > last);
    // One that is lower, or cannot be one, changes nothing.
    writer.go_on_above(last - 1);
    writer.go_on_above(u64::MAX);
    assert_eq!(writer.next_version(), next + 1);
}

#[test]
fn versions_begin_above_those_of_a_moment_before() {
    let at = |seconds, nanos| first_version(std::time::Duration::new(seconds, nanos));
    assert!(at(1_790_000_000, 0) < at(1_790_000_000, 1_000));
    assert!(at(1_790_000_000, 999_999_999) < at(1_790_000_001, 0));
    assert_eq!(at(1_790_000_000, 0), 1_790_000_000 << 20);
    for seconds in [0, 1_790_000_000, 4_000_000_000, 1 << 40, u64::MAX] {
        let mut writer = heap(10);
        assert!(writer.begin_above(at(seconds, 999_999_999)), "{seconds}");
        assert!(writer.next_version() < 1 << 52);
    }
    let mut writer = heap(10);
    assert!(writer.begin_above(5000) && writer.next_version() == 5001);
    assert_eq!(writer.reader().version(), 5000, "a successor of one that publishes nothing goes on there");
    assert!(writer.begin_above(1) && !writer.begin_above(1 << 52) && writer.last_version() == 5001);
}

/// None of them sleeps on after the last change, however many changes there were before. That they are woken seldom is `rouse.rs`'s to test.
#[test]
fn sleepers_are_all_woken_amid_many_changes() {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    const SLEEPERS: usize = 200;
    let dir = Dir::new("sleepers");
    let (mut writer, ..) = dir.open();
    let over = Arc::new(AtomicBool::new(false));
    let (ended, ends) = std::sync::mpsc::channel();
    for _ in 0..SLEEPERS {
        let mut follower = Reader::open(&dir.0).expect("readable").follow();
        let (over, ended) = (Arc::clone(&over), ended.clone());
        std::thread::spawn(move || {
            let mut out = Snapshot::new();
            while !over.load(SeqCst) {
                follower.wait(std::time::Duration::from_secs(3600));
                while follower.step(&mut out) != Step::Nothing {}
            }
            let _ = ended.send(());
        });
    }
    for n in 0..2000 {
        let version = writer.next_version();
        writer.put(&both(n % 30, version, (1, 0)), NOW).expect("room");
        writer.wake_followers();
    }
    over.store(true, SeqCst);
    writer.flush_all();
    writer.wake_followers();
    for n in 0..SLEEPERS {
        let woken = ends.recv_timeout(std::time::Duration::from_secs(30));
        assert!(woken.is_ok(), "{} sleep on", SLEEPERS - n);
    }
}

fn read(reader: &Reader, n: u32) -> (Result<(), NoEntry>, Option<Draft>) {
    let mut out = Snapshot::new();
    let lookup = reader.lookup(&Key::of(&name(n)), &mut out);
    (lookup, lookup.is_ok().then(|| out.to_draft()).flatten())
}

/// Ends what is left of taking over: entries that stayed, entries that did not.
fn finish(writer: &mut Writer) -> (usize, usize) {
    loop {
        if let Some(found) = writer.work(100, NOW) {
            return (found.entries, found.dropped);
        }
        assert!(writer.has_work());
    }
}

/// A directory of its own, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(what: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("hither-table-{what}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        Dir(dir)
    }

    fn open(&self) -> (Writer, Origin, Box<dyn std::any::Any>) {
        let opened = open_or_create(&self.0, &Geometry { entries: 64 }, 0o644, [1, 2, 3], 1_700_000_000);
        let (writer, origin, lock) = opened.expect("a table");
        (writer, origin, Box::new(lock))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_entry_is_read_as_it_was_put() {
    let mut writer = heap(64);
    let mut draft = both(1, 11, (16, 16));
    let target: Name = "edge.example.net".parse().expect("a name");
    let link = Link { target, expire_ms: 77 };
    draft.a.as_mut().expect("A").chains = vec![Chain { links: vec![link.clone(), link] }, Chain::default()];
    draft.aaaa = Some(FamilyDraft {
        negative: Some(Negative::NxDomain),
        addresses: Vec::new(),
        soa: Some(Box::new(SoaRecord { owner: name(7), expire_ms: 99, rdata: vec![1; 70] })),
        ..set(12, Family::Aaaa, 0)
    });
    writer.put(&draft, NOW).expect("room");
    assert_eq!(read(&writer.reader(), 1), (Ok(()), Some(draft)));
    assert_eq!(read(&writer.reader(), 2).0, Err(NoEntry::Missing));
    assert!(writer.reader().verify().bad.is_empty());
}

#[test]
fn two_addresses_of_each_family_take_three_lines() {
    let mut writer = heap(64);
    writer.put(&both(1, 11, (2, 2)), NOW).expect("room");
    let mut out = Snapshot::new();
    writer.get(&Key::of(&name(1)), &mut out);
    assert!(out.entry().words() <= 24, "{}", out.entry().words());
}

#[test]
fn what_is_too_large_is_refused_and_the_old_entry_stays() {
    let mut writer = heap(64);
    writer.put(&both(1, 11, (1, 0)), NOW).expect("room");
    assert_eq!(writer.put(&both(1, 12, (256, 0)), NOW).err(), Some(PutError::TooLarge));
    writer.put(&both(2, 13, (255, 255)), NOW).expect("the largest sets fit");
    assert_eq!(read(&writer.reader(), 1).1, Some(both(1, 11, (1, 0))));
    assert_eq!(read(&writer.reader(), 2).1, Some(both(2, 13, (255, 255))));
}

#[test]
fn a_flush_takes_everything_at_once_and_what_comes_after_stays() {
    let mut writer = heap(64);
    for n in 0..50 {
        let version = writer.next_version();
        writer.put(&both(n, version, (2, 0)), NOW).expect("room");
    }
    writer.flush_all();
    assert!((0..50).all(|n| read(&writer.reader(), n).0 == Err(NoEntry::Missing)));
    let version = writer.next_version();
    writer.put(&both(3, version, (2, 0)), NOW).expect("room");
    assert_eq!(read(&writer.reader(), 3).0, Ok(()));
    let (reader, mut out) = (writer.reader(), Snapshot::new());
    let mut entries = reader.entries();
    assert!(entries.next(&mut out) && !entries.next(&mut out), "a scan sees what is left");
}

#[test]
fn a_name_that_is_given_up_and_comes_back_is_another_entry_to_its_readers() {
    let mut writer = heap(64);
    let (reader, mut out) = (writer.reader(), Snapshot::new());
    let version = writer.next_version();
    writer.put(&both(0, version, (1, 1)), NOW).expect("room");
    let mut others = 1;
    while reader.lookup(&Key::of(&name(0)), &mut out).is_ok() {
        let next = writer.next_version();
        writer.put(&both(others, next, (1, 1)), NOW).expect("room is made");
        others += 1;
        assert!(others < 10_000, "it is never given up");
    }
    let again = writer.next_version();
    writer.put(&both(0, again, (2, 0)), NOW).expect("room is made");
    assert_eq!(reader.lookup(&Key::of(&name(0)), &mut out), Ok(()));
    let seen = out.family(Family::A).expect("it has addresses").version();
    assert!(seen == again && seen > version, "{seen} after {version}");
}

#[test]
fn a_full_table_gives_up_old_entries_and_keeps_those_in_use() {
    let mut writer = heap(256);
    let mut out = Snapshot::new();
    for n in 0..20_000 {
        let version = writer.next_version();
        let sizes = [(1, 0), (2, 2), (16, 0), (40, 3), (200, 1)][n as usize % 5];
        writer.put(&both(n, version, sizes), NOW).expect("room is made");
        assert!(writer.entries() <= 256);
        for hot in 0..10.min(n) {
            assert!(n < 50 || writer.hit(&Key::of(&name(hot)), None, &mut out), "{hot} was given up at {n}");
            writer.hit(&Key::of(&name(hot)), None, &mut out);
        }
    }
    assert!(writer.evictions() > 19_000);
    assert!(writer.reader().verify().bad.is_empty());
}

#[test]
fn what_has_expired_goes_before_what_has_not() {
    let mut writer = heap(256);
    for n in 0..256 {
        let version = writer.next_version();
        let mut draft = both(n, version, (2, 0));
        // Every fourth is over, those put last among them.
        let over = n % 4 == 0;
        draft.a.as_mut().expect("A").expire_ms = if over { NOW.as_ms() } else { NOW.as_ms() + 60_000 };
        writer.put(&draft, NOW).expect("room");
    }
    for n in 256..256 + 56 {
        let version = writer.next_version();
        let mut draft = both(n, version, (2, 0));
        draft.a.as_mut().expect("A").expire_ms = NOW.as_ms() + 60_000;
        writer.put(&draft, NOW).expect("room");
    }
    let reader = writer.reader();
    let left = |over: bool| (0..256).filter(|n| (n % 4 == 0) == over && read(&reader, *n).0.is_ok()).count();
    assert!(
        left(false) > 180 && left(true) < 20,
        "{} of 192 living, {} of 64 expired are left",
        left(false),
        left(true)
    );
}

#[test]
fn no_size_starves_and_moving_records_loses_none() {
    let mut writer = heap(512);
    let mut next = 0..;
    let mut fill = |writer: &mut Writer, many: usize, sizes: (usize, usize)| -> Vec<u32> {
        let numbers: Vec<u32> = next.by_ref().take(many).collect();
        for n in &numbers {
            let version = writer.next_version();
            writer.put(&both(*n, version, sizes), NOW).expect("room is made");
        }
        numbers
    };
    // Every chunk belongs to records of two lines or to large ones, then most of the large ones go.
    let large = fill(&mut writer, 100, (200, 0));
    let small = fill(&mut writer, 300, (1, 0));
    for n in large.iter().filter(|n| *n % 4 != 0) {
        assert!(writer.remove(&Key::of(&name(*n))));
    }
    let evictions = writer.evictions();
    let middle = fill(&mut writer, 80, (30, 0));
    let reader = writer.reader();
    let stay = large.iter().filter(|n| *n % 4 == 0).chain(&small).chain(&middle);
    let lost: Vec<&u32> = stay.filter(|n| read(&reader, **n).0.is_err()).collect();
    assert!(lost.is_empty() && writer.evictions() == evictions, "{lost:?}");
    assert!(reader.verify().bad.is_empty());
}

#[test]
fn a_table_for_a_million_names_takes_225_mebibytes() {
    let octets = Geometry { entries: 1_000_000 }.words() * 8;
    assert!((224 << 20..225 << 20).contains(&octets), "{octets}");
}

#[test]
fn as_many_names_as_configured_are_held_while_all_of_them_grow() {
    let names: u32 = if cfg!(miri) { 60 } else { 40_000 };
    for scattered in [false, true] {
        let mut writer = heap(names as usize);
        for n in 0..names {
            let version = writer.next_version();
            writer.put(&both(n, version, (2, 0)), NOW).expect("room");
        }
        for n in 0..names {
            // A prime that divides neither number of names.
            let n = if scattered { (u64::from(n) * 7919 % u64::from(names)) as u32 } else { n };
            let version = writer.next_version();
            writer.put(&both(n, version, (2, 2)), NOW).expect("room");
        }
        assert_eq!((writer.entries(), writer.evictions()), (names as usize, 0), "scattered: {scattered}");
        let reader = writer.reader();
        for n in 0..names {
            assert_eq!(
                read(&reader, n).1.and_then(|draft| draft.aaaa).map(|set| set.addresses.len()),
                Some(2)
            );
        }
    }
}

#[test]
fn what_is_put_again_and_again_drives_nobody_out() {
    let (mut writer, turns) = (heap(1000), if cfg!(miri) { 100 } else { 100_000 });
    for n in 0..900 {
        let version = writer.next_version();
        writer.put(&both(n, version, (1, 0)), NOW).expect("room");
    }
    for turn in 0..turns {
        let version = writer.next_version();
        writer.put(&both(turn % 7, version, (1, turn as usize % 2)), NOW).expect("room");
    }
    assert_eq!((writer.entries(), writer.evictions()), (900, 0));
}

/// Set in a process that a test starts to play a part in it: the directory to play it in.
const PART: &str = "HITHER_TABLE_TEST_DIR";

fn part() -> Option<PathBuf> {
    std::env::var_os(PART).map(PathBuf::from)
}

/// A full file system: no table is begun that has no room, and one that is there is written and read on.
#[test]
fn on_a_full_tmpfs_nobody_is_killed() {
    use std::io::Write as _;
    if let Some(dir) = part() {
        return fill_a_tmpfs(&dir);
    }
    let skip = |why: &str| {
        let _ = writeln!(std::io::stderr(), "SKIPPED on_a_full_tmpfs_nobody_is_killed: {why}");
    };
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root to mount one");
    }
    let dir = Dir::new("full");
    let me = std::env::current_exe().expect("known");
    let script =
        "mount -t tmpfs -o size=4m none \"$1\" && exec \"$2\" --exact on_a_full_tmpfs_nobody_is_killed";
    let output = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(&dir.0)
        .arg(me)
        .env(PART, &dir.0)
        .output();
    match output {
        Err(error) => skip(&format!("unshare: {error}")),
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare: ") => skip("no namespace"),
        Ok(output) => assert!(output.status.success(), "{output:?}"),
    }
}

fn fill_a_tmpfs(dir: &std::path::Path) {
    use std::io::Write as _;
    let open = |entries| open_or_create(dir, &Geometry { entries }, 0o644, [1, 2, 3], 1);
    let refused = open(65_536).expect_err("larger than the file system").to_string();
    assert!(refused.contains("allocate space for") && refused.contains("No space left"), "{refused}");
    let (mut writer, ..) = open(64).expect("this one fits");
    let mut rest = std::fs::File::create(dir.join("rest")).expect("a file");
    while rest.write_all(&[1; 4096]).is_ok() {}
    let reader = Reader::open(dir).expect("readable");
    for n in 0..5000 {
        let version = writer.next_version();
        writer.put(&both(n, version, ((n % 200) as usize, 2)), NOW).expect("room is made");
        assert_eq!(read(&reader, n).0, Ok(()));
    }
    let full = rotate(&mut writer, dir, &Geometry { entries: 4096 }, 0o644, [4, 5, 6]);
    assert!(full.is_err(), "no room for a second one");
    assert_eq!(read(&reader, 4999).0, Ok(()), "and the first goes on");
}

#[test]
fn the_kernel_says_when_the_writer_has_died() {
    use std::io::{BufRead as _, BufReader};
    if let Some(dir) = part() {
        // Holds the table until it is killed.
        let _held = open_or_create(&dir, &Geometry { entries: 64 }, 0o644, [1, 2, 3], 1_700_000_000)
            .expect("a table");
        println!("held");
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    let dir = Dir::new("alive");
    let (mut writer, _, lock) = dir.open();
    let reader = Reader::open(&dir.0).expect("readable");
    assert_eq!(reader.writer_lives(), Some(true));
    writer.close();
    assert_eq!(reader.writer_lives(), None, "it said goodbye");
    drop((writer, lock));
    let mut child = std::process::Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "the_kernel_says_when_the_writer_has_died", "--nocapture"])
        .env(PART, &dir.0)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("held")), "the child never holds the table");
    assert_eq!(reader.writer_lives(), Some(true));
    child.kill().expect("it runs");
    child.wait().expect("a child");
    assert_eq!(reader.writer_lives(), Some(false));
}

#[test]
fn a_follower_sees_every_change_or_is_told() {
    let mut writer = heap(64);
    let mut follower = writer.reader().follow();
    let mut out = Snapshot::new();
    assert_eq!(follower.step(&mut out), Step::Nothing);
    let put = |writer: &mut Writer| {
        let version = writer.next_version();
        writer.put(&both(1, version, (1, 0)), NOW).expect("room");
        version
    };
    let versions: Vec<u64> = (0..100).map(|_| put(&mut writer)).collect();
    for version in versions {
        assert_eq!(
            (follower.step(&mut out), out.version()),
            (Step::Record, version),
            "superseded records are still there"
        );
    }
    writer.remove(&Key::of(&name(1)));
    assert_eq!(follower.step(&mut out), Step::Changed);
    for _ in 0..hither_table::layout::RING + 5 {
        put(&mut writer);
    }
    assert_eq!(follower.step(&mut out), Step::Lapped);
    assert_eq!(follower.step(&mut out), Step::Nothing);
    put(&mut writer);
    assert_eq!(follower.step(&mut out), Step::Record);
}

#[test]
fn a_waiting_follower_is_woken_from_another_mapping() {
    let dir = Dir::new("wake");
    let (mut writer, ..) = dir.open();
    let follower = Reader::open(&dir.0).expect("readable").follow();
    let waiter = std::thread::spawn(move || {
        let mut follower = follower;
        let mut out = Snapshot::new();
        while follower.step(&mut out) == Step::Nothing {
            follower.wait(std::time::Duration::from_secs(20));
        }
        out.version()
    });
    let version = writer.next_version();
    writer.put(&both(1, version, (1, 0)), NOW).expect("room");
    writer.wake_followers();
    assert_eq!(waiter.join().expect("no panic"), version);
}

#[test]
fn a_successor_takes_the_table_over_and_versions_go_on() {
    let dir = Dir::new("adopt");
    let (mut writer, origin, lock) = dir.open();
    assert!(matches!(origin, Origin::Created), "{origin:?}");
    let reader = Reader::open(&dir.0).expect("readable");
    for n in 0..60 {
        let version = writer.next_version();
        writer.put(&both(n, version, (3, 1)), NOW).expect("room");
    }
    let last = reader.version();
    assert!(
        open_or_create(&dir.0, &Geometry { entries: 64 }, 0o644, [1, 2, 3], 0).is_err(),
        "one writer at a time"
    );
    drop((writer, lock));
    let (mut writer, origin, _lock) = dir.open();
    assert!(matches!(&origin, Origin::Adopted), "{origin:?}");
    assert!(writer.next_version() > last);
    assert_eq!((writer.entries(), finish(&mut writer)), (60, (60, 0)));
    assert!((0..60).all(|n| read(&reader, n).0.is_ok()), "readers go on with their mapping");
    for n in 60..500 {
        let version = writer.next_version();
        writer.put(&both(n, version, (3, 1)), NOW).expect("room");
    }
    assert!(reader.verify().bad.is_empty());
}

#[test]
fn every_damage_of_the_file_is_noticed_and_the_file_replaced() {
    type Damage = (&'static str, fn(&mut Vec<u8>));
    let cases: [Damage; 9] = [
        ("first octets", |f| f[0] ^= 1),
        ("another ABI", |f| f[12] ^= 1),
        ("byte order", |f| f[16] ^= 1),
        ("checksum", |f| f[48 * 8] ^= 1),
        ("checksum", |f| f[80] ^= 0x10),
        ("whole number", |f| f.truncate(f.len() - 3)),
        ("size is not", |f| f.truncate(f.len() - 8)),
        ("shorter", |f| f.clear()),
        ("started", |f| f[42 * 8] ^= 1),
    ];
    for (expected, damage) in cases {
        let dir = Dir::new("damage");
        let path = dir.0.join("hosts");
        let (mut writer, _, lock) = dir.open();
        let version = writer.next_version();
        writer.put(&both(1, version, (1, 0)), NOW).expect("room");
        let old = writer.reader();
        drop(lock);
        let mut octets = std::fs::read(&path).expect("readable");
        damage(&mut octets);
        std::fs::remove_file(&path).expect("removable");
        std::fs::write(&path, octets).expect("writable");
        let (mut writer, origin, _lock) = dir.open();
        let Origin::Replaced { why } = &origin else { panic!("{expected}: {origin:?}") };
        assert!(why.to_string().contains(expected), "{expected}: {why}");
        let version = writer.next_version();
        writer.put(&both(2, version, (1, 0)), NOW).expect("room");
        assert_eq!(read(&Reader::open(&dir.0).expect("readable"), 2).0, Ok(()));
        assert_eq!(read(&old, 1).0, Ok(()), "whoever has the old file mapped is not hurt");
    }
}

#[test]
fn a_table_of_another_size_is_replaced_and_its_readers_are_told() {
    let dir = Dir::new("size");
    let (mut writer, _, lock) = dir.open();
    let version = writer.next_version();
    writer.put(&both(1, version, (1, 0)), NOW).expect("room");
    let reader = Reader::open(&dir.0).expect("readable");
    drop((writer, lock));
    let (mut writer, origin, _lock) =
        open_or_create(&dir.0, &Geometry { entries: 128 }, 0o640, [4, 5, 6], 0).expect("a table");
    assert!(matches!(origin, Origin::Resized), "{origin:?}");
    assert_eq!(read(&reader, 1).0, Err(NoEntry::Replaced));
    assert!(writer.next_version() > version);
    let reader = Reader::open(&dir.0).expect("readable");
    assert_eq!(read(&reader, 1).0, Err(NoEntry::Missing), "not copied yet");
    assert!(
        writer.get(&Key::of(&name(1)), &mut Snapshot::new()),
        "asked for, it is copied ahead of its turn"
    );
    assert_eq!(read(&reader, 1).1.expect("copied").version(), version, "under its version");
    assert_eq!(finish(&mut writer), (1, 0));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(dir.0.join("hosts")).expect("there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn a_damaged_record_is_dropped_and_the_others_stay() {
    let dir = Dir::new("record");
    let (mut writer, _, lock) = dir.open();
    for n in 0..10 {
        let version = writer.next_version();
        writer.put(&both(n, version, (3, 0)), NOW).expect("room");
    }
    drop((writer, lock));
    let path = dir.0.join("hosts");
    let mut octets = std::fs::read(&path).expect("readable");
    let wire = name(4);
    let at =
        octets.windows(wire.as_wire().len()).position(|w| w == wire.as_wire()).expect("the key stands there");
    octets[at + 1] = b'H';
    std::fs::write(&path, octets).expect("writable");
    assert_eq!(Reader::open(&dir.0).expect("readable").verify().bad.len(), 1);
    let (mut writer, ..) = dir.open();
    assert_eq!(finish(&mut writer), (9, 1));
}

#[test]
fn a_link_or_a_directory_in_place_of_the_table_is_not_followed() {
    let dir = Dir::new("link");
    let target = dir.0.join("elsewhere");
    std::fs::write(&target, [0; 8192]).expect("writable");
    std::os::unix::fs::symlink(&target, dir.0.join("hosts")).expect("a link");
    assert!(Reader::open(&dir.0).is_err());
    let (_, origin, _lock) = dir.open();
    assert!(matches!(origin, Origin::Replaced { .. }), "{origin:?}");
    assert_eq!(std::fs::read(&target).expect("readable"), [0; 8192], "what the link points to is left alone");
}

#[derive(Clone, Debug)]
enum Op {
    Put(u32, usize, usize),
    Remove(u32),
    Flush,
    Hit(u32),
    Adopt,
    Work(usize),
    Rotate,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0u32..40, 0usize..20, 0usize..5).prop_map(|(n, a, b)| Op::Put(n, a, b)),
        2 => (0u32..40).prop_map(Op::Remove),
        1 => Just(Op::Flush),
        2 => (0u32..40).prop_map(Op::Hit),
        1 => Just(Op::Adopt),
        1 => (1usize..300).prop_map(Op::Work),
        1 => Just(Op::Rotate),
    ];
    prop::collection::vec(op, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_is_a_map(ops in ops()) {
        let mut geometry = Geometry { entries: 64 };
        let dir = Dir::new("model");
        let (mut writer, _, mut lock) = dir.open();
        let mut model: BTreeMap<u32, Draft> = BTreeMap::new();
        let mut out = Snapshot::new();
        for op in ops {
            match op {
                Op::Put(n, a, b) => {
                    let draft = both(n, writer.next_version(), (a, b));
                    prop_assert_eq!(writer.put(&draft, NOW).err(), None);
                    model.insert(n, draft);
                }
                Op::Remove(n) => {
                    let known = writer.get(&Key::of(&name(n)), &mut out);
                    prop_assert_eq!(known, model.remove(&n).is_some());
                    writer.remove(&Key::of(&name(n)));
                }
                Op::Flush => {
                    writer.flush_all();
                    model.clear();
                }
                Op::Hit(n) => prop_assert_eq!(writer.hit(&Key::of(&name(n)), None, &mut out), model.contains_key(&n)),
                Op::Adopt => {
                    drop((writer, lock));
                    let (next, origin, held) = open_or_create(&dir.0, &geometry, 0o644, [1, 2, 3], 0).expect("a table");
                    prop_assert!(matches!(origin, Origin::Adopted), "{:?}", origin);
                    (writer, lock) = (next, Box::new(held) as _);
                }
                Op::Work(places) => drop(writer.work(places, NOW)),
                Op::Rotate => {
                    geometry.entries = if geometry.entries == 64 { 96 } else { 64 };
                    rotate(&mut writer, &dir.0, &geometry, 0o644, [4, 5, 6]).expect("another table");
                }
            }
            let reader = Reader::open(&dir.0).expect("readable");
            let copying = writer.has_work();
            for n in 0..40 {
                // The writer has everything at once; readers find what has not been copied yet when it has.
                let known = copying && writer.get(&Key::of(&name(n)), &mut out);
                prop_assert!(!copying || known == model.contains_key(&n));
                let found = read(&reader, n).1;
                prop_assert_eq!(found.as_ref(), model.get(&n));
            }
            prop_assert!(writer.evictions() == 0);
        }
    }

    #[test]
    fn arbitrary_words_never_hurt_a_reader(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..200)) {
        let geometry = Geometry { entries: 16 };
        let dir = Dir::new("words");
        let mut writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table");
        for n in 0..16 {
            let version = writer.next_version();
            writer.put(&both(n, version, (4, 4)), NOW).expect("room");
        }
        let file = dir.0.join("hosts");
        let (shared, _, _lock) = open_or_create(&dir.0, &geometry, 0o644, [1, 2, 3], 0).expect("a table");
        let mut follower = shared.reader().follow();
        let mut octets = std::fs::read(&file).expect("readable");
        let used = (hither_table::layout::HEADER + hither_table::layout::RING + 4096) * 8;
        for (at, value) in changes {
            // Past the immutable header, whose damage is another test's matter, and where things stand.
            let at = (17 + at.index(used / 8 - 17)) * 8;
            octets[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        std::fs::write(&file, &octets).expect("writable");
        if let Ok(reader) = Reader::open(&dir.0) {
            let mut out = Snapshot::new();
            for n in 0..16 {
                if reader.lookup(&Key::of(&name(n)), &mut out).is_ok() {
                    for family in [Family::A, Family::Aaaa] {
                        let _ = out.family(family).map(|f| (f.addresses().count(), f.canonical().len(), f.soa().is_some(), f.ttl(NOW)));
                    }
                    let _ = out.to_draft();
                }
            }
            let _ = (reader.verify(), reader.counters(), reader.dns_address());
            let mut entries = reader.entries();
            while entries.next(&mut out) {}
            for _ in 0..10 {
                let _ = follower.step(&mut out);
            }
        }
    }
}

#[test]
fn memory_of_another_size_is_no_table() {
    let geometry = Geometry { entries: 16 };
    assert!(Writer::create(Memory::heap(geometry.words() - 8), &geometry, [1, 2], 3, 10).is_err());
    assert!(Reader::over(Arc::new(Memory::heap(geometry.words()))).is_err());
}

/// What C and the NSS module refuse, this refuses too: `hither_table::trust` is one rule.
#[test]
fn what_others_can_write_is_not_read_and_not_taken_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = Dir::new("trust");
    let (mut writer, _, lock) = dir.open();
    let chmod = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    let file = dir.0.join("hosts");
    let why = || Reader::open(&dir.0).map(|_| ()).expect_err("not to be trusted").to_string();
    chmod(&dir.0, 0o755);
    assert!(Reader::open(&dir.0).is_ok());
    for (outer, inner, expected) in [
        (0o777, 0o664, "can write its directory"),
        (0o775, 0o644, "can write its directory"),
        (0o755, 0o664, "can write it, by its mode"),
        (0o755, 0o646, "can write it, by its mode"),
    ] {
        chmod(&dir.0, outer);
        chmod(&file, inner);
        assert!(why().contains(expected), "{outer:o} {inner:o}: {}", why());
    }
    chmod(&dir.0, 0o1777);
    chmod(&file, 0o644);
    assert!(Reader::open(&dir.0).is_ok(), "in a sticky directory nobody replaces it");
    chmod(&file, 0o664);
    writer.close();
    drop((writer, lock));
    // Whoever could write it may have, and may go on: a successor begins anew.
    let (_writer, origin, _lock) = dir.open();
    assert!(matches!(origin, Origin::Replaced { .. }), "{origin:?}");
    assert!(Reader::open(&dir.0).is_ok());
    let link = dir.0.join("link");
    std::os::unix::fs::symlink(&dir.0, &link).expect("ours");
    assert!(Reader::open(&link).is_err(), "a directory is not looked for behind a link");
}
