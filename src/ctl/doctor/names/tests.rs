//! The ways in which hosts write resolv.conf, and the finding and plan of each.

use super::super::facts::Resolv;
use super::super::facts::tests::{address, faultless};
use super::super::finding::State;
use super::*;
use std::path::PathBuf;

fn of(facts: &Facts, check: &str) -> (State, String, String) {
    let found = judge(facts).into_iter().find(|finding| finding.check == check);
    let found = found.unwrap_or_else(|| panic!("{check} is not checked"));
    (found.state, found.found, found.fix.unwrap_or_default())
}

/// The steps of enable-resolv.
fn steps(facts: &Facts) -> String {
    let plan = plan(facts).expect("it has a port 53");
    plan.steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" && ")
}

/// The settings and servers that the steps take away.
fn takes_away(facts: &Facts) -> String {
    plan(facts).expect("it has a port 53").takes_away.join("; ")
}

/// The faultless host with another resolv.conf.
fn host(link: Option<&str>, text: &str) -> Facts {
    let mut facts = faultless();
    facts.names.resolv =
        Resolv { link: link.map(PathBuf::from), text: Some(text.to_owned()), ..Resolv::default() };
    facts
}

fn without_nss(mut facts: Facts) -> Facts {
    facts.lookups.nsswitch = Ok(b"hosts: files dns\n".to_vec());
    facts
}

#[test]
fn a_faultless_host_needs_no_fix() {
    for finding in judge(&faultless()) {
        assert!(finding.state == State::Ok && finding.fix.is_none(), "{finding}");
    }
    let mut facts = faultless();
    facts.names.resolv = Resolv::default();
    assert_eq!(of(&facts, "resolv.conf").1, "missing, so that programs ask 127.0.0.1: hitherd");
}

#[test]
fn a_file_that_no_program_writes_gets_our_line_above_the_others() {
    let facts = host(None, "search example.com\nnameserver 192.0.2.1\n");
    let (state, found, fix) = of(&facts, "resolv.conf");
    assert_eq!((state, fix.as_str()), (State::Warning, FIX));
    assert_eq!(steps(&facts), "put first into /etc/resolv.conf: nameserver 127.0.0.1");
    assert_eq!(takes_away(&facts), "", "the others stay");
    assert!(
        found.starts_with("nameserver 192.0.2.1: hitherd is not asked by programs that do not"),
        "{found}"
    );
    assert_eq!(of(&without_nss(facts), "resolv.conf").0, State::Problem, "no query reaches hitherd");
    let facts = host(None, "nameserver 192.0.2.1\nnameserver 127.0.0.1\n");
    assert!(of(&facts, "resolv.conf").1.contains("asked only if the servers before it do not respond"));
    let facts = host(None, "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n");
    assert!(takes_away(&facts).starts_with("nameserver 192.0.2.3 becomes the fourth"));
    let facts = host(Some("/opt/resolv.conf"), "nameserver 192.0.2.1\n");
    assert!(steps(&facts).starts_with("put first"), "it stays a link");
    let mut facts = host(None, "");
    facts.names.resolv.error = Some("permission denied".to_owned());
    assert_eq!(of(&facts, "resolv.conf").0, State::Unknown);
}

#[test]
fn resolved_forwards_here_by_our_drop_in() {
    let mut facts = faultless().behind_resolved();
    let (state, found, fix) = of(&facts, "resolv.conf");
    assert_eq!(state, State::Warning);
    assert!(found.contains("which does not forward to hitherd"));
    assert_eq!(fix, FIX);
    assert_eq!(
        steps(&facts),
        "make /etc/systemd/resolved.conf.d/hither.conf && run systemctl restart systemd-resolved.service"
    );
    assert!(takes_away(&facts).contains("DNSSEC= and DNSOverTLS="));
    assert_eq!(of(&facts, "systemd-resolved").0, State::Ok);
    facts.names.resolved.dns = vec![address("127.0.0.1:53")];
    facts.names.resolved.domains = vec!["~.".to_owned()];
    assert_eq!(
        of(&facts, "systemd-resolved").2,
        "systemctl restart systemd-resolved.service",
        "not in force"
    );
    facts.names.resolved_uses.push(address("127.0.0.1:53"));
    assert_eq!(
        of(&facts, "systemd-resolved"),
        (State::Ok, "forwards to hitherd, stub listener on".to_owned(), String::new())
    );
    assert_eq!(of(&facts, "resolv.conf").0, State::Ok);
    facts.names.resolved.stub = false;
    assert!(of(&facts, "systemd-resolved").1.ends_with("stub listener off"));
}

#[test]
fn servers_that_resolved_is_configured_with_become_upstreams() {
    let mut facts = faultless().behind_resolved();
    facts.names.resolved.dns = vec![address("192.0.2.7:53"), address("127.0.0.1:53")];
    facts.names.resolved.domains = vec!["~.".to_owned()];
    facts.names.resolved_uses = facts.names.resolved.dns.clone();
    let (state, found, fix) = of(&facts, "systemd-resolved");
    assert_eq!(state, State::Warning);
    assert!(found.contains("asks hitherd among others: 192.0.2.7:53"), "{found}");
    let order = ["resolved.toml", "reload-or-restart hitherd", "resolved.conf.d", "restart systemd-resolved"];
    let steps = steps(&facts);
    let places: Vec<usize> = order.iter().map(|part| steps.find(part).expect(part)).collect();
    assert!(places.is_sorted() && fix == FIX, "{steps}");
    assert!(takes_away(&facts).starts_with("192.0.2.7:53 of resolved.conf are asked by hitherd"));
}

#[test]
fn a_stub_that_does_not_run_is_always_a_problem() {
    let mut facts = faultless().behind_resolved();
    facts.units().put("systemd-resolved.service", "inactive", "disabled");
    let (state, found, fix) = of(&facts, "resolv.conf");
    assert_eq!(state, State::Problem);
    assert!(found.contains("which does not run"));
    assert_eq!(fix, FIX);
    assert_eq!(steps(&facts), "replace /etc/resolv.conf by: nameserver 127.0.0.1; options edns0 trust-ad");
    assert!(
        takes_away(&facts).contains("the link to ../run/systemd/resolve/stub-resolv.conf becomes a file")
    );
}

#[test]
fn network_manager_is_configured_not_to_write_the_file() {
    let mut facts = host(
        Some("/run/NetworkManager/resolv.conf"),
        "# Generated by NetworkManager\nsearch example.com\nnameserver 192.0.2.1\noptions edns0\n",
    );
    facts.units().put("NetworkManager.service", "active", "enabled");
    let fix = of(&facts, "resolv.conf").2;
    assert_eq!(fix, FIX);
    assert_eq!(
        steps(&facts),
        "make /etc/NetworkManager/conf.d/hither.conf && run systemctl reload NetworkManager.service && replace /etc/resolv.conf by: nameserver 127.0.0.1; search example.com; options edns0"
    );
    let lost = takes_away(&facts);
    for what in [
        "NetworkManager no longer writes",
        "'search example.com' stays",
        "the link to /run/Net",
        "nameserver 192.0.2.1 is removed",
    ] {
        assert!(lost.contains(what), "{lost}");
    }
    facts.names.resolv.text = Some("# Generated by NetworkManager\n".to_owned());
    assert_eq!(of(&facts, "NetworkManager").2, FIX, "as long as there is no network");
    assert!(
        steps(&facts).ends_with("replace /etc/resolv.conf by: nameserver 127.0.0.1"),
        "{}",
        steps(&facts)
    );
    facts.names.resolv = faultless().names.resolv;
    let (state, found, fix) = of(&facts, "NetworkManager");
    assert_eq!(state, State::Warning, "it would write over it");
    assert!(
        found.contains("writes resolv.conf anew")
            && fix == FIX
            && steps(&facts).ends_with("run systemctl reload NetworkManager.service")
    );
    facts.names.manager.rc_manager = "unmanaged".to_owned();
    assert_eq!(of(&facts, "NetworkManager").0, State::Ok);
}

#[test]
fn other_writers_of_the_file_are_configured_in_their_own_syntax() {
    for (link, text, process, fix) in [
        (
            Some("/run/resolvconf/resolv.conf"),
            "nameserver 192.0.2.1\n",
            "",
            "resolv.conf.d/head: nameserver 127.0.0.1 && run resolvconf -u",
        ),
        (
            None,
            "# Generated by resolvconf\nnameserver 192.0.2.1\n",
            "",
            "/etc/resolvconf.conf: name_servers=127.0.0.1; resolv_conf_local_only=NO",
        ),
        (
            None,
            "nameserver 192.0.2.1\n",
            "dhclient",
            "/etc/dhcp/dhclient.conf: prepend domain-name-servers 127.0.0.1; && put first into",
        ),
        (
            None,
            "# Generated by dhcpcd from eth0.dhcp\nnameserver 192.0.2.1\n",
            "dhcpcd",
            "/etc/resolv.conf.head: nameserver 127.0.0.1 && put first into",
        ),
    ] {
        let mut facts = host(link, text);
        facts.names.processes.insert(process.to_owned());
        assert_eq!(of(&facts, "resolv.conf").2, FIX);
        assert!(steps(&facts).contains(fix), "{}", steps(&facts));
    }
    let mut facts = faultless();
    facts.names.processes.insert("dhclient".to_owned());
    facts.names.dhclient_conf = "#prepend domain-name-servers 127.0.0.1;\n".to_owned();
    assert_eq!(of(&facts, "dhclient").0, State::Warning);
    facts.names.dhclient_conf = "prepend domain-name-servers 127.0.0.1;\n".to_owned();
    assert_eq!(of(&facts, "dhclient").0, State::Ok);
    let mut facts = host(None, "# Generated by dhcpcd\nnameserver 127.0.0.1\n");
    facts.names.processes.insert("dhcpcd".to_owned());
    assert_eq!(of(&facts, "dhcpcd").2, FIX);
    assert_eq!(steps(&facts), "add to /etc/resolv.conf.head: nameserver 127.0.0.1");
    facts.names.dhcpcd_head = "nameserver 127.0.0.1\n".to_owned();
    assert_eq!(of(&facts, "dhcpcd").0, State::Ok);
}

#[test]
fn loops_and_the_lack_of_upstreams_are_problems() {
    let mut facts = faultless().behind_resolved();
    facts.names.resolved.dns = vec![address("127.0.0.1:53")];
    let config = crate::config::check_text("[[upstream]]\naddress = \"127.0.0.53\"").expect("right");
    facts.config = Configuration::Good(Box::new(config));
    let (state, found, _) = of(&facts, "upstreams");
    assert!(state == State::Problem && found.contains("127.0.0.53:53 in hither.toml leads back"), "{found}");
    facts.names.resolved.dns.clear();
    assert_eq!(of(&facts, "upstreams").0, State::Ok, "resolved asks others");
    facts.upstreams.clear();
    assert!(of(&facts, "upstreams").1.starts_with("none"));
}

#[test]
fn no_fix_is_offered_if_hitherd_has_no_port_53() {
    let mut facts = host(None, "nameserver 192.0.2.1\n");
    let super::super::facts::Daemon::Answers(daemon) = &mut facts.daemon else { panic!("it answers") };
    daemon.listen = vec![address("127.0.0.1:5300")];
    assert_eq!(of(&facts, "resolv.conf").2, "");
}

#[test]
fn no_fix_leads_programs_to_an_address_where_nothing_listens() {
    let mut facts = host(None, "nameserver 192.0.2.1\n");
    facts.held.clear();
    let (_, found, fix) = of(&facts, "resolv.conf");
    assert!(found.ends_with("hitherd has to listen before this can be fixed") && fix.is_empty(), "{found}");
    let mut facts = faultless().behind_resolved();
    facts.held.clear();
    assert_eq!(of(&facts, "resolv.conf").2, "");
}

#[test]
fn upstreams_of_another_configuration_file_are_not_said_to_be_the_systems() {
    let mut facts = faultless();
    let Daemon::Answers(daemon) = &mut facts.daemon else { panic!("it answers") };
    daemon.names_upstreams = true;
    let finding = upstreams(&facts);
    assert!(finding.found.ends_with(" (by the file that hitherd has read)"), "{}", finding.found);
}
