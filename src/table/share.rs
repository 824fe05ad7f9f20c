//! The table as a file: one writer by lock, taken over or replaced by rename, never truncated, never with holes.

use crate::adopt::{Doubt, next_version};
use crate::layout::head;
use crate::memory::{Memory, OpenError};
use crate::paths::{LOCK_FILE, NEW_TABLE_FILE, TABLE_FILE};
use crate::reader::Reader;
use crate::seqlock::peek;
use crate::steps::step;
use crate::writer::{Geometry, Writer};
use core::fmt;
use nix::fcntl::{Flock, FlockArg, OFlag, posix_fallocate};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a table came to be.
#[derive(Debug)]
pub enum Origin {
    /// There was none.
    Created,
    /// A predecessor's was taken over.
    Adopted,
    /// A predecessor's had another size: its entries are taken over.
    Resized,
    /// A predecessor's could not be trusted.
    Replaced {
        /// What was wrong with it.
        why: Doubt,
    },
}

/// Why there is no table.
#[derive(Debug)]
pub enum ShareError {
    /// Another daemon writes it.
    Locked(PathBuf),
    /// The file cannot be made.
    Io {
        /// What was tried.
        what: &'static str,
        /// Of which file.
        path: PathBuf,
        /// Why it failed.
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
    /// Whether it is the file system that has no room, or takes nothing at all: nothing is wrong with the table then.
    #[must_use]
    pub fn is_want_of_room(&self) -> bool {
        let (Self::Io { error, .. } | Self::Table(OpenError::Io(error))) = self else { return false };
        let wants = [libc::ENOSPC, libc::EDQUOT, libc::EROFS, libc::ENOMEM, libc::EFBIG];
        error.raw_os_error().is_some_and(|number| wants.contains(&number))
    }
}

/// The lock that keeps a second writer out; held as long as the writer lives.
#[derive(Debug)]
pub struct Held(#[allow(dead_code)] Flock<File>);

/// Takes over `dir/hosts`, or puts a new table there: built whole under another name, then renamed, so that readers see
/// either. What is there and cannot be trusted is left to its readers, marked as superseded if it is a table at all.
///
/// `random` gives the table's seed and number; no version begins below `first`, see [`crate::first_version`].
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

/// [`open_or_create`] for who holds the lock.
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
    // Also of a table that is not taken over: versions go on above it, if it is one at all.
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

/// Puts a table of another size in the place of `writer`'s, whose entries follow with their versions. Readers that look something up
/// are told to open the new file.
///
/// # Errors
/// A [`ShareError`]; `writer` then goes on as before.
pub fn rotate(
    writer: &mut Writer,
    dir: &Path,
    geometry: &Geometry,
    mode: u32,
    random: [u64; 3],
) -> Result<(), ShareError> {
    let mut next = create(dir, geometry, mode, random, writer.version)?;
    next.announce_like(writer);
    // What was still to be taken over is left behind with the table that it is in: a cache may forget.
    next.inherit_from(writer.reader());
    // Its own thread wakes who waits at the old one, once the writer has gone on.
    supersede(&dir.join(TABLE_FILE), dir, writer.rouse.is_none())?;
    own(&mut next);
    *writer = next;
    Ok(())
}

/// Says who writes, now.
pub(crate) fn own(writer: &mut Writer) {
    writer.note_clocks();
    writer.set_network(crate::network::here());
    writer.set_owner(std::process::id(), boot_id());
    writer.alive = crate::alive::Alive::show(writer.reader.memory());
    writer.rouse = writer.is_shared().then(|| crate::rouse::Rouse::start(writer.reader.memory())).flatten();
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

/// The table in a directory, if nobody but us can have written it and nobody but us can go on writing it.
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

/// The table that is there, if it is one of this boot that nobody has replaced. Nothing is written.
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
    // All of it at once: touching a hole of a full file system kills the process that does, reader or writer.
    let octets = i64::try_from(geometry.words() * 8).unwrap_or(i64::MAX);
    if let Err(error) = posix_fallocate(&file, 0, octets) {
        // What it has got of it is wanted by others.
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

/// Puts the new file in place, then tells readers of the old one.
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

/// Tells readers of what was there to look for another one.
fn mark(old: Result<File, OpenError>, wakes: bool) {
    // Not mapped: others may be able to write it, and to cut it.
    if let Ok(memory) = old.and_then(|file| Memory::of_file(file, false))
        && memory.plan().is_ok()
        && let Some(asked) = memory.asked()
    {
        step();
        let _ = asked.supersede(wakes);
    }
}

/// Takes away what nothing takes the place of, as far as that can be done: readers of it are told, and others find nothing.
pub(crate) fn withdraw(path: &Path) {
    mark(open_file(path), true);
    let _ = std::fs::remove_file(path);
}

/// The kernel's name for this run of the host.
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

    /// Whoever may write the file may cut it at any moment, for instance in this one.
    #[test]
    fn a_file_that_is_cut_while_its_readers_are_told_ends_nobody() {
        let dir = std::env::temp_dir().join(format!("hither-mark-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let made = open_or_create(&dir, &Geometry { entries: 64 }, 0o666, [1, 2, 3], 1).expect("a table");
        drop(made);
        let path = dir.join(TABLE_FILE);
        let asked = Memory::of_file(open_file(&path).expect("ours"), false).expect("a table");
        assert!(asked.plan().is_ok());
        let cut = || OpenOptions::new().write(true).truncate(true).open(&path);
        cut().expect("writable");
        asked.asked().expect("not mapped").supersede(true).expect("writable");
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
