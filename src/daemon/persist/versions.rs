//! The file `versions`: it holds a version that the table has not reached; a new table begins above
//! it. So versions grow even if the table is lost.
//!
//! When the file is written, it is one step ahead of the table ([`IN_STATE_DIR`], [`IN_RUNTIME_DIR`]).
//! The file is written again when half of the step is used. So the table passes it only if the table
//! uses half a step before the next write ends, or if the file cannot be written.
//!
//! The file is in the state directory, or else in the runtime directory. There it is lost together
//! with the table, and only the wall clock determines where the next table begins.

use crate::config::Config;
use crate::daemon::persist::restore;
use hither_rounds::Upkeep;
use hither_saved::{MARK_LEN, decode_mark, encode_mark};
use hither_table::Monotonic;
use hither_table::layout::VERSION_MAX;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const FILE: &str = "versions";
const NEW_FILE: &str = "versions.new";
/// The step of a file in the state directory, and the least time between two writes. The table may use
/// half of the step meanwhile.
const IN_STATE_DIR: (u64, Duration) = (1 << 22, Duration::from_secs(1));
/// The same in the runtime directory, which is in memory and may be lost. Versions that begin by
/// the clock grow by more during a start than the step that a start may skip, so that starts alone
/// do not bring versions ahead of the clock.
const IN_RUNTIME_DIR: (u64, Duration) = (1 << 12, Duration::from_millis(50));
/// How long after a failed write the next one is tried.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The file, and the thread that writes it.
#[derive(Debug)]
pub(super) struct VersionFile {
    dir: PathBuf,
    /// [`IN_STATE_DIR`] or [`IN_RUNTIME_DIR`].
    step: (u64, Duration),
    shared: Arc<Shared>,
    /// When the thread was last started. None if a write is due.
    tried: Option<Monotonic>,
    /// Whether the file is written but not synced, so that a power failure may lose it.
    is_unsynced: bool,
}

#[derive(Debug, Default)]
struct Shared {
    /// The version in the file.
    written: AtomicU64,
    /// A version above ours that was found in the file, because another file system was mounted
    /// since; 0 if there is none.
    found: AtomicU64,
    /// Whether the last write failed.
    failed: AtomicBool,
    busy: AtomicBool,
}

impl VersionFile {
    /// Reads the file of an earlier process, before anything is published, and writes it anew. A
    /// table that was taken over knows its version: only a new one (`is_new`) begins above the
    /// file.
    pub fn open(config: &Config, mut table: Upkeep<'_>, is_new: bool) -> VersionFile {
        let (dir, step) = match &config.state.dir {
            Some(dir) => (dir.clone(), IN_STATE_DIR),
            None => (config.runtime_dir.clone(), IN_RUNTIME_DIR),
        };
        let path = dir.join(FILE);
        let there = read(&path).unwrap_or_else(|why| {
            log::warn!(
                "'{}' is passed over: {why}; versions begin by the clock, and the file is written again",
                path.display()
            );
            None
        });
        if is_new {
            table.begin_above(there.unwrap_or(0));
        }
        let mut file = VersionFile { dir, step, shared: Arc::default(), tried: None, is_unsynced: false };
        let last = table.last_version();
        match there.filter(|there| *there > last) {
            // The version in the file is far enough ahead. The thread writes the next one when that is due,
            // and syncs it, which a write here does not.
            Some(there) => file.shared.written.store(there, SeqCst),
            None => {
                if let Err(error) = file.write(last) {
                    log::info!(
                        "the version of the table cannot be written to '{}': {error}; trying again",
                        path.display()
                    );
                }
            }
        }
        file
    }

    /// Writes the file at once, without a sync: it outlives this process. The thread makes it
    /// outlive a power failure.
    fn write(&mut self, last: u64) -> io::Result<()> {
        let version = last.saturating_add(self.step.0).max(self.shared.written.load(SeqCst));
        write(&self.dir, version, false)?;
        self.shared.written.store(version, SeqCst);
        self.is_unsynced = self.step == IN_STATE_DIR;
        Ok(())
    }

    /// The version to write now, if a write is due. First the table continues above a version that was found.
    fn next(&mut self, mut table: Upkeep<'_>, now: Monotonic) -> Option<u64> {
        let found = self.shared.found.swap(0, SeqCst);
        if found > 0 {
            table.begin_above(found);
            self.tried = None;
        }
        let (step, every) = self.step;
        let (written, last) = (self.shared.written.load(SeqCst), table.last_version());
        let failed = self.shared.failed.load(SeqCst);
        let is_enough = written >= last.saturating_add(step / 2) && !self.is_unsynced && !failed;
        let pause = if failed { RETRY_AFTER } else { every };
        let is_early = self.tried.is_some_and(|tried| tried.plus(pause) > now);
        if is_enough || is_early || self.shared.busy.load(SeqCst) {
            return None;
        }
        self.tried = Some(now);
        self.is_unsynced = false;
        Some(last.saturating_add(step).max(written))
    }

    /// Writes the file again if it was removed. `last` is the table's version.
    pub fn restore_file(&mut self, last: u64) {
        let path = self.dir.join(FILE);
        if self.shared.busy.load(SeqCst) || std::fs::symlink_metadata(&path).is_ok() {
            return;
        }
        if let Err(error) = self.write(last) {
            log::debug!("'{}' cannot be written again: {error}; trying again", path.display());
        }
    }

    /// Starts the thread that writes the next version, if that is due.
    pub fn on_time(&mut self, table: Upkeep<'_>, now: Monotonic) {
        let Some(version) = self.next(table, now) else { return };
        self.shared.busy.store(true, SeqCst);
        let (dir, shared) = (self.dir.clone(), Arc::clone(&self.shared));
        let sync = self.step == IN_STATE_DIR;
        let work = move || write_in_thread(&dir, version, sync, &shared);
        if std::thread::Builder::new().name("versions".to_owned()).spawn(work).is_err() {
            self.shared.busy.store(false, SeqCst);
            self.is_unsynced = true;
        }
    }
}

fn read(path: &Path) -> Result<Option<u64>, String> {
    let Some(file) = restore::open(path)? else { return Ok(None) };
    let mut octets = Vec::new();
    file.take(MARK_LEN as u64 + 1).read_to_end(&mut octets).map_err(|error| error.to_string())?;
    let version = decode_mark(&octets).map_err(|fault| fault.to_string())?;
    if version < VERSION_MAX / 2 { Ok(Some(version)) } else { Err("its version is out of range".to_owned()) }
}

/// Writes the file under another name, then renames it. With `sync` a power failure loses neither
/// it nor the previous one.
fn write(dir: &Path, version: u64, sync: bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let new = dir.join(NEW_FILE);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(&new)?;
    let written =
        file.write_all(&encode_mark(version)).and_then(|()| if sync { file.sync_data() } else { Ok(()) });
    let renamed = written.and_then(|()| std::fs::rename(&new, dir.join(FILE)));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    renamed
}

/// The thread's work: writes `version`, unless the file has a higher one.
fn write_in_thread(dir: &Path, version: u64, sync: bool, shared: &Shared) {
    let failed = match read(&dir.join(FILE)) {
        Ok(Some(there)) if there > version => {
            shared.found.store(there, SeqCst);
            false
        }
        _ => match write(dir, version, sync) {
            Ok(()) => {
                shared.written.store(version, SeqCst);
                false
            }
            Err(_) => true,
        },
    };
    shared.failed.store(failed, SeqCst);
    shared.busy.store(false, SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_table::{Geometry, Memory, Writer};

    /// The version in a file system that is mounted after the start.
    const THERE: u64 = 5_000_000_000;

    struct World {
        dir: PathBuf,
        file: VersionFile,
        writer: Writer,
    }

    impl World {
        fn new(name: &str) -> World {
            let dir = std::env::temp_dir().join(format!("hither-versions-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            let geometry = Geometry { entries: 64 };
            let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 1_000_000);
            let file = VersionFile {
                dir: dir.join("state"),
                step: IN_STATE_DIR,
                shared: Arc::default(),
                tried: None,
                is_unsynced: false,
            };
            World { dir, file, writer: writer.expect("a table") }
        }

        fn next(&mut self, ms: u64) -> Option<u64> {
            self.file.next(Upkeep::of(&mut self.writer), Monotonic::from_ms(1000 + ms))
        }

        fn run_thread(&self, version: u64) {
            write_in_thread(&self.file.dir, version, false, &self.file.shared);
        }

        fn written(&self) -> Option<u64> {
            read(&self.file.dir.join(FILE)).expect("a mark")
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    #[test]
    fn the_table_continues_above_a_higher_version_that_is_found_later() {
        let mut world = World::new("found");
        let wanted = world.next(0).expect("nothing is written yet");
        write(&world.file.dir, THERE, false).expect("written");
        world.run_thread(wanted);
        assert_eq!(world.written(), Some(THERE));
        assert_eq!(world.next(1), Some(THERE + IN_STATE_DIR.0));
        assert_eq!(world.writer.last_version(), THERE);
        world.run_thread(THERE + IN_STATE_DIR.0);
        assert_eq!(
            (world.written(), world.next(2), world.next(90_000)),
            (Some(THERE + IN_STATE_DIR.0), None, None)
        );
    }

    #[test]
    fn a_higher_version_is_not_overwritten_by_a_lower_one() {
        let mut world = World::new("mounted");
        let wanted = world.next(0).expect("nothing is written yet");
        world.run_thread(wanted);
        assert_eq!(world.written(), Some(wanted));
        // Another file system is mounted over the directory, and half of the step is used.
        write(&world.file.dir, THERE, false).expect("written");
        world.writer.begin_above(wanted);
        let wanted = world.next(2000).expect("it is used up");
        world.run_thread(wanted);
        assert_eq!(world.written(), Some(THERE));
        assert_eq!((world.next(2001), world.writer.last_version()), (Some(THERE + IN_STATE_DIR.0), THERE));
    }

    #[test]
    fn the_thread_syncs_a_file_that_was_written_at_once() {
        let mut world = World::new("synced");
        let last = world.writer.last_version();
        world.file.write(last).expect("written");
        assert_eq!(
            (world.written(), world.next(0)),
            (Some(last + IN_STATE_DIR.0), Some(last + IN_STATE_DIR.0))
        );
        world.run_thread(last + IN_STATE_DIR.0);
        assert_eq!(world.next(5000), None);
    }

    #[test]
    fn a_failed_write_is_tried_again_once_a_minute() {
        let mut world = World::new("refused");
        std::fs::write(&world.dir, "a file where a directory is to be").expect("written");
        let wanted = world.next(0).expect("nothing is written yet");
        world.run_thread(wanted);
        assert_eq!((world.next(59_999), world.next(60_000)), (None, Some(wanted)));
        std::fs::remove_file(&world.dir).expect("removable");
        world.run_thread(wanted);
        assert_eq!((world.written(), world.next(60_001)), (Some(wanted), None));
        // The whole step is used, and the directory is removed.
        std::fs::remove_dir_all(&world.dir).expect("removable");
        std::fs::write(&world.dir, "a file where a directory is to be").expect("written");
        world.writer.begin_above(wanted);
        let wanted = world.next(70_000).expect("it is used up");
        world.run_thread(wanted);
        assert_eq!((world.next(129_999), world.next(130_000)), (None, Some(wanted)));
        std::fs::remove_file(&world.dir).expect("removable");
    }
}
