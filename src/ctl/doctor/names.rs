//! Judges where the names of programs go that ask the DNS: resolv.conf, who writes it, systemd-resolved, and whom hitherd asks.

use super::facts::{Configuration, Facts, Resolv};
use super::finding::Finding;
use super::{ini, ports};
use crate::config::Endpoint;
use crate::ctl::nsswitch;
use std::net::{IpAddr, SocketAddr};

/// Who writes resolv.conf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Writer {
    Resolved,
    NetworkManager,
    /// Debian's resolvconf(8).
    Resolvconf,
    Openresolv,
    Dhclient,
    Dhcpcd,
    /// The operator.
    Nobody,
}

/// A finding for each.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![resolv_conf(facts)];
    findings.extend(writer_of(facts));
    findings.extend([resolved(facts), upstreams(facts)]);
    findings
}

/// What glibc asks, in its order; without a line it asks this host.
fn nameservers(resolv: &Resolv) -> Vec<IpAddr> {
    let found = ini::nameservers(resolv.text.as_deref().unwrap_or_default());
    // glibc takes three.
    let mut found: Vec<IpAddr> = found.iter().map(SocketAddr::ip).take(3).collect();
    if found.is_empty() {
        found.push(IpAddr::from([127, 0, 0, 1]));
    }
    found
}

fn is_stub(server: IpAddr) -> bool {
    [[127, 0, 0, 53], [127, 0, 0, 54]].iter().any(|stub| server == IpAddr::from(*stub))
}

fn is_own(facts: &Facts) -> impl Fn(&SocketAddr) -> bool {
    |server| server.port() == 53 && facts.is_own(server.ip())
}

fn joined<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn resolv_conf(facts: &Facts) -> Finding {
    let check = "resolv.conf";
    let resolv = &facts.names.resolv;
    if let Some(error) = &resolv.error {
        return Finding::unknown(check, format!("cannot be read: {error}"));
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
        "hitherd is asked only if those before it are silent"
    } else {
        "hitherd is not asked"
    };
    let fix = leads_here(facts, writer(facts));
    with(facts, worse(facts, format!("{named}: {says}")), fix)
}

fn behind_the_stub(facts: &Facts, named: String) -> Finding {
    let check = "resolv.conf";
    let names = &facts.names;
    if facts.unit("systemd-resolved.service").is_none_or(|unit| !unit.is_active())
        && !names.processes.contains("systemd-resolve")
    {
        let fix = facts.own_nameserver().map(written);
        return with(
            facts,
            Finding::problem(check, format!("{named}: systemd-resolved, which does not run")),
            fix,
        );
    }
    if names.resolved.forwards(is_own(facts)) {
        return Finding::ok(check, format!("{named}: systemd-resolved, which forwards to hitherd"));
    }
    with(
        facts,
        worse(facts, format!("{named}: systemd-resolved, which does not forward to hitherd")),
        forwarding(facts),
    )
}

/// Nothing is lost where programs reach hither by the NSS module.
fn worse(facts: &Facts, found: String) -> Finding {
    let by_nss =
        facts.lookups.nsswitch.as_ref().is_ok_and(|text| nsswitch::is_enabled(text).unwrap_or(false));
    if by_nss && facts.lookups.module.loadable {
        Finding::warning("resolv.conf", found + " by programs that do not look names up by glibc")
    } else {
        Finding::problem("resolv.conf", found)
    }
}

/// Names the command, unless it would lead programs to where nobody answers.
fn with(facts: &Facts, mut finding: Finding, fix: Option<String>) -> Finding {
    match fix {
        Some(fix) if ports::is_served(facts) => finding.fixed_by(fix),
        Some(_) => {
            finding.found += "; hitherd has to listen before that can be put right";
            finding
        }
        None => finding,
    }
}

/// A file of our own in the place of a link or of what a program wrote.
fn written(own: IpAddr) -> String {
    // install(1) replaces a link, and minds no umask.
    format!("echo 'nameserver {own}' | install -m 644 /dev/stdin /etc/resolv.conf")
}

fn leads_here(facts: &Facts, writer: Writer) -> Option<String> {
    let own = facts.own_nameserver()?;
    // The servers that stand there stay below ours: whom hitherd asks, and whom programs ask while it is stopped.
    let above = format!("sed -i '1i nameserver {own}' /etc/resolv.conf");
    Some(match writer {
        Writer::Resolved => return forwarding(facts),
        Writer::NetworkManager => format!("{} && {}", unmanaged(facts), written(own)),
        Writer::Resolvconf => {
            format!("echo 'nameserver {own}' >> /etc/resolvconf/resolv.conf.d/head && resolvconf -u")
        }
        // It leaves all others out beside a server on this host, unless it is told not to.
        Writer::Openresolv => format!(
            "printf 'name_servers={own}\\nresolv_conf_local_only=NO\\n' >> /etc/resolvconf.conf && resolvconf -u"
        ),
        Writer::Dhclient => {
            format!("echo 'prepend domain-name-servers {own};' >> /etc/dhcp/dhclient.conf && {above}")
        }
        Writer::Dhcpcd => format!("echo 'nameserver {own}' >> /etc/resolv.conf.head && {above}"),
        Writer::Nobody if facts.names.resolv.link.is_some() => {
            format!("sed -i --follow-symlinks '1i nameserver {own}' /etc/resolv.conf")
        }
        Writer::Nobody => above,
    })
}

fn unmanaged(facts: &Facts) -> String {
    format!(
        "install -D -m 644 {}/NetworkManager.conf /etc/NetworkManager/conf.d/hither.conf && systemctl reload NetworkManager.service",
        facts.names.share.display()
    )
}

/// Makes resolved forward here. What it was told to ask beside that becomes ours to ask.
fn forwarding(facts: &Facts) -> Option<String> {
    const RESTART: &str = "systemctl restart systemd-resolved.service";
    let own = facts.own_nameserver()?;
    let place = "/etc/systemd/resolved.conf.d/hither.conf";
    let is_own = is_own(facts);
    let others: Vec<&SocketAddr> = facts.names.resolved.dns.iter().filter(|server| !is_own(server)).collect();
    if others.is_empty() && own == IpAddr::from([127, 0, 0, 1]) {
        return Some(format!(
            "install -D -m 644 {}/resolved.conf {place} && {RESTART}",
            facts.names.share.display()
        ));
    }
    let settings = format!(
        "printf '[Resolve]\\nDNS=\\nDNS={own}\\nDomains=~.\\n' | install -D -m 644 /dev/stdin {place}"
    );
    if others.is_empty() {
        return Some(format!("{settings} && {RESTART}"));
    }
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    let upstreams = format!(
        "printf '[[upstream]]\\naddress = \"%s\"\\n' {} | install -D -m 644 /dev/stdin /etc/hither/hither.toml.d/resolved.toml",
        others.join(" ")
    );
    Some(format!("{upstreams} && systemctl reload-or-restart hitherd.service && {settings} && {RESTART}"))
}

/// Who writes resolv.conf, by its link, its first lines and who runs.
fn writer(facts: &Facts) -> Writer {
    let names = &facts.names;
    let link = names.resolv.link.as_deref();
    let leads_to = |dir: &str| link.is_some_and(|link| link.to_string_lossy().contains(dir));
    let text = names.resolv.text.as_deref().unwrap_or_default();
    let says = |words: &str| text.lines().take(8).any(|line| line.starts_with('#') && line.contains(words));
    let runs = |name: &str| names.processes.contains(name);
    let manager = facts.is_active("NetworkManager.service") || runs("NetworkManager");
    if leads_to("run/systemd/resolve/") || leads_to("lib/systemd/resolv.conf") {
        Writer::Resolved
    } else if leads_to("resolvconf/") {
        Writer::Resolvconf
    } else if says("Generated by resolvconf") {
        // Perhaps for NetworkManager.
        Writer::Openresolv
    } else if manager
        && !names.manager.leaves_resolv_conf()
        && (link.is_none() || leads_to("run/NetworkManager/"))
    {
        Writer::NetworkManager
    } else if link.is_none() && runs("dhcpcd") && says("Generated by dhcpcd") {
        Writer::Dhcpcd
    } else if link.is_none() && runs("dhclient") {
        Writer::Dhclient
    } else {
        Writer::Nobody
    }
}

/// Somebody who writes resolv.conf anew, and whether what leads to us survives it.
fn writer_of(facts: &Facts) -> Option<Finding> {
    let names = &facts.names;
    let own = facts.own_nameserver()?;
    let leads = nameservers(&names.resolv).first().is_some_and(|first| facts.is_own(*first));
    let has = |text: &str, words: &[&str]| {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        lines.any(|line| words.iter().all(|word| line.contains(word)))
    };
    let own_text = own.to_string();
    let (name, keeps, fix) = match writer(facts) {
        Writer::NetworkManager => ("NetworkManager", false, unmanaged(facts)),
        Writer::Dhclient => (
            "dhclient",
            has(&names.dhclient_conf, &["domain-name-servers", &own_text]),
            format!("echo 'prepend domain-name-servers {own};' >> /etc/dhcp/dhclient.conf"),
        ),
        Writer::Dhcpcd => (
            "dhcpcd",
            has(&names.dhcpcd_head, &["nameserver", &own_text]),
            format!("echo 'nameserver {own}' >> /etc/resolv.conf.head"),
        ),
        // What leads to us came from them.
        Writer::Resolvconf | Writer::Openresolv => ("resolvconf", true, String::new()),
        Writer::Resolved | Writer::Nobody if facts.is_active("NetworkManager.service") => {
            return Some(Finding::ok("NetworkManager", "leaves resolv.conf alone"));
        }
        Writer::Resolved | Writer::Nobody => return None,
    };
    let found = "writes resolv.conf anew when the network changes";
    Some(match (leads, keeps) {
        (true, true) => Finding::ok(name, format!("{found}, and hitherd first")),
        (true, false) => Finding::warning(name, format!("{found}, and then without hitherd")).fixed_by(fix),
        (false, _) => Finding::ok(name, found),
    })
}

fn resolved(facts: &Facts) -> Finding {
    let check = "systemd-resolved";
    let names = &facts.names;
    let runs = facts.is_active("systemd-resolved.service") || names.processes.contains("systemd-resolve");
    if !runs {
        return Finding::ok(check, "does not run");
    }
    let stub = if names.resolved.stub { "stub listener on" } else { "stub listener off" };
    let forwards = names.resolved.forwards(is_own(facts));
    let in_force = names.resolved_uses.iter().any(is_own(facts));
    match (forwards, in_force) {
        (true, true) => Finding::ok(check, format!("forwards to hitherd, {stub}")),
        (true, false) => {
            Finding::warning(check, format!("is told to forward to hitherd, but does not yet; {stub}"))
                .fixed_by("systemctl restart systemd-resolved.service")
        }
        (false, true) => with(
            facts,
            Finding::warning(
                check,
                format!("asks hitherd among others: {}; {stub}", joined(&names.resolved_uses)),
            ),
            forwarding(facts),
        ),
        // Whether that matters, resolv.conf says.
        (false, false) => {
            Finding::ok(check, format!("runs beside hitherd and does not forward to it, {stub}"))
        }
    }
}

fn upstreams(facts: &Facts) -> Finding {
    let check = "upstreams";
    let configured: Vec<SocketAddr> = match &facts.config {
        Configuration::Good(config) => config.upstreams.iter().filter_map(Endpoint::address).collect(),
        Configuration::Bad(_) | Configuration::Hidden(_) => Vec::new(),
    };
    let loops = configured.iter().find(|upstream| {
        facts.is_own(upstream.ip()) && upstream.port() == 53
            || is_stub(upstream.ip()) && facts.names.resolved.dns.iter().any(is_own(facts))
    });
    if let Some(upstream) = loops {
        return Finding::problem(
            check,
            format!(
                "a loop: {upstream} in hither.toml leads back to hitherd; take it out there, or name the network's own servers"
            ),
        );
    }
    let from = if configured.is_empty() { "the system's" } else { "by hither.toml" };
    if facts.upstreams.is_empty() {
        return Finding::problem(
            check,
            "none: the system names no server but hitherd; name one as [[upstream]] in /etc/hither/hither.toml",
        );
    }
    Finding::ok(check, format!("{} ({from})", joined(&facts.upstreams)))
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
