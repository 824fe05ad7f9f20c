//! Which entry goes when another needs its place: S3-FIFO (Yang et al., SOSP 2023).
//!
//! New names wait in a small queue; only those that were asked for again get into the main one. A flood of names that are asked
//! for once passes through the small queue and leaves the others alone. Names that went from the small queue are remembered for a while,
//! by a few bits each, and come back into the main one.

use crate::alloc::Spot;
use crate::fifo::{Fifo, SEGMENT};

/// An entry counts while its spot does. One that is mistaken for another, since a spot tells only sixteen uses of a place apart, changes no
/// more than who has to go.
#[derive(Debug)]
pub(crate) struct Queues {
    small: Fifo,
    main: Fifo,
    /// Fingerprints of names that went from the small queue, each at a place of its own hash: the next one there takes it over.
    ghost: Vec<u16>,
}

/// Entries looked at before one is given up come what may: bounds the work of a put.
const LOOKS: usize = 64;
/// Entries that are gone which a queue's first segment may hold, where they are left.
const FIRST: usize = SEGMENT;

impl Queues {
    pub fn new(capacity: usize) -> Self {
        let ghost = vec![0; capacity.next_power_of_two()];
        Self { small: Fifo::default(), main: Fifo::default(), ghost }
    }

    fn ghost_of(&mut self, hash: u64) -> (Option<&mut u16>, u16) {
        let at = hash as usize & (self.ghost.len() - 1);
        (self.ghost.get_mut(at), (hash >> 48) as u16 | 1)
    }

    /// Takes up an entry: `known` names and those that went not long ago into the main queue.
    pub fn insert(&mut self, entry: Spot, hash: u64, known: bool) {
        let (ghost, fingerprint) = self.ghost_of(hash);
        let back = ghost.is_some_and(|ghost| *ghost == fingerprint && std::mem::take(ghost) != 0);
        if known || back {
            self.main.push_back(entry);
        } else {
            self.small.push_back(entry);
        }
    }

    /// Remembers a name that had to go.
    pub fn gone(&mut self, hash: u64) {
        if let (Some(ghost), fingerprint) = self.ghost_of(hash) {
            *ghost = fingerprint;
        }
    }

    pub fn len(&self) -> usize {
        self.small.len() + self.main.len()
    }

    /// Forgets some of the entries that are gone, when there are more than half as many as live ones. Over all puts that is a look at
    /// some three entries for each, and never more than a segment of each queue at once.
    pub fn tidy(&mut self, live: usize, is_live: impl Fn(Spot) -> bool) {
        if self.len() > live + live / 2 + 2 * FIRST {
            self.small.tidy(&is_live);
            self.main.tidy(&is_live);
        }
    }

    /// The entry to give up. `uses` says how often it was asked for since last looked at (and forgets one of them), or `None` when
    /// it is gone.
    pub fn victim(&mut self, mut uses: impl FnMut(Spot) -> Option<u8>) -> Option<Spot> {
        let mut looks = 0;
        loop {
            let from_small = self.small.len() * 10 > self.len() || self.main.is_empty();
            let queue = if from_small { &mut self.small } else { &mut self.main };
            let entry = queue.pop_front()?;
            let Some(used) = uses(entry) else { continue };
            looks += 1;
            if used == 0 || looks > LOOKS {
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
    fn entries_that_are_gone_are_never_many_more_than_half_as_many_as_live_ones() {
        let (mut queues, live) = (Queues::new(8192), 8192);
        for n in 0..20 * live as u32 {
            // The last one of each place counts.
            queues.insert(Spot(n), u64::from(n), n % 3 > 0);
            queues.tidy(live, |spot| spot.0 + live as u32 > n);
            let most = live + live / 2 + 2 * FIRST + 8192;
            assert!(queues.len() <= most, "{} entries after {n}", queues.len());
        }
    }
}
