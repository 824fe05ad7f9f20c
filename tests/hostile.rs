//! The real daemon and what the network may throw at it: names that must not leave, forged answers,
//! broken and odd messages, too many connections, upstreams that go, loops, clocks that jump.

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

/// The code of a reply, its addresses, and its extended error.
fn told(reply: &[u8]) -> (Rcode, Vec<String>, Option<u16>) {
    let message = Message::read(reply).expect("a readable reply");
    let addresses = message.records().filter_map(|r| r.address()).map(|a| a.to_string()).collect();
    let option = message.edns().and_then(|edns| edns.options().find(|(code, _)| *code == 15));
    let ede = option.map(|(_, data)| u16::from_be_bytes([data[0], data[1]]));
    (message.header().rcode(), addresses, ede)
}

#[test]
fn names_that_mean_nothing_elsewhere_do_not_leave() {
    let upstream = good(&[1]);
    let daemon = Daemon::start(&[&upstream], "");
    let ask = |name: &str, rtype| told(&daemon.exchange(&ask_for(name, rtype, Some(1232), 3)));
    assert_eq!(ask("LocalHost", Rtype::A), (Rcode::NOERROR, vec!["127.0.0.1".to_owned()], None));
    assert_eq!(ask("a.localhost", Rtype::AAAA).1, ["::1"]);
    for name in [
        "x.invalid",
        "printer.local",
        "abc.onion",
        "a.alt",
        "nas.home.arpa",
        "printer",
        "9.9.9.10.in-addr.arpa",
    ] {
        assert_eq!(ask(name, Rtype::A).0, Rcode::NXDOMAIN, "{name}");
    }
    assert_eq!(ask("_dns.resolver.arpa", Rtype::SVCB), (Rcode::NOERROR, vec![], None));
    let own = nix::unistd::gethostname().expect("a name").into_string().expect("text");
    assert_eq!(ask(&own, Rtype::A).0, Rcode::NOERROR);
    let reply = daemon.exchange(&ask_for("1.1.168.192.in-addr.arpa", Rtype::PTR, None, 4));
    let message = Message::read(&reply).expect("readable");
    let soa = message.records().find(|r| r.rtype == Rtype::SOA).expect("the zone that is served here");
    assert_eq!(
        (soa.owner().to_string(), soa.section),
        ("168.192.in-addr.arpa.".to_owned(), Section::Authority)
    );
    assert_eq!(upstream.count(), 0, "the upstream has seen some of it");
    assert_eq!(ask("8.8.8.8.in-addr.arpa", Rtype::PTR).0, Rcode::NOERROR);
    // A denial: once more in lower case.
    assert_eq!(upstream.count(), 2);
}

#[test]
fn files_decide_what_is_known_and_blocked_and_their_changes_count() {
    let upstream = good(&[1]);
    let dir = directory();
    let (hosts, list) = (dir.join("hosts.txt"), dir.join("block.txt"));
    std::fs::write(&hosts, "192.0.2.7 nas.example\n").expect("written");
    std::fs::write(&list, "0.0.0.0 ads.example\ntracker.example\n").expect("written");
    let more = format!(
        "[hosts]\nfiles = [{hosts:?}]\n[[block]]\nfiles = [{list:?}]\n[[block]]\nnames = [\"page.example\"]\nanswer = [\"192.0.2.99\"]\n"
    );
    let daemon = Daemon::start_in(dir, &[&upstream], &more);
    let ask = |name: &str| told(&daemon.ask(name));
    let yes = |address: &str| (Rcode::NOERROR, vec![address.to_owned()], None);
    assert_eq!(ask("nas.example"), yes("192.0.2.7"));
    assert_eq!(ask("ads.example"), (Rcode::NXDOMAIN, vec![], Some(15)));
    assert_eq!(ask("x.y.tracker.example"), (Rcode::NXDOMAIN, vec![], Some(15)));
    assert_eq!(ask("www.page.example"), (Rcode::NOERROR, vec!["192.0.2.99".to_owned()], Some(15)));
    assert_eq!(upstream.count(), 0);
    assert_eq!(ask("www.ads.example"), yes("198.18.0.1"));
    // Another file in the place of the old one, as editors do: what was cached of its names is
    // void, what was blocked is asked for.
    let write = |path: &std::path::Path, text: &str| {
        std::fs::write(path.with_extension("new"), text).expect("written");
        std::fs::rename(path.with_extension("new"), path).expect("renamed");
    };
    write(&list, "www.ads.example\n");
    write(&hosts, "192.0.2.8 nas.example\n");
    daemon.until("the lists are read again", |d| told(&d.ask("www.ads.example")).0 == Rcode::NXDOMAIN);
    daemon.until("the hosts file is read again", |d| told(&d.ask("nas.example")).1 == ["192.0.2.8"]);
    assert_eq!(ask("tracker.example"), yes("198.18.0.1"));
    assert!(daemon.json(&["stats"])["blocked"].as_u64() >= Some(4));
}

#[test]
fn a_domain_has_upstreams_of_its_own_and_the_longest_suffix_wins() {
    let (usual, corp, lab) = (good(&[1]), good(&[2]), good(&[3]));
    let domain = |name: &str, upstream: &Upstream| {
        format!("[[domain]]\nnames = [\"{name}\"]\nupstreams = [\"{}\"]\n", upstream.address)
    };
    let more =
        domain("lab.corp.example", &lab) + &domain("Corp.Example", &corp) + &domain("home.arpa", &corp);
    let daemon = Daemon::start(&[&usual], &more);
    let ends = |name: &str| ends(&daemon.ask(name));
    assert_eq!([ends("www.example"), ends("x.corp.example"), ends("a.lab.CORP.example")], [[1], [2], [3]]);
    assert_eq!(ends("nas.home.arpa"), [2], "who has upstreams for a special name is asked there");
    assert_eq!([usual.count(), corp.count(), lab.count()], [1, 2, 1]);
    // Without its domain the same name is asked elsewhere, and what was known of it is forgotten.
    Daemon::configure(&daemon.dir, &[&usual], &domain("lab.corp.example", &lab));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("the configuration is reloaded");
    let after = std::fs::read_to_string(daemon.dir.join("hither.toml")).expect("readable");
    assert!(!after.contains("Corp"));
    assert_eq!(
        [self::ends(&daemon.ask("x.corp.example")), self::ends(&daemon.ask("a.lab.corp.example"))],
        [[1], [3]]
    );
    assert_eq!(lab.count(), 1, "what did not change is still cached");
}

#[test]
fn after_a_forged_answer_the_question_goes_to_tcp() {
    let upstream = Upstream::start(|query, tcp| {
        let mut forged = answer(query, &[66], 300);
        forged[0] ^= 0x55;
        match tcp {
            true => vec![(0, answer(query, &[1], 300))],
            // Then one with the right id, as if it had been guessed.
            false => vec![(0, forged), (5, answer(query, &[66], 300))],
        }
    });
    let daemon = Daemon::start(&[&upstream], "");
    assert_eq!(ends(&daemon.ask("forged.example")), [1]);
    let stats = daemon.json(&["stats"]);
    assert_eq!(
        (&stats["forgeries_suspected"], &stats["mismatched_responses_dropped"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn the_letters_drawn_against_forgery_do_not_show() {
    let upstream = Upstream::start(|query, _| {
        let mixed = query[12..].iter().any(u8::is_ascii_uppercase);
        assert!(mixed || Query::read(query).is_ok());
        // An alias whose end points into the question, as every server writes it.
        vec![(
            0,
            compose(query, Rcode::NOERROR, 0, |composer| {
                let target = b"\x04edge\xc0\x10";
                assert!(composer.record(Section::Answer, Owner::At(12), Rtype::CNAME, 300, target));
                assert!(composer.record(
                    Section::Answer,
                    Owner::Wire(b"\x04edge\xc0\x10"),
                    Rtype::A,
                    300,
                    &[198, 18, 0, 1]
                ));
            }),
        )]
    });
    let daemon = Daemon::start(&[&upstream], "");
    for n in 0..4 {
        let name = format!("ww{n}.letters-of-a-long-name.example");
        daemon.ask(&name);
        let entry = daemon.json(&["lookup", &name]);
        assert_eq!(entry["canonical"], "edge.letters-of-a-long-name.example.", "{entry}");
    }
}

/// The data of the cookie option of a query.
fn cookie(query: &[u8]) -> Option<Vec<u8>> {
    let edns = Query::read(query).expect("a query").edns()?;
    edns.options().find(|(code, _)| *code == 10).map(|(_, data)| data.to_vec())
}

#[test]
fn cookies_are_sent_learned_and_missed() {
    let silent = Arc::new(AtomicBool::new(false));
    let upstream = Upstream::start({
        let silent = Arc::clone(&silent);
        move |query, tcp| {
            let client = cookie(query).expect("every query has a cookie")[..8].to_vec();
            let with = compose(query, Rcode::NOERROR, 0, |composer| {
                assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 300, &[198, 18, 0, 1]));
                let option = [&[0, 10, 0, 16][..], &client, b"serverck"].concat();
                assert!(composer.opt(1232, 0, false, &option));
            });
            let without = answer(query, &[if tcp { 1 } else { 66 }], 300);
            vec![(0, if silent.load(Ordering::SeqCst) { without } else { with })]
        }
    });
    let daemon = Daemon::start(&[&upstream], "");
    assert_eq!(ends(&daemon.ask("a.example")), [1]);
    assert_eq!(ends(&daemon.ask("b.example")), [1]);
    let seen: Vec<Vec<u8>> =
        upstream.seen.lock().expect("no panic").iter().filter_map(|q| cookie(q)).collect();
    assert_eq!((seen[0].len(), seen[1].len()), (8, 16), "the server's half is sent back");
    assert_eq!(seen[0][..], seen[1][..8]);
    silent.store(true, Ordering::SeqCst);
    assert_eq!(ends(&daemon.ask("c.example")), [1], "without the cookie it may be anybody's, so TCP decides");
}

#[test]
fn upstreams_that_cannot_edns_are_asked_without() {
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
    assert_eq!(ends(&daemon.ask("a.example")), [2], "one that drops what it does not know");
}

#[test]
fn broken_and_odd_messages_get_what_the_standards_say_and_leave_nothing() {
    let upstream = good(&[1]);
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask("warm.example");
    let (descriptors, all) = (daemon.descriptors(), messages::all());
    assert!(all.len() >= 300, "{} messages", all.len());
    let mut wrong = Vec::new();
    let socket = daemon.client();
    for message in &all {
        socket.send(&message.octets).expect("sent");
        // A question of another id behind it: its reply says that nothing more comes for the first.
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
    // Sockets are kept for the next queries, fewer than there were messages.
    assert!(
        daemon.descriptors() <= descriptors + all.len().min(512),
        "{} after {descriptors}",
        daemon.descriptors()
    );
    // The same on connections of their own: framed or cut, nobody else is harmed.
    for message in all.iter().step_by(7) {
        let mut stream = daemon.tcp();
        let _ = stream.write_all(&frame(&message.octets));
        let _ = stream.write_all(&frame(&message.octets)[..1]);
    }
    assert_eq!(ends(&daemon.ask("warm.example")), [1]);
}

#[test]
fn thousands_of_idle_connections_and_slow_ones_harm_nobody() {
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
    // An octet at a time and never a whole query: closed when its time is over, whatever it sends.
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
fn sixty_clients_with_all_their_options_are_one_question() {
    let upstream = Upstream::start(|query, _| vec![(300, answer(query, &[1], 300))]);
    let daemon = Daemon::start(&[&upstream], "");
    let sockets: Vec<UdpSocket> = (0..60u16)
        .map(|n| {
            let socket = daemon.client();
            let mut query = ask_for("One.Example", Rtype::A, Some(512 + 20 * n), n);
            // Another letter case, AD, an option of a size of its own.
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
fn ports_and_ids_cannot_be_guessed_even_where_somebody_holds_most_ports() {
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
    // What is left of the ports that the kernel gives: of every thousand, two.
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
    // 16 classes of the upper and of the lower four bits of the ids: 15 degrees of freedom, 44 is
    // beyond chance of one in ten thousand.
    for shift in [0, 4, 8, 12] {
        let mut counts = [0f64; 16];
        seen.iter().for_each(|(_, id)| counts[usize::from(id >> shift & 15)] += 1.0);
        let expected = seen.len() as f64 / 16.0;
        let chi: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
        assert!(chi < 44.3, "bits {shift} of the ids: {chi}");
    }
}

#[test]
fn an_upstream_that_is_ourselves_is_noticed_at_once() {
    // Not by its address: it leads here through a relay, as a port forwarded or a container's address would.
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
    // Through a relay the round waits for itself, joined by its own question: bounded, and over at
    // its deadline.
    assert_eq!(told(&daemon.ask("loop.example")).0, Rcode::SERVFAIL);
    assert!(passed.load(Ordering::SeqCst) <= 8, "{} queries went round", passed.load(Ordering::SeqCst));
}

#[test]
fn upstreams_that_are_gone_and_come_back() {
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
    // Known to be down, so the deadline is not waited for, which is now later than a client waits here.
    Daemon::configure(&daemon.dir, &[&upstream], "[round]\ndeadline = \"60s\"\n");
    assert!(daemon.ctl(&["reload"]).status.success());
    assert_eq!(told(&daemon.ask("gone9.example")), (Rcode::SERVFAIL, vec![], Some(22)));
    assert_eq!(ends(&daemon.ask("warm.example")), [1], "hits go on");
    assert_eq!(told(&daemon.ask("gone9.example")), (Rcode::SERVFAIL, vec![], Some(13)));
    alive.store(true, Ordering::SeqCst);
    daemon.until("it is found to be back", |d| ends(&d.ask("gone9.example")) == [1]);
}

#[test]
fn no_clock_that_jumps_makes_an_entry_live_longer() {
    let dir = directory();
    // The wall clock as a file says, and time that has passed asleep.
    let Some(library) = preloaded(&dir, "tests/hostile/clocks.c") else {
        return skip("no_clock_that_jumps_makes_an_entry_live_longer", "there is no C compiler");
    };
    let file = dir.join("offsets");
    // Seconds: of the wall clock, and of the clock that runs on in sleep.
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
        assert!(ttl(&daemon).is_some_and(|ttl| (290..=300).contains(&ttl)), "the wall clock counts: {wall}");
    }
    let queries = upstream.count();
    // An hour asleep: the entry is over, and no more than one round begins for it.
    set(0, 3600);
    assert_eq!(ttl(&daemon), Some(300));
    // The alarm is the kernel's and knows nothing of this; queries wake the daemon all the same.
    daemon.until("that the host slept is noticed", |d| {
        ttl(d).is_some() && d.log().contains("the network has changed")
    });
    assert!(upstream.count() <= queries + 3, "a storm after waking: {}", upstream.count() - queries);
    // Stopped for an hour, then continued.
    daemon.signal(Signal::SIGSTOP);
    set(0, 7200);
    daemon.signal(Signal::SIGCONT);
    assert_eq!(ends(&daemon.ask("other.example")), [1]);
    assert_eq!(ttl(&daemon), Some(300));
}
