//! The real daemon with scripted upstreams on loopback, clients over UDP and TCP, and readers in
//! other processes.

#[path = "daemon/local.rs"]
mod local;
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
fn the_first_good_answer_is_sent_at_once_and_the_others_complete_the_set() {
    let upstreams = [good(&[1], 0), good(&[2], HELD), good(&[3], HELD)];
    let daemon = Daemon::start(&upstreams.each_ref(), "[round]\ndeadline = \"60s\"\n");
    assert_eq!(ends(&daemon.ask("www.example")), [1], "the reply does not wait for the others");
    upstreams.iter().for_each(Upstream::release);
    daemon.until("the set is complete", |d| d.json(&["lookup", "www.example"])["state"] == "complete");
    let mut all = ends(&daemon.ask("www.example"));
    assert_eq!(all.first(), Some(&1), "the first answer stays in front");
    all.sort();
    assert_eq!(all, [1, 2, 3]);
    assert_eq!(daemon.json(&["stats"])["rounds_started"], 1, "the second reply comes from the cache");
}

#[test]
fn a_late_response_to_an_older_round_is_counted_and_never_published() {
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
    daemon.until("the late response has come", |d| {
        d.json(&["stats"])["late_responses_dropped"].as_u64() >= Some(1)
    });
    let mut reply = ends(&daemon.ask("seed.example"));
    reply.sort_unstable();
    assert_eq!(reply, [21, 22]);
}

#[test]
fn malformed_and_foreign_datagrams_before_the_right_response_are_ignored() {
    // The question also goes to TCP, where no upstream responds.
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
fn a_reply_has_the_clients_id_and_letter_case_and_fits_its_buffer_size() {
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
    assert_eq!(ids[2], 1, "the reply to the slow query is last: {ids:?}");
    assert_eq!(retried(|| stream.read(&mut [0; 1])).expect("the end"), 0, "then the connection is closed");
}

#[test]
fn every_type_is_forwarded_and_a_denial_keeps_its_soa() {
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
    // The denial was confirmed by one more query in lower case.
    assert_eq!(upstream.count(), 3, "the second of each came from the cache");
    assert_eq!(daemon.ctl(&["lookup", "no.example"]).status.code(), Some(4));
}

#[test]
fn silent_upstreams_give_servfail_at_the_deadline_which_is_cached_and_leave_nothing_open() {
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
        daemon
            .until("all queries are received", |d| d.json(&["stats"])["queries"].as_u64() >= Some(300 * lot));
    }
    let have_ended = |d: &Daemon| {
        let stats = d.json(&["stats"]);
        stats["rounds_live"] == 0 && stats["attempts_outstanding"] == 0
    };
    daemon.until("all rounds have ended", have_ended);
    let began = Instant::now();
    let reply = daemon.ask("silent.example");
    assert_eq!(Message::read(&reply).expect("readable").header().rcode(), Rcode::SERVFAIL);
    // The failure's time begins when the daemon woke up, on a busy machine before it handled this query.
    assert!(began.elapsed() >= Duration::from_millis(150));
    let sent = |d: &Daemon| d.json(&["stats"])["attempts"].as_u64();
    // Every half second the daemon forwards one question to find out whether the upstream is back.
    let is_remembered = |_| {
        let attempts = sent(&daemon);
        daemon.ask("silent.example");
        sent(&daemon) == attempts
    };
    assert!((0..20).any(is_remembered), "a failure is not cached");
    daemon.until("all rounds have ended", have_ended);
    // The pool keeps some sockets for the next queries, including those opened ahead.
    daemon.until("all other sockets are closed", |d| d.descriptors() <= before + 512);
}

#[test]
fn clients_that_are_not_allowed_are_refused_and_malformed_queries_get_their_rcode() {
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
    assert_eq!(ends(&daemon.ask("a.example")), [1], "it still answers");
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

/// Replies to misses come from the socket that received the query, as with one worker.
#[test]
fn several_workers_answer_hits_and_hand_misses_to_the_event_loop() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))]);
    let dir = directory();
    let workers = dir.join("hither.toml.d/workers.toml");
    std::fs::create_dir_all(dir.join("hither.toml.d")).expect("created");
    std::fs::write(&workers, "[listen]\nworkers = 3\n").expect("written");
    let daemon = Daemon::start_in(dir, &[&upstream], "");
    assert!(daemon.log().contains("3 workers answer"), "{}", daemon.log());
    // The kernel spreads many clients over the workers' sockets.
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
    assert_eq!(upstream.count(), 8, "one round per name, whichever worker received the query");
    daemon.until("all is counted", |d| {
        let stats = d.json(&["stats"]);
        stats["queries"].as_u64() == Some(256) && stats["replies"].as_u64() == Some(256)
    });
    let stats = daemon.json(&["stats"]);
    assert!(stats["hits"].as_u64() >= Some(3 * 64), "{stats}");
    // All workers observe a flush and a reload.
    daemon.ctl(&["flush", "n0.example"]);
    for client in &clients {
        client.send(&ask_for("n0.example", Rtype::A, None, 9)).expect("sent");
    }
    for client in &clients {
        retried(|| client.recv(&mut [0; 512])).expect("a reply");
    }
    assert_eq!(upstream.count(), 9, "one more round after the flush");
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
