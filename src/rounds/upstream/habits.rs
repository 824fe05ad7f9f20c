//! The habits of an upstream: whether it supports EDNS, cookies and mixed letter case (0x20). Each habit
//! is learned from responses and forgotten after a while.

use crate::action::Note;
use crate::upstream::Upstream;
use hither_table::Monotonic;
use hither_wire::name::Name;
use std::time::Duration;

/// Answers with an unexpected cookie or letter case that TCP confirmed, after which this is treated as a
/// habit of the upstream. A forger may have guessed one alone.
const STRANGE_MAX: u8 = 2;
/// Time for which such answers are counted, and for which the cookies of an upstream with this habit
/// are ignored.
pub(crate) const STRANGE_FOR: Duration = Duration::from_secs(3_600);

/// The features of a query that may be the reason of an error.
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

    pub fn note_no_edns(&mut self, now: Monotonic) -> Note {
        self.no_edns_until = Some(now.plus(NO_EDNS_FOR));
        self.unread_with_edns = 0;
        Note::NoEdns { server: self.server }
    }

    /// Notes that a response could be read without EDNS and not with it. `true`: this is a habit of the
    /// upstream, and not due to one broken name.
    pub fn note_read_without_edns(&mut self) -> bool {
        self.unread_with_edns = self.unread_with_edns.saturating_add(1);
        !self.has_sent_opt || self.unread_with_edns >= LEARN_AFTER
    }

    pub fn note_edns(&mut self) {
        self.has_sent_opt = true;
    }

    /// Notes that a response came only after the cookie or EDNS was left out. `true`: this is a habit of
    /// the upstream, and not due to lost datagrams.
    pub fn note_dropped_query(&mut self) -> bool {
        self.silent_to = self.silent_to.saturating_add(1);
        !self.has_sent_opt || self.silent_to >= LEARN_AFTER
    }

    /// Notes an answer to a query with cookie and EDNS; `mixed`: and in mixed case.
    pub fn note_answer_to_full_query(&mut self, mixed: bool) {
        (self.silent_to, self.fails_edns) = (0, 0);
        self.fails_letters *= u8::from(!mixed);
    }

    /// Notes that the upstream answered a name in its own letter case and not in mixed case.
    pub fn note_dropped_mixed_case(&mut self, now: Monotonic, name: &Name) {
        self.letters.note_dropped(now, name);
        self.fails_letters = self.fails_letters.saturating_add(1);
        if self.fails_letters >= LEARN_AFTER {
            self.note_folded_case(now);
        }
    }

    /// Notes an answer to a query without the suspected features, after an error with them. An upstream
    /// that has errors for other reasons shows this by its other answers
    /// ([`Self::note_answer_to_full_query`]).
    pub fn note_plain_answer(&mut self, now: Monotonic, suspected: Suspected) -> Option<Note> {
        if !suspected.cookie && !suspected.edns {
            return None;
        }
        self.fails_edns = self.fails_edns.saturating_add(1);
        if suspected.cookie && self.fails_edns >= LEARN_AFTER - 1 {
            self.cookie.note_dropped(now);
        }
        (suspected.edns && self.fails_edns > LEARN_AFTER).then(|| self.note_no_edns(now))
    }

    /// Notes that TCP confirmed an answer in a wrong letter case.
    pub fn note_strange_case(&mut self, now: Monotonic) {
        if self.strange_letters.note_another(now) {
            self.note_folded_case(now);
        }
    }

    /// Whether the upstream may be silent for want of EDNS support: some servers and middleboxes drop
    /// queries with EDNS.
    pub fn may_lack_edns(&self) -> bool {
        !self.has_sent_opt
    }

    pub fn keeps_case(&self, now: Monotonic) -> bool {
        self.folds_case_until.is_none_or(|until| now >= until)
    }

    pub fn note_folded_case(&mut self, now: Monotonic) {
        self.folds_case_until = Some(now.plus(FOLDS_CASE_FOR));
    }
}

/// Time for which an upstream without EDNS gets queries without it (RFC 6891 section 7 leaves it open;
/// unbound: minutes).
const NO_EDNS_FOR: Duration = Duration::from_secs(300);

/// Names that show a habit before it counts.
const LEARN_AFTER: u8 = 3;

/// Time for which an upstream that changes the letter case gets queries in lower case.
const FOLDS_CASE_FOR: Duration = Duration::from_secs(3_600);

/// Answers with an unexpected cookie or letter case that were right: their number, and the time of the
/// first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Strange(Option<(u8, Monotonic)>);

impl Strange {
    /// Counts one more such answer. `true`: they are a habit of the upstream.
    pub fn note_another(&mut self, now: Monotonic) -> bool {
        let before = self.0.filter(|(_, since)| now.since(*since) < STRANGE_FOR);
        let (count, since) = before.map_or((1, now), |(count, since)| (count + 1, since));
        self.0 = (count < STRANGE_MAX).then_some((count, since));
        count >= STRANGE_MAX
    }
}
