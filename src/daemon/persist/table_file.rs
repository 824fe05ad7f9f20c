//! The table's file: of the configured size, or smaller until there is enough space.

use crate::config::{Config, ENTRIES_DEFAULT};
use crate::daemon::setup::{make_runtime_dir, warn_of_directory};
use crate::host::files::identity;
use crate::logging::Event;
use hither_net::clock::now;
use hither_net::random::Random;
use hither_rounds::Upkeep;
use hither_table::paths::{LOCK_FILE, TABLE_FILE};
use hither_table::{
    Geometry, Held, Monotonic, Opened, Origin, Writer, entries_of_existing, entries_that_fit, first_version,
    open_as_it_fits,
};
use std::path::Path;
use std::time::Duration;

/// How often to check whether there is space for the configured table.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// Pause between the removal of a file and the check, since several are removed together.
const SETTLE_TIME: Duration = Duration::from_millis(100);
/// Pause between two such checks, since each may make a new table.
const CHECK_PAUSE: Duration = Duration::from_secs(1);

/// How often to try to create the runtime directory.
const LOST_CHECK_EVERY: Duration = Duration::from_secs(10);

/// What became of files in the runtime directory that were removed or replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mended {
    /// None were.
    Nothing,
    /// The table was made anew, or the reason why it was not is logged.
    Table,
    /// The directory is gone and cannot be created.
    NoDirectory,
}

/// The file of the table, and how the table differs from the configured one.
#[derive(Debug)]
pub(crate) struct TableFile {
    lock: Option<Held>,
    configured: Geometry,
    /// Whether no table was taken over at the start.
    is_new: bool,
    /// Why the table is not the configured one.
    problem: Option<String>,
    /// Device and inode of the table's file and of the lock's. None if other processes cannot open
    /// them.
    identities: [Option<(u64, u64)>; 2],
    /// When the next check is due.
    due: Monotonic,
    /// Whether files may have been removed since the last check.
    is_check_needed: bool,
    /// When the last check was.
    checked: Monotonic,
    /// Why the runtime directory cannot be created again.
    lost: Option<String>,
}

impl TableFile {
    /// Takes over the table of an earlier process, or creates a new one, and logs which.
    ///
    /// # Errors
    /// The table can be neither taken over nor created.
    pub fn open(config: &Config, random: &mut Random) -> Result<(TableFile, Writer), String> {
        #[allow(clippy::disallowed_methods)]
        // Read once, so that versions begin above those of a table that was lost.
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let dir = &config.runtime_dir;
        // Without a valid configuration the table keeps its size.
        let as_it_is = || config.findings.error.as_ref().and_then(|_| entries_of_existing(dir));
        let configured = configured(config.table.entries.or_else(as_it_is), dir);
        let opened = open_as_it_fits(dir, &configured, config.table.mode, seeds(random), first_version(wall));
        let opened = opened.map_err(|error| format!("cannot open or create the table: {error}"))?;
        warn_of_directory(dir);
        log_opened(&opened, &configured, dir);
        let Opened { writer, origin, lock, short } = opened;
        let is_new = matches!(origin, Origin::Created | Origin::Replaced { .. });
        let problem = short.map(|why| why.to_string());
        let identities = identities(writer.is_shared(), dir);
        let (checked, is_check_needed, lost) = (now(), false, None);
        let due = checked.plus(CHECK_EVERY);
        let file =
            TableFile { lock, configured, is_new, problem, identities, due, is_check_needed, checked, lost };
        Ok((file, writer))
    }

    /// Whether no table was taken over at the start.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Why the table is not the configured one, for the operator.
    pub fn problem(&self, table: &Upkeep<'_>) -> Option<String> {
        let lost = || {
            self.lost.as_ref().map(|why| {
                format!("the table is in a removed file, where other programs do not find it: {why}")
            })
        };
        let why = self.problem.as_ref();
        lost().or_else(|| why.map(|why| format!("{}: {why}", instead(table.is_shared(), table.capacity()))))
    }

    /// When the next check for space for the configured table is due. `has_problems`: other parts
    /// have something to check then, too.
    pub fn timeout(&self, has_problems: bool) -> Option<Monotonic> {
        let is_needed = self.is_check_needed || self.lost.is_some() || self.problem.is_some();
        (is_needed || has_problems).then_some(self.due)
    }

    /// Schedules a check, since files may have been removed or replaced.
    pub fn check_soon(&mut self, now: Monotonic) {
        let soon = now.plus(SETTLE_TIME).max(self.checked.plus(CHECK_PAUSE));
        if !self.is_check_needed || soon < self.due {
            self.due = soon;
        }
        self.is_check_needed = true;
    }

    /// Returns whether a check of the files in the runtime directory is due, and schedules the next one.
    pub fn take_check(&mut self, now: Monotonic) -> bool {
        let is_due = self.due <= now;
        if is_due {
            self.due = now.plus(CHECK_EVERY);
            (self.checked, self.is_check_needed) = (now, false);
        }
        is_due
    }

    /// Creates another table if `new` has another size or mode than `old`, the configuration in force.
    /// Returns whether it tried.
    pub fn resize(&mut self, table: Upkeep<'_>, new: &Config, old: &Config) -> bool {
        let configured = configured(new.table.entries, &old.runtime_dir);
        let is_same = configured.words() == self.configured.words() && new.table.mode == old.table.mode;
        if is_same && self.problem.is_none() {
            return false;
        }
        self.configured = configured;
        self.make(table, &old.runtime_dir, new.table.mode);
        true
    }

    /// Creates the configured table if there is space for it by now. Returns whether it tried.
    pub fn grow(&mut self, table: Upkeep<'_>, config: &Config) -> bool {
        let dir = &config.runtime_dir;
        let may_fit = self.problem.is_some() && table.is_there_more_room(dir, &self.configured);
        if may_fit {
            self.make(table, dir, config.table.mode);
        }
        may_fit
    }

    /// Creates another table if the file of this one was removed or replaced, and the directory too.
    pub fn mend(&mut self, table: Upkeep<'_>, config: &Config) -> Mended {
        let dir = &config.runtime_dir;
        if !table.is_shared() || self.identities == identities(true, dir) {
            return Mended::Nothing;
        }
        self.due = now().plus(CHECK_EVERY);
        if self.lost.is_none() {
            let what = if dir.is_dir() { "the file of the table in" } else { "the runtime directory" };
            log::warn!(
                event = Event::RuntimeFilesLost, path:% = dir.display();
                "{what} '{}' was removed or replaced: a new table takes the entries over",
                dir.display()
            );
        }
        // The lock of a removed file excludes no other daemon.
        self.lock = None;
        if let Err(why) = make_runtime_dir(dir) {
            if self.lost.is_none() {
                log::error!(event = Event::RuntimeFilesLost, path:% = dir.display(), reason:% = why; "{why}");
            }
            self.lost = Some(why);
            self.due = now().plus(LOST_CHECK_EVERY);
            return Mended::NoDirectory;
        }
        self.lost = None;
        self.make(table, dir, config.table.mode);
        warn_of_directory(dir);
        Mended::Table
    }

    /// Whether the runtime directory is ours: no other daemon has the lock by now.
    pub fn owns_runtime_dir(&self, table: &Upkeep<'_>) -> bool {
        self.lock.is_some() || !table.is_shared()
    }

    fn make(&mut self, mut table: Upkeep<'_>, dir: &Path, mode: u32) {
        let made =
            Random::new().map_err(|error| format!("cannot get random numbers from the kernel: {error}"));
        let made = made.and_then(|mut random| {
            let seeds = seeds(&mut random);
            table
                .rotate_as_it_fits(&mut self.lock, dir, &self.configured, mode, seeds)
                .map_err(|error| error.to_string())
        });
        match made {
            Ok(short) => {
                self.problem = short.map(|why| why.to_string());
                self.identities = identities(table.is_shared(), dir);
                let (entries, configured) = (table.capacity(), self.configured.entries);
                match &self.problem {
                    None => log::info!(
                        event = Event::TableResized, entries = entries;
                        "a table for {entries} names takes the place of the old one"
                    ),
                    Some(why) => log::warn!(
                        event = Event::TableNotResized, reason:% = why, entries = entries;
                        "a table for {entries} names takes the place of the old one, a table for {configured} when there is space: {why}"
                    ),
                }
            }
            Err(why) => {
                log::error!(event = Event::TableNotResized, reason:% = why; "the table stays as it is: {why}");
                self.problem = Some(why);
            }
        }
    }
}

/// Device and inode of the files at the paths of the table and of the lock.
fn identities(is_shared: bool, dir: &Path) -> [Option<(u64, u64)>; 2] {
    [TABLE_FILE, LOCK_FILE].map(|name| is_shared.then(|| identity(&dir.join(name))).flatten())
}

fn configured(entries: Option<usize>, dir: &Path) -> Geometry {
    Geometry { entries: entries.unwrap_or_else(|| entries_that_fit(dir, ENTRIES_DEFAULT)) }
}

fn seeds(random: &mut Random) -> [u64; 3] {
    [random.draw(), random.draw(), random.draw()]
}

fn log_opened(opened: &Opened, configured: &Geometry, dir: &Path) {
    let (writer, dir) = (&opened.writer, dir.display());
    let entries = writer.capacity();
    if let Some(why) = &opened.short {
        log::warn!(
            event = Event::TableNotResized, reason:% = why, entries = entries;
            "{}; a table for {} names replaces it when there is space: {why}",
            instead(writer.is_shared(), entries),
            configured.entries
        );
    }
    match &opened.origin {
        Origin::Created if !writer.is_shared() => {}
        Origin::Created => log::info!(
            event = Event::TableCreated, entries = entries;
            "a new table for {entries} names is in '{dir}'"
        ),
        Origin::Adopted => log::info!(
            event = Event::TableTakenOver, entries = writer.entries();
            "the table in '{dir}' is taken over: about {} entries",
            writer.entries()
        ),
        Origin::Resized => log::info!(
            event = Event::TableResized, entries = entries;
            "the table in '{dir}' had another size: a new one for {entries} names takes its entries over"
        ),
        Origin::Replaced { why } => log::warn!(
            event = Event::TableRefused, reason:% = why;
            "the table that was in '{dir}' is replaced by a new one: {why}"
        ),
    }
}

/// Describes the table in use, which is not the configured one.
fn instead(is_shared: bool, capacity: usize) -> String {
    if is_shared {
        format!("the table holds {capacity} names only")
    } else {
        "the table cannot be shared: other programs send queries to hitherd instead of reading it".to_owned()
    }
}
