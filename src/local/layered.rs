//! The names of a list that is read again. What is as it was stays where it is and is shared, so that a list of millions of names is not in
//! memory twice while another edition of it takes its place.

use crate::Names;
use hither_wire::name::Name;
use std::sync::Arc;

/// A list is laid over its last edition as long as no more than one in so many of the names differ.
const DIFFERS_MAX: usize = 5;

/// Names with a number each, of which the larger counts where a name has two.
#[derive(Debug, Default)]
pub(crate) struct Layered {
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

impl Layered {
    pub fn len(&self) -> usize {
        self.kept.as_ref().map_or(self.below.len(), |kept| kept.len) + self.above.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets of memory in use. What is shared with another edition counts for each.
    pub fn memory(&self) -> usize {
        let marks = self.kept.as_ref().map_or(0, |kept| kept.marks.0.len());
        self.below.memory() + self.above.memory() + marks
    }

    /// The number of the name with this wire form, in lower case.
    pub fn get(&self, wire: &[u8]) -> Option<u32> {
        if let Some(number) = self.above.get(wire) {
            return Some(number);
        }
        let place = self.below.place(wire)?;
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

/// An edition that is being read.
pub(crate) struct Edition {
    /// The last one, and what was found of it.
    below: Option<(Arc<Names>, Marks)>,
    above: Names,
}

impl Edition {
    /// Begins one; most of it may be as `before`.
    pub fn after(before: Option<&Layered>) -> Edition {
        let below = before.map(|before| Arc::clone(&before.below)).filter(|below| !below.is_empty());
        let below = below.map(|below| {
            let marks = Marks::new(below.places());
            (below, marks)
        });
        Edition { below, above: Names::default() }
    }

    /// Adds a name in lower case. `None` when there is no room for more.
    pub fn add(&mut self, name: &Name, number: u32) -> Option<()> {
        let wire = name.as_wire();
        if let Some((below, marks)) = &mut self.below
            && let Some(place) = below.place(wire)
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
        if self.above.insert(name, number)? < number {
            self.above.set(name, number);
        }
        Some(())
    }

    /// Ends it. `None` when there is no room for so many.
    pub fn finish(mut self) -> Option<Layered> {
        let Some((below, marks)) = self.below.take() else {
            self.above.shrink();
            return Some(Layered { below: Arc::new(self.above), ..Layered::default() });
        };
        let mut len = 0;
        for place in 0..below.places() {
            match marks.get(place) {
                Mark::Unread | Mark::More => {}
                Mark::Same => len += 1,
                // Its larger number is gone.
                Mark::Less => self.add_above(below.at(place), 0)?,
            }
        }
        let differ = below.len() - len + self.above.len();
        if differ * DIFFERS_MAX > below.len() {
            for place in (0..below.places()).filter(|place| marks.get(*place) == Mark::Same) {
                let number = below.number_at(place).unwrap_or_default();
                self.add_above(below.at(place), number)?;
            }
            self.above.shrink();
            return Some(Layered { below: Arc::new(self.above), ..Layered::default() });
        }
        self.above.shrink();
        let kept = (len < below.len()).then_some(Kept { marks, len });
        Some(Layered { below, kept, above: self.above })
    }

    fn add_above(&mut self, wire: Option<&[u8]>, number: u32) -> Option<()> {
        match wire {
            Some(wire) => self.above.insert_wire(wire, number).map(drop),
            None => Some(()),
        }
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

    #[test]
    fn what_is_as_it_was_is_not_in_memory_twice() {
        let says = |from: u16, to: u16| (from..to).map(|n| (n, u32::from(n % 2))).collect::<Vec<_>>();
        let first = edition(None, &says(0, 10_000));
        let second = edition(Some(&first), &says(1000, 10_500));
        assert!(Arc::ptr_eq(&first.below, &second.below) && second.above.len() == 500);
        assert_eq!((second.len(), second.get(name(999).as_wire())), (9500, None));
        // It is the same edition below, however often a little of it changes.
        let third = edition(Some(&second), &says(0, 10_000));
        assert!(Arc::ptr_eq(&first.below, &third.below) && third.kept.is_none() && third.above.is_empty());
        // Nothing is kept for the sake of a few names.
        let other = edition(Some(&second), &says(5000, 10_500));
        assert!(!Arc::ptr_eq(&first.below, &other.below) && other.above.is_empty());
        assert_eq!(other.len(), 5500);
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
