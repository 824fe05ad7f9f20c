//! Closes sockets of other parts for connections that cannot be accepted, see `daemon/shortage.rs`.

use crate::daemon::event_loop::Daemon;
use crate::daemon::sources::Source;
use hither_table::Monotonic;
use std::io;

/// Sockets to upstreams that are closed each time.
const CLOSED_AT_SHORTAGE_MAX: usize = 4;

impl Daemon {
    /// Notes a connection at `source` that could not be accepted for lack of a descriptor.
    pub(super) fn note_shortage(&mut self, source: Source, error: &io::Error, now: Monotonic) {
        if !self.shortage.note(source, error, now) {
            return;
        }
        if self.upstreams.give_up(CLOSED_AT_SHORTAGE_MAX) > 0 {
            self.ready.push_back(source);
        } else if let Some(effects) = self.clients.drop_idlest() {
            self.apply(effects, now);
            self.ready.push_back(source);
        }
    }

    /// Tries again to accept the connections that wait.
    pub(super) fn on_shortage(&mut self, now: Monotonic) {
        self.shortage.on_time(now).into_iter().for_each(|source| self.ready.push_back(source));
    }
}
