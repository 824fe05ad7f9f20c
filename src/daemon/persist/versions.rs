//! Versions grow although a table is lost: a version that none has come to is kept in a file, and a new table begins above it.
//!
//! The file is one step ahead when it is written ([`FAR`], [`NEAR`]), and is written again once half of that has been given out. So versions
//! pass it only where half a step is given out before the next writing ends, or where it cannot be written.
//!
//! It is in the state directory, or in the runtime directory where there is no other; there it goes with the table, and the wall clock alone says where
//! the next one begins.

use crate::config::Config;
use crate::daemon::event_loop::Daemon;
use crate::daemon::persist::restore;
use hither_rounds::Upkeep;
use hither_saved::{MARK_LEN, mark, marked};
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
/// How far ahead a file in the state directory is, and how often it is written at most. Half of that is what may be given out meanwhile.
const FAR: (u64, Duration) = (1 << 22, Duration::from_secs(1));
/// The same in the runtime directory, which is memory, and may be lost as a whole: a start takes longer than what it leaves out stands for by the
/// clock, so that starts alone do not take versions ahead of that.
const NEAR: (u64, Duration) = (1 << 12, Duration::from_millis(50));
/// How long it is not tried again where the file could not be written.
const AGAIN: Duration = Duration::from_secs(60);

/// What is kept, and what of it is being done.
#[derive(Debug)]
pub(crate) struct Ahead {
    dir: PathBuf,
    /// One of [`FAR`] and [`NEAR`].
    pace: (u64, Duration),
    shared: Arc<Shared>,
    /// When a version was last to be kept; none: it is due.
    tried: Option<Monotonic>,
    /// The file is there, but a loss of power may still cost it.
    is_unsynced: bool,
}

#[derive(Debug, Default)]
struct Shared {
    /// What the file says.
    kept: AtomicU64,
    /// What it said although we had not come so far: it came to be there after we began.
    found: AtomicU64,
    /// It could not be written last time.
    failed: AtomicBool,
    busy: AtomicBool,
}

impl Ahead {
    /// Reads what a predecessor kept, before anything is published, and keeps another one. What is known of the table itself counts
    /// more: only a new one (`is_new`) begins above the file.
    pub fn begin(config: &Config, mut table: Upkeep<'_>, is_new: bool) -> Ahead {
        let (dir, pace) = match &config.state_dir {
            Some(dir) => (dir.clone(), FAR),
            None => (config.runtime_dir.clone(), NEAR),
        };
        let path = dir.join(FILE);
        let there = read(&path).unwrap_or_else(|why| {
            log::warn!(
                "'{}' is passed over: {why}; versions begin by the clock, and it is written anew",
                path.display()
            );
            None
        });
        if is_new {
            table.begin_above(there.unwrap_or(0));
        }
        let mut ahead = Ahead { dir, pace, shared: Arc::default(), tried: None, is_unsynced: false };
        let last = table.last_version();
        match there.filter(|there| *there > last) {
            // It holds until the thread writes it anew, where that is due: what is synced is not replaced by what is not.
            Some(there) => ahead.shared.kept.store(there, SeqCst),
            None => {
                if let Err(error) = ahead.write(last) {
                    log::info!(
                        "where versions are is not kept in '{}': {error}; it is tried again",
                        path.display()
                    );
                }
            }
        }
        ahead
    }

    /// Writes the file at once, which outlives this process from now on; that it outlives a loss of power is left to the thread.
    fn write(&mut self, last: u64) -> io::Result<()> {
        let wanted = last.saturating_add(self.pace.0).max(self.shared.kept.load(SeqCst));
        keep(&self.dir, wanted, false)?;
        self.shared.kept.store(wanted, SeqCst);
        self.is_unsynced = self.pace == FAR;
        Ok(())
    }

    /// The version that is to be kept now, if there is one; before that, the table goes on above what was found.
    fn next(&mut self, mut table: Upkeep<'_>, now: Monotonic) -> Option<u64> {
        let found = self.shared.found.swap(0, SeqCst);
        if found > 0 {
            table.begin_above(found);
            self.tried = None;
        }
        let (step, every) = self.pace;
        let (kept, last) = (self.shared.kept.load(SeqCst), table.last_version());
        let failed = self.shared.failed.load(SeqCst);
        let is_enough = kept >= last.saturating_add(step / 2) && !self.is_unsynced && !failed;
        let pause = if failed { AGAIN } else { every };
        let is_early = self.tried.is_some_and(|tried| tried.plus(pause) > now);
        if is_enough || is_early || self.shared.busy.load(SeqCst) {
            return None;
        }
        self.tried = Some(now);
        self.is_unsynced = false;
        Some(last.saturating_add(step).max(kept))
    }
}

fn read(path: &Path) -> Result<Option<u64>, String> {
    let Some(file) = restore::open(path)? else { return Ok(None) };
    let mut octets = Vec::new();
    file.take(MARK_LEN as u64 + 1).read_to_end(&mut octets).map_err(|error| error.to_string())?;
    let version = marked(&octets).map_err(|fault| fault.to_string())?;
    if version < VERSION_MAX / 2 { Ok(Some(version)) } else { Err("its version is out of range".to_owned()) }
}

/// Writes the file: whole under another name, then renamed. `sync`: a loss of power costs neither this one nor the one before.
fn keep(dir: &Path, version: u64, sync: bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let new = dir.join(NEW_FILE);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(&new)?;
    let written = file.write_all(&mark(version)).and_then(|()| if sync { file.sync_data() } else { Ok(()) });
    let renamed = written.and_then(|()| std::fs::rename(&new, dir.join(FILE)));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    renamed
}

/// In a thread of its own: keeps `version`, unless the file has a higher one.
fn go_on(dir: &Path, version: u64, sync: bool, shared: &Shared) {
    let failed = match read(&dir.join(FILE)) {
        Ok(Some(there)) if there > version => {
            shared.found.store(there, SeqCst);
            false
        }
        _ => match keep(dir, version, sync) {
            Ok(()) => {
                shared.kept.store(version, SeqCst);
                false
            }
            Err(_) => true,
        },
    };
    shared.failed.store(failed, SeqCst);
    shared.busy.store(false, SeqCst);
}

impl Daemon {
    /// Writes the file anew where somebody has taken it away.
    pub(crate) fn look_after_versions(&mut self) {
        let last = self.core.table().last_version();
        let Some(ahead) = &mut self.keep.ahead else { return };
        let path = ahead.dir.join(FILE);
        if ahead.shared.busy.load(SeqCst) || std::fs::symlink_metadata(&path).is_ok() {
            return;
        }
        if let Err(error) = ahead.write(last) {
            log::debug!("'{}' cannot be written anew: {error}; it is tried again", path.display());
        }
    }

    /// Keeps a further version where half of what was kept has been given out.
    pub(crate) fn keep_versions(&mut self, now: Monotonic) {
        let Some(ahead) = &mut self.keep.ahead else { return };
        let Some(wanted) = ahead.next(self.core.table(), now) else { return };
        ahead.shared.busy.store(true, SeqCst);
        let (dir, shared) = (ahead.dir.clone(), Arc::clone(&ahead.shared));
        let sync = ahead.pace == FAR;
        let work = move || go_on(&dir, wanted, sync, &shared);
        if std::thread::Builder::new().name("versions".to_owned()).spawn(work).is_err() {
            ahead.shared.busy.store(false, SeqCst);
            ahead.is_unsynced = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_table::{Geometry, Memory, Writer};

    /// What was there before, in a file system that was not mounted when we began.
    const THERE: u64 = 5_000_000_000;

    struct World {
        dir: PathBuf,
        ahead: Ahead,
        writer: Writer,
    }

    impl World {
        fn new(name: &str) -> World {
            let dir = std::env::temp_dir().join(format!("hither-versions-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            let geometry = Geometry { entries: 64 };
            let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 1_000_000);
            let ahead = Ahead {
                dir: dir.join("state"),
                pace: FAR,
                shared: Arc::default(),
                tried: None,
                is_unsynced: false,
            };
            World { dir, ahead, writer: writer.expect("a table") }
        }

        fn next(&mut self, ms: u64) -> Option<u64> {
            self.ahead.next(Upkeep::of(&mut self.writer), Monotonic::from_ms(1000 + ms))
        }

        fn go_on(&self, version: u64) {
            go_on(&self.ahead.dir, version, false, &self.ahead.shared);
        }

        fn kept(&self) -> Option<u64> {
            read(&self.ahead.dir.join(FILE)).expect("a mark")
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    #[test]
    fn a_higher_version_that_comes_to_be_there_is_gone_above_at_once() {
        let mut world = World::new("found");
        let wanted = world.next(0).expect("nothing is kept yet");
        keep(&world.ahead.dir, THERE, false).expect("written");
        world.go_on(wanted);
        assert_eq!(world.kept(), Some(THERE));
        assert_eq!(world.next(1), Some(THERE + FAR.0));
        assert_eq!(world.writer.last_version(), THERE);
        world.go_on(THERE + FAR.0);
        assert_eq!((world.kept(), world.next(2), world.next(90_000)), (Some(THERE + FAR.0), None, None));
    }

    #[test]
    fn a_higher_version_is_not_overwritten_by_a_lower_one_that_was_kept_elsewhere() {
        let mut world = World::new("mounted");
        let wanted = world.next(0).expect("nothing is kept yet");
        world.go_on(wanted);
        assert_eq!(world.kept(), Some(wanted));
        // Another file system takes the directory's place, and half of what was kept is given out.
        keep(&world.ahead.dir, THERE, false).expect("written");
        world.writer.begin_above(wanted);
        let wanted = world.next(2000).expect("it is used up");
        world.go_on(wanted);
        assert_eq!(world.kept(), Some(THERE));
        assert_eq!((world.next(2001), world.writer.last_version()), (Some(THERE + FAR.0), THERE));
    }

    #[test]
    fn what_was_written_at_once_is_synced_by_the_thread() {
        let mut world = World::new("synced");
        let last = world.writer.last_version();
        world.ahead.write(last).expect("written");
        assert_eq!((world.kept(), world.next(0)), (Some(last + FAR.0), Some(last + FAR.0)));
        world.go_on(last + FAR.0);
        assert_eq!(world.next(5000), None);
    }

    #[test]
    fn what_cannot_be_written_is_tried_again_once_a_minute_whether_or_not_it_could_be_before() {
        let mut world = World::new("refused");
        std::fs::write(&world.dir, "a file where a directory is to be").expect("written");
        let wanted = world.next(0).expect("nothing is kept yet");
        world.go_on(wanted);
        assert_eq!((world.next(59_999), world.next(60_000)), (None, Some(wanted)));
        std::fs::remove_file(&world.dir).expect("removable");
        world.go_on(wanted);
        assert_eq!((world.kept(), world.next(60_001)), (Some(wanted), None));
        // All of it is given out, and the directory is taken away.
        std::fs::remove_dir_all(&world.dir).expect("removable");
        std::fs::write(&world.dir, "a file where a directory is to be").expect("written");
        world.writer.begin_above(wanted);
        let wanted = world.next(70_000).expect("it is used up");
        world.go_on(wanted);
        assert_eq!((world.next(129_999), world.next(130_000)), (None, Some(wanted)));
        std::fs::remove_file(&world.dir).expect("removable");
    }
}
