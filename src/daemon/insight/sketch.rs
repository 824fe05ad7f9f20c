//! Counts of names in bounded memory: a few hundred counters, of which the smallest one gives way to a
//! new name (Space-Saving; Metwally, Agrawal, El Abbadi, 2005).
//!
//! A name that makes up more than one query in [`NAMES_MAX`] always has a counter. A count is never too
//! low, and at most its error too high.

use std::collections::HashMap;
use std::sync::Arc;

/// Names that are counted.
pub(super) const NAMES_MAX: usize = 512;
/// Units that are counted for each name; further ones are counted together.
const UNITS_OF_NAME_MAX: usize = 8;

/// The counts of one name.
#[derive(Clone, Debug, Default)]
pub(super) struct Count {
    pub queries: u64,
    pub error: u64,
    pub misses: u64,
    pub units: Vec<(Arc<str>, u64)>,
}

/// Counts of names, which are keyed by their wire form in lower case.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    counts: HashMap<Box<[u8]>, Count>,
}

impl Sketch {
    /// Changes the count of a name.
    pub fn count(&mut self, name: &[u8], change: impl FnOnce(&mut Count)) {
        if let Some(count) = self.counts.get_mut(name) {
            return change(count);
        }
        let mut count = self.replace_smallest();
        change(&mut count);
        self.counts.insert(name.into(), count);
    }

    /// The count of a name that is new: if all counters are taken, that of the name asked least.
    fn replace_smallest(&mut self) -> Count {
        if self.counts.len() < NAMES_MAX {
            return Count::default();
        }
        let smallest = self.counts.iter().min_by_key(|(_, count)| count.queries);
        let Some((name, queries)) = smallest.map(|(name, count)| (name.clone(), count.queries)) else {
            return Count::default();
        };
        self.counts.remove(&name);
        Count { queries, error: queries, ..Count::default() }
    }

    /// The count that a name without a counter has at most.
    pub fn floor(&self) -> u64 {
        let smallest = || self.all().map(|(_, count)| count.queries).min().unwrap_or(0);
        if self.counts.len() < NAMES_MAX { 0 } else { smallest() }
    }

    pub fn get(&self, name: &[u8]) -> Option<&Count> {
        self.counts.get(name)
    }

    pub fn all(&self) -> impl Iterator<Item = (&[u8], &Count)> {
        self.counts.iter().map(|(name, count)| (&**name, count))
    }
}

impl Count {
    /// Counts a query that needed a round.
    pub fn add_miss(&mut self, unit: &Arc<str>) {
        self.misses += 1;
        add_unit(&mut self.units, unit, 1, UNITS_OF_NAME_MAX);
    }

    /// Adds the counts of another time.
    pub fn join(&mut self, other: &Count) {
        self.queries += other.queries;
        self.error += other.error;
        self.misses += other.misses;
        other
            .units
            .iter()
            .for_each(|(unit, misses)| add_unit(&mut self.units, unit, *misses, UNITS_OF_NAME_MAX));
    }
}

/// Counts queries of a unit, among at most `most` units. Those of further units count as unknown.
pub(super) fn add_unit(units: &mut Vec<(Arc<str>, u64)>, unit: &Arc<str>, misses: u64, most: usize) {
    let is_full = units.len() >= most && !units.iter().any(|(known, _)| known == unit);
    let unit = if is_full { &Arc::from("") } else { unit };
    match units.iter_mut().find(|(known, _)| known == unit) {
        Some((_, count)) => *count += misses,
        None => units.push((Arc::clone(unit), misses)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_asked_often_keep_their_counters_among_many_others() {
        let mut sketch = Sketch::default();
        for n in 0..200_000_u32 {
            sketch.count(&n.to_ne_bytes(), |count| count.queries += 1);
            if n % 100 == 0 {
                sketch.count(b"often", |count| count.queries += 1);
                sketch.count(b"twice as often", |count| count.queries += 2);
            }
        }
        assert_eq!(sketch.all().count(), NAMES_MAX);
        for (name, asked) in [(&b"often"[..], 2000), (b"twice as often", 4000)] {
            let count = sketch.get(name).expect("it is asked often");
            let least = count.queries - count.error;
            assert!(count.queries >= asked && least <= asked, "{count:?}");
        }
        assert!(sketch.floor() > 0 && sketch.floor() <= 204_000 / NAMES_MAX as u64 + 1);
    }

    #[test]
    fn units_of_a_name_are_bounded_and_further_ones_are_counted_together() {
        let mut count = Count::default();
        for n in 0..100 {
            count.add_miss(&Arc::from(format!("u{n}.service")));
        }
        let rest = count.units.iter().find(|(unit, _)| unit.is_empty()).map(|(_, misses)| *misses);
        assert_eq!((count.units.len(), rest, count.misses), (UNITS_OF_NAME_MAX + 1, Some(92), 100));
    }
}
