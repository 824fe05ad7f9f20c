//! The upstreams and their domains: from the configuration, or from the system's own resolvers.

use crate::config::{Config, FILE, Upstream};
use crate::daemon::reload::{bootstrap, containers_file, reserved_zones, unusable_config};
use crate::daemon::upstreams::EndpointSetup;
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
    /// Follows the resolvers of links as the system's programs report them. None if none of the system's
    /// resolvers is used.
    links: Option<BusFollower>,
    /// The system's own files, as they were read last.
    files: Arc<ResolverFiles>,
    /// The file or program that named each upstream, and the errors of some of them.
    report: PlanReport,
    /// The addresses that the daemon listens at, which are no upstreams.
    listening: Vec<SocketAddr>,
}

/// The routes for the core, and the setups of the encrypted upstreams in them.
#[derive(Debug)]
pub(crate) struct Planned {
    pub routes: Routes,
    /// Each encrypted upstream once, those that resolve the names of others included.
    pub encrypted: Vec<EndpointSetup>,
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
    ) -> (Resolvers, Planned) {
        let links = bus_follower(config, waker);
        let files = read_files(config);
        let mut resolvers = Resolvers { links, files, report: PlanReport::default(), listening };
        let planned = resolvers.route(config, path);
        (resolvers, planned)
    }

    /// Plans the routes again. Problems that were logged before are not logged again.
    pub fn plan(&mut self, config: &Config, path: Option<&Path>, waker: &Arc<Waker>) -> Planned {
        if config.uses_system() != self.links.is_some() {
            self.links = bus_follower(config, waker);
        }
        self.files = read_files(config);
        self.route(config, path)
    }

    /// Plans the routes with the files that were read last. Also writes the file for containers.
    fn route(&mut self, config: &Config, path: Option<&Path>) -> Planned {
        let system = System { files: &self.files, bus_links: self.links.as_ref().map(BusFollower::links) };
        let Drawn { plan, encrypted } = plan(config, path, &self.listening, system);
        log_changes(&plan.report, &self.report);
        containers_file::offer(config, &plan.routes.usual, &self.files);
        self.report = plan.report;
        Planned { routes: plan.routes, encrypted }
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

/// The system's own files, as they are now.
fn read_files(config: &Config) -> Arc<ResolverFiles> {
    Arc::new(ResolverFiles::read(Path::new("/"), &config.runtime_dir))
}

/// Logs the entries of `report` that `before` does not have.
fn log_changes(report: &PlanReport, before: &PlanReport) {
    for problem in report.problems.iter().filter(|problem| !before.problems.contains(problem)) {
        log::warn!(event = Event::NotFollowed, what = "links", reason:% = problem; "{problem}");
    }
    for refused in report.refused.iter().filter(|refused| !before.refused.contains(refused)) {
        log::warn!(event = Event::UpstreamRefused, reason:% = refused; "{refused}");
    }
}

/// Starts to follow the links on the message bus, if the system's resolvers are used.
fn bus_follower(config: &Config, waker: &Arc<Waker>) -> Option<BusFollower> {
    let started = config.uses_system().then(|| BusFollower::start(Path::new("/"), Arc::clone(waker)))?;
    let failed = |error: std::io::Error| {
        log::warn!(
            event = Event::NotFollowed, what = "the message bus", reason:% = error;
            "the message bus cannot be followed: {error}; going on without the servers of links"
        );
    };
    started.map_err(failed).ok()
}

/// A plan, and the setups of its encrypted upstreams.
#[derive(Default)]
struct Drawn {
    plan: Plan,
    encrypted: Vec<EndpointSetup>,
}

/// The upstreams: those of the configuration, or else the system's own resolvers. The daemon's own
/// addresses are left out.
fn plan(config: &Config, path: Option<&Path>, listening: &[SocketAddr], system: System<'_>) -> Drawn {
    if config.findings.error.is_some() {
        return Drawn::default();
    }
    let host = interfaces::addresses();
    let is_ours = |upstream: &SocketAddr| resolvers::is_ours(upstream, listening, &host);
    let System { files, bus_links } = system;
    let of_system = match config.uses_system() {
        true => {
            let roots = config.upstreams.tls.roots();
            resolvers::plan(files, bus_links.unwrap_or(&BusLinks::default()), &roots, &is_ours)
        }
        false => Plan::default(),
    };
    let is_system = config.upstreams.usual.is_empty();
    let mut plan = if is_system { of_system.clone() } else { Plan::default() };
    if is_system && plan.routes.usual.is_empty() {
        let why = files.resolv_conf().why_no_upstream();
        log::warn!(
            event = Event::NoUpstream;
            "no upstream is configured and {why}: queries get SERVFAIL until there is one"
        );
    }
    let mut encrypted = Vec::new();
    let mut servers = |upstreams: &[Upstream]| -> Vec<Server> {
        upstreams.iter().filter_map(|upstream| server(upstream, &is_ours, &mut encrypted)).collect()
    };
    if !is_system {
        plan.routes.usual = servers(&config.upstreams.usual);
    }
    let domains = config.upstreams.domains.iter().map(|(name, upstreams)| (*name, servers(upstreams)));
    plan.routes.domains.extend(domains);
    let bootstrap = servers(&config.upstreams.tls.bootstrap);
    plan.routes.names = bootstrap::names(config, &bootstrap, &plan.routes, &of_system.routes);
    let search: Option<Vec<Name>> = is_system.then(|| files.search_lists().flatten().copied().collect());
    // A search list comes from the network or from the operator: names in its domains are their own.
    plan.routes.own = search.iter().flatten().filter(|name| name.label_count() > 1).copied().collect();
    reserved_zones::add(&mut plan.routes, search.as_deref());
    let all = plan.routes.all();
    // Those that only resolve the names of configured upstreams are among them.
    let of_system = of_system.encrypted.into_iter().filter(|one| all.contains(&one.server));
    encrypted.extend(of_system.map(EndpointSetup::from));
    for server in all {
        plan.add_origin(server, &path.unwrap_or(Path::new(FILE)).display().to_string());
    }
    Drawn { plan, encrypted }
}

/// A configured upstream as the core knows it, unless it has no address now. If it is encrypted, its
/// setup is added to `encrypted`.
fn server(
    upstream: &Upstream,
    is_ours: &dyn Fn(&SocketAddr) -> bool,
    encrypted: &mut Vec<EndpointSetup>,
) -> Option<Server> {
    let Some(server) = upstream.server() else {
        log::info!("the upstream {upstream} is used once its interface exists");
        return None;
    };
    let all = upstream.addresses();
    let addresses: Vec<SocketAddr> = all.iter().filter(|address| !is_ours(address)).copied().collect();
    if addresses.is_empty() && !all.is_empty() {
        log::error!(
            event = Event::UpstreamIsOurselves, upstream:% = upstream;
            "the upstream {upstream} is this daemon itself; going on without it"
        );
        return None;
    }
    if let Some(policy) = &upstream.policy
        && !encrypted.iter().any(|known: &EndpointSetup| known.server == server)
    {
        let (label, policy) = (upstream.label.clone(), policy.clone());
        encrypted.push(EndpointSetup { server, label, policy, addresses, lookup: upstream.lookup });
    }
    Some(server)
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
    if config.uses_system() {
        paths.extend(resolvers::followed_paths(Path::new("/")));
    }
    paths
}
