//! Questions that the site is asked before upstreams are, and companions that do not answer as they should.

use super::support::{Daemon, PATIENCE, Upstream, answer, ask_for, ends, retried};
use super::{Companion, good, set, stats};
use hither_control::{OfferedSet, OfferedTimes, SiteMessage, SiteReply};
use hither_wire::codes::Rtype;
use serde_json::Value;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Asks the site, and waits for a long time.
const ASKS: &str = "[site]\nengine = \"valkey://127.0.0.1:1\"\nask = true\nwait = \"100ms\"\n";
/// How long a question waits.
const WAIT: Duration = Duration::from_millis(100);

/// Runs a test whose companion has to answer within [`WAIT`]. `None`: this machine was too slow, and the test
/// begins again.
fn in_time(test: impl Fn(&Upstream, &Daemon, &Companion) -> Option<()>) {
    let end = Instant::now() + PATIENCE;
    let is_done = |_: &u32| {
        let upstream = good();
        let daemon = Daemon::start(&[&upstream], ASKS);
        let companion = Companion::with_engine(&daemon, "up");
        assert!(Instant::now() < end, "the companion never answers in time");
        test(&upstream, &daemon, &companion).is_some()
    };
    assert!((0..).find(is_done).is_some());
}

/// As [`asked`], if the companion was in time.
fn answered(
    daemon: &Daemon,
    companion: &Companion,
    name: &str,
    then: impl FnOnce(u64, &str),
) -> Option<Vec<u8>> {
    let got = asked(daemon, companion, name, then);
    (outcome(daemon, name) != "unanswered").then_some(got)
}

/// Asks for a name while `companion` does something with the question that it gets. Returns the addresses
/// of the reply.
fn asked(daemon: &Daemon, companion: &Companion, name: &str, then: impl FnOnce(u64, &str)) -> Vec<u8> {
    let client = begin(daemon, name);
    let Some(SiteReply::Ask { ask, name: asked, rtype }) = companion.hear() else { panic!("no question") };
    assert_eq!((asked.as_str(), rtype.as_str()), (format!("{name}.").as_str(), "A"));
    then(ask, name);
    received(&client)
}

/// A client that has sent a query.
fn begin(daemon: &Daemon, name: &str) -> UdpSocket {
    let client = daemon.client();
    client.send(&ask_for(name, Rtype::A, Some(1232), 7)).expect("sent");
    client
}

/// The addresses of the reply that a client gets.
fn received(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let len = retried(|| client.recv(&mut buffer)).expect("a reply");
    ends(&buffer[..len])
}

fn reply(companion: &Companion, ask: u64, set: Option<OfferedSet>) {
    companion.say(&SiteMessage::Answer { ask, set: set.map(Box::new) });
}

/// What came of the question to the site in the latest round of a name.
fn outcome(daemon: &Daemon, name: &str) -> Value {
    daemon.json(&["explain", name, "A"])["round"]["site"]["outcome"].clone()
}

#[test]
fn the_site_answers_before_an_upstream_is_asked() {
    in_time(|upstream, daemon, companion| {
        let name = "www.example.com";
        let got =
            answered(daemon, companion, name, |ask, name| reply(companion, ask, Some(set(name, 7, 300))))?;
        assert_eq!((got, upstream.count()), (vec![7], 0));
        assert_eq!(outcome(daemon, name), "answer");
        assert_eq!((stats(daemon, "site_asks"), stats(daemon, "site_answers")), (1, 1));
        let page = String::from_utf8(daemon.ctl(&["explain", name, "A"]).stdout).expect("text");
        assert!(page.contains("the site                 asked at "), "{page}");
        Some(())
    });
}

#[test]
fn a_query_that_the_site_has_answered_names_the_host() {
    in_time(|_, daemon, companion| {
        let run = daemon.dir.join("run");
        let mut query = Command::new(env!("CARGO_BIN_EXE_hitherctl"));
        query.args(["--json", "query", "ftp.example.com", "--runtime-dir"]).arg(run).stdout(Stdio::piped());
        let query = query.spawn().expect("started");
        let Some(SiteReply::Ask { ask, .. }) = companion.hear() else { panic!("no question") };
        reply(companion, ask, Some(set("ftp.example.com", 8, 300)));
        let output = query.wait_with_output().expect("ended");
        (outcome(daemon, "ftp.example.com") != "unanswered").then_some(())?;
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((&report["source"], &report["from_cache"]), (&"site".into(), &false.into()), "{report}");
        assert_eq!(report["source_detail"], "web1, by 192.0.2.53:53");
        Some(())
    });
}

#[test]
fn upstreams_are_asked_when_the_site_knows_nothing_or_lies() {
    in_time(|upstream, daemon, companion| {
        let got = answered(daemon, companion, "a.example.com", |ask, _| reply(companion, ask, None))?;
        assert_eq!((got, outcome(daemon, "a.example.com")), (vec![1], "nothing".into()));
        // The set of another name is not the answer, whatever it is good for.
        let got = asked(daemon, companion, "b.example.com", |ask, _| {
            reply(companion, ask, Some(set("other.example.com", 7, 300)));
        });
        assert_eq!(got, [1]);
        let got = answered(daemon, companion, "c.example.com", |ask, name| {
            let spent = set(name, 7, 300);
            let times = OfferedTimes { expire_ms: spent.times.asked_ms, ..spent.times };
            reply(companion, ask, Some(OfferedSet { times, ..spent }));
        })?;
        assert_eq!((got, outcome(daemon, "c.example.com")), (vec![1], "refused".into()));
        let got = asked(daemon, companion, "d.example.com", |ask, name| {
            reply(companion, ask, Some(OfferedSet { name: "A..b".to_owned(), ..set(name, 7, 300) }));
        });
        assert_eq!((got, upstream.count()), (vec![1], 4));
        // Answers to questions that nobody has asked.
        reply(companion, u64::MAX, Some(set("e.example.com", 9, 300)));
        reply(companion, 0, None);
        daemon.until("the set is judged", |d| stats(d, "site_published") >= 1);
        assert_eq!(ends(&daemon.ask("a.example.com")), [1]);
        Some(())
    });
}

#[test]
fn a_silent_site_costs_three_waits() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], ASKS);
    let companion = Companion::with_engine(&daemon, "up");
    for n in 0..3 {
        let name = format!("n{n}.example.com");
        let begun = Instant::now();
        assert_eq!(asked(&daemon, &companion, &name, |_, _| {}), [1]);
        let took = begun.elapsed();
        assert!(took >= WAIT && took < PATIENCE, "{took:?}");
        assert_eq!(outcome(&daemon, &name), "unanswered");
    }
    assert_eq!(stats(&daemon, "site_unanswered"), 3);
    for n in 3..9 {
        let name = format!("n{n}.example.com");
        assert_eq!(ends(&daemon.ask(&name)), [1]);
        assert_eq!(outcome(&daemon, &name), Value::Null, "nobody waits any more");
    }
}

#[test]
fn a_companion_that_disconnects_lets_those_who_wait_go_on() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], ASKS);
    let companion = Companion::with_engine(&daemon, "up");
    let client = begin(&daemon, "www.example.com");
    assert!(matches!(companion.hear(), Some(SiteReply::Ask { .. })));
    drop(companion);
    assert_eq!(received(&client), [1]);
    // Garbage in the middle of a question is the same.
    let companion = Companion::with_engine(&daemon, "up");
    let got = asked(&daemon, &companion, "ftp.example.com", |_, _| {
        companion.0.send(b"{\"answer\":").expect("sent");
    });
    assert_eq!((got, companion.hear()), (vec![1], None));
}

#[test]
fn nobody_waits_for_a_companion_whose_engine_is_away_or_that_takes_nothing_more() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))]);
    let daemon = Daemon::start(&[&upstream], ASKS);
    let companion = Companion::with_engine(&daemon, "connecting");
    assert_eq!(ends(&daemon.ask("a.example.com")), [1]);
    companion.report("up");
    daemon.until("it is asked", |d| {
        d.json(&["query", "b.example.com"]);
        d.ctl(&["flush", "b.example.com"]);
        stats(d, "site_asks") > 0
    });
    companion.report("refused");
    daemon.until("it is not ready", |d| super::site(d)["state"] == "refused");
    let asks = stats(&daemon, "site_asks");
    assert_eq!(ends(&daemon.ask("c.example.com")), [1]);
    assert_eq!(stats(&daemon, "site_asks"), asks);
}
