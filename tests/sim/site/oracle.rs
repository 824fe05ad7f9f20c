//! What a host of a site promises, whatever its companion and the engine do.

use super::truth::{Truth, generation_of};
use hither_rounds::{Answer, Offer, Question};
use hither_table::{AnswerSource, FamilyView, Monotonic};
use hither_wire::reach::Reach;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Unanswered questions in a row after which no client waits any more.
const MISSED_MAX: u32 = 3;

/// A name at a host.
#[derive(Clone, Default, Debug)]
pub struct Known {
    /// No older generation is shown any more.
    generation: u64,
    version: u64,
    /// When it was flushed last.
    flushed: Monotonic,
}

/// A question to the site for which its round waits.
#[derive(Clone, Copy, Debug)]
struct Wait {
    round: u64,
    since: Monotonic,
    is_answered: bool,
}

/// The promises of one host.
#[derive(Debug)]
pub struct Oracle {
    known: Vec<Known>,
    /// Clients that wait, with the time until which they may.
    clients: BTreeMap<u64, Monotonic>,
    waits: BTreeMap<usize, Wait>,
    /// Those of them that the site has answered in this call; several clients may have waited.
    answered: BTreeSet<usize>,
    /// The question that is asked beside its round.
    trial: Option<Wait>,
    missed: u32,
    wait: Duration,
    lies: bool,
}

impl Oracle {
    pub fn new(names: usize, wait: Duration, lies: bool) -> Oracle {
        Oracle {
            known: vec![Known::default(); names],
            clients: BTreeMap::new(),
            waits: BTreeMap::new(),
            answered: BTreeSet::new(),
            trial: None,
            missed: 0,
            wait,
            lies,
        }
    }

    /// The process ends, with all that waits for it.
    pub fn restart(&mut self) {
        self.clients.clear();
        self.waits.clear();
        (self.trial, self.missed) = (None, 0);
    }

    pub fn ask(&mut self, client: u64, until: Monotonic) {
        assert!(self.clients.insert(client, until).is_none(), "a client asks twice");
    }

    /// A client has its reply.
    pub fn reply(&mut self, client: u64, question: Option<usize>, answer: &Answer, source: AnswerSource) {
        assert!(self.clients.remove(&client).is_some(), "a reply to nobody, or a second one");
        let (Answer::Record { record, family, .. }, Some(n)) = (answer, question) else { return };
        let set = record.family(*family).expect("the set of the reply");
        self.judge_set(n, &set, "replied");
        if source == AnswerSource::Site {
            assert!(self.waits.contains_key(&n), "the site answers a round that did not wait for it");
            self.answered.insert(n);
        }
    }

    /// A round has sent a query for a name.
    pub fn sent(&mut self, n: usize, now: Monotonic) {
        if let Some(wait) = self.waits.remove(&n)
            && !wait.is_answered
            && now >= wait.since.plus(self.wait)
        {
            self.missed += 1;
        }
    }

    /// The site is asked; `is_beside`: the round has sent its queries too.
    pub fn asks_site(&mut self, n: usize, round: u64, now: Monotonic, is_beside: bool) {
        let wait = Wait { round, since: now, is_answered: false };
        if is_beside {
            self.trial = Some(wait);
        } else {
            assert!(self.missed < MISSED_MAX, "a client waits for a site that does not answer");
            self.waits.insert(n, wait);
        }
    }

    /// The companion answers.
    pub fn site_answers(&mut self, round: u64, now: Monotonic) {
        let in_time = |wait: &Wait| wait.round == round && now <= wait.since.plus(self.wait);
        if self.waits.values().any(in_time) || self.trial.as_ref().is_some_and(in_time) {
            self.missed = 0;
        }
        self.waits.values_mut().for_each(|wait| wait.is_answered |= wait.round == round);
        self.trial.take_if(|wait| wait.round == round);
    }

    /// A round ends before it was answered: it does not wait any more.
    pub fn ends_wait(&mut self, n: Option<usize>) {
        self.waits.retain(|of, _| n.is_some_and(|n| n != *of));
    }

    /// A name, or all, is flushed. What was asked before must not come back.
    pub fn flush(&mut self, n: Option<usize>, truth: &Truth, now: Monotonic) {
        for (at, known) in self.known.iter_mut().enumerate() {
            if n.is_none_or(|n| n == at) {
                known.flushed = now;
                known.generation = known.generation.max(truth.of(at));
            }
        }
    }

    /// All sets of the site are flushed.
    pub fn flush_site(&mut self, now: Monotonic) {
        self.known.iter_mut().for_each(|known| known.flushed = now);
    }

    /// An offer was published.
    pub fn published(&self, n: usize, offer: &Offer, set: &FamilyView<'_>) {
        let known = &self.known[n];
        assert!(offer.times.asked > known.flushed, "what was flushed comes back");
        let most_ms = offer.times.asked.as_ms() + u64::from(offer.times.lifetime_s) * 1000;
        assert!(set.expire_ms() <= offer.times.expire_ms.min(most_ms), "an offer lives longer than it may");
        assert!(set.version() > known.version, "a version from outside");
    }

    /// What readers see of a name.
    pub fn see(&mut self, n: usize, set: &FamilyView<'_>, truth: &Truth) {
        self.judge_set(n, set, "shown");
        let known = &mut self.known[n];
        assert!(set.version() >= known.version, "a version that does not grow");
        known.version = set.version();
        if let Some(generation) = generation_of(set).filter(|_| !self.lies) {
            known.generation = generation;
            assert!(set.expire_ms() <= truth.expires(n, generation), "a set outlives its TTL");
        }
    }

    fn judge_set(&self, n: usize, set: &FamilyView<'_>, how: &str) {
        let is_public = |own: hither_table::Address| Reach::of(own.address) == Reach::Public;
        assert!(set.addresses().all(is_public), "a private address is {how}");
        if !self.lies {
            let generation = generation_of(set).expect("a set of a zone");
            let newest = self.known[n].generation;
            assert!(generation >= newest, "generation {generation} of {n} is {how} after {newest}");
        }
    }

    /// Every promise with a deadline is kept.
    pub fn after_call(&mut self, now: Monotonic) {
        let answered = std::mem::take(&mut self.answered);
        self.waits.retain(|n, _| !answered.contains(n));
        for (n, wait) in &self.waits {
            assert!(now <= wait.since.plus(self.wait), "{n} waits for the site since {:?}", wait.since);
        }
        for (client, until) in &self.clients {
            assert!(now <= *until, "client {client} waits for ever");
        }
    }

    /// The world is over.
    pub fn end(&self) {
        assert!(self.clients.is_empty(), "clients without a reply: {:?}", self.clients);
    }
}

/// The number of the name of a question.
pub fn number_of(question: &Question) -> Option<usize> {
    let label = question.name.labels().next()?;
    std::str::from_utf8(label).ok()?.strip_prefix('h')?.parse().ok()
}
