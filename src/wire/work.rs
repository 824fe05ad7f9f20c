//! How much work names have been in this process, for tests: time says little on a busy machine.

use core::sync::atomic::{AtomicU64, Ordering};

static STEPS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn count(steps: u32) {
    STEPS.fetch_add(u64::from(steps), Ordering::Relaxed);
}

/// Labels and compression pointers of messages that have been followed so far, by all threads.
#[must_use]
pub fn steps() -> u64 {
    STEPS.load(Ordering::Relaxed)
}
