//! Queues by which workers hand queries over to the event loop.
//!
//! No counter stands beside a queue: it would also count the items that the queue refused. The
//! sender handles a refused item itself. `tests/tidy.rs` checks both.

use crate::daemon::clients::waiting_clients::Taken;
use crate::daemon::clients::waiting_queries::MISSES_MAX;
use hither_rounds::Question;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Capacity of the queue of entries to refresh. It is separate, so that they take no slot of a
/// client's query.
const REFRESHES_MAX: usize = 256;
/// Items that both queues together can hold.
pub(crate) const HANDED_MAX: usize = MISSES_MAX + REFRESHES_MAX;

/// An item that a worker hands over.
#[derive(Debug)]
pub(crate) enum Handed {
    /// A query that needs a round.
    Miss(Box<Taken>),
    /// The question of an entry that is to be refreshed.
    Refresh(Box<Question>),
}

/// The workers' side of the queues.
#[derive(Clone, Debug)]
pub(crate) struct HandoverSender {
    misses: SyncSender<Box<Taken>>,
    refreshes: SyncSender<Box<Question>>,
}

/// The event loop's side of the queues.
#[derive(Debug)]
pub(crate) struct HandoverReceiver {
    misses: Receiver<Box<Taken>>,
    refreshes: Receiver<Box<Question>>,
}

pub(crate) fn handover() -> (HandoverSender, HandoverReceiver) {
    let (misses, refreshes) = (sync_channel(MISSES_MAX), sync_channel(REFRESHES_MAX));
    (
        HandoverSender { misses: misses.0, refreshes: refreshes.0 },
        HandoverReceiver { misses: misses.1, refreshes: refreshes.1 },
    )
}

impl HandoverReceiver {
    /// The next item; queries of clients first.
    pub fn take(&self) -> Option<Handed> {
        let miss = self.misses.try_recv().ok().map(Handed::Miss);
        miss.or_else(|| self.refreshes.try_recv().ok().map(Handed::Refresh))
    }
}

/// Hands over the misses of one batch.
#[derive(Debug)]
pub(crate) struct BatchHandover<'h> {
    sender: &'h HandoverSender,
    is_full: bool,
    /// Whether something was handed over, so that the event loop must be woken.
    pub has_handed: bool,
}

impl HandoverSender {
    pub fn begin(&self) -> BatchHandover<'_> {
        BatchHandover { sender: self, is_full: false, has_handed: false }
    }
}

impl BatchHandover<'_> {
    /// Hands over a query. `false` if the queue is full or the event loop has ended: then this
    /// client and the other misses of the batch get SERVFAIL.
    #[must_use]
    pub fn miss(&mut self, miss: impl FnOnce() -> Option<Taken>) -> bool {
        if self.is_full {
            return false;
        }
        let Some(miss) = miss() else { return false };
        let taken = self.sender.misses.try_send(Box::new(miss)).is_ok();
        self.is_full = !taken;
        self.has_handed |= taken;
        taken
    }

    /// Hands over an entry that is to be refreshed. If the queue is full, the next query for the entry
    /// tries again.
    pub fn refresh(&mut self, question: Question) {
        self.has_handed |= self.sender.refreshes.try_send(Box::new(question)).is_ok();
    }
}
