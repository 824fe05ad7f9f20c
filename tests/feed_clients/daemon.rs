//! Subscribers of the real daemon: a name that nothing else asks for, restarts, and subscribers that are
//! killed and stopped while the daemon publishes.

use crate::Ends;
use crate::support::{Daemon, Upstream, answer, compose, until};
use hither_client::{Cause, Change, Family, Missed, Name, Snapshot, Subscription, Table, Wanted};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::query::Query;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const NAMES: usize = 40;

fn names() -> Vec<Name> {
    (0..NAMES).map(|n| format!("n{n}.example").parse().expect("a name")).collect()
}

fn set_version(table: &Table, name: &Name, entry: &mut Snapshot) -> u64 {
    let found = table.lookup(name, entry).ok().and_then(|()| entry.family(Family::A));
    found.map_or(0, |set| set.set_version())
}

/// The set version of each name in the last report about it.
#[derive(Default)]
struct Told {
    last: BTreeMap<Name, u64>,
    changes: usize,
    gaps: usize,
}

impl Told {
    /// Reads all that there is.
    fn read(&mut self, changes: &Subscription) {
        loop {
            match changes.try_next() {
                Ok(Some(Change { name, set_version, cause: Cause::NewSet, .. })) => {
                    let before = self.last.insert(name, set_version).unwrap_or(0);
                    assert!(set_version > before, "{name}: {set_version} after {before}");
                    self.changes += 1;
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(Missed::Gap) => self.gaps += 1,
                Err(Missed::Ended) => panic!("the daemon runs"),
            }
        }
    }
}

/// Whether the last report about each name is of the set that the table has.
fn is_complete(told: &mut Told, changes: &Subscription, table: &Table, names: &[Name]) -> bool {
    told.read(changes);
    let mut entry = Snapshot::new();
    names.iter().all(|name| told.last.get(name) == Some(&set_version(table, name, &mut entry)))
}

fn watch(daemon: &Daemon, names: &[Name]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherctl"));
    command.arg("--runtime-dir").arg(daemon.dir.join("run")).arg("watch");
    command.args(names.iter().map(Name::to_string));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started")
}

/// Every answer has other addresses and a TTL of 0, so that each query is a change.
fn restless() -> Upstream {
    let n = AtomicUsize::new(0);
    Upstream::start(move |query, _| {
        let is_a = Query::read(query).expect("the daemon's own").qtype() == Rtype::A;
        let end = u8::try_from(1 + n.fetch_add(1, Ordering::SeqCst) % 250).expect("small");
        vec![(0, if is_a { answer(query, &[end], 0) } else { compose(query, Rcode::NOERROR, 0, |_| {}) })]
    })
}

#[test]
fn no_change_is_lost_without_a_gap_while_subscribers_are_killed_and_stopped() {
    let upstream = restless();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    let (names, table) = (names(), Table::open(Some(&daemon.dir.join("run"))).expect("readable"));
    let subscribe = || table.subscribe(&names, Wanted::One(Family::A)).expect("accepted");
    // One reads always, one never until the end.
    let (steady, late) = (subscribe(), subscribe());
    let (mut steady_told, late_told) = (Told::default(), Told::default());
    let mut others = Ends((0..8).map(|_| watch(&daemon, &names)).collect());
    let others = &mut others.0;
    let mut random = 1_u64;
    for turn in 0..1500 {
        daemon.ask(&names[turn % NAMES].to_string());
        steady_told.read(&steady);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let one = (random >> 33) as usize % others.len();
        let pid = Pid::from_raw(i32::try_from(others[one].id()).expect("small"));
        match random >> 60 {
            0 => {
                others[one].kill().expect("ours");
                others[one].wait().expect("a child");
                others[one] = watch(&daemon, &names);
            }
            1..=3 => kill(pid, Signal::SIGSTOP).expect("ours"),
            4..=8 => kill(pid, Signal::SIGCONT).expect("ours"),
            _ => {}
        }
    }
    // Refreshes of leased names go on, each five seconds at most: a moment at which all is told is enough.
    for (what, told, changes) in [("steady", steady_told, &steady), ("late", late_told, &late)] {
        let told = RefCell::new(told);
        until(&format!("the {what} subscriber knows the set that each name has"), || {
            is_complete(&mut told.borrow_mut(), changes, &table, &names)
        });
        let told = told.into_inner();
        let line = format!("{what}: {} changes, {} gaps\n", told.changes, told.gaps);
        std::io::stderr().write_all(line.as_bytes()).expect("written");
        match what {
            "steady" => assert_eq!((told.gaps, told.changes >= 1500), (0, true), "{line}"),
            _ => assert!(told.gaps > 0, "it did not read for long: {line}"),
        }
    }
}

/// The daemon resolves a name that it has never been asked for, follows it, and is restarted.
#[test]
fn a_watch_learns_of_changes_without_a_query_and_over_a_restart() {
    let number = Arc::new(AtomicU8::new(1));
    let upstream = Upstream::start({
        let number = Arc::clone(&number);
        move |query, _| {
            let is_a = Query::read(query).expect("the daemon's own").qtype() == Rtype::A;
            let ends = [number.load(Ordering::SeqCst)];
            vec![(0, if is_a { answer(query, &ends, 5) } else { compose(query, Rcode::NOERROR, 0, |_| {}) })]
        }
    });
    let mut daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    let runs = daemon.dir.join("runs");
    let seen = || {
        let text = std::fs::read_to_string(&runs).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let command = format!("echo $HITHER_CAUSE $HITHER_ADDRESSES >>'{}'", runs.display());
    let watch = Command::new(env!("CARGO_BIN_EXE_hitherctl"))
        .arg("--runtime-dir")
        .arg(daemon.dir.join("run"))
        .args(["watch", "--exec", &command, "web.example", "A"])
        .spawn()
        .expect("started");
    let mut watch = Ends(vec![watch]);
    let watch = &mut watch.0[0];
    until("the first run", || seen().len() == 1);
    assert!(seen()[0].ends_with(" 198.18.0.1"), "{:?}", seen());
    number.store(2, Ordering::SeqCst);
    let changed = Instant::now();
    until("the second run", || seen().len() == 2);
    assert_eq!(seen()[1], "new-set 198.18.0.2");
    assert!(changed.elapsed() < Duration::from_secs(10), "{:?}", changed.elapsed());
    // A restart without a change runs nothing; one with a change does.
    let dir = daemon.dir.clone();
    for (end, count) in [(2, 2), (3, 3)] {
        daemon.signal(Signal::SIGKILL);
        daemon.process.wait().expect("a child");
        number.store(end, Ordering::SeqCst);
        let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
        command.arg("--config").arg(dir.join("hither.toml"));
        let before = upstream.count();
        // The directory stays: the daemon before is not dropped, which would remove it.
        std::mem::forget(std::mem::replace(&mut daemon, Daemon::spawn(dir.clone(), &mut command)));
        until("the name is resolved again", || upstream.count() > before);
        until("the run for a change, if there was one", || seen().len() >= count);
        assert_eq!(seen().len(), count, "{:?}", seen());
    }
    assert!(seen()[2].ends_with(" 198.18.0.3"), "{:?}", seen());
    kill(Pid::from_raw(i32::try_from(watch.id()).expect("small")), Signal::SIGINT).expect("it runs");
    assert_eq!(watch.wait().expect("a child").code(), Some(0));
}
