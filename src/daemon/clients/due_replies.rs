//! Replies that are due, but wait because many became due at the same time. Hits are answered
//! between them, and sources are served in turn.

use crate::daemon::clients::fair_queue::Queues;
use crate::daemon::core::Replying;

/// Replies of rounds that are sent in one turn. At some 4 microseconds each, a hit waits a millisecond
/// for them at most.
const REPLIES_MAX: usize = 256;
/// While more replies than this are due, no query joins a round without a slot in the queue of misses:
/// as many as are sent in eight turns.
pub(crate) const JOINED_MAX: usize = 8 * REPLIES_MAX;

/// The replies that are due. Their number is bounded by the clients that may wait: each is one of
/// `limits.clients`; or was just taken from the queue of misses, in slices that begin fewer rounds than
/// replies leave in a turn; or is on a TCP connection, which has a bound of its own; or joined a
/// crowded round, which ends at [`JOINED_MAX`].
#[derive(Debug, Default)]
pub(crate) struct DueReplies {
    /// Replies sent in this turn.
    sent: usize,
    replies: Queues<Replying>,
}

impl DueReplies {
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// Whether so many more queries may join a round without a slot in the queue of misses. The reply
    /// to each may become due at once.
    pub fn lets_join(&self, more: usize) -> bool {
        self.replies.len() + more <= JOINED_MAX
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.replies.len()
    }

    /// Adds a reply. It is given back if it may be sent at once.
    pub fn put(&mut self, reply: Replying) -> Option<Replying> {
        if self.sent < REPLIES_MAX && self.is_empty() {
            self.sent += 1;
            return Some(reply);
        }
        self.replies.push(reply.client.source(), reply);
        None
    }

    /// The next reply to be sent in this turn; `None` ends the turn.
    pub fn next(&mut self) -> Option<Replying> {
        let next = if self.sent < REPLIES_MAX { self.replies.pop() } else { None };
        self.sent = if next.is_some() { self.sent + 1 } else { 0 };
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_rounds::{Answer, ClientId, Source};
    use hither_table::AnswerSource;
    use hither_wire::codes::Rcode;

    pub fn put(due: &mut DueReplies, source: u64, number: u64) -> bool {
        let answer = Answer::Empty { rcode: Rcode::SERVFAIL, ede: None };
        let (client, source) = (ClientId::of(Source::of(source), number), AnswerSource::Failure);
        due.put(Replying { client, answer, source }).is_some()
    }

    #[test]
    fn a_reply_to_one_source_does_not_wait_for_thousands_to_another() {
        let mut due = DueReplies::default();
        let at_once = (0..10_000).filter(|n| put(&mut due, 1, *n)).count();
        assert_eq!((at_once, due.next().is_none()), (REPLIES_MAX, true), "a turn is over");
        assert!(!put(&mut due, 2, 0), "no reply overtakes those that are due");
        let turn: Vec<ClientId> = std::iter::from_fn(|| due.next()).map(|reply| reply.client).collect();
        assert_eq!(turn.len(), REPLIES_MAX);
        assert!(turn[..2].contains(&ClientId::of(Source::of(2), 0)), "{:?}", &turn[..2]);
        let own: Vec<ClientId> = turn.into_iter().filter(|client| client.source() == Source::of(1)).collect();
        assert!(own.is_sorted(), "the oldest of a source is sent first");
        let turns = (1..100).find(|_| {
            while due.next().is_some() {}
            due.is_empty()
        });
        assert_eq!(turns, Some(38), "the rest, 256 at a time");
    }

    #[test]
    fn queries_join_rounds_only_while_few_replies_are_due() {
        let mut due = DueReplies::default();
        (0..REPLIES_MAX as u64).for_each(|n| assert!(put(&mut due, 1, n)));
        assert!(due.lets_join(JOINED_MAX) && !due.lets_join(JOINED_MAX + 1));
        let joined = (0..).take_while(|n| due.lets_join(1) && !put(&mut due, 1, *n)).count();
        assert_eq!((joined, due.len()), (JOINED_MAX, JOINED_MAX));
        assert!(due.next().is_none() && due.next().is_some() && due.lets_join(1));
    }
}
