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
    wait_at(half(word), seen, timeout);
}

/// The same at an address that is only the kernel's to look at. Where it cannot, nobody waits.
pub(crate) fn wait_at(word: *const u32, seen: u32, timeout: Duration) {
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    };
    // SAFETY:
    // - the kernel loads four octets from the address, and tells where there are none (EFAULT): nothing here does;
    // - `time` outlives the call; FUTEX_WAIT looks at no further argument.
    // Every outcome (woken, changed, timed out, interrupted, not there) means the same to the caller: look again.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, seen, &raw const time) };
}

#[cfg(feature = "writer")]
/// Wakes everyone who waits for the word, in any process.
pub(crate) fn wake(word: &AtomicU64) {
    wake_at(half(word), libc::c_int::MAX);
}

#[cfg(feature = "writer")]
/// Wakes so many of those who wait for the word, who came first before others; how many that were.
pub(crate) fn wake_some(word: &AtomicU64, most: usize) -> usize {
    wake_at(half(word), libc::c_int::try_from(most).unwrap_or(libc::c_int::MAX))
}

#[cfg(feature = "writer")]
/// The same at an address that is only the kernel's to look at. Where it cannot, nobody waits there either.
pub(crate) fn wake_at(word: *const u32, most: libc::c_int) -> usize {
    // SAFETY: FUTEX_WAKE does not load from the address; the kernel finds the page behind it, and tells where there is none.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, most) };
    usize::try_from(woken).unwrap_or(0)
}

#[cfg(feature = "writer")]
/// Has everyone who waits for the word wait for another one, without waking any; `false`: the kernel does not.
pub(crate) fn move_all(word: &AtomicU64, to: &AtomicU64) -> bool {
    let (none, all) = (0 as libc::c_int, libc::c_int::MAX as libc::c_long);
    // SAFETY: the addresses are those of live atomics; FUTEX_REQUEUE does not load from them. Its fourth argument is how many to move.
    unsafe { libc::syscall(libc::SYS_futex, half(word), libc::FUTEX_REQUEUE, none, all, half(to)) >= 0 }
}
