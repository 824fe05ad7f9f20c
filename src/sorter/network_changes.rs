//! Notices that the host has moved to another network: then earlier measurements are void.

use crate::host::interfaces::fingerprint;
use crate::logging::Event;
use hither_net::netlink::Netlink;
use hither_table::Monotonic;
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

/// The time from a burst's first change to the comparison of addresses and routes.
const SETTLE: Duration = Duration::from_millis(100);
/// The least time between two comparisons: if routes change all the time, measurements would never end.
const PAUSE_MIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct NetworkChanges {
    netlink: Option<Netlink>,
    pace: Pace,
    /// The fingerprint of addresses and routes at the last comparison.
    seen: Option<u64>,
}

impl NetworkChanges {
    pub fn new() -> NetworkChanges {
        let netlink = Netlink::new().map_err(|error| {
            log::warn!(
                event = Event::NotFollowed, what = "links and addresses", reason:% = error;
                "links and addresses cannot be followed: {error}; after a change of network measurements count for sort.remeasure"
            );
        });
        NetworkChanges { netlink: netlink.ok(), pace: Pace::default(), seen: fingerprint() }
    }

    pub fn descriptor(&self) -> Option<RawFd> {
        self.netlink.as_ref().map(|netlink| netlink.as_raw_fd())
    }

    /// Reads the kernel's messages about links, addresses and routes.
    pub fn receive(&mut self, now: Monotonic) {
        let received = self.netlink.as_mut().map(Netlink::take).unwrap_or_default();
        if received.any || received.more {
            self.pace.schedule(now);
        }
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        self.pace.due
    }

    /// Returns whether addresses or routes have changed since the last call. Compares them only when that
    /// is due.
    pub fn take_change(&mut self, now: Monotonic) -> bool {
        if !self.pace.take_due(now) {
            return false;
        }
        // This comparison covers the messages so far. A socket that has overflowed gets no further ones
        // until it is empty.
        if self.netlink.as_mut().is_some_and(|netlink| netlink.take().more) {
            self.pace.schedule(now);
        }
        let seen = fingerprint();
        // Without a free descriptor there is no fingerprint, which is no change.
        seen.is_some() && std::mem::replace(&mut self.seen, seen) != seen
    }
}

/// The times of comparisons: soon after the first message, and not too often.
#[derive(Debug, Default)]
struct Pace {
    due: Option<Monotonic>,
    /// The time of the last comparison.
    last: Option<Monotonic>,
}

impl Pace {
    fn schedule(&mut self, now: Monotonic) {
        let settled = now.plus(SETTLE);
        self.due.get_or_insert(self.last.map_or(settled, |last| settled.max(last.plus(PAUSE_MIN))));
    }

    fn take_due(&mut self, now: Monotonic) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.due = None;
        self.last = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continuous_changes_cause_a_look_soon_and_then_every_ten_seconds() {
        let at = |ms: u64| Monotonic::from_ms(1_000_000 + ms);
        let mut pace = Pace::default();
        let mut looks = Vec::new();
        for ms in 0..25_000 {
            if ms < 22_000 {
                pace.schedule(at(ms));
            }
            if pace.take_due(at(ms)) {
                looks.push(ms);
            }
        }
        assert_eq!(looks, [100, 10_100, 20_100]);
        assert_eq!(pace.due, Some(at(30_100)), "a look follows the last change");
    }
}
