//! News of the network: what was measured in one network says nothing of another.

use crate::host::interfaces::fingerprint;
use crate::logging::Event;
use hither_net::netlink::Netlink;
use hither_table::Monotonic;
use std::os::fd::{AsRawFd as _, RawFd};
use std::time::Duration;

/// Changes come in bursts, and are acted upon so long after the first one.
const SETTLE: Duration = Duration::from_millis(100);
/// At least so long lies between two changes that are acted upon: where routes never come to rest, measurements would never come to an end.
const PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct News {
    netlink: Option<Netlink>,
    pace: Pace,
    /// Addresses and routes when they were last looked at.
    seen: Option<u64>,
}

impl News {
    pub fn new() -> News {
        let netlink = Netlink::new().map_err(|error| {
            log::warn!(
                event = Event::NotFollowed, what = "links and addresses", reason:% = error;
                "links and addresses cannot be followed: {error}; after a change of network measurements count for sort.remeasure"
            );
        });
        News { netlink: netlink.ok(), pace: Pace::default(), seen: fingerprint() }
    }

    pub fn descriptor(&self) -> Option<RawFd> {
        self.netlink.as_ref().map(|netlink| netlink.as_raw_fd())
    }

    pub fn ready(&mut self, now: Monotonic) {
        let heard = self.netlink.as_mut().map(Netlink::take).unwrap_or_default();
        if heard.news || heard.more {
            self.pace.heard(now);
        }
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        self.pace.due
    }

    /// Whether addresses or routes are others than before, once that has settled.
    pub fn changed(&mut self, now: Monotonic) -> bool {
        if !self.pace.is_due(now) {
            return false;
        }
        // What has come meanwhile is seen by this look; a socket that was overrun hears nothing until it has been read empty.
        if self.netlink.as_mut().is_some_and(|netlink| netlink.take().more) {
            self.pace.heard(now);
        }
        let seen = fingerprint();
        // Without a descriptor to look by nothing is seen, which is no change.
        seen.is_some() && std::mem::replace(&mut self.seen, seen) != seen
    }
}

/// When to look: soon after the first news, and not too often.
#[derive(Debug, Default)]
struct Pace {
    due: Option<Monotonic>,
    last: Option<Monotonic>,
}

impl Pace {
    fn heard(&mut self, now: Monotonic) {
        let settled = now.plus(SETTLE);
        self.due.get_or_insert(self.last.map_or(settled, |last| settled.max(last.plus(PAUSE))));
    }

    fn is_due(&mut self, now: Monotonic) -> bool {
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
    fn a_storm_is_looked_at_soon_and_then_every_ten_seconds() {
        let at = |ms: u64| Monotonic::from_ms(1_000_000 + ms);
        let mut pace = Pace::default();
        let mut looks = Vec::new();
        for ms in 0..25_000 {
            if ms < 22_000 {
                pace.heard(at(ms));
            }
            if pace.is_due(at(ms)) {
                looks.push(ms);
            }
        }
        assert_eq!(looks, [100, 10_100, 20_100]);
        assert_eq!(pace.due, Some(at(30_100)), "what came last is looked at too");
    }
}
