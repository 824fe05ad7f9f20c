//! The plan of `enable-resolv`: the changes after which programs ask hitherd by resolv.conf, the
//! commands that put them in force, and what they take away. Pure: facts in, steps out.
//! `crate::ctl::resolv` carries them out and undoes them.

use super::facts::{Facts, Resolv};
use super::ini;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path};

/// The mark in every file of ours, and above every line of ours in other files except resolv.conf.
pub(in crate::ctl) const MARK: &str = "# Made by hitherctl enable-resolv; disable-resolv takes it back.";
pub(in crate::ctl) const RESOLV: &str = "/etc/resolv.conf";
pub(in crate::ctl) const RESOLVED: &str = "/etc/systemd/resolved.conf.d/hither.conf";
pub(in crate::ctl) const MANAGER: &str = "/etc/NetworkManager/conf.d/hither.conf";
pub(in crate::ctl) const UPSTREAMS: &str = "/etc/hither/hither.toml.d/resolved.toml";
/// Other programs' files that get lines below the mark, and how many.
pub(in crate::ctl) const OTHERS: [(&str, usize); 4] = [
    (RESOLVCONF_HEAD, 1),
    ("/etc/resolvconf.conf", 2),
    ("/etc/dhcp/dhclient.conf", 1),
    ("/etc/resolv.conf.head", 1),
];
const RESOLVCONF_HEAD: &str = "/etc/resolvconf/resolv.conf.d/head";

const RESTART_RESOLVED: &[&str] = &["systemctl", "restart", "systemd-resolved.service"];
const RELOAD_MANAGER: &[&str] = &["systemctl", "reload", "NetworkManager.service"];
const RELOAD_HITHERD: &[&str] = &["systemctl", "reload-or-restart", "hitherd.service"];
pub(in crate::ctl) const RESOLVCONF: &[&str] = &["resolvconf", "-u"];

/// One step of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::ctl) enum Step {
    /// Create a file of our own.
    Create { path: &'static str, text: String },
    /// Append lines to a file of another program.
    Append { path: &'static str, text: String },
    /// Put a line first into resolv.conf, or into the target of its link.
    Prepend { line: String },
    /// Replace resolv.conf, or its link, by a file.
    Replace { text: String },
    /// Run a command.
    Run(&'static [&'static str]),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |text: &str| text.trim_end().replace('\n', "; ");
        match self {
            Step::Create { path, .. } => write!(f, "make {path}"),
            Step::Append { path, text } => write!(f, "add to {path}: {}", one(text)),
            Step::Prepend { line } => write!(f, "put first into {RESOLV}: {line}"),
            Step::Replace { text } => write!(f, "replace {RESOLV} by: {}", one(text)),
            Step::Run(words) => write!(f, "run {}", words.join(" ")),
        }
    }
}

/// The steps, in order.
#[derive(Default, PartialEq, Eq, Debug)]
pub(in crate::ctl) struct Plan {
    pub steps: Vec<Step>,
    /// The settings and servers that the steps take away, one sentence each.
    pub takes_away: Vec<String>,
}

/// The program that writes resolv.conf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Writer {
    Resolved,
    NetworkManager,
    /// Debian's resolvconf(8).
    Resolvconf,
    Openresolv,
    Dhclient,
    Dhcpcd,
    /// None: the operator writes it.
    Operator,
}

/// The steps that are missing; `None` if hitherd has no address that resolv.conf can name.
pub(super) fn plan(facts: &Facts) -> Option<Plan> {
    let own = facts.own_nameserver()?;
    let mut plan = Plan::default();
    let names = &facts.names;
    if names.resolv.error.is_some() && !names.resolv.is_broken {
        // Without its text the missing steps are not known.
        return Some(plan);
    }
    let first = nameservers(&names.resolv).first().copied().unwrap_or(own);
    let is_named = names_hitherd(facts);
    let forwards = names.resolved.forwards(is_own(facts));
    if is_stub(first) && !resolved_runs(facts) {
        plan.replace(facts, own);
    } else if !is_named && !is_stub(first) {
        plan.change_resolv_conf(facts, own, writer(facts));
    }
    if is_named {
        plan.persist(facts, own, writer(facts));
        // NetworkManager has not written any server yet, but will.
        if writer(facts) == Writer::NetworkManager && names.resolv.link.is_some() {
            plan.replace(facts, own);
        }
    }
    let through = is_stub(first) || writer(facts) == Writer::Resolved && !is_named;
    let among_others = names.resolved_uses.iter().any(is_own(facts));
    if resolved_runs(facts) && !forwards && (through || among_others) {
        plan.forward(facts, own);
    } else if resolved_runs(facts) && through && !among_others {
        // systemd-resolved is configured, and has not read that yet.
        plan.steps.push(Step::Run(RESTART_RESOLVED));
    }
    Some(plan)
}

impl Plan {
    /// Makes resolv.conf name hitherd, now and when it is written again.
    fn change_resolv_conf(&mut self, facts: &Facts, own: IpAddr, writer: Writer) {
        self.persist(facts, own, writer);
        match writer {
            // Their own configuration changes the file that they write.
            Writer::Resolved | Writer::Resolvconf | Writer::Openresolv => {}
            Writer::NetworkManager => self.replace(facts, own),
            Writer::Operator if !is_kept(&facts.names.resolv) => self.replace(facts, own),
            Writer::Dhclient | Writer::Dhcpcd | Writer::Operator => self.prepend(facts, own),
        }
    }

    /// Configures the program that writes resolv.conf, once.
    fn persist(&mut self, facts: &Facts, own: IpAddr, writer: Writer) {
        let mut append = |path, line: String| self.steps.push(Step::Append { path, text: line + "\n" });
        match writer {
            Writer::Resolved | Writer::Operator => {}
            Writer::NetworkManager => {
                let text = include_str!("../../../systemd/NetworkManager.conf");
                self.steps.push(Step::Create { path: MANAGER, text: format!("{MARK}\n{text}") });
                self.steps.push(Step::Run(RELOAD_MANAGER));
                self.takes_away.push("NetworkManager no longer writes resolv.conf".to_owned());
            }
            Writer::Resolvconf if !names_hitherd(facts) => {
                append(RESOLVCONF_HEAD, format!("nameserver {own}"));
                self.steps.push(Step::Run(RESOLVCONF));
            }
            Writer::Openresolv if !names_hitherd(facts) => {
                // By default it names no other server beside one on this host.
                append("/etc/resolvconf.conf", format!("name_servers={own}\nresolv_conf_local_only=NO"));
                self.steps.push(Step::Run(RESOLVCONF));
            }
            Writer::Dhclient if !keeps(facts, writer) => {
                append("/etc/dhcp/dhclient.conf", format!("prepend domain-name-servers {own};"));
            }
            Writer::Dhcpcd if !keeps(facts, writer) => {
                append("/etc/resolv.conf.head", format!("nameserver {own}"));
            }
            Writer::Resolvconf | Writer::Openresolv | Writer::Dhclient | Writer::Dhcpcd => {}
        }
    }

    /// Puts hitherd before the other servers, which it asks itself, and which programs ask while it
    /// is stopped.
    fn prepend(&mut self, facts: &Facts, own: IpAddr) {
        let servers = nameservers(&facts.names.resolv);
        if let Some(third) = servers.get(2) {
            self.takes_away
                .push(format!("nameserver {third} becomes the fourth, which the C library does not ask"));
        }
        self.steps.push(Step::Prepend { line: format!("nameserver {own}") });
    }

    /// Replaces a link, or a file that a program wrote, by a file of our own. It keeps the other
    /// lines, and the servers where hitherd has no other source for them.
    fn replace(&mut self, facts: &Facts, own: IpAddr) {
        let resolv = &facts.names.resolv;
        let old = resolv.text.as_deref().unwrap_or_default();
        let mut text = format!("nameserver {own}\n");
        let mut removed: Vec<SocketAddr> = ini::nameservers(old);
        if writer(facts) == Writer::Operator {
            let stays = |server: &SocketAddr| !server.ip().is_loopback() && !facts.is_own(server.ip());
            let kept = removed.iter().filter(|server| stays(server));
            text.extend(kept.map(|server| format!("nameserver {}\n", written(server))));
            removed.retain(|server| !stays(server));
        }
        let removed: Vec<String> = removed.iter().map(written).collect();
        for line in old.lines() {
            if matches!(line.split_whitespace().next(), Some("search" | "domain" | "options" | "sortlist")) {
                text += line;
                text += "\n";
                if line.starts_with(['s', 'd']) {
                    self.takes_away
                        .push(format!("'{}' stays as it is, also when the network changes", line.trim()));
                }
            }
        }
        if let Some(link) = &resolv.link {
            self.takes_away.push(format!("the link to {} becomes a file", link.display()));
        }
        if !removed.is_empty() {
            self.takes_away.push(format!("nameserver {} is removed", joined(&removed)));
        }
        self.steps.push(Step::Replace { text });
    }

    /// Makes systemd-resolved forward to hitherd. Its other configured servers become upstreams of hitherd.
    fn forward(&mut self, facts: &Facts, own: IpAddr) {
        let is_own = is_own(facts);
        let others: Vec<&SocketAddr> =
            facts.names.resolved.dns.iter().filter(|server| !is_own(server)).collect();
        if !others.is_empty() {
            let tables = others.iter().map(|server| format!("[[upstream]]\naddress = \"{server}\"\n"));
            let text = format!("{MARK}\n{}", tables.collect::<String>());
            self.steps.push(Step::Create { path: UPSTREAMS, text });
            self.steps.push(Step::Run(RELOAD_HITHERD));
            let others: Vec<String> = others.iter().map(ToString::to_string).collect();
            self.takes_away.push(format!(
                "{} of resolved.conf are asked by hitherd, and not by systemd-resolved",
                others.join(", ")
            ));
        }
        let text = if others.is_empty() && own == IpAddr::from([127, 0, 0, 1]) {
            include_str!("../../../systemd/resolved.conf").to_owned()
        } else {
            format!("[Resolve]\nDNS=\nDNS={own}\nDomains=~.\n")
        };
        self.steps.push(Step::Create { path: RESOLVED, text: format!("{MARK}\n{text}") });
        self.steps.push(Step::Run(RESTART_RESOLVED));
        self.takes_away.push(
            "systemd-resolved asks hitherd instead of the servers of links, which hitherd asks; DNSSEC= and DNSOverTLS= then apply between systemd-resolved and hitherd only"
                .to_owned(),
        );
    }
}

/// Whether the program that writes resolv.conf names hitherd first.
pub(super) fn keeps(facts: &Facts, writer: Writer) -> bool {
    let names = &facts.names;
    let own = facts.own_nameserver().map(|own| own.to_string()).unwrap_or_default();
    let has = |text: &str, word: &str| {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        lines.any(|line| line.contains(word) && line.contains(&own))
    };
    match writer {
        Writer::NetworkManager => false,
        Writer::Dhclient => has(&names.dhclient_conf, "domain-name-servers"),
        Writer::Dhcpcd => has(&names.dhcpcd_head, "nameserver"),
        // The servers that they write come from their configuration.
        Writer::Resolvconf | Writer::Openresolv | Writer::Resolved | Writer::Operator => true,
    }
}

/// Whether programs ask hitherd, since resolv.conf names it or does not exist. A dangling link does
/// not count: another program may create its target.
pub(super) fn names_hitherd(facts: &Facts) -> bool {
    let resolv = &facts.names.resolv;
    let first = nameservers(resolv).first().copied();
    resolv.error.is_none()
        && !resolv.is_broken
        && !resolv.is_ours
        && first.is_some_and(|first| facts.is_own(first))
}

/// Whether a line that is added to it stays there. It does not if a link dangles, or leads into
/// /run, which every boot empties, or to the file that hitherd itself writes.
fn is_kept(resolv: &Resolv) -> bool {
    let ends = [resolv.link.as_deref(), resolv.real.as_deref()];
    let is_of_run = |path: &Path| path.components().any(|part| part == Component::Normal("run".as_ref()));
    resolv.link.is_none()
        || !resolv.is_broken && !resolv.is_ours && !ends.into_iter().flatten().any(is_of_run)
}

/// Whether resolvconf(8) is installed. The file that it wrote may be left over from an earlier installation.
pub(in crate::ctl) fn has_resolvconf(root: &Path) -> bool {
    let dirs = ["sbin", "usr/sbin", "bin", "usr/bin", "usr/local/sbin", "usr/local/bin"];
    dirs.iter().any(|dir| root.join(dir).join("resolvconf").exists())
}

/// The program that writes resolv.conf, by its link, its first lines, and the running processes.
pub(super) fn writer(facts: &Facts) -> Writer {
    let names = &facts.names;
    let link = names.resolv.link.as_deref();
    let leads_to = |dir: &str| link.is_some_and(|link| link.to_string_lossy().contains(dir));
    let text = names.resolv.text.as_deref().unwrap_or_default();
    let says = |words: &str| text.lines().take(8).any(|line| line.starts_with('#') && line.contains(words));
    let runs = |name: &str| names.processes.contains(name);
    let manager = facts.is_active("NetworkManager.service") || runs("NetworkManager");
    if resolved_runs(facts) && (leads_to("run/systemd/resolve/") || leads_to("lib/systemd/resolv.conf")) {
        Writer::Resolved
    } else if names.resolvconf && leads_to("resolvconf/") {
        Writer::Resolvconf
    } else if names.resolvconf && says("Generated by resolvconf") {
        // NetworkManager may use it.
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
        Writer::Operator
    }
}

/// The servers that glibc asks, in its order; without a line it asks this host.
pub(super) fn nameservers(resolv: &Resolv) -> Vec<IpAddr> {
    let found = ini::nameservers(resolv.text.as_deref().unwrap_or_default());
    // glibc uses three.
    let mut found: Vec<IpAddr> = found.iter().map(SocketAddr::ip).take(3).collect();
    if found.is_empty() {
        found.push(IpAddr::from([127, 0, 0, 1]));
    }
    found
}

/// A server as it is written in resolv.conf: without its port, and a link-local address with the
/// number of its link.
pub(in crate::ctl) fn written(server: &SocketAddr) -> String {
    match server {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        SocketAddr::V6(_) | SocketAddr::V4(_) => server.ip().to_string(),
    }
}

/// Whether it is an address of systemd-resolved's stub listener.
pub(in crate::ctl) fn is_stub(server: IpAddr) -> bool {
    [[127, 0, 0, 53], [127, 0, 0, 54]].iter().any(|stub| server == IpAddr::from(*stub))
}

pub(super) fn is_own(facts: &Facts) -> impl Fn(&SocketAddr) -> bool {
    |server| server.port() == 53 && facts.is_own(server.ip())
}

pub(super) fn resolved_runs(facts: &Facts) -> bool {
    facts.is_active("systemd-resolved.service") || facts.names.processes.contains("systemd-resolve")
}

pub(super) fn joined<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
