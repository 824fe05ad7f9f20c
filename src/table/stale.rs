//! What may be used of an entry that has expired: one rule for all readers and for the daemon.
//!
//! An answer holds until it expires, whether the daemon runs or not. From then on addresses may be
//! used for as long as `cache.stale` says (RFC 8767), by a reader whose question the daemon did not
//! answer; the table's header has that time. Expired denials are never used.

use crate::family::FamilyView;
use crate::time::Monotonic;
use core::time::Duration;

/// For how long expired addresses may be used: the word `STALE` of the table's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StaleTime(u64);

/// What may be done with a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// It has not expired.
    Fresh,
    /// It has expired, and may be used if there is nothing better.
    Stale,
    /// It must not be used: it is as if the table did not have it.
    Never,
}

impl StaleTime {
    /// The time is not known, so everything that has expired counts as stale. Tables of ABI 1.2 and
    /// before have this.
    pub const UNKNOWN: StaleTime = StaleTime(0);

    /// This long, at most some centuries.
    #[must_use]
    pub fn of(time: Duration) -> StaleTime {
        StaleTime(u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// The value of the header's word: 0 if unknown, else one more than the milliseconds.
    #[must_use]
    pub const fn from_word(word: u64) -> StaleTime {
        StaleTime(word)
    }

    #[cfg(feature = "writer")]
    pub(crate) const fn word(self) -> u64 {
        self.0
    }
}

impl FamilyView<'_> {
    /// What may be done with the set at `now`.
    #[must_use]
    pub fn usable(&self, stale: StaleTime, now: Monotonic) -> Use {
        if !self.expired(now) {
            return Use::Fresh;
        }
        let Some(stale_ms) = stale.0.checked_sub(1) else { return Use::Stale };
        let until_ms = self.expire_ms().saturating_add(stale_ms);
        if self.negative().is_none() && now.as_ms() < until_ms { Use::Stale } else { Use::Never }
    }
}
