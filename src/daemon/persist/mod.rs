//! The data that outlives the process and a reboot: the table, the saved cache, and the version
//! above which the next table begins.
//!
//! [`Persist`] owns the table's file with its lock, the schedule of saves with the thread that
//! saves, the restore of a saved cache, and the file `versions`. `save.rs` writes the saved cache,
//! `restore.rs` reads it after a reboot.
//!
//! The event loop drives it: [`Persist::timeout`] says when work is due, and [`SavedCache::on_time`]
//! returns whether to save or to end. The loop passes in the configuration in force and the table's
//! state, takes slices to restore with [`SavedCache::next_slice`] and hands them to the core.
//!
//! The part promises that no two daemons use one runtime directory; that the versions of a name grow,
//! even if files are lost; that a flushed name does not come back after a reboot; and that the end of
//! the daemon waits two seconds for the last save at most. An incomplete or foreign file is never
//! restored.

mod restore;
mod runtime_dir;
mod save;
mod saved_cache;
mod table_file;
mod versions;

use crate::config::Config;
use hither_net::random::Random;
use hither_rounds::Upkeep;
use hither_table::{Monotonic, Writer};
use mio::Waker;
pub(crate) use restore::Found;
use runtime_dir::RuntimeDirWatch;
use saved_cache::SavedCache;
pub(crate) use saved_cache::{Contents, Due, Mark, TableState};
use std::fs::DirEntry;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
pub(crate) use table_file::Mended;
use table_file::TableFile;
use versions::VersionFile;

/// Files of the state directory whose times are read.
const STATE_FILES_MAX: usize = 16;

/// The newest time at which this host wrote into the state directory, in seconds since 1970; 0 if it has
/// none. A clock that is behind it is wrong.
pub(crate) fn newest_time_s(config: &Config) -> u64 {
    let entries = config.state.dir.as_deref().and_then(|dir| dir.read_dir().ok());
    let written = |entry: DirEntry| entry.metadata().ok().map(|found| found.mtime());
    let times = entries.into_iter().flatten().take(STATE_FILES_MAX).flatten().filter_map(written);
    times.max().and_then(|time_s| u64::try_from(time_s).ok()).unwrap_or(0)
}

/// The daemon's files for its next start. See the module's documentation.
#[derive(Debug)]
pub(crate) struct Persist {
    /// The file of the table.
    pub table: TableFile,
    /// Restores and saves the cache.
    pub cache: SavedCache,
    /// None until [`Persist::begin`] is called.
    versions: Option<VersionFile>,
    runtime_dir: RuntimeDirWatch,
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
        let persist = Persist {
            table,
            cache: SavedCache::new(waker),
            versions: None,
            runtime_dir: RuntimeDirWatch::default(),
        };
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

    /// When [`SavedCache::on_time`] or [`TableFile::take_check`] is to be called. `has_problems`: other parts
    /// could not create files in the runtime directory.
    pub fn timeout(&self, config: &Config, table: TableState, has_problems: bool) -> Option<Monotonic> {
        let times = [self.cache.timeout(config, table), self.table.timeout(has_problems)];
        times.into_iter().flatten().min()
    }

    /// Begins to watch the runtime directory. Returns the descriptor to be polled.
    pub fn watch_runtime_dir(&mut self, config: &Config) -> Option<RawFd> {
        self.runtime_dir.begin(&config.runtime_dir)
    }

    /// Files of the runtime directory may have been removed or replaced: a check is due soon.
    pub fn on_runtime_dir(&mut self, now: Monotonic) {
        if self.runtime_dir.take() {
            self.table.check_soon(now);
        }
    }

    /// Watches the runtime directory that there is after a check.
    pub fn watch_again(&mut self, config: &Config) {
        self.runtime_dir.renew(&config.runtime_dir);
    }

    /// Starts to write the file `versions`, if that is due.
    pub fn write_version(&mut self, table: Upkeep<'_>, now: Monotonic) {
        if let Some(versions) = &mut self.versions {
            versions.on_time(table, now);
        }
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
