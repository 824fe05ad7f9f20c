//! The upstreams and their domains: from the configuration, or from the system's own resolvers.

use crate::config::{Config, Endpoint, FILE};
use crate::daemon::reload::{containers_file, reserved_zones, unusable_config};
use crate::host::interfaces;
use crate::host::resolvers::{self, BusFollower, BusLinks, Plan, PlanReport, ResolverFiles};
use crate::logging::Event;
use hither_rounds::{Routes, Server};
use hither_wire::name::Name;
use mio::Waker;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The source of the upstreams.
#[derive(Debug)]
pub(super) struct Resolvers {
    /// Follows the resolvers of links as the system's programs report them. None if upstreams are
    /// configured.
    links: Option<BusFollower>,
    /// The system's own files, as they were read last.
    files: Arc<ResolverFiles>,
    /// The file or program that named each upstream, and the errors of some of them.
    report: PlanReport,
    /// The addresses that the daemon listens at, which are no upstreams.
    listening: Vec<SocketAddr>,
}

/// The system's knowledge of resolvers.
#[derive(Clone, Copy)]
struct System<'s> {
    files: &'s ResolverFiles,
    bus_links: Option<&'s BusLinks>,
}

impl Resolvers {
    /// Plans the first routes.
    pub fn start(
        config: &Config,
        path: Option<&Path>,
        listening: Vec<SocketAddr>,
        waker: &Arc<Waker>,
    ) -> (Resolvers, Routes) {
        let links = bus_follower(config, waker);
        let (routes, report, files) = route(config, path, links.as_ref(), &listening, None);
        (Resolvers { links, files, report, listening }, routes)
    }

    /// Plans the routes again. Problems that were logged before are not logged again.
    pub fn plan(&mut self, config: &Config, path: Option<&Path>, waker: &Arc<Waker>) -> Routes {
        if config.upstreams.usual.is_empty() != self.links.is_some() {
            self.links = bus_follower(config, waker);
        }
        let (routes, report, files) =
            route(config, path, self.links.as_ref(), &self.listening, Some(&self.report));
        (self.report, self.files) = (report, files);
        routes
    }

    /// Whether the system's programs have reported something new about links.
    pub fn take_news(&mut self) -> bool {
        self.links.as_mut().is_some_and(BusFollower::take_changes)
    }

    /// Queries the system's programs about links again.
    pub fn ask_again(&self) {
        if let Some(links) = &self.links {
            links.ask_again();
        }
    }

    /// The system's own files, as they were read last.
    pub fn files(&self) -> &Arc<ResolverFiles> {
        &self.files
    }

    /// The file or program that named each upstream, and the errors of some of them.
    pub fn origins(&self) -> &PlanReport {
        &self.report
    }
}

/// The routes, their origins, and the system's files that were read for them. Also writes the file
/// for containers. Problems that are also in `before` are not logged again.
fn route(
    config: &Config,
    path: Option<&Path>,
    links: Option<&BusFollower>,
    listening: &[SocketAddr],
    before: Option<&PlanReport>,
) -> (Routes, PlanReport, Arc<ResolverFiles>) {
    let files = ResolverFiles::read(Path::new("/"), &config.runtime_dir);
    let system = System { files: &files, bus_links: links.map(BusFollower::links) };
    let Plan { routes, report } = plan(config, path, listening, system);
    log_changes(&report, before);
    containers_file::offer(config, &routes.usual, &files);
    (routes, report, Arc::new(files))
}

/// Logs the entries of `report` that `before` does not have.
fn log_changes(report: &PlanReport, before: Option<&PlanReport>) {
    let known = before.map(|before| &before.problems[..]).unwrap_or_default();
    for problem in report.problems.iter().filter(|problem| !known.contains(problem)) {
        log::warn!(event = Event::NotFollowed, what = "links", reason:% = problem; "{problem}");
    }
    let known = before.map(|before| &before.refused[..]).unwrap_or_default();
    for refused in report.refused.iter().filter(|refused| !known.contains(refused)) {
        log::warn!(event = Event::UpstreamRefused, reason:% = refused; "{refused}");
    }
}

/// Starts to follow the links on the message bus, if the configuration names no upstream.
fn bus_follower(config: &Config, waker: &Arc<Waker>) -> Option<BusFollower> {
    let started =
        config.upstreams.usual.is_empty().then(|| BusFollower::start(Path::new("/"), Arc::clone(waker)))?;
    let failed = |error: std::io::Error| {
        log::warn!(
            event = Event::NotFollowed, what = "the message bus", reason:% = error;
            "the message bus cannot be followed: {error}; going on without the servers of links"
        );
    };
    started.map_err(failed).ok()
}

/// The upstreams: those of the configuration, or else the system's own resolvers. The daemon's own
/// addresses are left out.
fn plan(config: &Config, path: Option<&Path>, listening: &[SocketAddr], system: System<'_>) -> Plan {
    let host = interfaces::addresses();
    let is_ours = |upstream: &SocketAddr| resolvers::is_ours(upstream, listening, &host);
    let System { files, bus_links } = system;
    let mut plan = Plan::default();
    if config.findings.error.is_some() {
        return plan;
    }
    if config.upstreams.usual.is_empty() {
        plan = resolvers::plan(files, bus_links.unwrap_or(&BusLinks::default()), &is_ours);
        if plan.routes.usual.is_empty() {
            let why = files.resolv_conf().why_no_upstream();
            log::warn!(
                event = Event::NoUpstream;
                "no upstream is configured and {why}: queries get SERVFAIL until there is one"
            );
        }
    }
    let others = |upstreams: &[Endpoint]| -> Vec<Server> {
        let there = upstreams.iter().filter_map(|upstream| {
            let address = upstream.address();
            if address.is_none() {
                log::info!("the upstream {upstream} is used once its interface exists");
            }
            address
        });
        let (ours, others): (Vec<_>, Vec<_>) = there.partition(is_ours);
        for upstream in ours {
            log::error!(
                event = Event::UpstreamIsOurselves, upstream:% = upstream;
                "the upstream {upstream} is this daemon itself; going on without it"
            );
        }
        others.into_iter().map(Server::from).collect()
    };
    if !config.upstreams.usual.is_empty() {
        plan.routes.usual = others(&config.upstreams.usual);
    }
    plan.routes
        .domains
        .extend(config.upstreams.domains.iter().map(|(name, upstreams)| (*name, others(upstreams))));
    let search: Option<Vec<Name>> =
        config.upstreams.usual.is_empty().then(|| files.search_lists().flatten().copied().collect());
    // A search list comes from the network or from the operator: names in its domains are their own.
    plan.routes.own = search.iter().flatten().filter(|name| name.label_count() > 1).copied().collect();
    reserved_zones::add(&mut plan.routes, search.as_deref());
    for server in plan.routes.all() {
        plan.add_origin(server, &path.unwrap_or(Path::new(FILE)).display().to_string());
    }
    plan
}

/// The files that are followed.
pub(super) fn followed_files(config: &Config, path: Option<&Path>) -> Vec<PathBuf> {
    let mut paths = config.hosts.files.clone();
    if config.findings.error.is_some() {
        paths.extend(unusable_config::files(path));
    }
    paths.extend(config.blocks.iter().flat_map(|block| block.files.iter().cloned()));
    if config.hosts.own_name {
        paths.push(PathBuf::from("/etc/hostname"));
    }
    paths.extend(containers_file::paths(Path::new("/")));
    if config.upstreams.usual.is_empty() {
        paths.extend(resolvers::followed_paths(Path::new("/")));
    }
    paths
}
