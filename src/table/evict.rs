//! Which entry goes when another needs its place: S3-FIFO (Yang et al., SOSP 2023).
//!
//! New names wait in a small queue; only those that were asked for again get into the main one. A flood of names that are asked
//! for once passes through the small queue and leaves the others alone. Names that went from the small queue are remembered for a while,
//! by a few bits each, and come back into the main one.

use std::collections::VecDeque;

/// An entry as the queues know it: it counts only while its record still has this version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Queued {
    pub line: u32,
    pub version: u64,
}

#[derive(Debug)]
pub(crate) struct Queues {
    small: VecDeque<Queued>,
    main: VecDeque<Queued>,
    /// Fingerprints of names that went from the small queue, each at a place of its own hash: the next one there takes it over.
    ghost: Vec<u16>,
}

/// Entries looked at before one is given up come what may: bounds the work of a put.
const LOOKS: usize = 64;

impl Queues {
    pub fn new(capacity: usize) -> Self {
        let ghost = vec![0; capacity.next_power_of_two()];
        Self { small: VecDeque::new(), main: VecDeque::new(), ghost }
    }

    /// Makes room for entries that are known to come.
    pub fn reserve(&mut self, known: usize) {
        self.main.reserve(known);
    }

    fn ghost_of(&mut self, hash: u64) -> (Option<&mut u16>, u16) {
        let at = hash as usize & (self.ghost.len() - 1);
        (self.ghost.get_mut(at), (hash >> 48) as u16 | 1)
    }

    /// Takes up an entry: `known` names and those that went not long ago into the main queue.
    pub fn insert(&mut self, entry: Queued, hash: u64, known: bool) {
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

    /// Forgets entries that are gone, when they are more than the live ones.
    pub fn tidy(&mut self, live: usize, is_live: impl Fn(&Queued) -> bool) {
        if self.len() > 2 * live + 64 {
            self.small.retain(&is_live);
            self.main.retain(&is_live);
        }
    }

    /// The entry to give up. `uses` says how often it was asked for since last looked at (and forgets one of them), or `None` when
    /// it is gone.
    pub fn victim(&mut self, mut uses: impl FnMut(&Queued) -> Option<u8>) -> Option<Queued> {
        let mut looks = 0;
        loop {
            let from_small = self.small.len() * 10 > self.len() || self.main.is_empty();
            let queue = if from_small { &mut self.small } else { &mut self.main };
            let entry = queue.pop_front()?;
            let Some(used) = uses(&entry) else { continue };
            looks += 1;
            if used == 0 || looks > LOOKS {
                return Some(entry);
            }
            self.main.push_back(entry);
        }
    }
}
