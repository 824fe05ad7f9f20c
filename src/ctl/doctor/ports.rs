//! Judges which processes hold the addresses at which hitherd listens.

use super::facts::{Daemon, Facts};
use super::finding::Finding;
use super::sockets::{Held, Process, Protocol};
use super::units::{Systemd, Unit};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Restarts hitherd with its sockets. Both at once: a socket unit cannot be restarted under its
/// running service.
const RESTART: &str = "systemctl restart hitherd.socket hitherd.service";
/// Starts hitherd and the sorter, now and at every boot.
pub(super) const ENABLE: &str = "systemctl enable --now hitherd.socket hitherd.service hither-sorter.service";

/// A finding for each address, or for each of its protocols if they differ, and one for other
/// processes at port 53.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in facts.listen_addresses() {
        let check = format!("port {address}");
        let [udp, tcp] =
            [Protocol::Udp, Protocol::Tcp].map(|protocol| judge_address(facts, &check, address, protocol));
        if udp == tcp {
            findings.push(udp.prefixed("UDP and TCP: "));
        } else {
            findings.extend([udp.prefixed("UDP: "), tcp.prefixed("TCP: ")]);
        }
    }
    findings.extend(others(facts));
    findings
}

/// Whether hitherd, or systemd for it, listens at the address that resolv.conf can name.
pub(super) fn is_served(facts: &Facts) -> bool {
    let serves = |held: &&Held| held.protocol == Protocol::Udp && is_ours(facts, held);
    let own = facts.own_nameserver().map(|own| SocketAddr::new(own, 53));
    own.is_some_and(|own| facts.held.iter().filter(serves).any(|held| covers(held.address, own)))
}

fn judge_address(facts: &Facts, check: &str, address: SocketAddr, protocol: Protocol) -> Finding {
    let holders: Vec<&Held> =
        facts.held.iter().filter(|held| held.protocol == protocol && covers(held.address, address)).collect();
    if let Some(ours) = holders.iter().find(|held| is_ours(facts, held)) {
        return Finding::ok(check, named(facts, ours));
    }
    match holders.as_slice() {
        [] if facts.unit("hitherd.socket").is_some() => {
            Finding::problem(check, "nothing listens").fixed_by(ENABLE)
        }
        [] => Finding::problem(check, "nothing listens; start hitherd(8)"),
        [first, ..] => taken(facts, check, first),
    }
}

/// Whether a socket at `held` gets the queries to `wanted`, or keeps another socket from getting them.
fn covers(held: SocketAddr, wanted: SocketAddr) -> bool {
    let any = match (held.ip(), wanted.ip()) {
        (IpAddr::V4(held), IpAddr::V4(_)) => held.is_unspecified(),
        // The socket may receive IPv4 too: the kernel's table does not show that.
        (IpAddr::V6(held), _) => held.is_unspecified(),
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    };
    held.port() == wanted.port() && (held.ip() == wanted.ip() || any)
}

fn is_ours(facts: &Facts, held: &Held) -> bool {
    let is_reported =
        matches!(&facts.daemon, Daemon::Answers(daemon) if daemon.listen.contains(&held.address));
    is_reported
        || socket_unit(facts, held) == Some("hitherd.socket")
        || held.holders.iter().any(|holder| holder.name == "hitherd")
}

/// The socket unit for which systemd holds the address. systemd lists a failed unit too, but it
/// holds no address.
fn socket_unit<'f>(facts: &'f Facts, held: &Held) -> Option<&'f str> {
    let Systemd::Running(units) = &facts.systemd else { return None };
    let unit =
        units.sockets.iter().find(|(address, _)| *address == held.address).map(|(_, unit)| unit.as_str());
    unit.filter(|unit| facts.unit(unit).is_none_or(Unit::is_active))
}

/// The finding for an address that another process holds.
fn taken(facts: &Facts, check: &str, held: &Held) -> Finding {
    let found = format!("{} holds {}", named(facts, held), held.address);
    let service = held.holders.iter().find_map(|holder| holder.service.clone());
    let unit = socket_unit(facts, held).map(str::to_owned).or(service);
    let advice = "stop it, or let it or hitherd listen at another address, see hitherd.socket(8)";
    match unit {
        // Other configuration may depend on it, so no command is given that stops it.
        Some(unit) if unit == "systemd-resolved.service" => {
            Finding::problem(check, format!("{found}: see DNSStubListenerExtra= in resolved.conf(5)"))
        }
        Some(unit) => Finding::problem(check, format!("{found}: {advice}"))
            .fixed_by(format!("systemctl disable --now {unit} && {RESTART}")),
        None if held.holders.is_empty() => {
            Finding::unknown(check, format!("{found}; only root can see which process"))
                .fixed_by("sudo hitherctl doctor")
        }
        None => Finding::problem(check, format!("{found}: {advice}")),
    }
}

/// The processes that hold a socket, for the operator.
fn named(facts: &Facts, held: &Held) -> String {
    let mut holders: Vec<&Process> = held.holders.iter().collect();
    holders.sort_by_key(|holder| (holder.pid == 1, holder.pid));
    let mut names: Vec<String> =
        holders.iter().map(|holder| format!("{} (process {})", holder.name, holder.pid)).collect();
    match socket_unit(facts, held) {
        Some(unit) => names.push(format!("systemd for {unit}")),
        None if !names.is_empty() => {}
        None => match &facts.daemon {
            Daemon::Answers(daemon) if is_ours(facts, held) => {
                names.push(format!("hitherd (process {})", daemon.pid))
            }
            _ => names.push(format!("a process of user {}", held.uid)),
        },
    }
    names.retain(|name| name != "systemd (process 1)" || socket_unit(facts, held).is_none());
    names.join(", ")
}

/// Other processes that listen at port 53 without conflict.
fn others(facts: &Facts) -> Option<Finding> {
    let wanted = facts.listen_addresses();
    let mut by_name: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    let beside =
        |held: &&Held| held.address.port() == 53 && !wanted.iter().any(|own| covers(held.address, *own));
    for held in facts.held.iter().filter(beside) {
        let addresses = by_name.entry(named(facts, held)).or_default();
        if !addresses.contains(&held.address.ip()) {
            addresses.push(held.address.ip());
        }
    }
    let each = by_name.iter().map(|(name, addresses)| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        format!("{name} at {}", addresses.join(", "))
    });
    let found = each.collect::<Vec<_>>().join("; ");
    (!found.is_empty()).then(|| Finding::ok("port 53, others", format!("{found}: no conflict")))
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::{address, faultless};
    use super::super::finding::State;
    use super::*;

    fn lines(facts: &Facts) -> Vec<String> {
        judge(facts).iter().map(ToString::to_string).collect()
    }

    fn all(facts: &Facts, state: State) -> bool {
        judge(facts).iter().all(|finding| finding.state == state)
    }

    #[test]
    fn our_socket_is_known_by_its_unit_its_process_and_the_daemons_status() {
        let mut facts = faultless();
        assert!(all(&facts, State::Ok), "{:?}", lines(&facts));
        assert!(lines(&facts)[0].contains("UDP and TCP: hitherd (process 812), systemd for hitherd.socket"));
        for held in &mut facts.held {
            held.holders.clear();
        }
        assert!(all(&facts, State::Ok), "another user sees it by the socket unit: {:?}", lines(&facts));
        facts.systemd = Systemd::Absent;
        assert!(all(&facts, State::Ok), "and by the daemon's status: {:?}", lines(&facts));
        assert!(lines(&facts)[0].contains("hitherd (process 812)"));
        facts.daemon = Daemon::Silent("no answer".into());
        assert!(all(&facts, State::Unknown), "{:?}", lines(&facts));
        assert!(
            lines(&facts)[0]
                .contains("a process of user 0 holds 127.0.0.1:53; only root can see which process")
        );
    }

    #[test]
    fn another_service_is_named_with_the_command_that_stops_it() {
        let mut facts = faultless();
        facts.daemon = Daemon::Stopped;
        facts.units().sockets.clear();
        facts.held =
            Held::some(&["udp 0.0.0.0:53 77 dnsmasq", "tcp 0.0.0.0:53 77 dnsmasq", "udp [::]:53 77 dnsmasq"]);
        let findings = judge(&facts);
        assert_eq!(findings[0].state, State::Problem);
        assert!(findings[0].found.starts_with("UDP and TCP: dnsmasq (process 77) holds 0.0.0.0:53"));
        let fix =
            "systemctl disable --now dnsmasq.service && systemctl restart hitherd.socket hitherd.service";
        assert_eq!(findings[0].fix.as_deref(), Some(fix));
        let others: Vec<&str> = findings[1..].iter().map(|finding| finding.found.as_str()).collect();
        assert!(others[0].starts_with("UDP: dnsmasq") && others[1] == "TCP: nothing listens", "{others:?}");
        facts = faultless();
        facts.daemon = Daemon::Stopped;
        facts.units().put("hitherd.socket", "failed", "enabled");
        facts.held = Held::some(&["udp 127.0.0.1:53 9 named", "tcp 127.0.0.1:53 9 named"]);
        assert_eq!(
            judge(&facts)[0].state,
            State::Problem,
            "a unit that failed holds nothing, though it is listed"
        );
        facts.held.iter_mut().for_each(|held| held.holders[0].service = None);
        assert_eq!(judge(&facts)[0].fix, None, "the operator has to stop a process that is not a service");
        facts.held =
            Held::some(&["udp 127.0.0.1:53 300 systemd-resolved", "tcp 127.0.0.1:53 300 systemd-resolved"]);
        assert!(judge(&facts)[0].fix.is_none() && judge(&facts)[0].found.contains("DNSStubListenerExtra="));
    }

    #[test]
    fn a_free_port_is_a_problem_and_the_stub_of_resolved_is_none() {
        let mut facts = faultless().behind_resolved();
        assert!(all(&facts, State::Ok), "{:?}", lines(&facts));
        let last = lines(&facts).pop().expect("some");
        assert!(last.contains("systemd-resolve (process 300) at 127.0.0.53: no conflict"), "{last}");
        assert!(is_served(&facts));
        facts.held.clear();
        assert!(!is_served(&facts));
        assert_eq!(judge(&facts)[0].fix.as_deref(), Some(ENABLE));
        facts.systemd = Systemd::Absent;
        assert_eq!((judge(&facts)[0].state, judge(&facts)[0].fix.clone()), (State::Problem, None));
    }

    #[test]
    fn a_wildcard_covers_its_family_and_that_of_ipv6_covers_both() {
        let covers = |held, wanted| covers(address(held), address(wanted));
        assert!(
            covers("0.0.0.0:53", "127.0.0.1:53")
                && covers("[::]:53", "127.0.0.1:53")
                && covers("[::]:53", "[::1]:53")
        );
        assert!(!covers("0.0.0.0:53", "[::1]:53") && !covers("127.0.0.53:53", "127.0.0.1:53"));
        assert!(!covers("0.0.0.0:54", "127.0.0.1:53"));
    }
}
