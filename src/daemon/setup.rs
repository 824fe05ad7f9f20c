//! What the daemon is made of before its loop begins: descriptors, the upstreams.

use super::outside::LINGERING_MAX;
use super::pool::IDLE_ALL;
use super::system::{Heard, Plan};
use super::{containers, local, reserved, resolv_conf, system, wrong};
use crate::config::{Config, Endpoint, FILE};
use crate::logging::Event;
use hither_rounds::Server;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::close;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Descriptors for everything but attempts, stragglers and TCP clients.
const OTHERS: usize = 256;

/// Takes as many descriptors as the process may have, and makes the limits fit what there is. Returns how many sockets may be kept for
/// the next queries.
pub(super) fn fit_to_descriptors(config: &mut Config) -> usize {
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
        Err(_) => return 0,
    };
    let idle = IDLE_ALL.min(hard / 8);
    let room = hard.saturating_sub(OTHERS + LINGERING_MAX + idle).max(64);
    let (attempts, tcp) = (config.settings.limits.attempts, config.limits.tcp);
    if attempts.saturating_add(tcp) > room {
        // Half for clients at most: their share comes back soon, an attempt is what answers them.
        config.limits.tcp = tcp.min(room / 2);
        config.settings.limits.attempts = attempts.min(room - config.limits.tcp);
        log::warn!(
            event = Event::TooFewDescriptors,
            reason = "limits.attempts and limits.tcp ask for more", descriptors = hard;
            "{hard} descriptors are not enough for limits.attempts {attempts} and limits.tcp {tcp}; going on with {} and {}",
            config.settings.limits.attempts,
            config.limits.tcp
        );
    }
    idle
}

/// Has the kernel make its list of this process's descriptors as long as it will be needed, before there are threads. It grows by doubling,
/// which in a process with threads waits until every processor has passed by: some ten milliseconds without a reply, each time.
pub(super) fn make_room_for_descriptors() {
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
pub(super) fn make_runtime_dir(dir: &Path) -> Result<(), String> {
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
pub(super) fn tell_of_directory(dir: &Path) {
    if std::fs::metadata(dir).is_ok_and(|found| found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0) {
        log::warn!(
            "group or others can write the runtime directory '{0}': programs do not read the table there, and ask hitherd; chmod go-w {0}",
            dir.display()
        );
    }
}

/// Whom to ask: who is configured, or else the system's own resolvers; ourselves left out.
pub(super) fn plan(
    config: &Config,
    file: Option<&Path>,
    heard: Option<&Heard>,
    ourselves: &[SocketAddr],
) -> Plan {
    let host = local::addresses();
    let is_ours = |upstream: &SocketAddr| system::is_ours(upstream, ourselves, &host);
    let mut plan = Plan::default();
    if config.wrong.is_some() {
        return plan;
    }
    if config.upstreams.is_empty() {
        plan =
            system::plan((Path::new("/"), &config.runtime_dir), heard.unwrap_or(&Heard::default()), &is_ours);
        if plan.routes.usual.is_empty() {
            let why = resolv_conf::why_none(Path::new("/etc/resolv.conf"));
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
    let search = config.upstreams.is_empty().then(|| system::search(Path::new("/")));
    // Whoever says what is searched is the network, or runs the host: names there are its own.
    plan.routes.own = search.iter().flatten().filter(|name| name.label_count() > 1).copied().collect();
    reserved::add(&mut plan.routes, search.as_deref());
    for server in plan.routes.all() {
        plan.name(server, &file.unwrap_or(Path::new(FILE)).display().to_string());
    }
    plan
}

/// The files whose changes are followed.
pub(super) fn followed(config: &Config, path: Option<&Path>) -> Vec<PathBuf> {
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
        paths.extend(system::paths(Path::new("/")));
    }
    paths
}
