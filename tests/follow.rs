//! Followed files that change in every way, including links, directories and mounts on their path:
//! the real daemon applies each change within a bound.
//!
//! Mounts need root and a mount namespace; without them the test prints SKIPPED.
#![allow(clippy::print_stdout)] // The times are printed.

mod changes;
mod support;

use changes::{MOUNTS, Place, UNREADABLE, WAYS, Way};
use hither_wire::codes::Rcode;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Daemon, PATIENCE, Upstream, compose, directory, ends, retried, skip};

/// A bound for half of the changes. Files that cannot be watched are checked every two seconds only.
const HALF_WITHIN: Duration = Duration::from_millis(500);
/// The user nobody, since root may read every file.
const NOBODY: u32 = 65_534;

/// The daemon with all files of `ways`, run by a user other than root.
fn daemon(ways: &[Way]) -> (Daemon, Vec<Place>) {
    let upstream = Upstream::start(|query, _| vec![(0, compose(query, Rcode::NXDOMAIN, 0, |_| {}))]);
    let dir = directory();
    let mut places = Vec::new();
    for (n, way) in ways.iter().enumerate() {
        let place = Place { dir: dir.join(format!("way{n}")), name: format!("way{n}.test") };
        fs::create_dir(&place.dir).expect("a directory");
        (way.before)(&place);
        places.push(place);
    }
    let mut files: Vec<String> = places.iter().map(|place| format!("{:?}", place.at("hosts"))).collect();
    files.push(format!("{:?}", dir.join("beside")));
    Daemon::configure(&dir, &[&upstream], &format!("[hosts]\nfiles = [{}]\n", files.join(", ")));
    (spawn(dir, &[]), places)
}

/// Starts the daemon by a command line that begins with these words.
fn spawn(dir: PathBuf, before: &[&str]) -> Daemon {
    let words = [before, &[env!("CARGO_BIN_EXE_hitherd"), "--config"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(dir.join("hither.toml"));
    if nix::unistd::geteuid().is_root() {
        for path in [dir.clone(), dir.join("run")] {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    Daemon::spawn(dir, &mut command)
}

/// Waits until the name has this address, and returns how long that took.
fn in_force(daemon: &Daemon, name: &str, end: u8, what: &str) -> Duration {
    let began = Instant::now();
    let wanted: &[u8] = if end == 0 { &[] } else { &[end] };
    loop {
        let got = ends(&daemon.ask(name));
        if got == wanted {
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {got:?} and not {wanted:?}\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn go(ways: &[Way]) {
    let (daemon, places) = daemon(ways);
    let (mut times, mut beside) = (Vec::new(), 0);
    for (way, place) in ways.iter().zip(&places) {
        for (n, (step, end)) in way.steps.iter().enumerate() {
            step(place);
            let (name, end) = match *end {
                // When the file beside it has been read, this one has been read or tried as well.
                UNREADABLE => {
                    beside += 1;
                    let text = format!("198.51.100.{beside} beside.test\n");
                    fs::write(daemon.dir.join("beside"), text).expect("written");
                    ("beside.test", beside)
                }
                end => (place.name.as_str(), end),
            };
            let time = in_force(&daemon, name, end, &format!("{}, step {n}", way.what));
            println!("{:>5} ms  {}, step {n}", time.as_millis(), way.what);
            times.push(time);
        }
    }
    times.sort();
    println!(
        "{} changes in {} ways: at most {} ms, the median {} ms",
        times.len(),
        ways.len(),
        times[times.len() - 1].as_millis(),
        times[times.len() / 2].as_millis()
    );
    assert!(times[times.len() / 2] < HALF_WITHIN, "{times:?}");
}

/// Enters a mount namespace, for this thread and what it starts; `false` where that is not allowed.
fn alone(test: &str, more: CloneFlags) -> bool {
    let made = unshare(CloneFlags::CLONE_NEWNS | more).is_ok();
    let mount =
        |words: &str| Command::new("sh").args(["-c", words]).status().is_ok_and(|done| done.success());
    if made && mount("mount --make-rprivate /") {
        return true;
    }
    skip(test, "needs root and a mount namespace");
    false
}

#[test]
fn every_way_of_changing_a_followed_file_takes_effect_soon() {
    go(WAYS);
}

#[test]
fn a_mount_on_the_path_of_a_followed_file_is_noticed() {
    if alone("a_mount_on_the_path_of_a_followed_file_is_noticed", CloneFlags::empty()) {
        go(MOUNTS);
    }
}

#[test]
fn changes_of_other_files_in_its_directory_do_not_reread_a_followed_file() {
    let dir = directory();
    fs::write(dir.join("list"), "blocked.test\n").expect("written");
    let upstream = Upstream::start(|query, _| vec![(0, compose(query, Rcode::NXDOMAIN, 0, |_| {}))]);
    let more = format!(
        "[hosts]\nfiles = [{:?}]\n[[block]]\nfiles = [{:?}]\nanswer = \"198.51.100.9\"\n",
        dir.join("hosts"),
        dir.join("list")
    );
    Daemon::configure(&dir, &[&upstream], &more);
    let daemon = spawn(dir.clone(), &[]);
    let readings = || daemon.log().matches(" blocked, in ").count();
    assert_eq!(readings(), 1);
    for n in 0..500 {
        let (one, other) = (dir.join(format!("one{n}")), dir.join(format!("other{n}")));
        fs::write(&one, "x").expect("written");
        fs::rename(&one, &other).expect("renamed");
        fs::remove_file(&other).expect("removed");
    }
    fs::write(dir.join("hosts"), "198.51.100.7 a.test\n").expect("written");
    in_force(&daemon, "a.test", 7, "the followed file");
    daemon.until("it is read", |_| readings() >= 2);
    assert!(readings() <= 5, "{}", daemon.log());
}

#[test]
fn lost_inotify_events_lose_no_change() {
    let dir = directory();
    let hosts = dir.join("hosts");
    fs::write(&hosts, "198.51.100.1 a.test\n").expect("written");
    let upstream = Upstream::start(|query, _| vec![(0, compose(query, Rcode::NXDOMAIN, 0, |_| {}))]);
    Daemon::configure(&dir, &[&upstream], &format!("[hosts]\nfiles = [{hosts:?}]\n"));
    let daemon = spawn(dir.clone(), &[]);
    in_force(&daemon, "a.test", 1, "the start");
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("procfs");
    let most: usize = most.trim().parse().expect("a number");
    if most > 100_000 {
        let why = format!("the kernel's queue holds {most} events");
        return skip("lost_inotify_events_lose_no_change", &why);
    }
    daemon.signal(Signal::SIGSTOP);
    let other = dir.join("other");
    for _ in 0..=most / 2 {
        drop(File::create(&other));
        fs::remove_file(&other).expect("removed");
    }
    fs::write(&hosts, "198.51.100.2 a.test\n").expect("written");
    daemon.signal(Signal::SIGCONT);
    in_force(&daemon, "a.test", 2, "after an overflow");
    fs::write(&hosts, "198.51.100.3 a.test\n").expect("written");
    in_force(&daemon, "a.test", 3, "and the next");
}

#[test]
fn without_inotify_watches_files_are_polled_and_that_is_logged() {
    for (limit, most, word) in [("watches", 1, "max_user_watches"), ("instances", 0, "max_user_instances")] {
        let dir = directory();
        let hosts = dir.join("hosts");
        fs::write(&hosts, "198.51.100.1 a.test\n").expect("written");
        let upstream = Upstream::start(|query, _| vec![(0, compose(query, Rcode::NXDOMAIN, 0, |_| {}))]);
        Daemon::configure(&dir, &[&upstream], &format!("[hosts]\nfiles = [{hosts:?}]\n"));
        let set = format!("echo {most} >/proc/sys/user/max_inotify_{limit} && exec \"$0\" \"$@\"");
        let before = ["unshare", "--user", "--map-root-user", "sh", "-c", &set];
        let allowed = Command::new("unshare").args(["--user", "--map-root-user", "true"]).status();
        if !allowed.is_ok_and(|done| done.success()) {
            return skip(
                "without_inotify_watches_files_are_polled_and_that_is_logged",
                "needs user namespaces",
            );
        }
        let daemon = spawn(dir, &before);
        assert!(daemon.log().contains(word), "{}", daemon.log());
        fs::write(&hosts, "198.51.100.22 a.test\n").expect("written");
        let began = Instant::now();
        daemon.until("it is looked at", |daemon| ends(&daemon.ask("a.test")) == [22]);
        println!("{:>5} ms  without {limit}", began.elapsed().as_millis());
    }
}

#[test]
fn upstreams_of_the_system_that_appear_after_the_start_are_used_at_once() {
    let test = "upstreams_of_the_system_that_appear_after_the_start_are_used_at_once";
    if !alone(test, CloneFlags::CLONE_NEWNET) {
        return;
    }
    let sh = |line: &str| Command::new("sh").args(["-ec", line]).status().is_ok_and(|done| done.success());
    assert!(
        sh(
            "ip link set lo up; sysctl -qw net.ipv4.ip_unprivileged_port_start=0; mount -t tmpfs none /etc; mount -t tmpfs none /run"
        ),
        "a network and mounts for this test"
    );
    for end in [2, 3] {
        let socket = std::net::UdpSocket::bind((format!("127.0.0.{end}"), 53)).expect("a port of one's own");
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((len, peer)) = retried(|| socket.recv_from(&mut buffer)) {
                let _ = socket.send_to(&support::answer(&buffer[..len], &[end], 300), peer);
            }
        });
    }
    symlink("../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf").expect("a link");
    let dir = directory();
    let text = format!("runtime_dir = {:?}\n[listen]\ndns = [\"127.0.0.1:53\"]\n", dir.join("run"));
    fs::write(dir.join("hither.toml"), text).expect("written");
    let daemon = spawn(dir, &[]);
    let mut n = 0;
    let mut asked = |what: &str, end: u8| {
        let began = Instant::now();
        loop {
            n += 1;
            if ends(&daemon.ask(&format!("n{n}.test"))) == [end] {
                return println!("{:>5} ms  {what}", began.elapsed().as_millis());
            }
            assert!(began.elapsed() < PATIENCE, "{what}\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    fs::create_dir_all("/run/systemd/resolve").expect("directories");
    fs::write("/run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n").expect("written");
    fs::write("/run/systemd/resolve/resolv.conf", "nameserver 127.0.0.2\n").expect("written");
    asked("systemd-resolved comes", 2);
    fs::remove_dir_all("/run/systemd").expect("removed");
    fs::create_dir_all("/run/systemd/resolve").expect("directories");
    fs::write("/run/systemd/resolve/resolv.conf", "nameserver 127.0.0.3\n").expect("written");
    asked("and comes anew", 3);
    fs::write("/run/file", "nameserver 127.0.0.2\n").expect("written");
    symlink("/run/file", "/etc/new").expect("a link");
    fs::rename("/etc/new", "/etc/resolv.conf").expect("renamed");
    asked("resolv.conf leads elsewhere", 2);
    fs::write("/etc/file", "nameserver 127.0.0.3\n").expect("written");
    assert!(sh("mount --bind /etc/file /run/file"), "mounted");
    asked("and something is mounted there", 3);
}
