//! Signals: a stop, a reload, or the end of a companion's process.

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
            Signal::Child => self.supervision.children.iter_mut().for_each(|child| child.reap(now)),
        }
        self.ready.push_back(Source::Signals);
    }
}
