//! The table as a file. A lock ensures that there is one writer. The file is taken over or replaced
//! by rename, never truncated, and never has holes.

use crate::adopt::{Doubt, next_version};
use crate::layout::{SUPERSEDED, head};
use crate::memory::{Memory, OpenError};
use crate::paths::{LOCK_FILE, NEW_TABLE_FILE, TABLE_FILE};
use crate::reader::Reader;
use crate::seqlock::{peek, publish};
use crate::steps::step;
use crate::writer::{Geometry, Writer};
use core::fmt;
use nix::fcntl::{Flock, FlockArg, OFlag, posix_fallocate};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The origin of a table.
#[derive(Debug)]
pub enum Origin {
    /// There was no table.
    Created,
    /// A predecessor's table was taken over.
    Adopted,
    /// A predecessor's table had another size; its entries are copied.
    Resized,
    /// A predecessor's table could not be taken over.
    Replaced {
        /// The reason.
        why: Doubt,
    },
}

/// The reason why no table could be opened or created.
#[derive(Debug)]
pub enum ShareError {
    /// Another daemon writes it.
    Locked(PathBuf),
    /// A file operation failed.
    Io {
        /// The operation, as a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        error: io::Error,
    },
    /// The new file cannot be used.
    Table(OpenError),
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(path) => write!(f, "another hitherd holds '{}'", path.display()),
            Self::Io { what, path, error } => write!(f, "cannot {what} '{}': {error}", path.display()),
            Self::Table(error) => write!(f, "the new table cannot be used: {error}"),
        }
    }
}

impl std::error::Error for ShareError {}

impl ShareError {
    /// Whether the file system has no space or is read-only, so that a smaller table or one on the
    /// heap may help.
    #[must_use]
    pub fn is_lack_of_space(&self) -> bool {
        let (Self::Io { error, .. } | Self::Table(OpenError::Io(error))) = self else { return false };
        let wants = [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::ENOMEM, libc::EFBIG];
        error.raw_os_error().is_some_and(|number| wants.contains(&number))
    }
}

/// The lock that keeps a second writer out; held as long as the writer lives.
#[derive(Debug)]
pub struct Held(#[allow(dead_code)] Flock<File>);

/// Takes over the table in `dir`, or creates a new one: complete under another name, then renamed,
/// so that readers see either the old or the new file. A table that cannot be taken over is marked
/// as superseded; its readers can still read it.
///
/// `random` gives the seed and the generation of a new table. Versions begin at `first` or above,
/// see [`crate::first_version`].
///
/// # Errors
/// A [`ShareError`].
pub fn open_or_create(
    dir: &Path,
    geometry: &Geometry,
    mode: u32,
    random: [u64; 3],
    first: u64,
) -> Result<(Writer, Origin, Held), ShareError> {
    let lock = lock(&dir.join(LOCK_FILE))?;
    let (writer, origin) = under_lock(dir, geometry, mode, random, first)?;
    Ok((writer, origin, lock))
}

/// [`open_or_create`] for a caller that holds the lock.
pub(crate) fn under_lock(
    dir: &Path,
    geometry: &Geometry,
    mode: u32,
    random: [u64; 3],
    first: u64,
) -> Result<(Writer, Origin), ShareError> {
    let path = dir.join(TABLE_FILE);
    let (old, why) = match predecessor(dir) {
        Ok(None) => (None, None),
        Ok(Some(old)) => match Writer::take_over(old.clone(), geometry) {
            Ok(mut writer) => {
                writer.version = writer.version.max(first);
                chmod(&path, mode)?;
                own(&mut writer);
                return Ok((writer, Origin::Adopted));
            }
            Err(why) => (Some(old), Some(why)),
        },
        Err(why) => (None, Some(why)),
    };
    // Versions continue above those of a table that is not taken over, too.
    let before = old.clone().or_else(|| Reader::open(dir).ok());
    let first = before.and_then(|before| next_version(&before).ok()).unwrap_or(0).max(first);
    let mut writer = create(dir, geometry, mode, random, first)?;
    let origin = match (old, why) {
        (_, None) => Origin::Created,
        (Some(old), Some(Doubt::OtherSize)) => {
            writer.inherit_from(old);
            Origin::Resized
        }
        (_, Some(why)) => Origin::Replaced { why },
    };
    own(&mut writer);
    supersede(&path, dir, true)?;
    Ok((writer, origin))
}

/// Replaces `writer`'s table by one of another size, into which its entries are copied under their
/// versions. Lookups in the old one then return [`crate::NoEntry::Replaced`].
///
/// # Errors
/// A [`ShareError`]; `writer` then continues unchanged.
pub fn rotate(
    writer: &mut Writer,
    dir: &Path,
    geometry: &Geometry,
    mode: u32,
    random: [u64; 3],
) -> Result<(), ShareError> {
    let mut next = create(dir, geometry, mode, random, writer.version)?;
    next.announce_like(writer);
    next.continue_metrics(writer);
    // Entries of an unfinished takeover are lost, which a cache permits.
    next.inherit_from(writer.reader());
    // The old writer's own thread wakes its waiters when that writer is dropped below.
    supersede(&dir.join(TABLE_FILE), dir, writer.wake.is_none())?;
    // If the old file was removed, its path did not lead to it.
    publish(&writer.words()[head::STATE], SUPERSEDED);
    own(&mut next);
    *writer = next;
    Ok(())
}

/// Publishes this process as the table's writer, and starts its threads.
pub(crate) fn own(writer: &mut Writer) {
    writer.note_clocks();
    writer.set_network(crate::network::here());
    writer.set_owner(std::process::id(), boot_id());
    writer.alive = crate::alive::Alive::show(writer.reader.memory());
    writer.wake = writer.is_shared().then(|| crate::wake::Waker::start(writer.reader.memory())).flatten();
}

pub(crate) fn lock(path: &Path) -> Result<Held, ShareError> {
    let open = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = open.map_err(|error| ShareError::Io { what: "create", path: path.to_owned(), error })?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Held(held)),
        Err(_) => Err(ShareError::Locked(path.to_owned())),
    }
}

/// The table in a directory, if only this process's user can have written it, and can write it.
fn own_file(dir: &Path) -> Result<File, OpenError> {
    let found = crate::file::find(dir, OFlag::O_RDWR)?;
    if found.owner != nix::unistd::geteuid().as_raw() {
        return Err(OpenError::Foreign("it belongs to another user"));
    }
    Ok(found.file)
}

fn open_file(path: &Path) -> Result<File, OpenError> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(OpenError::Io)?;
    let metadata = file.metadata().map_err(OpenError::Io)?;
    if !metadata.is_file() {
        return Err(OpenError::Foreign("it is not a regular file"));
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(OpenError::Foreign("it belongs to another user"));
    }
    Ok(file)
}

/// The existing table, if it is of this boot and network and was not replaced. Writes nothing.
pub(crate) fn predecessor(dir: &Path) -> Result<Option<Reader>, Doubt> {
    let memory = match own_file(dir).and_then(|file| Memory::map_writer(&file)) {
        Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(Doubt::Unreadable)?,
    };
    let reader = Reader::over(Arc::new(memory)).map_err(Doubt::Unreadable)?;
    if [0, 1].map(|n| peek(&reader.words()[head::BOOT + n])) != boot_id() {
        return Err(Doubt::OtherBoot);
    }
    if !reader.same_network() {
        return Err(Doubt::OtherNetwork);
    }
    if reader.replaced() {
        return Err(Doubt::Unreadable(OpenError::Invalid("it was replaced by another")));
    }
    next_version(&reader)?;
    Ok(Some(reader))
}

fn create(
    dir: &Path,
    geometry: &Geometry,
    mode: u32,
    random: [u64; 3],
    first: u64,
) -> Result<Writer, ShareError> {
    let path = dir.join(NEW_TABLE_FILE);
    let io = |what| {
        let path = path.clone();
        move |error: io::Error| ShareError::Io { what, path, error }
    };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io("remove")(error)),
        _ => {}
    }
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(&path)
        .map_err(io("create"))?;
    // Allocated completely: access to a hole in a full file system kills the process, reader or
    // writer, by SIGBUS.
    let octets = i64::try_from(geometry.words() * 8).unwrap_or(i64::MAX);
    if let Err(error) = posix_fallocate(&file, 0, octets) {
        // Frees the part that was allocated.
        let _ = std::fs::remove_file(&path);
        return Err(io("allocate space for")(error.into()));
    }
    step();
    let memory = Memory::map_writer(&file).map_err(ShareError::Table)?;
    let writer = Writer::create(memory, geometry, [random[0], random[1]], random[2], first)
        .map_err(ShareError::Table)?;
    chmod(&path, mode)?;
    Ok(writer)
}

fn chmod(path: &Path, mode: u32) -> Result<(), ShareError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(|error| ShareError::Io {
        what: "set the mode of",
        path: path.to_owned(),
        error,
    })
}

/// Renames the new file into place, then marks the old one as superseded.
fn supersede(path: &Path, dir: &Path, wakes: bool) -> Result<(), ShareError> {
    let old = open_file(path);
    step();
    std::fs::rename(dir.join(NEW_TABLE_FILE), path).map_err(|error| ShareError::Io {
        what: "rename the new table to",
        path: path.to_owned(),
        error,
    })?;
    mark(old, wakes);
    Ok(())
}

/// Marks a replaced file as superseded, if it is a table.
fn mark(old: Result<File, OpenError>, wakes: bool) {
    // Not mapped, since another user may be able to truncate it.
    if let Ok(memory) = old.and_then(|file| Memory::of_file(file, false))
        && memory.plan().is_ok()
        && let Some(file) = memory.unmapped()
    {
        step();
        let _ = file.supersede(wakes);
    }
}

/// Marks the table as superseded and removes it, as far as possible.
pub(crate) fn withdraw(path: &Path) {
    mark(open_file(path), true);
    let _ = std::fs::remove_file(path);
}

/// The kernel's id of this boot; zeros if it cannot be read.
fn boot_id() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let half =
        |range: std::ops::Range<usize>| digits.get(range).and_then(|hex| u64::from_str_radix(hex, 16).ok());
    [half(0..16).unwrap_or(0), half(16..32).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user that may write the file may truncate it at any moment.
    #[test]
    fn a_file_that_is_cut_while_it_is_marked_kills_no_process() {
        let dir = std::env::temp_dir().join(format!("hither-mark-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let made = open_or_create(&dir, &Geometry { entries: 64 }, 0o666, [1, 2, 3], 1).expect("a table");
        drop(made);
        let path = dir.join(TABLE_FILE);
        let file = Memory::of_file(open_file(&path).expect("ours"), false).expect("a table");
        assert!(file.plan().is_ok());
        let cut = || OpenOptions::new().write(true).truncate(true).open(&path);
        cut().expect("writable");
        file.unmapped().expect("not mapped").supersede(true).expect("writable");
        let file = open_file(&path);
        cut().expect("writable");
        mark(file, true);
        assert_eq!(
            std::fs::metadata(&path).expect("there").len(),
            0,
            "what is no table any more is left alone"
        );
        std::fs::remove_dir_all(&dir).expect("removable");
    }
}
