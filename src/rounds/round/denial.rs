//! Denials: the clients get NXDOMAIN or NODATA, and the cache stores it.

use crate::question::Question;
use crate::reply::{Answer, ede};
use crate::round::{Phase, Round};
use crate::shared::Shared;
use crate::trace::Cause;
use hither_answers::Stored;
use hither_table::{Chain, FamilyDraft, Monotonic, Negative, SoaRecord, State};
use hither_wire::codes::{Class, Rcode};
use hither_wire::compose::{Composer, flags};
use hither_wire::message::{Message, Section};
use std::sync::Arc;

impl Round {
    pub fn deny(
        &mut self,
        shared: &mut Shared,
        kind: Negative,
        expire_ms: u64,
        chains: Vec<Chain>,
        soa: Option<Box<SoaRecord>>,
    ) {
        let Some(family) = self.question.family() else { return };
        // No further upstream is queried. An outstanding attempt may still have an answer.
        self.next_wave_at = None;
        let set = FamilyDraft {
            version: 0,
            set_version: 0,
            round: self.id,
            state: if self.attempts.is_empty() && !self.is_cut_short {
                State::Complete
            } else {
                State::First
            },
            negative: Some(kind),
            sorted: false,
            expire_ms,
            lifetime_s: 0,
            agreement: self.heard.agreement(&[], shared.faults),
            addresses: Vec::new(),
            chains,
            soa,
        };
        let cause = if kind == Negative::Withheld { Cause::Withheld } else { Cause::Denied };
        match shared.publish(&self.question.name, family, set, cause) {
            Ok(published) => {
                shared.answers.forget_failure(&self.question.asked());
                self.reply_to_all(
                    shared,
                    &Answer::Record { record: published.record, family, stale_ttl_s: None },
                );
                self.phase = Phase::Denied { set: Some(published.set) };
            }
            Err(error) => self.reply_not_stored(shared, error),
        }
    }

    pub fn deny_withheld(&mut self, shared: &mut Shared, until: Monotonic) {
        let now = shared.now;
        if self.question.family().is_some() {
            return self.deny(shared, Negative::Withheld, until.as_ms(), Vec::new(), None);
        }
        self.clear_unasked(shared);
        let left_s = u32::try_from(until.since(now).as_secs()).unwrap_or(u32::MAX);
        if let Some(stored) = withheld_answer(&self.question, now, left_s).filter(Stored::is_withheld) {
            shared.answers.put(&self.question.asked(), Arc::new(stored));
        }
        self.reply_to_all(shared, &Answer::Empty { rcode: Rcode::NOERROR, ede: Some(ede::FILTERED) });
        self.phase = Phase::Denied { set: None };
    }

    /// Ends the race when the table cannot store the set: clients get SERVFAIL, and a note is logged.
    pub fn reply_not_stored(&mut self, shared: &mut Shared, error: hither_table::PutError) {
        let reason = error.reason();
        shared.actions.push_back(crate::Action::Note(crate::Note::NotStored { reason }));
        self.reply_to_all(shared, &Answer::Empty { rcode: Rcode::SERVFAIL, ede: Some(ede::OTHER) });
        self.phase = Phase::Denied { set: None };
    }
}

/// The stored answer for a question whose addresses were all withheld: NOERROR without records.
fn withheld_answer(question: &Question, now: Monotonic, ttl_s: u32) -> Option<Stored> {
    let mut out = [0; 300];
    let mut composer = Composer::new(&mut out, 300)?;
    composer.set_header(0, flags::QR | flags::RD | flags::RA);
    composer.question(&question.name, question.rtype, Class::IN).then_some(())?;
    let len = composer.finish();
    Stored::new(&Message::read(out.get(..len)?).ok()?, now, ttl_s, Section::Answer, |record| record.ttl)
}
