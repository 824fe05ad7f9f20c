//! The daemon in its own network namespace: upstreams of the system that change, addresses that
//! appear and disappear, clients beyond the host.
//!
//! Needs root and namespaces, and prints SKIPPED without them.

mod support;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::message::Message;
use std::io::Write as _;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{
    Daemon, PATIENCE, Upstream, alone, answer, ask_for, compose, directory, ends, ip, retried, sh,
};

/// An upstream at this address, port 53.
fn upstream(address: &str, end: u8) {
    let socket = UdpSocket::bind((address, 53)).expect("a port of one's own");
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, peer)) = retried(|| socket.recv_from(&mut buffer)) {
            let _ = socket.send_to(&answer(&buffer[..len], &[end], 300), peer);
        }
    });
}

#[test]
fn the_systems_upstreams_are_followed_as_they_change() {
    if !alone("the_systems_upstreams_are_followed_as_they_change") {
        return;
    }
    upstream("127.0.0.2", 2);
    upstream("127.0.0.3", 3);
    upstream("127.0.0.4", 4);
    let dir = directory();
    // A private /etc and /run.
    let write = |path: &str, text: &str| {
        let new = format!("{path}.new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, path).expect("renamed");
    };
    for real in ["/etc", "/run"] {
        assert!(sh(&format!("mount -t tmpfs none {real}")), "a tmpfs at {real}");
    }
    write("/etc/resolv.conf", "nameserver 127.0.0.2\n");
    let text = format!("runtime_dir = {:?}\n[listen]\ndns = [\"127.0.0.1:53\"]\n", dir.join("run"));
    std::fs::write(dir.join("hither.toml"), text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    let mut daemon = Daemon::spawn(dir, &mut command);
    assert_eq!(ends(&daemon.ask("a.example")), [2]);
    write("/etc/resolv.conf", "# we ourselves come first\nnameserver 127.0.0.1\nnameserver 127.0.0.3\n");
    let mut n = 0;
    let mut comes_true = |daemon: &mut Daemon, end: u8, suffix: &str| {
        let began = Instant::now();
        loop {
            n += 1;
            let reply = daemon.ask(&format!("n{n}.{suffix}"));
            if ends(&reply) == [end] {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "never asked there:\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    comes_true(&mut daemon, 3, "example");
    // resolv.conf names the stub of systemd-resolved. A link of systemd-networkd has a domain and a
    // server, which resolved lists too.
    for made in ["/run/systemd/resolve", "/run/systemd/netif/links"] {
        std::fs::create_dir_all(made).expect("a directory");
    }
    write("/run/systemd/resolve/resolv.conf", "nameserver 127.0.0.2\nnameserver 127.0.0.4\n");
    write("/run/systemd/netif/links/7", "DNS=127.0.0.2\nROUTE_DOMAINS=corp.example\n");
    write("/etc/resolv.conf", "nameserver 127.0.0.53\n");
    comes_true(&mut daemon, 4, "example");
    comes_true(&mut daemon, 2, "corp.example");
    write("/run/systemd/netif/links/7", "DNS=127.0.0.3\nROUTE_DOMAINS=corp.example\n");
    comes_true(&mut daemon, 3, "corp.example");
    // A VPN that claims all names.
    write("/run/systemd/netif/links/8", "DNS=127.0.0.2\nROUTE_DOMAINS=.\n");
    comes_true(&mut daemon, 2, "example");
    comes_true(&mut daemon, 3, "corp.example");
}

#[test]
fn a_networks_own_names_are_sent_only_to_its_own_servers() {
    if !alone("a_networks_own_names_are_sent_only_to_its_own_servers") {
        return;
    }
    assert!(ip("addr add 192.168.7.1/32 dev lo") && ip("addr add 9.9.9.9/32 dev lo"));
    for (address, end) in [("127.0.0.2", 2), ("192.168.7.1", 7), ("9.9.9.9", 9)] {
        upstream(address, end);
    }
    let dir = directory();
    assert!(sh("mount -t tmpfs none /etc"), "a private /etc");
    let resolv_conf = b"# M\xfcnchen\r\nnameserver 127.0.0.1\r\nnameserver 127.0.0.2 # router\r\nnameserver 192.0.2\r\nsearch corp.local\r\n";
    std::fs::write("/etc/resolv.conf", resolv_conf).expect("written");
    let configure = |upstreams: &[&str]| {
        let upstreams = upstreams.iter().map(|address| format!("[[upstream]]\naddress = {address:?}\n"));
        let head = format!("runtime_dir = {:?}\n[listen]\ndns = [\"127.0.0.1:53\"]\n", dir.join("run"));
        std::fs::write(dir.join("hither.toml"), head + &upstreams.collect::<String>()).expect("written");
    };
    configure(&[]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    let daemon = Daemon::spawn(dir.clone(), &mut command);
    let own = ["nas.home.arpa", "1.0.0.10.in-addr.arpa", "9.20.172.in-addr.arpa"];
    let asked = |name: &str| ends(&daemon.ask(name));
    for name in own.iter().chain(&["dc.corp.local", "www.example"]) {
        assert_eq!(asked(name), [2], "{name}");
    }
    for name in ["printer.local", "x.onion", "x.invalid", "1.0.0.127.in-addr.arpa"] {
        assert_eq!(asked(name), [0; 0], "{name}");
    }
    let files = daemon.json(&["status"])["files"].clone();
    let seen =
        files.as_array().and_then(|files| files.iter().find(|file| file["path"] == "/etc/resolv.conf"));
    assert_eq!(
        seen.map(|file| (file["names"].as_u64(), file["passed_over"].as_u64())),
        Some((Some(2), Some(1)))
    );
    assert!(daemon.log().contains("line 4: '192.0.2' is not an address"), "{}", daemon.log());
    // After a reload, cached answers are dropped where other upstreams, or none, would be asked.
    let reload = |upstreams: &[&str]| {
        configure(upstreams);
        assert!(daemon.ctl(&["reload"]).status.success());
    };
    reload(&["9.9.9.9"]);
    for name in own.iter().chain(&["dc.corp.local"]) {
        assert_eq!(asked(name), [0; 0], "{name} is not sent to other servers");
    }
    reload(&["9.9.9.9", "192.168.7.1"]);
    for name in own {
        assert_eq!(asked(name), [7], "{name}");
    }
    // It is not known which servers a server of this host forwards to.
    reload(&["127.0.0.2"]);
    for name in own {
        assert_eq!(asked(name), [0; 0], "{name}");
    }
}

#[test]
fn an_address_that_comes_and_goes_needs_no_restart() {
    if !alone("an_address_that_comes_and_goes_needs_no_restart") {
        return;
    }
    assert!(ip("addr add 10.77.0.1/24 dev lo"));
    upstream("10.77.0.1", 1);
    let dir = directory();
    let text = format!(
        "runtime_dir = {:?}\n[listen]\ndns = [\"127.0.0.1:53\"]\n[[upstream]]\naddress = \"10.77.0.1\"\n",
        dir.join("run")
    );
    std::fs::write(dir.join("hither.toml"), text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    let daemon = Daemon::spawn(dir, &mut command);
    assert_eq!(ends(&daemon.ask("a.example")), [1]);
    for n in 0..10 {
        assert!(ip("addr del 10.77.0.1/24 dev lo"));
        let code = |reply: &[u8]| Message::read(reply).expect("readable").header().rcode();
        assert_eq!(code(&daemon.ask(&format!("gone{n}.example"))), Rcode::SERVFAIL);
        assert!(ip("addr add 10.77.0.1/24 dev lo"));
        daemon.until("the failure is dropped with the network in which it happened", |d| {
            ends(&d.ask(&format!("gone{n}.example"))) == [1]
        });
    }
    assert!(daemon.json(&["stats"])["network_changes"].as_u64() >= Some(2));
}

#[test]
fn endless_network_changes_do_not_stop_a_distant_upstream_from_answering() {
    if !alone("endless_network_changes_do_not_stop_a_distant_upstream_from_answering") {
        return;
    }
    // The upstream's round-trip time is longer than the interval of the changes.
    let upstream = Upstream::start(|query, _| vec![(400, answer(query, &[1], 300))]);
    let daemon = Daemon::start(&[&upstream], "");
    let changes = |d: &Daemon| d.json(&["stats"])["network_changes"].as_u64().expect("a number");
    let (began, is_over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let storm = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let mut command = Command::new("ip");
            let mut batch = command.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip");
            let mut lines = batch.stdin.take().expect("a pipe");
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                let address = format!("10.88.{}.{}", count / 250, count % 250 + 1);
                writeln!(lines, "addr add {address}/32 dev lo").expect("it runs");
                count += 1;
                // A pace: some fifty changes a second.
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(lines);
            assert!(batch.wait().expect("it ends").success(), "an address cannot be added");
            count
        }
    });
    daemon.until("the first change counts", |d| changes(d) >= 1);
    for n in 0..4 {
        assert_eq!(ends(&daemon.ask(&format!("n{n}.example"))), [1], "{n}\n{}", daemon.log());
    }
    daemon.until("further changes count during the storm", |d| changes(d) >= 2);
    let (counted, whole) = (changes(&daemon), began.elapsed().as_secs() + 1);
    assert!(counted <= whole, "{counted} counted in less than {whole} s");
    is_over.store(true, Ordering::Relaxed);
    let count = storm.join().expect("no panic");
    // The changes must be faster than the upstream's responses.
    assert!(count > 10 * whole, "{count} changes in {whole} s are no storm");
    let before = changes(&daemon);
    assert!(ip("addr add 10.89.0.1/32 dev lo"));
    daemon.until("the last change counts", |d| changes(d) > before);
}

#[test]
fn clients_beyond_the_host_have_limits() {
    if !alone("clients_beyond_the_host_have_limits") {
        return;
    }
    assert!(ip("addr add 10.77.0.1/24 dev lo"));
    let upstream = Upstream::start(|query, _| match query[12] {
        4 => vec![(0, answer(query, &[1], 300))],
        5 => vec![(0, compose(query, Rcode::NXDOMAIN, 0, |_| {}))],
        _ => vec![],
    });
    let dir = directory();
    let text = format!(
        "runtime_dir = {:?}\n[listen]\ndns = [\"10.77.0.1:53\", \"127.0.0.1:53\"]\nallow = [\"10.77.0.0/24\", \"127.0.0.0/8\"]\n[[upstream]]\naddress = \"{}\"\n[limits]\nreplies_per_second = 5\nclients_per_network = 20\ntcp_per_network = 3\n",
        dir.join("run"),
        upstream.address
    );
    std::fs::write(dir.join("hither.toml"), text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    let daemon = Daemon::spawn(dir, &mut command);
    let from = |address: &str| {
        let socket = UdpSocket::bind((address, 0)).expect("a port");
        socket.connect((address, 53)).expect("a route");
        // Long enough that a reply that has not come by then will not come.
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("an option");
        socket
    };
    let (far, near) = (from("10.77.0.1"), from("127.0.0.1"));
    let mut buffer = [0; 2048];
    let mut burst = |socket: &UdpSocket, name: &str| {
        (0..40).for_each(|id| assert!(socket.send(&ask_for(name, Rtype::A, None, id)).is_ok()));
        let (mut whole, mut cut) = (0, 0);
        while whole + cut < 40
            && let Ok(len) = retried(|| socket.recv(&mut buffer))
        {
            let tc = Message::read(&buffer[..len]).expect("readable").header().tc();
            (whole, cut) = (whole + usize::from(!tc), cut + usize::from(tc));
        }
        (whole, cut)
    };
    burst(&near, "warm.example");
    let (whole, cut) = burst(&far, "warm.example");
    // The burst may span two seconds, each with its own limit.
    assert!((5..=10).contains(&whole) && (10..=18).contains(&cut), "{whole} whole, {cut} cut of 40");
    assert_eq!(burst(&near, "warm.example"), (40, 0), "the host's own clients are not counted");
    // A client with many waiting queries gets SERVFAIL for more, at once; others are served meanwhile.
    (0..60u16).for_each(|n| {
        assert!(far.send(&ask_for(&format!("silence{n}.example"), Rtype::A, Some(1232), n)).is_ok());
    });
    daemon.until("the rest is shed", |d| d.json(&["stats"])["shed_queries"].as_u64() == Some(40));
    // A retransmission of a waiting query does not count again, although its network is at its limit.
    assert!(far.send(&ask_for("silence0.example", Rtype::A, Some(1232), 0)).is_ok());
    assert_eq!(ends(&daemon.ask("other.example")).len(), 0, "denied by its upstream, not shed");
    assert_eq!(daemon.json(&["stats"])["shed_queries"], 40);
    // The limit of connections of one network.
    let connections: Vec<std::net::TcpStream> =
        (0..10).filter_map(|_| std::net::TcpStream::connect("10.77.0.1:53").ok()).collect();
    daemon.until("the rest is closed", |d| d.json(&["stats"])["tcp_dropped"].as_u64() == Some(7));
    assert_eq!(daemon.json(&["stats"])["tcp_clients"], 3);
    drop(connections);
}

#[test]
fn an_upstream_that_leads_straight_back_is_named_in_the_log_and_gives_servfail() {
    if !alone("an_upstream_that_leads_straight_back_is_named_in_the_log_and_gives_servfail") {
        return;
    }
    // A local route gives this host addresses that no interface has, as behind some load balancers.
    assert!(ip("route add local 10.99.0.0/24 dev lo"));
    let dir = directory();
    let text = format!(
        "runtime_dir = {:?}\n[listen]\ndns = [\"0.0.0.0:53\"]\nallow = [\"0.0.0.0/0\"]\n[[upstream]]\naddress = \"10.99.0.5\"\n",
        dir.join("run")
    );
    std::fs::write(dir.join("hither.toml"), text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    let mut daemon = Daemon::spawn(dir, &mut command);
    daemon.server = "127.0.0.1:53".parse().expect("an address");
    let reply = daemon.ask("loop.example");
    assert_eq!(Message::read(&reply).expect("readable").header().rcode(), Rcode::SERVFAIL);
    daemon.wait_for("that upstream leads to ourselves");
    let stats = daemon.json(&["stats"]);
    assert!(
        stats["loops"] == 2 && stats["attempts"] == 2,
        "one query and its repetition without EDNS, each returns once: {stats}"
    );
}
