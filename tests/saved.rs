//! The real daemon restores its cache after a reboot: a stop, an empty runtime directory and a start.
//! It restores no more than was saved, keeps no TTL longer, and ignores an unusable file.
#![allow(clippy::print_stdout)] // A count is printed.

#[path = "saved/files.rs"]
mod files;
#[path = "saved/rejected.rs"]
mod rejected;
mod support;
#[path = "saved/versions.rs"]
mod versions;

use hither_saved::{Header, Reader, Set, Writer};
use hither_table::{Address, Agreement, Family, Key, Snapshot, Trust};
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

/// A short deadline, for tests with a silent upstream.
const SHORT: &str = "[round]\ndeadline = \"300ms\"\n";

fn good(ends: &'static [u8]) -> Upstream {
    Upstream::start(move |query, _| vec![(0, answer(query, ends, 300))])
}

fn silent() -> Upstream {
    Upstream::start(|_, _| Vec::new())
}

/// Writes the configuration. The state directory is `state` beside the runtime directory, unless `more`
/// names another.
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

/// Stops a daemon cleanly and empties its runtime directory, as a reboot does.
fn stop(daemon: &mut Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.process.wait().expect("a child").code(), Some(0), "{}", daemon.log());
    forget(&daemon.dir);
}

/// Waits until the log has a line with `text`, and returns the line.
fn says(daemon: &Daemon, text: &str) -> String {
    daemon.until(text, |daemon| daemon.log().contains(text));
    let log = daemon.log();
    log.lines().find(|line| line.contains(text)).expect("it is there").to_owned()
}

fn forget(dir: &Path) {
    std::fs::remove_dir_all(dir.join("run")).expect("removable");
    std::fs::create_dir_all(dir.join("run")).expect("a directory");
}

/// All addresses of a reply, and the TTLs of its records without OPT.
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
    #[allow(clippy::disallowed_methods)] // The daemon reads the same clock.
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
        agreement: Agreement::default(),
        addresses: vec![Address::new(address, 0, 0)],
        chains: vec![Vec::new()],
    }
}

/// Writes a cache file as a daemon would have saved it now.
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
fn restored_answers_are_reported_as_restored_until_they_are_renewed() {
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
fn a_wrong_certificate_is_last_after_a_reboot_and_after_a_crash() {
    let dir = directory();
    let address = |end, sources, trust| Address {
        sources,
        trust,
        ..Address::new(Ipv4Addr::new(198, 18, 0, end).into(), 0, Address::TRUSTED)
    };
    let judged = Set {
        sorted: true,
        agreement: Agreement { answered: 3, disputes: Agreement::CERTIFICATES, dissenters: 0 },
        addresses: vec![address(8, 2, Trust::Verified), address(7, 1, Trust::OtherName)],
        ..set("kept.example.", 7)
    };
    write(&dir, std::iter::once(judged));
    let upstream = good(&[1]);
    let check = |daemon: &Daemon, when: &str| {
        daemon.until(when, |d| d.ctl(&["lookup", "kept.example"]).status.success());
        let entry = daemon.json(&["lookup", "kept.example"]);
        let shown = entry["addresses"].as_array().expect("addresses").iter();
        let shown: Vec<_> = shown.map(|own| (own["trust"].clone(), own["sources"].clone())).collect();
        assert_eq!(
            shown,
            [("verified".into(), 2.into()), ("other_name".into(), 1.into())],
            "{when}: {entry}"
        );
        assert_eq!((&entry["answered"], &entry["disputed"]), (&3.into(), &true.into()), "{when}: {entry}");
        assert_eq!(ends(&daemon.ask("kept.example")), [8, 7], "{when}");
    };
    let mut daemon = start(&dir, &upstream, "");
    check(&daemon, "it is restored");
    daemon.process.kill().expect("it runs");
    daemon.process.wait().expect("it ends");
    check(&start(&dir, &upstream, ""), "the table is taken over");
}

#[test]
fn known_addresses_are_answered_after_a_reboot_without_an_upstream_and_not_for_longer() {
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
    assert_eq!(names.len(), 3, "neither the denial nor an entry with few seconds left: {names:?}");
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
    assert_eq!(owners(&reply), owners(&chain), "the chain is the saved one");
    assert!(version(&after) > known);
    assert!(after.ctl(&["verify"]).status.success());
    assert_eq!(upstream.count(), asked);
    for gone in ["x.example", "s.example"] {
        let reply = after.ask(gone);
        assert_eq!(Message::read(&reply).expect("readable").header().rcode(), Rcode::SERVFAIL, "{gone}");
    }
}

#[test]
fn an_unusable_cache_file_is_ignored_and_logged() {
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
        ("it has version 1, known is 3", &|| with(&|o| o[8] = 1)),
        ("of the other byte order", &|| with(&|o| o[8..16].chunks_exact_mut(4).for_each(<[u8]>::reverse))),
        ("the checksum of its header is wrong", &|| with(&|o| o[20] ^= 1)),
        ("its checksum is wrong", &|| with(&|o| o[105] ^= 1)),
        ("set 0 in it is wrong", &|| with(&|o| o[102] = 0xff)),
        ("something follows its end", &|| with(&|o| o.push(0))),
        ("its mode 0620 lets group or others write it", &|| {
            with(&|_| ());
            mode(0o620);
        }),
        ("expected 1073741824 at most", &|| {
            let file = std::fs::File::create(&path).expect("made");
            file.set_len(3 << 30).expect("a hole");
        }),
        ("it is a symbolic link", &|| std::os::unix::fs::symlink(&other, &path).expect("made")),
        ("it is not a regular file", &|| {
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
        }),
    ];
    // Dropped at the end, since dropping a daemon removes its directory.
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
        // The file is replaced by the answers of this run.
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
        says(&start(&dir, &upstream, ""), "it belongs to user 12345; expected root or our own user");
    } else {
        skip("a file of another user in a_file_that_is_not_what_it_should_be_is_passed_over", "needs root");
    }
}

#[test]
fn a_hundred_thousand_names_are_restored_while_queries_are_answered() {
    const NAMES: usize = 100_000;
    let upstream = good(&[1]);
    let dir = directory();
    let path = write(&dir, (0..NAMES).map(|n| set(&format!("n{n}.example"), 9)));
    let table = "[table]\nentries = 200000\n";
    // When it is stopped at once, the file keeps its content or its size.
    let mut short = start(&dir, &upstream, table);
    stop(&mut short);
    assert_eq!(saved(&path).len(), NAMES);
    let mut daemon = start(&dir, &upstream, table);
    let mut first = Vec::new();
    while !daemon.log().contains("sets of addresses are restored") {
        // Clients ask for the last names of the file before those are restored.
        let name = format!("n{}.example", NAMES - 1 - first.len() % 1000);
        first.push((name.clone(), ends(&daemon.ask(&name))));
    }
    // Names are counted, not datagrams, since a query may be retransmitted.
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
        assert!(now == *ends || *ends == [9], "{name}: a newer answer was replaced");
    }
    assert_eq!(names(), asked, "all of them are known");
    let said = daemon.log();
    let line = said.lines().find(|line| line.contains("are restored")).expect("there").to_owned();
    // The filter of questions with newer data may hit a question too many, in one run of fifty.
    let adds_up = |more: usize| {
        let (sets, left_out) = (NAMES - asked - more, asked + more);
        line.contains(&format!("{sets} sets")) && line.contains(&format!("{left_out} were left out"))
    };
    assert!((0..=2).any(adds_up), "{line}");
    assert!(daemon.ctl(&["verify"]).status.success());
    stop(&mut daemon);
    assert!(saved(&path).len() > NAMES - 10);
    // A smaller table takes as many as fit.
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
