//! The time that saved sets have left, by the wall clock: no other clock runs while the host is off,
//! although this one may be wrong.

use crate::Header;
use core::fmt;
use core::time::Duration;

/// The age of the oldest file that is restored, whatever the TTLs of its sets.
pub const AGE_MAX: Duration = Duration::from_secs(86_400);
/// Added to the age of every set. A host that has just started may set its clock forward when it
/// learns the time; if by less than this, no set lasts longer than its TTL.
pub const AGE_MARGIN: Duration = Duration::from_secs(5);

/// The two clocks, read at the same moment, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clocks {
    /// `CLOCK_REALTIME` in milliseconds since 1970.
    pub wall_ms: u64,
    /// `CLOCK_BOOTTIME` in milliseconds, the table's clock.
    pub boot_ms: u64,
}

impl Clocks {
    /// By how much the wall clock was set forward since `before`; zero if it was set back.
    #[must_use]
    pub fn set_forward_since(&self, before: &Clocks) -> Duration {
        let wall_ms = self.wall_ms.saturating_sub(before.wall_ms);
        Duration::from_millis(wall_ms.saturating_sub(self.boot_ms.saturating_sub(before.boot_ms)))
    }
}

/// Why the age of a file forbids to restore its sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// The file was written later than the clock shows, so its age is unknown.
    Ahead {
        /// How much later, by the wall clock.
        by: Duration,
    },
    /// The file is older than [`AGE_MAX`].
    Old {
        /// The file's age.
        age: Duration,
    },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead { by } => write!(
                f,
                "by the clock it will be written in {} s, so that its age cannot be told",
                by.as_secs().max(1)
            ),
            Self::Old { age } => {
                write!(f, "it is {} s old, more than {} s", age.as_secs(), AGE_MAX.as_secs())
            }
        }
    }
}

impl std::error::Error for Unusable {}

/// The age of a file at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Age {
    elapsed_ms: u64,
    now_ms: u64,
}

impl Age {
    /// The age of a file with this header at `now`.
    ///
    /// # Errors
    /// If the age is unknown or too high.
    pub fn of(header: &Header, now: Clocks) -> Result<Age, Unusable> {
        let Some(elapsed_ms) = now.wall_ms.checked_sub(header.saved_ms) else {
            return Err(Unusable::Ahead { by: Duration::from_millis(header.saved_ms - now.wall_ms) });
        };
        let age = Duration::from_millis(elapsed_ms);
        if age > AGE_MAX {
            return Err(Unusable::Old { age });
        }
        Ok(Age { elapsed_ms, now_ms: now.boot_ms })
    }

    /// The time since the file was written.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms)
    }

    /// The time by the table's clock, in milliseconds, at which a set expires that had `left_ms` left;
    /// now if it has expired.
    #[must_use]
    pub fn expire_ms(&self, left_ms: u64) -> u64 {
        let margin_ms = u64::try_from(AGE_MARGIN.as_millis()).unwrap_or(u64::MAX);
        let left_ms = left_ms.saturating_sub(self.elapsed_ms).saturating_sub(margin_ms);
        self.now_ms.saturating_add(left_ms)
    }
}
