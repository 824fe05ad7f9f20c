//! Connections that cannot be accepted for lack of descriptors. Idle sockets are closed for them,
//! and accepting is tried again soon.
//!
//! The kernel reports each waiting connection once, so without another try it would wait until the next
//! one comes. Trying again at once would be a busy loop.

use crate::daemon::sources::Source;
use crate::logging::Event;
use hither_table::Monotonic;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// The pause before accepting is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long after the latest failure the shortage is over, so that the next failure is logged again.
const OVER_AFTER: Duration = Duration::from_secs(1);

/// Listeners at which connections wait for descriptors.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    waiting: Vec<Source>,
    /// When accepting is tried again.
    due: Option<Monotonic>,
    /// When a connection last could not be accepted: a shortage is logged once.
    latest: Option<Monotonic>,
}

impl Shortage {
    /// When [`Shortage::on_time`] is to be called.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.due
    }

    /// Notes that a connection waits at `source`. `true` if the caller must close sockets for it;
    /// `false` if that was done less than [`RETRY_AFTER`] ago.
    pub fn note(&mut self, source: Source, error: &io::Error, now: Monotonic) -> bool {
        if !self.waiting.contains(&source) {
            self.waiting.push(source);
        }
        let lasts = self.latest.replace(now).is_some_and(|latest| now < latest.plus(OVER_AFTER));
        if !lasts {
            log::warn!(
                event = Event::TooFewDescriptors, reason:% = error;
                "a connection cannot be accepted: {error}; closing unused sockets and the connections that are idle longest until it can"
            );
        }
        let is_first = self.due.is_none();
        self.due.get_or_insert(now.plus(RETRY_AFTER));
        is_first
    }

    /// The listeners at which to try again, if it is time.
    pub fn on_time(&mut self, now: Monotonic) -> Vec<Source> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.due = None;
        std::mem::take(&mut self.waiting)
    }
}

/// Whether a connection waits to be accepted. accept(2) cannot show it: without a descriptor it
/// fails in any case.
pub(crate) fn has_waiting_connection(listener: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
