//! The sorter's messages to the daemon, and the daemon's replies.

use super::counts::Counts;
use super::prober::Report;
pub(super) use crate::companion::connection::Sent;
use crate::companion::connection::{Connection, Events};
use crate::logging::Event;
use hither_control::{Explain, SORTER_SOCKET, SorterCounts, SorterMessage, SorterReply, VERSION};
use hither_table::Monotonic;
use mio::{Registry, Token};
use std::collections::VecDeque;
use std::path::Path;

/// Replies that are read in one turn.
const REPLIES_PER_TURN_MAX: usize = 256;
/// Requests of the daemon that wait; further ones are not answered.
const ASKED_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct DaemonConnection {
    connection: Connection,
    /// What this process has done.
    counts: Counts,
    /// Kinds of probes that cannot be sent on this host.
    lacks: Vec<String>,
    /// More replies may be waiting than one turn reads; epoll does not report them again.
    has_more: bool,
    /// What the daemon asks about addresses, the oldest first.
    asked: VecDeque<Explain>,
}

impl DaemonConnection {
    pub fn new(dir: &Path, lacks: Vec<String>, now: Monotonic) -> DaemonConnection {
        let events = Events { connected: Event::SorterConnected, gone: Event::SorterGone };
        DaemonConnection {
            connection: Connection::new(dir, SORTER_SOCKET, events, now),
            counts: Counts::default(),
            lacks,
            has_more: false,
            asked: VecDeque::new(),
        }
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        self.connection.timeout()
    }

    /// Whether the daemon may accept a message now.
    pub fn accepts(&self) -> bool {
        self.connection.accepts()
    }

    /// Whether replies may be waiting that epoll does not report again.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// Connects when it is time; `true` if it has just connected, to a daemon that has not received
    /// any earlier message.
    pub fn connect_if_due(&mut self, registry: &Registry, token: Token, now: Monotonic) -> bool {
        if !self.connection.connect_if_due(registry, token, now) {
            return false;
        }
        self.counts.reported = SorterCounts::default();
        let hello = SorterMessage::Hello { version: VERSION, lacks: self.lacks.clone() };
        self.send(&hello, now) == Sent::Yes
    }

    /// Counts what a probe has shown.
    pub fn note(&mut self, report: &Report) {
        self.counts.note(report);
    }

    /// Reports what this process has done, if that has changed.
    pub fn report_counts(&mut self, sent: u64, now: Monotonic) {
        self.counts.all.sent = sent;
        let counts = self.counts.all;
        if counts != self.counts.reported
            && self.accepts()
            && self.send(&SorterMessage::Stats(counts), now) == Sent::Yes
        {
            self.counts.reported = counts;
        }
    }

    /// Sends one message to the daemon.
    pub fn send(&mut self, message: &SorterMessage, now: Monotonic) -> Sent {
        self.connection.send(message, now)
    }

    /// Notes that the socket's buffer has free space again.
    pub fn note_writable(&mut self) {
        self.connection.note_writable();
    }

    /// Reads replies. A refused order needs no reaction: its set has changed, and the new set is
    /// found in the table.
    pub fn receive(&mut self, now: Monotonic) {
        self.has_more = false;
        for _ in 0..REPLIES_PER_TURN_MAX {
            match self.connection.receive(now) {
                Some(Ok(SorterReply::Applied { version })) => {
                    log::debug!("an order is published as version {version}")
                }
                Some(Ok(SorterReply::Rejected { reason, .. })) => {
                    log::debug!("an order is refused: {reason}")
                }
                Some(Ok(SorterReply::Explain(request))) if self.asked.len() < ASKED_MAX => {
                    self.asked.push_back(request);
                }
                Some(Ok(SorterReply::Explain(_)) | Err(_)) => {}
                Some(Ok(SorterReply::Unwelcome { reason })) => {
                    log::error!(
                        event = Event::SorterRefused, reason:% = reason;
                        "the daemon refuses the orders of this sorter: {reason}"
                    )
                }
                None => return,
            }
        }
        self.has_more = true;
    }

    /// The next request of the daemon.
    pub fn next_asked(&mut self) -> Option<Explain> {
        self.asked.pop_front()
    }
}
