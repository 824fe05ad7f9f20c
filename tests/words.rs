//! The real daemon with imperfect hosts files and block lists: lost, malformed or incomplete, and
//! with names that upstreams deny.

mod support;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::{Message, Section};
use std::path::Path;
use support::{Daemon, Upstream, answer, ask_for, compose, directory, ends};

/// An upstream that denies names that begin with `no`, and has an address for all others.
fn denying() -> Upstream {
    Upstream::start(|query, _| {
        let asked = Message::read(query).expect("readable").question().expect("one").name;
        let denied = asked.labels().next().is_some_and(|label| label.to_ascii_lowercase().starts_with(b"no"));
        let soa = [&b"\x02ns\x04test\0\x04root\x04test\0"[..], &[0; 16], &[0, 0, 1, 0]].concat();
        let reply = match denied {
            true => compose(query, Rcode::NXDOMAIN, 0, |out| {
                out.record(Section::Authority, Owner::Wire(b"\x04test\0"), Rtype::SOA, 300, &soa);
            }),
            false => answer(query, &[1], 300),
        };
        vec![(0, reply)]
    })
}

fn code(daemon: &Daemon, name: &str, rtype: Rtype) -> Rcode {
    let reply = daemon.exchange(&ask_for(name, rtype, Some(1232), 7));
    Message::read(&reply).expect("readable").header().rcode()
}

fn replace(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::write(path.with_extension("new"), text).expect("written");
    std::fs::rename(path.with_extension("new"), path).expect("renamed");
}

/// The problem that status reports for a file.
fn file(daemon: &Daemon, path: &Path) -> serde_json::Value {
    let status = daemon.json(&["status"]);
    let files = status["files"].as_array().cloned().unwrap_or_default();
    files.into_iter().find(|file| file["path"] == path.to_str().unwrap_or_default()).unwrap_or_default()
}

fn problem(daemon: &Daemon, path: &Path) -> String {
    file(daemon, path)["problem"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_last_good_content_of_a_file_stays_in_force_when_the_file_is_lost() {
    let upstream = denying();
    let dir = directory();
    let (hosts, list) = (dir.join("hosts.txt"), dir.join("block.txt"));
    std::fs::write(&hosts, "192.0.2.7 nas.test\n").expect("written");
    std::fs::write(&list, "ads.test\nhttp://odd.test/\n").expect("written");
    let more = format!("[hosts]\nfiles = [{hosts:?}]\n[[block]]\nfiles = [{list:?}]\n");
    let daemon = Daemon::start_in(dir, &[&upstream], &more);
    let blocked = |daemon: &Daemon| code(daemon, "x.ads.test", Rtype::A) == Rcode::NXDOMAIN;
    assert!(blocked(&daemon) && ends(&daemon.ask("nas.test")) == [7]);
    let seen = file(&daemon, &list);
    assert_eq!((seen["names"].as_u64(), seen["passed_over"].as_u64()), (Some(1), Some(1)), "{seen}");
    assert!(problem(&daemon, &list).starts_with("line 2: 'http://odd.test/'"), "{seen}");
    assert!(daemon.log().contains(": 1 lines passed over; expected a name"), "{}", daemon.log());
    // Files as left by a failed download, a killed editor, a full disk, and a save in a wrong encoding.
    let utf16: Vec<u8> = "ads.test\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (text, says) in [
        (&b"<html>\n<body>404\n"[..], "has no valid line"),
        (b"", "is empty"),
        (&[0; 4096], "is empty"),
        (&utf16, "has no valid line"),
    ] {
        replace(&list, text);
        daemon.until("status says so", |d| problem(d, &list).contains(says));
        let then = problem(&daemon, &list);
        assert!(then.contains("its previous data stays in force, 1 name"), "{then}");
        assert!(blocked(&daemon), "{says}");
        replace(&list, "ads.test\n");
        daemon.until("it is read again", |d| problem(d, &list).is_empty());
    }
    std::fs::remove_file(&list).expect("removed");
    daemon.until("status says so", |d| problem(d, &list).starts_with("cannot be read: No such file"));
    assert!(blocked(&daemon));
    std::fs::create_dir(&list).expect("created");
    daemon.until("status says why", |d| problem(d, &list).starts_with("cannot be read: Is a directory"));
    assert!(blocked(&daemon));
    std::fs::remove_dir(&list).expect("removed");
    replace(&list, "# nothing is blocked\n");
    daemon.until("a file with only a comment is intended to be empty", |d| !blocked(d));
    assert!(problem(&daemon, &list).is_empty());
    // An empty hosts file is valid.
    replace(&hosts, [0; 512]);
    daemon.until("a file of NULs is no hosts file", |d| problem(d, &hosts).contains("is empty"));
    assert_eq!(ends(&daemon.ask("nas.test")), [7]);
    replace(&hosts, "");
    daemon.until("the file has no names", |d| ends(&d.ask("nas.test")) == [1]);
    assert!(problem(&daemon, &hosts).is_empty());
}

#[test]
fn no_upstream_denies_a_name_of_a_hosts_file_or_its_parent_domain() {
    let upstream = denying();
    let dir = directory();
    let hosts = dir.join("hosts.txt");
    std::fs::write(&hosts, "192.0.2.7 nobody.nolan.test\n").expect("written");
    let daemon = Daemon::start_in(dir, &[&upstream], &format!("[hosts]\nfiles = [{hosts:?}]\n"));
    for _ in 0..2 {
        for rtype in [Rtype::TXT, Rtype::MX, Rtype::SRV, Rtype::NS, Rtype::AAAA, Rtype::HTTPS, Rtype::ANY] {
            assert_eq!(code(&daemon, "nobody.nolan.test", rtype), Rcode::NOERROR, "{rtype}");
        }
        assert_eq!(code(&daemon, "nolan.test", Rtype::A), Rcode::NOERROR, "nor its parent domain");
        assert_eq!(code(&daemon, "nowhere.test", Rtype::A), Rcode::NXDOMAIN);
        assert_eq!(code(&daemon, "nothing.nobody.nolan.test", Rtype::TXT), Rcode::NXDOMAIN);
    }
    assert_eq!(ends(&daemon.exchange(&ask_for("nobody.nolan.test", Rtype::ANY, None, 7))), [7]);
    // Without the file the upstream's denial counts, with the file its names exist.
    replace(&hosts, "");
    daemon.until("it is denied", |d| code(d, "nobody.nolan.test", Rtype::TXT) == Rcode::NXDOMAIN);
    assert_eq!(code(&daemon, "nolan.test", Rtype::A), Rcode::NXDOMAIN);
    replace(&hosts, "192.0.2.7 nobody.nolan.test\n");
    daemon.until("it exists", |d| code(d, "nolan.test", Rtype::A) == Rcode::NOERROR);
    assert_eq!(code(&daemon, "nobody.nolan.test", Rtype::TXT), Rcode::NOERROR);
}

#[test]
fn a_fifo_in_place_of_any_file_blocks_nothing() {
    let upstream = denying();
    let dir = directory();
    let hosts = dir.join("hosts.txt");
    std::fs::write(&hosts, "192.0.2.7 nas.test\n").expect("written");
    let daemon = Daemon::start_in(dir.clone(), &[&upstream], &format!("[hosts]\nfiles = [{hosts:?}]\n"));
    let fifo = |path: &Path| {
        let _ = std::fs::remove_file(path);
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    };
    fifo(&hosts);
    daemon.until("status reports it", |daemon| problem(daemon, &hosts).contains("it is a FIFO, not a file"));
    let line = |daemon: &Daemon| daemon.json(&["query", "nas.test"])["source_detail"].clone();
    let began = std::time::Instant::now();
    // One more search for the line than may run at once.
    (0..5).for_each(|_| assert_ne!(line(&daemon), serde_json::Value::Null));
    replace(&hosts, "192.0.2.7 nas.test\n");
    assert_eq!(line(&daemon), format!("{}:1", hosts.display()), "searches come to an end");

    let drop_in = dir.join("hither.toml.d/a.toml");
    std::fs::create_dir(dir.join("hither.toml.d")).expect("a directory");
    fifo(&drop_in);
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    let said = daemon.wait_for("the old one stays in force");
    assert!(said.contains("a.toml: cannot be read: it is a FIFO, not a file"), "{said}");
    assert_eq!(ends(&daemon.ask("nas.test")), [7]);
    let check = std::process::Command::new("timeout")
        .args(["10", env!("CARGO_BIN_EXE_hitherd"), "--check", "--config"])
        .arg(dir.join("hither.toml"))
        .output()
        .expect("started");
    assert_eq!(check.status.code(), Some(78), "{check:?}");
    std::fs::remove_file(&drop_in).expect("removable");
    std::os::unix::fs::symlink("/dev/null", &drop_in).expect("a link");
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.wait_for("the configuration is reloaded");
    assert!(began.elapsed() < std::time::Duration::from_secs(60));
}
