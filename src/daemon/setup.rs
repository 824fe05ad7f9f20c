//! What the daemon is made of before its loop begins: descriptors, the upstreams.

use crate::config::{Config, Endpoint, FILE};
use crate::daemon::reload::{containers, reserved_zones};
use crate::daemon::wrong;
use crate::host::interfaces;
use crate::host::resolvers::{self, BusFollower, BusLinks, Plan, PlanReport, ResolverFiles};
use crate::logging::Event;
use hither_rounds::{Routes, Server};
use hither_table::trust::{Distrust, Facts, judge_directory};
use hither_wire::name::Name;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::close;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the daemon has open beside attempts and TCP clients when it runs and nothing is asked of it: standard streams, the table and its lock,
/// polls, timers, signals, inotify, netlink, the bus, local sockets, threads' own.
const HELD: usize = 28;
/// The least that is left for local connections, files that are read and written, and clients that are about to be turned away.
const SPARE_MIN: usize = 12;
/// The most that is left for all of that.
const RESERVE_MAX: usize = 256;
/// Sockets of all upstreams that are kept for the next queries, and those that are kept for stragglers alone, where there are descriptors enough.
const IDLE_ALL: usize = 1024;
const LINGERING_MAX: usize = 1024;

/// How the descriptors that the process may have are shared out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shares {
    /// Queries to upstreams that are out at once.
    pub attempts: usize,
    /// TCP clients.
    pub tcp: usize,
    /// Sockets towards upstreams, whatever they are for.
    pub sockets: usize,
    /// Of them: idle ones that are kept, and those that wait for stragglers.
    pub idle: usize,
    pub lingering: usize,
}

impl Shares {
    /// Of `descriptors`, of which `held` are never given back, as many for attempts and TCP clients as are wanted and can be. Sockets that only
    /// wait take no share: they are given up for those that are needed.
    fn of(descriptors: usize, held: usize, (attempts, tcp): (usize, usize)) -> Shares {
        let reserve = (descriptors / 4).min(RESERVE_MAX).max(held + SPARE_MIN);
        // Too few for anything: still something is tried.
        let room = descriptors.saturating_sub(reserve).max(8);
        // A third for clients at most: their share comes back soon, an attempt is what answers them.
        let tcp = if attempts.saturating_add(tcp) <= room { tcp } else { tcp.min(room / 3) };
        let attempts = attempts.min(room - tcp);
        let (idle, lingering) = (IDLE_ALL.min(descriptors / 8), LINGERING_MAX.min(descriptors / 8));
        let sockets = (attempts + idle + lingering).min(room - tcp);
        Shares { attempts, tcp, sockets, idle, lingering }
    }
}

/// Takes as many descriptors as the process may have, and makes the limits fit what there is.
pub(crate) fn fit_to_descriptors(config: &mut Config) -> Shares {
    let hard = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            if soft < hard
                && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
            {
                log::warn!(
                    event = Event::TooFewDescriptors, reason:% = error;
                    "the limit of descriptors cannot be raised: {error}"
                );
            }
            usize::try_from(hard).unwrap_or(usize::MAX)
        }
        // Not known: as on most hosts.
        Err(_) => 1024,
    };
    let workers = if config.workers > 1 { config.workers } else { 0 };
    let addresses = config.listen.len().max(1);
    // A socket of each kind for each address; a worker has a poll, a waker, and a socket of its own beside the loop's copy for each of them.
    let held = HELD + 2 * addresses + workers * (2 + 2 * addresses);
    let (attempts, tcp) = (config.settings.limits.attempts, config.limits.tcp);
    let shares = Shares::of(hard, held, (attempts, tcp));
    (config.settings.limits.attempts, config.limits.tcp) = (shares.attempts, shares.tcp);
    if (attempts, tcp) != (shares.attempts, shares.tcp) {
        log::warn!(
            event = Event::TooFewDescriptors,
            reason = "limits.attempts and limits.tcp ask for more", descriptors = hard;
            "{hard} descriptors are not enough for limits.attempts {attempts} and limits.tcp {tcp}; going on with {} and {}",
            shares.attempts,
            shares.tcp
        );
    }
    shares
}

/// Has the kernel make its list of this process's descriptors as long as it will be needed, before there are threads. It grows by doubling,
/// which in a process with threads waits until every processor has passed by: some ten milliseconds without a reply, each time.
pub(crate) fn make_room_for_descriptors() {
    const ENOUGH: i32 = 16_384;
    let most =
        getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| i32::try_from(soft).unwrap_or(ENOUGH));
    let last = FcntlArg::F_DUPFD_CLOEXEC(most.min(ENOUGH) - 1);
    match fcntl(std::io::stderr(), last) {
        Ok(copy) => drop(close(copy)),
        Err(error) => log::debug!("the list of descriptors grows as it is needed: {error}"),
    }
}

/// The runtime directory, where no service manager has made it.
pub(crate) fn make_runtime_dir(dir: &Path) -> Result<(), String> {
    // Whatever the umask: readers do not believe a table in a directory that others can write.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir);
    made.map_err(|error| {
        format!(
            "cannot create the runtime directory '{}': {error}; expected a place where this user may write: runtime_dir in hither.toml(5), or $RUNTIME_DIRECTORY",
            dir.display()
        )
    })
}

/// Readers do not believe a table where others can put another in its place.
pub(crate) fn tell_of_directory(dir: &Path) {
    let Ok(found) = std::fs::metadata(dir) else { return };
    if judge_directory(Facts { mode: found.mode(), uid: found.uid() }) == Err(Distrust::DirectoryWritable) {
        log::warn!(
            "group or others can write the runtime directory '{0}': programs do not read the table there, and ask hitherd; chmod go-w {0}",
            dir.display()
        );
    }
}

/// Whom to ask, what there is to say of them, and the system's files as they were read for it. Containers are told; of what is as it was `before` the
/// log is not.
pub(crate) fn route(
    config: &Config,
    file: Option<&Path>,
    links: Option<&BusFollower>,
    ourselves: &[SocketAddr],
    before: Option<&PlanReport>,
) -> (Routes, PlanReport, Arc<ResolverFiles>) {
    let files = ResolverFiles::read(Path::new("/"), &config.runtime_dir);
    let bus_links = links.map(BusFollower::links);
    let Plan { routes, report } = plan(config, file, (&files, bus_links), ourselves);
    log_changes(&report, before);
    containers::offer(config, &routes.usual, &files);
    (routes, report, Arc::new(files))
}

/// Logs what `report` has and the report `before` did not have.
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
pub(crate) fn bus_follower(config: &Config, waker: &Arc<mio::Waker>) -> Option<BusFollower> {
    let started =
        config.upstreams.is_empty().then(|| BusFollower::start(Path::new("/"), Arc::clone(waker)))?;
    let failed = |error: std::io::Error| {
        log::warn!(
            event = Event::NotFollowed, what = "the message bus", reason:% = error;
            "the message bus cannot be followed: {error}; the servers of links are not known"
        );
    };
    started.map_err(failed).ok()
}

/// Whom to ask: who is configured, or else the system's own resolvers; ourselves left out.
fn plan(
    config: &Config,
    file: Option<&Path>,
    (files, bus_links): (&ResolverFiles, Option<&BusLinks>),
    ourselves: &[SocketAddr],
) -> Plan {
    let host = interfaces::addresses();
    let is_ours = |upstream: &SocketAddr| resolvers::is_ours(upstream, ourselves, &host);
    let mut plan = Plan::default();
    if config.wrong.is_some() {
        return plan;
    }
    if config.upstreams.is_empty() {
        plan = resolvers::plan(files, bus_links.unwrap_or(&BusLinks::default()), &is_ours);
        if plan.routes.usual.is_empty() {
            let why = files.resolv_conf().why_no_upstream();
            log::warn!(
                event = Event::NoUpstream;
                "no upstream is configured and {why}: questions are answered SERVFAIL until there is one"
            );
        }
    }
    let others = |upstreams: &[Endpoint]| -> Vec<Server> {
        let there = upstreams.iter().filter_map(|upstream| {
            let address = upstream.address();
            if address.is_none() {
                log::info!("the upstream {upstream} is asked when its interface is there");
            }
            address
        });
        let (ours, others): (Vec<_>, Vec<_>) = there.partition(is_ours);
        for upstream in ours {
            log::error!(
                event = Event::UpstreamIsOurselves, upstream:% = upstream;
                "the upstream {upstream} is ourselves; going on without it"
            );
        }
        others.into_iter().map(Server::from).collect()
    };
    if !config.upstreams.is_empty() {
        plan.routes.usual = others(&config.upstreams);
    }
    plan.routes.domains.extend(config.domains.iter().map(|(name, upstreams)| (*name, others(upstreams))));
    let search: Option<Vec<Name>> =
        config.upstreams.is_empty().then(|| files.search_lists().flatten().copied().collect());
    // Whoever says what is searched is the network, or runs the host: names there are its own.
    plan.routes.own = search.iter().flatten().filter(|name| name.label_count() > 1).copied().collect();
    reserved_zones::add(&mut plan.routes, search.as_deref());
    for server in plan.routes.all() {
        plan.add_origin(server, &file.unwrap_or(Path::new(FILE)).display().to_string());
    }
    plan
}

/// The files whose changes are followed.
pub(crate) fn followed(config: &Config, path: Option<&Path>) -> Vec<PathBuf> {
    let mut paths = config.hosts.files.clone();
    if config.wrong.is_some() {
        paths.extend(wrong::files(path));
    }
    paths.extend(config.blocks.iter().flat_map(|block| block.files.iter().cloned()));
    if config.hosts.own_name {
        paths.push(PathBuf::from("/etc/hostname"));
    }
    paths.extend(containers::paths(Path::new("/")));
    if config.upstreams.is_empty() {
        paths.extend(resolvers::followed_paths(Path::new("/")));
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_shared_out_whatever_the_limit() {
        let of = |descriptors| Shares::of(descriptors, HELD + 2, (6000, 1000));
        let (least, few, usual, many) = (of(64), of(256), of(1024), of(20_000));
        assert_eq!((least.attempts, least.tcp, least.sockets), (15, 7, 15));
        assert_eq!((few.attempts, few.tcp), (128, 64));
        assert_eq!((usual.attempts, usual.tcp), (512, 256));
        assert_eq!((many.attempts, many.tcp, many.sockets), (6000, 1000, 8048));
        for descriptors in 0..5000 {
            let shares = of(descriptors);
            assert!(shares.attempts > 0 && shares.tcp > 0, "{descriptors}: {shares:?}");
            assert!(shares.attempts <= shares.sockets, "{descriptors}: {shares:?}");
            let all = shares.sockets + shares.tcp + HELD + 2 + SPARE_MIN;
            assert!(descriptors < 50 || all <= descriptors, "{descriptors}: {shares:?}");
        }
    }
}
