//! Containers: the commands that doctor names for Docker, Podman and the kubelet are run, and keep
//! earlier configuration; clients behind a bridge are answered, in network namespaces.
//!
//! Needs root for the namespaces, and prints SKIPPED without it.

mod support;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::message::Message;
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::Value;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{Daemon, PATIENCE, answer, ask_for, directory, ends, retried, skip};

const SYSTEMD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd");

/// The files of a host, in a directory of the test.
struct Host(PathBuf);

impl Host {
    fn new(files: &[(&str, &str)]) -> Host {
        let host = Host(directory());
        host.write("etc/resolv.conf", "nameserver 127.0.0.1\n");
        host.write("run/hither/resolv.conf", "nameserver 192.0.2.1\n");
        files.iter().for_each(|(path, text)| host.write(path, text));
        host
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("written");
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).expect("a file")
    }

    /// The state and the command of one finding of doctor.
    fn said(&self, check: &str) -> (String, Option<String>) {
        let ctl = Command::new(env!("CARGO_BIN_EXE_hitherctl"))
            .args(["--runtime-dir", "/run/hither", "--json", "doctor", "--root"])
            .arg(&self.0)
            .output()
            .expect("started");
        let text = String::from_utf8(ctl.stdout).expect("text");
        let mut found = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
        let found =
            found.find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("{check}: {text}"));
        (found["state"].as_str().expect("a state").to_owned(), found["fix"].as_str().map(str::to_owned))
    }

    /// Runs the command on this host's directories instead of the machine's, with a systemctl that only
    /// prints how it was called.
    fn put_right(&self, check: &str) -> String {
        let fix = self.said(check).1.unwrap_or_else(|| panic!("{check}: {:?}", self.said(check)));
        let root = self.0.display();
        let here = fix
            .replace(" /etc/", &format!(" {root}/etc/"))
            .replace(" /var/", &format!(" {root}/var/"))
            .replace("/usr/share/hither", SYSTEMD);
        self.write("fake/systemctl", "#!/bin/sh\necho \"$*\"\n");
        let fake = self.0.join("fake");
        fs::set_permissions(fake.join("systemctl"), fs::Permissions::from_mode(0o755)).expect("ours");
        let path = format!("{}:{}", fake.display(), std::env::var("PATH").expect("set"));
        let output = Command::new("sh").args(["-euc", &here]).env("PATH", path).output().expect("started");
        assert!(output.status.success(), "{here}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_fix_for_docker_adds_to_its_configuration_and_removes_nothing() {
    let docker = [("run/docker.sock", "")];
    for before in [
        None,
        Some(""),
        Some("{}\n"),
        Some("{\"bip\": \"192.168.9.1/24\"}"),
        Some("\n{\n    \"log-driver\": \"json-file\",\n    \"log-opts\": { \"max-size\": \"10m\" }\n}"),
    ] {
        let host = Host::new(&docker);
        if let Some(text) = before {
            host.write("etc/docker/daemon.json", text);
        }
        host.write("etc/hither/hither.toml", "[[upstream]]\naddress = \"192.0.2.1\"\n");
        let called = host.put_right("docker");
        assert_eq!(called, "daemon-reload\nrestart hitherd.socket hitherd.service\nrestart docker.service\n");
        let address =
            if before.is_some_and(|text| text.contains("bip")) { "192.168.9.1" } else { "172.17.0.1" };
        let mut after: Value = serde_json::from_str(&host.text("etc/docker/daemon.json")).expect("JSON");
        assert_eq!(after["dns"], serde_json::json!([address]));
        let old: Value =
            before.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(serde_json::json!({}));
        after.as_object_mut().expect("an object").remove("dns");
        assert_eq!(after, old);
        let socket = host.text("etc/systemd/system/hitherd.socket.d/docker.conf");
        assert!(
            socket.contains(&format!("\nListenDatagram={address}:53\nListenStream={address}:53\n")),
            "{socket}"
        );
        let mut hitherd = Command::new(env!("CARGO_BIN_EXE_hitherd"));
        let checked =
            hitherd.arg("--check").arg("--config").arg(host.0.join("etc/hither/hither.toml")).output();
        let checked = checked.expect("started");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        // The only remaining problem is the listener, which systemd would have opened.
        let (state, fix) = host.said("docker");
        assert!(state == "problem" && !fix.expect("a command").contains("daemon.json"));
    }
}

#[test]
fn the_fix_for_podman_is_a_file_of_its_own() {
    let host = Host::new(&[
        ("usr/bin/podman", ""),
        ("etc/containers/containers.conf", "[containers]\npids_limit = 100\n"),
    ]);
    host.put_right("podman");
    assert_eq!(host.text("etc/containers/containers.conf"), "[containers]\npids_limit = 100\n");
    let drop_in: toml::Table =
        host.text("etc/containers/containers.conf.d/hither.conf").parse().expect("TOML");
    assert_eq!(drop_in["containers"]["dns_servers"][0].as_str(), Some("10.88.0.1"));
    assert_eq!(host.said("podman").0, "problem", "systemd would open the listener");
    host.write("etc/resolv.conf", "nameserver 192.0.2.1\nnameserver 127.0.0.1\n");
    fs::remove_file(host.0.join("etc/containers/containers.conf.d/hither.conf")).expect("removed");
    assert_eq!(host.said("podman"), ("ok".to_owned(), None));
}

#[test]
fn an_engine_that_names_a_loopback_address_gets_the_bridge_instead() {
    let before = "{ \"ip\": \"127.0.0.1\",\n  \"dns\" : [\n    \"127.0.0.1\",\n    \"192.0.2.7\" ],\n  \"dns-opts\": [] }\n";
    let host = Host::new(&[("run/docker.sock", ""), ("etc/docker/daemon.json", before)]);
    assert_eq!(host.said("docker").0, "problem");
    assert!(host.put_right("docker").ends_with("restart docker.service\n"));
    let after: Value = serde_json::from_str(&host.text("etc/docker/daemon.json")).expect("JSON");
    let want = serde_json::json!({ "ip": "127.0.0.1", "dns": ["172.17.0.1", "192.0.2.7"], "dns-opts": [] });
    assert_eq!(after, want);
    assert!(host.text("etc/systemd/system/hitherd.socket.d/docker.conf").contains("172.17.0.1:53"));
    for place in ["etc/containers/containers.conf", "etc/containers/containers.conf.d/zz.conf"] {
        let text = "[containers]\ndns_servers=[\"127.0.0.1\"]\n";
        let host = Host::new(&[("usr/bin/podman", ""), (place, text)]);
        assert_eq!(host.said("podman").0, "problem");
        host.put_right("podman");
        let (state, fix) = host.said("podman");
        // The only remaining problem is the listener.
        assert!(state == "problem" && !fix.expect("a command").contains("dns_servers"), "{place}");
        assert_eq!(host.text(place), text);
    }
}

#[test]
fn the_fix_for_the_kubelet_changes_one_key() {
    let config = "var/lib/kubelet/config.yaml";
    let line = "resolvConf: /run/hither/resolv.conf";
    for (before, after) in [
        (
            "kind: KubeletConfiguration\nresolvConf: /etc/resolv.conf\nz: 1\n",
            format!("kind: KubeletConfiguration\n{line}\nz: 1\n"),
        ),
        ("kind: KubeletConfiguration\n", format!("kind: KubeletConfiguration\n{line}\n")),
        ("kind: KubeletConfiguration\nlast: 1", format!("kind: KubeletConfiguration\nlast: 1\n{line}")),
    ] {
        let host = Host::new(&[(config, before)]);
        assert_eq!(host.said("kubelet").0, "problem");
        assert_eq!(host.put_right("kubelet"), "restart kubelet.service\n");
        assert_eq!(host.text(config).trim_end(), after.trim_end());
        assert_eq!(host.text(&format!("{config}.before-hither")), before);
        assert_eq!(host.said("kubelet"), ("ok".to_owned(), None));
    }
    let json = "etc/kubernetes/kubelet/config.json";
    for before in ["{\"kind\": \"x\"}", "{\n  \"kind\": \"x\",\n  \"resolvConf\": \"/etc/resolv.conf\"\n}\n"]
    {
        let host = Host::new(&[(json, before)]);
        host.put_right("kubelet");
        let after: Value = serde_json::from_str(&host.text(json)).expect("JSON");
        assert_eq!(after, serde_json::json!({ "kind": "x", "resolvConf": "/run/hither/resolv.conf" }));
        assert_eq!(host.said("kubelet").0, "ok");
    }
    for given in ["=/etc/resolv.conf", " /etc/resolv.conf", "=/no/such/file"] {
        let flags = format!("KUBELET_KUBEADM_ARGS=\"--resolv-conf{given} --v=2\"\n");
        let host = Host::new(&[(config, "kind: x\n"), ("var/lib/kubelet/kubeadm-flags.env", &flags)]);
        host.put_right("kubelet");
        assert_eq!(
            host.text("var/lib/kubelet/kubeadm-flags.env"),
            "KUBELET_KUBEADM_ARGS=\"--resolv-conf=/run/hither/resolv.conf --v=2\"\n"
        );
        assert_eq!((host.said("kubelet").0, host.text(config)), ("ok".to_owned(), "kind: x\n".to_owned()));
    }
    // The key is in quotes.
    let flags = "KUBELET_EXTRA_ARGS='--resolv-conf=\"/etc/resolv.conf\" --v=2'\n";
    let host = Host::new(&[(config, "kind: x\n"), ("etc/default/kubelet", flags)]);
    host.put_right("kubelet");
    let after = "KUBELET_EXTRA_ARGS='--resolv-conf=/run/hither/resolv.conf --v=2'\n";
    assert_eq!((host.text("etc/default/kubelet").as_str(), host.said("kubelet").0), (after, "ok".to_owned()));
    let flags = "KUBELET_EXTRA_ARGS=--resolv-conf /run/hither/resolv.conf\n";
    let host = Host::new(&[(config, "kind: x\n"), ("etc/default/kubelet", flags)]);
    assert_eq!(host.said("kubelet").0, "ok");
}

fn sh(line: &str) -> bool {
    Command::new("sh").args(["-ec", line]).status().is_ok_and(|status| status.success())
}

/// Enters a network and a mount namespace, for this thread and what it starts; `false` where that
/// is not allowed.
fn is_in_own_namespaces(test: &str) -> bool {
    let made = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS);
    if made.is_ok() && sh("ip link set lo up; mount --make-rprivate /") {
        return true;
    }
    skip(test, "needs root, namespaces and ip(8)");
    false
}

/// Another network, behind one end of a pair of interfaces: a container, or a host in the Internet.
struct OtherNamespace(Child);

impl OtherNamespace {
    /// `here` is the command that configures our end; the other end has `address` and routes by `gateway`.
    fn new(name: &str, here: &str, address: &str, gateway: &str) -> OtherNamespace {
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", "echo; exec sleep 600"]).stdout(Stdio::piped());
        let mut child = OtherNamespace(command.spawn().expect("started"));
        let mut first = [0];
        let stdout = child.0.stdout.as_mut().expect("piped");
        std::io::Read::read_exact(stdout, &mut first).expect("it is there");
        let pid = child.0.id();
        assert!(sh(&format!(
            "ip link add {name} type veth peer name eth0 netns {pid}; ip link set {name} up; {here}; in='nsenter -n -t {pid}'; $in ip link set lo up; $in ip addr add {address} dev eth0; $in ip link set eth0 up; $in ip route add default via {gateway}"
        )));
        child
    }

    /// Runs `act` in that network, in a thread of its own.
    fn there<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        let path = format!("/proc/{}/ns/net", self.0.id());
        let thread = std::thread::spawn(move || {
            let namespace = fs::File::open(path).expect("it runs");
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may");
            act()
        });
        thread.join().expect("no panic")
    }

    /// The addresses that a server gives to a client in that network.
    fn ask(&self, server: &'static str, name: &'static str) -> Vec<u8> {
        self.there(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
            socket.connect((server, 53)).expect("a route");
            socket.set_read_timeout(Some(PATIENCE)).expect("an option");
            socket.send(&ask_for(name, Rtype::A, Some(1232), 7)).expect("sent");
            let mut buffer = [0; 2048];
            let len = retried(|| socket.recv(&mut buffer)).expect("a reply");
            buffer[..len].to_vec()
        })
    }

    /// The result of getent in that network with this resolv.conf.
    fn getent(&self, resolv_conf: &Path, name: &str) -> String {
        let line =
            format!("mount --bind {} /etc/resolv.conf && exec getent ahostsv4 {name}", resolv_conf.display());
        let pid = self.0.id().to_string();
        let output =
            Command::new("nsenter").args(["-n", "-t", &pid, "unshare", "-m", "sh", "-c", &line]).output();
        String::from_utf8(output.expect("started").stdout).expect("text")
    }
}

impl Drop for OtherNamespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(socket: UdpSocket, end: u8) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, peer)) = retried(|| socket.recv_from(&mut buffer)) {
            let _ = socket.send_to(&answer(&buffer[..len], &[end], 300), peer);
        }
    });
}

#[test]
fn a_container_behind_a_bridge_is_answered_and_finds_the_file_with_upstreams() {
    if !is_in_own_namespaces("a_container_behind_a_bridge_is_answered_and_finds_the_file_with_upstreams") {
        return;
    }
    assert!(sh(
        "ip link add br0 type bridge; ip link set br0 up; ip addr add 172.17.0.1/16 dev br0; sysctl -qw net.ipv4.ip_forward=1"
    ));
    let container = OtherNamespace::new("v1", "ip link set v1 master br0", "172.17.0.2/16", "172.17.0.1");
    let stranger =
        OtherNamespace::new("v2", "ip addr add 198.51.100.1/24 dev v2", "198.51.100.2/24", "198.51.100.1");
    let internet =
        OtherNamespace::new("v3", "ip addr add 203.0.113.1/24 dev v3", "203.0.113.53/24", "203.0.113.1");
    serve(internet.there(|| UdpSocket::bind("203.0.113.53:53").expect("a port")), 5);
    let dir = directory();
    let configure = |upstream: &str| {
        let listen = "[listen]\ndns = [\"127.0.0.1:53\", \"172.17.0.1:53\"]";
        let run = dir.join("run").display().to_string();
        let text = format!("runtime_dir = {run:?}\n{listen}\n[[upstream]]\naddress = \"{upstream}\"\n");
        fs::write(dir.join("hither.toml"), text).expect("written");
    };
    configure("203.0.113.53");
    fs::create_dir(dir.join("hither.toml.d")).expect("a directory");
    fs::copy(Path::new(SYSTEMD).join("bridge.toml"), dir.join("hither.toml.d/bridge.toml")).expect("shipped");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    let daemon = Daemon::spawn(dir.clone(), &mut command);
    assert_eq!(ends(&container.ask("172.17.0.1", "a.example")), [5]);
    let refused = stranger.ask("172.17.0.1", "a.example");
    assert_eq!(Message::read(&refused).expect("readable").header().rcode(), Rcode::REFUSED);
    fs::write(dir.join("bridge"), "nameserver 172.17.0.1\n").expect("written");
    let found = container.getent(&dir.join("bridge"), "b.example");
    assert!(found.contains("198.18.0.5"), "{found}");
    let queries = || daemon.json(&["stats"])["queries"].as_u64();
    let before = queries();
    let real = dir.join("run/resolv.conf");
    let text = fs::read_to_string(&real).expect("written");
    assert!(text.contains("\nnameserver 203.0.113.53\n"), "{text}");
    let found = container.getent(&real, "c.example");
    assert!(found.contains("198.18.0.5") && queries() == before, "{found}: hitherd was not asked");
    configure("203.0.113.54");
    assert!(daemon.ctl(&["reload"]).status.success());
    let text = fs::read_to_string(&real).expect("written");
    assert!(text.contains("\nnameserver 203.0.113.54\n") && !text.contains("203.0.113.53"), "{text}");
}

#[test]
fn the_file_for_containers_is_never_read_as_the_resolv_conf_of_the_system() {
    if !is_in_own_namespaces("the_file_for_containers_is_never_read_as_the_resolv_conf_of_the_system") {
        return;
    }
    assert!(sh("mount -t tmpfs none /etc; mount -t tmpfs none /run"), "tmpfs at /etc and /run");
    for end in [2, 3] {
        serve(UdpSocket::bind((format!("127.0.0.{end}"), 53)).expect("a port"), end);
    }
    let upstream = |end: u8| {
        fs::write("/run/systemd/resolve/new", format!("nameserver 127.0.0.{end}\n")).expect("written");
        fs::rename("/run/systemd/resolve/new", "/run/systemd/resolve/resolv.conf").expect("renamed");
    };
    fs::create_dir_all("/run/systemd/resolve").expect("directories");
    fs::create_dir_all("/run/hither").expect("a directory");
    upstream(2);
    // An earlier daemon may have left the file.
    fs::write("/run/hither/resolv.conf", "nameserver 127.0.0.9\n").expect("written");
    symlink("/run/hither/resolv.conf", "/etc/resolv.conf").expect("a link");
    let dir = directory();
    fs::write(dir.join("hither.toml"), "runtime_dir = \"/run/hither\"\n[listen]\ndns = [\"127.0.0.1:53\"]\n")
        .expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    let daemon = Daemon::spawn(dir, &mut command);
    assert_eq!(ends(&daemon.ask("a.example")), [2]);
    upstream(3);
    let began = std::time::Instant::now();
    let mut n = 0;
    while ends(&daemon.ask(&format!("n{n}.example"))) != [3] {
        n += 1;
        assert!(began.elapsed() < PATIENCE, "never asked there:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = fs::read_to_string("/etc/resolv.conf").expect("there");
    assert!(text.contains("\nnameserver 127.0.0.3\n") && !text.contains("127.0.0.2"), "{text}");
}
