//! The verbs of hitherctl that concern the host: doctor, enable-resolv, enable-nss and completions;
//! with real files, and with the fixes that doctor names.

#[path = "host/resolv.rs"]
mod resolv;
mod support;

use serde_json::Value;
use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::{Daemon, Upstream, answer, directory, skip};

const CTL: &str = env!("CARGO_BIN_EXE_hitherctl");
/// The files of a host, in a directory that is removed with the test.
struct Host(PathBuf);

impl Host {
    fn new(files: &[(&str, &str)]) -> Host {
        let host = Host(directory());
        for (path, text) in files {
            host.write(path, text);
        }
        host
    }

    /// A host where hitherd listens at 127.0.0.1:53.
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

    /// Runs a fix of doctor on this host's files, with programs that only record how they were
    /// called. Returns the records.
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
        assert!(sorter.contains("not connected"), "no sorter runs: {sorter}");
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
        return skip(
            "the view of another user in a_daemon_on_this_host_is_found_at_its_port_by_root_and_by_others",
            "needs root",
        );
    }
    // Other users may not read the program's directory, so a copy is run. Another process makes it:
    // a child of another test may inherit our descriptor for writing, and then the kernel does not
    // run the copy (ETXTBSY).
    let copy = daemon.dir.join("hitherctl");
    assert!(Command::new("cp").arg(CTL).arg(&copy).status().expect("started").success());
    let mut nobody = Command::new(&copy);
    nobody.arg("--runtime-dir").arg(&run).args(["doctor", "--json"]).uid(65_534).gid(65_534);
    check(&objects(&nobody.output().expect("started")));
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
fn doctor_changes_nothing_on_the_host() {
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
fn a_fifo_in_place_of_a_file_does_not_block_doctor_and_too_many_entries_are_reported() {
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
fn enable_nss_and_disable_nss_report_their_changes() {
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
    assert!(
        again[0]["refused"].is_null() && again[0]["becomes"].is_null(),
        "a second call has nothing to refuse"
    );
    assert_eq!(again[0]["hosts"], becomes);
    assert!(run("disable-nss", &[]).status.success());
    assert_eq!(host.text("etc/nsswitch.conf"), "hosts:          files dns\n");
    host.write("etc/nsswitch.conf", "passwd: files\n");
    let output = run("enable-nss", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no hosts line"));
}

#[test]
fn completions_have_every_verb_and_their_shells_accept_them() {
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
            ("hither-site", vec!["config", "host"]),
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

/// bash itself completes `hitherctl do`.
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
