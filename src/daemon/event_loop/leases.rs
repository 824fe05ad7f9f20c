//! Follows the table for subscribers, and begins the rounds that their leases need.

use crate::daemon::event_loop::Daemon;
use crate::daemon::sources::{Slot, Source};
use crate::daemon::turn::Budget;
use hither_net::clock;
use hither_rounds::{Input, Question};
use hither_table::{Counter, Monotonic};
use std::time::Duration;

/// How long a turn may begin rounds for leases.
const BEGIN_FOR: Duration = Duration::from_micros(500);

impl Daemon {
    /// Accepts subscribers.
    pub(super) fn on_changes_listener(&mut self, now: Monotonic, budget: &mut Budget) {
        let accepted = self.admin.changes.accept(self.poll.registry(), budget);
        if accepted.may_be_more {
            self.ready.push_back(Source::ChangesListener);
        }
        if let Some(error) = accepted.failure {
            self.note_shortage(Source::ChangesListener, &error, now);
        }
    }

    /// Handles a connection of a subscriber.
    pub(super) fn on_subscriber(&mut self, slot: Slot, now: Monotonic, budget: &mut Budget) {
        self.admin.changes.on_subscriber(slot, self.core.rounds(), now, budget);
    }

    /// Tells subscribers what was published in this turn, and renews leases that are due.
    pub(super) fn serve_subscribers(&mut self, now: Monotonic) {
        self.admin.changes.follow(self.core.rounds(), now);
        if self.ending.draining.is_none() {
            self.renew_leases(now);
        }
        let version = self.core.table().last_version();
        self.admin.changes.send(version);
        self.admin.changes.take_answered().for_each(|source| self.ready.push_back(source));
    }

    fn renew_leases(&mut self, now: Monotonic) {
        let mut until = None;
        while let Some(ask) = self.admin.changes.next_ask(self.core.rounds(), now) {
            let (name, rtype) = (ask.name, ask.family.rtype());
            let before = self.core.counters().get(Counter::FeedRefreshes);
            let question = Question { name, rtype, dnssec_ok: false, checking_disabled: false };
            self.tell(now, Input::Lease { question });
            if self.core.counters().get(Counter::FeedRefreshes) > before {
                self.admin.changes.note_begun(&ask);
            } else if self.core.rounds().has_room_for_refresh() {
                self.admin.changes.note_refused(&ask);
            }
            let time = clock::now();
            if time >= *until.get_or_insert(time.plus(BEGIN_FOR)) {
                break;
            }
        }
    }
}
