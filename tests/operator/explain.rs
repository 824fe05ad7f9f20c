//! What `explain` says of a name: its versions, what each upstream did, why each address stands where it
//! stands, and what the sorter says, whether it is honest or not.

use super::good;
use super::support::{Daemon, HELD, Upstream, answer, compose, directory};
use hither_control::{
    AddressProbes, CertificateReport, Explain, Explained, MESSAGE_MAX, Order, OrderedAddress, ProbeReport,
    SORTER_SOCKET, SorterMessage, SorterReply, VERSION, Verdict, decode, encode,
};
use hither_net::seqpacket::Connection;
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Owner, flags};
use hither_wire::message::Section;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const NAME: &str = "www.example.com";

fn explained(daemon: &Daemon, name: &str) -> Value {
    daemon.json(&["explain", name, "A"])
}

fn page(daemon: &Daemon, name: &str) -> String {
    String::from_utf8(daemon.ctl(&["explain", name, "A"]).stdout).expect("text")
}

fn words<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    list.as_array().into_iter().flatten().filter_map(|one| one[key].as_str()).collect()
}

/// A process that speaks as the sorter does.
struct Sorter(Connection);

impl Sorter {
    fn new(daemon: &Daemon) -> Sorter {
        let path = daemon.dir.join("run").join(SORTER_SOCKET);
        let sorter = Sorter(Connection::connect(&path, Some(super::support::PATIENCE)).expect("connected"));
        sorter.say(&SorterMessage::Hello { version: VERSION, lacks: Vec::new() });
        daemon.until("it is the sorter", |d| d.json(&["status"])["sorter"]["connected"] == true);
        sorter
    }

    fn say(&self, message: &SorterMessage) {
        self.0.send(&encode(message).expect("short")).expect("sent");
    }

    fn hear(&self) -> SorterReply {
        let mut buffer = vec![0; MESSAGE_MAX];
        decode(self.0.receive(&mut buffer).expect("a message")).expect("readable")
    }

    /// Applies an order of addresses 198.18.0.n, each as slow as it is far behind.
    fn order(&self, daemon: &Daemon, ends: &[u8]) {
        let address = |(at, end): (usize, &u8)| OrderedAddress {
            address: IpAddr::from([198, 18, 0, *end]),
            rtt_us: Some(1000 * (at as u32 + 1)),
            reachable: Some(true),
            verdict: Verdict::Unknown,
        };
        self.say(&SorterMessage::Order(Order {
            generation: daemon.json(&["status"])["table_generation"].as_u64().expect("a number"),
            name: format!("{NAME}."),
            rtype: "A".to_owned(),
            set_version: daemon.json(&["lookup", NAME])["set_version"].as_u64().expect("a number"),
            addresses: ends.iter().enumerate().map(address).collect(),
        }));
        assert!(matches!(self.hear(), SorterReply::Applied { .. }));
    }

    /// What `explain` prints while the sorter answers its request with what `answer` makes of it.
    fn printed(
        &self,
        daemon: &Daemon,
        args: &[&str],
        answer: impl FnOnce(&Explain) -> Vec<Vec<u8>>,
    ) -> String {
        let child = begin(daemon, args);
        let SorterReply::Explain(request) = self.hear() else { panic!("another message") };
        answer(&request).iter().for_each(|octets| drop(self.0.send(octets)));
        String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("text")
    }

    fn explained(&self, daemon: &Daemon, answer: impl FnOnce(&Explain) -> Vec<Vec<u8>>) -> Value {
        serde_json::from_str(&self.printed(daemon, &["--json"], answer)).expect("JSON")
    }
}

/// Starts `explain` without waiting for its end.
fn begin(daemon: &Daemon, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherctl"));
    command.arg("--runtime-dir").arg(daemon.dir.join("run")).args(args).args(["explain", NAME, "A"]);
    command.stdout(Stdio::piped()).spawn().expect("started")
}

/// An upstream with a forged response first, and with a private address beside others.
fn doubtful() -> Upstream {
    Upstream::start(|query, is_tcp| {
        let mut forged = answer(query, &[9], 300);
        forged[0] ^= 0xff;
        let good = compose(query, Rcode::NOERROR, 0, |out| {
            for address in [[198, 18, 0, 1], [192, 168, 0, 1], [198, 18, 0, 2]] {
                assert!(out.record(Section::Answer, Owner::At(12), Rtype::A, 300, &address));
            }
        });
        if is_tcp { vec![(0, good)] } else { vec![(0, forged), (0, good)] }
    })
}

#[test]
fn the_whole_story_of_a_name_is_told() {
    let first = doubtful();
    let second = Upstream::start(|query, _| vec![(HELD, answer(query, &[2, 3], 300))]);
    let third = Upstream::start(|query, _| vec![(HELD, compose(query, Rcode::SERVFAIL, 0, |_| {}))]);
    let daemon = Daemon::start(&[&first, &second, &third], "[round]\ndeadline = \"20s\"\n");
    daemon.ask(NAME);
    let live = explained(&daemon, NAME);
    assert_eq!(
        (&live["round"]["end"], &live["round"]["lasted_us"]),
        (&"live".into(), &Value::Null),
        "{live}"
    );
    assert!(live["next"]["deadline_in_ms"].as_u64().is_some_and(|left| left <= 20_000), "{live}");
    second.release();
    daemon
        .until("its address joins", |d| explained(d, NAME)["addresses"].as_array().map(Vec::len) == Some(3));
    third.release();
    daemon.until("the round ends", |d| explained(d, NAME)["round"]["end"] == "complete");
    let known = explained(&daemon, NAME);
    assert_eq!(
        (&known["name"], &known["type"], &known["source"], &known["sorter"]),
        (&"www.example.com.".into(), &"A".into(), &"cache".into(), &"not connected".into())
    );
    let causes = words(&known["versions"], "cause");
    assert_eq!(causes, ["first_answer", "merged", "ended"], "{known}");
    assert_eq!(known["versions_earlier"], 0);
    let attempts = known["round"]["attempts"].as_array().expect("a list");
    let refused: Vec<_> = attempts.iter().flat_map(|attempt| words(&attempt["refused"], "why")).collect();
    assert!(refused.contains(&"other_id") && refused.contains(&"private"), "{known}");
    let private = attempts.iter().flat_map(|a| a["refused"].as_array().expect("a list"));
    assert!(private.clone().any(|refusal| refusal["address"] == "192.168.0.1"), "{known}");
    let mut published: Vec<_> = attempts.iter().filter_map(|attempt| attempt["published"].as_u64()).collect();
    published.sort_unstable();
    let versions: Vec<_> = known["versions"].as_array().expect("a list")[..2].to_vec();
    assert_eq!(published, versions.iter().filter_map(|v| v["version"].as_u64()).collect::<Vec<_>>());
    let addresses = known["addresses"].as_array().expect("a list");
    let ends: Vec<_> = words(&known["addresses"], "address");
    assert_eq!(ends, ["198.18.0.1", "198.18.0.2", "198.18.0.3"], "{known}");
    assert!(
        addresses[2]["why"].as_str().is_some_and(|why| why.contains("one later upstream alone")),
        "{known}"
    );
    assert_eq!(addresses[1]["given_by"].as_array().map(Vec::len), Some(2), "{known}");
    assert_eq!(
        (&addresses[0]["probes"], &addresses[0]["trust"]),
        (&Value::from(Vec::<u8>::new()), &"unknown".into())
    );
    assert!(known["next"]["expiry_in_ms"].as_u64().is_some_and(|left| left <= 300_000), "{known}");
    let text = page(&daemon, NAME);
    for line in [
        "www.example.com. A: from the cache, round ",
        "the first answer of a round, more to come, expires ",
        "a further upstream gave more addresses",
        "the round ended after every upstream had responded or failed, complete, expires ",
        "1 response with another id",
        "1 address of private networks, for a public name: 192.168.0.1",
        "addresses (the sorter is not connected)",
        "queries refresh it in",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    // Nothing was asked of any upstream.
    let asked = (first.count(), second.count());
    explained(&daemon, NAME);
    assert_eq!((first.count(), second.count()), asked);
}

#[test]
fn a_late_response_and_a_flush_are_in_the_story() {
    let first = good();
    let second = Upstream::start(|query, _| vec![(HELD, answer(query, &[2, 3], 300))]);
    let daemon = Daemon::start(&[&first, &second], "[round]\ndeadline = \"20s\"\n");
    daemon.ask(NAME);
    daemon.until("both are asked", |_| second.count() == 1);
    assert!(daemon.ctl(&["flush", NAME]).status.success());
    let gone = explained(&daemon, NAME);
    assert_eq!(words(&gone["versions"], "cause"), ["first_answer", "flushed"], "{gone}");
    assert_eq!((&gone["source"], &gone["set"]), (&Value::Null, &Value::Null));
    assert_eq!(gone["round"]["end"], "superseded");
    second.release();
    daemon.until("it is noted", |d| page(d, NAME).contains("1 response after the end of the attempt"));
    let text = page(&daemon, NAME);
    assert!(text.starts_with("www.example.com. A: a query begins a round\n"), "{text}");
    assert!(text.contains("flushed by an operator\n"), "{text}");
    assert_eq!(daemon.json(&["stats"])["late_responses_dropped"], 1);
}

#[test]
fn what_an_honest_sorter_says_stands_with_each_address() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1, 2, 3], 300))]);
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask(NAME);
    daemon.until("the round ends", |d| explained(d, NAME)["round"]["end"] == "complete");
    let sorter = Sorter::new(&daemon);
    sorter.order(&daemon, &[3, 1, 2]);
    let certificate = CertificateReport {
        verdict: "other_name".to_owned(),
        names: vec!["evil\u{1b}[31m.example".to_owned()],
        not_after: Some("2027-01-01 00:00:00 UTC".to_owned()),
        renewal_in_ms: Some(86_000),
        ..CertificateReport::default()
    };
    let probe = ProbeReport {
        method: "tcp:443".to_owned(),
        sent: 16,
        answered: 15,
        result: "silent".to_owned(),
        rtt_us: Some(1234),
        ago_ms: 3000,
    };
    let known = AddressProbes {
        probes: vec![probe],
        samples: 5,
        next_in_ms: Some(4000),
        certificate: Some(certificate),
        ..AddressProbes::of([198, 18, 0, 3].into())
    };
    let honest = |request: &Explain| {
        let ends: Vec<String> = request.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(ends, ["198.18.0.3", "198.18.0.1", "198.18.0.2"], "in the order of the set");
        let said = Explained { id: request.id, addresses: vec![known.clone()] };
        vec![encode(&SorterMessage::Explained(said)).expect("short")]
    };
    let said = sorter.explained(&daemon, honest);
    assert_eq!(said["sorter"], "answered", "{said}");
    assert_eq!(words(&said["versions"], "cause").last(), Some(&"ordered"), "{said}");
    let first = &said["addresses"][0];
    assert_eq!(first["probes"][0]["answered"], 15, "{said}");
    assert_eq!((&first["samples"], &first["certificate"]["verdict"]), (&5.into(), &"other_name".into()));
    assert!(first["why"].as_str().is_some_and(|why| why.ends_with("the quickest of these")), "{said}");
    assert_eq!(
        (&said["next"]["sample_in_ms"], &said["next"]["certificate_in_ms"]),
        (&4000.into(), &86_000.into())
    );
    // The same as text: the owner of a certificate cannot control the terminal.
    let text = sorter.printed(&daemon, &[], honest);
    assert!(text.contains(r"certificate other name, for evil\u{1b}[31m.example, until 2027"), "{text}");
    assert!(
        text.contains("tcp:443  15 of 16 answered, the latest after 1.234 ms; 3.0 s ago: silent"),
        "{text}"
    );
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

#[test]
fn a_sorter_that_lies_or_is_stuck_neither_misleads_nor_delays() {
    // The requests to the sorter are long, so that few of them fill its socket.
    let ends: Vec<u8> = (1..=60).collect();
    let upstream = Upstream::start(move |query, _| vec![(0, answer(query, &ends, 300))]);
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask(NAME);
    let sorter = Sorter::new(&daemon);
    let lies = |request: &Explain, id: u64, address: [u8; 4]| {
        let addresses = vec![AddressProbes { samples: 7, ..AddressProbes::of(address.into()) }; 60];
        encode(&SorterMessage::Explained(Explained { id: request.id.wrapping_add(id), addresses }))
            .expect("short")
    };
    // Addresses that are not in the set.
    let said = sorter.explained(&daemon, |request| vec![lies(request, 0, [192, 0, 2, 9])]);
    assert_eq!(
        (&said["sorter"], &said["addresses"][0]["samples"]),
        (&"answered".into(), &0.into()),
        "{said}"
    );
    // The answer to another request, which nobody waits for.
    let said = sorter.explained(&daemon, |request| vec![lies(request, 1, [198, 18, 0, 1])]);
    assert_eq!(
        (&said["sorter"], &said["addresses"][0]["samples"]),
        (&"no answer within 300 ms".into(), &0.into())
    );
    // Nothing at all: clients are served meanwhile.
    let said = sorter.explained(&daemon, |_| {
        daemon.ask("other.example.com");
        Vec::new()
    });
    assert_eq!(said["sorter"], "no answer within 300 ms", "{said}");
    // A request that it never reads, until the socket takes no more.
    while explained(&daemon, NAME)["sorter"] == "no answer within 300 ms"
        && daemon.json(&["status"])["sorter"]["connected"] == true
    {
        let all: Vec<Child> = (0..8).map(|_| begin(&daemon, &[])).collect();
        all.into_iter().for_each(|ctl| assert!(ctl.wait_with_output().expect("it ends").status.success()));
    }
    assert_eq!(explained(&daemon, NAME)["sorter"], "not asked");
    // Junk ends its connection.
    drop(sorter);
    let sorter = Sorter::new(&daemon);
    let said = sorter.explained(&daemon, |_| vec![b"{\"explained\":{\"id\":1,\"more\":2}}".to_vec()]);
    assert_eq!(said["sorter"], "no answer within 300 ms", "{said}");
    daemon.until("it is disconnected", |d| d.json(&["status"])["sorter"]["connected"] == false);
    assert_eq!(explained(&daemon, NAME)["sorter"], "not connected");
}

#[test]
fn versions_that_are_not_shown_are_counted() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1, 2], 300))]);
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask(NAME);
    daemon.until("the round ends", |d| d.json(&["lookup", NAME])["state"] == "complete");
    let before = words(&explained(&daemon, NAME)["versions"], "cause").len();
    let sorter = Sorter::new(&daemon);
    (0..100).for_each(|turn| sorter.order(&daemon, if turn % 2 == 0 { &[1, 2] } else { &[2, 1] }));
    drop(sorter);
    daemon.until("it is gone", |d| d.json(&["status"])["sorter"]["connected"] == false);
    let known = explained(&daemon, NAME);
    let kept = known["versions"].as_array().expect("a list").len();
    assert_eq!((kept, known["versions_earlier"].as_u64()), (64, Some((before + 100 - 64) as u64)), "{known}");
    assert_eq!(known["versions_earlier_or_more"], false);
    let line = format!("    {} earlier versions are not shown\n", before + 100 - 64);
    assert!(page(&daemon, NAME).contains(&line), "{}", page(&daemon, NAME));
}

#[test]
fn a_set_of_255_addresses_is_explained_and_what_is_left_out_is_counted() {
    let upstream = Upstream::start(|query, is_tcp| {
        let ends: Vec<u8> = (1..=255).collect();
        let cut = || compose(query, Rcode::NOERROR, flags::TC, |_| {});
        vec![(0, if is_tcp { answer(query, &ends, 300) } else { cut() })]
    });
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask(NAME);
    daemon.until("it is in the table", |d| d.json(&["lookup", NAME])["state"] == "complete");
    let known = explained(&daemon, NAME);
    let listed = known["addresses"].as_array().expect("a list").len() as u64;
    assert_eq!(
        (listed + known["addresses_more"].as_u64().expect("a number"), listed >= 64),
        (255, true),
        "{known}"
    );
    assert!(known["versions"][0]["addresses_more"].as_u64().is_some_and(|more| more > 0), "{known}");
    let outcomes = words(&known["round"]["attempts"], "outcome");
    assert_eq!(outcomes, ["truncated", "answer"], "{known}");
    assert!(page(&daemon, NAME).contains(" more addresses\n"), "{}", page(&daemon, NAME));
}

fn restart(daemon: &mut Daemon, signal: Signal) -> Daemon {
    daemon.signal(signal);
    daemon.process.wait().expect("a child");
    let dir = daemon.dir.clone();
    if signal == Signal::SIGTERM {
        // As after a reboot.
        let _ = std::fs::remove_dir_all(dir.join("run"));
        std::fs::create_dir_all(dir.join("run")).expect("a directory");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    Daemon::spawn(dir, &mut command)
}

#[test]
fn a_set_that_was_restored_or_taken_over_is_said_to_be_so() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1, 2], 300))]);
    let dir = directory();
    let state = "[sort]\nenabled = false\n[round]\ndeadline = \"1s\"\n";
    let text = format!("state_dir = {:?}\n", dir.join("state").display().to_string());
    let configure = |dir: &Path| {
        Daemon::configure(dir, &[&upstream], state);
        std::fs::create_dir_all(dir.join("hither.toml.d")).expect("a directory");
        std::fs::write(dir.join("hither.toml.d/keep.toml"), &text).expect("written");
    };
    configure(&dir);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    let mut first = Daemon::spawn(dir, &mut command);
    first.ask(NAME);
    first.until("the round ends", |d| d.json(&["lookup", NAME])["state"] == "complete");
    let mut second = restart(&mut first, Signal::SIGKILL);
    second.until("the table is taken over", |d| d.json(&["lookup", NAME])["state"] == "complete");
    let known = explained(&second, NAME);
    assert_eq!(words(&known["versions"], "cause"), ["taken_over"], "{known}");
    assert_eq!((&known["source"], &known["versions_earlier_or_more"]), (&"cache".into(), &true.into()));
    assert_eq!(known["round"], Value::Null, "{known}");
    let line = "www.example.com. A: from the cache, a round of the daemon before this one; version ";
    assert!(page(&second, NAME).starts_with(line), "{}", page(&second, NAME));
    let third = restart(&mut second, Signal::SIGTERM);
    third.until("it is restored", |d| d.json(&["lookup", NAME])["state"] == "complete");
    let known = explained(&third, NAME);
    assert_eq!(
        (&known["source"], words(&known["versions"], "cause")),
        (&"restored".into(), vec!["restored"]),
        "{known}"
    );
    assert!(page(&third, NAME).contains("restored from the saved cache"));
}

#[test]
fn local_names_denials_and_failures_have_their_sources() {
    let upstream = Upstream::start(|query, _| {
        let is = |word: &[u8]| query.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
        let rcode = if is(b"broken") { Rcode::SERVFAIL } else { Rcode::NXDOMAIN };
        vec![(0, compose(query, rcode, 0, |_| {}))]
    });
    let dir = directory();
    let hosts = dir.join("hosts");
    std::fs::write(&hosts, "192.0.2.7 nas.example\n").expect("writable");
    let more = format!("[hosts]\nfiles = [{hosts:?}]\n[[block]]\nnames = [\"bad.example\"]\n");
    let daemon = Daemon::start_in(dir, &[&upstream], &more);
    for (name, source, detail) in [
        ("nas.example", "hosts", format!("{}:1", hosts.display())),
        ("x.bad.example", "block", "names of [[block]] 1 in the configuration".to_owned()),
        ("printer.local", "special", "RFC 6762".to_owned()),
    ] {
        // Only one search of a file runs at a time.
        daemon.until("the line is found", |d| explained(d, name)["source_detail"] == detail.as_str());
        let known = explained(&daemon, name);
        assert_eq!(known["source"], source, "{known}");
        assert!(page(&daemon, name).starts_with(&format!("{name}. A: ")), "{}", page(&daemon, name));
    }
    daemon.ask("no.example.com");
    daemon.until("it is denied", |d| d.ctl(&["explain", "no.example.com", "A"]).status.code() == Some(4));
    let denied = explained(&daemon, "no.example.com");
    assert_eq!(
        (&denied["set"]["negative"], words(&denied["versions"], "cause")[0]),
        (&"nxdomain".into(), "denied")
    );
    daemon.ask("broken.example.com");
    let failed = explained(&daemon, "broken.example.com");
    assert_eq!(failed["source"], "failure", "{failed}");
    assert_eq!(words(&failed["round"]["attempts"], "outcome")[0], "servfail", "{failed}");
    assert!(daemon.ctl(&["explain", "broken.example.com"]).status.success());
}

#[test]
fn odd_names_and_types_and_a_missing_daemon_are_reported_in_one_line() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    let said = |words: &[&str]| {
        let done = daemon.ctl(words);
        (done.status.code(), done.stdout.len(), String::from_utf8(done.stderr).expect("text"))
    };
    let (code, printed, text) = said(&["explain", "new.example.com"]);
    assert_eq!((code, printed, text.lines().count()), (Some(3), 0, 1), "{text}");
    assert!(
        text.contains("nothing is known of new.example.com.; 'hitherctl query new.example.com.'"),
        "{text}"
    );
    assert_eq!(upstream.count(), 0, "nothing was asked");
    let (code, _, text) = said(&["explain", NAME, "TXT"]);
    assert!(code == Some(2) && text.contains("expected A or AAAA"), "{text}");
    let long = ["a".repeat(63).as_str(); 5].join(".");
    for name in [long.as_str(), "a..example", "\\300.example", ""] {
        let (code, printed, text) = said(&["explain", name]);
        assert!((code, printed) == (Some(2), 0) && !text.is_empty(), "{name}: {text}");
    }
    let longest = [["a".repeat(63).as_str(); 3].join("."), "b".repeat(61)].join(".");
    for (name, shown) in [
        (r"a\032b\027[2J.example.com", r"a\032b\027[2j.example.com."),
        (r"\255\000.example.com", r"\255\000.example.com."),
        (longest.as_str(), &format!("{longest}.")),
        ("WWW.Example.Com", "www.example.com."),
        ("xn--bcher-kva.example.com", "xn--bcher-kva.example.com."),
    ] {
        daemon.ctl(&["query", name]);
        let known = explained(&daemon, name);
        assert_eq!((known["name"].as_str(), &known["source"]), (Some(shown), &"cache".into()), "{known}");
        let text = page(&daemon, name);
        assert!(text.starts_with(&format!("{shown} A: ")), "{text:?}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }
    let both = String::from_utf8(daemon.ctl(&["--json", "explain", NAME]).stdout).expect("text");
    assert_eq!(both.lines().count(), 1, "nothing is known of the other type: {both}");
    let empty = directory();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherctl"));
    let done = command.arg("--runtime-dir").arg(empty.join("run")).args(["explain", NAME]).output();
    let done = done.expect("started");
    let text = String::from_utf8(done.stderr).expect("text");
    assert!(done.status.code() == Some(1) && text.contains("does it run?"), "{text}");
    std::fs::remove_dir_all(empty).expect("removable");
    // Requests that no hitherctl sends.
    let path = daemon.dir.join("run/control.sock");
    for request in [
        r#"{"explain":{"name":"a..b","rtype":"A"}}"#,
        r#"{"explain":{"name":"a.example","rtype":"TXT"}}"#,
        r#"{"explain":{"name":"a.example"}}"#,
    ] {
        let operator = Connection::connect(&path, Some(super::support::PATIENCE)).expect("connected");
        operator.send(request.as_bytes()).expect("sent");
        let mut buffer = vec![0; MESSAGE_MAX];
        let reply = String::from_utf8_lossy(operator.receive(&mut buffer).expect("a reply")).into_owned();
        assert!(reply.starts_with("{\"error\""), "{reply}");
    }
}
