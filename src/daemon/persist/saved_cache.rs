//! When the table's address sets are saved: at intervals while there are changes, soon after a
//! flush, and when the daemon ends.

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
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// The least time between two saves if names were flushed.
const AFTER_FLUSH: Duration = Duration::from_secs(1);

/// A state of the table: its generation, and how many changes it has seen.
pub(crate) type Mark = (u64, u64);

/// What decides whether the table is saved now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableState {
    pub mark: Mark,
    /// The saved cache is being restored: its file has more than the table.
    pub is_restoring: bool,
    /// The table may hold void entries, which must not be saved: for less than a second after a
    /// start or a change.
    pub is_reviewing: bool,
}

/// What the event loop is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// Save the table.
    Save,
    /// End: the table has been saved, or could not be in time.
    End,
}

/// What is saved, for [`SavedCache::save`].
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
pub(super) struct SavedCache {
    waker: Arc<Waker>,
    saver: Saver,
    restorer: Option<Restorer>,
    /// The state that is saved, or need not be.
    saved: Option<Mark>,
    /// The state that the last save began with, and when.
    begun: (Mark, Monotonic),
    /// Names were flushed that the file may still have.
    flushed: bool,
    /// Why the last save failed, which was logged.
    failure: String,
    leaving: Option<Leaving>,
}

/// The daemon is to end.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    /// When it ends at the latest.
    until: Monotonic,
    /// The last save has begun.
    is_last_save: bool,
}

impl SavedCache {
    /// Nothing is saved and nothing restored so far. Threads wake the event loop by `waker`.
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
            leaving: None,
        }
    }

    /// Begins with a table. A new one need not be saved until it has changed: the file of before has more.
    pub fn begin(&mut self, is_new: bool, mark: Mark) {
        self.saved = is_new.then_some(mark);
    }

    /// Starts to restore. Returns what the core is to be told.
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

    /// The core has restored everything.
    pub fn end_restore(&mut self) {
        if let Some(restorer) = &mut self.restorer {
            restorer.end();
        }
    }

    /// The kernel reports that the wall clock was set.
    pub fn on_clock_set(&mut self) {
        if let Some(restorer) = &mut self.restorer {
            restorer.on_clock_set();
        }
    }

    /// Whether what was restored is void, since the wall clock was wrong at the start.
    pub fn is_restore_void(&mut self) -> bool {
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
        let regular = began.plus(config.save);
        if self.flushed { regular.min(began.plus(AFTER_FLUSH)) } else { regular }
    }

    /// When [`SavedCache::on_time`] has something to return.
    pub fn timeout(&self, config: &Config, table: TableState) -> Option<Monotonic> {
        let is_to_save = !self.saver.is_busy() && self.is_unsaved(config, table);
        let due = is_to_save.then(|| self.save_due(config));
        [due, self.leaving.map(|leaving| leaving.until)].into_iter().flatten().min()
    }

    /// What is to be done now. While the daemon ends it may have to be asked again after a save.
    pub fn on_time(&mut self, config: &Config, table: TableState, now: Monotonic) -> Option<Due> {
        if let Some(leaving) = self.leaving {
            return self.go_on_leaving(leaving, config, table, now);
        }
        let is_due = !self.saver.is_busy() && self.save_due(config) <= now;
        (is_due && self.is_unsaved(config, table)).then_some(Due::Save)
    }

    fn go_on_leaving(
        &mut self,
        leaving: Leaving,
        config: &Config,
        table: TableState,
        now: Monotonic,
    ) -> Option<Due> {
        if leaving.until <= now {
            log::warn!(
                "the cache could not be saved within {} s; what was saved before stays",
                LEAVE_WITHIN.as_secs()
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
        if !leaving.is_last_save && self.is_unsaved(config, table) {
            self.leaving = Some(Leaving { is_last_save: true, ..leaving });
            return Some(Due::Save);
        }
        Some(Due::End)
    }

    /// Notes a flush: the flushed names must not come back after a reboot, even if only the file has them.
    pub fn note_flush(&mut self) {
        (self.flushed, self.saved) = (true, None);
    }

    /// Prepares the end of the daemon. `false`: that has been done before.
    pub fn leave(&mut self, now: Monotonic) -> bool {
        if self.leaving.is_some() {
            return false;
        }
        self.leaving = Some(Leaving { until: now.plus(LEAVE_WITHIN), is_last_save: false });
        true
    }

    /// Starts to save the table. A failure is logged.
    pub fn save(&mut self, contents: Contents, dir: &Path, now: Monotonic) {
        self.begun = (contents.mark, now);
        self.flushed = false;
        let Contents { reader, routes, usual, mark: _ } = contents;
        // At the end of the daemon there is no time to wait for the disk.
        let sync = self.leaving.is_none();
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
                log::warn!(
                    "the cache is not saved: {why}; what was saved before stays, and it is tried again"
                );
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
                "'{file}' has no room for all of the cache: {sets} sets of addresses are saved, the others are not"
            );
        } else if self.leaving.is_some() || has_recovered {
            log::info!("{sets} sets of addresses are saved in '{file}'");
        } else {
            log::debug!("{sets} sets of addresses are saved in '{file}'");
        }
    }
}
