//! What hitherctl says of a running daemon, of one that hangs and of none; and that it ends quietly when nobody listens to it.

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

/// Source and detail of an answer, and what is said of them.
fn whence(daemon: &Daemon, name: &str) -> (String, String, String) {
    let report = daemon.json(&["query", name]);
    let word = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    let text = String::from_utf8(daemon.ctl(&["query", name]).stdout).expect("text");
    (word("source"), word("source_detail"), text.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn an_answer_from_a_file_names_file_and_line_and_one_by_a_standard_the_standard() {
    let upstream = good();
    let dir = directory();
    let (hosts, list) = (dir.join("hosts"), dir.join("list"));
    std::fs::write(&hosts, "# mine\n127.0.0.1 localhost\n192.0.2.7 nas.example  nas\n").expect("writable");
    let mut text: String = (1..10_000).map(|n| format!("n{n}.ads.example\n")).collect();
    text += "tracker.example\n0.0.0.0 exact.example\n";
    std::fs::write(&list, &text).expect("writable");
    let more = format!(
        "[hosts]\nfiles = [{hosts:?}]\n[[block]]\nnames = [\"bad.example\"]\n[[block]]\nfiles = [{list:?}]\n"
    );
    let daemon = Daemon::start_in(dir, &[&upstream], &more);
    for (name, source, detail) in [
        ("nas.example", "hosts", format!("{}:3", hosts.display())),
        ("7.2.0.192.in-addr.arpa", "special", "RFC 6303".to_owned()),
        ("n1.ads.example", "block", format!("{}:1", list.display())),
        ("n4096.ads.example", "block", format!("{}:4096", list.display())),
        ("n4097.ads.example", "block", format!("{}:4097", list.display())),
        ("www.tracker.example", "block", format!("{}:10000", list.display())),
        ("exact.example", "block", format!("{}:10001", list.display())),
        ("a.bad.example", "block", "names of [[block]] 1 in the configuration".to_owned()),
        ("printer.local", "special", "RFC 6762".to_owned()),
    ] {
        // One search at a time: while the previous one is ending none is begun, and no line is named.
        let (said, what, line) = std::iter::repeat_with(|| whence(&daemon, name))
            .take(1000)
            .find(|(_, what, _)| !what.is_empty())
            .expect("a search is begun some time");
        assert_eq!((said.as_str(), what.as_str()), (source, detail.as_str()), "{name}");
        assert!(line.contains(&detail) && !line.contains("upstream"), "{line}");
    }
    let pointer = daemon.json(&["query", "7.2.0.192.in-addr.arpa", "PTR"]);
    assert_eq!(pointer["source_detail"], format!("{}:3", hosts.display()), "{pointer}");
    std::fs::write(&list, "tracker.example\n").expect("writable");
    daemon.until("the new line is named", |daemon| {
        whence(daemon, "tracker.example").1 == format!("{}:1", list.display())
    });
    assert_eq!(upstream.count(), 0);
}

/// A company's names at the usual upstream, or a router's: the log and query say in one line what to write, and then it counts.
#[test]
fn private_addresses_of_public_names_are_withheld_and_it_is_said_how_to_have_them() {
    let upstream = Upstream::start(|query, _| {
        let private = |composer: &mut hither_wire::compose::Composer<'_>| {
            assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 300, &[192, 168, 178, 1]));
        };
        vec![(0, compose(query, Rcode::NOERROR, 0, private))]
    });
    let daemon = Daemon::start(&[&upstream], "");
    let line = "write allow = [\"router.example.com\"] below [rebinding] in hither.toml(5)";
    for _ in 0..2 {
        let text = String::from_utf8(daemon.ctl(&["query", "router.example.com"]).stdout).expect("text");
        assert!(text.starts_with("NOERROR") && text.contains(line), "{text}");
        assert!(text.contains("withheld at") && text.contains("192.168.178.1"), "{text}");
    }
    let json = daemon.json(&["query", "router.example.com"]);
    assert!(json["hint"].as_str().is_some_and(|hint| hint.contains(line)), "{json}");
    assert!(daemon.json(&["query", "a.test"])["hint"].is_null(), "any network's own name");
    for n in 0..20 {
        daemon.ctl(&["query", &format!("n{n}.example.com")]);
    }
    assert_eq!(daemon.json(&["stats"])["rebinding_blocked"], 21);
    let said = format!("upstream {} says that router.example.com is at 192.168.178.1", upstream.address);
    assert!(daemon.log().contains(&said) && daemon.log().contains(line), "{}", daemon.log());
    assert!(daemon.log().matches("is withheld").count() < 10, "a line every ten seconds is enough");
    Daemon::configure(&daemon.dir, &[&upstream], "[rebinding]\nallow = [\"example.com\"]\n");
    assert!(daemon.ctl(&["reload"]).status.success());
    let text = String::from_utf8(daemon.ctl(&["query", "router.example.com"]).stdout).expect("text");
    assert!(text.contains("A 192.168.178.1") && !text.contains(line), "{text}");
}

/// Of several lines with the name one has the type, in this file or another; lines end in every way.
#[test]
fn the_line_that_has_the_type_is_named_however_lines_end() {
    let upstream = good();
    let dir = directory();
    let (first, second) = (dir.join("first"), dir.join("second"));
    std::fs::write(
        &first,
        "127.0.0.1 both.example four.example\n::1 both.example\n192.0.2.1 split.example\n",
    )
    .expect("writable");
    std::fs::write(
        &second,
        "# old\r192.0.2.2 cr.example\r\n2001:db8::2 split.example\r192.0.2.3 end.example",
    )
    .expect("writable");
    let more = format!("[hosts]\nfiles = [{first:?}, {second:?}]\n");
    let daemon = Daemon::start_in(dir, &[&upstream], &more);
    for (name, rtype, path, line) in [
        ("both.example", "A", &first, 1),
        ("both.example", "AAAA", &first, 2),
        ("four.example", "AAAA", &first, 1),
        ("both.example", "HTTPS", &first, 1),
        ("split.example", "A", &first, 3),
        ("split.example", "AAAA", &second, 3),
        ("cr.example", "A", &second, 2),
        ("end.example", "A", &second, 4),
    ] {
        let report = daemon.json(&["query", name, rtype]);
        assert_eq!(report["source_detail"], format!("{}:{line}", path.display()), "{name} {rtype}: {report}");
    }
}

#[test]
fn a_hosts_file_that_was_lost_is_named_for_what_was_read_of_it_before() {
    let upstream = good();
    let dir = directory();
    let hosts = dir.join("hosts");
    std::fs::write(&hosts, "192.0.2.7 nas.example\n").expect("writable");
    let daemon = Daemon::start_in(dir, &[&upstream], &format!("[hosts]\nfiles = [{hosts:?}]\n"));
    assert_eq!(whence(&daemon, "nas.example").1, format!("{}:1", hosts.display()));
    std::fs::remove_file(&hosts).expect("there");
    std::fs::create_dir(&hosts).expect("a directory");
    daemon.until("it is said to be lost", |daemon| {
        daemon.json(&["status"])["files"][0]["problem"].as_str().is_some_and(|why| why.contains("directory"))
    });
    let text = String::from_utf8(daemon.ctl(&["status"]).stdout).expect("text");
    let line = text.lines().find(|line| line.starts_with("file ")).unwrap_or_default();
    assert!(line.contains("/hosts: cannot be read") && line.ends_with("in force, 1 name"), "{line}");
    let (source, detail, _) = whence(&daemon, "nas.example");
    assert_eq!(source, "hosts");
    assert_eq!(detail, format!("{}, as it was read before", hosts.display()));
}

#[test]
fn an_answer_of_an_upstream_of_the_cache_and_of_a_failure_are_told_apart() {
    let moody = Upstream::start(|query, _| {
        let failing = query.windows(6).any(|six| six.eq_ignore_ascii_case(b"broken"));
        let reply = if failing { compose(query, Rcode::SERVFAIL, 0, |_| {}) } else { answer(query, &[1], 1) };
        vec![(0, reply)]
    });
    let daemon = Daemon::start(
        &[&moody],
        "[cache]\nfailure_ttl = \"60s\"\nprefetch = false\n[round]\ndeadline = \"300ms\"\n",
    );
    let address = moody.address.to_string();
    assert_eq!(daemon.json(&["query", "www.example"])["source_detail"], address, "{}", daemon.log());
    let report = daemon.json(&["query", "other.example"]);
    assert_eq!((&report["source"], &report["source_detail"]), (&"upstream".into(), &address.clone().into()));
    let report = daemon.json(&["query", "other.example"]);
    assert_eq!((&report["source"], &report["from_cache"]), (&"cache".into(), &true.into()));
    let text = String::from_utf8(daemon.ctl(&["query", "third.example"]).stdout).expect("text");
    assert!(text.starts_with(&format!("NOERROR from upstream {address} after ")), "{text}");
    let report = daemon.json(&["query", "broken.example"]);
    assert_eq!((&report["source"], &report["rcode"]), (&"upstream".into(), &"SERVFAIL".into()));
    let (source, _, line) = whence(&daemon, "broken.example");
    assert_eq!(source, "failure");
    assert!(line.starts_with("SERVFAIL from a failure: it is remembered"), "{line}");
}

#[test]
fn expired_data_are_said_to_be_so() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let dying = Upstream::start(move |query, _| {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        if first { vec![(0, answer(query, &[1], 1))] } else { Vec::new() }
    });
    let daemon = Daemon::start(&[&dying], "[cache]\nprefetch = false\n[round]\ndeadline = \"300ms\"\n");
    daemon.ask("www.example");
    daemon.until("it has expired", |d| d.json(&["lookup", "www.example"])["stale"] == true);
    let (source, _, _) = whence(&daemon, "www.example");
    assert_eq!(source, "stale");
    let text = String::from_utf8(daemon.ctl(&["query", "www.example"]).stdout).expect("text");
    assert!(text.starts_with("NOERROR from the cache, expired, since no upstream"), "{text}");
}

#[test]
fn the_hit_rate_is_a_share_and_nothing_before_the_first_query() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    let status = daemon.json(&["status"]);
    assert!(status["hit_rate"].is_null() && status["upstreams"][0]["hit_rate"].is_null(), "{status}");
    assert_eq!(
        (&status["upstreams"][0]["transport"], &status["upstreams"][0]["tls"]),
        (&"udp".into(), &().into())
    );
    let text = || String::from_utf8(daemon.ctl(&["status"]).stdout).expect("text");
    assert!(text().contains("\ncache      nothing was asked yet\n"), "{}", text());
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
fn a_sorter_is_waited_for_before_it_is_missed() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    assert_eq!(daemon.json(&["status"])["sorter"]["state"], "starting");
    let off = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    assert_eq!(off.json(&["status"])["sorter"]["state"], "off");
}

#[test]
fn service_records_are_shown_as_their_standard_writes_them() {
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

/// RFC 1035 section 5.1: what is no letter is written in decimal, as it may be asked for.
#[test]
fn names_are_shown_as_they_may_be_asked_for() {
    const NAME: &[u8] = b"\x03a b\x07example\0";
    let upstream = Upstream::start(|query, _| {
        // Behind the header and the name.
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
    assert!(daemon.ctl(&["reload"]).status.success(), "by itself it is one more");
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
fn a_daemon_that_hangs_fails_what_asks_it_in_bounded_time_and_not_what_reads_the_table() {
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
fn without_a_daemon_it_is_said_where_the_table_is_looked_for() {
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
fn a_name_that_is_not_in_the_table_is_told_in_one_line() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))]);
    let daemon = Daemon::start(&[&upstream], "");
    for words in [&["lookup", "new.example"][..], &["lookup", "new.example", "AAAA"]] {
        let done = daemon.ctl(words);
        let said = String::from_utf8(done.stderr).expect("text");
        assert_eq!((done.status.code(), done.stdout.len(), said.lines().count()), (Some(3), 0, 1), "{said}");
        assert!(said.contains("new.example. is not in the table; 'hitherctl query new.example.'"), "{said}");
    }
}

/// In a mount namespace where there is no room for the table.
#[test]
fn a_table_for_which_there_is_no_room_is_told_by_every_verb_that_misses_it() {
    let is_alone = unshare(CloneFlags::CLONE_NEWNS).is_ok();
    let sh = |line: &str| Command::new("sh").args(["-c", line]).status().is_ok_and(|done| done.success());
    let dir = directory();
    let run = dir.join("run");
    std::fs::create_dir_all(&run).expect("a directory");
    let mount = format!("mount --make-rprivate / && mount -t tmpfs -o size=64k none {}", run.display());
    if !is_alone || !sh(&mount) {
        std::fs::remove_dir_all(&dir).expect("removable");
        return skip("a_table_for_which_there_is_no_room_is_told_by_every_verb_that_misses_it", "needs root");
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

/// In a mount namespace where user hither is one that may read little.
#[test]
fn a_check_by_root_names_what_the_daemons_user_cannot_read_and_what_denies_it() {
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
    let Ok(output) = output.map_err(drop) else {
        return skip(
            "a_check_by_root_names_what_the_daemons_user_cannot_read_and_what_denies_it",
            "needs unshare(1)",
        );
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !nix::unistd::geteuid().is_root() || said.contains("unshare failed") {
        std::fs::remove_dir_all(&dir).expect("removable");
        return skip(
            "a_check_by_root_names_what_the_daemons_user_cannot_read_and_what_denies_it",
            "needs root",
        );
    }
    let missing = dir.join("missing").display().to_string();
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()),
        (
            Some(0),
            format!(
                "hint: there is no file '{missing}'; it is read when it is there\nthe configuration is right\n"
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
fn nothing_panics_where_nobody_reads() {
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
