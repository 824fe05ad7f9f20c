//! Restores sets from the saved cache, in slices and never over newer data.
//!
//! A saved set is the result of an older round. It is restored only if no round has begun for its
//! question and its name was not flushed since (I3), if the name is not local, and if the name has the
//! same upstreams. It never replaces an entry, and is published by the one function that publishes (I7),
//! under a new version (I2).

use crate::action::{Action, Note};
use crate::question::Question;
use crate::rebinding::is_private;
use crate::reply::Answer;
use crate::resolver::Rounds;
use crate::routes::marks;
use crate::saved_set::{Restore, Restored, SavedSet};
use crate::trace::Cause;
use hither_table::{Family, FamilyDraft, Key, Monotonic, State};
use hither_wire::name::Name;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Facts of a restore that are kept until the process ends.
#[derive(Debug)]
pub(crate) struct FromBefore {
    /// The round id of all restored sets.
    round: u64,
    /// The default upstreams when the sets were saved.
    usual: BTreeSet<u64>,
}

impl FromBefore {
    /// The round of the restored sets.
    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Whether a round is that of the restored sets.
    pub(crate) fn is_of(&self, round: u64) -> bool {
        self.round == round
    }

    /// Whether the default upstreams `usual` may be those of the saved sets: one list contains the
    /// other. A network comes up in steps, so that one list may be incomplete.
    pub(crate) fn fits(&self, usual: &BTreeSet<u64>) -> bool {
        usual.is_subset(&self.usual) || self.usual.is_subset(usual)
    }
}

/// The restore that is under way.
#[derive(Debug)]
pub(crate) struct Restoring {
    /// The round id of all restored sets, lower than that of any later round.
    round: u64,
    known: Known,
    evictions: u64,
    result: Restored,
}

/// A Bloom filter of the questions for which there is newer data, with two bits each. A collision only
/// loses a saved set: about one in a million after a thousand questions.
#[derive(Debug)]
struct Known {
    bits: Box<[u64]>,
    seed: u64,
}

/// Words of the filter, 256 KiB in all while a restore is under way.
const KNOWN_WORDS: usize = 1 << 15;

impl Known {
    pub(crate) fn new(seed: u64) -> Known {
        Known { bits: vec![0; KNOWN_WORDS].into(), seed }
    }

    /// The index of each word of a question, and the bit in it.
    pub(crate) fn places(&self, name: &Name, family: Family) -> [(usize, u64); 2] {
        let mut hasher = DefaultHasher::new();
        (self.seed, name, family).hash(&mut hasher);
        let hash = hasher.finish();
        [hash, hash >> 32].map(|hash| ((hash >> 6) as usize % KNOWN_WORDS, 1 << (hash % 64)))
    }

    pub(crate) fn note(&mut self, name: &Name, family: Family) {
        for (word, bit) in self.places(name, family) {
            if let Some(word) = self.bits.get_mut(word) {
                *word |= bit;
            }
        }
    }

    pub(crate) fn has(&self, name: &Name, family: Family) -> bool {
        let set = |(word, bit): (usize, u64)| self.bits.get(word).is_some_and(|word| word & bit != 0);
        self.places(name, family).into_iter().all(set)
    }
}

/// The outcome for one saved set.
enum Fate {
    Taken,
    Expired,
    LeftOut,
}

impl Rounds {
    pub(crate) fn restore(&mut self, restore: Restore) {
        match restore {
            Restore::Begin { usual } => {
                let (round, seed) = (self.shared.writer.next_version(), (self.shared.random)());
                let (known, evictions) = (Known::new(seed), self.shared.writer.evictions());
                self.shared.writer.set_restored_round(round);
                self.restored = Some(FromBefore { round, usual: usual.into_iter().collect() });
                self.restoring = Some(Restoring { round, known, evictions, result: Restored::default() });
            }
            Restore::Sets(sets) => sets.into_iter().for_each(|set| self.restore_one(set)),
            Restore::End => self.end_restore(None),
            Restore::Void => {
                self.stop_restore("the clock was set");
                if let Some(FromBefore { round, .. }) = self.restored.take() {
                    self.review_rounds(round, 1, |_| true);
                }
            }
        }
    }

    /// Whether the cached set for a question was restored and not refreshed since.
    pub fn is_restored(&mut self, question: &crate::Question) -> bool {
        let (Some(family), Some(restored)) = (question.family(), self.restored.as_ref()) else {
            return false;
        };
        let shared = &mut self.shared;
        shared.writer.get(&hither_table::Key::of(&question.name), &mut shared.scratch)
            && shared.scratch.family(family).is_some_and(|set| set.round() == restored.round)
    }

    /// Whether an answer is a set that was restored and not refreshed since.
    pub(crate) fn is_from_before(&self, answer: &Answer) -> bool {
        let Answer::Record { record, family, stale_ttl_s: None } = answer else { return false };
        let round = record.family(*family).map(|set| set.round());
        round.is_some_and(|round| self.restored.as_ref().is_some_and(|restored| restored.is_of(round)))
    }

    /// The default upstreams, or the last ones while there are none, as numbers that are the same in
    /// every process.
    #[must_use]
    pub fn default_upstreams(&self) -> Vec<u64> {
        match (&self.shared.groups.latest[..], &self.restored) {
            ([], Some(before)) => before.usual.iter().copied().collect(),
            (latest, _) => marks(latest).into_iter().collect(),
        }
    }

    /// Voids restored sets if other default upstreams are in use: the sets may be from another network.
    pub(crate) fn void_restored_of_others(&mut self) {
        let routes = &self.shared.groups.routes;
        let Some(before) = self.restored.as_ref().filter(|before| !before.fits(&marks(&routes.usual))) else {
            return;
        };
        let (round, domains) = (before.round, routes.clone());
        self.review_rounds(round, 1, move |name| domains.domain(name).is_none());
    }

    /// Whether more saved sets are expected.
    #[must_use]
    pub fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    /// Ends the restore; no more sets are restored.
    pub(crate) fn stop_restore(&mut self, why: &'static str) {
        self.end_restore(Some(why));
    }

    fn end_restore(&mut self, cut: Option<&'static str>) {
        if let Some(restoring) = self.restoring.take()
            && (cut.is_some() || restoring.result != Restored::default())
        {
            let note = Note::Restored(Restored { cut, ..restoring.result });
            self.shared.actions.push_back(Action::Note(note));
        }
    }

    /// Notes that a round begins, so that no saved set is restored for its question.
    pub(crate) fn note_newer_than_saved(&mut self, question: &Question) {
        if let (Some(restoring), Some(family)) = (&mut self.restoring, question.family()) {
            restoring.known.note(&question.name, family);
        }
    }

    /// Notes that a name is flushed, so that no saved set is restored for it.
    pub(crate) fn flush_saved(&mut self, name: &Name) {
        if let Some(restoring) = &mut self.restoring {
            [Family::A, Family::Aaaa].into_iter().for_each(|family| restoring.known.note(name, family));
        }
    }

    fn restore_one(&mut self, set: SavedSet) {
        let Some(restoring) = &self.restoring else { return };
        // A full table has the entries that are in use, which saved sets must not evict.
        if self.shared.writer.is_full() || self.shared.writer.evictions() != restoring.evictions {
            return self.end_restore(Some("the table is full"));
        }
        let fate = self.fate(set);
        if let Some(restoring) = &mut self.restoring {
            *match fate {
                Fate::Taken => &mut restoring.result.sets,
                Fate::Expired => &mut restoring.result.expired,
                Fate::LeftOut => &mut restoring.result.left_out,
            } += 1;
        }
    }

    fn fate(&mut self, set: SavedSet) -> Fate {
        let now = self.shared.now;
        let Some(round) = self.restoring.as_ref().map(|restoring| restoring.round) else {
            return Fate::LeftOut;
        };
        if set.expire_ms <= now.as_ms() {
            return Fate::Expired;
        }
        if self.is_outdated(&set) {
            return Fate::LeftOut;
        }
        let (name, family) = (set.name, set.family);
        let draft = draft(set, round, now.plus(self.shared.settings.max_ttl));
        match self.shared.publish(&name, family, draft, Cause::Restored) {
            Ok(_) => Fate::Taken,
            Err(_) => Fate::LeftOut,
        }
    }

    /// Whether a saved set must not be restored: there is newer data, the name has other upstreams or is
    /// local, or the set has private addresses that would be withheld.
    fn is_outdated(&mut self, set: &SavedSet) -> bool {
        let fits =
            self.restored.as_ref().is_none_or(|before| before.fits(&marks(&self.shared.groups.routes.usual)));
        let shared = &mut self.shared;
        let newer = self.restoring.as_ref().is_none_or(|r| r.known.has(&set.name, set.family))
            || (shared.writer.get(&Key::of(&set.name), &mut shared.scratch)
                && shared.scratch.family(set.family).is_some());
        let question = Question {
            name: set.name,
            rtype: set.family.rtype(),
            dnssec_ok: false,
            checking_disabled: false,
        };
        (newer && !shared.faults.may_restore_over_newer())
            || shared.groups.routes.mark(&set.name) != set.route
            || (set.route == 0 && !fits)
            || shared.local_answer(&question).is_some()
            || (set.addresses.iter().any(|a| is_private(&a.address)) && shared.is_public(&set.name))
    }
}

fn draft(mut set: SavedSet, round: u64, latest: Monotonic) -> FamilyDraft {
    for link in set.chains.iter_mut().flat_map(|chain| &mut chain.links) {
        link.expire_ms = link.expire_ms.min(latest.as_ms());
    }
    FamilyDraft {
        version: 0,
        set_version: 0,
        round,
        // The set's round has ended with the process that saved it.
        state: if set.complete { State::Complete } else { State::Partial },
        negative: None,
        sorted: set.sorted,
        expire_ms: set.expire_ms.min(latest.as_ms()),
        lifetime_s: set.lifetime_s,
        agreement: set.agreement,
        addresses: set.addresses,
        chains: set.chains,
        soa: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Input;
    use crate::routes::Routes;
    use crate::settings::Settings;
    use hither_table::{Address, Agreement, Chain, Geometry, Link, Memory, Rtt, Snapshot, Trust, Writer};

    fn saved() -> SavedSet {
        let target = "edge.test".parse().expect("a name");
        SavedSet {
            name: "a.test".parse().expect("a name"),
            family: Family::A,
            route: 0,
            complete: true,
            sorted: false,
            expire_ms: 90_000,
            lifetime_s: 90,
            agreement: Agreement::default(),
            addresses: Vec::new(),
            chains: vec![Chain { links: vec![Link { target, expire_ms: 95_000 }] }],
        }
    }

    #[test]
    fn restored_lifetimes_are_cut_to_max_ttl_and_so_are_those_of_cnames() {
        let draft = draft(saved(), 1, Monotonic::from_ms(60_000));
        assert_eq!((draft.expire_ms, draft.chains[0].links[0].expire_ms), (60_000, 60_000));
    }

    #[test]
    fn the_table_tells_which_sets_were_restored() {
        let geometry = Geometry { entries: 64 };
        let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
        let writer = writer.expect("a table");
        let reader = writer.reader();
        let mut rounds = Rounds::new(Settings::default(), Routes::from(&[][..]), writer, Box::new(|| 7));
        assert_eq!(reader.restored_round(), 0);
        let address = Address {
            address: [192, 0, 2, 1].into(),
            rtt: Rtt::Unmeasured,
            chain: 0,
            upstreams: Address::TRUSTED,
            trust: Trust::Unknown,
            sources: 1,
        };
        let set = SavedSet { addresses: vec![address], ..saved() };
        for restore in [Restore::Begin { usual: Vec::new() }, Restore::Sets(vec![set])] {
            rounds.handle(Monotonic::from_ms(1), Input::Restore(restore));
        }
        let mut found = Snapshot::new();
        reader.lookup(&Key::of(&saved().name), &mut found).expect("it is restored");
        let round = found.family(Family::A).expect("addresses").round();
        assert_eq!(round, reader.restored_round());
        assert_ne!(round, 0);
    }
}
