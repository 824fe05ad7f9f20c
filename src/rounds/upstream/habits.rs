//! The habits of an upstream: whether it copes with EDNS, cookies and mixed letter case (0x20). Each is
//! learned from responses and forgotten after a while.

use crate::action::Note;
use crate::upstream::Upstream;
use hither_table::Monotonic;
use hither_wire::name::Name;
use std::time::Duration;

/// The possible reasons of an error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspected {
    pub letters: bool,
    pub cookie: bool,
    pub edns: bool,
}

impl Upstream {
    pub fn edns(&self, now: Monotonic) -> bool {
        self.no_edns_until.is_none_or(|until| now >= until)
    }

    pub fn cannot_edns(&mut self, now: Monotonic) -> Note {
        self.no_edns_until = Some(now.plus(NO_EDNS_FOR));
        self.unread_with_edns = 0;
        Note::NoEdns { server: self.server }
    }

    /// It answered without EDNS what could not be read with it. `true`: that is its habit, and not one
    /// broken name.
    pub fn answers_without_edns(&mut self) -> bool {
        self.unread_with_edns = self.unread_with_edns.saturating_add(1);
        !self.edns_seen || self.unread_with_edns >= LEARN_AFTER
    }

    pub fn edns_seen(&mut self) {
        self.edns_seen = true;
    }

    /// It was silent until something was left out. `true`: that is its habit, and not lost datagrams.
    pub fn is_silent_to_it(&mut self) -> bool {
        self.silent_to = self.silent_to.saturating_add(1);
        !self.edns_seen || self.silent_to >= LEARN_AFTER
    }

    /// It answered a query with everything in it.
    pub fn takes_everything(&mut self, mixed: bool) {
        (self.silent_to, self.fails_edns) = (0, 0);
        self.fails_letters *= u8::from(!mixed);
    }

    /// It answered a name in its own letters and not in mixed case.
    pub fn drops_letters(&mut self, now: Monotonic, name: &Name) {
        self.letters.are_dropped(now, name);
        self.fails_letters = self.fails_letters.saturating_add(1);
        if self.fails_letters >= LEARN_AFTER {
            self.folds_case(now);
        }
    }

    /// It answered, without what is suspected, a question that it had an error for. An upstream with
    /// errors at times shows by other answers that this is not the reason.
    pub fn answers_plain(&mut self, now: Monotonic, suspected: Suspected) -> Option<Note> {
        if !suspected.cookie && !suspected.edns {
            return None;
        }
        self.fails_edns = self.fails_edns.saturating_add(1);
        if suspected.cookie && self.fails_edns >= LEARN_AFTER - 1 {
            self.cookie.is_dropped(now);
        }
        (suspected.edns && self.fails_edns > LEARN_AFTER).then(|| self.cannot_edns(now))
    }

    /// An answer in a wrong letter case was the upstream's own: TCP confirmed it.
    pub fn was_in_strange_letters(&mut self, now: Monotonic) {
        if self.strange_letters.is_habit(now) {
            self.folds_case(now);
        }
    }

    /// Whether its silence may be for want of EDNS support: some servers and middleboxes drop such
    /// queries.
    pub fn may_lack_edns(&self) -> bool {
        !self.edns_seen
    }

    pub fn keeps_case(&self, now: Monotonic) -> bool {
        self.folds_case_until.is_none_or(|until| now >= until)
    }

    pub fn folds_case(&mut self, now: Monotonic) {
        self.folds_case_until = Some(now.plus(FOLDS_CASE_FOR));
    }
}

/// How long an upstream without EDNS gets queries without it (RFC 6891 section 7 leaves it open;
/// unbound: minutes).
const NO_EDNS_FOR: Duration = Duration::from_secs(300);

/// Names that show a habit before it counts.
const LEARN_AFTER: u8 = 3;

/// How long an upstream that changes the letter case gets queries in lower case.
const FOLDS_CASE_FOR: Duration = Duration::from_secs(3_600);
