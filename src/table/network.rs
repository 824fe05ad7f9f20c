//! In which network namespace a thread is: what the table says holds in the daemon's, and another may have other servers.
//!
//! A namespace goes by the number of its file, `/proc/thread-self/ns/net`. Each thread has its own and may change it, and nothing tells
//! that it has: one has to look, which costs a system call and so some twenty lookups. So looking is rationed: a process that looks names
//! up all the time looks [`LOOKS`] times in each [`WINDOW`], one that looks names up now and then does each time. Who enters another
//! namespace between two lookups is seen there at once, or, where it was so busy before, when the window is over.

use crate::time::Monotonic;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where the number is read.
pub const PATH: &core::ffi::CStr = c"/proc/thread-self/ns/net";

/// Looks in one window of time.
pub const LOOKS: u64 = 16;
/// Bits of the nanoseconds of a window: an eighth of a second.
pub const WINDOW: u32 = 27;
/// Bits of the number of a window.
const WINDOW_BITS: u32 = 26;
const COUNT_SHIFT: u32 = 32 + WINDOW_BITS;
/// The process has been seen in two namespaces: from then on each lookup looks.
const SEVERAL: u64 = 1 << 63;

/// What a process remembers of it. All zeros: nothing yet.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Network {
    /// The number that was last seen in the lower half, then the window's number, how often was looked in it, and [`SEVERAL`].
    seen: AtomicU64,
}

impl Network {
    /// Nothing is remembered yet.
    #[must_use]
    pub const fn new() -> Network {
        Network { seen: AtomicU64::new(0) }
    }

    /// The number of the namespace of this thread at `now`, by `look` or from memory; 0 where `look` cannot tell.
    pub fn of_thread(&self, now: Monotonic, look: impl FnOnce() -> u32) -> u32 {
        let seen = self.seen.load(Relaxed);
        let last = seen as u32;
        let window = (now.0 >> WINDOW) & ((1 << WINDOW_BITS) - 1);
        let count = if (seen >> 32) & ((1 << WINDOW_BITS) - 1) == window {
            (seen & !SEVERAL) >> COUNT_SHIFT
        } else {
            0
        };
        if last != 0 && seen & SEVERAL == 0 && count >= LOOKS {
            return last;
        }
        let here = look();
        if last != 0 && here != last {
            self.seen.fetch_or(SEVERAL, Relaxed);
        } else {
            let next =
                seen & SEVERAL | (count + 1).min(LOOKS) << COUNT_SHIFT | window << 32 | u64::from(here);
            // Another thread was faster: it has seen the same, or something else and said so.
            let _ = self.seen.compare_exchange(seen, next, Relaxed, Relaxed);
        }
        here
    }
}

/// The number in what the link says: `net:[4026531840]`; 0 if it says something else.
#[must_use]
pub fn number(link: &[u8]) -> u32 {
    let digits = link.strip_prefix(b"net:[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or_default();
    let value = digits.iter().try_fold(0_u32, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u32::from(digit)) }
    });
    value.unwrap_or(0)
}

/// The number of this thread's namespace; 0 if it cannot be told.
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
    fn the_link_is_read_and_nonsense_is_no_number() {
        assert_eq!(number(b"net:[4026531840]"), 4_026_531_840);
        for odd in
            ["", "net:[]", "net:[4026531840", "mnt:[4026531840]", "net:[42949672960]", "net:[1x]", "net:[-1]"]
        {
            assert_eq!(number(odd.as_bytes()), 0, "{odd}");
        }
        assert!(cfg!(miri) || here() != 0, "tests have /proc");
    }

    #[test]
    fn looking_is_rationed_and_a_change_is_seen_within_the_window() {
        let network = Network::new();
        let looks = Cell::new(0);
        let at = |ms: u64, truth: u32| {
            let look = || {
                looks.set(looks.get() + 1);
                truth
            };
            network.of_thread(Monotonic::from_ms(ms), look)
        };
        // A busy program: some looks, then none until the window is over.
        assert!((0..1000).all(|_| at(1000, 7) == 7));
        assert_eq!(looks.get(), 16);
        assert_eq!(at(1000, 8), 7, "too soon to be seen");
        assert_eq!(at(1080, 8), 8, "seen in the next window");
        // From then on each lookup looks: threads may be here and there.
        assert!((0..100).all(|n| at(1080, n % 2 + 7) == n % 2 + 7));
        assert_eq!(looks.get(), 117);
    }

    #[test]
    fn who_enters_another_namespace_between_two_lookups_is_seen_there() {
        let network = Network::new();
        assert_eq!(network.of_thread(Monotonic(5), || 7), 7);
        assert_eq!(network.of_thread(Monotonic(6), || 8), 8);
        assert_eq!(network.of_thread(Monotonic(7), || 7), 7);
        let blind = Network::new();
        assert!((0..10).all(|_| blind.of_thread(Monotonic(5), || 0) == 0));
        assert_eq!(blind.of_thread(Monotonic(5), || 7), 7, "what cannot be told is looked for each time");
    }
}
