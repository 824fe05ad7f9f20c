//! Places at which a writer may die: the torture test has it die at each of them. Without the feature, nothing.

/// A place between two steps of a writer.
#[inline]
pub(crate) fn step() {
    #[cfg(feature = "steps")]
    counted::pass();
}

#[cfg(feature = "steps")]
pub(crate) mod counted {
    use std::sync::atomic::{AtomicU64, Ordering};

    static LEFT: AtomicU64 = AtomicU64::new(u64::MAX);

    /// Has the process killed when it passes so many more places.
    pub fn die_after(steps: u64) {
        LEFT.store(steps, Ordering::Relaxed);
    }

    pub(super) fn pass() {
        if LEFT.fetch_sub(1, Ordering::Relaxed) == 0 {
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
    }
}
