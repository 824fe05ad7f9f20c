//! What other threads hand to the event loop: queues that alone know what is in them, and a call that wakes the loop.
//!
//! Nothing is counted beside a queue, since such a count goes wrong by each thing that the queue did not take and by each that nobody took out;
//! and what a queue does not take comes back to whoever has it, who answers for it. `tests/tidy.rs` holds both.

use crate::daemon::clients::misses::MISSES_MAX;
use crate::daemon::clients::pending::Taken;
use hither_rounds::Question;
use mio::Waker;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};

/// Entries that are to be found out again, likewise. In a queue of their own, so that they take no client's place.
const ENDINGS_MAX: usize = 256;
/// All that can have been handed over at once.
pub(crate) const HANDED_MAX: usize = MISSES_MAX + ENDINGS_MAX;

/// What a worker hands to the event loop.
#[derive(Debug)]
pub(crate) enum Handed {
    /// A query that needs a round.
    Miss(Box<Taken>),
    /// An entry that is to be found out again.
    Ending(Box<Question>),
}

/// The workers' end.
#[derive(Clone, Debug)]
pub(crate) struct Hatch {
    misses: SyncSender<Box<Taken>>,
    endings: SyncSender<Box<Question>>,
}

/// The event loop's end.
#[derive(Debug)]
pub(crate) struct Counterpart {
    misses: Receiver<Box<Taken>>,
    endings: Receiver<Box<Question>>,
}

pub(crate) fn hatch() -> (Hatch, Counterpart) {
    let (misses, endings) = (sync_channel(MISSES_MAX), sync_channel(ENDINGS_MAX));
    (Hatch { misses: misses.0, endings: endings.0 }, Counterpart { misses: misses.1, endings: endings.1 })
}

impl Counterpart {
    /// The next thing that was handed over; clients first.
    pub fn take(&self) -> Option<Handed> {
        let miss = self.misses.try_recv().ok().map(Handed::Miss);
        miss.or_else(|| self.endings.try_recv().ok().map(Handed::Ending))
    }
}

/// What one batch hands over.
#[derive(Debug)]
pub(crate) struct Handing<'h> {
    hatch: &'h Hatch,
    is_full: bool,
    /// The event loop is to be woken.
    pub has_handed: bool,
}

impl Hatch {
    pub fn begin(&self) -> Handing<'_> {
        Handing { hatch: self, is_full: false, has_handed: false }
    }
}

impl Handing<'_> {
    /// Hands over a query; `false`: it was not taken, and its client is to be told. The event loop is behind then, or has ended, so nothing
    /// more of the batch is tried.
    #[must_use]
    pub fn miss(&mut self, miss: impl FnOnce() -> Option<Taken>) -> bool {
        if self.is_full {
            return false;
        }
        let Some(miss) = miss() else { return false };
        let taken = self.hatch.misses.try_send(Box::new(miss)).is_ok();
        self.is_full = !taken;
        self.has_handed |= taken;
        taken
    }

    /// Hands over an entry that is to be found out again. Where there is no room, whoever asks for it next brings it up once more: nobody
    /// waits for it.
    pub fn ending(&mut self, question: Question) {
        self.has_handed |= self.hatch.endings.try_send(Box::new(question)).is_ok();
    }
}

/// Hands what a thread has made to the event loop, and wakes it. When that has ended, nobody is left to be told.
pub(crate) fn hand_in<T>(sender: &Sender<T>, waker: &Waker, made: T) {
    if sender.send(made).is_ok() {
        wake_up(waker);
    }
}

pub(crate) fn wake_up(waker: &Waker) {
    if let Err(error) = waker.wake() {
        log::error!(
            "a thread cannot be woken, and sees what is there for it when something else wakes it: {error}"
        );
    }
}
