//! Taking up what was saved before the host was started: beside the daily work, and never over anything found out since.
//!
//! A saved set is what an older round has found out. It comes in only where no round has begun for its question and nothing was flushed
//! since (I3), where the name is not answered here, and where the same upstreams would be asked; never in the place of another entry, and
//! by the one function that publishes (I7), under a new version (I2).

use crate::mutant::Mutant;
use crate::rebinding::is_private;
use crate::routes::marks;
use crate::{Action, Note, Question, Rounds};
use hither_table::{Address, Chain, Family, FamilyDraft, Key, Monotonic, State};
use hither_wire::name::Name;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// A set as it was saved, its times by the table's clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedSet {
    /// Owner, in lower case.
    pub name: Name,
    /// Of which family all its addresses are.
    pub family: Family,
    /// [`crate::Routes::mark`] of the name when it was saved.
    pub route: u64,
    /// Whether every upstream had answered or failed.
    pub complete: bool,
    /// Whether the order is a measured one.
    pub sorted: bool,
    /// When it expires, in milliseconds.
    pub expire_ms: u64,
    /// The TTL it was published with.
    pub lifetime_s: u32,
    /// In order, each of one of the chains.
    pub addresses: Vec<Address>,
    /// What led to them, at least one.
    pub chains: Vec<Chain>,
}

/// What the shell has to tell of saved sets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Restore {
    /// There are some. To be told before the first question, since what is asked from now on is noted.
    Begin {
        /// [`crate::Rounds::usual`] when they were saved.
        usual: Vec<u64>,
    },
    /// Some of them; a slice, since nothing else is done meanwhile.
    Sets(Vec<SavedSet>),
    /// There are no more.
    End,
    /// They may be older than was thought: what is left of them is void.
    Void,
}

/// What became of saved sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Restored {
    /// They are in the table.
    pub sets: u64,
    /// Their time was over.
    pub expired: u64,
    /// They were asked for or flushed meanwhile, are answered here, are asked elsewhere, or do not fit.
    pub left_out: u64,
    /// Why the rest was not looked at, in a few words.
    pub cut: Option<&'static str>,
}

/// What was restored, for as long as this process lasts.
#[derive(Debug)]
pub(crate) struct FromBefore {
    /// The round that all of it has.
    round: u64,
    /// Who the usual upstreams were.
    usual: BTreeSet<u64>,
}

impl FromBefore {
    /// Whether what is asked of the usual upstreams may be what was asked of them before: a network comes up piece by piece, so some of them
    /// may be missing yet.
    fn fits(&self, usual: &BTreeSet<u64>) -> bool {
        usual.is_subset(&self.usual) || self.usual.is_subset(usual)
    }
}

/// What is noted while saved sets are taken up.
#[derive(Debug)]
pub(crate) struct Restoring {
    /// All of them get this round, older than any that begins from now on.
    round: u64,
    known: Known,
    evictions: u64,
    result: Restored,
}

/// Questions that something newer is known of, each two bits at places of its own. Where both belong to others a saved set is lost, and nothing
/// else: one of a million when a thousand questions have been asked.
#[derive(Debug)]
struct Known {
    bits: Box<[u64]>,
    seed: u64,
}

/// Words of bits: 256 KiB, as long as something is restored.
const KNOWN_WORDS: usize = 1 << 15;

impl Known {
    fn new(seed: u64) -> Known {
        Known { bits: vec![0; KNOWN_WORDS].into(), seed }
    }

    /// Words and bits.
    fn places(&self, name: &Name, family: Family) -> [(usize, u64); 2] {
        let mut hasher = DefaultHasher::new();
        (self.seed, name, family).hash(&mut hasher);
        let hash = hasher.finish();
        [hash, hash >> 32].map(|hash| ((hash >> 6) as usize % KNOWN_WORDS, 1 << (hash % 64)))
    }

    fn note(&mut self, name: &Name, family: Family) {
        for (word, bit) in self.places(name, family) {
            if let Some(word) = self.bits.get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn has(&self, name: &Name, family: Family) -> bool {
        let set = |(word, bit): (usize, u64)| self.bits.get(word).is_some_and(|word| word & bit != 0);
        self.places(name, family).into_iter().all(set)
    }
}

/// What becomes of one set.
enum Fate {
    Taken,
    Expired,
    LeftOut,
}

impl Rounds {
    pub(crate) fn restore(&mut self, now: Monotonic, restore: Restore) {
        match restore {
            Restore::Begin { usual } => {
                let (round, seed) = (self.shared.writer.next_version(), (self.shared.random)());
                let (known, evictions) = (Known::new(seed), self.shared.writer.evictions());
                self.restored = Some(FromBefore { round, usual: usual.into_iter().collect() });
                self.restoring = Some(Restoring { round, known, evictions, result: Restored::default() });
            }
            Restore::Sets(sets) => sets.into_iter().for_each(|set| self.restore_one(now, set)),
            Restore::End => self.end_restore(None),
            Restore::Void => {
                self.cut_restore("the clock was set");
                if let Some(FromBefore { round, .. }) = self.restored.take()
                    && !self.shared.mutants.has(Mutant::RestoredSetsOutliveTheirDoubt)
                {
                    self.review_round(round, |_| true);
                }
            }
        }
    }

    /// Whether the cache's set for a question is one that was restored, and not found out since.
    pub fn is_restored(&mut self, question: &crate::Question) -> bool {
        let (Some(family), Some(restored)) = (question.family(), self.restored.as_ref()) else {
            return false;
        };
        let shared = &mut self.shared;
        shared.writer.get(&hither_table::Key::of(&question.name), &mut shared.scratch)
            && shared.scratch.family(family).is_some_and(|set| set.round() == restored.round)
    }

    /// Who the usual upstreams are, or were when there were any, as numbers that mean the same in every process.
    #[must_use]
    pub fn usual(&self) -> Vec<u64> {
        match (&self.shared.groups.latest[..], &self.restored) {
            ([], Some(before)) => before.usual.iter().copied().collect(),
            (latest, _) => marks(latest).into_iter().collect(),
        }
    }

    /// Other upstreams are asked: what was restored may be from another network.
    pub(crate) fn doubt_restored(&mut self) {
        let routes = &self.shared.groups.routes;
        let Some(before) = self.restored.as_ref().filter(|before| !before.fits(&marks(&routes.usual))) else {
            return;
        };
        let (round, domains) = (before.round, routes.clone());
        self.review_round(round, move |name| domains.domain(name).is_none());
    }

    /// Whether further saved sets are waited for.
    #[must_use]
    pub fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    /// No more of them is taken up.
    pub(crate) fn cut_restore(&mut self, why: &'static str) {
        if !self.shared.mutants.has(Mutant::FlushKeepsWhatIsSaved) {
            self.end_restore(Some(why));
        }
    }

    fn end_restore(&mut self, cut: Option<&'static str>) {
        if let Some(restoring) = self.restoring.take()
            && (cut.is_some() || restoring.result != Restored::default())
        {
            let note = Note::Restored(Restored { cut, ..restoring.result });
            self.shared.actions.push_back(Action::Note(note));
        }
    }

    /// A round begins: what was saved is older than what it finds out.
    pub(crate) fn supersede_saved(&mut self, question: &Question) {
        if let (Some(restoring), Some(family)) = (&mut self.restoring, question.family()) {
            restoring.known.note(&question.name, family);
        }
    }

    /// A name is to be forgotten, also what was saved of it.
    pub(crate) fn flush_saved(&mut self, name: &Name) {
        if let Some(restoring) = &mut self.restoring
            && !self.shared.mutants.has(Mutant::FlushKeepsWhatIsSaved)
        {
            [Family::A, Family::Aaaa].into_iter().for_each(|family| restoring.known.note(name, family));
        }
    }

    fn restore_one(&mut self, now: Monotonic, set: SavedSet) {
        let Some(restoring) = &self.restoring else { return };
        // A table that has to give up others for them has what is wanted.
        if self.shared.writer.is_full() || self.shared.writer.evictions() != restoring.evictions {
            return self.end_restore(Some("the table is full"));
        }
        let fate = self.fate(now, set);
        if let Some(restoring) = &mut self.restoring {
            *match fate {
                Fate::Taken => &mut restoring.result.sets,
                Fate::Expired => &mut restoring.result.expired,
                Fate::LeftOut => &mut restoring.result.left_out,
            } += 1;
        }
    }

    fn fate(&mut self, now: Monotonic, set: SavedSet) -> Fate {
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
        let mut draft = draft(set, round, now.plus(self.shared.settings.max_ttl));
        if self.shared.mutants.has(Mutant::RestoreTrustsEverybody) {
            draft.addresses.iter_mut().for_each(crate::trust::confirm);
        }
        match self.shared.publish(now, &name, family, draft) {
            Ok(_) => Fate::Taken,
            Err(_) => Fate::LeftOut,
        }
    }

    /// Whether something newer is known, or the answer would be sought elsewhere.
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
        (newer && !shared.mutants.has(Mutant::RestoresOverWhatIsNewer))
            || shared.groups.routes.mark(&set.name) != set.route
            || (set.route == 0 && !fits)
            || shared.said_here(&question).is_some()
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
        // A round that had not ended is not going on.
        state: if set.complete { State::Complete } else { State::Partial },
        negative: None,
        sorted: set.sorted,
        expire_ms: set.expire_ms.min(latest.as_ms()),
        lifetime_s: set.lifetime_s,
        addresses: set.addresses,
        chains: set.chains,
        soa: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_table::Link;

    #[test]
    fn what_was_saved_under_a_larger_bound_is_cut_to_it_with_all_its_links() {
        let target = "edge.test".parse().expect("a name");
        let set = SavedSet {
            name: "a.test".parse().expect("a name"),
            family: Family::A,
            route: 0,
            complete: true,
            sorted: false,
            expire_ms: 90_000,
            lifetime_s: 90,
            addresses: Vec::new(),
            chains: vec![Chain { links: vec![Link { target, expire_ms: 95_000 }] }],
        };
        let draft = draft(set, 1, Monotonic::from_ms(60_000));
        assert_eq!((draft.expire_ms, draft.chains[0].links[0].expire_ms), (60_000, 60_000));
    }
}
