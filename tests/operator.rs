//! hitherctl with a running daemon, with one that hangs and without one, and with a closed output.

#[path = "operator/explain.rs"]
mod explain;
#[path = "operator/sources.rs"]
mod sources;
mod support;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::Section;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Daemon, Upstream, answer, compose, directory, skip};

const CTL: &str = env!("CARGO_BIN_EXE_hitherctl");

fn good() -> Upstream {
    Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))])
}

/// Source and detail of an answer in JSON, and the first line of the text.
fn source_of(daemon: &Daemon, name: &str) -> (String, String, String) {
    let report = daemon.json(&["query", name]);
    let word = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    let text = String::from_utf8(daemon.ctl(&["query", name]).stdout).expect("text");
    (word("source"), word("source_detail"), text.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn the_hit_rate_is_a_share_and_null_before_the_first_query() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    let status = daemon.json(&["status"]);
    assert!(status["hit_rate"].is_null() && status["upstreams"][0]["hit_rate"].is_null(), "{status}");
    assert_eq!(
        (&status["upstreams"][0]["transport"], &status["upstreams"][0]["tls"]),
        (&"udp".into(), &().into())
    );
    let text = || String::from_utf8(daemon.ctl(&["status"]).stdout).expect("text");
    assert!(text().contains("\ncache      no queries yet\n"), "{}", text());
    daemon.ask("www.example");
    let first = text();
    assert!(
        first.contains("  1 query, 1 answer\n") && first.contains("hit rate 0 %: 0 of 1 query\n"),
        "{first}"
    );
    for _ in 0..3 {
        daemon.ctl(&["query", "www.example"]);
    }
    daemon.ctl(&["query", "a.localhost"]);
    let status = daemon.json(&["status"]);
    assert_eq!(
        (status["hit_rate"].as_f64(), status["looked_up"].as_u64()),
        (Some(0.75), Some(4)),
        "{status}"
    );
    assert_eq!(status["upstreams"][0]["hit_rate"], 0.75);
    let stats = daemon.json(&["stats"]);
    assert!(stats["hits"].as_u64() <= stats["queries"].as_u64(), "{stats}");
}

#[test]
fn a_sorter_is_expected_for_a_while_before_it_is_reported_missing() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    assert_eq!(daemon.json(&["status"])["sorter"]["state"], "starting");
    let off = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    assert_eq!(off.json(&["status"])["sorter"]["state"], "off");
}

#[test]
fn svcb_records_are_printed_as_rfc_9460_writes_them() {
    const RDATA: &[u8] = b"\0\x01\0\0\x01\0\x06\x02h2\x02h3\0\x04\0\x04\xc0\0\x02\x01";
    let upstream = Upstream::start(|query, _| {
        let reply = compose(query, Rcode::NOERROR, 0, |composer| {
            assert!(composer.record(Section::Answer, Owner::At(12), Rtype::HTTPS, 300, RDATA));
        });
        vec![(0, reply)]
    });
    let daemon = Daemon::start(&[&upstream], "");
    let report = daemon.json(&["query", "www.example", "HTTPS"]);
    assert_eq!(report["answer"][0], r#"www.example. 300 IN HTTPS 1 . alpn="h2,h3" ipv4hint=192.0.2.1"#);
}

/// RFC 1035, section 5.1: other octets are escaped in decimal, so that the name can be typed again.
#[test]
fn names_are_printed_so_that_they_can_be_asked_for() {
    const NAME: &[u8] = b"\x03a b\x07example\0";
    let upstream = Upstream::start(|query, _| {
        // After the header and the name.
        let rtype = Rtype(u16::from_be_bytes([query[25], query[26]]));
        let rdata = match rtype {
            Rtype::MX => [&[0, 10], NAME].concat(),
            Rtype::SRV => [&[0, 1, 0, 2, 0, 53], NAME].concat(),
            Rtype::A => vec![192, 0, 2, 1],
            _ => NAME.to_vec(),
        };
        let reply = compose(query, Rcode::NOERROR, 0, |composer| {
            assert!(composer.record(Section::Answer, Owner::At(12), rtype, 300, &rdata));
        });
        vec![(0, reply)]
    });
    let daemon = Daemon::start(&[&upstream], "");
    for (rtype, data) in [
        ("A", "192.0.2.1"),
        ("CNAME", r"a\032b.example."),
        ("PTR", r"a\032b.example."),
        ("MX", r"10 a\032b.example."),
        ("SRV", r"1 2 53 a\032b.example."),
    ] {
        let report = daemon.json(&["query", r"x\032y.example", rtype]);
        assert_eq!(report["answer"][0], format!(r"x\032y.example. 300 IN {rtype} {data}"), "{report}");
    }
}

/// systemd from 253 sends SIGHUP and runs the command for one reload.
#[test]
fn a_signal_and_the_command_beside_it_are_one_reload_whichever_comes_first() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    let reloads = || daemon.log().matches("the configuration is reloaded").count();
    daemon.signal(Signal::SIGHUP);
    daemon.until("the signal is taken", |_| reloads() == 1);
    assert!(daemon.ctl(&["reload", "--begun"]).status.success());
    assert_eq!(reloads(), 1);
    assert!(daemon.ctl(&["reload", "--begun"]).status.success(), "before its signal");
    daemon.until("it reloads", |_| reloads() == 2);
    daemon.signal(Signal::SIGHUP);
    assert!(daemon.ctl(&["reload"]).status.success(), "without a signal the command is a reload of its own");
    daemon.until("it reloads", |_| reloads() == 3);
    Daemon::configure(&daemon.dir, &[&upstream], "[cache]\nmax_tll = \"1h\"\n");
    daemon.signal(Signal::SIGHUP);
    daemon.until("it is refused", |d| d.log().contains("is not reloaded"));
    let done = daemon.ctl(&["reload", "--begun"]);
    assert!(!done.status.success() && String::from_utf8_lossy(&done.stderr).contains("max_ttl"), "{done:?}");
    assert_eq!(daemon.log().matches("is not reloaded").count(), 1);
    let problem = daemon.json(&["status"])["problems"][0].as_str().unwrap_or_default().to_owned();
    assert!(
        problem.starts_with("an older configuration is in force") && problem.contains("hither.toml:"),
        "{problem}"
    );
}

#[test]
fn with_a_daemon_that_hangs_requests_fail_in_bounded_time_and_the_table_is_still_read() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask("www.example");
    daemon.signal(Signal::SIGSTOP);
    let began = Instant::now();
    let status = daemon.ctl(&["status"]);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(
        status.status.code() == Some(1) && said.contains("does not answer") && said.contains("hang"),
        "{said}"
    );
    assert!(daemon.ctl(&["lookup", "www.example"]).status.success());
    assert!(daemon.ctl(&["verify"]).status.success());
    daemon.signal(Signal::SIGCONT);
}

#[test]
fn without_a_daemon_the_path_of_the_table_is_reported() {
    let dir = directory();
    let ctl = |words: &[&str]| {
        let done = Command::new(CTL).arg("--runtime-dir").arg(dir.join("run")).args(words).output();
        let done = done.expect("started");
        (done.status.code(), String::from_utf8(done.stderr).expect("text"))
    };
    for words in [&["lookup", "www.example"][..], &["dump"], &["verify"], &["stats"]] {
        let (code, said) = ctl(words);
        assert!(code == Some(1) && said.contains("does it run"), "{words:?}: {said}");
    }
    let (code, said) = ctl(&["status"]);
    assert!(code == Some(1) && said.contains("does it run?"), "{said}");
    let (code, said) = ctl(&["query", "www.example", "FOO"]);
    assert!(code == Some(2) && said.contains("FOO") && said.contains("A, AAAA, CNAME"), "{said}");
    assert_eq!(ctl(&["query", "www.example", "TYPE65534"]).0, Some(1), "a type without a name");
    let stopped = Command::new(CTL).args(["--runtime-dir", "/run/hither", "dump"]).output().expect("started");
    if !Path::new("/run/hither").exists() {
        let said = String::from_utf8_lossy(&stopped.stderr).into_owned();
        assert!(said.contains("systemctl start hitherd.service"), "{said}");
    }
    std::fs::remove_dir_all(dir).expect("removable");
}

#[test]
fn a_name_that_is_not_in_the_table_is_reported_in_one_line() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))]);
    let daemon = Daemon::start(&[&upstream], "");
    for words in [&["lookup", "new.example"][..], &["lookup", "new.example", "AAAA"]] {
        let done = daemon.ctl(words);
        let said = String::from_utf8(done.stderr).expect("text");
        assert_eq!((done.status.code(), done.stdout.len(), said.lines().count()), (Some(3), 0, 1), "{said}");
        assert!(said.contains("new.example. is not in the table; 'hitherctl query new.example.'"), "{said}");
    }
}

/// The test runs in a mount namespace whose file system is too small for the table.
#[test]
fn a_table_without_enough_memory_is_reported_by_every_verb_that_needs_it() {
    let is_alone = unshare(CloneFlags::CLONE_NEWNS).is_ok();
    let sh = |line: &str| Command::new("sh").args(["-c", line]).status().is_ok_and(|done| done.success());
    let dir = directory();
    let run = dir.join("run");
    std::fs::create_dir_all(&run).expect("a directory");
    let mount = format!("mount --make-rprivate / && mount -t tmpfs -o size=64k none {}", run.display());
    if !is_alone || !sh(&mount) {
        std::fs::remove_dir_all(&dir).expect("removable");
        return skip("a_table_without_enough_memory_is_reported_by_every_verb_that_needs_it", "needs root");
    }
    let upstream = good();
    let daemon = Daemon::start_in(dir, &[&upstream], "");
    let problem = daemon.json(&["status"])["problems"][0].as_str().unwrap_or_default().to_owned();
    assert!(problem.starts_with("the table cannot be shared"), "{problem}");
    for words in [&["lookup", "www.example"][..], &["dump"], &["verify"], &["stats"]] {
        let done = daemon.ctl(words);
        let said = String::from_utf8(done.stderr).expect("text");
        assert!(done.status.code() == Some(1) && said.contains(&problem), "{words:?}: {said}");
    }
    let found = String::from_utf8(daemon.ctl(&["doctor"]).stdout).expect("text");
    for check in ["hitherd  ", "table  "] {
        let line = found.lines().find(|line| line[9..].starts_with(check)).unwrap_or_default();
        assert!(!line.starts_with("ok") && line.contains(&problem), "{found}");
    }
    assert!(found.contains(&format!(" upstreams          {}", upstream.address)), "{found}");
}

/// The test runs in a mount namespace where user hither may read few files.
#[test]
fn a_check_by_root_reports_files_that_the_daemons_user_cannot_read_and_why() {
    let dir = directory();
    let set = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    set(&dir, 0o755);
    std::fs::create_dir_all(dir.join("private/deep")).expect("a directory");
    for (name, mode) in [("good", 0o644), ("secret", 0o600), ("private/deep/list", 0o644), ("group", 0o640)] {
        std::fs::write(dir.join(name), "a.example\n").expect("written");
        set(&dir.join(name), mode);
    }
    set(&dir.join("private"), 0o700);
    std::os::unix::fs::symlink("private/deep/list", dir.join("link")).expect("a link");
    let config = dir.join("hither.toml");
    let lists =
        ["good", "secret", "group", "link", "missing"].map(|name| dir.join(name).display().to_string());
    let upstream = "[[upstream]]\naddress = \"192.0.2.1\"\n";
    std::fs::write(&config, format!("{upstream}[hosts]\nfiles = []\n[[block]]\nfiles = {lists:?}\n"))
        .expect("written");
    std::fs::write(dir.join("passwd"), "root:x:0:0::/:/bin/sh\nhither:x:64990:64990::/:/bin/false\n")
        .expect("written");
    let script = "mount --bind \"$1/passwd\" /etc/passwd && exec \"$2\" --check --config \"$1/hither.toml\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&dir).arg(env!("CARGO_BIN_EXE_hitherd"));
    let output = command.output();
    let test = "a_check_by_root_reports_files_that_the_daemons_user_cannot_read_and_why";
    let Ok(output) = output.map_err(drop) else { return skip(test, "needs unshare(1)") };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !nix::unistd::geteuid().is_root() || said.contains("unshare failed") {
        std::fs::remove_dir_all(&dir).expect("removable");
        return skip(test, "needs root");
    }
    let missing = dir.join("missing").display().to_string();
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()),
        (
            Some(0),
            format!(
                "hint: there is no file '{missing}'; it is read once it exists\nthe configuration is right\n"
            )
        ),
        "{said}"
    );
    let line = |name: &str| said.lines().find(|line| line.contains(&format!("/{name}'"))).unwrap_or_default();
    assert!(
        line("secret").contains("by user hither: Permission denied") && line("secret").contains("own mode"),
        "{said}"
    );
    assert!(line("group").contains("own mode"), "root's groups are not the user's: {said}");
    let private = format!("the directory '{}' does not let it through", dir.join("private").display());
    assert!(line("link").contains(&private), "{said}");
    assert!(!said.contains("/missing'") && !said.contains("hither.toml'"), "{said}");
    if !Path::new("/run/systemd/system").exists() {
        assert!(!said.contains("/good'"), "{said}");
    }
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn a_check_names_what_cannot_work_of_an_encrypted_upstream() {
    let dir = directory();
    let config = dir.join("hither.toml");
    let missing = dir.join("site.pem").display().to_string();
    let tls = "[[upstream]]\naddress = \"tls://dns.example@192.0.2.1\"\n";
    let checked = |text: &str| {
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
        let done = command.arg("--check").arg("--config").arg(&config).output().expect("started");
        (done.status.code(), String::from_utf8(done.stderr).expect("text"))
    };
    for (text, place, expected) in [
        (
            "[[upstream]]\naddress = \"192.0.2.1@853#dns.example\"\n",
            "2:11",
            "write \"tls://dns.example@192.0.2.1\"",
        ),
        ("[[upstream]]\naddress = \"ftp://dns.example\"\n", "2:11", "there is no scheme ftp://"),
        (&format!("{tls}pins = [\"sha256/AAAA\"]\n"), "3:9", "'sha256/AAAA' is not a pin"),
        (&format!("{tls}verify = \"pin\"\n"), "3:10", "needs at least one pin"),
        (&format!("{tls}ca_file = \"{missing}\"\n"), "3:11", "cannot read the certificate authorities"),
        ("[tls]\nbootstrap = [\"tls://dns.example\"]\n", "2:14", "is itself a name"),
        (&format!("{tls}pinns = []\n"), "3:1", "the nearest known key is 'pins'"),
    ] {
        let (code, said) = checked(text);
        assert_eq!(code, Some(78), "{text}: {said}");
        let place = format!("{}:{place}: ", config.display());
        assert!(said.contains(&place) && said.contains(expected), "{text}: {said}");
    }
    assert_eq!(checked(tls), (Some(0), String::new()));
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn no_verb_panics_when_its_output_is_closed() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    let mut names = String::new();
    for n in 0..40 {
        let name = format!("n{n}.example");
        daemon.ask(&name);
        let _ = writeln!(names, "{name}");
    }
    let run = daemon.dir.join("run");
    let verbs: &[&[&str]] = &[
        &["lookup", "n1.example"],
        &["query", "n1.example"],
        &["dump"],
        &["verify"],
        &["stats"],
        &["status"],
        &["reload"],
        &["flush", "n1.example"],
        &["doctor"],
        &["--help"],
        &["lookup", "no.such.name.example"],
        &["no-such-verb"],
        &["enable-nss", "--file", "/nonexistent"],
    ];
    for (words, json) in verbs.iter().flat_map(|words| [(words, false), (words, true)]) {
        let mut command = Command::new(CTL);
        command.arg("--runtime-dir").arg(&run).args(json.then_some("--json")).args(*words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        drop((child.stdout.take(), child.stderr.take()));
        let code = child.wait().expect("it ends").code();
        assert!(code.is_some_and(|code| code < 5), "{words:?}: {code:?}");
    }
    let config = daemon.dir.join("hither.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    let child =
        command.arg("--check").arg("--config").arg(config).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("started");
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
