//! When each question was answered last, by a hash of the question.

use hither_table::{Family, Monotonic};
use hither_wire::name::Name;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Places, of 8 octets each. Questions that share one count as answered when the latest of them was: that
/// only refuses an offer.
const PLACES: usize = 1 << 16;

/// A hash of a question for addresses.
pub(super) fn hash_of(seed: u64, name: &Name, family: Family) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, name.as_wire(), family).hash(&mut hasher);
    hasher.finish()
}

/// For each question a time up to which its data is known. It only grows.
#[derive(Debug)]
pub(super) struct Known {
    seed: u64,
    latest: Box<[Monotonic]>,
    /// The time up to which everything is known.
    floor: Monotonic,
}

impl Known {
    pub fn new(seed: u64, floor: Monotonic) -> Known {
        Known { seed, latest: vec![Monotonic(0); PLACES].into(), floor }
    }

    fn place(&self, name: &Name, family: Family) -> usize {
        hash_of(self.seed, name, family) as usize % PLACES
    }

    pub fn note(&mut self, name: &Name, family: Family, at: Monotonic) {
        let place = self.place(name, family);
        if let Some(latest) = self.latest.get_mut(place) {
            *latest = at.max(*latest);
        }
    }

    pub fn raise_floor(&mut self, at: Monotonic) {
        self.floor = at.max(self.floor);
    }

    /// The time up to which the data of a question is known.
    pub fn latest(&self, name: &Name, family: Family) -> Monotonic {
        let latest = self.latest.get(self.place(name, family)).copied().unwrap_or_default();
        latest.max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_only_grows_and_the_floor_is_for_every_question() {
        let mut known = Known::new(7, Monotonic(0));
        let (one, other): (Name, Name) = ("a.test".parse().expect("it"), "b.test".parse().expect("it"));
        known.note(&one, Family::A, Monotonic(9));
        known.note(&one, Family::A, Monotonic(5));
        let of = |known: &Known, name| known.latest(name, Family::A).0;
        assert_eq!((of(&known, &one), of(&known, &other)), (9, 0));
        assert_eq!(known.latest(&one, Family::Aaaa).0, 0);
        known.raise_floor(Monotonic(7));
        assert_eq!((of(&known, &one), of(&known, &other)), (9, 7));
    }
}
