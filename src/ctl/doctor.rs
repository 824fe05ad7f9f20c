//! `doctor`: findings about everything on this host that decides whether names are looked up at
//! hither, each with the one command that fixes it.
//!
//! `gather` and the modules that it uses read the host and do not judge. `ports`, `service`, `site`,
//! `names`, `lookups`, `order` and `containers` judge: pure functions from facts to findings. Nothing is
//! changed or started: a daemon that waits for its first query is not asked. `upstream_trials` asks each
//! upstream one question.

mod containers;
mod facts;
mod finding;
mod gather;
mod ini;
mod lookups;
mod names;
mod order;
pub(super) mod plan;
mod ports;
mod service;
mod site;
mod sockets;
mod trial;
mod units;
mod upstream_trials;

use super::{Context, End};

pub(super) use plan::{Plan, Step, is_stub, written};

use facts::{Facts, KnownUpstream};
use finding::{Finding, State};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

pub(super) fn doctor(context: &Context, out: &mut impl Write, root: &Path) -> Result<End, End> {
    if !root.is_dir() {
        return Err(End::Failed(format!("'{}' is no directory", root.display())));
    }
    let facts = gather::facts(context, root);
    let mut findings = judge(&facts);
    // The upstreams of another root are not those of this host.
    if root == Path::new("/") {
        findings.extend(upstream_trials::judge(&upstream_trials::run(&facts), trial::now_s()));
    }
    for finding in &findings {
        if context.json {
            let object = serde_json::to_string(finding).map_err(|error| End::Failed(error.to_string()))?;
            writeln!(out, "{object}")?;
        } else {
            writeln!(out, "{finding}")?;
        }
    }
    if !context.json && !facts.is_root && findings.iter().any(|finding| finding.fix.is_some()) {
        writeln!(out, "Each fix is a line for root's shell.")?;
    }
    match findings.iter().filter(|finding| finding.state == State::Problem).count() {
        0 => Ok(End::Done),
        1 => Err(End::Failed("1 problem".to_owned())),
        n => Err(End::Failed(format!("{n} problems"))),
    }
}

/// The facts that `enable-resolv` and `disable-resolv` need.
pub(super) struct Outlook {
    /// The steps; `None` if hitherd has no address that resolv.conf can name.
    pub plan: Option<Plan>,
    /// Whether hitherd listens at that address.
    pub is_served: bool,
    /// Why resolv.conf cannot be read.
    pub unreadable: Option<String>,
    /// The address that resolv.conf would name.
    pub own: Option<IpAddr>,
    /// The upstreams of hitherd that are asked in clear text: resolv.conf(5) can name no others.
    pub upstreams: Vec<SocketAddr>,
    /// Whether a request to hitherd would start it.
    pub would_start: bool,
}

pub(super) fn outlook(context: &Context, root: &Path) -> Outlook {
    let facts = gather::facts(context, root);
    Outlook {
        plan: plan::plan(&facts),
        is_served: ports::is_served(&facts),
        own: facts.own_nameserver(),
        would_start: matches!(facts.daemon, facts::Daemon::Stopped),
        upstreams: facts.upstreams.iter().filter_map(KnownUpstream::plain).collect(),
        unreadable: facts.names.resolv.error.filter(|_| !facts.names.resolv.is_broken),
    }
}

/// Whether a request to the daemon of this host would start it: its sockets are open, and it does not run.
pub(super) fn would_start() -> bool {
    gather::is_started_by_requests(&units::systemd(Path::new("/"), Path::new("systemctl")))
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = ports::judge(facts);
    findings.extend(service::judge(facts));
    findings.extend(site::judge(facts));
    findings.extend(names::judge(facts));
    findings.extend(lookups::judge(facts));
    findings.extend(order::judge(facts));
    findings.extend(containers::judge(facts));
    findings
}
