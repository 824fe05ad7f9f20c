//! The table's clock: `CLOCK_BOOTTIME`, which cannot be set and which also runs while the host
//! sleeps.

use core::time::Duration;

#[cfg(all(feature = "std", not(loom)))]
impl Monotonic {
    /// The present time; 0 if the kernel has no such clock (before Linux 2.6.39).
    #[must_use]
    pub fn now() -> Self {
        use nix::time::{ClockId, clock_gettime};
        let read = clock_gettime(ClockId::CLOCK_BOOTTIME);
        Self(read.map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64))
    }
}

/// The wall clock minus the table's clock, in milliseconds.
#[cfg(all(feature = "std", not(loom)))]
pub(crate) fn clock_offset_ms() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    let read =
        |clock| clock_gettime(clock).map_or(0, |t| t.tv_sec() as u64 * 1000 + t.tv_nsec() as u64 / 1_000_000);
    read(ClockId::CLOCK_REALTIME).wrapping_sub(read(ClockId::CLOCK_BOOTTIME))
}

/// A point in time, in nanoseconds since the host was started. Stored in the table, so part of its
/// ABI.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// The time `ms` milliseconds after the start; saturates.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// The time in whole milliseconds.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time that is later by `time`; saturates.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The time since `earlier`; zero if that is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
