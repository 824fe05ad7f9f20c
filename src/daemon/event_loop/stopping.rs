//! Stops the daemon once the cache has been saved: no further query is taken, waiting clients get
//! their replies for a moment, then SERVFAIL, and the table is closed.

use crate::daemon::event_loop::Daemon;
use crate::daemon::reload::unusable_config;
use crate::daemon::turn::{Budget, Share};
use hither_net::clock::{self, now};
use hither_rounds::Input;
use hither_table::Monotonic;
use std::time::Duration;

/// How long clients that wait for a round may still get its answer after the request to stop.
const DRAIN: Duration = Duration::from_millis(60);

impl Daemon {
    /// Takes no further query. If the service manager keeps the sockets open, they wait in the
    /// kernel for the next start.
    pub(super) fn drain(&mut self, now: Monotonic) {
        self.ending.draining = Some(now.plus(DRAIN));
        self.clients.stop_workers();
        self.on_handed(now, &mut Budget::new(Share::ALL, clock::now));
    }

    /// Whether no client waits any more, or the time for replies is over.
    pub(super) fn is_drained(&self) -> bool {
        self.ending.draining.is_some_and(|until| self.clients.is_empty() || now() >= until)
    }

    /// Replies to all clients that still wait, and closes the table.
    pub(super) fn shut_down(&mut self, now: Monotonic) {
        if let Some(sorter) = &mut self.supervision.sorter {
            sorter.end();
        }
        self.clients.stop_workers();
        self.on_handed(now, &mut Budget::new(Share::ALL, clock::now));
        self.tell(now, Input::Shutdown);
        self.begin_all_rounds(now);
        self.deliver_all(now);
        self.clients.send_replies();
        self.publish_counters(now);
        self.core.table().close();
        unusable_config::forget_failed_start(&self.reload.config().runtime_dir);
        // Waiting for its end delays no client any more.
        self.supervision.sorter = None;
        log::debug!("{} sockets were still open at the end", self.upstreams.len());
        log::logger().flush();
    }
}
