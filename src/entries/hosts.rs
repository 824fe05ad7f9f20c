//! The clocks of the other hosts: how far each was seen ahead, from the times in its entries.
//!
//! An entry cannot be learned after it is received. So a host whose time of learning is ahead of ours has a
//! clock that is ahead by at least as much. The offset is kept against the boot clock, which nothing sets,
//! so that it stays right when the wall clock of this host is set.

use std::collections::BTreeMap;

/// Hosts whose clocks are remembered; the least recently used gives way.
pub const HOSTS_MAX: usize = 1024;
/// How long an offset counts, at least. A host whose clock was set back is believed again after at most
/// twice this time; until then its entries count as older than they are.
pub(crate) const WINDOW_MS: i64 = 3_600_000;

/// What is known of the clock of one host.
#[derive(Clone, Copy, Debug)]
struct HostClock {
    /// When the window began, in milliseconds of the boot clock.
    since_ms: i64,
    /// The greatest offset within the window.
    offset_ms: i64,
    /// The greatest offset within the window before it.
    before_ms: Option<i64>,
    /// The number of the entry that came last.
    used: u64,
}

/// The clocks of up to [`HOSTS_MAX`] hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    clocks: BTreeMap<Box<str>, HostClock>,
    entries: u64,
}

impl Hosts {
    /// Notes that an entry of this host is here at `boot_ms`, learned at `learned_ms` by its clock. Gives
    /// the greatest offset of its clock against the boot clock that was seen, in milliseconds; the true
    /// offset is not lower, unless the host's clock was set back.
    pub(crate) fn note(&mut self, host: &str, learned_ms: i64, boot_ms: i64) -> i64 {
        self.entries += 1;
        let (used, offset_ms) = (self.entries, learned_ms - boot_ms);
        let Some(clock) = self.clocks.get_mut(host) else {
            self.make_room();
            let clock = HostClock { since_ms: boot_ms, offset_ms, before_ms: None, used };
            self.clocks.insert(host.into(), clock);
            return offset_ms;
        };
        clock.used = used;
        let age_ms = boot_ms - clock.since_ms;
        if age_ms >= WINDOW_MS {
            let is_next = age_ms < 2 * WINDOW_MS;
            clock.before_ms = is_next.then_some(clock.offset_ms);
            (clock.since_ms, clock.offset_ms) = (boot_ms, offset_ms);
        }
        clock.offset_ms = clock.offset_ms.max(offset_ms);
        clock.before_ms.map_or(clock.offset_ms, |before_ms| before_ms.max(clock.offset_ms))
    }

    fn make_room(&mut self) {
        if self.clocks.len() < HOSTS_MAX {
            return;
        }
        let oldest = self.clocks.iter().min_by_key(|(_, clock)| clock.used).map(|(host, _)| host.clone());
        if let Some(oldest) = oldest {
            self.clocks.remove(&oldest);
        }
    }

    /// How many hosts are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.clocks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_offset_counts_for_one_to_two_windows() {
        let mut hosts = Hosts::default();
        assert_eq!(hosts.note("a", 1_500, 1_000), 500);
        assert_eq!(hosts.note("a", 1_900, 2_000), 500, "a late entry proves nothing");
        assert_eq!(hosts.note("b", 1_900, 2_000), -100, "each host has its own clock");
        // Set back: the offset of before counts through the next window, and not after it.
        let at = 1_000 + WINDOW_MS;
        assert_eq!(hosts.note("a", at, at), 500);
        let at = at + WINDOW_MS - 1;
        assert_eq!(hosts.note("a", at, at), 500);
        assert_eq!(hosts.note("a", at + 1, at + 1), 0);
        // Silent for two windows.
        let at = at + 1 + 2 * WINDOW_MS;
        assert_eq!(hosts.note("a", at - 700, at), -700);
    }

    #[test]
    fn hosts_are_bounded_and_the_least_recently_used_gives_way() {
        let mut hosts = Hosts::default();
        hosts.note("first", 100, 0);
        hosts.note("second", 200, 0);
        for n in 2..HOSTS_MAX {
            hosts.note(&n.to_string(), 0, 0);
        }
        assert_eq!(hosts.note("first", 0, 0), 100, "still known");
        hosts.note("one more", 0, 0);
        assert_eq!(hosts.len(), HOSTS_MAX);
        assert_eq!(hosts.note("first", 0, 0), 100);
        assert_eq!(hosts.note("second", 0, 0), 0, "it gave way");
    }
}
