//! The eviction policy: S3-FIFO (Yang et al., SOSP 2023).
//!
//! New names enter a small queue; only those that are used again get into the main queue. So a
//! flood of names that are used once passes through the small queue and evicts no others. Names
//! that were evicted from the small queue are remembered for a while by a fingerprint, and enter
//! the main queue if they return.

use crate::alloc::Spot;
use crate::fifo::{Fifo, SEGMENT};

/// The queues hold [`Spot`]s. A spot may be mistaken for a later record of the same line, since it
/// has only four bits of generation; that only affects which entry is evicted.
#[derive(Debug)]
pub(crate) struct Queues {
    small: Fifo,
    main: Fifo,
    /// Fingerprints of names evicted from the small queue, at indexes from their hash. Another name
    /// with that index overwrites it.
    ghost: Vec<u16>,
}

/// Entries that are considered before one is evicted regardless of its uses. Bounds the work of
/// storing an entry.
const CONSIDERED_MAX: usize = 64;
/// Invalid entries that a queue's first segment may hold, since compaction leaves it alone.
const FIRST_INVALID_MAX: usize = SEGMENT;

impl Queues {
    pub fn new(capacity: usize) -> Self {
        let ghost = vec![0; capacity.next_power_of_two()];
        Self { small: Fifo::default(), main: Fifo::default(), ghost }
    }

    fn ghost_of(&mut self, hash: u64) -> (Option<&mut u16>, u16) {
        let at = hash as usize & (self.ghost.len() - 1);
        (self.ghost.get_mut(at), (hash >> 48) as u16 | 1)
    }

    /// Adds an entry: to the main queue if its name is `known` or was evicted not long ago.
    pub fn insert(&mut self, entry: Spot, hash: u64, known: bool) {
        let (ghost, fingerprint) = self.ghost_of(hash);
        let back = ghost.is_some_and(|ghost| *ghost == fingerprint && std::mem::take(ghost) != 0);
        if known || back {
            self.main.push_back(entry);
        } else {
            self.small.push_back(entry);
        }
    }

    /// Remembers a name that was evicted from the small queue.
    pub fn remember(&mut self, hash: u64) {
        if let (Some(ghost), fingerprint) = self.ghost_of(hash) {
            *ghost = fingerprint;
        }
    }

    pub fn len(&self) -> usize {
        self.small.len() + self.main.len()
    }

    /// Removes some invalid entries if there are more than half as many as live ones. That
    /// considers about three entries for each new one on average, and at most a segment of each
    /// queue at once.
    pub fn tidy(&mut self, live: usize, is_live: impl Fn(Spot) -> bool) {
        if self.len() > live + live / 2 + 2 * FIRST_INVALID_MAX {
            self.small.tidy(&is_live);
            self.main.tidy(&is_live);
        }
    }

    /// The entry to evict. `uses` returns how often an entry was used, and lowers that count by
    /// one; `None` if it is invalid.
    pub fn victim(&mut self, mut uses: impl FnMut(Spot) -> Option<u8>) -> Option<Spot> {
        let mut looks = 0;
        loop {
            let from_small = self.small.len() * 10 > self.len() || self.main.is_empty();
            let queue = if from_small { &mut self.small } else { &mut self.main };
            let entry = queue.pop_front()?;
            let Some(used) = uses(entry) else { continue };
            looks += 1;
            if used == 0 || looks > CONSIDERED_MAX {
                return Some(entry);
            }
            self.main.push_back(entry);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn invalid_entries_are_at_most_about_half_as_many_as_live_ones() {
        let (mut queues, live) = (Queues::new(8192), 8192);
        for n in 0..20 * live as u32 {
            // Only the last one of each line is valid.
            queues.insert(Spot(n), u64::from(n), n % 3 > 0);
            queues.tidy(live, |spot| spot.0 + live as u32 > n);
            let most = live + live / 2 + 2 * FIRST_INVALID_MAX + 8192;
            assert!(queues.len() <= most, "{} entries after {n}", queues.len());
        }
    }
}
