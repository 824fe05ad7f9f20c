//! The hit path: a query that the cache can answer is answered without an allocation and without starting anything.

use crate::question::family_of;
use crate::reply;
use crate::review::Change;
use crate::{Question, Rounds, WANTED_MAX};
use hither_answers::{Asked, Reader as AnswerReader, Stored};
use hither_table::{Counter, Family, Key, Monotonic, Place, Reader, Snapshot, Uses};
use hither_wire::query::Query;

/// The cache for a thread of its own: what it can answer alone.
#[derive(Clone, Debug)]
pub struct Hits {
    reader: Reader,
    uses: Uses,
    answers: AnswerReader,
    /// What has changed, where the cache is not yet looked through for what that voids.
    changes: Vec<Change>,
    prefetch: bool,
    scratch: Box<Snapshot>,
}

impl Hits {
    /// See [`Rounds::place`].
    #[must_use]
    pub fn place(&self, query: &Query<'_>) -> Option<Place> {
        family(query).map(|_| self.reader.place(&Key::of_wire(query.qname())))
    }

    /// See [`Rounds::fetch`].
    pub fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone) {
        self.reader.fetch(places);
    }

    /// Answers `query` in at most `limit` octets of `out`. Returns the reply's length, or 0 when a round is needed; and whether the entry is to
    /// be found out again, since little of its time is left.
    pub fn answer(
        &mut self,
        now: Monotonic,
        (query, place): (&Query<'_>, Option<Place>),
        limit: usize,
        out: &mut [u8],
    ) -> (usize, bool) {
        let key = Key::of_wire(query.qname());
        if let Some(family) = family(query)
            && self.reader.lookup_at(&key, place, &mut self.scratch, |line| self.uses.note(line)).is_ok()
            && !is_void(self.changes.iter(), query, &self.scratch)
            && let Some((len, ending)) = from_table(now, query, family, &self.scratch, limit, out)
        {
            return (len, ending && self.prefetch);
        }
        (from_answers(now, (query, &key), (&self.answers, self.changes.iter()), limit, out), false)
    }
}

/// The family of the table that answers a query, if one does.
fn family(query: &Query<'_>) -> Option<Family> {
    family_of(query.qtype(), query.dnssec_ok() || query.cd())
}

/// A reply from a record that was found, and whether its time is nearly over; `None` when it is over.
#[inline]
fn from_table(
    now: Monotonic,
    query: &Query<'_>,
    family: Family,
    found: &Snapshot,
    limit: usize,
    out: &mut [u8],
) -> Option<(usize, bool)> {
    let view = found.family(family).filter(|view| !view.expired(now))?;
    Some((reply::record(now, query, &view, None, limit, out), view.is_ending(now)))
}

/// Whether an entry that was found is void.
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

/// A failure that is remembered may have stale data beside it, or be due for another trial, which the slower way finds.
#[inline]
fn from_answers<'c>(
    now: Monotonic,
    (query, key): (&Query<'_>, &Key),
    (answers, mut changes): (&AnswerReader, impl ExactSizeIterator<Item = &'c Change>),
    limit: usize,
    out: &mut [u8],
) -> usize {
    let dnssec = (query.dnssec_ok(), query.cd());
    let asked = Asked { name: key.as_wire(), rtype: query.qtype(), dnssec };
    let is_void = |number| {
        changes.len() > 0 && {
            let name = query.name_lower();
            changes.any(|change| change.voids_answer(&name, number))
        }
    };
    let take = |stored: &Stored| reply::stored(now, query, stored, None, (limit, out));
    answers.with(now, &asked, is_void, take).unwrap_or(0)
}

impl Rounds {
    /// Where in the table the answer to a query may be, if it is there that answers to such queries are.
    #[must_use]
    pub fn place(&self, query: &Query<'_>) -> Option<Place> {
        family(query).map(|_| self.shared.writer.place(&Key::of_wire(query.qname())))
    }

    /// Has what is at some places fetched from memory, before the queries are answered one by one.
    pub fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone) {
        self.shared.writer.fetch(places);
    }

    /// Answers `query` from the cache into `out`, in at most `limit` octets. Returns the reply's length, or 0 when the cache
    /// does not have it: then hand it in as `Input::Ask`.
    pub fn answer_hit(&mut self, now: Monotonic, query: &Query<'_>, limit: usize, out: &mut [u8]) -> usize {
        self.answer_hit_at(now, (query, None), limit, out)
    }

    /// The same for a query whose [`Rounds::place`] may be known.
    pub fn answer_hit_at(
        &mut self,
        now: Monotonic,
        (query, place): (&Query<'_>, Option<Place>),
        limit: usize,
        out: &mut [u8],
    ) -> usize {
        let key = Key::of_wire(query.qname());
        let shared = &mut self.shared;
        let mut written = 0;
        if let Some(family) = family(query)
            && shared.writer.hit(&key, place, &mut shared.scratch)
            && !is_void(self.changes(), query, &self.shared.scratch)
            && let Some((len, ending)) = from_table(now, query, family, &self.shared.scratch, limit, out)
        {
            written = len;
            if ending && self.shared.settings.prefetch {
                self.want(Question::of(query));
            }
        } else if !self.shared.answers.is_empty() {
            let answers = self.shared.answers.reader();
            written = from_answers(now, (query, &key), (answers, self.changes()), limit, out);
        }
        if written > 0 {
            self.shared.counters.add(Counter::Hits, 1);
        }
        written
    }

    /// Notes an entry that was answered from the cache when less than a fifth of its time was left.
    pub fn want(&mut self, question: Question) {
        if self.wanted.len() < WANTED_MAX {
            self.wanted.push_back(question);
        }
    }

    /// What a thread of its own needs to answer from the cache; to be had anew when the table has been replaced, or settings, routes or local names have
    /// changed.
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

    /// The next entry that was answered from the cache when less than a fifth of its time was left, for [`crate::Input::Refresh`].
    pub fn wanted(&mut self) -> Option<Question> {
        self.wanted.pop_front()
    }

    pub(crate) fn late(&mut self, now: Monotonic, octets: &[u8]) {
        self.shared.counters.add(Counter::LateResponsesDropped, 1);
        #[cfg(any(test, feature = "mutants"))]
        self.merge_late(now, octets);
        let _ = (now, octets);
    }

    /// What the program did in which the race was found.
    #[cfg(any(test, feature = "mutants"))]
    fn merge_late(&mut self, now: Monotonic, octets: &[u8]) {
        use crate::mutant::Mutant;
        use crate::response::{Expected, Heard, read};
        use hither_wire::message::Message;
        use std::time::Duration;
        if !self.shared.mutants.has(Mutant::LateAnswerOfAnOldRoundIsMerged) {
            return;
        }
        let Some((message, asked)) = Message::read(octets).ok().and_then(|m| m.question().map(|q| (m, q)))
        else {
            return;
        };
        let question = Question {
            name: asked.name.to_lower(),
            rtype: asked.rtype,
            dnssec_ok: false,
            checking_disabled: false,
        };
        let Some(id) = self.live.get(&question).copied() else { return };
        let expected = Expected {
            id: message.header().id,
            sent: question.name.as_wire(),
            udp: true,
            exact: false,
            last: false,
            cookie: None,
            name: &question.name,
            rtype: question.rtype,
            addresses: question.family().is_some(),
            bounds: crate::settings::Bounds::of(&self.shared.settings),
            mutants: self.shared.mutants,
        };
        if let Heard::Addresses { chain, addresses, ttl_s } = read(&message, &expected, now, Vec::new()) {
            let more = crate::set::Contribution {
                from: crate::UpstreamId(0),
                chain,
                addresses,
                expire_ms: now.plus(Duration::from_secs(u64::from(ttl_s))).as_ms(),
            };
            self.with(now, id, |round, shared| {
                round.contribute(shared, now, &more);
                round.conclude(shared, now)
            });
        }
    }
}
