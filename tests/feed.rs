//! The feed of changes at its socket, with the real daemon: records, leases, limits, gaps, and how soon a
//! change is told.
#![allow(clippy::print_stdout)] // The times are printed.

#[path = "feed/leases.rs"]
mod leases;
#[path = "feed/limits.rs"]
mod limits;
#[path = "feed/speed.rs"]
mod speed;
mod support;

use hither_feed::{Cause, Datagram, Families, RECORD_MAX, Record, Refusal};
use hither_net::seqpacket::Connection;
use hither_table::{Counter, Family};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Composer, Owner};
use hither_wire::message::Section;
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use support::{Daemon, PATIENCE, Upstream, answer, directory};

/// A change as a test compares it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Told {
    cause: Cause,
    family: Family,
    coalesced: bool,
    version: u64,
    set_version: u64,
    name: String,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Got {
    Change(Told),
    Gap,
    Accepted { names: u32, version: u64 },
    Refused(Refusal),
}

/// A program that is subscribed.
struct Program(Connection);

impl Program {
    fn connect(daemon: &Daemon) -> Program {
        Program::at(&daemon.dir.join("run"), Some(PATIENCE)).expect("the socket accepts")
    }

    fn at(run: &Path, timeout: Option<Duration>) -> std::io::Result<Program> {
        Connection::connect(&run.join("changes"), timeout).map(Program)
    }

    /// The next record; `None` at the end of the connection.
    fn next(&self) -> Option<Got> {
        let mut buffer = [0; RECORD_MAX];
        let octets = self.0.receive(&mut buffer).expect("a record within the time");
        if octets.is_empty() {
            return None;
        }
        Some(match Record::read(octets).expect("a known record") {
            Record::Change(change) => {
                let name = Name::from_wire(change.name).expect("a name").to_string();
                Got::Change(Told {
                    cause: change.cause,
                    family: change.family,
                    coalesced: change.coalesced,
                    version: change.version,
                    set_version: change.set_version,
                    name,
                })
            }
            Record::Gap { .. } => Got::Gap,
            Record::Accepted { names, version } => Got::Accepted { names, version },
            Record::Refused { reason, .. } => Got::Refused(reason),
        })
    }

    /// The next change of a family.
    fn change(&self, family: Family) -> Told {
        loop {
            match self.next().expect("the connection lives") {
                Got::Change(told) if told.family == family => return told,
                Got::Change(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Sends a datagram without waiting for its answer.
    fn send(&self, families: Families, names: &[&str]) {
        let mut datagram = Datagram::new();
        for name in names {
            datagram.add(families, &name.parse().expect("a name")).expect("it fits");
        }
        self.0.send(datagram.octets()).expect("sent");
    }

    /// Subscribes, and returns the answer. Records before it are passed over.
    fn subscribe(&self, families: Families, names: &[&str]) -> Got {
        self.send(families, names);
        loop {
            match self.next().expect("the connection lives") {
                answer @ (Got::Accepted { .. } | Got::Refused(_)) => return answer,
                Got::Change(_) | Got::Gap => {}
            }
        }
    }
}

/// An upstream whose only address ends in the number that it has now. It denies AAAA.
fn changing(ttl_s: u32) -> (Upstream, Arc<AtomicU8>) {
    let end = Arc::new(AtomicU8::new(1));
    let upstream = Upstream::start({
        let end = Arc::clone(&end);
        move |query, _| {
            let is_a = Query::read(query).is_ok_and(|query| query.qtype() == Rtype::A);
            let ends = [end.load(Ordering::SeqCst)];
            vec![(0, answer(query, if is_a { &ends } else { &[] }, ttl_s))]
        }
    });
    (upstream, end)
}

/// An SOA record with which a denial may be kept for an hour.
fn denial(composer: &mut Composer<'_>) {
    let numbers = [1u32, 3600, 600, 86_400, 3600];
    let data: Vec<u8> = [0, 0].into_iter().chain(numbers.into_iter().flat_map(u32::to_be_bytes)).collect();
    assert!(composer.record(Section::Authority, Owner::At(12), Rtype::SOA, 3600, &data));
}

fn counter(daemon: &Daemon, counter: Counter) -> u64 {
    daemon.json(&["stats"])[counter.name()].as_u64().expect("a number")
}

#[test]
fn a_change_is_told_with_its_cause_and_version() {
    let (upstream, end) = changing(3600);
    let hosts = directory().join("hosts");
    std::fs::write(&hosts, "").expect("writable");
    let daemon = Daemon::start(&[&upstream], &format!("[hosts]\nfiles = [{hosts:?}]\n"));
    let program = Program::connect(&daemon);
    let Got::Accepted { names: 1, version } = program.subscribe(Families::A, &["WWW.Example"]) else {
        panic!("it is accepted");
    };
    let first = program.change(Family::A);
    assert_eq!((first.cause, first.coalesced, first.name.as_str()), (Cause::NewSet, false, "www.example."));
    assert!(first.version > version && first.set_version == first.version, "{first:?} after {version}");
    let entry = daemon.json(&["lookup", "www.example"]);
    assert_eq!(entry["version"].as_u64(), Some(first.version));
    // A flush is no change if the addresses come back.
    assert!(daemon.ctl(&["flush", "www.example"]).status.success());
    daemon.until("it is looked up again", |_| upstream.count() >= 2);
    end.store(2, Ordering::SeqCst);
    daemon
        .until("it is in the table again", |daemon| daemon.ctl(&["lookup", "www.example"]).status.success());
    assert!(daemon.ctl(&["flush", "www.example"]).status.success());
    let second = program.change(Family::A);
    assert_eq!((second.cause, second.coalesced), (Cause::NewSet, false));
    assert!(second.version > first.version, "{second:?}");
    // A name of a file is told as such, and so is its next change.
    for address in ["192.0.2.7", "192.0.2.8"] {
        std::fs::write(&hosts, format!("{address} www.example\n")).expect("writable");
        assert_eq!(program.change(Family::A).cause, Cause::Local, "{address}");
    }
    std::fs::write(&hosts, "").expect("writable");
    assert_eq!(program.change(Family::A).cause, Cause::NewSet);
    let status = daemon.json(&["status"]);
    assert_eq!(status["feed"], serde_json::json!({ "subscribers": 1, "names": 1 }));
    drop(program);
    daemon.until("the subscriber is gone", |daemon| {
        daemon.json(&["status"])["feed"] == serde_json::json!({ "subscribers": 0, "names": 0 })
    });
}

#[test]
fn a_denial_and_the_end_of_a_name_are_told() {
    let denies = Arc::new(AtomicU8::new(0));
    let upstream = Upstream::start({
        let denies = Arc::clone(&denies);
        move |query, _| match denies.load(Ordering::SeqCst) {
            0 => vec![(0, answer(query, &[1, 2], 3600))],
            1 => vec![(0, support::compose(query, Rcode::NOERROR, 0, denial))],
            _ => vec![(0, support::compose(query, Rcode::SERVFAIL, 0, |_| {}))],
        }
    });
    let daemon = Daemon::start(&[&upstream], "");
    let program = Program::connect(&daemon);
    assert!(matches!(program.subscribe(Families::A, &["www.example"]), Got::Accepted { .. }));
    assert_eq!(program.change(Family::A).cause, Cause::NewSet);
    for (state, cause) in [(1, Cause::Withdrawn), (0, Cause::NewSet), (2, Cause::Gone)] {
        denies.store(state, Ordering::SeqCst);
        assert!(daemon.ctl(&["flush", "www.example"]).status.success());
        let told = program.change(Family::A);
        assert_eq!(told.cause, cause);
        assert_eq!(told.set_version != 0, cause == Cause::NewSet, "{told:?}");
    }
}

#[test]
fn a_subscriber_sees_the_end_of_the_daemon() {
    let (upstream, _) = changing(3600);
    let mut daemon = Daemon::start(&[&upstream], "");
    let program = Program::connect(&daemon);
    assert!(matches!(program.subscribe(Families::Both, &["www.example"]), Got::Accepted { .. }));
    daemon.process.kill().expect("it runs");
    daemon.process.wait().expect("a child");
    while program.next().is_some() {}
}
