//! Counts the labels and pointers that were followed, for tests: time says little on a busy
//! machine.

use core::sync::atomic::{AtomicU64, Ordering};

static STEPS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn count(steps: u32) {
    STEPS.fetch_add(u64::from(steps), Ordering::Relaxed);
}

/// The labels and compression pointers of messages that all threads have followed so far.
#[must_use]
pub fn steps() -> u64 {
    STEPS.load(Ordering::Relaxed)
}
