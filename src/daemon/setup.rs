//! Prepares the process before the event loop begins: its share of descriptors, and the runtime
//! directory.

use crate::config::Config;
use crate::logging::Event;
use hither_table::trust::{Distrust, Facts, judge_directory};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::close;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

/// Descriptors that an idle daemon has open beside attempts and TCP clients: standard streams, the
/// table and its lock, epoll instances, timers, signals, two of inotify, netlink, the bus, local
/// sockets, those of threads.
const HELD_DESCRIPTORS: usize = 30;
/// The least number that remains for local connections, files that are read and written, and
/// clients that are about to be refused.
const RESERVE_MIN: usize = 12;
/// The largest number that remains for them.
const RESERVE_MAX: usize = 256;
/// Idle sockets to upstreams, and sockets that wait for late responses, if there are enough
/// descriptors.
const IDLE_MAX: usize = 1024;
const LINGERING_MAX: usize = 1024;
/// Connections to encrypted upstreams, if there are enough descriptors: each upstream has seldom more than
/// two, and at most six beside those of a race.
const ENCRYPTED_MAX: usize = 256;
/// Subscribers to changes, if there are enough descriptors.
const SUBSCRIBERS_MAX: usize = 1024;
/// Subscribers, even if there are too few.
const SUBSCRIBERS_MIN: usize = 2;
/// Connections at the other local sockets.
const LOCAL_MAX: usize = 64;

/// The shares of the process's descriptors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shares {
    /// Outstanding queries to upstreams.
    pub attempts: usize,
    /// Connections of TCP clients.
    pub tcp: usize,
    /// All sockets to upstreams.
    pub sockets: usize,
    /// Sockets to upstreams that are idle, part of `sockets`.
    pub idle: usize,
    /// Sockets to upstreams that wait for late responses, part of `sockets`.
    pub lingering: usize,
    /// Connections to encrypted upstreams, part of `sockets`.
    pub encrypted: usize,
    /// Connections of subscribers to changes, part of what remains.
    pub subscribers: usize,
}

impl Shares {
    /// Divides `descriptors`, of which `held` are always open, so that attempts and TCP clients get as
    /// many as configured if possible. Unused sockets are not reserved: they are closed when others
    /// need descriptors.
    fn of(descriptors: usize, held: usize, attempts: usize, tcp: usize) -> Shares {
        let reserve = (descriptors / 4).min(RESERVE_MAX).max(held + RESERVE_MIN);
        // Even if there are too few, the daemon tries to work with some.
        let rest = descriptors.saturating_sub(reserve).max(8);
        // At most a third for clients: their replies need attempts.
        let tcp = if attempts.saturating_add(tcp) <= rest { tcp } else { tcp.min(rest / 3) };
        let attempts = attempts.min(rest - tcp);
        let (idle, lingering) = (IDLE_MAX.min(descriptors / 8), LINGERING_MAX.min(descriptors / 8));
        let sockets = (attempts + idle + lingering).min(rest - tcp);
        let encrypted = ENCRYPTED_MAX.min(sockets / 4);
        // Half of what is neither given away nor needed by others.
        let left = descriptors.saturating_sub(sockets + tcp + held + RESERVE_MIN + LOCAL_MAX);
        let subscribers = (left / 2).min(descriptors / 16).clamp(SUBSCRIBERS_MIN, SUBSCRIBERS_MAX);
        Shares { attempts, tcp, sockets, idle, lingering, encrypted, subscribers }
    }
}

/// Raises the soft limit to the hard limit, and fits the configured limits to it.
pub(crate) fn fit_to_descriptors(config: &mut Config) -> Shares {
    let hard = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            if soft < hard
                && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
            {
                log::warn!(
                    event = Event::TooFewDescriptors, reason:% = error;
                    "the file descriptor limit cannot be raised: {error}"
                );
            }
            usize::try_from(hard).unwrap_or(usize::MAX)
        }
        // The limit is unknown: the default of most hosts.
        Err(_) => 1024,
    };
    let workers = if config.listen.workers > 1 { config.listen.workers } else { 0 };
    let addresses = config.listen.addresses.len().max(1);
    // A UDP and a TCP socket for each address. A worker has an epoll instance, an eventfd, its own UDP
    // socket and the copy of the loop for each address.
    let held = HELD_DESCRIPTORS + 2 * addresses + workers * (2 + 2 * addresses);
    let (attempts, tcp) = (config.settings.limits.attempts, config.limits.tcp);
    let shares = Shares::of(hard, held, attempts, tcp);
    (config.settings.limits.attempts, config.limits.tcp) = (shares.attempts, shares.tcp);
    if (attempts, tcp) != (shares.attempts, shares.tcp) {
        log::warn!(
            event = Event::TooFewDescriptors,
            reason = "limits.attempts and limits.tcp need more", descriptors = hard;
            "{hard} descriptors are not enough for limits.attempts {attempts} and limits.tcp {tcp}; going on with {} and {}",
            shares.attempts,
            shares.tcp
        );
    }
    shares
}

/// Makes the kernel enlarge the descriptor table of this process before there are threads. The
/// table grows by doubling, and in a process with threads each step waits for an RCU grace period:
/// some ten milliseconds without a reply.
pub(crate) fn make_room_for_descriptors() {
    const ENOUGH: i32 = 16_384;
    let most =
        getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| i32::try_from(soft).unwrap_or(ENOUGH));
    let last = FcntlArg::F_DUPFD_CLOEXEC(most.min(ENOUGH) - 1);
    match fcntl(std::io::stderr(), last) {
        Ok(copy) => drop(close(copy)),
        Err(error) => {
            log::debug!("cannot enlarge the descriptor table in advance: {error}; it grows when needed")
        }
    }
}

/// Creates the runtime directory, if the service manager has not.
pub(crate) fn make_runtime_dir(dir: &Path) -> Result<(), String> {
    // Independent of the umask: readers do not trust a table in a directory that others can write.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir);
    made.map_err(|error| {
        format!(
            "cannot create the runtime directory '{}': {error}; expected a place where this user may write: runtime_dir in hither.toml(5), or $RUNTIME_DIRECTORY",
            dir.display()
        )
    })
}

/// Warns if others can write the runtime directory, since readers do not trust a table there.
pub(crate) fn warn_of_directory(dir: &Path) {
    let Ok(found) = std::fs::metadata(dir) else { return };
    if judge_directory(Facts { mode: found.mode(), uid: found.uid() }) == Err(Distrust::DirectoryWritable) {
        log::warn!(
            event = Event::TableNotTrusted, path:% = dir.display();
            "group or others can write the runtime directory '{0}': programs do not read the table there, and send queries to hitherd instead; chmod go-w {0}",
            dir.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_divided_whatever_the_limit() {
        let of = |descriptors| Shares::of(descriptors, HELD_DESCRIPTORS + 2, 6000, 1000);
        let (least, few, usual, many) = (of(64), of(256), of(1024), of(20_000));
        assert_eq!((least.attempts, least.tcp, least.sockets), (14, 6, 14));
        assert_eq!((few.attempts, few.tcp), (128, 64));
        assert_eq!((usual.attempts, usual.tcp), (512, 256));
        assert_eq!((many.attempts, many.tcp, many.sockets), (6000, 1000, 8048));
        assert_eq!([least, few, usual, many].map(|shares| shares.subscribers), [2, 2, 64, 1024]);
        for descriptors in 0..5000 {
            let shares = of(descriptors);
            assert!(shares.attempts > 0 && shares.tcp > 0, "{descriptors}: {shares:?}");
            assert!(shares.attempts <= shares.sockets, "{descriptors}: {shares:?}");
            assert!(shares.encrypted > 0 && shares.encrypted < shares.sockets, "{descriptors}: {shares:?}");
            let subscribers = shares.subscribers - SUBSCRIBERS_MIN;
            let all = shares.sockets + shares.tcp + subscribers + HELD_DESCRIPTORS + 2 + RESERVE_MIN;
            assert!(descriptors < 52 || all <= descriptors, "{descriptors}: {shares:?}");
        }
    }
}
