//! The hit path: a query that the cache can answer needs no allocation, round, or action.

use crate::question::{Question, family_of};
use crate::reply::{self, ReplyBuffer};
use crate::resolver::Rounds;
use crate::resolver::review::Change;
use hither_answers::{Asked, Reader as AnswerReader, Stored};
use hither_table::{Counter, Family, Key, Monotonic, Place, Reader, Snapshot, Uses};
use hither_wire::query::Query;

/// A query, and the place of its answer in the table, if that has been computed.
#[derive(Clone, Copy, Debug)]
pub struct PlacedQuery<'q> {
    /// The query of a client.
    pub query: &'q Query<'q>,
    /// The query's [`Rounds::place`]; `None` if it has not been computed.
    pub place: Option<Place>,
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

    /// Answers `query` in at most `limit` octets of `out`. Returns the reply's length, or 0 when a
    /// round is needed, and whether the entry is about to expire, so that it should be refreshed.
    pub fn answer(
        &mut self,
        now: Monotonic,
        query: PlacedQuery<'_>,
        limit: usize,
        out: &mut [u8],
    ) -> (usize, bool) {
        let PlacedQuery { query, place } = query;
        let key = Key::of_wire(query.qname());
        if let Some(family) = family(query)
            && self.reader.lookup_at(&key, place, &mut self.scratch, |line| self.uses.note(line)).is_ok()
            && !is_void(self.changes.iter(), query, &self.scratch)
            && let Some((len, ending)) =
                from_table(now, query, family, &self.scratch, ReplyBuffer { limit, out: &mut *out })
        {
            return (len, ending && self.prefetch);
        }
        let answers = AnswersUnderReview { answers: &self.answers, changes: self.changes.iter() };
        (answers.reply(now, query, &key, ReplyBuffer { limit, out }), false)
    }
}

/// The family of the table's answer to a query; `None` if the answer cache has such answers.
fn family(query: &Query<'_>) -> Option<Family> {
    family_of(query.qtype(), query.dnssec_ok() || query.cd())
}

/// Composes a reply from a record of the table. Returns its length, and whether the record is about to
/// expire; `None` if it has expired.
#[inline]
fn from_table(
    now: Monotonic,
    query: &Query<'_>,
    family: Family,
    found: &Snapshot,
    buffer: ReplyBuffer<'_>,
) -> Option<(usize, bool)> {
    let view = found.family(family).filter(|view| !view.expired(now))?;
    Some((reply::record(now, query, &view, None, buffer), view.is_ending(now)))
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
        let mut written = 0;
        if let Some(family) = family(query)
            && shared.writer.hit(&key, place, &mut shared.scratch)
            && !is_void(self.changes(), query, &self.shared.scratch)
            && let Some((len, ending)) =
                from_table(now, query, family, &self.shared.scratch, ReplyBuffer { limit, out: &mut *out })
        {
            written = len;
            if ending && self.shared.settings.prefetch {
                self.note_expiring(Question::of(query));
            }
        } else if !self.shared.answers.is_empty() {
            let answers =
                AnswersUnderReview { answers: self.shared.answers.reader(), changes: self.changes() };
            written = answers.reply(now, query, &key, ReplyBuffer { limit, out });
        }
        if written > 0 {
            self.shared.counters.add(Counter::Hits, 1);
        }
        written
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
