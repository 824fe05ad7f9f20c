//! Withholding a family from clients that sort both families by themselves (`sort.withhold`).
//!
//! The rule is [`Entry::withheld`], which the NSS module applies too. It sees one record, which has both
//! families. A client with DO or CD is never concerned: its addresses are not answered from the table.
//! The reply is NODATA without an SOA record, so that no client caches it.

use crate::faults::Faults;
use crate::question::Question;
use crate::reply::Answer;
use crate::resolver::Rounds;
use crate::shared::Shared;
use hither_table::{Counter, Entry, Family, FamilyPolicy, Key, Monotonic, Withheld};

/// Why a family of an entry is withheld; `None` if it is not.
#[inline]
pub(crate) fn withheld(
    entry: &Entry<'_>,
    family: Family,
    policy: FamilyPolicy,
    now: Monotonic,
    faults: Faults,
) -> Option<Withheld> {
    policy.withhold_above_us?;
    let why = entry.withheld(family, policy, now);
    let other = || entry.withheld(family.other(), policy, now);
    if faults.may_withhold_both() { why.or_else(other) } else { why }
}

impl Shared {
    /// Why an answer is not given: it is a fresh set that is withheld.
    pub(crate) fn why_filtered(&self, answer: &Answer) -> Option<Withheld> {
        let Answer::Record { record, family, stale_ttl_s: None } = answer else { return None };
        withheld(&record.entry(), *family, self.settings.families, self.now, self.faults)
    }

    /// The answer, or [`Answer::Filtered`] in place of a set that is withheld.
    pub(crate) fn filtered(&mut self, answer: Answer) -> Answer {
        match self.why_filtered(&answer) {
            Some(why) => {
                self.count(Counter::FamiliesWithheld);
                Answer::Filtered { why }
            }
            None => answer,
        }
    }
}

impl Rounds {
    /// Why the family of a question is withheld from clients now, for the operator.
    pub fn withheld(&mut self, now: Monotonic, question: &Question) -> Option<Withheld> {
        let (family, shared) = (question.family()?, &mut self.shared);
        shared.settings.families.withhold_above_us?;
        let is_known = shared.writer.get(&Key::of(&question.name), &mut shared.scratch);
        let entry = is_known.then(|| shared.scratch.entry())?;
        withheld(&entry, family, shared.settings.families, now, shared.faults)
    }
}
