//! What has to be asked again: denials of drawn letters, and connections that ended without a readable word.

use super::*;

/// A denial that is asked once more in lower case: what it says and until when, and when it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub said: Option<(Negative, u64)>,
    pub came: Monotonic,
    /// When it was asked about last.
    pub asked: Monotonic,
}

/// Another connection that has to follow at once one that ended without a readable word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    pub question: Question,
    pub upstream: UpstreamId,
    pub doubted: Option<AttemptId>,
    /// It ended without a word, and is not repeated twice.
    pub closed: bool,
}

impl Oracle {
    /// A connection: owed for one that ended, or to confirm what is doubted, or both.
    pub(super) fn connects(
        &mut self,
        now: Monotonic,
        attempt: AttemptId,
        (question, upstream): (&Question, UpstreamId),
    ) {
        if self.ended_twice.take_if(|ended| *ended == (*question, upstream)).is_some() {
            self.second.insert(attempt);
            // Its upstream has not failed yet.
            if let Some(round) = self.questions.get_mut(question).and_then(|known| known.rounds.last_mut()) {
                round.failures -= 1;
            }
            return;
        }
        if let Some(owed) = self.owed.take_if(|owed| owed.question == *question && owed.upstream == upstream)
        {
            if owed.closed {
                self.second.insert(attempt);
            }
            if let Some(doubted) = owed.doubted.and_then(|id| self.doubted.get_mut(&id)) {
                doubted.tcp = Some(attempt);
            }
            return;
        }
        let round = self.questions.get(question).and_then(|known| known.rounds.last());
        let same = |id: &AttemptId| round.and_then(|r| r.open.get(id)) == Some(&upstream);
        let doubted = self.doubted.iter_mut().find(|(id, doubted)| doubted.tcp.is_none() && same(id));
        if let Some((id, doubted)) = doubted {
            (doubted.tcp, doubted.until) = (Some(attempt), Some(later(now, CONFIRM_WITHIN)));
            self.pending.entry(*id).and_modify(|pending| pending.asked = now);
        }
    }

    /// A denial is asked once more: until there is a word on it, it is none.
    pub(super) fn asks_in_lower(
        &mut self,
        now: Monotonic,
        attempt: AttemptId,
        (question, upstream): (&Question, UpstreamId),
    ) {
        let over =
            |(asked, from, _): &(Question, UpstreamId, Pending)| (asked, from) == (question, &upstream);
        if let Some(at) = self.asked_on.iter().position(over) {
            let (_, _, pending) = self.asked_on.remove(at);
            self.pending.insert(attempt, Pending { asked: now, ..pending });
            return;
        }
        let same = self.just_denied.take_if(|(asked, from, _)| asked == question && *from == upstream);
        let Some((_, _, pending)) = same else { return };
        let round = self.questions.get_mut(question).and_then(|known| known.rounds.last_mut());
        if let (Some(round), Some(_)) = (round, pending.said) {
            round.denials.pop();
        }
        self.pending.insert(attempt, pending);
    }

    /// What was denied stands.
    pub(super) fn stands(&mut self, attempt: AttemptId) {
        let question = self.open.get(&attempt).copied();
        if let (Some(pending), Some(question)) = (self.pending.remove(&attempt), question) {
            self.believed(&question, pending);
        }
    }

    fn believed(&mut self, question: &Question, Pending { said, came, .. }: Pending) {
        let round = self.questions.get_mut(question).and_then(|known| known.rounds.last_mut());
        if let (Some(round), Some((kind, until))) = (round, said) {
            round.denials.push((came, kind, until));
        }
    }

    /// What was asked about, by attempts that are over, and is not asked about by others: it stands.
    pub(super) fn nobody_asks_on(&mut self) {
        for (question, _, pending) in std::mem::take(&mut self.asked_on) {
            self.believed(&question, pending);
        }
    }

    /// What an attempt in drawn letters is answered is not so.
    pub fn lies(&mut self, attempt: AttemptId) {
        self.lies.insert(attempt);
    }

    /// The attempt that a connection is to confirm.
    pub(super) fn confirms(&self, attempt: AttemptId) -> Option<AttemptId> {
        self.doubted.iter().find(|(_, doubted)| doubted.tcp == Some(attempt)).map(|(id, _)| *id)
    }

    /// Another connection has to follow at once, while there is time.
    pub(super) fn owes(&mut self, now: Monotonic, attempt: AttemptId, closed: bool) {
        let doubted = self.confirms(attempt);
        let Some(question) = self.open.get(&attempt).copied() else { return };
        let Some(round) = self.round_of(attempt).filter(|round| now < round.deadline) else { return };
        let Some(upstream) = round.open.get(&attempt).copied() else { return };
        self.owed = Some(Owed { question, upstream, doubted, closed });
    }

    /// Something came that nobody can read.
    pub(super) fn unreadable(&mut self, now: Monotonic, attempt: AttemptId, (udp, edns): (bool, bool)) {
        match self.confirms(attempt) {
            _ if udp => self.doubt(attempt),
            _ if edns => self.owes(now, attempt, false),
            Some(doubted) => self.unconfirmed(now, doubted),
            None => {}
        }
    }
}
