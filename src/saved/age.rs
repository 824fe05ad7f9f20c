//! How long saved sets still last: by the wall clock, the one that goes on while the host is off, and that may be wrong.

use crate::Header;
use core::fmt;
use core::time::Duration;

/// What is older is not restored at all, whatever its sets say.
pub const AGE_MAX: Duration = Duration::from_secs(86_400);
/// By so much sets are taken to be older than the clock says: where it is set forward by less, once a host that has just been started knows
/// the time, nothing has lasted too long.
pub const MARGIN: Duration = Duration::from_secs(5);

/// Two clocks, read together, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clocks {
    /// `CLOCK_REALTIME`, since 1970.
    pub wall_ms: u64,
    /// `CLOCK_BOOTTIME`, the table's.
    pub boot_ms: u64,
}

impl Clocks {
    /// By how much the wall clock was set forward between `before` and now; zero if it was set back.
    #[must_use]
    pub fn set_forward_since(&self, before: &Clocks) -> Duration {
        let wall_ms = self.wall_ms.saturating_sub(before.wall_ms);
        Duration::from_millis(wall_ms.saturating_sub(self.boot_ms.saturating_sub(before.boot_ms)))
    }
}

/// Why nothing can be made of a file's times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// The clock is behind the file: nobody knows how much time has passed.
    Ahead {
        /// By how much.
        by: Duration,
    },
    /// It is older than [`AGE_MAX`].
    Old {
        /// How old it is.
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

/// How old a file is at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Age {
    elapsed_ms: u64,
    now_ms: u64,
}

impl Age {
    /// Of a file with this header, now.
    ///
    /// # Errors
    /// If its sets cannot be dated, or are too old.
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

    /// How old.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms)
    }

    /// When what had `left_ms` left expires by the table's clock, in milliseconds: at once if its time is over.
    #[must_use]
    pub fn expire_ms(&self, left_ms: u64) -> u64 {
        let margin_ms = u64::try_from(MARGIN.as_millis()).unwrap_or(u64::MAX);
        let left_ms = left_ms.saturating_sub(self.elapsed_ms).saturating_sub(margin_ms);
        self.now_ms.saturating_add(left_ms)
    }
}
