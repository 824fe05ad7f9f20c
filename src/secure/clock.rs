//! The time by which certificates are judged, for hosts whose clock is wrong at boot.

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The date of these sources (2026-11-29), in seconds since 1970. It counts where the build has no
/// `SOURCE_DATE_EPOCH`, so that two builds of the same sources are equal.
const RELEASED_S: u64 = 1_795_910_400;

/// The date of the build in seconds since 1970: `SOURCE_DATE_EPOCH` of the build, else the date of the
/// sources.
pub const BUILT_S: u64 = match option_env!("SOURCE_DATE_EPOCH") {
    Some(text) => decimal(text.as_bytes(), RELEASED_S),
    None => RELEASED_S,
};

/// A decimal number, or `otherwise` where `digits` are none.
const fn decimal(digits: &[u8], otherwise: u64) -> u64 {
    let (mut value, mut at) = (0_u64, 0);
    while at < digits.len() {
        if !digits[at].is_ascii_digit() || at > 12 {
            return otherwise;
        }
        value = value * 10 + (digits[at] - b'0') as u64;
        at += 1;
    }
    if at == 0 { otherwise } else { value }
}

/// The latest of three times: the system's clock, the date of the build, and the newest time that the
/// host has stored. A clock that is behind after a boot without a battery thus refuses no certificate as
/// not yet valid. The clock does not read the system's: the caller sets it.
#[derive(Debug)]
pub struct Clock {
    system_s: AtomicU64,
    floor_s: AtomicU64,
}

impl Clock {
    /// A clock for a host whose newest stored time is `stored_s`, in seconds since 1970; 0 if it has none.
    #[must_use]
    pub fn new(stored_s: u64) -> Clock {
        Clock { system_s: AtomicU64::new(0), floor_s: AtomicU64::new(stored_s.max(BUILT_S)) }
    }

    /// Sets the time of the system's clock, in seconds since 1970. It may go back.
    pub fn set_system(&self, system_s: u64) {
        self.system_s.store(system_s, Ordering::Relaxed);
    }

    /// Notes a time that the host has stored, in seconds since 1970. An older one than is known changes
    /// nothing.
    pub fn note_stored(&self, stored_s: u64) {
        self.floor_s.fetch_max(stored_s, Ordering::Relaxed);
    }

    /// The time by which certificates are judged, in seconds since 1970.
    #[must_use]
    pub fn now_s(&self) -> u64 {
        self.system_s.load(Ordering::Relaxed).max(self.floor_s.load(Ordering::Relaxed))
    }

    /// Whether the system's clock is behind the date of the build or a stored time, so that it is wrong.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.system_s.load(Ordering::Relaxed) < self.floor_s.load(Ordering::Relaxed)
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.now_s())))
    }
}

/// A time in seconds since 1970, shown as date and time of day in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Date(pub u64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
    }
}

/// Year, month and day of a number of days since 1970. Years begin in March, so that the leap day is the
/// last of its year; an era is 400 years.
fn civil(days: u64) -> (u64, u64, u64) {
    let since_era = days + 719_468;
    let (era, day_of_era) = (since_era / 146_097, since_era % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// The seconds since 1970 at the beginning of a day; the opposite of [`civil`].
pub(crate) fn seconds_of_day(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + day.checked_sub(1)?;
    let (era, of_era) = (year / 400, year % 400);
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
    days.checked_sub(719_468)?.checked_mul(86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_three_times_counts() {
        let clock = Clock::new(0);
        assert_eq!(clock.now_s(), BUILT_S, "a clock at 1970");
        assert!(clock.is_behind());
        clock.note_stored(BUILT_S + 50);
        clock.note_stored(BUILT_S + 10);
        assert_eq!(clock.now_s(), BUILT_S + 50);
        clock.set_system(BUILT_S + 100);
        assert_eq!(clock.now_s(), BUILT_S + 100);
        assert!(!clock.is_behind());
        clock.set_system(BUILT_S + 60);
        assert_eq!(clock.now_s(), BUILT_S + 60, "a clock that is corrected may go back");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(Date(0).to_string(), "1970-01-01 00:00 UTC");
        assert_eq!(Date(RELEASED_S).to_string(), "2026-11-29 00:00 UTC");
        assert_eq!(Date(951_782_400).to_string(), "2000-02-29 00:00 UTC");
        assert_eq!(Date(4_107_542_399).to_string(), "2100-02-28 23:59 UTC");
        for days in (0..200_000).step_by(7) {
            let (year, month, day) = civil(days);
            assert_eq!(seconds_of_day(year, month, day), Some(days * 86_400));
        }
    }
}
