//! Sets that were saved before the host was started: they are restored unchanged, and only where there
//! is no newer data.

use super::Oracle;
use super::known::Known;
use super::provenance::trusted;
use super::trust::{Ordered, Verdicts, in_force, verdicts};
use hither_rounds::{Question, SavedSet};
use hither_table::{FamilyView, Monotonic};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A saved set that has to be restored.
#[derive(Debug)]
pub(super) struct Saved {
    addresses: Vec<IpAddr>,
    expire_ms: u64,
    sorted: bool,
    trusted: BTreeSet<IpAddr>,
    verdicts: Verdicts,
    /// The round id of the set in the table, once it has been seen there.
    round: Option<u64>,
}

impl Saved {
    /// Whether the set has not been seen in the table yet.
    pub fn is_awaited(&self) -> bool {
        self.round.is_none()
    }
}

/// Whether a restore is under way, and the names that were flushed since it began.
#[derive(Default)]
pub(super) struct Restoring {
    goes_on: bool,
    flushed: BTreeSet<Name>,
}

impl Restoring {
    pub fn flush(&mut self, names: Option<&[Name]>) {
        match names {
            None => self.goes_on = false,
            Some(names) => self.flushed.extend(names),
        }
    }
}

impl Known {
    /// Notes that the set is removed from the table. The next set is new, whatever its addresses.
    pub fn forget_set(&mut self) {
        self.set_version = 0;
        self.saved = None;
    }

    /// Notes that the set that was in the table is void.
    pub fn forget_seen(&mut self) {
        let waits = self.saved.take().filter(Saved::is_awaited);
        self.forget_set();
        (self.saved, self.doubted) = (waits, true);
    }

    /// Whether a version that is seen for the first time is the saved set: unchanged, or in an order
    /// that was applied to it.
    pub fn sees_saved(
        &mut self,
        view: &FamilyView<'_>,
        addresses: &[IpAddr],
        ordered: Option<&Ordered>,
    ) -> bool {
        let Some(saved) = &mut self.saved else { return false };
        let is_disputed = view.agreement().is_disputed();
        if let Some(ordered) = ordered {
            saved.verdicts = ordered.iter().copied().collect();
        }
        let ordered = ordered.map(|ordered| in_force(ordered, &saved.trusted, is_disputed));
        if saved.round.is_none_or(|round| round == view.round()) {
            assert_eq!(verdicts(view), saved.verdicts, "the verdicts are not the saved ones");
            assert_eq!(trusted(view), saved.trusted, "the trusted addresses are not the saved ones");
        }
        match saved.round {
            None => {
                assert_eq!(
                    (addresses, view.sorted()),
                    (&saved.addresses[..], saved.sorted),
                    "a restored set differs from the saved one"
                );
                saved.round = Some(view.round());
                (self.round_id, self.doubted) = (view.round(), false);
            }
            Some(round) if round == view.round() => {
                assert!(
                    view.sorted() && ordered.is_some_and(|ordered| ordered == *addresses),
                    "a restored set has changed without an order"
                );
            }
            Some(_) => return false,
        }
        assert_eq!(view.expire_ms(), saved.expire_ms, "a restored set keeps its expiry");
        true
    }
}

impl Oracle {
    pub fn begin_restore(&mut self) {
        self.restoring.goes_on = true;
    }

    pub fn end_restore(&mut self) {
        self.restoring.goes_on = false;
    }

    pub fn restore(&mut self, now: Monotonic, sets: &[SavedSet]) {
        for set in sets {
            let question =
                Question { name: set.name, rtype: Rtype::A, dnssec_ok: false, checking_disabled: false };
            let asked = self.questions.get(&question).is_some_and(|known| !known.rounds.is_empty());
            let there = self.questions.get(&question).is_some_and(|known| known.saved.is_some());
            let void = set.route != 0 || self.restoring.flushed.contains(&set.name);
            let over = set.expire_ms <= now.as_ms();
            if self.restoring.goes_on && !(asked || there || void || over) {
                self.questions.entry(question).or_default().saved = Some(Saved {
                    addresses: set.addresses.iter().map(|a| a.address).collect(),
                    expire_ms: set.expire_ms,
                    sorted: set.sorted,
                    trusted: set.addresses.iter().filter(|a| a.is_trusted()).map(|a| a.address).collect(),
                    verdicts: set.addresses.iter().map(|a| (a.address, a.trust)).collect(),
                    round: None,
                });
            }
        }
    }

    /// Notes that restored sets may be too old, and have to be removed from the table.
    pub fn doubt_saved_sets(&mut self) {
        self.restoring.goes_on = false;
        for known in self.questions.values_mut() {
            if known.saved.as_ref().is_some_and(|saved| saved.round == Some(known.round_id)) {
                known.forget_seen();
            }
        }
    }

    /// Judges that the table has no set for a question.
    pub(super) fn misses(&self, question: &Question) {
        let saved = self.questions.get(question).and_then(|known| known.saved.as_ref());
        assert!(saved.is_none_or(|saved| saved.round.is_some()), "a saved set is not restored");
    }
}
