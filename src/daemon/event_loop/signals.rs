//! Signals: a stop, a reload, or the end of the sorter's process.

use crate::daemon::event_loop::Daemon;
use crate::daemon::sources::Source;
use hither_net::signals::Signal;
use hither_table::Monotonic;

impl Daemon {
    pub(super) fn on_signals(&mut self, now: Monotonic) {
        let Some(signal) = self.supervision.signals.take() else { return };
        match signal {
            Signal::Terminate => self.begin_stop(now),
            Signal::Reload => self.reload.requests.signal(now),
            Signal::Child => {
                if let Some(sorter) = &mut self.supervision.sorter {
                    sorter.reap(now);
                }
            }
        }
        self.ready.push_back(Source::Signals);
    }
}
