//! What must hold of sets that were saved before the host was started: they come in whole, and only where nothing newer is known.

use super::*;
use hither_rounds::SavedSet;

/// A saved set that is to be in the table.
#[derive(Debug)]
pub(super) struct Saved {
    addresses: Vec<IpAddr>,
    expire_ms: u64,
    sorted: bool,
    trusted: BTreeSet<IpAddr>,
    /// Its round, once it has been seen.
    round: Option<u64>,
}

impl Saved {
    /// Whether it has not been seen yet.
    pub fn is_awaited(&self) -> bool {
        self.round.is_none()
    }
}

/// What was flushed since there is something to restore.
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
    /// Its set is gone from the table, and the next one is a new one.
    pub fn forget_set(&mut self) {
        self.set.clear();
        self.set_version = 0;
        self.saved = None;
    }

    /// What was seen of it must not be seen again.
    pub fn forget_seen(&mut self) {
        let waits = self.saved.take().filter(Saved::is_awaited);
        self.forget_set();
        (self.saved, self.doubted) = (waits, true);
    }

    /// Whether a version that is seen for the first time is the saved set: as it was saved, or in an order that was applied to it.
    pub fn sees_saved(
        &mut self,
        view: &FamilyView<'_>,
        addresses: &[IpAddr],
        ordered: Option<&Vec<IpAddr>>,
    ) -> bool {
        let Some(saved) = &mut self.saved else { return false };
        let ordered = ordered.map(|ordered| in_force(ordered, &saved.trusted));
        if saved.round.is_none_or(|round| round == view.round()) {
            assert_eq!(trusted(view), saved.trusted, "who said what is not as it was saved");
        }
        match saved.round {
            None => {
                assert_eq!(
                    (addresses, view.sorted()),
                    (&saved.addresses[..], saved.sorted),
                    "not as it was saved"
                );
                saved.round = Some(view.round());
                (self.round_id, self.doubted) = (view.round(), false);
            }
            Some(round) if round == view.round() => {
                assert!(
                    view.sorted() && ordered.is_some_and(|ordered| ordered == *addresses),
                    "nobody changed it"
                );
            }
            Some(_) => return false,
        }
        assert_eq!(view.expire_ms(), saved.expire_ms, "it lives as long as was left of it");
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
            let elsewhere = set.route != 0 || self.restoring.flushed.contains(&set.name);
            let over = set.expire_ms <= now.as_ms();
            if self.restoring.goes_on && !(asked || there || elsewhere || over) {
                self.questions.entry(question).or_default().saved = Some(Saved {
                    addresses: set.addresses.iter().map(|a| a.address).collect(),
                    expire_ms: set.expire_ms,
                    sorted: set.sorted,
                    trusted: set.addresses.iter().filter(|a| a.is_trusted()).map(|a| a.address).collect(),
                    round: None,
                });
            }
        }
    }

    /// What is left of saved sets has to go.
    pub fn doubt_what_was_saved(&mut self) {
        self.restoring.goes_on = false;
        for known in self.questions.values_mut() {
            if known.saved.as_ref().is_some_and(|saved| saved.round == Some(known.round_id)) {
                known.forget_seen();
            }
        }
    }

    /// A name is not in the table.
    pub(super) fn misses(&self, question: &Question) {
        let saved = self.questions.get(question).and_then(|known| known.saved.as_ref());
        assert!(saved.is_none_or(|saved| saved.round.is_some()), "what was saved is not restored");
    }
}
