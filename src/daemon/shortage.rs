//! When there is no descriptor for who wants to connect: what nobody uses is given up, and it is tried again soon. The kernel tells of each
//! connection once, so without that somebody would wait until the next one comes; and to ask again at once would be a circle.

use crate::daemon::clients::Effects;
use crate::daemon::event_loop::Daemon;
use crate::daemon::sources::Source;
use crate::logging::Event;
use hither_table::Monotonic;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// How soon it is tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// How long after the last of those who could not be accepted a shortage is over.
const OVER: Duration = Duration::from_secs(1);
/// Sockets that are given up each time.
const GIVEN_UP: usize = 4;

/// Where somebody waits who could not be accepted.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    waiting: Vec<Source>,
    due: Option<Monotonic>,
    /// When somebody last could not be: a shortage is told once.
    latest: Option<Monotonic>,
}

impl Shortage {
    pub fn timeout(&self) -> Option<Monotonic> {
        self.due
    }
}

/// Whether somebody waits to be accepted: without a descriptor accept(2) fails whether or not.
pub(crate) fn is_waited_at(listener: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

impl Daemon {
    /// Somebody waits at `source` for whom there is no descriptor.
    pub(crate) fn is_short(&mut self, source: Source, error: &io::Error, now: Monotonic) {
        let shortage = &mut self.shortage;
        if !shortage.waiting.contains(&source) {
            shortage.waiting.push(source);
        }
        let lasts = shortage.latest.replace(now).is_some_and(|latest| now < latest.plus(OVER));
        if !lasts {
            log::warn!(
                event = Event::TooFewDescriptors, reason:% = error;
                "a connection cannot be accepted: {error}; closing sockets that nobody uses and connections that are idle longest until it can"
            );
        }
        if shortage.due.is_some() {
            return;
        }
        shortage.due = Some(now.plus(AGAIN));
        let gone = match self.upstreams.give_up(GIVEN_UP) {
            0 => self.clients.drop_idlest(),
            _ => Some(Effects::default()),
        };
        if let Some(effects) = gone {
            self.apply(effects, now);
            self.ready.push_back(source);
        }
    }

    /// Has it tried again for those who wait.
    pub(crate) fn on_shortage(&mut self, now: Monotonic) {
        if self.shortage.due.is_some_and(|due| due <= now) {
            self.shortage.due = None;
            std::mem::take(&mut self.shortage.waiting)
                .into_iter()
                .for_each(|source| self.ready.push_back(source));
        }
    }
}
