//! Points between two stores of the writer, at each of which the torture test kills it. Without the
//! feature `steps` they are empty.

/// A point at which the writer may die.
#[inline]
pub(crate) fn step() {
    #[cfg(feature = "steps")]
    counted::pass();
}

#[cfg(feature = "steps")]
pub(crate) mod counted {
    use std::sync::atomic::{AtomicU64, Ordering};

    static LEFT: AtomicU64 = AtomicU64::new(u64::MAX);

    /// Kills the process when it has passed `steps` more points.
    pub fn die_after(steps: u64) {
        LEFT.store(steps, Ordering::Relaxed);
    }

    pub(super) fn pass() {
        if LEFT.fetch_sub(1, Ordering::Relaxed) == 0 {
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
    }
}
