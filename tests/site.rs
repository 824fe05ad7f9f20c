//! The companion `hither-site` as a process, with a real Valkey or Redis server: what it writes, what it
//! offers, and what it does when the engine fails. The daemon is played: a table and a socket. The modules
//! test faults of the engine (`faults`), engines that lie (`hostile`), and who may share at all (`trust`).

#[path = "../src/secure/tests/sessions/support.rs"]
#[allow(dead_code)] // Sessions in memory are for the tests of their crate.
mod authorities;
#[path = "site/engine.rs"]
mod engine;
#[path = "site/faults.rs"]
mod faults;
#[path = "site/host.rs"]
mod host;
#[path = "site/hostile.rs"]
mod hostile;
mod support;
#[path = "site/trust.rs"]
mod trust;

use engine::Engine;
use hither_control::{SiteMessage, SiteReply};
use hither_table::{Negative, Rtt, State};
use host::{Host, addresses};

#[test]
fn what_one_host_has_learned_another_one_is_offered_at_start_by_subscription_and_when_it_asks() {
    let Some(engine) = Engine::start(&[]) else { return };
    let mut first = Host::start("first", &engine.config(""));
    first.until_up();
    first.publish("www.example.com", &[1, 2], 60);
    first.until_written(1);
    assert_eq!(engine.cli(&["EXISTS", "{hither}:a:www.example.com."]), "1");
    let left: u64 = engine.cli(&["PTTL", "{hither}:a:www.example.com."]).parse().expect("a number");
    assert!(left > 50_000 && left <= 60_000, "{left}");

    let mut second = Host::start("second", &engine.config(""));
    let offer = second.next_offer();
    assert_eq!(
        (offer.name.as_str(), offer.rtype.as_str(), offer.host.as_str()),
        ("www.example.com.", "A", "first")
    );
    assert_eq!(addresses(&offer), [1, 2]);
    let now_ms = hither_net::clock::now().as_ms();
    assert!(offer.times.expire_ms > now_ms + 50_000 && offer.times.expire_ms <= now_ms + 60_000);
    assert!(offer.times.asked_ms <= offer.times.learned_ms && offer.times.learned_ms <= now_ms);

    // By subscription: names that this host has asked for.
    second.publish("both.example.com", &[7], 60);
    second.until_written(1);
    first.publish("other.example.com", &[3], 60);
    first.publish("both.example.com", &[8], 60);
    let offer = second.next_offer();
    assert_eq!((offer.name.as_str(), addresses(&offer)), ("both.example.com.", vec![8]));

    second.send(&SiteReply::Ask { ask: 17, name: "other.example.com.".into(), rtype: "A".into() });
    let Some(set) = second.answer(17) else { panic!("the engine has it") };
    assert_eq!(addresses(&set), [3]);
    second.send(&SiteReply::Ask { ask: 18, name: "other.example.com.".into(), rtype: "AAAA".into() });
    assert_eq!(second.answer(18), None);
    let report = second.report(|report| report.counts.asks == 2);
    assert_eq!((report.counts.found, report.state.as_str(), report.host.as_str()), (1, "up", "second"));
}

#[test]
fn only_complete_public_sets_of_this_host_are_written_each_once() {
    let Some(engine) = Engine::start(&[]) else { return };
    let mut host = Host::start("a", &engine.config("domains = [\"example.com\"]\n"));
    host.until_up();
    host.put("first.example.com", |set| set.state = State::First);
    host.put("partial.example.com", |set| set.state = State::Partial);
    host.put("short.example.com", |set| set.lifetime_s = 4);
    host.put("withheld.example.com", |set| {
        set.addresses.clear();
        set.negative = Some(Negative::Withheld);
    });
    host.put("private.example.com", |set| set.addresses[0].address = [10, 0, 0, 1].into());
    host.publish("www.example.net", &[1], 60);
    host.publish("printer", &[1], 60);
    host.put("nodata.example.com", |set| {
        set.addresses.clear();
        set.negative = Some(Negative::NoData);
    });
    let expire_ms = hither_net::clock::now().as_ms() + 60_000;
    let version = host.put("good.example.com", |set| set.expire_ms = expire_ms);
    host.until_written(2);
    // A new order of the same set is a matter of this host.
    host.put("good.example.com", |set| {
        (set.set_version, set.round) = (version, version);
        set.expire_ms = expire_ms;
        set.sorted = true;
        set.addresses[0].rtt = Rtt::Micros(7);
    });
    host.publish("last.example.com", &[9], 60);
    host.until_written(3);
    let mut keys = engine.keys();
    keys.sort();
    assert_eq!(
        keys,
        ["{hither}:a:good.example.com.", "{hither}:a:last.example.com.", "{hither}:a:nodata.example.com."]
    );
    let commands = engine.calls();
    assert_eq!((commands("set"), commands("publish")), (3, 3), "two operations for each set");
}

#[test]
fn an_idle_companion_is_small_and_never_wakes() {
    let Some(engine) = Engine::start(&[]) else { return };
    let mut host = Host::start("idle", &engine.config(""));
    host.until_up();
    for n in 0..2000 {
        host.publish(&format!("n{n}.example.com"), &[1, 2, 3, 4], 300);
    }
    // The survey may write one of them before its change is read.
    host.report(|report| report.counts.written >= 2000);
    host.rest();
    let before = host.switches();
    std::thread::sleep(std::time::Duration::from_secs(8));
    assert_eq!(host.switches(), before, "no thread has run");
    let kib = host.memory_kib();
    assert!(kib <= 16 * 1024, "{kib} KiB");
}

#[test]
fn the_engine_is_read_in_portions_that_the_daemon_accepts() {
    let Some(engine) = Engine::start(&[]) else { return };
    let mut first = Host::start("first", &engine.config("rate = 100000\n"));
    first.until_up();
    const NAMES: usize = 3000;
    for n in 0..NAMES {
        first.publish(&format!("n{n}.example.com"), &[1], 300);
        if n % 500 == 499 {
            first.report(|report| report.counts.written > n as u64);
        }
    }
    let mut second = Host::start_reading("second", &engine.config(""), false);
    second.until_log("connected with the daemon");
    second.read();
    let mut names = std::collections::BTreeSet::new();
    while names.len() < NAMES {
        match second.next() {
            SiteMessage::Offers { sets } => names.extend(sets.into_iter().map(|set| set.name)),
            SiteMessage::Hello { .. } | SiteMessage::State(_) | SiteMessage::Answer { .. } => {}
        }
    }
    assert!(second.memory_kib() <= 16 * 1024, "{} KiB", second.memory_kib());
}

#[test]
fn sets_from_before_the_start_are_written_without_replacing_what_is_there() {
    let Some(engine) = Engine::start(&[]) else { return };
    let mut host = Host::prepare("late");
    host.publish("old.example.com", &[1], 600);
    host.publish("known.example.com", &[1], 600);
    engine.cli(&["SET", "{hither}:a:known.example.com.", "newer"]);
    host.run(&engine.config(""));
    host.until_written(1);
    assert_eq!(engine.cli(&["EXISTS", "{hither}:a:old.example.com."]), "1");
    assert_eq!(engine.cli(&["GET", "{hither}:a:known.example.com."]), "newer");
    assert_eq!(engine.calls()("publish"), 0, "they are no news");
    assert_eq!(host.report(|report| report.counts.refused.malformed == 1).state, "up");
}
