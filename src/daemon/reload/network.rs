//! Notices changes of the network, by netlink; of the host's name, by the kernel's file for it; and
//! suspends of the host.

mod change_pace;

use crate::host::interfaces::fingerprint;
use crate::logging::Event;
use change_pace::ChangePace;
use hither_net::netlink::Netlink;
use hither_table::Monotonic;
use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

/// How long changes are gathered after the first one, since they come in bursts.
const SETTLE: Duration = Duration::from_millis(100);
/// The host was suspended if the clock that runs during a suspend gains this much on the one that
/// does not.
const SUSPEND_MIN: Duration = Duration::from_secs(2);
/// How long after a look failed for lack of a descriptor the next one is tried.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The watch of the network and of the host's name.
#[derive(Debug)]
pub(crate) struct Network {
    /// None if changes cannot be followed, which has been logged.
    netlink: Option<Netlink>,
    name: HostName,
    /// When the gathered changes are evaluated.
    due: Option<Monotonic>,
    /// The fingerprint of addresses and routes at the last look. None if there was no descriptor
    /// for a look.
    seen: Option<u64>,
    /// How long the host has been suspended, since its start.
    suspended: Duration,
    /// Whether addresses or routes have changed, or the host was suspended, since the last news.
    changed: bool,
    pace: ChangePace,
    /// Whether the host's name has changed since the last news.
    renamed: bool,
}

/// The changes of the network and the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct News {
    /// Whether addresses or routes have changed, or the host was suspended.
    pub network: bool,
    /// Whether such changes are over for now, or have lasted long: outstanding queries must be sent
    /// again.
    pub settled: bool,
    /// Whether the host's name has changed.
    pub name: bool,
}

impl Network {
    /// Starts to watch. A failure is logged.
    pub fn new() -> Network {
        let netlink = Netlink::new().map_err(|error| {
            log::warn!(
                event = Event::NotFollowed, what = "links and addresses", reason:% = error;
                "links and addresses cannot be followed: {error}; reload hitherd after the network changes"
            );
        });
        Network {
            netlink: netlink.ok(),
            name: HostName::new(),
            due: None,
            seen: fingerprint(),
            suspended: suspended(),
            changed: false,
            pace: ChangePace::new(),
            renamed: false,
        }
    }

    /// The descriptor of netlink, for the poll.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.netlink.as_ref().map(|n| n.as_raw_fd())
    }

    /// The descriptor of the host's name, to be polled for priority events only: it is a file,
    /// which is always readable.
    pub fn urgent_descriptor(&self) -> Option<RawFd> {
        self.name.file.as_ref().map(|file| file.as_raw_fd())
    }

    /// Notes that a descriptor is ready.
    pub fn ready(&mut self, now: Monotonic) {
        let received = self.netlink.as_mut().map(Netlink::take).unwrap_or_default();
        let news = received.any || received.more;
        // The first look is at the start of a burst: an address that is removed and added again
        // within it has cut off queries, too.
        if news && self.due.is_none() {
            self.look();
        }
        let renamed = self.name.take_change();
        self.renamed |= renamed;
        if news || renamed {
            self.due.get_or_insert(now.plus(SETTLE));
        }
        if renamed {
            // The name does not change in bursts.
            self.due = Some(now);
        }
    }

    /// Compares addresses and routes with the last look. `false` if there was no descriptor for it.
    fn look(&mut self) -> bool {
        let Some(seen) = fingerprint() else { return false };
        self.changed |= self.seen.replace(seen) != Some(seen);
        true
    }

    /// Notes whether the host was suspended since the last call. To be called about once a second.
    pub fn look_at_clocks(&mut self, now: Monotonic) {
        let suspended = suspended();
        if suspended > self.suspended + SUSPEND_MIN {
            self.changed = true;
            self.due.get_or_insert(now.plus(SETTLE));
        }
        self.suspended = suspended;
    }

    /// When [`Network::news`] may have something.
    pub fn timeout(&self) -> Option<Monotonic> {
        [self.due, self.pace.timeout()].into_iter().flatten().min()
    }

    /// The changes, once a burst of them is over.
    pub fn news(&mut self, now: Monotonic) -> Option<News> {
        let seen = self.seen_anew(now);
        if seen.is_some_and(|news| news.network) {
            self.pace.changed(now);
        }
        let settled = self.pace.take(now);
        (seen.is_some() || settled).then(|| News { settled, ..seen.unwrap_or_default() })
    }

    /// The changes since the last look, if another one is due.
    fn seen_anew(&mut self, now: Monotonic) -> Option<News> {
        self.due.filter(|due| *due <= now)?;
        self.due = None;
        // A netlink socket whose buffer overflowed delivers nothing until it has been read empty,
        // and the poll does not report it.
        if self.netlink.as_mut().is_some_and(|netlink| netlink.take().more) {
            self.due = Some(now.plus(SETTLE));
        }
        if !self.look() {
            self.due = Some(now.plus(RETRY_AFTER));
            return None;
        }
        let network = std::mem::take(&mut self.changed);
        let name = std::mem::take(&mut self.renamed);
        Some(News { network, name, settled: false })
    }
}

/// The host's name. The kernel reports each change, whichever program makes it.
#[derive(Debug)]
struct HostName {
    file: Option<std::fs::File>,
    known: OsString,
}

impl HostName {
    fn new() -> HostName {
        let file = std::fs::File::open("/proc/sys/kernel/hostname").map_err(|error| {
            log::warn!(
                event = Event::NotFollowed, what = "the host's name", reason:% = error;
                "the host's name cannot be followed: {error}; reload hitherd after it changes"
            );
        });
        HostName { file: file.ok(), known: nix::unistd::gethostname().unwrap_or_default() }
    }

    fn take_change(&mut self) -> bool {
        let name = nix::unistd::gethostname().unwrap_or_default();
        std::mem::replace(&mut self.known, name) != self.known
    }
}

/// How long the host has been suspended, since its start.
fn suspended() -> Duration {
    let read = |clock| nix::time::clock_gettime(clock).map(Duration::from).unwrap_or_default();
    read(nix::time::ClockId::CLOCK_BOOTTIME).saturating_sub(read(nix::time::ClockId::CLOCK_MONOTONIC))
}
