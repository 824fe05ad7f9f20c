//! What becomes of sets that other hosts have learned: whether they are published, what an operator sees
//! of them, and how long they stay.

use super::support::{Daemon, Upstream, ends, until};
use super::{Companion, SITE, good, set, site, stats};
use hither_control::{OFFERS_MAX, OfferedAddress, OfferedSet, OfferedTimes};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

const NAME: &str = "www.example.com";

/// Source and detail of an answer.
fn source(daemon: &Daemon, name: &str) -> (String, String) {
    let report = daemon.json(&["query", name]);
    let word = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    (word("source"), word("source_detail"))
}

fn from_web1() -> (String, String) {
    ("site".to_owned(), "web1, by 192.0.2.53:53".to_owned())
}

/// Offers sets, and waits until the daemon has judged them.
fn offer(daemon: &Daemon, companion: &Companion, sets: Vec<OfferedSet>) {
    let judged = stats(daemon, "site_offers") + sets.len() as u64;
    companion.offer(sets);
    daemon.until("the sets are judged", |d| stats(d, "site_offers") == judged);
}

#[test]
fn an_offered_set_is_answered_without_an_upstream_and_names_its_host() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], SITE);
    let companion = Companion::with_engine(&daemon, "up");
    offer(&daemon, &companion, vec![set(NAME, 7, 300)]);
    assert_eq!(ends(&daemon.ask(NAME)), [7]);
    assert_eq!(source(&daemon, NAME), from_web1());
    let report = daemon.json(&["query", NAME]);
    assert_eq!((&report["from_cache"], upstream.count()), (&true.into(), 0), "{report}");
    let text = String::from_utf8(daemon.ctl(&["query", NAME]).stdout).expect("text");
    assert!(text.starts_with("NOERROR from the site, host web1, by 192.0.2.53:53, after "), "{text}");

    let explained = daemon.json(&["explain", NAME, "A"]);
    let causes: Vec<&Value> = explained["versions"].as_array().expect("a list").iter().collect();
    assert_eq!(
        (causes.len(), &causes[0]["cause"], &explained["source"]),
        (1, &"shared".into(), &"site".into())
    );
    assert_eq!(explained["source_detail"], "web1, by 192.0.2.53:53");
    let page = String::from_utf8(daemon.ctl(&["explain", NAME, "A"]).stdout).expect("text");
    assert!(page.contains("from the site: host web1, by 192.0.2.53:53"), "{page}");
    assert!(page.contains("another host of the site has learned it"), "{page}");
    assert_eq!((stats(&daemon, "site_published"), stats(&daemon, "site_refused")), (1, 0));
    assert!(stats(&daemon, "site_hits") >= 1);
}

#[test]
fn an_offer_never_replaces_what_this_host_has_learned() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], SITE);
    let companion = Companion::with_engine(&daemon, "up");
    let older = set(NAME, 7, 300);
    assert_eq!(ends(&daemon.ask(NAME)), [1]);
    offer(&daemon, &companion, vec![older, set(NAME, 8, 300)]);
    assert_eq!(stats(&daemon, "site_refused"), 2, "one is older, and the own set is young");
    assert_eq!(ends(&daemon.ask(NAME)), [1]);
    assert!(daemon.ctl(&["flush", NAME]).status.success());
    let before_the_flush = set(NAME, 7, 300);
    let before_the_flush = OfferedSet {
        times: OfferedTimes { asked_ms: before_the_flush.times.asked_ms - 2000, ..before_the_flush.times },
        ..before_the_flush
    };
    offer(&daemon, &companion, vec![before_the_flush]);
    assert_eq!(ends(&daemon.ask(NAME)), [1]);
    assert_eq!(stats(&daemon, "site_published"), 0);
}

#[test]
fn what_is_not_to_be_shared_is_not_taken() {
    let upstream = good();
    let route =
        format!("{SITE}[[domain]]\nnames = [\"corp.example\"]\nupstreams = [\"{}\"]\n", upstream.address);
    let daemon = Daemon::start(&[&upstream], &route);
    let companion = Companion::with_engine(&daemon, "up");
    let private = OfferedAddress { address: [10, 0, 0, 1].into(), chain: 0, trusted: true, sources: 2 };
    let good_set = set(NAME, 7, 300);
    let sets = vec![
        set("printer", 7, 300),
        set("printer.local", 7, 300),
        set("www.corp.example", 7, 300),
        set("localhost", 7, 300),
        OfferedSet { addresses: vec![private], ..good_set.clone() },
        OfferedSet { addresses: Vec::new(), ..good_set.clone() },
        OfferedSet { host: "x".repeat(100), ..good_set.clone() },
        OfferedSet { times: OfferedTimes { expire_ms: 1, ..good_set.times }, ..good_set.clone() },
        OfferedSet {
            times: OfferedTimes { learned_ms: good_set.times.learned_ms + 3_600_000, ..good_set.times },
            ..good_set.clone()
        },
    ];
    let count = sets.len() as u64;
    offer(&daemon, &companion, sets);
    assert_eq!((stats(&daemon, "site_published"), stats(&daemon, "site_refused")), (0, count));
    let errors = stats(&daemon, "control_errors");
    let unreadable = OfferedSet { name: "a..b".to_owned(), ..good_set.clone() };
    companion.offer(vec![unreadable, OfferedSet { rtype: "MX".to_owned(), ..good_set }]);
    daemon.until("they are counted", |d| stats(d, "control_errors") == errors + 2);
    assert_eq!(ends(&daemon.ask(NAME)), [1]);
    assert_eq!(site(&daemon)["connected"], true, "a set that cannot be read is no reason to part");
}

#[test]
fn flush_site_removes_what_came_from_other_hosts_and_nothing_else() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], SITE);
    let companion = Companion::with_engine(&daemon, "up");
    daemon.ask("own.example.com");
    let names: Vec<String> = (0..3).map(|n| format!("n{n}.example.com")).collect();
    let sets: Vec<OfferedSet> = names.iter().map(|name| set(name, 7, 300)).collect();
    offer(&daemon, &companion, sets.clone());
    assert_eq!(daemon.ctl(&["flush", "--site", NAME]).status.code(), Some(2), "both are a contradiction");
    assert_eq!(daemon.json(&["flush", "--site"])["sets"], 3);
    for name in &names {
        assert_eq!(daemon.ctl(&["lookup", name]).status.code(), Some(3), "{name}");
    }
    assert_eq!(source(&daemon, "own.example.com").0, "cache");
    offer(&daemon, &companion, sets);
    assert_eq!(stats(&daemon, "site_refused"), 3, "it was learned before the flush");
    let said = String::from_utf8(daemon.ctl(&["flush", "--site"]).stdout).expect("text");
    assert_eq!(said, "0 sets of other hosts are removed\n");
    // The core's clock has milliseconds here: the next set is newer than the flush.
    let before = stats(&daemon, "site_published");
    until("a set is newer than the flush", || {
        offer(&daemon, &companion, vec![set(NAME, 9, 300)]);
        stats(&daemon, "site_published") > before
    });
    assert_eq!(source(&daemon, NAME), from_web1());
}

#[test]
fn a_companion_that_floods_delays_no_client() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], SITE);
    let companion = Companion::with_engine(&daemon, "up");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                let sets =
                    (0..OFFERS_MAX).map(|at| set(&format!("n{}.example.com", (n * 16 + at) % 5000), 7, 60));
                companion.offer(sets.collect());
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        for n in 0..200 {
            assert_eq!(ends(&daemon.ask(&format!("own{n}.example.com"))), [1]);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(stats(&daemon, "site_published") > 0);
}

fn spawn(dir: &Path, upstream: &Upstream) -> Daemon {
    let state = format!("{SITE}[sort]\nenabled = false\n");
    Daemon::configure(dir, &[upstream], &state);
    std::fs::create_dir_all(dir.join("hither.toml.d")).expect("a directory");
    let text = format!("state_dir = {:?}\n", dir.join("state").display().to_string());
    std::fs::write(dir.join("hither.toml.d/keep.toml"), text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    Daemon::spawn(dir.to_owned(), command.arg("--config").arg(dir.join("hither.toml")))
}

#[test]
fn sets_of_the_site_outlive_a_restart_and_no_reboot() {
    let (dir, upstream) = (super::support::directory(), good());
    let mut first = spawn(&dir, &upstream);
    let companion = Companion::with_engine(&first, "up");
    first.ask("own.example.com");
    offer(&first, &companion, vec![set(NAME, 7, 300)]);
    first.signal(Signal::SIGTERM);
    assert!(first.process.wait().expect("a child").success());

    let mut second = spawn(&dir, &upstream);
    second.until("the table is taken over", |d| d.ctl(&["lookup", NAME]).status.success());
    assert_eq!(source(&second, NAME), ("site".to_owned(), "a host that is no longer known".to_owned()));
    second.signal(Signal::SIGTERM);
    assert!(second.process.wait().expect("a child").success());

    std::fs::remove_dir_all(dir.join("run")).expect("removable");
    std::fs::create_dir_all(dir.join("run")).expect("a directory");
    let third = spawn(&dir, &upstream);
    third.until("the cache is restored", |d| d.ctl(&["lookup", "own.example.com"]).status.success());
    assert_eq!(third.ctl(&["lookup", NAME]).status.code(), Some(3));
    std::mem::forget((first, second));
}
