//! Judges which server programs ask: resolv.conf, the program that writes it, systemd-resolved, and
//! the upstreams of hitherd.

use super::facts::{Configuration, Daemon, Facts};
use super::finding::Finding;
use super::plan::{
    Writer, is_own, is_stub, joined, keeps, names_hitherd, nameservers, plan, resolved_runs, writer,
};
use super::ports;
use crate::config::Upstream;
use crate::ctl::nsswitch;
use std::net::IpAddr;

/// The command that fixes resolv.conf.
const FIX: &str = "hitherctl enable-resolv";
/// The command that moves away a directory or device in the place of resolv.conf.
const MOVE_AWAY: &str = "mv /etc/resolv.conf /etc/resolv.conf.was";

/// A finding for each.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![resolv_conf(facts)];
    findings.extend(writing_program(facts));
    findings.extend([resolved(facts), upstreams(facts)]);
    findings
}

fn resolv_conf(facts: &Facts) -> Finding {
    let check = "resolv.conf";
    let resolv = &facts.names.resolv;
    if let (true, Some(link)) = (resolv.is_broken, &resolv.link) {
        let why = resolv.error.as_deref().unwrap_or("there is no such file");
        let found =
            format!("leads to {}, which cannot be read: {why}; programs ask 127.0.0.1", link.display());
        return with_fix(facts, Finding::problem(check, found));
    }
    if let Some(error) = &resolv.error {
        let found = format!("cannot be read: {error}");
        return if resolv.is_no_file {
            Finding::problem(check, found).fixed_by(format!("{MOVE_AWAY} && {FIX}"))
        } else {
            Finding::unknown(check, found)
        };
    }
    let servers = nameservers(resolv);
    let named = match (&resolv.link, &resolv.text) {
        (_, None) => "missing, so that programs ask 127.0.0.1".to_owned(),
        (Some(link), Some(_)) => {
            format!("nameserver {}, by the link to {}", joined(&servers), link.display())
        }
        (None, Some(_)) => format!("nameserver {}", joined(&servers)),
    };
    let first = servers.first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    if facts.is_own(first) {
        return Finding::ok(check, format!("{named}: hitherd"));
    }
    if is_stub(first) {
        return behind_the_stub(facts, named);
    }
    let says = if servers.iter().any(|server| facts.is_own(*server)) {
        "hitherd is asked only if the servers before it do not respond"
    } else {
        "hitherd is not asked"
    };
    with_fix(facts, severity(facts, format!("{named}: {says}")))
}

fn behind_the_stub(facts: &Facts, named: String) -> Finding {
    let check = "resolv.conf";
    let names = &facts.names;
    if !resolved_runs(facts) {
        return with_fix(
            facts,
            Finding::problem(check, format!("{named}: systemd-resolved, which does not run")),
        );
    }
    if names.resolved.forwards(is_own(facts)) {
        return Finding::ok(check, format!("{named}: systemd-resolved, which forwards to hitherd"));
    }
    with_fix(facts, severity(facts, format!("{named}: systemd-resolved, which does not forward to hitherd")))
}

/// A problem, or a warning if programs reach hither by the NSS module.
fn severity(facts: &Facts, found: String) -> Finding {
    let by_nss =
        facts.lookups.nsswitch.as_ref().is_ok_and(|text| nsswitch::is_enabled(text).unwrap_or(false));
    if by_nss && facts.lookups.module.loadable {
        Finding::warning("resolv.conf", found + " by programs that do not look names up by glibc")
    } else {
        Finding::problem("resolv.conf", found)
    }
}

/// Adds the fix and the list of what it takes away, unless programs would then ask an address at
/// which nothing listens.
fn with_fix(facts: &Facts, mut finding: Finding) -> Finding {
    match plan(facts).filter(|plan| !plan.steps.is_empty()) {
        Some(plan) if ports::is_served(facts) => {
            finding.fixed_by(FIX).taking_away(&plan.takes_away.join("; "))
        }
        Some(_) => {
            finding.found += "; hitherd has to listen before this can be fixed";
            finding
        }
        None => finding,
    }
}

/// The program that writes resolv.conf, and whether it keeps hitherd in it.
fn writing_program(facts: &Facts) -> Option<Finding> {
    facts.own_nameserver()?;
    let (is_named, writer) = (names_hitherd(facts), writer(facts));
    let name = match writer {
        Writer::NetworkManager => "NetworkManager",
        Writer::Dhclient => "dhclient",
        Writer::Dhcpcd => "dhcpcd",
        Writer::Resolvconf | Writer::Openresolv => "resolvconf",
        Writer::Resolved | Writer::Operator if facts.is_active("NetworkManager.service") => {
            return Some(Finding::ok("NetworkManager", "does not write resolv.conf"));
        }
        Writer::Resolved | Writer::Operator => return None,
    };
    let found = "writes resolv.conf anew when the network changes";
    Some(match (is_named, keeps(facts, writer)) {
        (true, true) => Finding::ok(name, format!("{found}, and hitherd first")),
        (true, false) => {
            with_fix(facts, Finding::warning(name, format!("{found}, and then without hitherd")))
        }
        (false, _) => Finding::ok(name, found),
    })
}

fn resolved(facts: &Facts) -> Finding {
    let check = "systemd-resolved";
    let names = &facts.names;
    if !resolved_runs(facts) {
        return Finding::ok(check, "does not run");
    }
    let stub = if names.resolved.stub { "stub listener on" } else { "stub listener off" };
    let forwards = names.resolved.forwards(is_own(facts));
    let in_force = names.resolved_uses.iter().any(is_own(facts));
    match (forwards, in_force) {
        (true, true) => Finding::ok(check, format!("forwards to hitherd, {stub}")),
        (true, false) => {
            Finding::warning(check, format!("is configured to forward to hitherd, but does not yet; {stub}"))
                .fixed_by("systemctl restart systemd-resolved.service")
        }
        (false, true) => with_fix(
            facts,
            Finding::warning(
                check,
                format!("asks hitherd among others: {}; {stub}", joined(&names.resolved_uses)),
            ),
        ),
        // The finding of resolv.conf shows whether that matters.
        (false, false) => {
            Finding::ok(check, format!("runs beside hitherd and does not forward to it, {stub}"))
        }
    }
}

fn upstreams(facts: &Facts) -> Finding {
    let check = "upstreams";
    let configured: &[Upstream] = match &facts.config {
        Configuration::Good(config) => &config.upstreams.usual,
        Configuration::Bad(_) | Configuration::Hidden(_) => &[],
    };
    let loops = configured.iter().flat_map(Upstream::addresses).find(|upstream| {
        facts.is_own(upstream.ip()) && upstream.port() == 53
            || is_stub(upstream.ip()) && facts.names.resolved.dns.iter().any(is_own(facts))
    });
    if let Some(upstream) = loops {
        return Finding::problem(
            check,
            format!(
                "a loop: {upstream} in hither.toml leads back to hitherd; remove it there, or name the network's own servers"
            ),
        );
    }
    if configured.iter().any(|upstream| upstream.policy.is_some()) {
        let labels: Vec<String> = configured.iter().map(ToString::to_string).collect();
        return Finding::ok(check, format!("{} (by hither.toml)", labels.join(", ")));
    }
    let from = match &facts.daemon {
        _ if !configured.is_empty() => "by hither.toml",
        // It may have been started with another file.
        Daemon::Answers(daemon) if daemon.names_upstreams => "by the file that hitherd has read",
        _ => "the system's",
    };
    if facts.upstreams.is_empty() {
        return Finding::problem(
            check,
            "none: the system names no server but hitherd; name one as [[upstream]] in /etc/hither/hither.toml",
        );
    }
    Finding::ok(check, format!("{} ({from})", joined(&facts.upstreams)))
}

#[cfg(test)]
mod tests;
