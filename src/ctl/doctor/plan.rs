//! What leads resolv.conf, and who writes it, to hitherd: the files that change, the commands that put that in force, and what is lost by it.
//!
//! Pure: facts in, steps out. `crate::ctl::resolv` takes them, and takes them back.

use super::facts::{Facts, Resolv};
use super::ini;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path};

/// In every file of ours, and above every line of ours in files of others, but for resolv.conf.
pub(in crate::ctl) const MARK: &str = "# Made by hitherctl enable-resolv; disable-resolv takes it back.";
pub(in crate::ctl) const RESOLV: &str = "/etc/resolv.conf";
pub(in crate::ctl) const RESOLVED: &str = "/etc/systemd/resolved.conf.d/hither.conf";
pub(in crate::ctl) const MANAGER: &str = "/etc/NetworkManager/conf.d/hither.conf";
pub(in crate::ctl) const UPSTREAMS: &str = "/etc/hither/hither.toml.d/resolved.toml";
/// Files of others that get lines of ours below the mark, and how many.
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

/// One thing to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::ctl) enum Step {
    /// A file of our own.
    Whole {
        path: &'static str,
        text: String,
    },
    /// Lines below what a file of somebody else has.
    Below {
        path: &'static str,
        text: String,
    },
    /// The first line of resolv.conf, which stays where it leads.
    Above {
        line: String,
    },
    /// A file in the place of resolv.conf, be it a link.
    Anew {
        text: String,
    },
    Run(&'static [&'static str]),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |text: &str| text.trim_end().replace('\n', "; ");
        match self {
            Step::Whole { path, .. } => write!(f, "make {path}"),
            Step::Below { path, text } => write!(f, "add to {path}: {}", one(text)),
            Step::Above { line } => write!(f, "put first into {RESOLV}: {line}"),
            Step::Anew { text } => write!(f, "replace {RESOLV} by: {}", one(text)),
            Step::Run(words) => write!(f, "run {}", words.join(" ")),
        }
    }
}

/// What is to be done, in order.
#[derive(Default, PartialEq, Eq, Debug)]
pub(in crate::ctl) struct Plan {
    pub steps: Vec<Step>,
    /// What is lost by it, a sentence each.
    pub takes_away: Vec<String>,
}

/// Who writes resolv.conf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Writer {
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

/// What is missing; `None` where hitherd has no address that resolv.conf can name.
pub(super) fn plan(facts: &Facts) -> Option<Plan> {
    let own = facts.own_nameserver()?;
    let mut plan = Plan::default();
    let names = &facts.names;
    if names.resolv.error.is_some() && !names.resolv.is_broken {
        // Only who can read it can say what is missing.
        return Some(plan);
    }
    let first = nameservers(&names.resolv).first().copied().unwrap_or(own);
    let leads = leads(facts);
    let forwards = names.resolved.forwards(is_own(facts));
    if is_stub(first) && !resolved_runs(facts) {
        plan.anew(facts, own);
    } else if !leads && !is_stub(first) {
        plan.lead(facts, own, writer(facts));
    }
    if leads {
        plan.persist(facts, own, writer(facts));
        // It names nobody yet, and will.
        if writer(facts) == Writer::NetworkManager && names.resolv.link.is_some() {
            plan.anew(facts, own);
        }
    }
    let through = is_stub(first) || writer(facts) == Writer::Resolved && !leads;
    let among_others = names.resolved_uses.iter().any(is_own(facts));
    if resolved_runs(facts) && !forwards && (through || among_others) {
        plan.forward(facts, own);
    } else if resolved_runs(facts) && through && !among_others {
        // It was told, and does not do it yet.
        plan.steps.push(Step::Run(RESTART_RESOLVED));
    }
    Some(plan)
}

impl Plan {
    fn lead(&mut self, facts: &Facts, own: IpAddr, writer: Writer) {
        self.persist(facts, own, writer);
        match writer {
            // What they write comes here.
            Writer::Resolved | Writer::Resolvconf | Writer::Openresolv => {}
            Writer::NetworkManager => self.anew(facts, own),
            Writer::Nobody if !is_kept(&facts.names.resolv) => self.anew(facts, own),
            Writer::Dhclient | Writer::Dhcpcd | Writer::Nobody => self.above(facts, own),
        }
    }

    /// Who writes resolv.conf anew is told once.
    fn persist(&mut self, facts: &Facts, own: IpAddr, writer: Writer) {
        let mut below = |path, line: String| self.steps.push(Step::Below { path, text: line + "\n" });
        match writer {
            Writer::Resolved | Writer::Nobody => {}
            Writer::NetworkManager => {
                let text = include_str!("../../../systemd/NetworkManager.conf");
                self.steps.push(Step::Whole { path: MANAGER, text: format!("{MARK}\n{text}") });
                self.steps.push(Step::Run(RELOAD_MANAGER));
                self.takes_away.push("NetworkManager writes resolv.conf no more".to_owned());
            }
            Writer::Resolvconf if !leads(facts) => {
                below(RESOLVCONF_HEAD, format!("nameserver {own}"));
                self.steps.push(Step::Run(RESOLVCONF));
            }
            Writer::Openresolv if !leads(facts) => {
                // It leaves all others out beside a server on this host, unless it is told not to.
                below("/etc/resolvconf.conf", format!("name_servers={own}\nresolv_conf_local_only=NO"));
                self.steps.push(Step::Run(RESOLVCONF));
            }
            Writer::Dhclient if !keeps(facts, writer) => {
                below("/etc/dhcp/dhclient.conf", format!("prepend domain-name-servers {own};"));
            }
            Writer::Dhcpcd if !keeps(facts, writer) => {
                below("/etc/resolv.conf.head", format!("nameserver {own}"));
            }
            Writer::Resolvconf | Writer::Openresolv | Writer::Dhclient | Writer::Dhcpcd => {}
        }
    }

    /// The servers that stand there stay below ours: whom hitherd asks, and whom programs ask while it is stopped.
    fn above(&mut self, facts: &Facts, own: IpAddr) {
        let servers = nameservers(&facts.names.resolv);
        if let Some(third) = servers.get(2) {
            self.takes_away
                .push(format!("nameserver {third} becomes the fourth, which the C library does not ask"));
        }
        self.steps.push(Step::Above { line: format!("nameserver {own}") });
    }

    /// A file of our own in the place of a link or of what a program wrote. What is no server stays; servers do where nobody else would
    /// tell hitherd of them.
    fn anew(&mut self, facts: &Facts, own: IpAddr) {
        let resolv = &facts.names.resolv;
        let old = resolv.text.as_deref().unwrap_or_default();
        let mut text = format!("nameserver {own}\n");
        let mut gone: Vec<SocketAddr> = ini::nameservers(old);
        if writer(facts) == Writer::Nobody {
            let stays = |server: &SocketAddr| !server.ip().is_loopback() && !facts.is_own(server.ip());
            let kept = gone.iter().filter(|server| stays(server));
            text.extend(kept.map(|server| format!("nameserver {}\n", written(server))));
            gone.retain(|server| !stays(server));
        }
        let gone: Vec<String> = gone.iter().map(written).collect();
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
        if !gone.is_empty() {
            self.takes_away.push(format!("nameserver {} does not stand there any more", joined(&gone)));
        }
        self.steps.push(Step::Anew { text });
    }

    /// Makes resolved forward here. What it was told to ask beside that becomes ours to ask.
    fn forward(&mut self, facts: &Facts, own: IpAddr) {
        let is_own = is_own(facts);
        let others: Vec<&SocketAddr> =
            facts.names.resolved.dns.iter().filter(|server| !is_own(server)).collect();
        if !others.is_empty() {
            let tables = others.iter().map(|server| format!("[[upstream]]\naddress = \"{server}\"\n"));
            let text = format!("{MARK}\n{}", tables.collect::<String>());
            self.steps.push(Step::Whole { path: UPSTREAMS, text });
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
        self.steps.push(Step::Whole { path: RESOLVED, text: format!("{MARK}\n{text}") });
        self.steps.push(Step::Run(RESTART_RESOLVED));
        self.takes_away.push(
            "systemd-resolved asks no server of a link any more but hitherd, which asks those; DNSSEC= and DNSOverTLS= concern the way to hitherd alone"
                .to_owned(),
        );
    }
}

/// Whether what writes resolv.conf anew leaves hitherd first.
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
        // What leads to us came from them.
        Writer::Resolvconf | Writer::Openresolv | Writer::Resolved | Writer::Nobody => true,
    }
}

/// Whether programs ask hitherd by what stands in resolv.conf, or because there is none. A link that leads nowhere leads there only until
/// somebody makes its end.
pub(super) fn leads(facts: &Facts) -> bool {
    let resolv = &facts.names.resolv;
    let first = nameservers(resolv).first().copied();
    resolv.error.is_none()
        && !resolv.is_broken
        && !resolv.is_ours
        && first.is_some_and(|first| facts.is_own(first))
}

/// Whether a line that is put into it stays there: not where a link leads nowhere, into /run, which every boot empties, or to the file that
/// hitherd itself writes.
fn is_kept(resolv: &Resolv) -> bool {
    let ends = [resolv.link.as_deref(), resolv.real.as_deref()];
    let is_of_run = |path: &Path| path.components().any(|part| part == Component::Normal("run".as_ref()));
    resolv.link.is_none()
        || !resolv.is_broken && !resolv.is_ours && !ends.into_iter().flatten().any(is_of_run)
}

/// Whether resolvconf(8) is installed: what it wrote outlives it.
pub(in crate::ctl) fn has_resolvconf(root: &Path) -> bool {
    let dirs = ["sbin", "usr/sbin", "bin", "usr/bin", "usr/local/sbin", "usr/local/bin"];
    dirs.iter().any(|dir| root.join(dir).join("resolvconf").exists())
}

/// Who writes resolv.conf, by its link, its first lines and who runs.
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

/// What glibc asks, in its order; without a line it asks this host.
pub(super) fn nameservers(resolv: &Resolv) -> Vec<IpAddr> {
    let found = ini::nameservers(resolv.text.as_deref().unwrap_or_default());
    // glibc takes three.
    let mut found: Vec<IpAddr> = found.iter().map(SocketAddr::ip).take(3).collect();
    if found.is_empty() {
        found.push(IpAddr::from([127, 0, 0, 1]));
    }
    found
}

/// A server as resolv.conf has it: without its port, and one of a link with the link's number.
pub(in crate::ctl) fn written(server: &SocketAddr) -> String {
    match server {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        SocketAddr::V6(_) | SocketAddr::V4(_) => server.ip().to_string(),
    }
}

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
