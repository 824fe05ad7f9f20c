//! The data that outlives the process and a reboot: the table, the saved cache, and the version
//! above which the next table begins.
//!
//! [`Persist`] owns the table's file with its lock, the schedule of saves with the thread that
//! saves, the restore of a saved cache, and the file `versions`. `save.rs` writes the saved cache,
//! `restore.rs` reads it after a reboot.
//!
//! The event loop drives it: [`Persist::timeout`] says when, and [`Persist::on_time`] returns
//! whether to save or to end. The loop passes in the configuration in force and the table's state,
//! takes slices to restore with [`Persist::next_slice`] and hands them to the core.
//!
//! It promises that no two daemons use one runtime directory; that the versions of a name grow,
//! whatever is lost; that a flushed name does not come back after a reboot; and that the end of the
//! daemon waits two seconds for the last save at most. An incomplete or foreign file is never
//! restored.

mod restore;
mod save;
mod saved_cache;
mod table_file;
mod versions;

use crate::config::Config;
use hither_net::random::Random;
use hither_rounds::{Restore, Upkeep};
use hither_table::{Monotonic, Writer};
use mio::{Registry, Waker};
pub(crate) use restore::Found;
use saved_cache::SavedCache;
pub(crate) use saved_cache::{Contents, Due, Mark, TableState};
use std::path::Path;
use std::sync::Arc;
use table_file::TableFile;
use versions::VersionFile;

/// The daemon's files for its next start. See the module's documentation.
#[derive(Debug)]
pub(crate) struct Persist {
    table: TableFile,
    cache: SavedCache,
    /// None until [`Persist::begin`] is called.
    versions: Option<VersionFile>,
}

impl Persist {
    /// Opens the table, and also returns its writer. Threads wake the event loop by `waker`.
    ///
    /// # Errors
    /// The table can be neither opened nor created.
    pub fn open(
        config: &Config,
        random: &mut Random,
        waker: Arc<Waker>,
    ) -> Result<(Persist, Writer), String> {
        let (table, writer) = TableFile::open(config, random)?;
        let persist = Persist { table, cache: SavedCache::new(waker), versions: None };
        Ok((persist, writer))
    }

    /// Finds the saved cache, if it should be restored. Versions continue above those of the file.
    pub fn find_saved(&self, config: &Config, table: Upkeep<'_>) -> Option<Found> {
        restore::find_saved(config, self.table.is_new(), table)
    }

    /// Reads and writes the file `versions`. `mark`: the state of the table, before anything is published.
    pub fn begin(&mut self, config: &Config, table: Upkeep<'_>, mark: Mark) {
        let is_new = self.table.is_new();
        self.versions = Some(VersionFile::open(config, table, is_new));
        self.cache.begin(is_new, mark);
    }

    /// Starts to restore a saved cache. Returns the input for the core.
    pub fn begin_restore(&mut self, found: Found, registry: &Registry) -> Option<Restore> {
        self.cache.begin_restore(found, registry)
    }

    /// Whether another slice to restore may be ready.
    pub fn may_have_more(&self) -> bool {
        self.cache.may_have_more()
    }

    /// The next slice to restore, if one is ready.
    pub fn next_slice(&mut self) -> Option<Restore> {
        self.cache.next_slice()
    }

    /// Notes that the core has restored everything.
    pub fn end_restore(&mut self) {
        self.cache.end_restore();
    }

    /// Handles a report of the kernel that the wall clock was set.
    pub fn on_clock_set(&mut self) {
        self.cache.on_clock_set();
    }

    /// Whether the restored sets are void because the wall clock was wrong at the start. To be
    /// called about once a second.
    pub fn drop_void_restore(&mut self) -> bool {
        self.cache.drop_void_restore()
    }

    /// Notes that names were flushed.
    pub fn note_flush(&mut self) {
        self.cache.note_flush();
    }

    /// Prepares the end of the daemon. `false` if that was done before.
    pub fn begin_stop(&mut self, now: Monotonic) -> bool {
        self.cache.begin_stop(now)
    }

    /// Starts to save the table.
    pub fn save(&mut self, contents: Contents, config: &Config, now: Monotonic) {
        if let Some(dir) = config.saved_in() {
            self.cache.save(contents, dir, now);
        }
    }

    /// Notes the result of a save, if there is one.
    pub fn on_saved(&mut self, config: &Config) {
        self.cache.on_saved(config.saved_in().unwrap_or(Path::new("")));
    }

    /// When [`Persist::on_time`] is to be called. `has_problems`: other parts could not create
    /// files in the runtime directory.
    pub fn timeout(&self, config: &Config, table: TableState, has_problems: bool) -> Option<Monotonic> {
        let times = [self.cache.timeout(config, table), self.table.timeout(has_problems)];
        times.into_iter().flatten().min()
    }

    /// The work that is due. To be called again after a save.
    pub fn on_time(&mut self, config: &Config, table: TableState, now: Monotonic) -> Option<Due> {
        self.cache.on_time(config, table, now)
    }

    /// Starts to write the file `versions`, if that is due.
    pub fn write_version(&mut self, table: Upkeep<'_>, now: Monotonic) {
        if let Some(versions) = &mut self.versions {
            versions.on_time(table, now);
        }
    }

    /// Why the table is not the configured one, for the operator.
    pub fn problem(&self, table: &Upkeep<'_>) -> Option<String> {
        self.table.problem(table)
    }

    /// Creates another table if `new` has another size or mode than `old`, the configuration in
    /// force. Returns whether it tried.
    pub fn resize(&mut self, table: Upkeep<'_>, new: &Config, old: &Config) -> bool {
        self.table.resize(table, new, old)
    }

    /// Whether the files in the runtime directory must be checked now. Then the next check is
    /// scheduled.
    pub fn take_check(&mut self, now: Monotonic) -> bool {
        self.table.take_check(now)
    }

    /// Creates the configured table if there is space for it by now. Returns whether it tried.
    pub fn grow(&mut self, table: Upkeep<'_>, config: &Config) -> bool {
        self.table.grow(table, config)
    }

    /// Creates another table if the file of this one was removed or replaced. Returns whether it
    /// was.
    pub fn mend_table(&mut self, table: Upkeep<'_>, config: &Config) -> bool {
        self.table.mend(table, config)
    }

    /// Writes the file `versions` again if it was removed. Returns whether the runtime directory is
    /// ours (no other daemon has the lock), so that other parts may create their files again.
    pub fn mend_versions(&mut self, table: &Upkeep<'_>) -> bool {
        let owns = self.table.owns_runtime_dir(table);
        if owns && let Some(versions) = &mut self.versions {
            versions.restore_file(table.last_version());
        }
        owns
    }
}
