//! Schedules the saves of the table's address sets: at intervals while there are changes, soon
//! after a flush, and when the daemon ends.

use crate::config::Config;
use crate::daemon::persist::restore::{Found, Restorer, clocks};
use crate::daemon::persist::save::{self, Done, FILE, Job, Outcome, Saver};
use hither_net::clock::now;
use hither_rounds::{Restore, Routes};
use hither_table::{Monotonic, Reader};
use mio::{Registry, Waker};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the end of the daemon waits for the save.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// The least time between two saves if names were flushed.
const AFTER_FLUSH: Duration = Duration::from_secs(1);

/// A state of the table: its generation and its number of changes.
pub(crate) type Mark = (u64, u64);

/// The facts that decide whether the table is saved now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableState {
    pub mark: Mark,
    /// Whether the saved cache is being restored: then its file has more than the table.
    pub is_restoring: bool,
    /// Whether the table may hold void entries, which must not be saved. That lasts less than a
    /// second after a start or a change.
    pub is_reviewing: bool,
}

/// The work that is due for the event loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// Save the table.
    Save,
    /// End: the table has been saved, or could not be in time.
    End,
}

/// The contents of a save, for [`SavedCache::save`].
#[derive(Debug)]
pub(crate) struct Contents {
    pub reader: Reader,
    pub routes: Routes,
    /// Marks of the usual upstreams.
    pub usual: Vec<u64>,
    pub mark: Mark,
}

/// The saved cache: its restore at the start, and its saves.
#[derive(Debug)]
pub(crate) struct SavedCache {
    waker: Arc<Waker>,
    saver: Saver,
    restorer: Option<Restorer>,
    /// The last state that is saved or need not be saved.
    saved: Option<Mark>,
    /// The state that the last save began with, and when.
    begun: (Mark, Monotonic),
    /// Whether the file may still have names that were flushed.
    flushed: bool,
    /// Why the last save failed; it has been logged.
    failure: String,
    stopping: Option<Stopping>,
}

/// The end of the daemon, which waits for the last save.
#[derive(Clone, Copy, Debug)]
struct Stopping {
    /// The latest time of the end.
    until: Monotonic,
    /// Whether the last save has begun.
    is_last_save: bool,
}

impl SavedCache {
    /// A cache with no save and no restore so far. Threads wake the event loop by `waker`.
    pub fn new(waker: Arc<Waker>) -> SavedCache {
        let saver = Saver::new(Arc::clone(&waker));
        SavedCache {
            waker,
            saver,
            restorer: None,
            saved: None,
            begun: ((0, 0), now()),
            flushed: false,
            failure: String::new(),
            stopping: None,
        }
    }

    /// Begins with a table. A new one need not be saved until it has changed: the existing file has
    /// more.
    pub fn begin(&mut self, is_new: bool, mark: Mark) {
        self.saved = is_new.then_some(mark);
    }

    /// Starts to restore. Returns the input for the core.
    pub fn begin_restore(&mut self, found: Found, registry: &Registry) -> Option<Restore> {
        let (restorer, begin) = Restorer::start(found, Arc::clone(&self.waker), registry)?;
        self.restorer = Some(restorer);
        Some(begin)
    }

    /// Whether another slice to restore may be ready.
    pub fn may_have_more(&self) -> bool {
        self.restorer.as_ref().is_some_and(Restorer::may_have_more)
    }

    /// The next slice to restore.
    pub fn next_slice(&mut self) -> Option<Restore> {
        self.restorer.as_mut()?.next()
    }

    /// Notes that the core has restored everything.
    pub fn end_restore(&mut self) {
        if let Some(restorer) = &mut self.restorer {
            restorer.end();
        }
    }

    /// Handles a report of the kernel that the wall clock was set.
    pub fn on_clock_set(&mut self) {
        if let Some(restorer) = &mut self.restorer {
            restorer.on_clock_set();
        }
    }

    /// Returns whether the restored sets are void because the wall clock was wrong at the start; then
    /// the restore ends. To be called about once a second.
    pub fn drop_void_restore(&mut self) -> bool {
        let is_void = self.restorer.as_ref().is_some_and(Restorer::was_clock_behind);
        if is_void {
            self.restorer = None;
        }
        is_void
    }

    /// Whether the table has something to save.
    fn is_unsaved(&self, config: &Config, table: TableState) -> bool {
        config.saved_in().is_some()
            && !table.is_restoring
            && !table.is_reviewing
            && Some(table.mark) != self.saved
    }

    fn save_due(&self, config: &Config) -> Monotonic {
        let (_, began) = self.begun;
        let regular = began.plus(config.state.save_every);
        if self.flushed { regular.min(began.plus(AFTER_FLUSH)) } else { regular }
    }

    /// When [`SavedCache::on_time`] is to be called.
    pub fn timeout(&self, config: &Config, table: TableState) -> Option<Monotonic> {
        let is_to_save = !self.saver.is_busy() && self.is_unsaved(config, table);
        let due = is_to_save.then(|| self.save_due(config));
        [due, self.stopping.map(|stopping| stopping.until)].into_iter().flatten().min()
    }

    /// The work that is due. While the daemon ends, to be called again after a save.
    pub fn on_time(&mut self, config: &Config, table: TableState, now: Monotonic) -> Option<Due> {
        if let Some(stopping) = self.stopping {
            return self.continue_stopping(stopping, config, table, now);
        }
        let is_due = !self.saver.is_busy() && self.save_due(config) <= now;
        (is_due && self.is_unsaved(config, table)).then_some(Due::Save)
    }

    fn continue_stopping(
        &mut self,
        stopping: Stopping,
        config: &Config,
        table: TableState,
        now: Monotonic,
    ) -> Option<Due> {
        if stopping.until <= now {
            log::warn!(
                "the cache could not be saved within {} s; the previous file stays",
                STOP_WITHIN.as_secs()
            );
            if let Some(dir) = config.saved_in() {
                save::remove_incomplete(dir);
            }
            return Some(Due::End);
        }
        let is_void = config.saved_in().is_some() && table.is_reviewing;
        if self.saver.is_busy() || is_void {
            return None;
        }
        if !stopping.is_last_save && self.is_unsaved(config, table) {
            self.stopping = Some(Stopping { is_last_save: true, ..stopping });
            return Some(Due::Save);
        }
        Some(Due::End)
    }

    /// Notes a flush: the flushed names must not come back after a reboot, even if only the file has them.
    pub fn note_flush(&mut self) {
        (self.flushed, self.saved) = (true, None);
    }

    /// Prepares the end of the daemon. `false` if that was done before.
    pub fn begin_stop(&mut self, now: Monotonic) -> bool {
        if self.stopping.is_some() {
            return false;
        }
        self.stopping = Some(Stopping { until: now.plus(STOP_WITHIN), is_last_save: false });
        true
    }

    /// Starts to save the table. A failure is logged.
    pub fn save(&mut self, contents: Contents, dir: &Path, now: Monotonic) {
        self.begun = (contents.mark, now);
        self.flushed = false;
        let Contents { reader, routes, usual, mark: _ } = contents;
        // At the end of the daemon the file is not synced: a slow disk would delay the exit.
        let sync = self.stopping.is_none();
        let job = Job { reader, routes, usual, dir: dir.to_owned(), now: clocks(), sync };
        if let Err(why) = self.saver.begin(job) {
            self.note(Err(why), dir);
        }
    }

    /// Notes the result of a save, if there is one.
    pub fn on_saved(&mut self, dir: &Path) {
        if let Some(outcome) = self.saver.take() {
            self.note(outcome, dir);
        }
    }

    fn note(&mut self, outcome: Outcome, dir: &Path) {
        match outcome {
            Ok(done) => {
                self.saved = Some(self.begun.0);
                self.log_saved(done, dir);
            }
            Err(why) if why != self.failure => {
                log::warn!("the cache is not saved: {why}; the previous file stays; trying again");
                self.failure = why;
            }
            Err(_) => {}
        }
    }

    fn log_saved(&mut self, done: Done, dir: &Path) {
        let (file, sets) = (dir.join(FILE), done.sets);
        let file = file.display();
        let has_recovered = !std::mem::take(&mut self.failure).is_empty();
        if done.cut {
            log::warn!(
                "'{file}' cannot hold the whole cache: {sets} sets of addresses are saved, the others are not"
            );
        } else if self.stopping.is_some() || has_recovered {
            log::info!("{sets} sets of addresses are saved in '{file}'");
        } else {
            log::debug!("{sets} sets of addresses are saved in '{file}'");
        }
    }
}
