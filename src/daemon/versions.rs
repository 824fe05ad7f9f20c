//! Versions grow although a table is lost: a version that none has come to is kept in a file, ahead of those that are given out.
//!
//! It is in the state directory, or in the runtime directory where there is no other; there it goes with the table, and the wall clock alone says where
//! the next one begins.

use super::event_loop::{Daemon, now};
use super::restore;
use crate::config::Config;
use hither_saved::{MARK_LEN, mark, marked};
use hither_table::layout::VERSION_MAX;
use hither_table::{Monotonic, Writer};
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
pub(super) struct Ahead {
    dir: PathBuf,
    /// One of [`FAR`] and [`NEAR`].
    pace: (u64, Duration),
    shared: Arc<Shared>,
    due: Monotonic,
}

#[derive(Debug, Default)]
struct Shared {
    /// What the file says.
    kept: AtomicU64,
    /// What it said although we had not come so far: it was not there to be read when we began.
    found: AtomicU64,
    busy: AtomicBool,
}

impl Ahead {
    /// Reads what a predecessor kept, before anything is published, and keeps another one. What is known of the table itself counts
    /// more: only a new one (`is_new`) begins above the file.
    pub fn begin(config: &Config, writer: &mut Writer, is_new: bool) -> Ahead {
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
            writer.begin_above(there.unwrap_or(0));
        }
        let ahead = Ahead { dir, pace, shared: Arc::default(), due: now() };
        let wanted = writer.last_version().saturating_add(pace.0).max(there.unwrap_or(0));
        match keep(&ahead.dir, wanted, false) {
            Ok(()) => ahead.shared.kept.store(wanted, SeqCst),
            Err(error) => log::info!(
                "where versions are is not kept in '{}': {error}; it is tried again",
                path.display()
            ),
        }
        ahead
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
    let known = shared.kept.load(SeqCst);
    match read(&dir.join(FILE)) {
        Ok(Some(there)) if there > version && known == 0 => shared.found.store(there, SeqCst),
        _ if keep(dir, version, sync).is_ok() => shared.kept.store(version, SeqCst),
        _ => {}
    }
    shared.busy.store(false, SeqCst);
}

impl Daemon {
    /// Writes the file anew where somebody has taken it away.
    pub(super) fn look_after_versions(&mut self) {
        let last = self.rounds.writer().last_version();
        let Some(ahead) = &self.keep.ahead else { return };
        let path = ahead.dir.join(FILE);
        if ahead.shared.busy.load(SeqCst) || std::fs::symlink_metadata(&path).is_ok() {
            return;
        }
        let wanted = last.saturating_add(ahead.pace.0).max(ahead.shared.kept.load(SeqCst));
        match keep(&ahead.dir, wanted, false) {
            Ok(()) => ahead.shared.kept.store(wanted, SeqCst),
            Err(error) => {
                log::debug!("'{}' cannot be written anew: {error}; it is tried again", path.display())
            }
        }
    }

    /// Keeps a further version where half of what was kept has been given out.
    pub(super) fn keep_versions(&mut self, now: Monotonic) {
        let last = self.rounds.writer().last_version();
        let Some(ahead) = &mut self.keep.ahead else { return };
        let (step, every) = ahead.pace;
        let is_enough = ahead.shared.kept.load(SeqCst) >= last.saturating_add(step / 2);
        if is_enough || ahead.due > now || ahead.shared.busy.load(SeqCst) {
            return;
        }
        self.rounds.writer().begin_above(ahead.shared.found.swap(0, SeqCst));
        let wanted = self.rounds.writer().last_version().saturating_add(step);
        ahead.due = now.plus(if ahead.shared.kept.load(SeqCst) == 0 { AGAIN } else { every });
        ahead.shared.busy.store(true, SeqCst);
        let (dir, shared) = (ahead.dir.clone(), Arc::clone(&ahead.shared));
        let sync = ahead.pace == FAR;
        let work = move || go_on(&dir, wanted, sync, &shared);
        if std::thread::Builder::new().name("versions".to_owned()).spawn(work).is_err() {
            ahead.shared.busy.store(false, SeqCst);
        }
    }
}
