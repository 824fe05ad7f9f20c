//! Waits for a change of one word of the table, and wakes waiters, by futex(2). Works on read-only
//! mappings too.
#![allow(unsafe_code)]

use crate::sync::AtomicU64;
use core::time::Duration;

/// The lower half of a little-endian word, which the kernel compares.
fn half(word: &AtomicU64) -> *const u32 {
    word.as_ptr().cast_const().cast::<u32>()
}

/// Waits until the word's waiters are woken, its lower half is no longer `seen`, or `timeout` has
/// passed. May return early.
pub(crate) fn wait(word: &AtomicU64, seen: u32, timeout: Duration) {
    wait_at(half(word), seen, timeout);
}

/// [`wait`] at an address that this process need not be able to load from. Returns at once if there
/// is no memory.
pub(crate) fn wait_at(word: *const u32, seen: u32, timeout: Duration) {
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    };
    // SAFETY:
    // - only the kernel loads from the address, and it returns EFAULT where nothing is mapped;
    // - `time` outlives the call; FUTEX_WAIT looks at no further argument. Every outcome (woken,
    //   changed, timed out, interrupted, EFAULT) means the same to the caller: look again.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, seen, &raw const time) };
}

#[cfg(feature = "writer")]
/// Wakes all waiters of the word, in any process.
pub(crate) fn wake(word: &AtomicU64) {
    wake_at(half(word), libc::c_int::MAX);
}

#[cfg(feature = "writer")]
/// Wakes at most `most` waiters of the word, longest waiting first; returns their number.
pub(crate) fn wake_some(word: &AtomicU64, most: usize) -> usize {
    wake_at(half(word), libc::c_int::try_from(most).unwrap_or(libc::c_int::MAX))
}

#[cfg(feature = "writer")]
/// [`wake_some`] at an address that this process need not be able to load from.
pub(crate) fn wake_at(word: *const u32, most: libc::c_int) -> usize {
    // SAFETY: FUTEX_WAKE does not load from the address; the kernel looks up its page, and returns
    // EFAULT if there is none.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, most) };
    usize::try_from(woken).unwrap_or(0)
}

#[cfg(feature = "writer")]
/// Moves all waiters of the word to another word, without waking them; `false` if the kernel
/// refuses.
pub(crate) fn move_all(word: &AtomicU64, to: &AtomicU64) -> bool {
    let (none, all) = (0 as libc::c_int, libc::c_int::MAX as libc::c_long);
    // SAFETY: the addresses are those of live atomics; FUTEX_REQUEUE does not load from them. Its
    // fourth argument is how many to move.
    unsafe { libc::syscall(libc::SYS_futex, half(word), libc::FUTEX_REQUEUE, none, all, half(to)) >= 0 }
}
