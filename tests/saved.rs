//! What the real daemon keeps over a reboot, which is a stop, an empty runtime directory and a
//! start: names and addresses, never more than was there, never longer, and nothing at all from a
//! file that is not what it should be.
#![allow(clippy::print_stdout)] // A count.

mod support;

use hither_saved::{Header, Reader, Set, Writer};
use hither_table::{Address, Family, Key, Rtt, Snapshot};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::{Message, Section};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use support::{Daemon, Upstream, answer, ask_for, compose, directory, ends, preloaded, skip};

/// A short deadline, for where the upstream is silent.
const SHORT: &str = "[round]\ndeadline = \"300ms\"\n";

fn good(ends: &'static [u8]) -> Upstream {
    Upstream::start(move |query, _| vec![(0, answer(query, ends, 300))])
}

fn silent() -> Upstream {
    Upstream::start(|_, _| Vec::new())
}

/// Writes the configuration; what is saved is in `state` beside the runtime directory, unless
/// `more` says otherwise.
fn configure(dir: &Path, upstream: &Upstream, more: &str) {
    Daemon::configure(dir, &[upstream], "[sort]\nenabled = false\n");
    std::fs::create_dir_all(dir.join("hither.toml.d")).expect("a directory");
    let state = format!("state_dir = {:?}\n", dir.join("state").display().to_string());
    let text = if more.contains("state_dir") { more.to_owned() } else { state + more };
    std::fs::write(dir.join("hither.toml.d/keep.toml"), text).expect("written");
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    command
}

fn start(dir: &Path, upstream: &Upstream, more: &str) -> Daemon {
    configure(dir, upstream, more);
    Daemon::spawn(dir.to_owned(), &mut command(dir))
}

/// Ends a daemon in good order; what the host keeps in memory is gone.
fn stop(daemon: &mut Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.process.wait().expect("a child").code(), Some(0), "{}", daemon.log());
    forget(&daemon.dir);
}

/// Waits until the log has said it, and gives the line.
fn says(daemon: &Daemon, text: &str) -> String {
    daemon.until(text, |daemon| daemon.log().contains(text));
    let log = daemon.log();
    log.lines().find(|line| line.contains(text)).expect("it is there").to_owned()
}

fn forget(dir: &Path) {
    std::fs::remove_dir_all(dir.join("run")).expect("removable");
    std::fs::create_dir_all(dir.join("run")).expect("a directory");
}

/// All addresses of a reply, and the TTLs of its records but for OPT.
fn told(reply: &[u8]) -> (Vec<String>, Vec<u32>) {
    let message = Message::read(reply).expect("a readable reply");
    let addresses = message.records().filter_map(|r| r.address()).map(|a| a.to_string()).collect();
    let ttls = message.records().filter(|r| r.rtype != Rtype::OPT).map(|r| r.ttl).collect();
    (addresses, ttls)
}

fn saved(path: &Path) -> Vec<Set> {
    let file = std::fs::read(path).expect("it is there");
    let (_, mut reader) = Reader::open(&file[..]).expect("a header");
    std::iter::from_fn(|| reader.next_set().expect("whole")).collect()
}

fn now_ms() -> u64 {
    #[allow(clippy::disallowed_methods)] // As the daemon's own.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("small")
}

fn set(name: &str, end: u8) -> Set {
    let address = Ipv4Addr::new(198, 18, 0, end).into();
    Set {
        name: name.parse().expect("a name"),
        family: Family::A,
        route: 0,
        complete: true,
        sorted: false,
        left_ms: 3_600_000,
        lifetime_s: 3_600,
        addresses: vec![Address { address, rtt: Rtt::Unmeasured, chain: 0, upstreams: 0 }],
        chains: vec![Vec::new()],
    }
}

/// A file as a daemon would have left it just now.
fn write(dir: &Path, sets: impl Iterator<Item = Set>) -> PathBuf {
    let state = dir.join("state");
    std::fs::create_dir_all(&state).expect("a directory");
    let header = Header { saved_ms: now_ms(), version: 1, usual: [0; 8] };
    let mut writer = Writer::begin(Vec::new(), &header).expect("memory");
    sets.for_each(|set| assert!(writer.add(&set).expect("memory")));
    let path = state.join("cache");
    std::fs::write(&path, writer.finish().expect("memory")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    path
}

#[test]
fn what_was_restored_is_said_to_be_until_it_is_found_out_anew() {
    let dir = directory();
    write(&dir, std::iter::once(set("kept.example.", 7)));
    let upstream = good(&[1]);
    let daemon = start(&dir, &upstream, "");
    daemon.until("it is restored", |d| d.ctl(&["lookup", "kept.example"]).status.success());
    assert_eq!(daemon.json(&["query", "kept.example"])["source"], "restored");
    assert!(daemon.ctl(&["flush", "kept.example"]).status.success());
    assert_eq!(daemon.json(&["query", "kept.example"])["source"], "upstream");
    assert_eq!(daemon.json(&["query", "kept.example"])["source"], "cache");
}

#[test]
fn what_was_known_is_answered_after_a_reboot_without_an_upstream_and_not_for_longer() {
    let quiet = Arc::new(AtomicBool::new(false));
    let is_quiet = Arc::clone(&quiet);
    let upstream = Upstream::start(move |query, _| {
        if is_quiet.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let read = hither_wire::query::Query::read(query).expect("a query");
        let reply = match (read.qname()[1].to_ascii_lowercase(), read.qtype()) {
            (b'x', _) => compose(query, Rcode::NXDOMAIN, 0, |out| {
                let soa = [&[0, 0][..], &[0; 16], &300_u32.to_be_bytes()].concat();
                assert!(out.record(Section::Authority, Owner::Wire(&[0]), Rtype::SOA, 300, &soa));
            }),
            (b'c', _) => compose(query, Rcode::NOERROR, 0, |out| {
                let edge = b"\x04Edge\x07example\x00";
                assert!(out.record(Section::Answer, Owner::At(12), Rtype::CNAME, 200, edge));
                assert!(out.record(Section::Answer, Owner::Wire(edge), Rtype::A, 100, &[198, 18, 0, 9]));
            }),
            (_, Rtype::AAAA) => compose(query, Rcode::NOERROR, 0, |out| {
                assert!(out.record(Section::Answer, Owner::At(12), Rtype::AAAA, 300, &[0x20; 16]));
            }),
            (b's', _) => answer(query, &[1], 4),
            _ => answer(query, &[3, 1, 2], 300),
        };
        vec![(0, reply)]
    });
    let dir = directory();
    let mut before = start(&dir, &upstream, "");
    for name in ["a.example", "c.example", "x.example", "s.example"] {
        before.ask(name);
    }
    before.exchange(&ask_for("a.example", Rtype::AAAA, None, 1));
    let chain = before.exchange(&ask_for("c.example", Rtype::A, None, 1));
    let version = |daemon: &Daemon| daemon.json(&["lookup", "a.example", "A"])["version"].as_u64();
    let known = version(&before);
    assert!(known.is_some());
    stop(&mut before);
    assert!(before.log().contains("3 sets of addresses are saved in"), "{}", before.log());
    let names: Vec<String> = saved(&dir.join("state/cache")).iter().map(|set| set.name.to_string()).collect();
    assert_eq!(names.len(), 3, "neither the denial nor what is over in seconds: {names:?}");
    quiet.store(true, Ordering::SeqCst);
    let asked = upstream.count();
    let after = start(&dir, &upstream, SHORT);
    says(&after, "3 sets of addresses are restored; 0 had run out, 0 were left out");
    let (addresses, ttls) = told(&after.ask("a.example"));
    assert_eq!(addresses, ["198.18.0.3", "198.18.0.1", "198.18.0.2"]);
    assert!(ttls.iter().all(|ttl| (200..=295).contains(ttl)), "{ttls:?}");
    let (addresses, _) = told(&after.exchange(&ask_for("a.example", Rtype::AAAA, None, 1)));
    assert_eq!(addresses, ["2020:2020:2020:2020:2020:2020:2020:2020"]);
    let reply = after.exchange(&ask_for("c.example", Rtype::A, None, 1));
    let (addresses, ttls) = told(&reply);
    assert_eq!((addresses, ttls.len()), (vec!["198.18.0.9".to_owned()], 2));
    assert!(ttls[0] <= 195 && ttls[1] <= 95, "{ttls:?}");
    let owners = |reply: &[u8]| {
        let message = Message::read(reply).expect("readable");
        message.records().map(|r| r.owner().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(owners(&reply), owners(&chain), "the chain is the one that was stated");
    assert!(version(&after) > known);
    assert!(after.ctl(&["verify"]).status.success());
    assert_eq!(upstream.count(), asked);
    for gone in ["x.example", "s.example"] {
        let reply = after.ask(gone);
        assert_eq!(Message::read(&reply).expect("readable").header().rcode(), Rcode::SERVFAIL, "{gone}");
    }
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_passed_over_with_a_word() {
    let upstream = good(&[1]);
    let (dir, elsewhere) = (directory(), directory());
    let other = write(&elsewhere, [set("a.example", 9)].into_iter());
    let octets = std::fs::read(&other).expect("readable");
    let path = dir.join("state/cache");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut octets = octets.clone();
        change(&mut octets);
        std::fs::write(&path, octets).expect("written");
    };
    let mode = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let cases: [(&str, &dyn Fn()); 13] = [
        ("it is cut off", &|| with(&|o| o.truncate(50))),
        ("it is cut off", &|| with(&|o| o.clear())),
        ("its first octets are others", &|| with(&|o| o[0] ^= 1)),
        ("it has version 1, known is 2", &|| with(&|o| o[8] = 1)),
        ("of the other byte order", &|| with(&|o| o[8..16].chunks_exact_mut(4).for_each(<[u8]>::reverse))),
        ("the checksum of its header is wrong", &|| with(&|o| o[20] ^= 1)),
        ("its checksum is wrong", &|| with(&|o| o[105] ^= 1)),
        ("set 0 in it is wrong", &|| with(&|o| o[102] = 0xff)),
        ("something follows its end", &|| with(&|o| o.push(0))),
        ("others can write it, by its mode 0620", &|| {
            with(&|_| ());
            mode(0o620);
        }),
        ("more than 1073741824", &|| {
            let file = std::fs::File::create(&path).expect("made");
            file.set_len(3 << 30).expect("a hole");
        }),
        ("it is a symbolic link", &|| std::os::unix::fs::symlink(&other, &path).expect("made")),
        ("it is not a regular file", &|| {
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
        }),
    ];
    // Dropped in the end, since the directory goes with a daemon.
    let mut all = Vec::new();
    for (why, make) in cases {
        std::fs::create_dir_all(dir.join("state")).expect("a directory");
        let _ = std::fs::remove_file(&path);
        make();
        let mut daemon = start(&dir, &upstream, "");
        daemon.until("it is passed over", |d| d.log().contains("is not restored: "));
        let log = daemon.log();
        let said = log.lines().find(|line| line.contains("is not restored: ")).expect("there");
        assert!(said.contains(why) && said.contains("state/cache'"), "{why}: {said}");
        assert_eq!(ends(&daemon.ask("a.example")), [1], "{why}");
        stop(&mut daemon);
        // In its place there is what was found out.
        assert_eq!(saved(&path).len(), 1, "{why}");
        all.push(daemon);
    }
    // A directory cannot be replaced.
    std::fs::remove_file(&path).expect("removable");
    std::fs::create_dir(&path).expect("made");
    let mut daemon = start(&dir, &upstream, "");
    says(&daemon, "it is not a regular file");
    assert_eq!(ends(&daemon.ask("a.example")), [1]);
    stop(&mut daemon);
    assert!(daemon.log().contains("the cache is not saved: cannot rename"), "{}", daemon.log());
    std::fs::remove_dir(&path).expect("removable");
    if nix::unistd::geteuid().is_root() {
        with(&|_| ());
        nix::unistd::chown(&path, Some(12_345.into()), None).expect("root");
        says(&start(&dir, &upstream, ""), "it belongs to user 12345, neither to root nor to us");
    } else {
        skip("a file of another user in a_file_that_is_not_what_it_should_be_is_passed_over", "needs root");
    }
}

/// The version of a name that is asked for now, as the table has it.
fn version(daemon: &Daemon, name: &str) -> u64 {
    daemon.ask(name);
    let reader = hither_table::Reader::open(&daemon.dir.join("run")).expect("a table");
    let (key, mut entry) = (Key::of(&name.parse().expect("a name")), Box::new(Snapshot::new()));
    assert_eq!(reader.lookup(&key, &mut entry), Ok(()));
    entry.version()
}

#[test]
fn versions_grow_across_a_table_that_is_lost_within_a_second() {
    let upstream = good(&[1]);
    let (dir, elsewhere) = (directory(), directory());
    // With a state directory; without one; without one and with nothing left.
    for (dir, more, lost) in [
        (&dir, "", "run"),
        (&elsewhere, "[cache]\nsave = \"0s\"\n# no state_dir\n", "run/hosts"),
        (&elsewhere, "[cache]\nsave = \"0s\"\n# no state_dir\n", "run"),
    ] {
        let mut last = 0;
        for n in 0..6 {
            let mut daemon = start(dir, &upstream, more);
            // More of them in less time than the clock stands for.
            for n in 0..n * 20 {
                daemon.ask(&format!("n{n}.example"));
            }
            let next = version(&daemon, "www.example.com");
            assert!(next > last, "{next} after {last}, {lost} lost");
            last = next;
            daemon.process.kill().expect("it runs");
            daemon.process.wait().expect("a child");
            match lost {
                "run" => forget(dir),
                file => std::fs::remove_file(dir.join(file)).expect("removable"),
            }
            // Its directory is for the next one.
            std::mem::forget(daemon);
        }
    }
    let _ = (std::fs::remove_dir_all(dir), std::fs::remove_dir_all(elsewhere));
}

#[test]
fn versions_grow_although_the_clock_is_set_back_and_the_table_is_lost() {
    let dir = directory();
    let Some(library) = preloaded(&dir, "tests/hostile/clocks.c") else {
        return skip(
            "versions_grow_although_the_clock_is_set_back_and_the_table_is_lost",
            "there is no C compiler",
        );
    };
    let upstream = good(&[1]);
    let mut last = 0;
    for (n, ahead_s) in [0_i64, -1, -86_400, -1_700_000_000, 86_400, 90_000].into_iter().enumerate() {
        std::fs::write(dir.join("offsets"), format!("{ahead_s} 0\n")).expect("written");
        configure(&dir, &upstream, "");
        let mut command = command(&dir);
        command.env("LD_PRELOAD", &library).env("CLOCKS", dir.join("offsets"));
        let mut daemon = Daemon::spawn(dir.clone(), &mut command);
        let next = version(&daemon, "www.example.com");
        assert!(next > last, "{next} after {last}, with the clock {ahead_s} s ahead");
        last = next;
        daemon.process.kill().expect("it runs");
        daemon.process.wait().expect("a child");
        forget(&dir);
        // What is no mark is passed over with a word, and costs nothing but what it said.
        if n == 4 {
            std::fs::write(dir.join("state/versions"), "junk").expect("writable");
        }
        if n == 5 {
            assert!(
                daemon.log().contains("versions' is passed over: it has another length"),
                "{}",
                daemon.log()
            );
            last = 0;
        }
        std::mem::forget(daemon);
    }
    assert_eq!(last, 0, "all were tried");
    let _ = std::fs::remove_dir_all(dir);
}

#[test]
fn nothing_is_kept_where_that_is_off_or_has_no_place() {
    let upstream = good(&[1]);
    let dir = directory();
    let path = write(&dir, [set("a.example", 9)].into_iter());
    let before = std::fs::read(&path).expect("readable");
    let mut off = start(&dir, &upstream, "[cache]\nsave = \"0s\"\n");
    assert_eq!(ends(&off.ask("a.example")), [1], "from the upstream");
    stop(&mut off);
    assert_eq!(std::fs::read(&path).expect("there"), before);
    // Without any state_dir.
    Daemon::configure(&dir, &[&upstream], "");
    std::fs::remove_file(dir.join("hither.toml.d/keep.toml")).expect("removable");
    let mut nowhere = Daemon::spawn(dir.clone(), command(&dir).env_remove("STATE_DIRECTORY"));
    assert!(nowhere.log().contains("nothing is kept over a reboot"), "{}", nowhere.log());
    assert_eq!(ends(&nowhere.ask("a.example")), [1]);
    stop(&mut nowhere);
    // As systemd says it, several of them.
    let both = format!("{}:/nonexistent", dir.join("state").display());
    let systemd = Daemon::spawn(dir.clone(), command(&dir).env("STATE_DIRECTORY", both));
    says(&systemd, "1 sets of addresses are restored");
    assert_eq!(ends(&systemd.ask("a.example")), [9]);
}

#[test]
fn a_place_that_cannot_be_written_is_told_once_and_service_goes_on() {
    let upstream = good(&[1]);
    let dir = directory();
    std::fs::write(dir.join("file"), "").expect("written");
    let mut all = Vec::new();
    for (state, why) in [("/proc/hither", "cannot create '/proc/hither'"), ("file/below", "Not a directory")]
    {
        let state = if state.starts_with('/') { PathBuf::from(state) } else { dir.join(state) };
        let more = format!("state_dir = {:?}\n[cache]\nsave = \"1s\"\n", state.display().to_string());
        let mut daemon = start(&dir, &upstream, &more);
        daemon.ask("a.example");
        assert!(says(&daemon, "the cache is not saved: ").contains(why), "{}", daemon.log());
        assert_eq!(ends(&daemon.ask("b.example")), [1]);
        stop(&mut daemon);
        assert_eq!(daemon.log().matches("the cache is not saved").count(), 1, "{}", daemon.log());
        all.push(daemon);
    }
}

#[test]
fn a_full_or_read_only_disk_leaves_what_was_saved_before() {
    let dir = directory();
    let state = dir.join("state");
    std::fs::create_dir_all(&state).expect("a directory");
    let sh =
        |line: String| Command::new("sh").args(["-c", &line]).status().is_ok_and(|status| status.success());
    let place = state.display();
    let alone = unshare(CloneFlags::CLONE_NEWNS).is_ok()
        && sh("mount --make-rprivate /".to_owned())
        && sh(format!("mount -t tmpfs -o size=12k none {place}"));
    if !alone {
        return skip("a_full_or_read_only_disk_leaves_what_was_saved_before", "needs root and namespaces");
    }
    let upstream = good(&[1]);
    let mut daemon = start(&dir, &upstream, "[cache]\nsave = \"1s\"\n");
    daemon.ask("a.example");
    daemon.until("it is saved", |_| state.join("cache").exists());
    for n in 0..500 {
        daemon.ask(&format!("n{n}.example"));
    }
    says(&daemon, "cache.new': No space left on device");
    daemon.until("half a file is gone", |_| !state.join("cache.new").exists());
    let kept = saved(&state.join("cache")).len();
    assert!((1..500).contains(&kept), "{kept}");
    assert!(sh(format!("mount -o remount,ro {place}")));
    assert_eq!(ends(&daemon.ask("b.example")), [1]);
    says(&daemon, "cache.new': Read-only file system");
    assert!(sh(format!("mount -o remount,rw,size=1m {place}")));
    says(&daemon, "sets of addresses are saved in");
    stop(&mut daemon);
    assert!(saved(&state.join("cache")).len() >= 501);
    assert!(sh(format!("umount {place}")));
}

#[test]
fn a_kill_leaves_what_was_saved_before_it() {
    let upstream = good(&[1]);
    let dir = directory();
    let path = dir.join("state/cache");
    let mut daemon = start(&dir, &upstream, "[cache]\nsave = \"1s\"\n");
    daemon.ask("a.example");
    daemon.until("it is saved", |_| path.exists());
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    configure(&dir, &upstream, "[cache]\nsave = \"1h\"\n");
    daemon.signal(Signal::SIGHUP);
    says(&daemon, "the configuration is reloaded");
    daemon.ask("b.example");
    daemon.process.kill().expect("it runs");
    daemon.process.wait().expect("a child");
    // What it would have left amid saving.
    std::fs::write(dir.join("state/cache.new"), "half of").expect("written");
    forget(&dir);
    let asked = upstream.count();
    let mut next = start(&dir, &upstream, "");
    says(&next, "1 sets of addresses are restored");
    assert_eq!((ends(&next.ask("a.example")), upstream.count()), (vec![1], asked));
    // Where the table itself is still there it is better than any file.
    next.process.kill().expect("it runs");
    next.process.wait().expect("a child");
    let last = start(&dir, &upstream, "");
    assert!(last.log().contains("is taken over: about 1 entries") && !last.log().contains("restored"));
}

#[test]
fn what_others_said_than_are_asked_now_is_not_restored() {
    let (first, second, other) = (good(&[1]), good(&[1]), good(&[2]));
    let dir = directory();
    let mut daemon = start(&dir, &first, &format!("[[upstream]]\naddress = \"{}\"\n", second.address));
    daemon.ask("a.example");
    stop(&mut daemon);
    // A network comes up piece by piece: some of them will do.
    let mut daemon = start(&dir, &second, "");
    says(&daemon, "1 sets of addresses are restored");
    stop(&mut daemon);
    let daemon = start(&dir, &other, "");
    says(&daemon, "0 sets of addresses are restored; 0 had run out, 1 were left out");
    assert_eq!(ends(&daemon.ask("a.example")), [2]);
}

#[test]
fn what_is_flushed_does_not_come_back() {
    let upstream = good(&[1]);
    let dir = directory();
    let path = write(&dir, [set("a.example", 9), set("b.example", 9)].into_iter());
    let mut daemon = start(&dir, &upstream, "");
    says(&daemon, "2 sets of addresses are restored");
    assert!(daemon.ctl(&["flush", "a.example"]).status.success());
    daemon.until("it is gone from the file", |_| saved(&path).len() == 1);
    daemon.process.kill().expect("it runs");
    daemon.process.wait().expect("a child");
    forget(&dir);
    let next = start(&dir, &upstream, "");
    says(&next, "1 sets of addresses are restored");
    assert_eq!([ends(&next.ask("a.example")), ends(&next.ask("b.example"))], [[1], [9]]);
}

#[test]
fn what_is_answered_here_or_asked_elsewhere_since_is_not_restored() {
    let (usual, corp) = (good(&[1]), good(&[2]));
    let dir = directory();
    let domain = |upstream: &Upstream| {
        format!("[[domain]]\nnames = [\"corp.example\"]\nupstreams = [\"{}\"]\n", upstream.address)
    };
    let names = ["a.corp.example", "b.example", "ads.example", "corp.test"];
    let mut before = start(&dir, &usual, &domain(&corp));
    for name in names {
        before.ask(name);
    }
    stop(&mut before);
    let more = "[[block]]\nnames = [\"ads.example\"]\n";
    let mut after = start(&dir, &usual, &(domain(&corp) + more));
    says(&after, "3 sets of addresses are restored; 0 had run out, 1 were left out");
    assert_eq!(ends(&after.ask("a.corp.example")), [2]);
    let blocked = after.ask("ads.example");
    assert_eq!(Message::read(&blocked).expect("readable").header().rcode(), Rcode::NXDOMAIN);
    assert_eq!((usual.count(), corp.count()), (3, 1), "none of that was asked again");
    stop(&mut after);
    let last = start(&dir, &usual, more);
    says(&last, "2 sets of addresses are restored; 0 had run out, 1 were left out");
    assert_eq!(ends(&last.ask("a.corp.example")), [1], "where it is asked without its domain");
}

#[test]
fn only_time_that_has_passed_for_certain_is_believed() {
    let dir = directory();
    let Some(library) = preloaded(&dir, "tests/hostile/clocks.c") else {
        return skip("only_time_that_has_passed_for_certain_is_believed", "there is no C compiler");
    };
    let file = dir.join("offsets");
    let ahead = |seconds: i64| {
        std::fs::write(dir.join("new"), format!("{seconds} 0\n")).expect("written");
        std::fs::rename(dir.join("new"), &file).expect("renamed");
    };
    let upstream = silent();
    let path = write(&dir, [set("a.example", 9), Set { left_ms: 60_000, ..set("b.example", 9) }].into_iter());
    let octets = std::fs::read(&path).expect("readable");
    let boot = |seconds: i64| {
        ahead(seconds);
        std::fs::write(&path, &octets).expect("written");
        let _ = std::fs::remove_dir_all(dir.join("run"));
        configure(&dir, &upstream, SHORT);
        Daemon::spawn(dir.clone(), command(&dir).env("LD_PRELOAD", &library).env("CLOCKS", &file))
    };
    // Dropped in the end, since the directory goes with a daemon.
    let mut all = Vec::new();
    let mut end = |mut daemon: Daemon| {
        daemon.process.kill().expect("it runs");
        daemon.process.wait().expect("a child");
        all.push(daemon);
    };
    let behind = boot(-3_600);
    says(&behind, "by the clock it will be written in 3");
    end(behind);
    let old = boot(2 * 86_400);
    says(&old, " s old, more than 86400 s");
    end(old);
    let later = boot(600);
    says(&later, "1 sets of addresses are restored; 1 had run out, 0 were left out");
    let (_, ttls) = told(&later.ask("a.example"));
    assert!(ttls.iter().all(|ttl| (2_900..=2_995).contains(ttl)), "{ttls:?}");
    end(later);
    let over = boot(3_600);
    says(&over, "0 sets of addresses are restored; 2 had run out, 0 were left out");
    end(over);
    // A clock that is right only later: a little does not matter, more does.
    let set_later = boot(0);
    says(&set_later, "2 sets of addresses are restored");
    ahead(3);
    set_later.until("the clock is looked at again", |d| {
        d.json(&["stats"])["queries"].as_u64() >= Some(3) || {
            d.ask("a.example");
            false
        }
    });
    assert_eq!(ends(&set_later.ask("a.example")), [9]);
    ahead(1_800);
    set_later.until("it is not believed any more", |d| {
        d.ask("a.example");
        d.log().contains("the clock was set forward by 1800 s")
            || d.log().contains("the clock was set forward by 1799 s")
    });
    for name in ["a.example", "b.example"] {
        let reply = set_later.ask(name);
        assert_eq!(Message::read(&reply).expect("readable").header().rcode(), Rcode::SERVFAIL, "{name}");
    }
    end(set_later);
}

#[test]
fn a_hundred_thousand_names_come_back_while_queries_go_on() {
    const NAMES: usize = 100_000;
    let upstream = good(&[1]);
    let dir = directory();
    let path = write(&dir, (0..NAMES).map(|n| set(&format!("n{n}.example"), 9)));
    let table = "[table]\nentries = 200000\n";
    // Told to end at once it leaves the file as it is, or as large.
    let mut short = start(&dir, &upstream, table);
    stop(&mut short);
    assert_eq!(saved(&path).len(), NAMES);
    let mut daemon = start(&dir, &upstream, table);
    let mut first = Vec::new();
    while !daemon.log().contains("sets of addresses are restored") {
        // The last ones of the file are asked for before their turn.
        let name = format!("n{}.example", NAMES - 1 - first.len() % 1000);
        first.push((name.clone(), ends(&daemon.ask(&name))));
    }
    // Names, not datagrams: one may have been sent twice.
    let names = || {
        upstream
            .seen
            .lock()
            .expect("no panic")
            .iter()
            .map(|query| asked_name(query))
            .collect::<BTreeSet<_>>()
            .len()
    };
    let asked = names();
    println!("{} queries meanwhile, {asked} of them asked upstream", first.len());
    assert!(first.iter().all(|(_, ends)| *ends == [1] || *ends == [9]));
    for (name, ends) in first.iter().take(1000) {
        let now = support::ends(&daemon.ask(name));
        assert!(now == *ends || *ends == [9], "{name}: what was found out since was replaced");
    }
    assert_eq!(names(), asked, "all of them are known");
    let said = daemon.log();
    let line = said.lines().find(|line| line.contains("are restored")).expect("there").to_owned();
    assert!(
        line.contains(&format!("{} sets", NAMES - asked)) && line.contains(&format!("{asked} were left out")),
        "{line}"
    );
    assert!(daemon.ctl(&["verify"]).status.success());
    stop(&mut daemon);
    assert!(saved(&path).len() > NAMES - 10);
    // A table with less room takes what fits.
    let small = start(&dir, &upstream, "[table]\nentries = 1000\n");
    let line = says(&small, "the rest is not: the table is full");
    assert!(small.json(&["status"])["entries"].as_u64() <= Some(1000), "{line}");
    assert_eq!(ends(&small.ask("new.example")), [1]);
}

/// The name that a query asks for, in lower case.
fn asked_name(query: &[u8]) -> String {
    let question = Message::read(query).expect("our own query").question().expect("one question");
    question.name.to_lower().to_string()
}
