//! Answers from the cache: fresh data, stale data (RFC 8767), or a cached failure (RFC 9520).

use crate::question::Question;
use crate::reply::{Answer, ede};
use crate::shared::Shared;
use hither_answers::Stored;
use hither_table::{Family, Key, Record, StaleTime, Use};
use hither_wire::codes::Rcode;
use std::sync::Arc;

impl Shared {
    /// The fresh answer to `question`, if the cache has one.
    pub fn cached(&mut self, question: &Question) -> Option<Answer> {
        let now = self.now;
        if let Some(family) = question.family()
            && self.writer.get(&Key::of(&question.name), &mut self.scratch)
            && self.scratch.family(family).is_some_and(|view| !view.expired(now))
        {
            return Some(Answer::Record { record: Record::of(&self.scratch), family, stale_ttl_s: None });
        }
        let failed = if question.checking_disabled { question.unvalidated() } else { *question };
        let stored = match question.checking_disabled {
            true => self.cached_for_validating(question),
            false => self.answers.get(&question.asked()).filter(|stored| !stored.expired(now)),
        };
        if let Some(stored) = stored {
            return Some(Answer::of(stored, None));
        }
        let failure = Answer::Empty { rcode: Rcode::SERVFAIL, ede: Some(ede::CACHED_ERROR) };
        self.answers.has_failed(now, &failed.asked()).then(|| self.stale(&failed).unwrap_or(failure))
    }

    /// The cached answer for a validating client: one without validation, else one with it. The answer
    /// is then stored under the client's own question too, so that the next query is a hit.
    fn cached_for_validating(&mut self, question: &Question) -> Option<Arc<Stored>> {
        let now = self.now;
        let get = |of: &Question| self.answers.get(&of.asked()).filter(|stored| !stored.expired(now));
        if let Some(stored) = get(question) {
            return Some(stored);
        }
        let stored = get(&question.unvalidated()).or_else(|| get(&question.validated()))?;
        let omits_signatures = !question.dnssec_ok && stored.is_signed();
        let stored = if omits_signatures { Arc::new(stored.without_signatures()?) } else { stored };
        self.answers.put(&question.asked(), Arc::clone(&stored));
        Some(stored)
    }

    /// The question whose round answers a client's question, see [`Question::validated`].
    pub fn coalesced_question(&self, question: &Question) -> Question {
        let now = self.now;
        if !question.checking_disabled {
            return *question;
        }
        let checked = question.validated();
        if self.answers.has_failed(now, &checked.asked()) { question.unvalidated() } else { checked }
    }

    /// The stale answer to `question`, while it may be served (RFC 8767 section 4).
    pub fn stale(&mut self, question: &Question) -> Option<Answer> {
        let Some(family) = question.family() else { return self.stale_answer(question) };
        if self.settings.stale.is_zero() || !self.writer.get(&Key::of(&question.name), &mut self.scratch) {
            return None;
        }
        if !self.is_stale(family) {
            return None;
        }
        let stale_ttl_s = u32::try_from(self.settings.stale_ttl.as_secs()).unwrap_or(u32::MAX);
        Some(Answer::Record { record: Record::of(&self.scratch), family, stale_ttl_s: Some(stale_ttl_s) })
    }

    /// Whether the entry in `scratch` has a set of the family that is stale.
    pub fn is_stale(&self, family: Family) -> bool {
        let now = self.now;
        let time = StaleTime::of(self.settings.stale);
        self.scratch.family(family).is_some_and(|view| view.usable(time, now) == Use::Stale)
    }

    /// The stale answer from the answer cache. Denials are never stale. A validating client may get a
    /// validated answer.
    fn stale_answer(&self, question: &Question) -> Option<Answer> {
        let now = self.now;
        let checked =
            || question.checking_disabled.then(|| self.answers.get(&question.validated().asked())).flatten();
        let stored = self.answers.get(&question.asked()).or_else(checked)?;
        let until = stored.expires().plus(self.settings.stale);
        let stale_ttl_s = Some(u32::try_from(self.settings.stale_ttl.as_secs()).unwrap_or(u32::MAX));
        (stored.expired(now) && now < until && !stored.is_denial()).then(|| Answer::of(stored, stale_ttl_s))
    }
}
