//! Between the core and its upstreams: queries out, what comes back in, and whatever else the core wants done.

use crate::daemon::event_loop::Daemon;
use crate::daemon::event_loop::tokens::{Slot, Source};
use crate::daemon::event_loop::turn::Budget;
use crate::daemon::upstreams::sockets::{Conversation, Event, MESSAGES};
use hither_rounds::{Action, Input};
use hither_table::Monotonic;

impl Daemon {
    pub(crate) fn on_outside(&mut self, slot: Slot, now: Monotonic, budget: &mut Budget) {
        if let Some(Conversation { attempt, messages, failed, more }) = self.outside.converse(slot) {
            for octets in messages {
                self.rounds.handle(now, Input::Message { attempt, octets: &octets });
                self.act(now);
                budget.use_up(octets.len());
            }
            if let Some(failure) = failed {
                self.rounds.handle(now, Input::Failed { attempt, failure });
                self.act(now);
            }
            if more {
                self.again.push_back(Source::Outside(slot));
            }
            return;
        }
        let mut buffer = std::mem::take(&mut self.heard);
        let mut left = MESSAGES;
        while left > 0
            && let Some(event) = self.outside.receive(slot, &mut buffer)
        {
            left -= 1;
            match event {
                Event::Message(attempt, len) => {
                    budget.use_up(len);
                    self.rounds.handle(now, Input::Message { attempt, octets: &buffer[..len] });
                }
                Event::Failed(attempt, failure) => {
                    self.rounds.handle(now, Input::Failed { attempt, failure })
                }
            }
            let waits = self.outside.is_busy(slot);
            self.act(now);
            if waits && !self.outside.is_busy(slot) {
                // Its answer is there; whatever comes behind it announces itself.
                break;
            }
            if budget.is_spent() {
                left = 0;
            }
        }
        self.heard = buffer;
        if left == 0 {
            self.again.push_back(Source::Outside(slot));
        }
    }

    /// Does what the core says, each thing once and in order; what fails is handed in again.
    pub(crate) fn act(&mut self, now: Monotonic) {
        while let Some(action) = self.rounds.poll_action() {
            match action {
                Action::Send { attempt, server, transport, octets, upstream: _ } => {
                    let sent =
                        self.outside.send(self.poll.registry(), now, attempt, (server, transport), octets);
                    if let Err(failure) = sent {
                        self.rounds.handle(now, Input::Failed { attempt, failure });
                    }
                }
                Action::Resend { attempt, octets } => self.outside.resend(attempt, &octets),
                Action::Close { attempt, linger } => self.outside.close(attempt, linger, now),
                Action::Reply { client, answer } => self.reply(client, answer, now),
                Action::OrderResult(result) => self.answer_sorter(result),
                Action::Note(note) => self.on_note(&note, now),
            }
        }
        if self.rounds.changed() != self.team.told_of {
            self.brief_workers();
        }
    }

    /// Sends the queries to upstreams that have come together; what fails is handed in.
    pub(crate) fn send_queries(&mut self, now: Monotonic) {
        loop {
            let failed = self.outside.send_queries(self.poll.registry(), now);
            if failed.is_empty() {
                return;
            }
            for (attempt, failure) in failed {
                self.rounds.handle(now, Input::Failed { attempt, failure });
            }
            self.act(now);
        }
    }
}
