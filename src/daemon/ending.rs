//! How the daemon ends, once the table has been saved: nothing new is taken, who waits has a moment, everything is closed.

use crate::daemon::event_loop::Daemon;
use crate::daemon::reload::unusable_config;
use crate::daemon::turn::{Budget, Share};
use hither_net::clock::{self, now};
use hither_rounds::Input;
use hither_table::Monotonic;
use std::time::Duration;

/// How long those who wait may still be answered once we are told to stop.
const DRAIN: Duration = Duration::from_millis(60);

impl Daemon {
    /// Takes nothing new: it waits in the kernel, for a successor if there is one.
    pub(crate) fn drain(&mut self, now: Monotonic) {
        self.draining = Some(now.plus(DRAIN));
        self.clients.stop_workers();
        self.on_handed(now, &mut Budget::new(Share::ALL, clock::now));
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.draining.is_some_and(|until| self.clients.is_empty() || now() >= until)
    }

    pub(crate) fn shut_down(&mut self, now: Monotonic) {
        if let Some(sorter) = &mut self.sorter {
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
        // It may take its time: nobody waits for us any more.
        self.sorter = None;
        log::debug!("{} sockets were left open", self.upstreams.len());
        log::logger().flush();
    }
}
