//! Hosts with container engines, and the finding and fix of each.

use super::super::facts::Resolv;
use super::super::facts::tests::{address, faultless};
use super::super::finding::State;
use super::super::finding::tests::finding_of;
use super::found::{CONFIGURATION_D, Docker, Podman, allowed_in, bridge_of, flag};
use super::*;
use crate::ctl::doctor::facts::Configuration;
use std::net::IpAddr;
use std::path::PathBuf;

fn docker(json: Option<&str>) -> Containers {
    let docker = Docker { json: json.map(str::to_owned), bridge: bridge_of([172, 17, 0, 1]) };
    Containers { docker: Some(docker), ..Containers::default() }
}

/// A host whose resolv.conf names hitherd alone.
fn only_hitherd() -> Facts {
    let mut facts = faultless();
    facts.names.resolv = Resolv { text: Some("nameserver 127.0.0.1\n".to_owned()), ..Resolv::default() };
    facts
}

fn listening(facts: &mut Facts, at: &str) {
    let super::super::facts::Daemon::Answers(daemon) = &mut facts.daemon else { panic!("it answers") };
    daemon.listen.push(address(at));
}

fn allowing(facts: &mut Facts, network: &str) {
    let text = format!("[listen]\nallow = [\"127.0.0.0/8\", \"{network}\"]");
    facts.config = Configuration::Good(Box::new(crate::config::check_text(&text).expect("right")));
}

#[test]
fn a_host_without_containers_has_no_finding() {
    assert!(judge(&faultless()).is_empty());
}

#[test]
fn docker_beside_a_resolv_conf_of_this_host_alone_gets_the_bridge() {
    let mut facts = only_hitherd();
    facts.containers = docker(None);
    let (state, found, fix) = finding_of(judge(&facts), "docker");
    assert_eq!(state, State::Warning);
    assert!(found.contains("public servers"), "{found}");
    assert_eq!(
        fix,
        "install -b -D -m 644 /usr/share/hither/bridge.conf /etc/systemd/system/hitherd.socket.d/docker.conf && install -b -D -m 644 /usr/share/hither/bridge.toml /etc/hither/hither.toml.d/bridge.toml && systemctl daemon-reload && { systemctl restart hitherd.socket hitherd.service || systemctl restart hitherd.socket hitherd.service; } && printf '{ \"dns\": [\"172.17.0.1\"] }\\n' | install -b -D -m 644 /dev/stdin /etc/docker/daemon.json && systemctl restart docker.service"
    );
    // Steps that are done already are left out.
    listening(&mut facts, "172.17.0.1:53");
    allowing(&mut facts, "172.17.0.0/16");
    facts.containers = docker(Some("{ \"bip\": \"\" }"));
    let (_, _, fix) = finding_of(judge(&facts), "docker");
    assert_eq!(
        fix,
        "sed -i.before-hither --follow-symlinks '0,/{/s//{ \"dns\": [\"172.17.0.1\"],/' /etc/docker/daemon.json && systemctl restart docker.service"
    );
    allowing(&mut facts, "10.0.0.0/8");
    let (_, _, fix) = finding_of(judge(&facts), "docker");
    assert!(
        fix.contains("allow = [\"127.0.0.0/8\", \"10.0.0.0/8\", \"172.16.0.0/12\"]"),
        "the earlier networks stay allowed: {fix}"
    );
}

#[test]
fn docker_with_other_servers_is_left_alone_and_one_that_names_hitherd_gets_a_fix() {
    let mut facts = faultless();
    facts.containers = docker(None);
    let (state, found, fix) = finding_of(judge(&facts), "docker");
    assert_eq!((state, fix.as_str()), (State::Ok, ""));
    assert!(found.contains("192.0.2.1, as in resolv.conf: not hitherd"), "{found}");
    let mut facts = only_hitherd();
    facts.containers = docker(Some("{\"dns\":[\"192.0.2.7\"]}"));
    assert_eq!(finding_of(judge(&facts), "docker").0, State::Ok);
    facts.containers = docker(Some("{\"dns\":[\"172.17.0.1\"]}"));
    let (state, found, fix) = finding_of(judge(&facts), "docker");
    assert!(state == State::Problem && found.contains("does not listen there"), "{found}");
    assert!(fix.contains("docker.conf") && !fix.contains("daemon.json"), "{fix}");
    listening(&mut facts, "172.17.0.1:53");
    let (state, found, fix) = finding_of(judge(&facts), "docker");
    assert!(state == State::Problem && found.contains("refuses"), "{found}");
    assert!(fix.contains("bridge.toml") && !fix.contains("hitherd.socket.d"), "{fix}");
    allowing(&mut facts, "172.16.0.0/12");
    assert_eq!(finding_of(judge(&facts), "docker").0, State::Ok);
    facts.containers = docker(Some("{\"dns\":[\"192.0.2.7\", \"127.0.0.53\"]}"));
    let (state, found, fix) = finding_of(judge(&facts), "docker");
    assert!(state == State::Problem && found.contains("127.0.0.53 is each container itself"), "{found}");
    assert!(
        fix.starts_with("sed -z") && fix.ends_with("restart docker.service"),
        "it listens already: {fix}"
    );
    for wrong in ["{", "[]", "{} {}"] {
        facts.containers = docker(Some(wrong));
        assert_eq!(finding_of(judge(&facts), "docker").0, State::Unknown, "{wrong}");
    }
}

#[test]
fn behind_the_stub_of_resolved_containers_get_its_servers() {
    let mut facts = faultless().behind_resolved();
    facts.containers = docker(None);
    assert_eq!(finding_of(judge(&facts), "docker").0, State::Ok);
    facts.names.resolved_uses = vec![address("127.0.0.1:53")];
    assert_eq!(finding_of(judge(&facts), "docker").0, State::Warning);
}

#[test]
fn the_kubelets_flag_overrides_its_configuration() {
    let kubelet = |config: &str, flags: Option<&str>| Kubelet {
        config: Some((PathBuf::from("/var/lib/kubelet/config.yaml"), config.to_owned())),
        flags: flags.map(|text| (PathBuf::from("/etc/default/kubelet"), text.to_owned())),
        has_file: true,
        servers: vec![IpAddr::from([127, 0, 0, 1])],
        upstreams_file: PathBuf::from("/run/hither/resolv.conf"),
        has_upstreams_file: true,
    };
    let at = |config, flags| kubelet(config, flags).resolv_conf().display().to_string();
    assert_eq!(at("kind: x\n", None), "/etc/resolv.conf");
    assert_eq!(at("a: 1\nresolvConf: \"/x\" # why\n", None), "/x");
    assert_eq!(at("{\"resolvConf\": \"/y\"}", None), "/y");
    assert_eq!(at("resolvConf: /x\n", Some("KUBELET_EXTRA_ARGS=\"--v=2 --resolv-conf=/z --x\"\n")), "/z");
    assert_eq!(at("resolvConf: ''\n", None), "");
    assert_eq!(at("kind: x\n", Some("A=\"--resolv-conf  /z --x\"\n")), "/z");
    assert_eq!(at("kind: x\n", Some("A=\"--resolv-conf-else=/z --resolv-config /z\"\n")), "/etc/resolv.conf");
    let judged = |kubelet: Kubelet| {
        let mut facts = faultless();
        facts.containers.kubelet = Some(kubelet);
        finding_of(judge(&facts), "kubelet")
    };
    assert_eq!(judged(kubelet("resolvConf: /run/hither/resolv.conf\n", None)).0, State::Ok);
    assert_eq!(judged(kubelet("resolvConf: \"\"\n", None)).0, State::Ok);
    let (state, _, fix) = judged(kubelet("kind: x\n", None));
    assert!(state == State::Problem && fix.ends_with(" && systemctl restart kubelet.service"), "{fix}");
    let lost = Kubelet { has_file: false, ..kubelet("resolvConf: /lost\n", None) };
    let (state, found, fix) = judged(lost);
    assert!(
        state == State::Problem && found.contains("/lost, which is missing") && !fix.is_empty(),
        "{found}"
    );
    let early = Kubelet { has_upstreams_file: false, ..kubelet("kind: x\n", None) };
    let (state, found, fix) = judged(early);
    assert!(state == State::Problem && fix.is_empty() && found.contains("has to write"), "{found}");
    let with_servers = Kubelet { servers: vec![IpAddr::from([192, 0, 2, 1])], ..kubelet("kind: x\n", None) };
    assert_eq!(judged(with_servers).0, State::Ok);
}

#[test]
fn a_kubelets_flag_may_have_quotes_of_its_own() {
    for text in [
        "A='--resolv-conf=\"/etc/x\" --v=2'",
        "A=\"--v=2 --resolv-conf='/etc/x'\"",
        "A=\"--resolv-conf=/etc/x\"",
    ] {
        assert_eq!(flag(text), Some("/etc/x"), "{text}");
    }
    assert_eq!(flag("A=\"--resolv-conf=\" B=\"--v=2\""), Some(""));
}

#[test]
fn podman_keeps_its_other_servers() {
    let mut facts = only_hitherd();
    let servers = vec!["192.0.2.7".to_owned(), "127.0.0.1".to_owned()];
    let podman = Podman { servers, drop_in: "hither.conf".to_owned(), bridge: bridge_of([10, 88, 0, 1]) };
    facts.containers = Containers { podman: Some(podman), ..Containers::default() };
    let (state, _, fix) = finding_of(judge(&facts), "podman");
    assert!(state == State::Problem && fix.contains("dns_servers = [\"192.0.2.7\", \"10.88.0.1\"]"), "{fix}");
}

#[test]
fn a_restart_of_docker_is_reported_to_stop_containers_unless_they_live_on() {
    let mut facts = only_hitherd();
    let mut of = |json: &str| {
        facts.containers = docker(Some(json));
        judge(&facts).remove(0).takes_away.unwrap_or_default()
    };
    assert!(of("{}").contains("a restart of Docker stops them"));
    assert_eq!(of("{\"live-restore\": true}"), "");
    assert_eq!(of("{\"dns\": [\"192.0.2.1\"]}"), "", "nothing is restarted");
}

#[test]
fn listen_allow_is_set_in_the_last_file_and_for_all_bridges_at_once() {
    let root = std::env::temp_dir().join(format!("hither-bridge-{}", std::process::id()));
    let dir = root.join(CONFIGURATION_D);
    std::fs::create_dir_all(&dir).expect("a directory");
    let write = |name: &str| std::fs::write(dir.join(name), "").expect("written");
    write("10-own.toml");
    assert_eq!(allowed_in(&root), "");
    write("zz.toml");
    let name = allowed_in(&root);
    assert!(name.as_str() > "zz.toml" && name.ends_with(".toml"), "{name}");
    write(&name);
    assert_eq!(allowed_in(&root), name, "once");
    std::fs::remove_dir_all(root).expect("removable");
    let mut facts = only_hitherd();
    allowing(&mut facts, "10.0.0.0/16");
    facts.containers = docker(None);
    let podman = Podman { servers: Vec::new(), drop_in: String::new(), bridge: bridge_of([10, 99, 0, 1]) };
    facts.containers.podman = Some(podman);
    facts.containers.allowed_in = name;
    for check in ["docker", "podman"] {
        let (_, _, fix) = finding_of(judge(&facts), check);
        assert!(fix.contains("172.16.0.0/12") && fix.contains("10.99.0.1/16"), "{fix}");
        assert!(fix.contains("hither.toml.d/zz.zz-bridge.toml"), "{fix}");
    }
}
