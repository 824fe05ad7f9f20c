//! The hit path: a query that the cache can answer needs no allocation, round, or action.

use crate::faults::Faults;
use crate::question::{Question, family_of};
use crate::reply::{self, ReplyBuffer};
use crate::resolver::Rounds;
use crate::resolver::restore::FromBefore;
use crate::resolver::review::Change;
use crate::withheld::withheld;
use hither_answers::{Asked, Reader as AnswerReader, Stored};
use hither_table::layout::{SITE_ROUNDS, VERSION_MAX};
use hither_table::{
    Counter, Family, FamilyPolicy, Key, Monotonic, Place, Reader, Snapshot, Uses, WorkerSlot, WorkerSlots,
};
use hither_wire::query::Query;

/// A query, and the place of its answer in the table, if that has been computed.
#[derive(Clone, Copy, Debug)]
pub struct PlacedQuery<'q> {
    /// The query of a client.
    pub query: &'q Query<'q>,
    /// The query's [`Rounds::place`]; `None` if it has not been computed.
    pub place: Option<Place>,
}

/// The reply to a query from the cache.
#[derive(Clone, Copy, Default, Debug)]
pub struct Hit {
    /// The length of the reply; 0: a round is needed.
    pub len: usize,
    /// Whether the entry is about to expire, so that it should be refreshed.
    pub is_ending: bool,
    /// Whether the family is withheld, so that the reply is NODATA.
    pub is_withheld: bool,
    /// Whether the data was restored from before the last boot, and not renewed since.
    pub is_restored: bool,
    /// Whether another host of the site has learned the data.
    pub is_from_site: bool,
}

/// The cache as a worker thread uses it, without the core.
#[derive(Clone, Debug)]
pub struct Hits {
    reader: Reader,
    uses: Uses,
    answers: AnswerReader,
    /// The changes for which the cache is under review.
    changes: Vec<Change>,
    prefetch: bool,
    families: FamilyPolicy,
    foreign: Foreign,
    slots: WorkerSlots,
    scratch: Box<Snapshot>,
}

impl Hits {
    /// The entry's place in the table, see [`Rounds::place`].
    #[must_use]
    pub fn place(&self, query: &Query<'_>) -> Option<Place> {
        family(query).map(|_| self.reader.place(&Key::of_wire(query.qname())))
    }

    /// Prefetches memory, see [`Rounds::fetch`].
    pub fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone) {
        self.reader.fetch(places);
    }

    /// Answers `query` in at most `limit` octets of `out`.
    pub fn answer(&mut self, now: Monotonic, query: PlacedQuery<'_>, limit: usize, out: &mut [u8]) -> Hit {
        let PlacedQuery { query, place } = query;
        let key = Key::of_wire(query.qname());
        if let Some(family) = family(query)
            && self.reader.lookup_at(&key, place, &mut self.scratch, |line| self.uses.note(line)).is_ok()
            && !is_void(self.changes.iter(), query, &self.scratch)
            && let Some(hit) =
                self.of_table(family).reply(now, query, &self.scratch, ReplyBuffer { limit, out: &mut *out })
        {
            return Hit { is_ending: hit.is_ending && self.prefetch, ..hit };
        }
        let answers = AnswersUnderReview { answers: &self.answers, changes: self.changes.iter() };
        Hit { len: answers.reply(now, query, &key, ReplyBuffer { limit, out }), ..Hit::default() }
    }

    fn of_table(&self, family: Family) -> OfTable {
        OfTable { family, policy: self.families, foreign: self.foreign, faults: Faults::default() }
    }

    /// The slot of the n-th worker in the metrics of the table.
    #[must_use]
    pub fn slot(&self, worker: usize) -> Option<WorkerSlot> {
        self.slots.of(worker)
    }
}

/// The family of the table's answer to a query; `None` if the answer cache has such answers.
fn family(query: &Query<'_>) -> Option<Family> {
    family_of(query.qtype(), query.dnssec_ok() || query.cd())
}

/// The family that a query asks the table for, and the rule by which it may be withheld.
struct OfTable {
    family: Family,
    policy: FamilyPolicy,
    foreign: Foreign,
    faults: Faults,
}

/// The rounds of sets that no round of this process has gathered. A place without such sets is beyond
/// [`VERSION_MAX`], so that no round is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foreign {
    /// The round of restored sets.
    restored: u64,
    /// The first round of the sets of the site.
    site: u64,
}

impl Foreign {
    /// 0: there are no such sets.
    fn of(restored: u64, site: u64) -> Foreign {
        let place = |round| if round == 0 { VERSION_MAX } else { round };
        Foreign { restored: place(restored), site: place(site) }
    }

    /// Whether a set of this round was restored, and whether it came from the site.
    #[inline]
    fn has(self, round: u64) -> (bool, bool) {
        (round == self.restored, round.wrapping_sub(self.site) < SITE_ROUNDS)
    }
}

impl OfTable {
    /// Composes a reply from a record of the table; `None` if it has expired.
    #[inline]
    fn reply(
        &self,
        now: Monotonic,
        query: &Query<'_>,
        found: &Snapshot,
        buffer: ReplyBuffer<'_>,
    ) -> Option<Hit> {
        let view = found.family(self.family).filter(|view| !view.expired(now))?;
        let is_withheld = withheld(&found.entry(), self.family, self.policy, now, self.faults).is_some();
        let len = match is_withheld {
            true => reply::filtered(query, buffer),
            false => reply::record(now, query, &view, None, buffer),
        };
        let (is_restored, is_from_site) = self.foreign.has(view.round());
        Some(Hit { len, is_ending: view.is_ending(now), is_withheld, is_restored, is_from_site })
    }
}

/// Whether a change has voided the entry that was found.
#[inline]
fn is_void<'c>(
    mut changes: impl ExactSizeIterator<Item = &'c Change>,
    query: &Query<'_>,
    found: &Snapshot,
) -> bool {
    changes.len() > 0 && {
        let name = query.name_lower();
        changes.any(|change| change.voids_entry(&name, found))
    }
}

/// The answer cache, and the changes for which it is under review.
struct AnswersUnderReview<'a, C> {
    answers: &'a AnswerReader,
    changes: C,
}

impl<'c, C: ExactSizeIterator<Item = &'c Change>> AnswersUnderReview<'_, C> {
    /// Composes the reply to a query whose name has this key. Returns its length; 0: there is no answer.
    ///
    /// Cached failures are left to `Input::Ask`: there may be stale data for the question, or a trial may
    /// be due.
    #[inline]
    fn reply(mut self, now: Monotonic, query: &Query<'_>, key: &Key, buffer: ReplyBuffer<'_>) -> usize {
        let asked = Asked {
            name: key.as_wire(),
            rtype: query.qtype(),
            dnssec_ok: query.dnssec_ok(),
            checking_disabled: query.cd(),
        };
        let is_void = |number| {
            self.changes.len() > 0 && {
                let name = query.name_lower();
                self.changes.any(|change| change.voids_answer(&name, number))
            }
        };
        let take = |stored: &Stored| reply::stored(now, query, stored, None, buffer);
        self.answers.with(now, &asked, is_void, take).unwrap_or(0)
    }
}

impl Rounds {
    /// The place in the table where the answer to a query may be; `None` if the table does not store
    /// such answers.
    #[must_use]
    pub fn place(&self, query: &Query<'_>) -> Option<Place> {
        family(query).map(|_| self.shared.writer.place(&Key::of_wire(query.qname())))
    }

    /// Prefetches several places from memory, before the queries are answered one by one.
    pub fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone) {
        self.shared.writer.fetch(places);
    }

    /// Answers `query` from the cache into `out`, in at most `limit` octets. Returns the reply's
    /// length, or 0 when the cache has no answer: then report the query as `Input::Ask`.
    pub fn answer_hit(&mut self, now: Monotonic, query: &Query<'_>, limit: usize, out: &mut [u8]) -> usize {
        self.answer_hit_at(now, PlacedQuery { query, place: None }, limit, out)
    }

    /// [`Rounds::answer_hit`] for a query whose [`Rounds::place`] may be known.
    pub fn answer_hit_at(
        &mut self,
        now: Monotonic,
        query: PlacedQuery<'_>,
        limit: usize,
        out: &mut [u8],
    ) -> usize {
        let PlacedQuery { query, place } = query;
        let key = Key::of_wire(query.qname());
        let shared = &mut self.shared;
        let mut hit = Hit::default();
        if let Some(family) = family(query)
            && shared.writer.hit(&key, place, &mut shared.scratch)
            && !is_void(self.changes(), query, &self.shared.scratch)
            && let Some(found) = self.of_table(family).reply(
                now,
                query,
                &self.shared.scratch,
                ReplyBuffer { limit, out: &mut *out },
            )
        {
            hit = found;
            if hit.is_ending && self.shared.settings.prefetch {
                self.note_expiring(Question::of(query));
            }
        } else if !self.shared.answers.is_empty() {
            let answers =
                AnswersUnderReview { answers: self.shared.answers.reader(), changes: self.changes() };
            hit.len = answers.reply(now, query, &key, ReplyBuffer { limit, out });
        }
        if hit.len > 0 {
            self.shared.counters.add(Counter::Hits, 1);
            self.shared.counters.add(Counter::FamiliesWithheld, u64::from(hit.is_withheld));
            self.shared.counters.add(Counter::RestoredHits, u64::from(hit.is_restored));
            self.shared.counters.add(Counter::SiteHits, u64::from(hit.is_from_site));
        }
        hit.len
    }

    fn of_table(&self, family: Family) -> OfTable {
        let (policy, faults) = (self.shared.settings.families, self.shared.faults);
        OfTable { family, policy, foreign: self.foreign(), faults }
    }

    #[inline]
    fn foreign(&self) -> Foreign {
        Foreign::of(self.restored.as_ref().map_or(0, FromBefore::round), self.shared.site.first_round())
    }

    /// Notes a cached entry that was used when less than a fifth of its lifetime was left.
    pub fn note_expiring(&mut self, question: Question) {
        if self.expiring.len() < EXPIRING_MAX {
            self.expiring.push_back(question);
        }
    }

    /// The cache for a worker thread. The shell makes a new one when the table has been replaced, when
    /// settings, routes or local names change, or when [`Rounds::changed`] does.
    #[must_use]
    pub fn hits(&self) -> Hits {
        Hits {
            reader: self.shared.writer.reader(),
            uses: self.shared.writer.uses(),
            answers: self.shared.answers.reader().clone(),
            changes: self.changes().cloned().collect(),
            prefetch: self.shared.settings.prefetch,
            families: self.shared.settings.families,
            foreign: self.foreign(),
            slots: self.shared.writer.worker_slots(),
            scratch: Box::new(Snapshot::new()),
        }
    }

    /// The next entry that was used when less than a fifth of its lifetime was left, for
    /// [`crate::Input::Refresh`].
    pub fn next_expiring(&mut self) -> Option<Question> {
        self.expiring.pop_front()
    }
}

/// Upper bound of the entries kept for [`Rounds::next_expiring`]. More are dropped: an entry in use is
/// noted again.
pub(crate) const EXPIRING_MAX: usize = 32;
