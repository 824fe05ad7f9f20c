//! Stops the daemon: the cache is saved, no further query is taken, clients that wait get their replies
//! for a moment, then SERVFAIL, and the table is closed.

use crate::daemon::companion_child::CompanionChild;
use crate::daemon::event_loop::Daemon;
use crate::daemon::reload::unusable_config;
use crate::daemon::turn::{Budget, Share};
use crate::logging::Event;
use hither_net::clock::{self, now};
use hither_rounds::Input;
use hither_table::Monotonic;
use std::time::Duration;

/// How long clients that wait for a round may still get its answer after the request to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(60);

impl Daemon {
    /// Begins to stop: the daemon ends when the table has been saved and no client waits any more. A
    /// second request ends it at once.
    pub(super) fn begin_stop(&mut self, now: Monotonic) {
        if !self.persist.cache.begin_stop(now) {
            self.ending.stop = true;
            return;
        }
        log::info!(event = Event::Stopping; "stopping");
        self.supervision.manager.stopping("stopping");
        // Names to flush must not be saved.
        while self.flush_some(now) {}
    }

    /// Takes no further query. If the service manager keeps the sockets open, they wait in the
    /// kernel for the next start.
    pub(super) fn drain(&mut self, now: Monotonic) {
        self.ending.draining = Some(now.plus(DRAIN_TIME_MAX));
        self.clients.stop_workers();
        self.on_handed(now, &mut Budget::new(Share::ALL, clock::now));
    }

    /// Whether no client waits any more, or the time for replies is over.
    pub(super) fn is_drained(&self) -> bool {
        self.ending.draining.is_some_and(|until| self.clients.is_empty() || now() >= until)
    }

    /// Replies to all clients that still wait, and closes the table.
    pub(super) fn shut_down(&mut self, now: Monotonic) {
        self.supervision.children.iter_mut().for_each(CompanionChild::end);
        self.clients.stop_workers();
        self.on_handed(now, &mut Budget::new(Share::ALL, clock::now));
        self.tell(now, Input::Shutdown);
        self.begin_all_rounds(now);
        self.deliver_all(now);
        self.clients.send_replies();
        self.upstreams.encrypted().shut_down(now);
        self.admin.insight.end();
        self.publish_counters(now);
        self.core.table().close();
        unusable_config::forget_failed_start(&self.reload.config().runtime_dir);
        // Waiting for their ends delays no client any more.
        self.supervision.children.clear();
        log::debug!("{} sockets were still open at the end", self.upstreams.len());
        log::logger().flush();
    }
}
