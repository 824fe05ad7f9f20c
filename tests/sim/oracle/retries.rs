//! Queries that must be repeated: after responses that may be forged, denials of names in mixed letter case,
//! and connections that ended without a readable message.

use super::Oracle;
use super::attempts::Response;
use super::known::{Content, Denial};
use hither_rounds::{AttemptId, Question, UpstreamId};
use hither_table::Monotonic;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long TCP may take to confirm a response by UDP.
pub(super) const CONFIRM_WITHIN: Duration = Duration::from_millis(500);

/// Attempts that have to be repeated, or whose responses do not count yet.
#[derive(Default)]
pub(super) struct Retries {
    pub doubted: BTreeMap<AttemptId, Doubted>,
    /// Attempts in mixed letter case.
    pub mixed: BTreeSet<AttemptId>,
    /// Attempts in mixed letter case to which the upstream gives a false denial.
    pub lies: BTreeSet<AttemptId>,
    /// Attempts in lower case, and the denials that they are to check.
    pub unconfirmed: BTreeMap<AttemptId, Unconfirmed>,
    /// Denials of attempts that have ended, until it is known whether another attempt is to check them.
    pub handed_on: Vec<(Question, UpstreamId, Unconfirmed)>,
    /// A denial of a name in mixed letter case, in this call.
    pub just_denied: Option<(Question, UpstreamId, Unconfirmed)>,
    pub owed: Option<Owed>,
    /// Second connections after one that ended without a message.
    pub second: BTreeSet<AttemptId>,
    /// Two connections ended without a message. The next connection is without EDNS, and is the last.
    pub ended_twice: Option<(Question, UpstreamId)>,
}

/// A UDP attempt for which a datagram was received that may be forged.
#[derive(Debug, Default)]
pub(super) struct Doubted {
    /// The TCP attempt that is to confirm it.
    pub tcp: Option<AttemptId>,
    /// Until when the datagram waits for TCP.
    pub until: Option<Monotonic>,
    /// Whether TCP has failed, so that datagrams count alone.
    pub alone: bool,
    /// The response that counts if TCP fails.
    pub kept: Option<Response>,
    /// Whether nothing of the kept response is unusual.
    pub sure: bool,
    /// Whether a response was received that can be read and is unusual.
    pub unusual: bool,
}

/// A denial that a query in lower case is to check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unconfirmed {
    /// `None`: the denial is false, and must not count.
    pub denial: Option<Denial>,
    /// When the last query that is to check it was sent.
    pub asked: Monotonic,
}

/// A connection that has to be opened at once after one that ended without a readable message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    pub question: Question,
    pub upstream: UpstreamId,
    pub doubted: Option<AttemptId>,
    /// Whether the connection ended without any message, after which it is repeated only once.
    pub closed: bool,
}

impl Oracle {
    /// Notes that the response to an attempt is a false denial.
    pub fn lies(&mut self, attempt: AttemptId) {
        self.retries.lies.insert(attempt);
    }

    /// Whether an attempt to this upstream is in doubt, so that a TCP attempt is to confirm it.
    pub fn sends_to_confirm(&self, question: &Question, upstream: UpstreamId) -> bool {
        let Some(round) = self.questions.get(question).and_then(|known| known.rounds.last()) else {
            return false;
        };
        let owed = self.retries.owed.is_some_and(|owed| {
            owed.question == *question && owed.upstream == upstream && owed.doubted.is_some()
        });
        let doubted = |(id, doubted): (&AttemptId, &Doubted)| {
            doubted.tcp.is_none() && round.open.get(id) == Some(&upstream)
        };
        owed || self.retries.doubted.iter().any(doubted)
    }

    /// Notes that a connection is opened: after one that ended, or to confirm a response, or both.
    pub(super) fn connects(
        &mut self,
        now: Monotonic,
        attempt: AttemptId,
        (question, upstream): (&Question, UpstreamId),
    ) {
        let retries = &mut self.retries;
        if retries.ended_twice.take_if(|ended| *ended == (*question, upstream)).is_some() {
            retries.second.insert(attempt);
            // The upstream has not failed yet.
            if let Some(round) = self.questions.get_mut(question).and_then(|known| known.rounds.last_mut()) {
                round.failed.remove(&upstream);
            }
            return;
        }
        let same = |owed: &mut Owed| owed.question == *question && owed.upstream == upstream;
        if let Some(owed) = retries.owed.take_if(same) {
            if owed.closed {
                retries.second.insert(attempt);
            }
            if let Some(doubted) = owed.doubted.and_then(|id| retries.doubted.get_mut(&id)) {
                doubted.tcp = Some(attempt);
            }
            return;
        }
        let round = self.questions.get(question).and_then(|known| known.rounds.last());
        let same = |id: &AttemptId| round.and_then(|r| r.open.get(id)) == Some(&upstream);
        let doubted = retries.doubted.iter_mut().find(|(id, doubted)| doubted.tcp.is_none() && same(id));
        if let Some((id, doubted)) = doubted {
            (doubted.tcp, doubted.until) = (Some(attempt), Some(now.plus(CONFIRM_WITHIN)));
            retries.unconfirmed.entry(*id).and_modify(|unconfirmed| unconfirmed.asked = now);
        }
    }

    /// Notes a query in lower case. A denial that it is to check does not count before its response.
    pub(super) fn asks_in_lower_case(
        &mut self,
        now: Monotonic,
        attempt: AttemptId,
        (question, upstream): (&Question, UpstreamId),
    ) {
        let over =
            |(asked, from, _): &(Question, UpstreamId, Unconfirmed)| (asked, from) == (question, &upstream);
        if let Some(at) = self.retries.handed_on.iter().position(over) {
            let (_, _, unconfirmed) = self.retries.handed_on.remove(at);
            self.retries.unconfirmed.insert(attempt, Unconfirmed { asked: now, ..unconfirmed });
            return;
        }
        let same = |(asked, from, _): &mut (Question, UpstreamId, Unconfirmed)| {
            asked == question && *from == upstream
        };
        let Some((_, _, unconfirmed)) = self.retries.just_denied.take_if(same) else { return };
        let round = self.questions.get_mut(question).and_then(|known| known.rounds.last_mut());
        if let (Some(round), Some(_)) = (round, unconfirmed.denial) {
            round.dissent.denials.pop();
        }
        self.retries.unconfirmed.insert(attempt, unconfirmed);
    }

    /// Notes that the denial counts that an attempt was to check.
    pub(super) fn stands(&mut self, attempt: AttemptId) {
        let question = self.open.get(&attempt).copied();
        let unconfirmed = self.retries.unconfirmed.remove(&attempt);
        if let (Some(unconfirmed), Some(question)) = (unconfirmed, question) {
            self.believe(&question, unconfirmed);
        }
    }

    fn believe(&mut self, question: &Question, unconfirmed: Unconfirmed) {
        let round = self.questions.get_mut(question).and_then(|known| known.rounds.last_mut());
        if let (Some(round), Some(denial)) = (round, unconfirmed.denial) {
            round.dissent.denials.push(denial);
        }
    }

    /// Notes that denials count whose checking attempts have ended, and which no other attempt is to check.
    pub(super) fn believe_handed_on(&mut self) {
        for (question, _, unconfirmed) in std::mem::take(&mut self.retries.handed_on) {
            self.believe(&question, unconfirmed);
        }
    }

    /// The attempt that a connection is to confirm.
    pub(super) fn confirms(&self, attempt: AttemptId) -> Option<AttemptId> {
        let mut doubted = self.retries.doubted.iter();
        doubted.find(|(_, doubted)| doubted.tcp == Some(attempt)).map(|(id, _)| *id)
    }

    /// Notes that another connection has to be opened at once, while time is left.
    pub(super) fn owes(&mut self, now: Monotonic, attempt: AttemptId, closed: bool) {
        let doubted = self.confirms(attempt);
        let Some(question) = self.open.get(&attempt).copied() else { return };
        let Some(round) = self.round_of(attempt).filter(|round| now < round.deadline) else { return };
        let Some(upstream) = round.open.get(&attempt).copied() else { return };
        self.retries.owed = Some(Owed { question, upstream, doubted, closed });
    }

    /// Notes a message of which a part cannot be read.
    pub(super) fn unreadable(&mut self, now: Monotonic, attempt: AttemptId, (udp, edns): (bool, bool)) {
        match self.confirms(attempt) {
            _ if udp => self.doubt(attempt),
            _ if edns => self.owes(now, attempt, false),
            Some(doubted) => self.unconfirmed(now, doubted),
            None => {}
        }
    }

    /// Notes that TCP has failed: a UDP response that was kept counts.
    pub(super) fn unconfirmed(&mut self, now: Monotonic, id: AttemptId) {
        let Some(doubted) = self.retries.doubted.get_mut(&id) else { return };
        doubted.alone = true;
        // If the host slept meanwhile, the kept response does not count.
        let kept = doubted.kept.take().filter(|kept| now.since(kept.came) < 2 * CONFIRM_WITHIN);
        if let Some(kept) = kept {
            self.counts(now, id, kept);
        }
    }

    /// Notes that a datagram was received that may be forged.
    pub(super) fn doubt(&mut self, attempt: AttemptId) {
        if self.open.contains_key(&attempt) {
            self.retries.doubted.entry(attempt).or_default();
        }
    }

    /// Whether the response that waits for a connection is an answer. An error over that connection then
    /// counts as no response.
    pub(super) fn has_answered(&self, id: AttemptId) -> bool {
        let kept = self.retries.doubted.get(&id).and_then(|doubted| doubted.kept.as_ref());
        kept.is_some_and(|kept| !matches!(kept.content, Content::Error | Content::Truncated))
    }
}
