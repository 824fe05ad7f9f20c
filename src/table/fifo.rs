//! A queue in segments of a fixed size. It never copies itself to grow, and is compacted one
//! segment at a time.

use crate::alloc::Spot;
use std::collections::VecDeque;

/// Entries of a segment: one page of memory, which takes some microseconds to compact.
pub(crate) const SEGMENT: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Fifo {
    /// The segments; none is empty.
    segments: VecDeque<Vec<Spot>>,
    /// Entries of the first segment that have been removed.
    taken: usize,
    len: usize,
    /// The segment to compact next.
    sweep: usize,
}

impl Fifo {
    /// The number of entries, including invalid ones.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn push_back(&mut self, entry: Spot) {
        self.len += 1;
        match self.segments.back_mut() {
            Some(last) if last.len() < SEGMENT => last.push(entry),
            _ => {
                let mut fresh = Vec::with_capacity(SEGMENT);
                fresh.push(entry);
                self.segments.push_back(fresh);
            }
        }
    }

    pub fn pop_front(&mut self) -> Option<Spot> {
        let first = self.segments.front()?;
        let entry = first.get(self.taken).copied();
        self.taken += 1;
        if self.taken >= first.len() {
            self.taken = 0;
            self.segments.pop_front();
            self.sweep = self.sweep.saturating_sub(1);
        }
        self.len -= usize::from(entry.is_some());
        entry
    }

    /// Compacts one segment: removes invalid entries, and moves valid ones to the segment before if
    /// it has space. The first segment is left to [`Fifo::pop_front`]. Repeated calls compact all
    /// others in turn.
    pub fn tidy(&mut self, is_valid: impl Fn(Spot) -> bool) {
        let at = if (1..self.segments.len()).contains(&self.sweep) { self.sweep } else { 1 };
        self.sweep = at + 1;
        let Some(segment) = self.segments.get_mut(at) else { return };
        let mut stays = std::mem::take(segment);
        let before = stays.len();
        stays.retain(|entry| is_valid(*entry));
        self.len -= before - stays.len();
        if let Some(previous) = self.segments.get_mut(at - 1) {
            let room = SEGMENT - previous.len();
            previous.extend(stays.drain(..room.min(stays.len())));
        }
        match self.segments.get_mut(at) {
            Some(segment) if !stays.is_empty() => *segment = stays,
            _ => {
                self.segments.remove(at);
                self.sweep = at;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn valid_entries_stay_in_order_and_invalid_ones_take_no_memory() {
        let (mut fifo, mut next) = (Fifo::default(), 0);
        for n in 0..20_000 {
            fifo.push_back(Spot(n));
            if n % 3 == 0 {
                next = fifo.pop_front().expect("one of them").0 + 1;
            }
            if n % 100 == 0 {
                fifo.tidy(|spot| spot.0 % 4 == 0);
            }
        }
        for _ in 0..100 {
            fifo.tidy(|spot| spot.0 % 4 == 0);
        }
        let left = fifo.segments.iter().map(Vec::len).sum::<usize>() - fifo.taken;
        assert_eq!(fifo.len(), left);
        assert!(fifo.segments.len() <= fifo.len() / SEGMENT + 3, "{} segments", fifo.segments.len());
        let mut last = None;
        let mut seen = std::collections::BTreeSet::new();
        while let Some(spot) = fifo.pop_front() {
            assert!(last < Some(spot.0));
            last = Some(spot.0);
            seen.insert(spot.0);
        }
        assert!((next..20_000).filter(|n| n % 4 == 0).all(|n| seen.contains(&n)));
        assert!(fifo.is_empty() && fifo.segments.is_empty());
    }
}
