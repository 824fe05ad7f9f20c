//! The daemon's table, its reload, and its control and sorter sockets, as local programs see them.

use super::*;

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
    assert_eq!(upstream.count(), 1, "the answer comes from the earlier daemon's table");
    assert!(next.ctl(&["flush"]).status.success());
    next.ask("kept.example");
    assert!(next.json(&["lookup", "kept.example"])["version"].as_u64() > Some(version));
}

#[test]
fn a_reload_applies_a_valid_configuration_and_refuses_an_invalid_one() {
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
fn garbage_at_the_local_sockets_gets_an_error_and_harms_nothing() {
    use hither_net::seqpacket::Connection;
    let upstream = good(&[1], 0);
    let daemon = Daemon::start(&[&upstream], "");
    for socket in ["run/control.sock", "run/sorter.sock"] {
        for octets in [&b"\0"[..], b"{}", b"[[[[", &[0xff; 3000]] {
            let near = Connection::connect(&daemon.dir.join(socket), Some(PATIENCE)).expect("connected");
            near.send(octets).expect("sent");
            let mut buffer = vec![0; 70_000];
            // The daemon sends an error text or closes the connection.
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
            verdict: hither_control::Verdict::Unknown,
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
