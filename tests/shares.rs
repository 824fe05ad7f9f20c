//! The real daemon under overload: which queries and connections are evicted, and which are not.

mod support;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::message::Message;
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Daemon, HELD, Upstream, answer, ask_for, frame, framed, retried};

/// An upstream that never answers names that begin with `mute`, and others after `after_ms` milliseconds.
fn upstream(after_ms: u64) -> Upstream {
    Upstream::start(move |query, _| {
        let mute = query[13..17].eq_ignore_ascii_case(b"mute");
        if mute { Vec::new() } else { vec![(after_ms, answer(query, &[1], 300))] }
    })
}

fn code(reply: &[u8]) -> Rcode {
    Message::read(reply).expect("a readable reply").header().rcode()
}

fn live(daemon: &Daemon) -> u64 {
    daemon.json(&["stats"])["rounds_live"].as_u64().unwrap_or(0)
}

#[test]
fn unanswered_names_do_not_keep_other_names_from_being_resolved() {
    let upstream = upstream(0);
    let daemon = Daemon::start(&[&upstream], "[limits]\nrounds = 20\n[round]\ndeadline = \"30s\"\n");
    let one = daemon.client();
    for n in 0..40u16 {
        one.send(&ask_for(&format!("mute{n}.one.test"), Rtype::A, None, n)).expect("sent");
    }
    daemon.until("all rounds are taken", |daemon| live(daemon) == 20);
    for n in 0..10 {
        assert_eq!(code(&daemon.ask(&format!("quick{n}.one.test"))), Rcode::NOERROR);
    }
    // No client has more than one round: the round that has run longer than usual is evicted.
    let clients: Vec<UdpSocket> = (0..40).map(|_| daemon.client()).collect();
    for (n, client) in (0u16..).zip(&clients) {
        client.send(&ask_for(&format!("mute{n}.many.test"), Rtype::A, None, n)).expect("sent");
    }
    daemon.until("all rounds are taken", |daemon| live(daemon) == 20);
    daemon.until("one of them is evicted", |daemon| code(&daemon.ask("quick.many.test")) == Rcode::NOERROR);
    for n in 0..9 {
        assert_eq!(code(&daemon.ask(&format!("quick{n}.many.test"))), Rcode::NOERROR);
    }
}

#[test]
fn attempts_for_unanswered_names_are_evicted_for_other_names() {
    let upstream = upstream(0);
    let daemon = Daemon::start(&[&upstream], "[limits]\nattempts = 20\n[round]\ndeadline = \"30s\"\n");
    let one = daemon.client();
    for n in 0..40u16 {
        one.send(&ask_for(&format!("mute{n}.one.test"), Rtype::A, None, n)).expect("sent");
    }
    daemon.until("all attempts are taken", |daemon| {
        daemon.json(&["stats"])["attempts_outstanding"].as_u64().is_some_and(|attempts| attempts >= 19)
    });
    for n in 0..10 {
        assert_eq!(code(&daemon.ask(&format!("quick{n}.one.test"))), Rcode::NOERROR);
    }
}

#[test]
fn any_number_of_clients_of_one_question_get_its_answer() {
    let upstream = upstream(300);
    let daemon = Daemon::start(&[&upstream], "");
    let clients: Vec<UdpSocket> = (0..6).map(|_| daemon.client()).collect();
    for id in 0..200 {
        for client in &clients {
            client.send(&ask_for("popular.test", Rtype::A, None, id)).expect("sent");
        }
    }
    let mut buffer = [0; 512];
    for client in &clients {
        for _ in 0..200 {
            let len = retried(|| client.recv(&mut buffer)).expect("a reply");
            assert_eq!(code(&buffer[..len]), Rcode::NOERROR);
        }
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_retransmitted_query_gets_one_reply() {
    let upstream = upstream(HELD);
    let daemon = Daemon::start(&[&upstream], "");
    let client = daemon.client();
    for _ in 0..5 {
        client.send(&ask_for("again.test", Rtype::A, None, 7)).expect("sent");
    }
    daemon.until("all are received", |daemon| daemon.json(&["stats"])["queries"].as_u64() == Some(5));
    upstream.release();
    let mut buffer = [0; 512];
    let mut next = || {
        retried(|| client.recv(&mut buffer)).expect("a reply");
        u16::from_be_bytes([buffer[0], buffer[1]])
    };
    assert_eq!(next(), 7);
    // All earlier replies to this client have been sent before this one.
    client.send(&ask_for("localhost", Rtype::A, None, 8)).expect("sent");
    assert_eq!(next(), 8, "the same query gets a second reply");
}

/// Sends queries for new names from one port as fast as possible; returns how many.
fn flood(daemon: &Daemon, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<u32> {
    let (client, stop) = (daemon.client(), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..100 {
                let _ = client.send(&ask_for(&format!("n{sent}.flood.test"), Rtype::A, None, sent as u16));
                sent += 1;
            }
            // On a slow machine a full kernel queue drops the queries of any client.
            std::thread::sleep(Duration::from_millis(4));
        }
        sent
    })
}

/// Asks for a name until there is a reply: the daemon cannot share out the kernel's queue.
fn patiently(daemon: &Daemon, name: &str) -> Rcode {
    let client = daemon.client();
    client.set_read_timeout(Some(Duration::from_millis(500))).expect("an option");
    let (mut buffer, end) = ([0; 512], Instant::now() + support::PATIENCE);
    while Instant::now() < end {
        client.send(&ask_for(name, Rtype::A, None, 1)).expect("sent");
        if let Ok(len) = retried(|| client.recv(&mut buffer)) {
            return code(&buffer[..len]);
        }
    }
    panic!("no reply for {name}");
}

#[test]
fn a_flood_of_one_client_does_not_make_other_clients_fail() {
    is_its_own_misfortune(1);
}

/// One client's queries could also fill the queue between a worker and the event loop.
#[test]
fn with_workers_a_flood_of_one_client_does_not_make_other_clients_fail() {
    is_its_own_misfortune(2);
}

fn is_its_own_misfortune(workers: u32) {
    let upstream = upstream(0);
    // One of two upstreams is silent, so each round lasts long and the slots are soon used.
    let silent = Upstream::start(|_, _| Vec::new());
    let dir = support::directory();
    std::fs::create_dir_all(dir.join("hither.toml.d")).expect("a directory");
    std::fs::write(dir.join("hither.toml.d/more.toml"), format!("[listen]\nworkers = {workers}\n"))
        .expect("written");
    let daemon = Daemon::start_in(dir, &[&upstream, &silent], "[limits]\nrounds = 20\nattempts = 60\n");
    let stop = Arc::new(AtomicBool::new(false));
    let thread = flood(&daemon, &stop);
    daemon.until("the daemon is overloaded", |daemon| {
        daemon.json(&["stats"])["shed_queries"].as_u64().unwrap_or(0) > 1000
    });
    let failed =
        (0..40).filter(|n| patiently(&daemon, &format!("v{n}.other.test")) != Rcode::NOERROR).count();
    stop.store(true, Ordering::Relaxed);
    let sent = thread.join().expect("no panic");
    assert!(failed <= 4, "{failed} of 40 names of another client fail beside {sent} of a flood");
    daemon.until("the overload is over", |daemon| code(&daemon.ask("after.test")) == Rcode::NOERROR);
    for n in 0..40 {
        assert_eq!(code(&daemon.ask(&format!("after{n}.test"))), Rcode::NOERROR);
    }
}

#[test]
fn a_connection_whose_reply_is_under_way_outlives_idle_ones() {
    let upstream = upstream(HELD);
    let daemon = Daemon::start(&[&upstream], "[limits]\ntcp = 8\n[round]\ndeadline = \"60s\"\n");
    // Connections that come when half of the slots are used have a shorter idle timeout.
    let mut others: Vec<TcpStream> = (0..7).map(|_| daemon.tcp()).collect();
    daemon.until("they are accepted", |daemon| daemon.json(&["stats"])["tcp_clients"].as_u64() == Some(7));
    let mut first = daemon.tcp();
    first.write_all(&frame(&ask_for("slow.test", Rtype::A, None, 1))).expect("written");
    daemon.until("it is asked for", |_| upstream.count() == 1);
    others.extend((0..33).map(|_| daemon.tcp()));
    daemon.until("some are closed", |daemon| {
        daemon.json(&["stats"])["tcp_dropped"].as_u64().is_some_and(|dropped| dropped >= 8)
    });
    upstream.release();
    assert_eq!(code(&framed(&mut first).expect("a reply")), Rcode::NOERROR);
    drop(others);
}
