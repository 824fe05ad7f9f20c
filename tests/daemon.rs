//! The real daemon, from outside: scripted upstreams on loopback, clients over UDP and TCP, what
//! another process reads.

mod support;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Owner, flags};
use hither_wire::message::{Message, Section};
use nix::sys::signal::Signal;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};
use support::{
    Daemon, HELD, PATIENCE, Upstream, answer, ask_for, compose, directory, ends, frame, framed, retried,
};

fn good(ends: &'static [u8], after_ms: u64) -> Upstream {
    Upstream::start(move |query, _| vec![(after_ms, answer(query, ends, 300))])
}

#[test]
fn the_first_good_answer_is_told_at_once_and_the_others_complete_the_set() {
    let upstreams = [good(&[1], 0), good(&[2], HELD), good(&[3], HELD)];
    let daemon = Daemon::start(&upstreams.each_ref(), "[round]\ndeadline = \"60s\"\n");
    assert_eq!(ends(&daemon.ask("www.example")), [1], "the others are not waited for");
    upstreams.iter().for_each(Upstream::release);
    daemon.until("the set is complete", |d| d.json(&["lookup", "www.example"])["state"] == "complete");
    assert_eq!(ends(&daemon.ask("www.example")), [1, 2, 3]);
    assert!(upstreams.iter().all(|u| u.count() == 1), "the second reply came from the cache");
}

#[test]
fn an_older_rounds_late_answer_is_counted_and_never_published() {
    let rounds = std::sync::atomic::AtomicUsize::new(0);
    let quick = Upstream::start(move |query, _| {
        let first = rounds.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        vec![(10, if first { answer(query, &[11], 1) } else { answer(query, &[21], 60) })]
    });
    let rounds = std::sync::atomic::AtomicUsize::new(0);
    let slow = Upstream::start(move |query, _| {
        let first = rounds.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        vec![if first { (HELD, answer(query, &[12], 300)) } else { (0, answer(query, &[22], 60)) }]
    });
    let daemon = Daemon::start(&[&quick, &slow], "");
    assert_eq!(ends(&daemon.ask("seed.example")), [11]);
    daemon.until("the first round is over", |d| d.json(&["stats"])["rounds_partial"] == 1);
    daemon.ask("seed.example");
    daemon.until("the second is complete", |d| d.json(&["stats"])["rounds_complete"] == 1);
    slow.release();
    daemon.until("the late answer has come", |d| {
        d.json(&["stats"])["late_responses_dropped"].as_u64() >= Some(1)
    });
    let mut reply = ends(&daemon.ask("seed.example"));
    reply.sort_unstable();
    assert_eq!(reply, [21, 22]);
}

#[test]
fn junk_before_the_right_answer_is_passed_over() {
    // Nobody answers over TCP, where the question goes as well.
    let upstream = Upstream::start(|query, tcp| {
        if tcp {
            return vec![];
        }
        let right = answer(query, &[1], 300);
        let wrong = |at: usize| {
            let mut octets = answer(query, &[66], 300);
            octets[at] ^= 0x15;
            octets
        };
        vec![
            (0, wrong(0)),
            (5, wrong(13)),
            (10, vec![0xff; 40]),
            (15, query.to_vec()),
            (20, right[..30].to_vec()),
            (40, right),
        ]
    });
    let daemon = Daemon::start(&[&upstream], "");
    assert_eq!(ends(&daemon.ask("junk.example")), [1]);
    assert!(daemon.json(&["stats"])["mismatched_responses_dropped"].as_u64() >= Some(4));
}

#[test]
fn a_reply_keeps_what_is_the_clients_and_fits_what_it_takes() {
    let upstream = Upstream::start(|query, tcp| {
        let all: Vec<u8> = (1..=80).collect();
        vec![(
            0,
            if tcp { answer(query, &all, 300) } else { compose(query, Rcode::NOERROR, flags::TC, |_| {}) },
        )]
    });
    let daemon = Daemon::start(&[&upstream], "");
    let query = ask_for("BiG.ExAmPlE", Rtype::A, None, 0xbeef);
    let reply = daemon.exchange(&query);
    let read = Message::read(&reply).expect("readable");
    assert!(reply.len() <= 512 && read.header().tc() && read.edns().is_none());
    assert_eq!(
        (read.header().id, &reply[12..query.len()]),
        (0xbeef, &query[12..]),
        "id and letter case are the client's"
    );
    let reply = daemon.exchange(&ask_for("big.example", Rtype::A, Some(4096), 1));
    assert!(reply.len() <= 1232 && Message::read(&reply).expect("readable").edns().is_some());
    let mut stream = daemon.tcp();
    stream.write_all(&frame(&query)).expect("written");
    assert_eq!(ends(&framed(&mut stream).expect("a reply")).len(), 80);
}

#[test]
fn queries_on_one_connection_are_answered_as_they_become_ready() {
    let upstream =
        Upstream::start(|query, _| vec![(if query[12] == 4 { 300 } else { 0 }, answer(query, &[1], 300))]);
    let daemon = Daemon::start(&[&upstream], "");
    let mut stream = daemon.tcp();
    let queries = [("slow.example", 1), ("fast1.example", 2), ("fast2.example", 3)];
    let octets: Vec<u8> =
        queries.iter().flat_map(|(name, id)| frame(&ask_for(name, Rtype::A, None, *id))).collect();
    for piece in octets.chunks(7) {
        stream.write_all(piece).expect("written");
    }
    stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    let ids: Vec<u8> = (0..3).map(|_| framed(&mut stream).expect("a reply")[1]).collect();
    assert_eq!(ids[2], 1, "the slow one is last: {ids:?}");
    assert_eq!(retried(|| stream.read(&mut [0; 1])).expect("the end"), 0, "then the connection is closed");
}

#[test]
fn every_type_passes_and_a_denial_keeps_its_zone() {
    let upstream = Upstream::start(|query, _| {
        let read = hither_wire::query::Query::read(query).expect("a query");
        vec![(
            0,
            match read.qtype() {
                Rtype(65280) => compose(query, Rcode::NOERROR, 0, |c| {
                    assert!(c.record(Section::Answer, Owner::At(12), Rtype(65280), 300, b"\0\xffany"))
                }),
                _ => compose(query, Rcode::NXDOMAIN, 0, |c| {
                    let rdata = [&b"\x02ns\0\x04host\0"[..], &[0; 16], &60u32.to_be_bytes()].concat();
                    assert!(c.record(
                        Section::Authority,
                        Owner::Wire(b"\x07example\0"),
                        Rtype::SOA,
                        300,
                        &rdata
                    ));
                }),
            },
        )]
    });
    let daemon = Daemon::start(&[&upstream], "");
    for _ in 0..2 {
        let reply = daemon.exchange(&ask_for("t.example", Rtype(65280), Some(1232), 1));
        let read = Message::read(&reply).expect("readable");
        assert_eq!(read.records().next().map(|r| r.rdata), Some(&b"\0\xffany"[..]));
        let reply = daemon.ask("no.example");
        let read = Message::read(&reply).expect("readable");
        let soa = read.records().find_map(|r| r.soa().map(|soa| (soa.minimum, r.ttl)));
        assert_eq!(read.header().rcode(), Rcode::NXDOMAIN);
        assert!(soa.is_some_and(|(minimum, ttl)| minimum == 60 && ttl <= 60), "{soa:?}");
    }
    // The denial was asked once more, in lower case.
    assert_eq!(upstream.count(), 3, "the second of each came from the cache");
    assert_eq!(daemon.ctl(&["lookup", "no.example"]).status.code(), Some(4));
}

#[test]
fn silence_is_servfail_at_the_deadline_then_remembered_and_leaves_nothing_open() {
    let silent = Upstream::start(|_, _| Vec::new());
    let daemon = Daemon::start(&[&silent], "[round]\ndeadline = \"300ms\"\n");
    let before = daemon.descriptors();
    for lot in 1..=3_u64 {
        for n in 0..300 {
            daemon
                .client()
                .send(&ask_for(&format!("n{n}.lot{lot}.example"), Rtype::A, None, 1))
                .expect("sent");
        }
        daemon.until("all have been taken", |d| d.json(&["stats"])["queries"].as_u64() >= Some(300 * lot));
    }
    let have_ended = |d: &Daemon| {
        let stats = d.json(&["stats"]);
        stats["rounds_live"] == 0 && stats["attempts_outstanding"] == 0
    };
    daemon.until("all rounds have ended", have_ended);
    let began = Instant::now();
    let reply = daemon.ask("silent.example");
    assert_eq!(Message::read(&reply).expect("readable").header().rcode(), Rcode::SERVFAIL);
    // Counted from when the daemon woke up, which on a busy machine may be before it came to this query.
    assert!(began.elapsed() >= Duration::from_millis(150));
    let sent = |d: &Daemon| d.json(&["stats"])["attempts"].as_u64();
    // One question every half second is let through, to see whether the upstream is back.
    let is_remembered = |_| {
        let attempts = sent(&daemon);
        daemon.ask("silent.example");
        sent(&daemon) == attempts
    };
    assert!((0..20).any(is_remembered), "a failure is not remembered");
    daemon.until("all rounds have ended", have_ended);
    // Some are kept for the next queries, those opened ahead among them.
    daemon.until("all other sockets are closed", |d| d.descriptors() <= before + 512);
}

#[test]
fn who_may_not_ask_is_refused_and_what_cannot_be_read_gets_its_code() {
    let upstream = good(&[1], 0);
    let daemon = Daemon::start(&[&upstream], "");
    let rcode = |octets: &[u8]| Message::read(&daemon.exchange(octets)).expect("readable").header().rcode();
    let mut two = ask_for("a.example", Rtype::A, None, 1);
    two[5] = 2;
    assert_eq!(rcode(&two), Rcode::FORMERR);
    assert_eq!(rcode(&ask_for("a.example", Rtype::AXFR, None, 1)), Rcode::REFUSED);
    let mut update = ask_for("a.example", Rtype::A, None, 1);
    update[2] = 5 << 3;
    assert_eq!(rcode(&update), Rcode::NOTIMP);
    daemon.until("the broken query is counted", |daemon| daemon.json(&["stats"])["malformed_queries"] == 1);
    let mut random = hither_net::random::Random::new().expect("a seed");
    for n in 0..2000 {
        let octets: Vec<u8> = (0..random.draw() % 120).map(|_| random.draw() as u8).collect();
        daemon.client().send(&octets).unwrap_or_else(|error| panic!("datagram {n}: {error}"));
    }
    assert_eq!(ends(&daemon.ask("a.example")), [1], "after all that it answers");
    let closed = Daemon::start(
        &[&upstream],
        "[cache]\nentries = 10\n[table]\nentries = 100\n[log]\nlevel = \"debug\"\n",
    );
    assert_eq!(ends(&closed.ask("a.example")), [1]);
    let strict = directory();
    Daemon::configure(&strict, &[&upstream], "");
    let text = std::fs::read_to_string(strict.join("hither.toml")).expect("readable");
    std::fs::write(
        strict.join("hither.toml"),
        text.replace("[listen]", "[listen]\nallow = [\"127.0.0.99\"]"),
    )
    .expect("writable");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(strict.join("hither.toml"));
    let strict = Daemon::spawn(strict, &mut command);
    let reply = strict.ask("a.example");
    assert_eq!(Message::read(&reply).expect("readable").header().rcode(), Rcode::REFUSED);
    strict.until("the refusal is counted", |strict| strict.json(&["stats"])["refused_clients"] == 1);
}

#[test]
fn a_damaged_table_is_replaced_and_the_log_says_what_was_wrong() {
    let upstream = good(&[1], 0);
    let dir = directory();
    std::fs::write(dir.join("run/hosts"), [0x5a; 10_000]).expect("writable");
    let daemon = Daemon::start_in(dir, &[&upstream], "");
    assert!(
        daemon.log().contains(
            "is replaced by a new one: not a table of this version of hither: its first octets are others"
        ),
        "{}",
        daemon.log()
    );
    assert_eq!(ends(&daemon.ask("a.example")), [1]);
    assert!(daemon.ctl(&["verify"]).status.success());
}

#[test]
fn a_reload_with_another_size_keeps_the_entries_and_readers_follow() {
    let upstream = good(&[1, 2], 0);
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    daemon.ask("kept.example");
    let before = daemon.json(&["lookup", "kept.example"]);
    let size = || std::fs::metadata(daemon.dir.join("run/hosts")).expect("there").len();
    let small = size();
    Daemon::configure(&daemon.dir, &[&upstream], "[sort]\nenabled = false\n[table]\nentries = 200000\n");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("takes the place of the old one");
    daemon.wait_for("is taken over: 1 entries, 0 dropped");
    assert!(size() > 2 * small);
    let after = daemon.json(&["lookup", "kept.example"]);
    assert_eq!((&after["version"], &after["addresses"]), (&before["version"], &before["addresses"]));
    assert_eq!(ends(&daemon.ask("kept.example")), [1, 2]);
    assert_eq!(upstream.count(), 1);
    daemon.ask("new.example");
    assert!(daemon.json(&["lookup", "new.example"])["version"].as_u64() > before["version"].as_u64());
    assert!(daemon.ctl(&["verify"]).status.success());
}

#[test]
fn a_kill_loses_neither_entries_nor_the_growth_of_versions() {
    let upstream = good(&[1, 2], 0);
    let dir = directory();
    let mut daemon = Daemon::start_in(dir.clone(), &[&upstream], "");
    daemon.ask("kept.example");
    let version = daemon.json(&["lookup", "kept.example"])["version"].as_u64().expect("there");
    daemon.process.kill().expect("running");
    daemon.process.wait().expect("a child");
    assert_eq!(
        daemon.json(&["lookup", "kept.example"])["version"].as_u64(),
        Some(version),
        "readable without a daemon"
    );
    let next = Daemon::start_in(dir, &[&upstream], "");
    assert!(next.log().contains("is taken over: about 1 entries"), "{}", next.log());
    assert_eq!(ends(&next.ask("kept.example")), [1, 2]);
    assert_eq!(upstream.count(), 1, "from what the predecessor left");
    assert!(next.ctl(&["flush"]).status.success());
    next.ask("kept.example");
    assert!(next.json(&["lookup", "kept.example"])["version"].as_u64() > Some(version));
}

#[test]
fn a_reload_takes_a_right_configuration_and_refuses_a_wrong_one() {
    let (first, second) = (good(&[1], 0), good(&[2], 0));
    let mut daemon = Daemon::start(&[&first], "");
    assert_eq!(ends(&daemon.ask("a.example")), [1]);
    std::fs::write(daemon.dir.join("hither.toml"), "[round]\nfrist = 2\n").expect("writable");
    daemon.signal(Signal::SIGHUP);
    let line = daemon.wait_for("stays in force");
    assert!(line.contains("hither.toml:2:1") && line.contains("'first'"), "{line}");
    assert_eq!(ends(&daemon.ask("b.example")), [1]);
    Daemon::configure(&daemon.dir, &[&second], "");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("is reloaded");
    assert_eq!(ends(&daemon.ask("c.example")), [2]);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.process.wait().expect("a child").code(), Some(0));
}

#[test]
fn a_stopped_daemon_does_not_stop_its_readers() {
    let upstream = good(&[1], 0);
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask("a.example");
    daemon.signal(Signal::SIGSTOP);
    for args in [&["lookup", "a.example"][..], &["dump"], &["verify"], &["stats"]] {
        assert!(daemon.ctl(args).status.success(), "{args:?}");
    }
    let status = daemon.ctl(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&status.stderr).contains("does not answer in time"));
    daemon.signal(Signal::SIGCONT);
    assert!(daemon.ctl(&["status"]).status.success());
}

#[test]
fn garbage_at_the_local_sockets_is_an_error_and_nothing_more() {
    use hither_net::seqpacket::Connection;
    let upstream = good(&[1], 0);
    let daemon = Daemon::start(&[&upstream], "");
    for socket in ["run/control.sock", "run/sorter.sock"] {
        for octets in [&b"\0"[..], b"{}", b"[[[[", &[0xff; 3000]] {
            let near = Connection::connect(&daemon.dir.join(socket), Some(PATIENCE)).expect("connected");
            near.send(octets).expect("sent");
            let mut buffer = vec![0; 70_000];
            // An error in words, or the end of the connection.
            while !near.receive(&mut buffer).expect("no hang").is_empty() {}
        }
    }
    daemon.until("each is counted", |d| d.json(&["stats"])["control_errors"] == 8);
    assert_eq!(ends(&daemon.ask("a.example")), [1]);
}

#[test]
fn an_order_for_an_outdated_set_is_refused_and_counted() {
    use hither_control::{Order, OrderedAddress, SorterMessage, SorterReply, VERSION, decode, encode};
    let upstream = good(&[1, 2], 0);
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask("a.example");
    let entry = daemon.json(&["lookup", "a.example"]);
    let generation = daemon.json(&["status"])["table_generation"].as_u64().expect("there");
    let near =
        hither_net::seqpacket::Connection::connect(&daemon.dir.join("run/sorter.sock"), Some(PATIENCE))
            .expect("connected");
    near.send(&encode(&SorterMessage::Hello { version: VERSION, lacks: Vec::new() }).expect("short"))
        .expect("sent");
    let order = |set_version: u64, last: &[u8]| {
        let address = |n: &u8| OrderedAddress {
            address: [198, 18, 0, *n].into(),
            rtt_us: Some(u32::from(*n)),
            reachable: Some(true),
        };
        let addresses = last.iter().map(address).collect();
        let order =
            Order { generation, name: "A.Example.".into(), rtype: "A".into(), set_version, addresses };
        near.send(&encode(&SorterMessage::Order(order)).expect("short")).expect("sent");
        let mut buffer = vec![0; 65_536];
        decode::<SorterReply>(near.receive(&mut buffer).expect("an answer")).expect("readable")
    };
    let current = entry["set_version"].as_u64().expect("there");
    assert!(
        matches!(order(current - 1, &[2, 1]), SorterReply::Rejected { set_version: Some(v), .. } if v == current)
    );
    for wrong in [&[1][..], &[1, 1], &[1, 3], &[1, 2, 3], &[]] {
        assert!(matches!(order(current, wrong), SorterReply::Rejected { .. }), "{wrong:?}");
    }
    assert_eq!(ends(&daemon.ask("a.example")), [1, 2]);
    assert!(matches!(order(current, &[2, 1]), SorterReply::Applied { .. }));
    assert_eq!(ends(&daemon.ask("a.example")), [2, 1]);
    let stats = daemon.json(&["stats"]);
    assert_eq!((&stats["orders_applied"], &stats["orders_rejected"]), (&1.into(), &6.into()));
}

/// With several workers everything is as with one; replies to misses come from the socket that was asked.
#[test]
fn several_workers_answer_from_the_cache_and_hand_over_the_rest() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))]);
    let dir = directory();
    let workers = dir.join("hither.toml.d/workers.toml");
    std::fs::create_dir_all(dir.join("hither.toml.d")).expect("created");
    std::fs::write(&workers, "[listen]\nworkers = 3\n").expect("written");
    let daemon = Daemon::start_in(dir, &[&upstream], "");
    assert!(daemon.log().contains("3 workers answer"), "{}", daemon.log());
    // Many clients: the kernel spreads them over the workers' sockets.
    let clients: Vec<std::net::UdpSocket> = (0..64).map(|_| daemon.client()).collect();
    for turn in 0..4_u16 {
        for (n, client) in clients.iter().enumerate() {
            client.send(&ask_for(&format!("n{}.example", n % 8), Rtype::A, None, turn)).expect("sent");
        }
        for client in &clients {
            let mut buffer = [0; 512];
            let len = retried(|| client.recv(&mut buffer)).expect("a reply");
            assert_eq!((ends(&buffer[..len]), buffer[..2] == turn.to_be_bytes()), (vec![1], true));
        }
    }
    assert_eq!(upstream.count(), 8, "one round a name, whoever took the query");
    daemon.until("all is counted", |d| {
        let stats = d.json(&["stats"]);
        stats["queries"].as_u64() == Some(256) && stats["replies"].as_u64() == Some(256)
    });
    let stats = daemon.json(&["stats"]);
    assert!(stats["hits"].as_u64() >= Some(3 * 64), "{stats}");
    // A flush and a reload are seen by all of them.
    daemon.ctl(&["flush", "n0.example"]);
    for client in &clients {
        client.send(&ask_for("n0.example", Rtype::A, None, 9)).expect("sent");
    }
    for client in &clients {
        retried(|| client.recv(&mut [0; 512])).expect("a reply");
    }
    assert_eq!(upstream.count(), 9, "it was asked for again, once");
    std::fs::write(&workers, "[listen]\nworkers = 3\nallow = [\"192.0.2.0/24\"]\n").expect("written");
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.wait_for("the configuration is reloaded");
    for client in &clients {
        client.send(&ask_for("n0.example", Rtype::A, None, 9)).expect("sent");
        let mut buffer = [0; 512];
        let len = retried(|| client.recv(&mut buffer)).expect("a reply");
        assert_eq!(Message::read(&buffer[..len]).expect("readable").header().rcode(), Rcode::REFUSED);
    }
}
