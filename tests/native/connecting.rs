//! hither_connect with real sockets: addresses that answer, refuse and are silent; in threads, children
//! and between signals; with and without the daemon.

use crate::support::{Daemon, Upstream, compile, compose, directory};
use crate::{command, has, soa, text};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::Section;
use hither_wire::query::Query;
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

/// The end of the address at which a server listens. Nothing listens at 127.0.0.2.
const ANSWERS: u8 = 3;
/// The end of the address at which the queue of connections is full, so that the kernel drops further
/// ones.
const IS_SILENT: u8 = 4;

/// Addresses 127.0.0.n with one port.
struct Servers {
    port: u16,
    answering: TcpListener,
    _silent: Socket,
    _queued: TcpStream,
}

impl Servers {
    fn start() -> Servers {
        loop {
            let answering = TcpListener::bind((Ipv4Addr::new(127, 0, 0, ANSWERS), 0)).expect("a port");
            let port = answering.local_addr().expect("bound").port();
            let address = SocketAddr::from(([127, 0, 0, IS_SILENT], port));
            let silent = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            if silent.bind(&address.into()).is_err() {
                continue;
            }
            silent.listen(0).expect("it listens");
            let queued = TcpStream::connect(address).expect("room for one");
            return Servers { port, answering, _silent: silent, _queued: queued };
        }
    }
}

/// An upstream that answers A of `a-b.example` with 127.0.0.a and 127.0.0.b. AAAA of names that begin with
/// `late` is never answered.
fn upstream() -> Upstream {
    Upstream::start(|query, _| {
        let read = Query::read(query).expect("the daemon's own");
        let name = read.name_lower().to_string();
        let ends = name.split('.').next().unwrap_or_default().trim_start_matches("late-").split('-');
        let ends: Vec<u8> = ends.filter_map(|end| end.parse().ok()).collect();
        if read.qtype() != Rtype::A && name.starts_with("late") {
            return Vec::new();
        }
        let reply =
            compose(query, if ends.is_empty() { Rcode::NXDOMAIN } else { Rcode::NOERROR }, 0, |composer| {
                if read.qtype() != Rtype::A || ends.is_empty() {
                    return soa(composer);
                }
                for end in &ends {
                    assert!(composer.record(
                        Section::Answer,
                        Owner::At(12),
                        Rtype::A,
                        600,
                        &[127, 0, 0, *end]
                    ));
                }
            });
        vec![(0, reply)]
    })
}

/// What `tests/native/connect.c` says.
struct Connect<'d> {
    daemon: &'d Daemon,
    program: PathBuf,
    port: u16,
}

impl Connect<'_> {
    fn run(&self, name: &str, more: [&str; 4]) -> String {
        let mut run = command(self.daemon, self.program.to_str().expect("UTF-8"));
        said(run.args([name, &self.port.to_string()]).args(more))
    }

    fn once(&self, name: &str, timeout_ms: &str) -> String {
        self.run(name, [timeout_ms, "0", "0", "0"])
    }
}

fn said(run: &mut Command) -> String {
    let output = run.output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    text(&output).trim_end().to_owned()
}

#[test]
fn a_connection_is_made_whatever_the_other_addresses_do() {
    let test = "a_connection_is_made_whatever_the_other_addresses_do";
    if !has("gcc", test) {
        return;
    }
    let (servers, upstream) = (Servers::start(), upstream());
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    let program = compile(&daemon.dir, "tests/native/connect.c", &[]);
    let connect = Connect { daemon: &daemon, program, port: servers.port };
    let accepting = servers.answering.try_clone().expect("a descriptor");
    std::thread::spawn(move || while accepting.accept().is_ok() {});
    let good = format!("0 127.0.0.{ANSWERS}");
    // The table is empty, so the daemon is asked; then the name is in the table.
    let names = ["3.example", "2-3.example", "4-3.example", "2-4-2-3.example", "4-2-3.example"];
    for name in names {
        assert_eq!(connect.once(name, "30000"), good, "{name}");
    }
    let asked = upstream.count();
    for name in names {
        assert_eq!(connect.run(name, ["30000", "4", "5", "0"]), good, "{name}, in threads and children");
    }
    assert_eq!(connect.run("4-3.example", ["30000", "1", "5", "1"]), good, "between signals");
    assert_eq!(upstream.count(), asked, "everything came from the table");
    assert_eq!(connect.once("2.example", "30000"), "14 ECONNREFUSED");
    assert_eq!(connect.once("4.example", "300"), "14 ETIMEDOUT");
    assert_eq!(connect.once("4-2.example", "300"), "14 ETIMEDOUT");
    assert_eq!(connect.once("3.example", "0"), "14 ETIMEDOUT");
    assert_eq!(connect.once("none.example", "30000"), "13 -");
    for left_to_others in ["localhost", "127.0.0.3", "printer.local", "unqualified"] {
        assert_eq!(connect.once(left_to_others, "30000"), "3 -", "{left_to_others}");
    }
}

/// The time of the call is shorter than that for which the daemon would be asked.
#[test]
fn a_family_without_an_answer_does_not_hold_up_the_other() {
    let test = "a_family_without_an_answer_does_not_hold_up_the_other";
    if !has("gcc", test) {
        return;
    }
    let (servers, upstream) = (Servers::start(), upstream());
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    let program = compile(&daemon.dir, "tests/native/connect.c", &[]);
    let connect = Connect { daemon: &daemon, program, port: servers.port };
    assert_eq!(connect.once("late-3.example", "1400"), format!("0 127.0.0.{ANSWERS}"));
}

#[test]
fn without_a_daemon_the_table_is_enough_and_without_both_the_program_is_told() {
    let test = "without_a_daemon_the_table_is_enough_and_without_both_the_program_is_told";
    if !has("gcc", test) {
        return;
    }
    let (servers, upstream) = (Servers::start(), upstream());
    let mut daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    let program = compile(&daemon.dir, "tests/native/connect.c", &[]);
    let good = format!("0 127.0.0.{ANSWERS}");
    let connect = Connect { daemon: &daemon, program: program.clone(), port: servers.port };
    assert_eq!(connect.once("3.example", "30000"), good);
    daemon.process.kill().expect("it runs");
    daemon.process.wait().expect("a child");
    let connect = Connect { daemon: &daemon, program: program.clone(), port: servers.port };
    assert_eq!(connect.once("3.example", "30000"), good);
    assert_eq!(connect.once("2-3.example", "30000"), "3 -", "missing, and nobody to ask");
    let empty = directory();
    let mut run = command(&daemon, program.to_str().expect("UTF-8"));
    run.env("HITHER_RUNTIME_DIR", empty.join("run"));
    let port = servers.port.to_string();
    assert_eq!(said(run.args(["3.example", &port, "30000", "0", "0", "0"])), "5 -");
    std::fs::remove_dir_all(&empty).expect("removable");
}
