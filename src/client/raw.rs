//! Two questions to the kernel.
#![allow(unsafe_code)]

use hither_table::Monotonic;

/// The time by the table's clock: nanoseconds of `CLOCK_BOOTTIME`, which runs on while the host sleeps.
#[must_use]
pub fn now() -> Monotonic {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the result; every Linux that can run this has the clock.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Monotonic(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Whether the program has more rights than the user who started it, so that its environment is not to be
/// trusted (`AT_SECURE`, see getauxval(3)).
pub(crate) fn is_secure() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
