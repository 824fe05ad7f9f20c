//! The bindings' own tests beside a real daemon, and what they do when it is killed.

use crate::support::{Daemon, Upstream, answer, compose, retried, until};
use crate::{bindings, go_tests, has, python, succeeds};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Composer, Owner};
use hither_wire::message::Section;
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

fn soa(composer: &mut Composer<'_>) {
    let zone: Name = "example".parse().expect("a name");
    let rdata = [zone.as_wire(), zone.as_wire(), &[0; 16], &300_u32.to_be_bytes()].concat();
    assert!(composer.record(Section::Authority, Owner::Wire(zone.as_wire()), Rtype(6), 300, &rdata));
}

/// An upstream for the names that the tests of the bindings know.
fn upstream() -> Upstream {
    Upstream::start(|query, _| {
        let read = Query::read(query).expect("the daemon's own");
        let (name, is_a) = (read.name_lower().to_string(), read.qtype() == Rtype::A);
        let address = |composer: &mut Composer<'_>, owner: Owner<'_>| {
            let (rtype, octets): (_, &[u8]) = if is_a {
                (Rtype::A, &[127, 0, 0, 1])
            } else {
                (Rtype::AAAA, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7])
            };
            assert!(composer.record(Section::Answer, owner, rtype, 600, octets));
        };
        let reply = match name.as_str() {
            "web.example." => compose(query, Rcode::NOERROR, 0, |composer| address(composer, Owner::At(12))),
            "alias.example." => compose(query, Rcode::NOERROR, 0, |composer| {
                let last: Name = "last.example".parse().expect("a name");
                assert!(composer.record(Section::Answer, Owner::At(12), Rtype(5), 60, last.as_wire()));
                address(composer, Owner::Wire(last.as_wire()));
            }),
            "v4.example." if is_a => answer(query, &[4], 600),
            "short.example." if is_a => compose(query, Rcode::NOERROR, 0, |composer| {
                let here = [127, 0, 0, 7];
                assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 1, &here));
            }),
            "many.example." if is_a => answer(query, &(1..=40).collect::<Vec<u8>>(), 600),
            feed if feed.starts_with("feed-") && is_a => answer(query, &[5], 600),
            feed if feed.starts_with("feed-") => compose(query, Rcode::NOERROR, 0, soa),
            "v4.example." | "short.example." | "many.example." => compose(query, Rcode::NOERROR, 0, soa),
            _ => compose(query, Rcode::NXDOMAIN, 0, soa),
        };
        vec![(0, reply)]
    })
}

/// A web server that says hello on every connection.
fn web_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = retried(|| stream.read(&mut [0; 4096]));
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    port
}

/// A daemon with that upstream.
pub fn start() -> (Upstream, Daemon) {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n[rebinding]\nprotect = false\n");
    (upstream, daemon)
}

/// Runs a binding's own tests.
pub fn passes(daemon: &Daemon, mut command: Command) -> String {
    command.env("HITHER_RUNTIME_DIR", daemon.dir.join("run"));
    command.env("HITHER_TEST_PORT", web_server().to_string());
    succeeds(command.output().expect("it runs"))
}

#[test]
fn the_go_package_passes_its_tests_beside_a_daemon() {
    let Some(program) = go_tests("the_go_package_passes_its_tests_beside_a_daemon") else { return };
    let (_upstream, daemon) = start();
    let mut command = Command::new(program);
    command.current_dir(bindings("go")).args(["-test.v", "-test.run", "^TestDaemon|^TestUnit"]);
    let output = passes(&daemon, command);
    assert!(output.contains("--- PASS: TestDaemonHTTP"), "{output}");
    assert!(!output.contains("--- SKIP"), "{output}");
    daemon.until("a hint has come", |daemon| daemon.json(&["stats"])["hints"].as_u64() > Some(0));
}

#[test]
fn the_python_package_passes_its_tests_beside_a_daemon() {
    if !has("python3", "the_python_package_passes_its_tests_beside_a_daemon") {
        return;
    }
    let (_upstream, daemon) = start();
    let mut command = python(&["-m", "unittest", "-v", "tests.test_hither"]);
    command.current_dir(bindings("python"));
    passes(&daemon, command);
    daemon.until("a hint has come", |daemon| daemon.json(&["stats"])["hints"].as_u64() > Some(0));
}

/// A daemon that is dead answers nobody, so what has expired is used.
#[test]
fn stale_addresses_are_used_when_the_daemon_is_dead() {
    let test = "stale_addresses_are_used_when_the_daemon_is_dead";
    let (_upstream, mut daemon) = start();
    let run = daemon.dir.join("run");
    daemon.ask("short.example");
    daemon.process.kill().expect("it runs");
    daemon.process.wait().expect("it ends");
    let is_stale = || {
        let shown = daemon.json(&["lookup", "short.example", "A"]);
        shown["stale"] == true
    };
    until("the addresses have expired", is_stale);
    if let Some(program) = go_tests(test) {
        let mut command = Command::new(program);
        command.current_dir(bindings("go")).args(["-test.run", "^TestStale$", "-test.v"]);
        let output = succeeds(command.env("HITHER_RUNTIME_DIR", &run).output().expect("it runs"));
        assert!(output.contains("--- PASS"), "{output}");
    }
    if has("python3", test) {
        let mut command = python(&["-m", "unittest", "tests.stale"]);
        command.current_dir(bindings("python")).env("HITHER_RUNTIME_DIR", &run);
        succeeds(command.output().expect("it runs"));
    }
}
