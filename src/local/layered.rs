//! The names of a list that is read again. What is as it was stays where it is and is shared, so that a list of millions of names is not in
//! memory twice while another edition of it takes its place. What has gathered over many editions is put together a part at a time.

use crate::Names;
use crate::names::hash;
use hither_wire::name::Name;
use std::sync::Arc;

/// Parts of a list, by the hash of the name.
const PARTS: usize = 16;
/// A part is laid over that of the last edition. As soon as more than one in so many of its names differ, gone and new ones alike, it is put together anew,
const DIFFERS: usize = 8;
/// of so many parts at once, the worst first, since each is in memory twice then,
const ANEW: usize = 3;
/// but all of them at once of which more than three quarters differ, or of which more names are gone than kept: nothing is held for the sake of a few names.
const fn is_another(differ: usize, kept: usize, of: usize) -> bool {
    differ * 4 > of * 3 || of > kept * 2
}

/// The largest number that a name may have. Where a smaller one takes the place of a larger one it is taken to be 0.
const NUMBER_MAX: u32 = 1;

/// Names with a number each, 0 or 1, of which the larger counts where a name has two.
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

    /// Octets of memory in use. What is shared with another edition counts for each.
    pub fn memory(&self) -> usize {
        self.parts.iter().map(Part::memory).sum()
    }

    /// The number of the name with this wire form, in lower case.
    pub fn get(&self, wire: &[u8]) -> Option<u32> {
        let hash = hash(wire);
        self.parts.get(part_of(hash))?.get(wire, hash)
    }
}

/// By bits of the hash that the part itself does not use.
fn part_of(hash: u64) -> usize {
    hash.to_le_bytes().last().map_or(0, |octet| usize::from(*octet) % PARTS)
}

/// An edition that is being read.
pub(crate) struct Edition {
    parts: [Reading; PARTS],
}

impl Edition {
    /// Begins one; most of it may be as `before`.
    pub fn after(before: Option<&Layered>) -> Edition {
        Edition {
            parts: std::array::from_fn(|at| Reading::after(before.and_then(|before| before.parts.get(at)))),
        }
    }

    /// Adds a name in lower case. `None` when there is no room for more.
    pub fn add(&mut self, name: &Name, number: u32) -> Option<()> {
        debug_assert!(number <= NUMBER_MAX, "{number} would become 0 where it had a larger one");
        let hash = hash(name.as_wire());
        self.parts.get_mut(part_of(hash))?.add(name, hash, number)
    }

    /// Ends it. `None` when there is no room for so many.
    pub fn finish(mut self) -> Option<Layered> {
        let mut differ = Vec::with_capacity(PARTS);
        for (at, part) in self.parts.iter_mut().enumerate() {
            let (names, of) = part.settle()?;
            if names * DIFFERS > of {
                differ.push((is_another(names, part.same, of), names, at));
            }
        }
        differ.sort_unstable();
        let anew: Vec<usize> = differ
            .iter()
            .rev()
            .enumerate()
            .filter(|(n, (is_another, ..))| *is_another || *n < ANEW)
            .map(|(_, (.., at))| *at)
            .collect();
        let mut parts: [Part; PARTS] = Default::default();
        for (at, (place, part)) in parts.iter_mut().zip(self.parts).enumerate() {
            *place = part.finish(anew.contains(&at))?;
        }
        Some(Layered { parts })
    }
}

/// One part of a list.
#[derive(Debug, Default)]
struct Part {
    /// What it has in common with another edition, and perhaps more.
    below: Arc<Names>,
    /// Which of those are its own too; none: all are.
    kept: Option<Kept>,
    /// What is not below, or has another number there.
    above: Names,
}

#[derive(Debug)]
struct Kept {
    marks: Marks,
    len: usize,
}

impl Part {
    fn len(&self) -> usize {
        self.kept.as_ref().map_or(self.below.len(), |kept| kept.len) + self.above.len()
    }

    fn memory(&self) -> usize {
        let marks = self.kept.as_ref().map_or(0, |kept| kept.marks.0.len());
        self.below.memory() + self.above.memory() + marks
    }

    fn get(&self, wire: &[u8], hash: u64) -> Option<u32> {
        if let Some(number) = self.above.get_hashed(wire, hash) {
            return Some(number);
        }
        let place = self.below.place(wire, hash)?;
        let is_kept = self.kept.as_ref().is_none_or(|kept| kept.marks.get(place) == Mark::Same);
        is_kept.then(|| self.below.number_at(place)).flatten()
    }
}

/// Two bits for each place of some names.
#[derive(Debug)]
struct Marks(Vec<u8>);

/// What was read of a name that the last edition has. The larger counts where there were several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Mark {
    /// It was not.
    Unread,
    /// With a smaller number.
    Less,
    /// With its number.
    Same,
    /// With a larger one: it is above, too.
    More,
}

impl Marks {
    fn new(places: usize) -> Marks {
        Marks(vec![0; places.div_ceil(4)])
    }

    fn get(&self, place: usize) -> Mark {
        match self.0.get(place / 4).map_or(0, |four| four >> (place % 4 * 2) & 3) {
            0 => Mark::Unread,
            1 => Mark::Less,
            2 => Mark::Same,
            _ => Mark::More,
        }
    }

    fn raise(&mut self, place: usize, mark: Mark) {
        if mark > self.get(place)
            && let Some(four) = self.0.get_mut(place / 4)
        {
            let shift = place % 4 * 2;
            *four = *four & !(3 << shift) | (mark as u8) << shift;
        }
    }
}

/// A part that is being read.
struct Reading {
    /// That of the last edition, and what was found of it.
    below: Option<(Arc<Names>, Marks)>,
    /// How many of its names are as they were, when that is known.
    same: usize,
    above: Names,
}

impl Reading {
    fn after(before: Option<&Part>) -> Reading {
        let below = before.map(|before| Arc::clone(&before.below)).filter(|below| !below.is_empty());
        let below = below.map(|below| {
            let marks = Marks::new(below.places());
            (below, marks)
        });
        Reading { below, same: 0, above: Names::default() }
    }

    fn add(&mut self, name: &Name, hash: u64, number: u32) -> Option<()> {
        let wire = name.as_wire();
        if let Some((below, marks)) = &mut self.below
            && let Some(place) = below.place(wire, hash)
        {
            let known = below.number_at(place).unwrap_or_default();
            let mark = match number.cmp(&known) {
                std::cmp::Ordering::Less => Mark::Less,
                std::cmp::Ordering::Equal => Mark::Same,
                std::cmp::Ordering::Greater => Mark::More,
            };
            marks.raise(place, mark);
            if mark != Mark::More {
                return Some(());
            }
        }
        if self.above.insert_hashed(wire, hash, number)? < number {
            self.above.set(name, number);
        }
        Some(())
    }

    /// All was read. How many names differ, and from how many.
    fn settle(&mut self) -> Option<(usize, usize)> {
        let Some((below, marks)) = &self.below else { return Some((0, 0)) };
        for place in 0..below.places() {
            match marks.get(place) {
                Mark::Unread | Mark::More => {}
                Mark::Same => self.same += 1,
                // Its larger number is gone.
                Mark::Less => add(&mut self.above, below.at(place), 0)?,
            }
        }
        Some((below.len() - self.same + self.above.len(), below.len()))
    }

    /// Ends it, by itself or over the last edition.
    fn finish(mut self, anew: bool) -> Option<Part> {
        let below = match self.below.take() {
            Some((below, marks)) if anew => {
                for place in (0..below.places()).filter(|place| marks.get(*place) == Mark::Same) {
                    let number = below.number_at(place).unwrap_or_default();
                    add(&mut self.above, below.at(place), number)?;
                }
                None
            }
            below => below,
        };
        self.above.shrink();
        Some(match below {
            None => Part { below: Arc::new(self.above), ..Part::default() },
            Some((below, marks)) => {
                let kept = (self.same < below.len()).then_some(Kept { marks, len: self.same });
                Part { below, kept, above: self.above }
            }
        })
    }
}

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

    /// Parts that two editions have in common.
    fn shared(a: &Layered, b: &Layered) -> usize {
        a.parts.iter().zip(&b.parts).filter(|(a, b)| Arc::ptr_eq(&a.below, &b.below)).count()
    }

    fn says(from: u16, to: u16) -> Vec<(u16, u32)> {
        (from..to).map(|n| (n, u32::from(n % 2))).collect()
    }

    #[test]
    fn what_is_as_it_was_is_not_in_memory_twice() {
        let first = edition(None, &says(0, 10_000));
        assert!(first.parts.iter().all(|part| (400..900).contains(&part.len())), "none is much larger");
        let second = edition(Some(&first), &says(100, 10_100));
        assert_eq!((shared(&first, &second), second.len()), (PARTS, 10_000));
        assert_eq!((second.get(name(99).as_wire()), second.get(name(10_099).as_wire())), (None, Some(1)));
        // It is the same below, however often a little of it changes.
        let third = edition(Some(&second), &says(0, 10_000));
        let is_plain = |part: &Part| part.kept.is_none() && part.above.is_empty();
        assert!(shared(&first, &third) == PARTS && third.parts.iter().all(is_plain));
        // Nothing is kept for the sake of a few names.
        let other = edition(Some(&second), &says(8000, 18_500));
        assert!(shared(&first, &other) == 0 && other.parts.iter().all(is_plain) && other.len() == 10_500);
    }

    #[test]
    fn what_gathers_is_put_together_a_part_at_a_time() {
        let mut last = edition(None, &says(0, 10_000));
        for turn in 1..=60 {
            let now = edition(Some(&last), &says(turn * 300, turn * 300 + 10_000));
            assert!(PARTS - shared(&last, &now) <= ANEW, "in turn {turn}");
            let held: usize = now.parts.iter().map(|part| part.below.len() + part.above.len()).sum();
            assert!(held < 16_000, "{held} names are held for 10000 in turn {turn}");
            last = now;
        }
    }

    #[test]
    fn what_a_list_has_lost_is_not_held() {
        let first = edition(None, &says(0, 10_000));
        let second = edition(Some(&first), &says(0, 3000));
        let held: usize = second.parts.iter().map(|part| part.below.len() + part.above.len()).sum();
        assert_eq!((second.len(), held), (3000, 3000));
        // Where less is gone than is kept, what both have stays in one place.
        let third = edition(Some(&first), &says(0, 7500));
        assert!(PARTS - shared(&first, &third) <= ANEW && third.len() == 7500);
    }

    proptest! {
        #[test]
        fn an_edition_has_what_was_read_and_nothing_else(
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
