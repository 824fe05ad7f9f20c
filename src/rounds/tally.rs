//! Tallies: a count for each source, and the source with the highest count. Every operation takes
//! constant time.
//!
//! The number of sources is fixed, so a flood of clients costs no memory; clients that map to one
//! source share its count.

use crate::Source;

/// Counts by source. Links are the source's index plus one, so that zeroed memory is an empty tally.
#[derive(Debug)]
pub struct Tally {
    counts: Vec<u32>,
    /// Sources with the same count, as a doubly linked list.
    next: Vec<u16>,
    before: Vec<u16>,
    /// The first source of each count.
    first: Vec<u16>,
    most: u32,
    total: usize,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// An empty tally of all sources.
    #[must_use]
    pub fn new() -> Tally {
        let all = Source::NOBODY.place() + 1;
        let places = || vec![0; all];
        Tally { counts: vec![0; all], next: places(), before: places(), first: Vec::new(), most: 0, total: 0 }
    }

    /// The sum of all counts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.total
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The count of one source.
    #[must_use]
    pub fn of(&self, source: Source) -> u32 {
        self.counts.get(source.place()).copied().unwrap_or(0)
    }

    /// The source with the highest count, and that count. Of several sources, the one that reached it
    /// last.
    #[must_use]
    pub fn fullest(&self) -> Option<(Source, u32)> {
        let first = self.first.get(self.most as usize).copied()?.checked_sub(1)?;
        Some((Source::at(first), self.most))
    }

    /// The source to evict from to add one to `source`: one that still has a higher count than
    /// `source` afterwards.
    #[must_use]
    pub fn ahead_of(&self, source: Source) -> Option<Source> {
        let (fullest, most) = self.fullest()?;
        (fullest != source && most > self.of(source) + 1).then_some(fullest)
    }

    /// Adds one to a source's count.
    pub fn add(&mut self, source: Source) {
        let count = self.of(source);
        self.move_to(source, count, count + 1);
        self.most = self.most.max(count + 1);
        self.total += 1;
    }

    /// Subtracts one from a source's count, unless it is 0.
    pub fn take(&mut self, source: Source) {
        let count = self.of(source);
        if count == 0 {
            return;
        }
        self.move_to(source, count, count - 1);
        self.total -= 1;
        if self.first.get(self.most as usize).is_none_or(|first| *first == 0) {
            // Only one source had the highest count, and it has one less.
            self.most -= 1;
        }
    }

    fn move_to(&mut self, source: Source, from: u32, to: u32) {
        let place = source.place();
        let link = source.number() + 1;
        if from > 0 {
            let (before, next) = (self.before[place], self.next[place]);
            match before.checked_sub(1) {
                Some(before) => self.next[usize::from(before)] = next,
                None => self.first[from as usize] = next,
            }
            if let Some(next) = next.checked_sub(1) {
                self.before[usize::from(next)] = before;
            }
        }
        self.counts[place] = to;
        if to > 0 {
            if self.first.len() <= to as usize {
                self.first.resize(to as usize + 1, 0);
            }
            let next = std::mem::replace(&mut self.first[to as usize], link);
            (self.before[place], self.next[place]) = (0, next);
            if let Some(next) = next.checked_sub(1) {
                self.before[usize::from(next)] = link;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_tally_counts_each_source_and_knows_the_fullest(steps in prop::collection::vec((any::<bool>(), 0..6u64), 0..400)) {
            let (mut tally, mut counts) = (Tally::new(), BTreeMap::<u16, u32>::new());
            for (more, of) in steps {
                let source = Source::of(of);
                let count = counts.entry(source.number()).or_default();
                if more {
                    tally.add(source);
                    *count += 1;
                } else {
                    tally.take(source);
                    *count = count.saturating_sub(1);
                }
                let most = counts.values().copied().max().unwrap_or(0);
                prop_assert_eq!(tally.fullest().map_or(0, |(_, most)| most), most);
                if let Some((source, most)) = tally.fullest() {
                    prop_assert_eq!(counts.get(&source.number()), Some(&most));
                }
                prop_assert_eq!(tally.len(), counts.values().sum::<u32>() as usize);
                for (number, count) in &counts {
                    prop_assert_eq!(tally.of(Source::at(*number)), *count);
                }
            }
        }
    }
}
