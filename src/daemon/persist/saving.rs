//! What outlives a reboot: when the table is saved, and how the daemon ends, which serves on while that is done.

use crate::daemon::event_loop::Daemon;
use crate::daemon::persist::restore::{Found, Restorer, clocks};
use crate::daemon::persist::save::{self, Done, FILE, Job, Outcome, Saver};
use crate::daemon::persist::versions::Ahead;
use crate::logging::Event;
use hither_net::clock::now;
use hither_table::Monotonic;
use mio::Waker;
use std::sync::Arc;
use std::time::Duration;

/// How long the end of the daemon waits for the table to be saved.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// Time between two saves after flushes.
const AFTER_FLUSH: Duration = Duration::from_secs(1);

/// Which table, and how many changes it has seen.
type Mark = (u64, u64);

#[derive(Debug)]
pub(crate) struct Keep {
    waker: Arc<Waker>,
    saver: Saver,
    pub restorer: Option<Restorer>,
    /// What has been saved, or need not be.
    saved: Option<Mark>,
    /// What the last save began with, and when.
    begun: (Mark, Monotonic),
    /// What was flushed is to be gone from the file too.
    flushed: bool,
    /// Why the last save failed: told once.
    trouble: String,
    leaving: Option<Leaving>,
    /// Versions that may be given out; none before it has been looked where they begin.
    pub ahead: Option<Ahead>,
}

/// The daemon was told to end.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    /// When it does at the latest.
    until: Monotonic,
    /// The last save has begun.
    last: bool,
}

impl Keep {
    pub fn new(waker: Arc<Waker>) -> Keep {
        let saver = Saver::new(Arc::clone(&waker));
        Keep {
            waker,
            saver,
            restorer: None,
            saved: None,
            begun: ((0, 0), now()),
            flushed: false,
            trouble: String::new(),
            leaving: None,
            ahead: None,
        }
    }

    /// Whether there may be something to restore at once.
    pub fn has_more(&self) -> bool {
        self.restorer.as_ref().is_some_and(|restorer| restorer.more)
    }
}

impl Daemon {
    /// Begins with what was found. A new table has nothing to save: the file of before stays, as long as nothing is known.
    pub(crate) fn begin_keeping(&mut self, found: Option<Found>, is_new: bool) {
        self.keep.ahead = Some(Ahead::begin(&self.config, self.core.table(), is_new));
        self.keep.saved = is_new.then(|| self.mark());
        if let Some(found) = found {
            self.begin_restore(found, Arc::clone(&self.keep.waker), now());
        }
    }

    fn mark(&mut self) -> Mark {
        (self.core.rounds().reader().generation(), self.core.table().changes())
    }

    /// Whether the table may hold what is void and must not be saved: for less than a second after a start or a change.
    fn holds_void(&self) -> bool {
        self.config.saved_in().is_some() && self.core.rounds().is_reviewing()
    }

    /// Whether the table has something that is to be saved. While it is being restored the file has more.
    fn is_unsaved(&mut self) -> bool {
        self.config.saved_in().is_some()
            && !self.core.rounds().is_restoring()
            && !self.holds_void()
            && Some(self.mark()) != self.keep.saved
    }

    fn save_due(&self) -> Monotonic {
        let regular = self.keep.begun.1.plus(self.config.save);
        if self.keep.flushed { regular.min(self.keep.begun.1.plus(AFTER_FLUSH)) } else { regular }
    }

    /// When [`Daemon::keep_on_time`] has something to do.
    pub(crate) fn keep_timeout(&mut self) -> Option<Monotonic> {
        let save = !self.keep.saver.is_busy() && self.is_unsaved();
        let due = save.then(|| self.save_due());
        [due, self.keep.leaving.map(|leaving| leaving.until)].into_iter().flatten().min()
    }

    pub(crate) fn keep_on_time(&mut self, now: Monotonic) {
        if self.draining.is_some() {
            // What comes now is not worth another save.
        } else if let Some(leaving) = self.keep.leaving {
            self.go_on_leaving(leaving, now);
        } else if !self.keep.saver.is_busy() && self.save_due() <= now && self.is_unsaved() {
            self.save(now);
        }
    }

    /// What an operator flushes must not come back after a reboot, also where the file alone still has it.
    pub(crate) fn flush_what_is_kept(&mut self) {
        (self.keep.flushed, self.keep.saved) = (true, None);
    }

    /// Ends the daemon when the table has been saved and nobody waits any more; at once where it is told a second time.
    pub(crate) fn leave(&mut self, now: Monotonic) {
        if self.keep.leaving.is_some() {
            self.stop = true;
            return;
        }
        log::info!(event = Event::Stopping; "stopping");
        self.manager.stopping("stopping");
        // What an operator wants forgotten is not saved.
        while self.flush_some(now) {}
        self.keep.leaving = Some(Leaving { until: now.plus(LEAVE_WITHIN), last: false });
    }

    fn go_on_leaving(&mut self, leaving: Leaving, now: Monotonic) {
        if leaving.until <= now {
            log::warn!(
                "the cache could not be saved within {} s; what was saved before stays",
                LEAVE_WITHIN.as_secs()
            );
            if let Some(dir) = self.config.saved_in() {
                save::abandon(dir);
            }
            self.drain(now);
        } else if !self.keep.saver.is_busy() && !self.holds_void() {
            if !leaving.last && self.is_unsaved() {
                self.keep.leaving = Some(Leaving { last: true, ..leaving });
                self.save(now);
            }
            if !self.keep.saver.is_busy() {
                self.drain(now);
            }
        }
    }

    fn save(&mut self, now: Monotonic) {
        let Some(dir) = self.config.saved_in().map(ToOwned::to_owned) else { return };
        self.keep.begun = (self.mark(), now);
        self.keep.flushed = false;
        let (reader, routes) = (self.core.rounds().reader(), self.core.rounds().routes().clone());
        let (usual, sync) = (self.core.rounds().usual(), self.keep.leaving.is_none());
        let job = Job { reader, routes, usual, dir, now: clocks(), sync };
        if let Err(why) = self.keep.saver.begin(job) {
            self.saved(Err(why));
        }
    }

    /// The saving thread may have ended.
    pub(crate) fn on_saved(&mut self) {
        if let Some(result) = self.keep.saver.take() {
            self.saved(result);
        }
    }

    fn saved(&mut self, result: Outcome) {
        let leaving = self.keep.leaving.is_some();
        match result {
            Ok(done) => {
                self.keep.saved = Some(self.keep.begun.0);
                self.tell_saved(done, leaving);
            }
            Err(why) if why != self.keep.trouble => {
                log::warn!(
                    "the cache is not saved: {why}; what was saved before stays, and it is tried again"
                );
                self.keep.trouble = why;
            }
            Err(_) => {}
        }
    }

    fn tell_saved(&mut self, done: Done, leaving: bool) {
        let file = self.config.saved_in().map(|dir| dir.join(FILE)).unwrap_or_default();
        let (file, sets) = (file.display(), done.sets);
        let recovered = !std::mem::take(&mut self.keep.trouble).is_empty();
        if done.cut {
            log::warn!(
                "'{file}' has no room for all of the cache: {sets} sets of addresses are saved, the others are not"
            );
        } else if leaving || recovered {
            log::info!("{sets} sets of addresses are saved in '{file}'");
        } else {
            log::debug!("{sets} sets of addresses are saved in '{file}'");
        }
    }
}
