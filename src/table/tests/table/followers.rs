//! Following changes, waiting for them, and the sign of life.

use super::{Dir, NOW, PART, both, heap, name, part};
use hither_table::{Geometry, Key, Reader, Snapshot, Step, Writer, open_or_create};
use std::sync::Arc;

/// How often waiters are woken is tested in `wake.rs`.
#[test]
fn all_waiters_are_woken_during_many_changes() {
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
        assert!(woken.is_ok(), "{} are not woken", SLEEPERS - n);
    }
}

#[test]
fn readers_see_when_the_writer_has_died() {
    use std::io::{BufRead as _, BufReader};
    if let Some(dir) = part() {
        // The other process: holds the table until it is killed.
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
    assert_eq!(reader.writer_lives(), None, "the writer closed it");
    drop((writer, lock));
    let mut child = std::process::Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "followers::readers_see_when_the_writer_has_died", "--nocapture"])
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
fn a_follower_reads_every_change_or_learns_that_it_missed_some() {
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
