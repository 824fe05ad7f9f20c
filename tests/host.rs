//! hitherctl's verbs about the host: doctor, enable-nss and disable-nss, completions; with real files, and the commands that doctor names.

mod support;

use serde_json::Value;
use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::{Daemon, Upstream, answer, directory, skip};

const CTL: &str = env!("CARGO_BIN_EXE_hitherctl");
/// A host's files in a directory of its own.
struct Host(PathBuf);

impl Host {
    fn new(files: &[(&str, &str)]) -> Host {
        let host = Host(directory());
        for (path, text) in files {
            host.write(path, text);
        }
        host
    }

    /// One where hitherd listens at 127.0.0.1:53.
    fn served(files: &[(&str, &str)]) -> Host {
        let host = Host::new(files);
        let line =
            "0: 0100007F:0035 00000000:0000 STATE 00000000:00000000 00:00000000 00000000 0 0 INODE 2\n";
        for (table, state, inode) in [("udp", "07", "17"), ("tcp", "0A", "18")] {
            host.write(&format!("proc/net/{table}"), &line.replace("STATE", state).replace("INODE", inode));
            std::fs::create_dir_all(host.0.join("proc/812/fd")).expect("a directory");
            symlink(format!("socket:[{inode}]"), host.0.join("proc/812/fd").join(inode)).expect("a link");
        }
        host.write("proc/812/comm", "hitherd\n");
        host
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, text).expect("written");
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.0.join(path)).expect("a file")
    }

    fn doctor(&self, words: &[&str]) -> Output {
        Command::new(CTL).args(["doctor", "--root"]).arg(&self.0).args(words).output().expect("started")
    }

    fn findings(&self) -> Vec<Value> {
        objects(&self.doctor(&["--json"]))
    }

    /// Runs a command of doctor's, with this host's directories in the place of the machine's and programs that only say how they were
    /// called; what they said.
    fn apply(&self, fix: &str) -> String {
        let bin = self.0.join("fake");
        std::fs::create_dir_all(&bin).expect("a directory");
        for program in ["systemctl", "resolvconf"] {
            let path = bin.join(program);
            std::fs::write(&path, "#!/bin/sh\necho \"${0##*/} $*\" >> \"${0%/*}/called\"\n")
                .expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        }
        let here = fix
            .replace("hitherctl enable-resolv", &format!("{CTL} enable-resolv --root {}", self.0.display()))
            .replace("hitherctl disable-resolv", &format!("{CTL} disable-resolv --root {}", self.0.display()))
            .replace("/etc/", &format!("{}/etc/", self.0.display()));
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("set"));
        let _ = std::fs::remove_file(bin.join("called"));
        let output = Command::new("sh").args(["-euc", &here]).env("PATH", path).output().expect("started");
        assert!(output.status.success(), "{here}: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(bin.join("called")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

fn of<'f>(findings: &'f [Value], check: &str) -> &'f Value {
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("{check} is not among {findings:?}"))
}

fn state(findings: &[Value], check: &str) -> String {
    of(findings, check)["state"].as_str().expect("a state").to_owned()
}

#[test]
fn a_daemon_on_this_host_is_found_at_its_port_by_root_and_by_others() {
    let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1], 60))]);
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask("doctor.example.com");
    let check = |findings: &[Value]| {
        let port = of(findings, &format!("port {}", daemon.server));
        let found = port["found"].as_str().expect("text");
        assert_eq!(port["state"], "ok", "{port}");
        assert!(found.contains(&format!("hitherd (process {})", daemon.process.id())), "{found}");
        assert_eq!(state(findings, "hitherd"), "ok");
        let sorter = of(findings, "hither-sorter")["found"].as_str().expect("text");
        assert!(sorter.contains("not connected"), "none was started: {sorter}");
        assert_eq!(state(findings, "table"), "ok");
        for finding in findings {
            assert_eq!(finding.as_object().map(serde_json::Map::len), Some(5), "{finding}");
        }
    };
    let run = daemon.dir.join("run");
    let doctor = || {
        let mut command = Command::new(CTL);
        command.arg("--runtime-dir").arg(&run).args(["doctor", "--json"]);
        command
    };
    check(&objects(&doctor().output().expect("started")));
    if !nix::unistd::geteuid().is_root() {
        return skip("the view of another user in what_doctor_says", "needs root");
    }
    // The program lies where nobody else may look: a copy is run. Made by another process, since a descriptor of ours to write to it may
    // live on in a child of another test, and then it is busy.
    let copy = daemon.dir.join("hitherctl");
    assert!(Command::new("cp").arg(CTL).arg(&copy).status().expect("started").success());
    let mut nobody = Command::new(&copy);
    nobody.arg("--runtime-dir").arg(&run).args(["doctor", "--json"]).uid(65_534).gid(65_534);
    check(&objects(&nobody.output().expect("started")));
}

#[test]
fn the_command_for_a_plain_resolv_conf_puts_it_right_and_keeps_the_servers() {
    let host = Host::served(&[("etc/resolv.conf", "search example.com\nnameserver 192.0.2.1\n")]);
    let before = host.findings();
    assert_eq!(state(&before, "resolv.conf"), "problem");
    host.apply(of(&before, "resolv.conf")["fix"].as_str().expect("a command"));
    assert_eq!(
        host.text("etc/resolv.conf"),
        "nameserver 127.0.0.1\nsearch example.com\nnameserver 192.0.2.1\n"
    );
    let after = host.findings();
    assert_eq!((state(&after, "resolv.conf"), state(&after, "upstreams")), ("ok".into(), "ok".into()));
    host.apply("hitherctl disable-resolv");
    assert_eq!(host.text("etc/resolv.conf"), "search example.com\nnameserver 192.0.2.1\n");
    assert!(!host.0.join("etc/resolv.conf.hither-backup").exists());
}

#[test]
fn the_command_for_resolved_makes_it_forward_and_leaves_no_loop() {
    let host = Host::served(&[
        ("run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n"),
        ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\n"),
        ("etc/systemd/resolved.conf", "[Resolve]\n#DNS=\n"),
        ("proc/300/comm", "systemd-resolve\n"),
    ]);
    symlink("../run/systemd/resolve/stub-resolv.conf", host.0.join("etc/resolv.conf")).expect("a link");
    let fix = of(&host.findings(), "resolv.conf")["fix"].as_str().expect("a command").to_owned();
    assert_eq!(host.apply(&fix), "systemctl restart systemd-resolved.service\n");
    let after = host.findings();
    assert_eq!(state(&after, "resolv.conf"), "ok");
    assert_eq!(state(&after, "systemd-resolved"), "warning", "it was not really restarted");
    host.write("run/systemd/resolve/resolv.conf", "nameserver 127.0.0.1\nnameserver 192.0.2.1\n");
    let after = host.findings();
    assert_eq!(state(&after, "systemd-resolved"), "ok");
    assert_eq!(of(&after, "upstreams")["found"], "192.0.2.1:53 (the system's)");
    assert_eq!(host.apply("hitherctl disable-resolv"), "systemctl try-restart systemd-resolved.service\n");
    assert!(!host.0.join("etc/systemd/resolved.conf.d").exists(), "nothing is left");
    assert!(host.0.join("etc/systemd/resolved.conf").exists());
}

#[test]
fn servers_of_resolveds_own_configuration_become_hitherds() {
    let host = Host::served(&[
        ("run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n"),
        ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.7\n"),
        ("etc/systemd/resolved.conf", "[Resolve]\nDNS=192.0.2.7 [2001:db8::7]:53#name\n"),
        ("etc/hither/hither.toml", ""),
        ("proc/300/comm", "systemd-resolve\n"),
    ]);
    symlink("../run/systemd/resolve/stub-resolv.conf", host.0.join("etc/resolv.conf")).expect("a link");
    let fix = of(&host.findings(), "resolv.conf")["fix"].as_str().expect("a command").to_owned();
    let called = host.apply(&fix);
    assert_eq!(
        called,
        "systemctl reload-or-restart hitherd.service\nsystemctl restart systemd-resolved.service\n"
    );
    let after = host.findings();
    assert_eq!(state(&after, "resolv.conf"), "ok");
    assert_eq!(of(&after, "upstreams")["found"], "192.0.2.7:53, [2001:db8::7]:53 (by hither.toml)");
    host.apply("hitherctl disable-resolv");
    assert!(!host.0.join("etc/hither/hither.toml.d/resolved.toml").exists());
    host.write("etc/hither/hither.toml.d/resolved.toml", "# mine\n");
    assert_eq!(host.apply("hitherctl disable-resolv"), "");
    assert_eq!(host.text("etc/hither/hither.toml.d/resolved.toml"), "# mine\n", "by that name it may be his");
}

#[test]
fn the_command_for_network_manager_makes_it_leave_the_file_alone() {
    let host = Host::served(&[
        (
            "run/NetworkManager/resolv.conf",
            "# Generated by NetworkManager\nsearch corp.example\nnameserver 192.0.2.1\noptions edns0\n",
        ),
        ("run/NetworkManager/no-stub-resolv.conf", "nameserver 192.0.2.1\n"),
        ("etc/NetworkManager/NetworkManager.conf", "[main]\nplugins=ifupdown,keyfile\n"),
        ("proc/9/comm", "NetworkManager\n"),
    ]);
    symlink("../run/NetworkManager/resolv.conf", host.0.join("etc/resolv.conf")).expect("a link");
    let fix = of(&host.findings(), "resolv.conf")["fix"].as_str().expect("a command").to_owned();
    assert_eq!(host.apply(&fix), "systemctl reload NetworkManager.service\n");
    assert_eq!(
        host.text("etc/resolv.conf"),
        "nameserver 127.0.0.1\nsearch corp.example\noptions edns0\n",
        "only the servers are others"
    );
    let after = host.findings();
    assert_eq!(state(&after, "resolv.conf"), "ok");
    assert!(after.iter().all(|finding| finding["check"] != "NetworkManager"), "it writes nothing any more");
    assert_eq!(of(&after, "upstreams")["found"], "192.0.2.1:53 (the system's)", "which it still tells");
    assert_eq!(
        host.apply("hitherctl disable-resolv"),
        "systemctl try-reload-or-restart NetworkManager.service\n"
    );
    let link = std::fs::read_link(host.0.join("etc/resolv.conf")).expect("the link again");
    assert_eq!(link, Path::new("../run/NetworkManager/resolv.conf"));
    assert!(!host.0.join("etc/NetworkManager/conf.d").exists());
}

#[test]
fn lines_in_files_of_others_come_and_go_alone() {
    let head = "# kept\nnameserver 127.0.0.1\n";
    let host = Host::served(&[
        ("etc/resolvconf/resolv.conf.d/head", head),
        ("run/resolvconf/resolv.conf", "nameserver 192.0.2.1\n"),
        ("usr/sbin/resolvconf", ""),
    ]);
    symlink("../run/resolvconf/resolv.conf", host.0.join("etc/resolv.conf")).expect("a link");
    assert_eq!(host.apply("hitherctl enable-resolv"), "resolvconf -u\n");
    assert!(
        host.text("etc/resolvconf/resolv.conf.d/head")
            .ends_with("disable-resolv takes it back.\nnameserver 127.0.0.1\n")
    );
    assert_eq!(host.apply("hitherctl disable-resolv"), "resolvconf -u\n");
    assert_eq!(host.text("etc/resolvconf/resolv.conf.d/head"), head, "his own line stays");
    let host = Host::served(&[
        ("etc/dhcp/dhclient.conf", "timeout 300;"),
        ("etc/resolv.conf", "nameserver 192.0.2.1\n"),
        ("proc/9/comm", "dhclient\n"),
    ]);
    // A comment in Latin-1 stays what it is.
    let odd = b"# r\xe9seau\nnameserver 192.0.2.1\n";
    std::fs::write(host.0.join("etc/resolv.conf"), odd).expect("written");
    host.apply("hitherctl enable-resolv");
    let octets = std::fs::read(host.0.join("etc/resolv.conf")).expect("there");
    assert!(octets.ends_with(odd), "{octets:?}");
    assert_eq!(state(&host.findings(), "dhclient"), "ok");
    host.write("etc/resolv.conf", "# anew\nnameserver 127.0.0.1\nnameserver 192.0.2.2\n");
    host.apply("hitherctl disable-resolv");
    assert_eq!(host.text("etc/dhcp/dhclient.conf"), "timeout 300;\n");
    assert_eq!(
        host.text("etc/resolv.conf"),
        "# anew\nnameserver 192.0.2.2\n",
        "what was written since stays"
    );
    host.apply("hitherctl enable-resolv");
    host.write("etc/resolv.conf", "nameserver 192.0.2.3\n");
    host.apply("hitherctl disable-resolv");
    assert_eq!(host.text("etc/resolv.conf"), "nameserver 192.0.2.3\n");
    assert!(!host.0.join("etc/resolv.conf.hither-backup").exists());
}

#[test]
fn where_the_way_back_is_gone_resolv_conf_names_whom_hitherd_asks() {
    let host = Host::served(&[(
        "etc/hither/hither.toml",
        "[[upstream]]\naddress = \"192.0.2.9\"\n[[upstream]]\naddress = \"192.0.2.8:5300\"\n",
    )]);
    std::fs::create_dir_all(host.0.join("run/systemd/resolve")).expect("a directory");
    host.write("run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\noptions edns0\n");
    symlink("../run/systemd/resolve/stub-resolv.conf", host.0.join("etc/resolv.conf")).expect("a link");
    host.apply("hitherctl enable-resolv");
    assert_eq!(
        host.text("etc/resolv.conf"),
        "nameserver 127.0.0.1\noptions edns0\n",
        "resolved does not run"
    );
    std::fs::remove_file(host.0.join("run/systemd/resolve/stub-resolv.conf")).expect("there");
    host.apply("hitherctl disable-resolv");
    assert_eq!(host.text("etc/resolv.conf"), "nameserver 192.0.2.9\noptions edns0\n");
    assert!(!host.0.join("etc/resolv.conf.hither-backup").is_symlink());
}

#[test]
fn a_resolv_conf_that_was_taken_away_comes_back_as_it_was() {
    let host = Host::served(&[("etc/resolv.conf", "nameserver 192.0.2.1\n")]);
    host.apply("hitherctl enable-resolv");
    std::fs::remove_file(host.0.join("etc/resolv.conf")).expect("it is there");
    host.apply("hitherctl disable-resolv");
    assert_eq!(host.text("etc/resolv.conf"), "nameserver 192.0.2.1\n");
    assert!(!host.0.join("etc/resolv.conf.hither-backup").exists());
}

#[test]
fn a_server_of_a_link_keeps_its_link() {
    let host = Host::served(&[("etc/resolv.conf", ""), ("run/gone/resolv.conf", "nameserver fe80::1%1\n")]);
    std::fs::remove_file(host.0.join("etc/resolv.conf")).expect("it is there");
    symlink("../run/gone/resolv.conf", host.0.join("etc/resolv.conf")).expect("a link");
    host.apply("hitherctl enable-resolv");
    assert_eq!(host.text("etc/resolv.conf"), "nameserver 127.0.0.1\nnameserver fe80::1%1\n");
}

#[test]
fn a_file_behind_a_link_that_nobody_writes_gets_and_loses_our_line_and_the_link_stays() {
    let host = Host::served(&[("srv/resolv.conf", "nameserver 192.0.2.1\n")]);
    std::fs::create_dir_all(host.0.join("etc")).expect("a directory");
    symlink("../srv/resolv.conf", host.0.join("etc/resolv.conf")).expect("a link");
    host.apply("hitherctl enable-resolv");
    assert_eq!(host.text("srv/resolv.conf"), "nameserver 127.0.0.1\nnameserver 192.0.2.1\n");
    host.apply("hitherctl disable-resolv");
    assert_eq!(host.text("srv/resolv.conf"), "nameserver 192.0.2.1\n");
    assert!(host.0.join("etc/resolv.conf").is_symlink());
}

/// A link whose end nobody keeps: it would be gone with the next boot, or is already.
#[test]
fn a_link_that_nobody_keeps_is_replaced_and_doctor_has_the_command() {
    for (link, ends_at) in [
        ("../run/systemd/resolve/resolv.conf", Some("run/systemd/resolve/resolv.conf")),
        ("../run/systemd/resolve/stub-resolv.conf", None),
        ("../run/NetworkManager/resolv.conf", None),
        ("../run/resolvconf/resolv.conf", Some("run/resolvconf/resolv.conf")),
        ("../run/hither/resolv.conf", Some("run/hither/resolv.conf")),
        ("alternative", Some("srv/hither/resolv.conf")),
        ("resolv.conf", None),
    ] {
        let host = Host::served(&[("etc/hosts", "")]);
        let before = "# theirs\nsearch corp.example\nnameserver 192.0.2.1\n";
        ends_at.into_iter().for_each(|path| host.write(path, before));
        let dir = if link == "alternative" { "/srv/hither" } else { "/run/hither" };
        if link == "alternative" {
            symlink("../srv/hither/resolv.conf", host.0.join("etc/alternative")).expect("a link");
        }
        symlink(link, host.0.join("etc/resolv.conf")).expect("a link");
        let found = objects(&host.doctor(&["--json", "--runtime-dir", dir]));
        assert_eq!(state(&found, "resolv.conf"), "problem", "{link}");
        let fix = of(&found, "resolv.conf")["fix"].as_str().expect("a command");
        host.apply(&format!("{fix} --runtime-dir {dir}"));
        let file = host.0.join("etc/resolv.conf");
        assert!(file.is_file() && !file.is_symlink(), "{link}");
        let kept = if ends_at.is_some() { "nameserver 192.0.2.1\nsearch corp.example\n" } else { "" };
        let text = format!("nameserver 127.0.0.1\n{kept}");
        assert_eq!(host.text("etc/resolv.conf"), text, "{link}: hitherd has them from nobody else");
        ends_at.into_iter().for_each(|path| assert_eq!(host.text(path), before, "it is not ours"));
        assert_eq!(state(&host.findings(), "resolv.conf"), "ok", "{link}");
        host.apply("hitherctl disable-resolv");
        assert_eq!(std::fs::read_link(&file).expect("the link again"), Path::new(link));
    }
}

#[test]
fn what_is_no_file_is_not_said_to_lead_to_hitherd() {
    let host = Host::served(&[("etc/resolv.conf/kept", "")]);
    let run = |root: &Path, words: &[&str]| {
        let output = Command::new(CTL).args(words).arg("--root").arg(root).output().expect("started");
        let said = String::from_utf8(output.stdout).expect("text");
        (output.status.code(), said, String::from_utf8(output.stderr).expect("text"))
    };
    for words in [&["enable-resolv"][..], &["enable-resolv", "--force"], &["enable-resolv", "--dry-run"]] {
        let (code, said, why) = run(&host.0, words);
        assert!(code == Some(1) && said.is_empty() && why.contains("Is a directory"), "{said} {why}");
    }
    let (_, said, _) = run(&host.0, &["enable-resolv", "--json"]);
    let object: Value = serde_json::from_str(&said).expect("an object");
    assert!(object["done"] == false && object["refused"].is_string(), "{said}");
    let fix = of(&host.findings(), "resolv.conf")["fix"].as_str().expect("a command").to_owned();
    host.apply(&fix);
    assert_eq!(state(&host.findings(), "resolv.conf"), "ok");
    assert!(host.0.join("etc/resolv.conf.was/kept").exists());
    let missing = host.0.join("no-such-host");
    for verb in ["enable-resolv", "disable-resolv", "doctor"] {
        let (code, said, why) = run(&missing, &[verb]);
        assert!(code == Some(1) && said.is_empty() && why.contains("is no directory"), "{said} {why}");
    }
}

#[test]
fn a_resolvconf_that_is_gone_is_not_told_anything() {
    let head = "etc/resolvconf/resolv.conf.d/head";
    let host = Host::served(&[
        (head, "# Made by hitherctl enable-resolv; disable-resolv takes it back.\nnameserver 127.0.0.1\n"),
        ("etc/resolv.conf", "# Generated by resolvconf\nnameserver 192.0.2.1\n"),
    ]);
    assert_eq!(host.apply("hitherctl enable-resolv"), "");
    assert!(host.text("etc/resolv.conf").starts_with("nameserver 127.0.0.1\n"));
    assert_eq!(host.apply("hitherctl disable-resolv"), "");
    assert_eq!(
        (host.text(head).as_str(), host.text("etc/resolv.conf").as_str()),
        ("", "# Generated by resolvconf\nnameserver 192.0.2.1\n")
    );
}

#[test]
fn programs_are_not_led_to_where_nobody_answers_and_nothing_is_done_to_try() {
    let files = [("etc/resolv.conf", "search example.com\nnameserver 192.0.2.1\n")];
    let run = |host: &Host, words: &[&str]| {
        let output = Command::new(CTL).arg("enable-resolv").arg("--root").arg(&host.0).args(words).output();
        let output = output.expect("started");
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let host = Host::new(&files);
    let (code, said, why) = run(&host, &[]);
    assert!(code == Some(1) && why.contains("systemctl enable --now") && why.contains("--force"), "{why}");
    assert!(said.starts_with("put first into /etc/resolv.conf: nameserver 127.0.0.1\n"), "{said}");
    assert_eq!(host.text("etc/resolv.conf"), files[0].1);
    assert_eq!(run(&host, &["--force"]).0, Some(0));
    assert!(host.text("etc/resolv.conf").starts_with("nameserver 127.0.0.1\n"));
    let host = Host::served(&files);
    assert_eq!(run(&host, &["--dry-run"]).0, Some(0));
    let (_, said, _) = run(&host, &["--dry-run", "--json"]);
    let object: Value = serde_json::from_str(&said).expect("an object");
    assert_eq!((&object["done"], &object["refused"]), (&false.into(), &Value::Null), "{said}");
    assert_eq!(host.text("etc/resolv.conf"), files[0].1);
    let script = "mount -t tmpfs tmpfs \"$1/mnt\" && cp \"$1/etc/resolv.conf\" \"$1/mnt/own\" && mount --bind \"$1/mnt/own\" \"$1/etc/resolv.conf\" && exec \"$2\" enable-resolv --root \"$1\"";
    std::fs::create_dir_all(host.0.join("mnt")).expect("a directory");
    let mut mounted = Command::new("unshare");
    mounted.args(["--mount", "sh", "-c", script, "sh"]).arg(&host.0).arg(CTL);
    let mounted = mounted.output().expect("started");
    let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
    if nix::unistd::geteuid().is_root() && !why.contains("unshare failed") {
        assert!(why.contains("mounted there from elsewhere") && mounted.status.code() == Some(1), "{why}");
        assert!(!host.0.join("etc/resolv.conf.hither-backup").exists(), "nothing was done");
    }
    let file = host.0.join("etc/resolv.conf");
    let immutable = Command::new("chattr").arg("+i").arg(&file).status().is_ok_and(|status| status.success());
    if !immutable {
        return skip("an immutable /etc/resolv.conf", "files cannot be made immutable here");
    }
    let (code, _, why) = run(&host, &[]);
    assert!(Command::new("chattr").arg("-i").arg(&file).status().expect("started").success());
    assert!(code == Some(1) && why.contains("immutable") && why.contains("chattr -ia"), "{why}");
    assert!(!host.0.join("etc/resolv.conf.hither-backup").exists(), "nothing was done");
}

#[test]
fn a_problem_is_an_exit_status_and_a_line_with_its_command() {
    let host = Host::served(&[("etc/resolv.conf", "nameserver 192.0.2.1\n")]);
    let output = host.doctor(&[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.starts_with("ok       port 127.0.0.1:53  UDP and TCP: hitherd (process 812)\n"), "{text}");
    assert!(
        text.contains("\nproblem  resolv.conf        nameserver 192.0.2.1: hitherd is not asked\n"),
        "{text}"
    );
    assert!(text.contains("                       fix: hitherctl enable-resolv\n"));
    assert!(String::from_utf8_lossy(&output.stderr).ends_with(" problems\n"));
}

#[test]
fn nothing_on_the_host_is_changed_by_looking() {
    let host = Host::new(&[
        ("etc/resolv.conf", "nameserver 192.0.2.1\n"),
        ("etc/nsswitch.conf", "hosts: files dns\n"),
        ("proc/9/comm", "NetworkManager\n"),
    ]);
    let tree = || {
        let listed = Command::new("find").arg(&host.0).args(["-printf", "%p %y %s %T@ %C@\n"]).output();
        String::from_utf8(listed.expect("started").stdout).expect("text")
    };
    let before = tree();
    assert!(before.contains("nsswitch.conf"), "{before}");
    host.findings();
    host.doctor(&[]);
    assert_eq!(tree(), before);
}

#[test]
fn a_fifo_among_the_files_of_a_host_holds_doctor_up_nowhere_and_too_many_are_said() {
    const DIRS: [&str; 7] = [
        "etc/NetworkManager/conf.d",
        "usr/lib/NetworkManager/conf.d",
        "etc/systemd/resolved.conf.d",
        "run/systemd/resolved.conf.d",
        "etc/containers/containers.conf.d",
        "etc/hither/hither.toml.d",
        "run/systemd/netif/links",
    ];
    const FILES: [&str; 8] = [
        "etc/resolv.conf",
        "etc/nsswitch.conf",
        "etc/passwd",
        "etc/hither/hither.toml",
        "etc/NetworkManager/NetworkManager.conf",
        "etc/systemd/resolved.conf",
        "etc/docker/daemon.json",
        "run/systemd/resolve/resolv.conf",
    ];
    let host = Host::served(&[("usr/bin/podman", ""), ("run/docker.sock", "")]);
    let fifo = |path: &str| {
        host.write(path, "");
        std::fs::remove_file(host.0.join(path)).expect("there");
        nix::unistd::mkfifo(&host.0.join(path), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    };
    FILES.into_iter().for_each(fifo);
    for dir in DIRS {
        ["7", "a.conf", "a.toml"].iter().for_each(|name| fifo(&format!("{dir}/{name}")));
    }
    let doctor = || {
        let mut command = Command::new("timeout");
        command.args(["60", CTL, "doctor", "--root"]).arg(&host.0);
        command.output().expect("started")
    };
    let output = doctor();
    assert!(matches!(output.status.code(), Some(0 | 1)) && !output.stdout.is_empty(), "{output:?}");
    let too_many =
        |output: &Output| String::from_utf8_lossy(&output.stderr).matches("has more than 4096").count();
    assert_eq!(too_many(&output), 0, "{output:?}");
    (0..4096).for_each(|n| host.write(&format!("{}/more-{n}", DIRS[0]), ""));
    assert_eq!(too_many(&doctor()), 1, "once");
}

#[test]
fn every_check_is_described_in_the_manual() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/hitherctl.1");
    let page = std::fs::read_to_string(page).expect("there");
    let section =
        page.split(".Sh DOCTOR").nth(1).and_then(|rest| rest.split(".Sh ").next()).expect("a section");
    let host = Host::served(&[
        ("etc/resolv.conf", "nameserver 192.0.2.1\n"),
        ("proc/9/comm", "NetworkManager\n"),
        ("run/nscd/socket", ""),
        ("run/docker.sock", ""),
        ("usr/bin/podman", ""),
        ("usr/bin/kubelet", ""),
    ]);
    let ours = host.text("proc/net/udp");
    let stub = ours.replace("0100007F", "3500007F").replace(" 17 ", " 19 ");
    host.write("proc/net/udp", &(ours + &stub));
    let checks = host.findings();
    for check in checks.iter().map(|finding| finding["check"].as_str().expect("a name")) {
        let name = if check.starts_with("port 127") || check.starts_with("port [") { "port" } else { check };
        let described = section.lines().any(|line| {
            line.starts_with(".It Cm ") && line.contains(name)
                || line.starts_with(".Cm \"") && line.contains(name)
        });
        assert!(described, "{check}");
    }
    assert!(checks.len() > 16, "{checks:?}");
}

#[test]
fn enable_nss_and_disable_nss_tell_what_they_did() {
    let host = Host::new(&[("etc/nsswitch.conf", "hosts:          files dns\n")]);
    let file = host.0.join("etc/nsswitch.conf");
    let run = |verb: &str, more: &[&str]| {
        let mut command = Command::new(CTL);
        command.arg("--runtime-dir").arg(host.0.join("run/hither")).arg(verb).arg("--file").arg(&file);
        command.args(more).output().expect("started")
    };
    let fix = of(&host.findings(), "nsswitch.conf").clone();
    assert_eq!(
        (fix["state"].as_str(), fix["fix"].as_str()),
        (Some("warning"), None),
        "no module, no command"
    );
    let refused = run("enable-nss", &[]);
    assert_eq!(refused.status.code(), Some(1), "hitherd does not run");
    assert_eq!(host.text("etc/nsswitch.conf"), "hosts:          files dns\n");
    let refused = run("enable-nss", &["--json"]);
    let said = objects(&refused);
    assert_eq!((refused.status.code(), &said[0]["done"]), (Some(1), &false.into()), "{said:?}");
    assert!(said[0]["refused"].as_str().is_some_and(|why| why.contains("does not run")), "{said:?}");
    let said = objects(&run("enable-nss", &["--json", "--force", "--dry-run"]));
    let becomes = "files hither [NOTFOUND=return] dns";
    assert_eq!(
        (&said[0]["changed"], &said[0]["done"], &said[0]["refused"]),
        (&false.into(), &false.into(), &Value::Null)
    );
    assert_eq!((&said[0]["hosts"], &said[0]["becomes"]), (&"files dns".into(), &becomes.into()));
    let done = objects(&run("enable-nss", &["--json", "--force"]));
    assert_eq!(
        (&done[0]["changed"], &done[0]["hosts"]),
        (&true.into(), &"files hither [NOTFOUND=return] dns".into())
    );
    assert_eq!(state(&host.findings(), "nsswitch.conf"), "ok");
    let again = objects(&run("enable-nss", &["--json"]));
    assert_eq!((&again[0]["changed"], &again[0]["done"]), (&false.into(), &true.into()));
    assert!(again[0]["refused"].is_null() && again[0]["becomes"].is_null(), "nothing is to be refused");
    assert_eq!(again[0]["hosts"], becomes);
    assert!(run("disable-nss", &[]).status.success());
    assert_eq!(host.text("etc/nsswitch.conf"), "hosts:          files dns\n");
    host.write("etc/nsswitch.conf", "passwd: files\n");
    let output = run("enable-nss", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no line of hosts"));
}

#[test]
fn completions_know_every_verb_and_their_shells_take_them() {
    let help = Command::new(CTL).arg("--help").output().expect("started");
    let help = String::from_utf8(help.stdout).expect("text");
    let verbs =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<&str> = verbs.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(["lookup", "doctor", "enable-nss"].iter().all(|verb| verbs.contains(verb)), "{help}");
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        for (program, words) in [
            ("hitherctl", verbs.clone()),
            ("hitherd", vec!["with-sorter", "config"]),
            ("hither-sorter", vec!["config"]),
        ] {
            let output = Command::new(CTL).args(["completions", shell, program]).output().expect("started");
            assert!(output.status.success() && output.stderr.is_empty());
            let text = String::from_utf8(output.stdout).expect("text");
            for word in words {
                assert!(text.contains(word), "{shell}: {program} has no {word}");
            }
            let dir = Host::new(&[("completions", &text)]);
            let parsed = Command::new(shell).arg(check).arg(dir.0.join("completions")).output();
            match parsed {
                Ok(parsed) => {
                    let said = String::from_utf8_lossy(&parsed.stderr).into_owned();
                    assert!(parsed.status.success() && said.is_empty(), "{shell}: {said}");
                }
                Err(error) => skip(&format!("parsing of the completions for {shell}"), &error.to_string()),
            }
        }
    }
    let closed = Command::new(CTL).args(["completions", "bash"]).stdout(Stdio::piped()).spawn();
    let mut closed = closed.expect("started");
    drop(closed.stdout.take());
    assert!(closed.wait().expect("it ends").code().is_some_and(|code| code < 2), "no panic");
}

/// bash really completes: what stands behind `hitherctl do`.
#[test]
fn bash_completes_a_verb() {
    let output = Command::new(CTL).args(["completions", "bash"]).output().expect("started");
    let mut script = String::from_utf8(output.stdout).expect("text");
    write!(
        script,
        "\nCOMP_WORDS=(hitherctl do) COMP_CWORD=1\n_hitherctl hitherctl do hitherctl\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    )
    .expect("in memory");
    match Command::new("bash").args(["--norc", "-c", &script]).output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "doctor\n"),
        Err(error) => skip("what bash completes", &error.to_string()),
    }
}
