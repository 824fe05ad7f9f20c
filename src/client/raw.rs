//! The current mapping, exchanged under the eyes of threads that read it; and one question to the kernel.
#![allow(unsafe_code)]

use crossbeam_epoch::{self as epoch, Atomic, Owned};
use hither_table::Reader;
use std::sync::atomic::Ordering;

/// A reader that may be exchanged at any time: the old one is unmapped when the last thread has left it.
#[derive(Debug)]
pub(crate) struct Current(Atomic<Reader>);

impl Current {
    pub fn new(reader: Reader) -> Current {
        Current(Atomic::new(reader))
    }

    /// Lets `look` use the reader of this moment. Waits for nobody.
    pub fn with<T>(&self, look: impl FnOnce(&Reader) -> T) -> T {
        let guard = epoch::pin();
        let current = self.0.load(Ordering::Acquire, &guard);
        // SAFETY:
        // - never null: `new` stores a reader, `replace` only exchanges it for another;
        // - alive: `replace` defers dropping until every thread that was pinned has unpinned, and `guard` is held until `look`
        //   has returned; `drop` has the only reference to `self`.
        look(unsafe { current.deref() })
    }

    pub fn replace(&self, reader: Reader) {
        let guard = epoch::pin();
        let old = self.0.swap(Owned::new(reader), Ordering::AcqRel, &guard);
        // SAFETY: `old` has just been taken out, so no thread that pins from now on can see it, and nobody else took it out.
        unsafe { guard.defer_destroy(old) };
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let last = std::mem::replace(&mut self.0, Atomic::null());
        // SAFETY: `self` is borrowed mutably, so no other thread reads; the pointer was never null and nobody else owns it.
        drop(unsafe { last.into_owned() });
    }
}

/// Nanoseconds of `CLOCK_BOOTTIME`.
pub(crate) fn now() -> hither_table::Monotonic {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the result; the clock exists on every Linux that can run this.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    hither_table::Monotonic(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Whether the program runs with more rights than who started it: then the environment is not to be trusted.
pub(crate) fn is_secure() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
