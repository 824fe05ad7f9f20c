//! When each question was answered last, by a hash of the question.

use hither_table::{Family, Monotonic};
use hither_wire::name::Name;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Groups of questions; a question has one by its hash.
const GROUPS: usize = 1 << 14;
/// Questions that a group remembers.
const WAYS: usize = 4;

/// A hash of a question for addresses.
pub(super) fn hash_of(seed: u64, name: &Name, family: Family) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, name.as_wire(), family).hash(&mut hasher);
    hasher.finish()
}

/// For each question a time up to which its data is known. It only grows. 65536 questions have one of their
/// own, in 768 KiB.
#[derive(Debug)]
pub(super) struct Known {
    seed: u64,
    groups: Box<[Group]>,
    /// The time up to which everything is known.
    floor: Monotonic,
}

/// Some questions, by a part of their hashes. Two questions of a group with the same part count as answered
/// when the latest of them was: that only refuses an offer.
#[derive(Clone, Copy, Debug)]
struct Group {
    tags: [u16; WAYS],
    latest: [Monotonic; WAYS],
    /// The latest time of a question that is no longer remembered.
    forgotten: Monotonic,
}

impl Group {
    fn note(&mut self, tag: u16, at: Monotonic) {
        let places = || self.tags.iter().zip(&self.latest).enumerate();
        let known = places().find(|(_, (own, latest))| **own == tag && latest.0 > 0);
        let oldest = || places().min_by_key(|(_, (_, latest))| **latest);
        let Some((place, (own, before))) = known.or_else(oldest).map(|(n, (own, at))| (n, (*own, *at)))
        else {
            return;
        };
        // A question that comes back may be one that was forgotten.
        let new = if own == tag { at.max(before) } else { at.max(self.forgotten) };
        if own != tag {
            self.forgotten = self.forgotten.max(before);
        }
        if let (Some(own), Some(latest)) = (self.tags.get_mut(place), self.latest.get_mut(place)) {
            (*own, *latest) = (tag, new);
        }
    }

    fn latest(&self, tag: u16) -> Monotonic {
        let mut places = self.tags.iter().zip(&self.latest);
        let known = places.find(|(own, latest)| **own == tag && latest.0 > 0);
        known.map_or(self.forgotten, |(_, latest)| *latest)
    }
}

impl Known {
    pub fn new(seed: u64, floor: Monotonic) -> Known {
        let (tags, latest, forgotten) = ([0; WAYS], [Monotonic(0); WAYS], Monotonic(0));
        Known { seed, groups: vec![Group { tags, latest, forgotten }; GROUPS].into(), floor }
    }

    /// The group of a question, and the part of its hash by which the group knows it.
    fn place(&self, name: &Name, family: Family) -> (usize, u16) {
        let hash = hash_of(self.seed, name, family);
        (hash as usize % GROUPS, (hash >> 48) as u16)
    }

    pub fn note(&mut self, name: &Name, family: Family, at: Monotonic) {
        let (group, tag) = self.place(name, family);
        if let Some(group) = self.groups.get_mut(group) {
            group.note(tag, at);
        }
    }

    pub fn raise_floor(&mut self, at: Monotonic) {
        self.floor = at.max(self.floor);
    }

    /// The time up to which the data of a question is known.
    pub fn latest(&self, name: &Name, family: Family) -> Monotonic {
        let (group, tag) = self.place(name, family);
        let latest = self.groups.get(group).map_or(Monotonic(0), |group| group.latest(tag));
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

    #[test]
    fn ten_thousand_names_do_not_get_in_each_others_way() {
        let mut known = Known::new(7, Monotonic(0));
        let names: Vec<Name> = (0..20_000).map(|n| format!("n{n}.test").parse().expect("it")).collect();
        names[..10_000].iter().for_each(|name| known.note(name, Family::A, Monotonic(9)));
        let is_known = |name: &&Name| known.latest(name, Family::A).0 == 9;
        assert_eq!(names[..10_000].iter().filter(is_known).count(), 10_000);
        let strangers = names[10_000..].iter().filter(is_known).count();
        assert!(strangers < 20, "{strangers}");
    }

    #[test]
    fn a_question_that_gave_way_is_still_known_up_to_its_time() {
        let none = Monotonic(0);
        let mut group = Group { tags: [0; WAYS], latest: [none; WAYS], forgotten: none };
        for tag in 0..4 {
            group.note(tag, Monotonic(100 + u64::from(tag)));
        }
        assert_eq!((group.latest(0).0, group.latest(9).0), (100, 0));
        group.note(9, Monotonic(50));
        assert_eq!((group.latest(9).0, group.latest(0).0, group.latest(7).0), (50, 100, 100));
        group.note(2, Monotonic(1));
        assert_eq!(group.latest(2).0, 102);
    }
}
