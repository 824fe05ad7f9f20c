//! The hit path: a query that the cache can answer is answered without an allocation and without starting anything.

use crate::answers::Kept;
use crate::reply;
use crate::{Question, Rounds, WANTED_MAX};
use hither_table::{Counter, Key, Monotonic};
use hither_wire::query::Query;

impl Rounds {
    /// Answers `query` from the cache into `out`, in at most `limit` octets. Returns the reply's length, or 0 when the cache
    /// does not have it: then hand it in as `Input::Ask`.
    pub fn answer_hit(&mut self, now: Monotonic, query: &Query<'_>, limit: usize, out: &mut [u8]) -> usize {
        let question = Question {
            name: query.name_lower(),
            rtype: query.qtype(),
            dnssec_ok: query.dnssec_ok(),
            checking_disabled: query.cd(),
        };
        let shared = &mut self.shared;
        let mut written = 0;
        if let Some(family) = question.family()
            && shared.writer.hit(&Key::of(&question.name), &mut shared.scratch)
            && let Some(view) = shared.scratch.family(family)
            && !view.expired(now)
        {
            written = reply::record(now, query, &view, None, limit, out);
            if shared.settings.prefetch && view.is_ending(now) && self.wanted.len() < WANTED_MAX {
                self.wanted.push_back(question);
            }
        } else if shared.answers.len() > 0 {
            written = match shared.answers.get(now, &question) {
                Some(Kept::Answer(stored)) => reply::stored(now, query, stored, None, (limit, out)),
                // A failure may have stale data beside it, or be due for another trial, which the slower way finds.
                Some(Kept::Failure { .. }) | None => 0,
            };
        }
        if written > 0 {
            shared.counters.add(Counter::Hits, 1);
        }
        written
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
            exact: false,
            cookie: None,
            name: &question.name,
            rtype: question.rtype,
            addresses: question.family().is_some(),
            mutants: self.shared.mutants,
        };
        if let Heard::Addresses { chain, addresses, ttl_s } = read(octets, &expected, now) {
            let more = crate::set::Contribution {
                from: crate::UpstreamId(0),
                chain,
                addresses,
                ttl_s,
                bound_ms: u64::MAX,
            };
            self.with(now, id, |round, shared| {
                round.contribute(shared, now, more);
                round.conclude(shared, now)
            });
        }
    }
}
