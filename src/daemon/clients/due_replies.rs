//! Replies that are due and have not been sent, because so many became due at once: hits have their turn between them, and sources have
//! theirs one after the other, as with misses.

use crate::daemon::clients::fair_queue::Queues;
use hither_rounds::{Answer, ClientId};

/// Replies of rounds in one turn of the loop: at some 4 microseconds each a hit waits a millisecond for them at the longest.
const REPLIES_MAX: usize = 256;
/// Replies owed beyond which nobody joins a round past the queue of misses: as many as leave in eight turns.
pub(crate) const JOINED_MAX: usize = 8 * REPLIES_MAX;

/// Bounded by where those come from to whom replies may be owed. Who waited for a round is one of `limits.clients`, or has just been let in:
/// out of the queue of misses, in slices of time in which fewer are let in than replies leave in a turn; on a connection, each of which has a
/// bound of its own; or because many wait for the same, which is over at [`JOINED_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// Replies sent in this turn.
    sent: usize,
    replies: Queues<(ClientId, Answer)>,
}

impl Owed {
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// Whether so many more may join a round past the queue of misses: each of them may be owed a reply at once.
    pub fn lets_join(&self, more: usize) -> bool {
        self.replies.len() + more <= JOINED_MAX
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.replies.len()
    }

    /// What is due to a client: it is given back if it may be sent at once.
    pub fn put(&mut self, client: ClientId, answer: Answer) -> Option<(ClientId, Answer)> {
        if self.sent < REPLIES_MAX && self.is_empty() {
            self.sent += 1;
            return Some((client, answer));
        }
        self.replies.push(client.source(), (client, answer));
        None
    }

    /// What is to be sent next in this turn, which is over with `None`.
    pub fn next(&mut self) -> Option<(ClientId, Answer)> {
        let next = if self.sent < REPLIES_MAX { self.replies.pop() } else { None };
        self.sent = if next.is_some() { self.sent + 1 } else { 0 };
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_rounds::Source;
    use hither_wire::codes::Rcode;

    pub fn put(owed: &mut Owed, source: u64, number: u64) -> bool {
        let answer = Answer::Failure { rcode: Rcode::SERVFAIL, ede: None };
        owed.put(ClientId::of(Source::of(source), number), answer).is_some()
    }

    #[test]
    fn one_reply_of_a_source_does_not_wait_for_thousands_of_anothers() {
        let mut owed = Owed::default();
        let at_once = (0..10_000).filter(|n| put(&mut owed, 1, *n)).count();
        assert_eq!((at_once, owed.next().is_none()), (REPLIES_MAX, true), "a turn is over");
        assert!(!put(&mut owed, 2, 0), "nobody passes those to whom replies are owed");
        let turn: Vec<ClientId> = std::iter::from_fn(|| owed.next()).map(|(client, _)| client).collect();
        assert_eq!(turn.len(), REPLIES_MAX);
        assert!(turn[..2].contains(&ClientId::of(Source::of(2), 0)), "{:?}", &turn[..2]);
        let own: Vec<ClientId> = turn.into_iter().filter(|client| client.source() == Source::of(1)).collect();
        assert!(own.is_sorted(), "of a source the oldest goes first");
        let turns = (1..100).find(|_| {
            while owed.next().is_some() {}
            owed.is_empty()
        });
        assert_eq!(turns, Some(38), "the rest, 256 at a time");
    }

    #[test]
    fn who_joins_a_round_finds_replies_owed_within_their_bound() {
        let mut owed = Owed::default();
        (0..REPLIES_MAX as u64).for_each(|n| assert!(put(&mut owed, 1, n)));
        assert!(owed.lets_join(JOINED_MAX) && !owed.lets_join(JOINED_MAX + 1));
        let joined = (0..).take_while(|n| owed.lets_join(1) && !put(&mut owed, 1, *n)).count();
        assert_eq!((joined, owed.len()), (JOINED_MAX, JOINED_MAX));
        assert!(owed.next().is_none() && owed.next().is_some() && owed.lets_join(1));
    }
}
