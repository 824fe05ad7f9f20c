//! A value that one thread replaces while others read it, such as the table that a client has mapped or
//! the settings of the daemon's hit workers.
//!
//! A reader neither waits nor allocates. A replaced value is dropped when the last thread that
//! could be reading it has left it (epoch-based reclamation, by crossbeam-epoch).
#![allow(unsafe_code)]

use crossbeam_epoch::{self as epoch, Atomic, Owned};
use std::fmt;
use std::sync::atomic::Ordering;

/// Holds the latest value of several that replace each other.
pub struct Latest<T: Send + Sync + 'static>(Atomic<T>);

impl<T: Send + Sync> Latest<T> {
    /// A holder whose first value is `value`.
    #[must_use]
    pub fn new(value: T) -> Latest<T> {
        Latest(Atomic::new(value))
    }

    /// Replaces the value. Threads that read the old value at this moment go on with it.
    pub fn set(&self, value: T) {
        let guard = &epoch::pin();
        let old = self.0.swap(Owned::new(value), Ordering::AcqRel, guard);
        // SAFETY:
        // - unreachable: `old` has just been taken out, so no thread that pins from now on can load it;
        // - once: the swap gives each value to one caller only.
        unsafe { guard.defer_destroy(old) };
    }

    /// Calls `read` with the latest value.
    pub fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        let guard = &epoch::pin();
        let current = self.0.load(Ordering::Acquire, guard);
        // SAFETY:
        // - never null: `new` stores a value, and `set` only exchanges it for another;
        // - alive: `set` defers dropping until every thread that was pinned has unpinned, and `guard` is held
        //   until `read` has returned; `drop` has the only reference to `self`.
        read(unsafe { current.deref() })
    }
}

impl<T: Send + Sync> Drop for Latest<T> {
    fn drop(&mut self) {
        let last = std::mem::replace(&mut self.0, Atomic::null());
        // SAFETY: `self` is borrowed mutably, so no other thread reads; the pointer is not null, and
        // nothing else owns its value.
        drop(unsafe { last.into_owned() });
    }
}

impl<T: Send + Sync> fmt::Debug for Latest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    /// Counts how many of its kind are alive.
    struct Counted(u64, Arc<AtomicUsize>);

    impl Counted {
        fn new(value: u64, alive: &Arc<AtomicUsize>) -> Counted {
            alive.fetch_add(1, Ordering::Relaxed);
            Counted(value, Arc::clone(alive))
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0 = u64::MAX;
            self.1.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn readers_see_live_values_that_never_go_back() {
        let count = if cfg!(miri) { 50 } else { 20_000 };
        let alive = Arc::new(AtomicUsize::new(0));
        let latest = Latest::new(Counted::new(0, &alive));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let read = || {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let value = latest.with(|value| value.0);
                    assert!((last..=count).contains(&value), "{value} after {last}");
                    last = value;
                }
            };
            let readers = [scope.spawn(read), scope.spawn(read)];
            (1..=count).for_each(|value| latest.set(Counted::new(value, &alive)));
            done.store(true, Ordering::Relaxed);
            readers.into_iter().for_each(|reader| reader.join().expect("no reader fails"));
        });
        assert_eq!(latest.with(|value| value.0), count);
    }

    #[test]
    fn the_last_value_is_dropped_with_its_holder() {
        let alive = Arc::new(AtomicUsize::new(0));
        drop(Latest::new(Counted::new(7, &alive)));
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    }
}
