//! The real daemon under hostile conditions: broken and odd messages, too many connections,
//! upstreams that disappear, loops, clocks that jump; names for local use and forgery in modules.

#[path = "hostile/forgery.rs"]
mod forgery;
#[path = "hostile/local_names.rs"]
mod local_names;
#[path = "hostile/messages.rs"]
mod messages;
mod support;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::{Message, Section};
use hither_wire::query::Query;
use nix::sys::signal::Signal;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::{
    Daemon, PATIENCE, Upstream, answer, ask_for, compose, directory, ends, frame, framed, preloaded, retried,
    skip,
};

fn good(ends: &'static [u8]) -> Upstream {
    Upstream::start(move |query, _| vec![(0, answer(query, ends, 300))])
}

/// The RCODE of a reply, its addresses, and its extended error (RFC 8914).
fn told(reply: &[u8]) -> (Rcode, Vec<String>, Option<u16>) {
    let message = Message::read(reply).expect("a readable reply");
    let addresses = message.records().filter_map(|r| r.address()).map(|a| a.to_string()).collect();
    let option = message.edns().and_then(|edns| edns.options().find(|(code, _)| *code == 15));
    let ede = option.map(|(_, data)| u16::from_be_bytes([data[0], data[1]]));
    (message.header().rcode(), addresses, ede)
}

#[test]
fn upstreams_without_edns_get_queries_without_it() {
    let formerr = Upstream::start(|query, _| {
        let edns = Query::read(query).expect("a query").edns().is_some();
        vec![(0, if edns { compose(query, Rcode::FORMERR, 0, |_| {}) } else { answer(query, &[1], 300) })]
    });
    let daemon = Daemon::start(&[&formerr], "");
    assert_eq!(ends(&daemon.ask("a.example")), [1]);
    assert_eq!(ends(&daemon.ask("b.example")), [1]);
    assert_eq!(formerr.count(), 3, "it is remembered");
    let drops = Upstream::start(|query, _| {
        let edns = Query::read(query).expect("a query").edns().is_some();
        if edns { vec![] } else { vec![(0, answer(query, &[2], 300))] }
    });
    let daemon = Daemon::start(&[&drops], "");
    assert_eq!(ends(&daemon.ask("a.example")), [2], "an upstream that drops queries with EDNS");
}

#[test]
fn broken_and_odd_messages_get_the_replies_of_the_rfcs_and_leave_nothing_open() {
    let upstream = good(&[1]);
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask("warm.example");
    let (descriptors, all) = (daemon.descriptors(), messages::all());
    assert!(all.len() >= 300, "{} messages", all.len());
    let mut wrong = Vec::new();
    let socket = daemon.client();
    for message in &all {
        socket.send(&message.octets).expect("sent");
        // The reply to a second query, with another id, shows that no more replies to the first will come.
        let last = ask_for("warm.example", Rtype::A, None, 0xfffe);
        socket.send(&last).expect("sent");
        let mut replies = Vec::new();
        loop {
            let mut buffer = [0; 65_535];
            let len = retried(|| socket.recv(&mut buffer)).expect("the daemon lives");
            if buffer[..2] == [0xff, 0xfe] {
                break;
            }
            replies.push(buffer[..len].to_vec());
        }
        if message.asks_upstream && replies.is_empty() {
            let mut buffer = [0; 65_535];
            let len = retried(|| socket.recv(&mut buffer)).expect("a reply");
            replies.push(buffer[..len].to_vec());
        }
        if let Err(why) = message.judge(&replies) {
            wrong.push(format!("{}: {why}", message.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    let malformed = all.iter().filter(|m| m.malformed).count() as u64;
    daemon.until("all of them are counted", |d| {
        d.json(&["stats"])["malformed_queries"].as_u64() == Some(malformed)
    });
    daemon.until("nothing is left open", |d| d.json(&["stats"])["attempts_outstanding"] == 0);
    // The pool keeps sockets for the next queries, fewer than there were messages.
    assert!(
        daemon.descriptors() <= descriptors + all.len().min(512),
        "{} after {descriptors}",
        daemon.descriptors()
    );
    // The same messages over TCP, complete or cut, do not harm other clients.
    for message in all.iter().step_by(7) {
        let mut stream = daemon.tcp();
        let _ = stream.write_all(&frame(&message.octets));
        let _ = stream.write_all(&frame(&message.octets)[..1]);
    }
    assert_eq!(ends(&daemon.ask("warm.example")), [1]);
}

#[test]
fn thousands_of_idle_and_slow_connections_do_not_harm_other_clients() {
    let upstream = good(&[1]);
    let daemon = Daemon::start(&[&upstream], "");
    let connect = |_| TcpStream::connect(daemon.server).expect("connected");
    let idle: Vec<TcpStream> = (0..5000).map(connect).collect();
    let mut stream = daemon.tcp();
    stream.write_all(&frame(&ask_for("www.example", Rtype::A, None, 1))).expect("written");
    assert_eq!(ends(&framed(&mut stream).expect("a reply")), [1]);
    let stats = daemon.json(&["stats"]);
    assert!(
        stats["tcp_clients"].as_u64() <= Some(1000) && stats["tcp_dropped"].as_u64() >= Some(4000),
        "{stats}"
    );
    daemon.until("idle ones are closed", |d| d.json(&["stats"])["tcp_clients"].as_u64() <= Some(501));
    drop(idle);
    // A client that sends one octet at a time is closed at its timeout, in spite of each octet.
    let mut slow: Vec<TcpStream> = (0..200).map(connect).collect();
    let query = frame(&ask_for("slow.example", Rtype::A, None, 2));
    let mut alive = slow.len();
    for n in 0..query.len() - 1 {
        alive = slow.iter_mut().filter_map(|stream| stream.write_all(&query[n..=n]).ok()).count();
        assert_eq!(ends(&daemon.ask("www.example")), [1]);
        if n > 20 {
            break;
        }
    }
    assert!(alive <= 200);
    daemon.until("slow ones are closed", |d| d.json(&["stats"])["tcp_clients"].as_u64() <= Some(501));
    for stream in &mut slow {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(15)));
        assert!(matches!(retried(|| stream.read(&mut [0; 1])), Ok(0) | Err(_)), "no reply to half a query");
    }
}

#[test]
fn sixty_clients_with_different_options_join_one_round() {
    let upstream = Upstream::start(|query, _| vec![(300, answer(query, &[1], 300))]);
    let daemon = Daemon::start(&[&upstream], "");
    let sockets: Vec<UdpSocket> = (0..60u16)
        .map(|n| {
            let socket = daemon.client();
            let mut query = ask_for("One.Example", Rtype::A, Some(512 + 20 * n), n);
            // The queries differ in letter case, AD, and the size of an EDNS option.
            query[13] ^= if n % 2 == 0 { 0x20 } else { 0 };
            query[3] |= if n % 3 == 0 { 0x20 } else { 0 };
            let option = [&[0xfd, 0xe9, 0, n as u8][..], &vec![7; usize::from(n)]].concat();
            let at = query.len() - 2;
            query[at..].copy_from_slice(&(option.len() as u16).to_be_bytes());
            query.extend(option);
            socket.send(&query).expect("sent");
            socket
        })
        .collect();
    for (n, socket) in (0u16..).zip(&sockets) {
        let mut buffer = [0; 2048];
        let len = retried(|| socket.recv(&mut buffer)).expect("a reply");
        assert_eq!((ends(&buffer[..len]), u16::from_be_bytes([buffer[0], buffer[1]])), (vec![1], n));
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn ports_and_ids_cannot_be_guessed_even_if_most_ports_are_taken() {
    let ports = Arc::new(std::sync::Mutex::new(Vec::new()));
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let upstream = udp.local_addr().expect("bound");
    std::thread::spawn({
        let ports = Arc::clone(&ports);
        move || {
            let mut buffer = [0; 4096];
            while let Ok((len, peer)) = retried(|| udp.recv_from(&mut buffer)) {
                ports
                    .lock()
                    .expect("no panic")
                    .push((peer.port(), u16::from_be_bytes([buffer[0], buffer[1]])));
                let _ = udp.send_to(&answer(&buffer[..len], &[1], 300), peer);
            }
        }
    });
    // Two of every thousand ephemeral ports stay free.
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("Linux");
    let range: Vec<u16> = range.split_whitespace().map(|n| n.parse().expect("a port")).collect();
    let held: Vec<UdpSocket> = (range[0]..=range[1])
        .filter(|port| port % 500 != 0)
        .filter_map(|port| UdpSocket::bind(("0.0.0.0", port)).ok())
        .take(15_000)
        .collect();
    assert!(held.len() > 10_000, "{} ports are held", held.len());
    let dir = directory();
    let text = format!(
        "runtime_dir = {:?}\n[listen]\ndns = [\"127.0.0.1:0\"]\n[[upstream]]\naddress = \"{upstream}\"\n",
        dir.join("run")
    );
    std::fs::write(dir.join("hither.toml"), text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    let daemon = Daemon::spawn(dir, &mut command);
    let socket = held[0].try_clone().expect("a descriptor");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    for n in 0..2000u16 {
        socket.send_to(&ask_for(&format!("n{n}.example"), Rtype::A, None, n), daemon.server).expect("sent");
        retried(|| socket.recv(&mut [0; 512])).expect("a reply");
    }
    let seen = ports.lock().expect("no panic").clone();
    let mut distinct: Vec<u16> = seen.iter().map(|(port, _)| *port).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(distinct.len() >= 1900, "{} ports of {}", distinct.len(), seen.len());
    // A chi-squared test over each four bits of the ids: 16 classes, so 15 degrees of freedom; more
    // than 44.3 has a probability of one in ten thousand.
    for shift in [0, 4, 8, 12] {
        let mut counts = [0f64; 16];
        seen.iter().for_each(|(_, id)| counts[usize::from(id >> shift & 15)] += 1.0);
        let expected = seen.len() as f64 / 16.0;
        let chi: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
        assert!(chi < 44.3, "bits {shift} of the ids: {chi}");
    }
}

#[test]
fn an_upstream_that_leads_back_to_the_daemon_gets_few_queries() {
    // The upstream is a relay that leads back to the daemon, as a forwarded port or a container might. The
    // daemon cannot recognize it by its address.
    let relay = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let dir = directory();
    let text = format!(
        "runtime_dir = {:?}\n[listen]\ndns = [\"127.0.0.1:0\"]\n[[upstream]]\naddress = \"{}\"\n",
        dir.join("run"),
        relay.local_addr().expect("bound")
    );
    std::fs::write(dir.join("hither.toml"), text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    let daemon = Daemon::spawn(dir, &mut command);
    let server = daemon.server;
    let passed = Arc::new(AtomicUsize::new(0));
    std::thread::spawn({
        let passed = Arc::clone(&passed);
        move || {
            let mut buffer = [0; 4096];
            let (mut asker, mut askers) = (server, std::collections::VecDeque::new());
            while let Ok((len, peer)) = retried(|| relay.recv_from(&mut buffer)) {
                let to = match peer == server {
                    true => askers.pop_front().unwrap_or(asker),
                    false => {
                        passed.fetch_add(1, Ordering::SeqCst);
                        asker = peer;
                        askers.push_back(peer);
                        server
                    }
                };
                let _ = relay.send_to(&buffer[..len], to);
            }
        }
    });
    // The daemon's own query joins its round, which waits for itself and ends at its deadline.
    assert_eq!(told(&daemon.ask("loop.example")).0, Rcode::SERVFAIL);
    assert!(passed.load(Ordering::SeqCst) <= 8, "{} queries went round", passed.load(Ordering::SeqCst));
}

#[test]
fn upstreams_that_are_gone_cost_no_deadline_and_are_used_when_they_are_back() {
    let alive = Arc::new(AtomicBool::new(true));
    let upstream = Upstream::start({
        let alive = Arc::clone(&alive);
        move |query, _| {
            if alive.load(Ordering::SeqCst) { vec![(0, answer(query, &[1], 300))] } else { vec![] }
        }
    });
    let daemon = Daemon::start(&[&upstream], "");
    assert_eq!(ends(&daemon.ask("warm.example")), [1]);
    alive.store(false, Ordering::SeqCst);
    for n in 0..2 {
        assert_eq!(told(&daemon.ask(&format!("gone{n}.example"))).0, Rcode::SERVFAIL);
    }
    // The new deadline is later than a client waits here. The upstream is known to be down, so the
    // reply does not wait for the deadline.
    Daemon::configure(&daemon.dir, &[&upstream], "[round]\ndeadline = \"60s\"\n");
    assert!(daemon.ctl(&["reload"]).status.success());
    assert_eq!(told(&daemon.ask("gone9.example")), (Rcode::SERVFAIL, vec![], Some(22)));
    assert_eq!(ends(&daemon.ask("warm.example")), [1], "hits are answered");
    assert_eq!(told(&daemon.ask("gone9.example")), (Rcode::SERVFAIL, vec![], Some(13)));
    alive.store(true, Ordering::SeqCst);
    daemon.until("the upstream is detected as back", |d| ends(&d.ask("gone9.example")) == [1]);
}

#[test]
fn no_clock_that_jumps_makes_an_entry_live_longer() {
    let dir = directory();
    // A file sets the offset of the wall clock and the time spent in suspend.
    let Some(library) = preloaded(&dir, "tests/hostile/clocks.c") else {
        return skip("no_clock_that_jumps_makes_an_entry_live_longer", "there is no C compiler");
    };
    let file = dir.join("offsets");
    // Offsets in seconds: of the wall clock, and of CLOCK_BOOTTIME, which also counts suspended time.
    let set = |wall: i64, asleep: i64| {
        std::fs::write(dir.join("new"), format!("{wall} {asleep}\n")).expect("written");
        std::fs::rename(dir.join("new"), &file).expect("renamed");
    };
    set(0, 0);
    let upstream = good(&[1]);
    Daemon::configure(&dir, &[&upstream], "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    command.env("LD_PRELOAD", &library).env("CLOCKS", &file);
    let daemon = Daemon::spawn(dir.clone(), &mut command);
    let ttl = |daemon: &Daemon| {
        let reply = daemon.ask("clock.example");
        let message = Message::read(&reply).expect("readable");
        message.records().find(|r| r.rtype == Rtype::A).map(|r| r.ttl)
    };
    assert_eq!(ttl(&daemon), Some(300));
    for wall in [-86_400, 86_400, -1_790_000_000, 3600, 0] {
        set(wall, 0);
        std::thread::sleep(Duration::from_millis(20));
        assert!(
            ttl(&daemon).is_some_and(|ttl| (290..=300).contains(&ttl)),
            "the TTL depends on the wall clock: {wall}"
        );
    }
    let queries = upstream.count();
    // After an hour of suspend the entry has expired, and only one round begins for it.
    set(0, 3600);
    assert_eq!(ttl(&daemon), Some(300));
    // The kernel's alarm does not follow the preloaded clock, so queries have to wake the daemon.
    daemon
        .until("the suspend is noticed", |d| ttl(d).is_some() && d.log().contains("the network has changed"));
    assert!(
        upstream.count() <= queries + 3,
        "too many queries after the suspend: {}",
        upstream.count() - queries
    );
    // The process is stopped for an hour, then continued.
    daemon.signal(Signal::SIGSTOP);
    set(0, 7200);
    daemon.signal(Signal::SIGCONT);
    assert_eq!(ends(&daemon.ask("other.example")), [1]);
    assert_eq!(ttl(&daemon), Some(300));
}
