//! The private answer cache: what is not plain addresses, and failures.
//!
//! Each answer is one upstream's own octets, found by its question alone. Bounded in entries and octets; the oldest go first.

use crate::Question;
use hither_table::Monotonic;
use hither_wire::{
    codes::{Rcode, Rtype},
    message::{Message, Section},
};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// One upstream's answer, without its OPT and additional records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The message up to the end of its authority section.
    octets: Vec<u8>,
    /// Where the question ends.
    body_at: usize,
    /// Where each record's TTL stands, and the TTL as it came (bounded by the configuration).
    ttls: Vec<(usize, u32)>,
    /// Records in the answer and in the authority section.
    counts: [u16; 2],
    rcode: Rcode,
    received: Monotonic,
    expires: Monotonic,
}

impl Stored {
    /// Keeps what `message` says for `ttl_s`; records that lived longer are cut to `ttl_max_s`.
    #[must_use]
    pub fn new(message: &Message<'_>, now: Monotonic, ttl_s: u32, ttl_max_s: u32) -> Option<Self> {
        let octets = message.octets();
        let mut end = 0;
        let mut counts = [0u16; 2];
        let mut ttls = Vec::new();
        let question = message.question()?;
        let body_at = 12 + question.name.as_wire().len() + 4;
        let any = question.rtype == Rtype::ANY;
        let mut only = None;
        for record in message.records() {
            // Of all types one is enough (RFC 8482 section 4.1); what comes first needs nothing that comes after it.
            if any && *only.get_or_insert((record.owner(), record.rtype)) != (record.owner(), record.rtype) {
                break;
            }
            match record.section {
                Section::Answer => counts[0] += 1,
                Section::Authority => counts[1] += 1,
                Section::Additional => break,
            }
            ttls.push((record.ttl_at, record.ttl.min(ttl_max_s)));
            end = record.rdata_at + record.rdata.len();
        }
        Some(Self {
            octets: octets.get(..end.max(body_at))?.to_vec(),
            body_at,
            ttls,
            counts,
            rcode: message.header().rcode(),
            received: now,
            expires: now.plus(Duration::from_secs(u64::from(ttl_s))),
        })
    }

    /// What follows the question, TTLs as they came.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.octets.get(self.body_at..).unwrap_or_default()
    }

    /// Where in [`Stored::body`] each TTL stands, and what it is at `now`.
    pub fn ttls(&self, now: Monotonic) -> impl Iterator<Item = (usize, u32)> + '_ {
        let age_s = u32::try_from(now.since(self.received).as_secs()).unwrap_or(u32::MAX);
        self.ttls.iter().map(move |&(at, ttl)| (at - self.body_at, ttl.saturating_sub(age_s)))
    }

    /// Length of the question it answers, in octets; a client's question has the same.
    #[must_use]
    pub fn question_len(&self) -> usize {
        self.body_at - 12
    }

    /// Records in the answer and in the authority section.
    #[must_use]
    pub fn counts(&self) -> [u16; 2] {
        self.counts
    }

    /// The upstream's RCODE.
    #[must_use]
    pub fn rcode(&self) -> Rcode {
        self.rcode
    }

    /// Whether it says that there is nothing.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        self.counts[0] == 0 || self.rcode != Rcode::NOERROR
    }

    /// When its time is over.
    #[must_use]
    pub fn expires(&self) -> Monotonic {
        self.expires
    }

    /// Whether its time is over.
    #[must_use]
    pub fn expired(&self, now: Monotonic) -> bool {
        now >= self.expires
    }
}

/// A remembered answer.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    Answer(Rc<Stored>),
    /// Every upstream failed (RFC 9520).
    Failure {
        until: Monotonic,
        /// What was known before.
        before: Option<Rc<Stored>>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Answers {
    kept: BTreeMap<Question, (u64, Kept)>,
    /// Oldest first; an entry counts only while its number is the one in `kept`.
    age: VecDeque<(u64, Question)>,
    next: u64,
    octets: usize,
}

/// Octets kept for an entry on average before the oldest go; most answers are far smaller.
const OCTETS_PER_ENTRY: usize = 1024;

impl Answers {
    pub fn get(&self, now: Monotonic, question: &Question) -> Option<&Kept> {
        match self.kept.get(question) {
            Some((_, kept @ Kept::Answer(stored))) if !stored.expired(now) => Some(kept),
            Some((_, kept @ Kept::Failure { until, .. })) if now < *until => Some(kept),
            _ => None,
        }
    }

    /// The answer that is kept, fresh or not, or that was kept before the latest failure.
    pub fn outdated(&self, question: &Question) -> Option<&Rc<Stored>> {
        match &self.kept.get(question)?.1 {
            Kept::Answer(stored) => Some(stored),
            Kept::Failure { before, .. } => before.as_ref(),
        }
    }

    /// Remembers a failure beside what was known.
    pub fn fail(&mut self, question: Question, until: Monotonic, capacity: usize) {
        let before = self.outdated(&question).cloned();
        self.put(question, Kept::Failure { until, before }, capacity);
    }

    /// Forgets that anything failed.
    pub fn forget_failures(&mut self) {
        for (_, kept) in self.kept.values_mut() {
            if let Kept::Failure { until, .. } = kept {
                *until = Monotonic(0);
            }
        }
    }

    /// Names of all entries.
    pub fn names(&self) -> impl Iterator<Item = &hither_wire::name::Name> {
        self.kept.keys().map(|question| &question.name)
    }

    pub fn put(&mut self, question: Question, kept: Kept, capacity: usize) {
        self.remove(&question);
        self.octets += size(&kept);
        self.next += 1;
        self.age.push_back((self.next, question));
        self.kept.insert(question, (self.next, kept));
        while self.kept.len() > capacity.max(1) || self.octets > capacity.max(1) * OCTETS_PER_ENTRY {
            if !self.drop_oldest() {
                break;
            }
        }
        if self.age.len() > 2 * self.kept.len() + 64 {
            let kept = &self.kept;
            self.age.retain(|(number, question)| kept.get(question).is_some_and(|(n, _)| n == number));
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((number, question)) = self.age.pop_front() else { return false };
        if self.kept.get(&question).is_some_and(|(n, _)| *n == number) {
            self.remove(&question);
        }
        true
    }

    pub fn remove(&mut self, question: &Question) {
        if let Some((_, kept)) = self.kept.remove(question) {
            self.octets -= size(&kept);
        }
    }

    /// Forgets every type and variant of a name.
    pub fn remove_name(&mut self, name: &hither_wire::name::Name) {
        let first = Question { name: *name, rtype: Rtype(0), dnssec_ok: false, checking_disabled: false };
        let questions: Vec<Question> =
            self.kept.range(first..).take_while(|(q, _)| q.name == *name).map(|(q, _)| *q).collect();
        for question in &questions {
            self.remove(question);
        }
    }

    pub fn clear(&mut self) {
        self.kept.clear();
        self.age.clear();
        self.octets = 0;
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn check_invariants(&self) {
        assert_eq!(
            self.octets,
            self.kept.values().map(|(_, k)| size(k)).sum::<usize>(),
            "octets of the answer cache"
        );
        assert!(self.age.len() >= self.kept.len(), "an answer that never ages");
    }
}

fn size(kept: &Kept) -> usize {
    match kept {
        Kept::Answer(stored) => stored.octets.len(),
        Kept::Failure { before, .. } => before.as_ref().map_or(0, |stored| stored.octets.len()),
    }
}
