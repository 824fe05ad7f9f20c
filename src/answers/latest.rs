//! A value that one thread replaces while others read it.
#![allow(unsafe_code)]

use crossbeam_epoch::{self as epoch, Atomic, Owned};
use std::fmt;
use std::sync::atomic::Ordering;

/// The latest of a kind. Reading neither waits nor allocates; a value that was replaced is dropped when nobody reads it any more.
pub struct Latest<T: Send + Sync + 'static>(Atomic<T>);

impl<T: Send + Sync> fmt::Debug for Latest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latest").finish_non_exhaustive()
    }
}

impl<T: Send + Sync> Latest<T> {
    /// The first one.
    #[must_use]
    pub fn new(value: T) -> Latest<T> {
        Latest(Atomic::new(value))
    }

    /// Puts another in its place.
    pub fn set(&self, value: T) {
        let guard = &epoch::pin();
        let old = self.0.swap(Owned::new(value), Ordering::AcqRel, guard);
        // SAFETY: nothing leads to the old value any more, and a swap gives each value to one caller alone.
        unsafe { guard.defer_destroy(old) };
    }

    /// Gives the value to `take`.
    pub fn with<R>(&self, take: impl FnOnce(&T) -> R) -> R {
        let guard = &epoch::pin();
        // SAFETY: never null; a value that was there when the guard was is dropped only after the guard, or with `self`.
        take(unsafe { self.0.load(Ordering::Acquire, guard).deref() })
    }
}

impl<T: Send + Sync> Drop for Latest<T> {
    fn drop(&mut self) {
        // SAFETY: nobody else has `self` any more, nor the value, which is there.
        drop(unsafe { std::mem::replace(&mut self.0, Atomic::null()).into_owned() });
    }
}
