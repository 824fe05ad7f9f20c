//! What tells that the network or the host's name is another than before: netlink, the kernel's word for the name, and a host that slept.

mod pace;

use crate::host::interfaces::fingerprint;
use crate::logging::Event;
use hither_net::netlink::Netlink;
use hither_table::Monotonic;
use pace::Pace;
use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

/// News is acted upon so long after the first of it: it comes in bursts.
const SETTLE: Duration = Duration::from_millis(100);
/// A gap between the clock that runs on in sleep and the one that does not, beyond which the host has slept.
const SLEPT: Duration = Duration::from_secs(2);
/// When it is looked again where there was no descriptor for it.
const BLIND: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Network {
    netlink: Option<Netlink>,
    name: HostName,
    due: Option<Monotonic>,
    /// Addresses and routes when they were last looked at; not known where there was no descriptor for it.
    seen: Option<u64>,
    slept: Duration,
    /// Addresses or routes were others, or the host slept, since the last news.
    changed: bool,
    pace: Pace,
    renamed: bool,
}

/// What has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct News {
    /// Addresses or routes, or the host has slept.
    pub network: bool,
    /// The same, gathered as long as it goes on: what is out is to be sent again.
    pub settled: bool,
    /// What the host is called.
    pub name: bool,
}

impl Network {
    pub fn new() -> Network {
        let netlink = Netlink::new().map_err(|error| {
            log::warn!(
                event = Event::NotFollowed, what = "links and addresses", reason:% = error;
                "links and addresses cannot be followed: {error}; after a change of network reload hitherd"
            );
        });
        Network {
            netlink: netlink.ok(),
            name: HostName::new(),
            due: None,
            seen: fingerprint(),
            slept: asleep(),
            changed: false,
            pace: Pace::new(),
            renamed: false,
        }
    }

    /// The descriptor to be polled.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.netlink.as_ref().map(|n| n.as_raw_fd())
    }

    /// What is to be polled for urgent news alone: a file of the kernel's, which can be read at any time.
    pub fn urgent(&self) -> Option<RawFd> {
        self.name.file.as_ref().map(|file| file.as_raw_fd())
    }

    /// A descriptor is ready.
    pub fn ready(&mut self, now: Monotonic) {
        let heard = self.netlink.as_mut().map(Netlink::take).unwrap_or_default();
        let news = heard.news || heard.more;
        // At the first news of a burst too: what goes and comes back before it has settled has cut something off all the same.
        if news && self.due.is_none() {
            self.look();
        }
        let renamed = self.name.has_changed();
        self.renamed |= renamed;
        if news || renamed {
            self.due.get_or_insert(now.plus(SETTLE));
        }
        if renamed {
            // No burst follows.
            self.due = Some(now);
        }
    }

    /// Whether it could be looked: without a descriptor nothing is seen, which is no change.
    fn look(&mut self) -> bool {
        let Some(seen) = fingerprint() else { return false };
        self.changed |= self.seen.replace(seen) != Some(seen);
        true
    }

    /// Notices that the host has slept since the last look.
    pub fn look_at_clocks(&mut self, now: Monotonic) {
        let slept = asleep();
        if slept > self.slept + SLEPT {
            self.changed = true;
            self.due.get_or_insert(now.plus(SETTLE));
        }
        self.slept = slept;
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        [self.due, self.pace.timeout()].into_iter().flatten().min()
    }

    /// What has changed, once it has settled.
    pub fn news(&mut self, now: Monotonic) -> Option<News> {
        let seen = self.seen_anew(now);
        if seen.is_some_and(|news| news.network) {
            self.pace.changed(now);
        }
        let settled = self.pace.tell(now);
        (seen.is_some() || settled).then(|| News { settled, ..seen.unwrap_or_default() })
    }

    /// What is another than at the last look, where it is time for one.
    fn seen_anew(&mut self, now: Monotonic) -> Option<News> {
        self.due.filter(|due| *due <= now)?;
        self.due = None;
        // A socket that was overrun hears nothing until it has been read empty, of which no poll tells.
        if self.netlink.as_mut().is_some_and(|netlink| netlink.take().more) {
            self.due = Some(now.plus(SETTLE));
        }
        if !self.look() {
            self.due = Some(now.plus(BLIND));
            return None;
        }
        let network = std::mem::take(&mut self.changed);
        let name = std::mem::take(&mut self.renamed);
        Some(News { network, name, settled: false })
    }
}

/// What the host is called: the kernel says when that changes, whoever changes it and whether or not a file does.
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
                "the host's name cannot be followed: {error}; after a change of it reload hitherd"
            );
        });
        HostName { file: file.ok(), known: nix::unistd::gethostname().unwrap_or_default() }
    }

    fn has_changed(&mut self) -> bool {
        let name = nix::unistd::gethostname().unwrap_or_default();
        std::mem::replace(&mut self.known, name) != self.known
    }
}

/// How long the host has slept since it was started.
fn asleep() -> Duration {
    let read = |clock| nix::time::clock_gettime(clock).map(Duration::from).unwrap_or_default();
    read(nix::time::ClockId::CLOCK_BOOTTIME).saturating_sub(read(nix::time::ClockId::CLOCK_MONOTONIC))
}
