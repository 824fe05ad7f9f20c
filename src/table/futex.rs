//! Waiting for a change of one word of the table, also through a read-only mapping.
#![allow(unsafe_code)]

use crate::sync::AtomicU64;
use core::time::Duration;

/// The lower half of a little-endian word, which is what the kernel compares.
fn half(word: &AtomicU64) -> *const u32 {
    word.as_ptr().cast_const().cast::<u32>()
}

/// Waits until someone wakes the word's waiters, its lower half is no longer `seen`, or `timeout` is over.
pub(crate) fn wait(word: &AtomicU64, seen: u32, timeout: Duration) {
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    };
    // SAFETY:
    // - the address is that of a live atomic, four octets of it, aligned to eight; the kernel only loads from it;
    // - `time` outlives the call; FUTEX_WAIT looks at no further argument.
    // Every outcome (woken, changed, timed out, interrupted) means the same to the caller: look again.
    unsafe {
        libc::syscall(libc::SYS_futex, half(word), libc::FUTEX_WAIT, seen, &raw const time);
    }
}

#[cfg(feature = "writer")]
/// Wakes everyone who waits for the word, in any process.
pub(crate) fn wake(word: &AtomicU64) {
    // SAFETY: the address is that of a live atomic; FUTEX_WAKE does not even load from it.
    unsafe {
        libc::syscall(libc::SYS_futex, half(word), libc::FUTEX_WAKE, libc::c_int::MAX);
    }
}
