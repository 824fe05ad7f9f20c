//! Replies that are due and have not been sent, because so many became due at once: hits have their turn between them.

use super::event_loop::Daemon;
use hither_rounds::{Answer, ClientId};
use hither_table::Monotonic;
use std::collections::VecDeque;

/// Replies of rounds in one turn of the loop: at some 4 microseconds each a hit waits a millisecond for them at the longest.
const REPLIES_MAX: usize = 256;

/// As many as clients wait for one answer, at the most.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Replies sent in this turn.
    sent: usize,
    replies: VecDeque<(ClientId, Answer)>,
}

impl Owed {
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }
}

impl Daemon {
    /// Replies to a client, at once or after those to whom replies are due already.
    pub(super) fn reply(&mut self, client: ClientId, answer: Answer, now: Monotonic) {
        if self.waiting.owed.sent < REPLIES_MAX && self.waiting.owed.is_empty() {
            self.waiting.owed.sent += 1;
            self.deliver(client, &answer, now);
        } else {
            self.waiting.owed.replies.push_back((client, answer));
        }
    }

    /// A turn of the loop is over: what is owed is sent, as far as there is time.
    pub(super) fn deliver_owed(&mut self, now: Monotonic) {
        for _ in self.waiting.owed.sent..REPLIES_MAX {
            let Some((client, answer)) = self.waiting.owed.replies.pop_front() else { break };
            self.deliver(client, &answer, now);
        }
        self.waiting.owed.sent = 0;
    }

    /// The end: nobody is left without a reply.
    pub(super) fn deliver_all(&mut self, now: Monotonic) {
        while !self.waiting.owed.is_empty() {
            self.deliver_owed(now);
        }
    }
}
