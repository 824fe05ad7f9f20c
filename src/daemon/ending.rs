//! How the daemon ends, once the table has been saved: nothing new is taken, who waits has a moment, everything is closed.

use crate::daemon::event_loop::turn::{Budget, Share};
use crate::daemon::event_loop::{Daemon, now};
use crate::daemon::wrong;
use hither_rounds::Input;
use hither_table::Monotonic;
use std::time::Duration;

/// How long those who wait may still be answered once we are told to stop.
const DRAIN: Duration = Duration::from_millis(60);

impl Daemon {
    /// Takes nothing new: it waits in the kernel, for a successor if there is one.
    pub(crate) fn drain(&mut self, now: Monotonic) {
        self.draining = Some(now.plus(DRAIN));
        self.team.stop();
        self.on_handed(now, &mut Budget::new(Share::ALL, crate::daemon::event_loop::now));
    }

    pub(crate) fn is_drained(&self) -> bool {
        let nobody = || self.misses.is_empty() && self.waiting.is_empty() && self.replies.is_empty();
        self.draining.is_some_and(|until| nobody() || now() >= until)
    }

    pub(crate) fn shut_down(&mut self, now: Monotonic) {
        if let Some(sorter) = &mut self.sorter {
            sorter.end();
        }
        self.team.stop();
        self.on_handed(now, &mut Budget::new(Share::ALL, crate::daemon::event_loop::now));
        self.rounds.handle(now, Input::Shutdown);
        self.act(now);
        self.give_up_misses(now);
        self.deliver_all(now);
        self.send_replies();
        self.publish_counters(now);
        self.rounds.table().close();
        wrong::forget(&self.config.runtime_dir);
        // It may take its time: nobody waits for us any more.
        self.sorter = None;
        log::debug!("{} sockets were left open", self.outside.len());
        log::logger().flush();
    }
}
