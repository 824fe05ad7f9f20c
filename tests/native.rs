//! libnss_hither and libhither as programs use them: getent, getaddrinfo in other programs, C
//! programs under sanitizers, Python.
//!
//! A test that needs root (a private /etc/nsswitch.conf, a chroot, a time namespace) or a missing
//! tool prints SKIPPED and why.
#![allow(clippy::print_stdout)]

#[path = "native/connecting.rs"]
mod connecting;
#[path = "native/expired.rs"]
mod expired;
#[path = "native/families.rs"]
mod families;
#[path = "native/getent.rs"]
mod getent;
#[path = "native/library.rs"]
mod library;
#[path = "native/namespaces.rs"]
mod namespaces;
#[path = "native/page.rs"]
mod page;
mod support;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Owner, flags};
use hither_wire::message::Section;
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::process::{Command, Output};
use support::{Daemon, Upstream, answer, compose, libraries, skip as skipped};

fn has(tool: &str, test: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        skipped(test, &format!("{tool} is not installed"));
    }
    found
}

fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped(test, "needs root for namespaces of its own");
    }
    root
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A command that loads the built libraries and reads this daemon's table.
fn command(daemon: &Daemon, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", libraries()).env("HITHER_RUNTIME_DIR", daemon.dir.join("run"));
    command
}

fn getent(daemon: &Daemon, args: &[&str]) -> (Option<i32>, Vec<String>) {
    let output = command(daemon, "getent").args(["-s", "hosts:hither"]).args(args).output().expect("getent");
    (output.status.code(), text(&output).lines().map(str::to_owned).collect())
}

fn addresses(lines: &[String]) -> Vec<&str> {
    let mut all: Vec<&str> = lines
        .iter()
        .filter(|l| !l.contains("DGRAM") && !l.contains("RAW"))
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    all.dedup();
    all
}

/// An upstream that answers all names of these tests.
fn upstream() -> Upstream {
    Upstream::start(|query, tcp| {
        let read = Query::read(query).expect("the daemon's own");
        let name = read.name_lower().to_string();
        let a = read.qtype() == Rtype::A;
        if name == "silent.example." {
            return Vec::new();
        }
        let reply = match name.as_str() {
            "none.example." => compose(query, Rcode::NXDOMAIN, 0, soa),
            "v4.example." | "last.example." | "a100.example." | "a255.example." if !a => {
                compose(query, Rcode::NOERROR, 0, soa)
            }
            "alias.example." => compose(query, Rcode::NOERROR, 0, |composer| {
                let target = |text: &str| text.parse::<Name>().expect("a name");
                let (middle, last) = (target("middle.example"), target("last.example"));
                let cname = Rtype(5);
                assert!(composer.record(Section::Answer, Owner::At(12), cname, 60, middle.as_wire()));
                assert!(composer.record(
                    Section::Answer,
                    Owner::Wire(middle.as_wire()),
                    cname,
                    60,
                    last.as_wire()
                ));
                if a {
                    assert!(composer.record(
                        Section::Answer,
                        Owner::Wire(last.as_wire()),
                        Rtype::A,
                        60,
                        &[198, 18, 0, 9]
                    ));
                }
            }),
            "web.example." if a => compose(query, Rcode::NOERROR, 0, |composer| {
                assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 60, &[127, 0, 0, 1]));
            }),
            "a100.example." | "a255.example." if a && !tcp => {
                compose(query, Rcode::NOERROR, flags::TC, |_| {})
            }
            "a100.example." if a => answer(query, &(1..=100).collect::<Vec<u8>>(), 600),
            "a255.example." if a => answer(query, &(1..=255).collect::<Vec<u8>>(), 600),
            "short.example." if a => answer(query, &[7], 5),
            "many.example." if a => answer(query, &(1..=40).collect::<Vec<u8>>(), 600),
            "broken.example." => compose(query, Rcode::SERVFAIL, 0, |_| {}),
            _ if a => answer(query, &[3, 1, 2], 600),
            _ => compose(query, Rcode::NOERROR, 0, |composer| {
                let mut octets = [0; 16];
                octets[..2].copy_from_slice(&[0x20, 0x01]);
                octets[15] = 5;
                assert!(composer.record(Section::Answer, Owner::At(12), Rtype::AAAA, 600, &octets));
            }),
        };
        vec![(0, reply)]
    })
}

fn soa(composer: &mut hither_wire::compose::Composer<'_>) {
    let zone: Name = "example".parse().expect("a name");
    let rdata = [zone.as_wire(), zone.as_wire(), &[0; 16], &300_u32.to_be_bytes()].concat();
    assert!(composer.record(Section::Authority, Owner::Wire(zone.as_wire()), Rtype(6), 300, &rdata));
}
