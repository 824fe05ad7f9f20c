//! The names of a block list that is read again and again. An edition shares the names that it has in
//! common with the one before, so that a list of millions of names is not in memory twice while a new
//! edition replaces the old one.
//!
//! A list is split into parts by hash. Each part has a base, shared with other editions, and an overlay
//! of its own. A part whose overlay has grown large is rebuilt without one, a few parts in each
//! edition.

use crate::Names;
use crate::names::hash;
use hither_wire::name::Name;
use std::sync::Arc;

/// Parts of a list, chosen by the hash of the name.
const PARTS: usize = 16;
/// A part is rebuilt when more than one of this many of its names differ from the base, removed and
/// added names together.
const OVERLAY_SHARE: usize = 8;
/// Parts that are rebuilt in one edition, those that differ most first. A part is in memory twice while
/// it is rebuilt.
const REBUILT_MAX: usize = 3;
/// Whether a part is rebuilt regardless of [`REBUILT_MAX`], since sharing its base would save little:
/// the names that differ are more than three quarters of the base, or more names were removed than kept.
const fn is_mostly_new(differing: usize, kept: usize, base_len: usize) -> bool {
    differing * 4 > base_len * 3 || base_len > kept * 2
}

/// The largest number that a name may have. [`Reading::compare`] relies on it: a name whose number
/// became smaller has 0.
const NUMBER_MAX: u32 = 1;

/// Names with a number of 0 or 1 each. A name that was added with both has 1.
#[derive(Debug, Default)]
pub(crate) struct Layered {
    parts: [Part; PARTS],
}

impl Layered {
    pub fn len(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        !self.parts.iter().any(|part| part.len() > 0)
    }

    /// Octets of memory in use; memory that is shared with another edition counts in each.
    pub fn memory(&self) -> usize {
        self.parts.iter().map(Part::memory).sum()
    }

    /// The number of the name with this wire form, in lower case.
    pub fn get(&self, wire: &[u8]) -> Option<u32> {
        let hash = hash(wire);
        self.parts.get(part_of(hash))?.get(wire, hash)
    }
}

/// The index of the part for a hash, from bits that the hash table of a part does not use.
fn part_of(hash: u64) -> usize {
    hash.to_le_bytes().last().map_or(0, |octet| usize::from(*octet) % PARTS)
}

/// An edition of a list while it is read.
pub(crate) struct Edition {
    parts: [Reading; PARTS],
}

impl Edition {
    /// Starts an edition that shares names with `before`.
    pub fn after(before: Option<&Layered>) -> Edition {
        Edition {
            parts: std::array::from_fn(|at| Reading::after(before.and_then(|before| before.parts.get(at)))),
        }
    }

    /// Adds a name in lower case. `None` when the list is full.
    pub fn add(&mut self, name: &Name, number: u32) -> Option<()> {
        debug_assert!(number <= NUMBER_MAX, "{number} would become 0 where it had a larger one");
        let hash = hash(name.as_wire());
        self.parts.get_mut(part_of(hash))?.add(name, hash, number)
    }

    /// Completes the edition. `None` when the list is full.
    pub fn finish(mut self) -> Option<Layered> {
        let mut differ = Vec::with_capacity(PARTS);
        for (at, part) in self.parts.iter_mut().enumerate() {
            let (names, of) = part.compare()?;
            if names * OVERLAY_SHARE > of {
                differ.push((is_mostly_new(names, part.same, of), names, at));
            }
        }
        differ.sort_unstable();
        let rebuild: Vec<usize> = differ
            .iter()
            .rev()
            .enumerate()
            .filter(|(n, (is_mostly_new, ..))| *is_mostly_new || *n < REBUILT_MAX)
            .map(|(_, (.., at))| *at)
            .collect();
        let mut parts: [Part; PARTS] = Default::default();
        for (at, (slot, part)) in parts.iter_mut().zip(self.parts).enumerate() {
            *slot = part.finish(rebuild.contains(&at))?;
        }
        Some(Layered { parts })
    }
}

/// One part of a list.
#[derive(Debug, Default)]
struct Part {
    /// Names shared with other editions; some may not be names of this edition.
    base: Arc<Names>,
    /// Which names of `base` belong to this edition; `None`: all of them.
    kept: Option<Kept>,
    /// Names that `base` does not have, or has with another number.
    overlay: Names,
}

/// The names of a base that belong to an edition: those whose mark is [`Mark::Same`].
#[derive(Debug)]
struct Kept {
    marks: Marks,
    /// How many names those are.
    len: usize,
}

impl Part {
    fn len(&self) -> usize {
        self.kept.as_ref().map_or(self.base.len(), |kept| kept.len) + self.overlay.len()
    }

    fn memory(&self) -> usize {
        let marks = self.kept.as_ref().map_or(0, |kept| kept.marks.0.len());
        self.base.memory() + self.overlay.memory() + marks
    }

    fn get(&self, wire: &[u8], hash: u64) -> Option<u32> {
        if let Some(number) = self.overlay.get_hashed(wire, hash) {
            return Some(number);
        }
        let slot = self.base.slot_of(wire, hash)?;
        let is_kept = self.kept.as_ref().is_none_or(|kept| kept.marks.get(slot) == Mark::Same);
        is_kept.then(|| self.base.number_at(slot)).flatten()
    }
}

/// Two bits for each slot of the base.
#[derive(Debug)]
struct Marks(Vec<u8>);

/// How a name of the base was read in this edition. If it was read several times, the greatest mark
/// counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Mark {
    /// The name was not read.
    Unread,
    /// The name was read with a smaller number than the base has.
    Smaller,
    /// The name was read with the number that the base has.
    Same,
    /// The name was read with a larger number, which the overlay has.
    Larger,
}

impl Marks {
    fn new(slots: usize) -> Marks {
        Marks(vec![0; slots.div_ceil(4)])
    }

    fn get(&self, slot: usize) -> Mark {
        match self.0.get(slot / 4).map_or(0, |four| four >> (slot % 4 * 2) & 3) {
            0 => Mark::Unread,
            1 => Mark::Smaller,
            2 => Mark::Same,
            _ => Mark::Larger,
        }
    }

    /// Sets the mark of a slot, unless it has a greater one.
    fn raise(&mut self, slot: usize, mark: Mark) {
        if mark > self.get(slot)
            && let Some(four) = self.0.get_mut(slot / 4)
        {
            let shift = slot % 4 * 2;
            *four = *four & !(3 << shift) | (mark as u8) << shift;
        }
    }
}

/// A part while it is read.
struct Reading {
    /// The base of the previous edition, and how its names were read; `None` without a previous edition.
    base: Option<(Arc<Names>, Marks)>,
    /// How many names of the base are unchanged; valid after [`Reading::compare`].
    same: usize,
    overlay: Names,
}

impl Reading {
    fn after(before: Option<&Part>) -> Reading {
        let base = before.map(|before| Arc::clone(&before.base)).filter(|base| !base.is_empty());
        let base = base.map(|base| {
            let marks = Marks::new(base.slots());
            (base, marks)
        });
        Reading { base, same: 0, overlay: Names::default() }
    }

    fn add(&mut self, name: &Name, hash: u64, number: u32) -> Option<()> {
        let wire = name.as_wire();
        if let Some((base, marks)) = &mut self.base
            && let Some(slot) = base.slot_of(wire, hash)
        {
            let known = base.number_at(slot).unwrap_or_default();
            let mark = match number.cmp(&known) {
                std::cmp::Ordering::Less => Mark::Smaller,
                std::cmp::Ordering::Equal => Mark::Same,
                std::cmp::Ordering::Greater => Mark::Larger,
            };
            marks.raise(slot, mark);
            if mark != Mark::Larger {
                return Some(());
            }
        }
        if self.overlay.insert_hashed(wire, hash, number)? < number {
            self.overlay.set(name, number);
        }
        Some(())
    }

    /// Compares the names with the base, after all of them were read. Returns how many differ, and how
    /// many the base has.
    fn compare(&mut self) -> Option<(usize, usize)> {
        let Some((base, marks)) = &self.base else { return Some((0, 0)) };
        for slot in 0..base.slots() {
            match marks.get(slot) {
                Mark::Unread | Mark::Larger => {}
                Mark::Same => self.same += 1,
                // The name no longer has the larger number that the base has.
                Mark::Smaller => add(&mut self.overlay, base.at(slot), 0)?,
            }
        }
        Some((base.len() - self.same + self.overlay.len(), base.len()))
    }

    /// Completes the part: rebuilt without a base, or as an overlay over the base.
    fn finish(mut self, rebuild: bool) -> Option<Part> {
        let base = match self.base.take() {
            Some((base, marks)) if rebuild => {
                for slot in (0..base.slots()).filter(|slot| marks.get(*slot) == Mark::Same) {
                    let number = base.number_at(slot).unwrap_or_default();
                    add(&mut self.overlay, base.at(slot), number)?;
                }
                None
            }
            base => base,
        };
        self.overlay.shrink();
        Some(match base {
            None => Part { base: Arc::new(self.overlay), ..Part::default() },
            Some((base, marks)) => {
                let kept = (self.same < base.len()).then_some(Kept { marks, len: self.same });
                Part { base, kept, overlay: self.overlay }
            }
        })
    }
}

/// Adds the name of a slot, if the slot is in use.
fn add(names: &mut Names, wire: Option<&[u8]>, number: u32) -> Option<()> {
    match wire {
        Some(wire) => names.insert_wire(wire, number).map(drop),
        None => Some(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn name(n: u16) -> Name {
        format!("n{n}.example").parse().expect("a name")
    }

    fn edition(before: Option<&Layered>, says: &[(u16, u32)]) -> Layered {
        let mut edition = Edition::after(before);
        says.iter().for_each(|(n, number)| edition.add(&name(*n), *number).expect("room"));
        edition.finish().expect("room")
    }

    /// How many parts two editions share.
    fn shared(a: &Layered, b: &Layered) -> usize {
        a.parts.iter().zip(&b.parts).filter(|(a, b)| Arc::ptr_eq(&a.base, &b.base)).count()
    }

    fn says(from: u16, to: u16) -> Vec<(u16, u32)> {
        (from..to).map(|n| (n, u32::from(n % 2))).collect()
    }

    #[test]
    fn editions_share_unchanged_names() {
        let first = edition(None, &says(0, 10_000));
        assert!(
            first.parts.iter().all(|part| (400..900).contains(&part.len())),
            "no part is much larger than the others"
        );
        let second = edition(Some(&first), &says(100, 10_100));
        assert_eq!((shared(&first, &second), second.len()), (PARTS, 10_000));
        assert_eq!((second.get(name(99).as_wire()), second.get(name(10_099).as_wire())), (None, Some(1)));
        // Small changes keep the base, however many editions there are.
        let third = edition(Some(&second), &says(0, 10_000));
        let is_plain = |part: &Part| part.kept.is_none() && part.overlay.is_empty();
        assert!(shared(&first, &third) == PARTS && third.parts.iter().all(is_plain));
        // An edition with almost no names in common shares nothing.
        let other = edition(Some(&second), &says(8000, 18_500));
        assert!(shared(&first, &other) == 0 && other.parts.iter().all(is_plain) && other.len() == 10_500);
    }

    #[test]
    fn a_grown_overlay_is_rebuilt_a_few_parts_at_a_time() {
        let mut last = edition(None, &says(0, 10_000));
        for turn in 1..=60 {
            let now = edition(Some(&last), &says(turn * 300, turn * 300 + 10_000));
            assert!(PARTS - shared(&last, &now) <= REBUILT_MAX, "in turn {turn}");
            let held: usize = now.parts.iter().map(|part| part.base.len() + part.overlay.len()).sum();
            assert!(held < 16_000, "{held} names are held for 10000 in turn {turn}");
            last = now;
        }
    }

    #[test]
    fn removed_names_are_freed() {
        let first = edition(None, &says(0, 10_000));
        let second = edition(Some(&first), &says(0, 3000));
        let held: usize = second.parts.iter().map(|part| part.base.len() + part.overlay.len()).sum();
        assert_eq!((second.len(), held), (3000, 3000));
        // While fewer names are removed than kept, the base stays shared.
        let third = edition(Some(&first), &says(0, 7500));
        assert!(PARTS - shared(&first, &third) <= REBUILT_MAX && third.len() == 7500);
    }

    proptest! {
        #[test]
        fn an_edition_has_exactly_the_names_that_were_read(
            editions in prop::collection::vec(prop::collection::vec((0..60u16, 0..2u32), 0..80), 1..5),
        ) {
            let mut before: Option<Layered> = None;
            for says in &editions {
                let now = edition(before.as_ref(), says);
                let mut all: BTreeMap<u16, u32> = BTreeMap::new();
                says.iter().for_each(|(n, number)| {
                    let known = all.entry(*n).or_default();
                    *known = (*known).max(*number);
                });
                prop_assert_eq!(now.len(), all.len());
                prop_assert_eq!(now.is_empty(), all.is_empty());
                for n in 0..60 {
                    prop_assert_eq!(now.get(name(n).as_wire()), all.get(&n).copied(), "{}", n);
                }
                before = Some(now);
            }
        }
    }
}
