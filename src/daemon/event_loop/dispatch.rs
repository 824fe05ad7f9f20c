//! The order of a turn: queries by UDP first, and again between all other kinds of sources, each of
//! which has a budget.

use crate::daemon::event_loop::Daemon;
use crate::daemon::sources::Source;
use crate::daemon::turn::{Budget, Kind, OTHERS};
use crate::logging::Event;
use hither_net::clock::{self, now};
use hither_table::Monotonic;
use mio::Events;
use std::time::Duration;

/// Slots of the table that are taken over, or checked against a change, in one slice, which takes less
/// than a millisecond.
const SLICE_SLOTS_MAX: usize = 1024;
/// The longest time for which work without a budget delays reading queries by UDP.
const QUERIES_UNREAD_MAX: Duration = Duration::from_micros(500);

impl Daemon {
    /// Whether work is left that waits for no event.
    pub(crate) fn has_more(&mut self) -> bool {
        let work = self.core.table().has_work() || self.core.rounds().is_reviewing();
        self.clients.has_more()
            || work
            || !self.ready.is_empty()
            || self.persist.cache.may_have_more()
            || !self.admin.flushes.is_empty()
            || self.admin.changes.has_more()
            || self.upstreams.has_over()
    }

    /// Handles events, then a slice of the work that is left.
    pub(crate) fn turn(&mut self, events: &Events) {
        let now = now();
        self.core.rounds().recorder().awake(now);
        events.iter().for_each(|event| self.ready.push_back(Source::of(event.token())));
        self.handle_kind(Kind::Datagrams, now);
        self.ready.looked_at = now;
        for kind in OTHERS {
            if self.handle_kind(kind, now) {
                self.look_at_queries();
            }
        }
        self.begin_rounds(now);
        self.look_at_queries();
        self.send_queries(now);
        self.work_on_table(now);
        self.on_time(now);
        self.send_queries(now);
        self.clients.send_replies();
        self.upstreams.tidy(self.poll.registry(), now);
        self.admin.take_replied().for_each(|source| self.ready.push_back(source));
        self.set_alarm();
    }

    /// Handles the ready sources of a kind, each at most once, within the budget. `false` if there
    /// were none.
    fn handle_kind(&mut self, kind: Kind, now: Monotonic) -> bool {
        let waiting = self.ready.len(kind);
        if waiting == 0 {
            return false;
        }
        let mut budget = Budget::new(kind.share(), clock::now);
        for _ in 0..waiting {
            let Some(source) = self.ready.pop_front(kind) else { break };
            self.handle(source, now, &mut budget);
            if budget.is_spent() {
                break;
            }
        }
        #[cfg(test)]
        self.ready.used.push((kind, budget));
        true
    }

    /// Reads queries by UDP if other work has taken long since the last read.
    fn look_at_queries(&mut self) {
        let now = now();
        if now >= self.ready.looked_at.plus(QUERIES_UNREAD_MAX) && self.reload.config().listen.workers == 1 {
            self.clients.udp_sources().for_each(|source| self.ready.push_back(source));
            self.handle_kind(Kind::Datagrams, now);
        }
        self.ready.looked_at = now;
    }

    /// Takes over a table, checks it against changes, restores and flushes, each in slices.
    fn work_on_table(&mut self, now: Monotonic) {
        if self.core.table().has_work() {
            if let Some(found) = self.core.table().work(SLICE_SLOTS_MAX, now) {
                log::info!(
                    event = Event::TableTakenOver, entries = found.entries, dropped = found.dropped;
                    "the predecessor's table is taken over: {} entries, {} dropped",
                    found.entries,
                    found.dropped
                );
            }
            self.look_at_queries();
        }
        if self.core.rounds().is_reviewing() {
            let (core, mut executor) = self.executor();
            core.review(now, SLICE_SLOTS_MAX, &mut executor);
            self.on_lists_read(now);
            self.look_at_queries();
        }
        if self.restore_some(now) {
            self.look_at_queries();
        }
        if self.flush_some(now) {
            self.look_at_queries();
        }
    }

    fn handle(&mut self, source: Source, now: Monotonic, budget: &mut Budget) {
        budget.use_up(0);
        match source {
            Source::Udp(_) | Source::TcpListener(_) | Source::Client(_) if self.ending.draining.is_some() => {
            }
            Source::Alarm => self.housekeeping.alarm.ack(),
            Source::Signals => self.on_signals(now),
            Source::Udp(n) => self.on_udp(n, now, budget),
            Source::TcpListener(n) => self.on_listener(n, now, budget),
            Source::Client(slot) => self.on_connection(slot, now, budget),
            Source::Upstream(slot) => self.on_upstream(slot, now, budget),
            Source::Secure(slot) => self.on_encrypted(slot, now, budget),
            Source::Handshake(slot) => self.on_handshake(slot, now),
            Source::ControlListener | Source::SorterListener | Source::SiteListener => {
                self.on_local_listener(source, now, budget);
            }
            Source::Peer(slot) => self.on_peer(slot, now, budget),
            Source::Hints => self.on_hints(now, budget),
            Source::ChangesListener => self.on_changes_listener(now, budget),
            Source::Subscriber(slot) => self.on_subscriber(slot, now, budget),
            Source::Network => self.reload.network.ready(now),
            Source::WallClock => self.on_wall_clock(now),
            Source::RuntimeDir => self.persist.on_runtime_dir(now),
            Source::Woken => self.on_woken(now, budget),
        }
    }

    /// Takes over the results of other threads.
    fn on_woken(&mut self, now: Monotonic, budget: &mut Budget) {
        self.on_followed(now);
        self.on_lists_read(now);
        self.on_links(now);
        self.on_saved();
        self.on_handshakes(now);
        self.admin.send_reports();
        self.on_handed(now, budget);
        if self.clients.has_failed() {
            self.ending.failure = Some("a worker has ended unexpectedly");
            self.ending.stop = true;
        }
    }
}
