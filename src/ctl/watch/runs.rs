//! Which runs of the command are due: one at a time for a name, and one more for all that changed
//! meanwhile. Pure: runs are started and awaited in `command.rs`.

use hither_client::{Family, Name};
use std::collections::{BTreeMap, VecDeque};

/// Runs for different names that may go on at the same time.
pub(super) const RUNS_MAX: usize = 16;

/// Why a line is printed, or the command is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// The watch has begun, or the set has changed while it did so.
    Start,
    /// What the daemon reported.
    Told(hither_client::Cause),
    /// The set differs from the last one that was seen, and the change itself was not reported: the
    /// daemon was away, or had more to report than this reader took.
    Missed,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Start => "start",
            Cause::Told(cause) => cause.as_str(),
            Cause::Missed => "missed",
        }
    }
}

/// What has changed of a name since its last run began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Changed {
    /// The families that have changed.
    pub a: bool,
    pub aaaa: bool,
    /// The cause of the last change.
    pub cause: Cause,
}

impl Changed {
    pub fn one(family: Family, cause: Cause) -> Changed {
        Changed { a: family == Family::A, aaaa: family == Family::Aaaa, cause }
    }

    fn and(self, later: Changed) -> Changed {
        Changed { a: self.a || later.a, aaaa: self.aaaa || later.aaaa, cause: later.cause }
    }
}

/// The runs that go on, and those that are due.
#[derive(Default, Debug)]
pub(super) struct Runs {
    /// The names for which the command runs, and what has changed since it was started.
    running: BTreeMap<Name, Option<Changed>>,
    /// The names that wait for their run, in the order in which they changed. No name is in it twice.
    waiting: VecDeque<(Name, Changed)>,
}

impl Runs {
    /// Notes a change. Its run is due at once, after the one that goes on for the same name, or with
    /// one that waits.
    pub fn note(&mut self, name: Name, changed: Changed) {
        if let Some(later) = self.running.get_mut(&name) {
            *later = Some(later.map_or(changed, |before| before.and(changed)));
        } else if let Some((_, before)) = self.waiting.iter_mut().find(|(waiting, _)| *waiting == name) {
            *before = before.and(changed);
        } else {
            self.waiting.push_back((name, changed));
        }
    }

    /// The next run that may start now; from now on it goes on.
    pub fn start(&mut self) -> Option<(Name, Changed)> {
        if self.running.len() >= RUNS_MAX {
            return None;
        }
        let (name, changed) = self.waiting.pop_front()?;
        self.running.insert(name, None);
        Some((name, changed))
    }

    /// Notes that the run for a name has ended.
    pub fn ended(&mut self, name: &Name) {
        if let Some(Some(changed)) = self.running.remove(name) {
            self.waiting.push_back((*name, changed));
        }
    }

    /// Puts a run that could not be started back before all others.
    pub fn not_started(&mut self, name: &Name, changed: Changed) {
        let later = self.running.remove(name).flatten();
        self.waiting.push_front((*name, later.map_or(changed, |later| changed.and(later))));
    }

    /// Forgets the runs that have not started.
    pub fn forget_due(&mut self) {
        self.waiting.clear();
        self.running.values_mut().for_each(|later| *later = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_client::Cause::{Gone, NewSet, Order};

    fn name(n: usize) -> Name {
        format!("n{n}.example").parse().expect("a name")
    }

    fn told(family: Family, cause: hither_client::Cause) -> Changed {
        Changed::one(family, Cause::Told(cause))
    }

    #[test]
    fn changes_during_a_run_are_coalesced_to_one_more() {
        let mut runs = Runs::default();
        runs.note(name(1), told(Family::A, NewSet));
        assert_eq!(runs.start(), Some((name(1), told(Family::A, NewSet))));
        for _ in 0..5 {
            runs.note(name(1), told(Family::A, NewSet));
            runs.note(name(1), told(Family::Aaaa, Gone));
        }
        assert_eq!(runs.start(), None, "never two at once");
        runs.ended(&name(1));
        let both = Changed { a: true, aaaa: true, cause: Cause::Told(Gone) };
        assert_eq!(runs.start(), Some((name(1), both)));
        runs.ended(&name(1));
        assert_eq!(runs.start(), None);
    }

    #[test]
    fn a_run_that_could_not_be_started_is_due_again_before_the_others() {
        let mut runs = Runs::default();
        runs.note(name(1), told(Family::A, NewSet));
        runs.note(name(2), told(Family::A, NewSet));
        let (first, changed) = runs.start().expect("it is due");
        runs.note(name(1), told(Family::Aaaa, Gone));
        runs.not_started(&first, changed);
        runs.note(name(1), told(Family::A, NewSet));
        let both = Changed { a: true, aaaa: true, cause: Cause::Told(NewSet) };
        assert_eq!(runs.start(), Some((name(1), both)), "nothing of it is lost");
        assert_eq!(runs.start(), Some((name(2), told(Family::A, NewSet))));
        assert_eq!(runs.start(), None, "each once");
    }

    #[test]
    fn names_run_side_by_side_up_to_a_bound_and_in_order() {
        let mut runs = Runs::default();
        for n in 0..2 * RUNS_MAX {
            runs.note(name(n), told(Family::A, NewSet));
            runs.note(name(n), told(Family::A, Order));
        }
        let started: Vec<Name> = std::iter::from_fn(|| runs.start()).map(|(name, _)| name).collect();
        assert_eq!(started, (0..RUNS_MAX).map(name).collect::<Vec<_>>());
        runs.note(name(3), told(Family::A, NewSet));
        runs.ended(&name(3));
        assert_eq!(runs.start().map(|(name, _)| name), Some(name(RUNS_MAX)), "no name is overtaken");
        runs.forget_due();
        (0..2 * RUNS_MAX).for_each(|n| runs.ended(&name(n)));
        assert_eq!(runs.start(), None);
    }
}
