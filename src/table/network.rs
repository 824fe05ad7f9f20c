//! The network namespace of a thread. The table's answers are valid in the daemon's namespace;
//! another one may have other servers.
//!
//! A namespace is known by the inode number of `/proc/thread-self/ns/net`. A thread may change its
//! namespace, and no event reports that, so a lookup has to ask the kernel. That takes as long as
//! about twenty lookups, so it is rationed: a process asks at most [`LOOKS_MAX`] times in each
//! [`WINDOW`]. So a process with few lookups asks at each of them and notices a change immediately;
//! a busy one notices it when the window ends.

use crate::time::Monotonic;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The link that contains the number.
pub const PATH: &core::ffi::CStr = c"/proc/thread-self/ns/net";

/// Questions to the kernel in one window of time.
pub const LOOKS_MAX: u64 = 16;
/// The length of a window, as a power of two of nanoseconds: 134 ms.
pub const WINDOW: u32 = 27;
/// Bits of a window's number.
const WINDOW_BITS: u32 = 26;
const COUNT_SHIFT: u32 = 32 + WINDOW_BITS;
/// The process was seen in two namespaces, so from then on each lookup asks.
const SEVERAL: u64 = 1 << 63;

/// A process's memory of its namespace. All zeros mean that nothing is remembered yet.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Network {
    /// From the lowest bit on: the namespace last seen (32 bits), the window's number (26), the
    /// questions in it (5), [`SEVERAL`].
    seen: AtomicU64,
}

impl Network {
    /// A value that remembers nothing yet.
    #[must_use]
    pub const fn new() -> Network {
        Network { seen: AtomicU64::new(0) }
    }

    /// The number of this thread's namespace at `now`: remembered, or by `look`, which returns 0 if
    /// it cannot find out.
    pub fn of_thread(&self, now: Monotonic, look: impl FnOnce() -> u32) -> u32 {
        let seen = self.seen.load(Relaxed);
        let last = seen as u32;
        let window = (now.0 >> WINDOW) & ((1 << WINDOW_BITS) - 1);
        let count = if (seen >> 32) & ((1 << WINDOW_BITS) - 1) == window {
            (seen & !SEVERAL) >> COUNT_SHIFT
        } else {
            0
        };
        if last != 0 && seen & SEVERAL == 0 && count >= LOOKS_MAX {
            return last;
        }
        let here = look();
        if last != 0 && here != last {
            self.seen.fetch_or(SEVERAL, Relaxed);
        } else {
            let next =
                seen & SEVERAL | (count + 1).min(LOOKS_MAX) << COUNT_SHIFT | window << 32 | u64::from(here);
            // If another thread was faster it has stored the same number, or has set `SEVERAL`.
            let _ = self.seen.compare_exchange(seen, next, Relaxed, Relaxed);
        }
        here
    }
}

/// The number in the link's text, such as `net:[4026531840]`; 0 if it has another form.
#[must_use]
pub fn number(link: &[u8]) -> u32 {
    let digits = link.strip_prefix(b"net:[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or_default();
    let value = digits.iter().try_fold(0_u32, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u32::from(digit)) }
    });
    value.unwrap_or(0)
}

/// The number of this thread's namespace; 0 if it cannot be found out.
#[cfg(feature = "std")]
#[must_use]
pub fn here() -> u32 {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::OsStr::from_bytes(PATH.to_bytes());
    std::fs::read_link(path).map_or(0, |link| number(link.as_os_str().as_bytes()))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_number_of_a_network_namespace_is_read_and_other_text_gives_zero() {
        assert_eq!(number(b"net:[4026531840]"), 4_026_531_840);
        for odd in
            ["", "net:[]", "net:[4026531840", "mnt:[4026531840]", "net:[42949672960]", "net:[1x]", "net:[-1]"]
        {
            assert_eq!(number(odd.as_bytes()), 0, "{odd}");
        }
        assert!(cfg!(miri) || here() != 0, "tests have /proc");
    }

    #[test]
    fn questions_are_rationed_and_a_change_is_noticed_in_the_next_window() {
        let network = Network::new();
        let looks = Cell::new(0);
        let at = |ms: u64, truth: u32| {
            let look = || {
                looks.set(looks.get() + 1);
                truth
            };
            network.of_thread(Monotonic::from_ms(ms), look)
        };
        // A busy program: some questions, then none until the window ends.
        assert!((0..1000).all(|_| at(1000, 7) == 7));
        assert_eq!(looks.get(), 16);
        assert_eq!(at(1000, 8), 7, "too soon to be seen");
        assert_eq!(at(1080, 8), 8, "seen in the next window");
        // From then on each lookup asks, since threads may be in different namespaces.
        assert!((0..100).all(|n| at(1080, n % 2 + 7) == n % 2 + 7));
        assert_eq!(looks.get(), 117);
    }

    #[test]
    fn a_thread_that_changes_its_namespace_between_two_lookups_is_noticed() {
        let network = Network::new();
        assert_eq!(network.of_thread(Monotonic(5), || 7), 7);
        assert_eq!(network.of_thread(Monotonic(6), || 8), 8);
        assert_eq!(network.of_thread(Monotonic(7), || 7), 7);
        let blind = Network::new();
        assert!((0..10).all(|_| blind.of_thread(Monotonic(5), || 0) == 0));
        assert_eq!(blind.of_thread(Monotonic(5), || 7), 7, "an unknown namespace is not remembered");
    }
}
