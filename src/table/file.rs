//! Opens the table's file through a descriptor of its directory. Both are checked before anything
//! is read.

use crate::memory::OpenError;
use crate::paths::TABLE_FILE;
use crate::successor::FileId;
use crate::trust::{self, Distrust, Facts};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// An open file that [`trust`] accepts as a table.
pub(crate) struct Found {
    pub file: File,
    pub owner: u32,
    pub id: FileId,
}

/// Opens the table's file in `dir`. Never blocks, even if there is a FIFO in its place.
///
/// # Errors
/// The file does not exist, or [`trust`] does not accept it.
pub(crate) fn find(dir: &Path, access: OFlag) -> Result<Found, OpenError> {
    let io = |error: Errno| OpenError::Io(error.into());
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let directory = open(dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY | flags, Mode::empty());
    let directory = directory.map_err(|error| match error {
        // A symbolic link, or not a directory.
        Errno::ENOTDIR => OpenError::Foreign(Distrust::NotADirectory.as_str()),
        other => io(other),
    })?;
    let file = openat(&directory, TABLE_FILE, access | flags, Mode::empty()).map_err(io)?;
    let (directory, file) = (File::from(directory), File::from(file));
    let (outer, inner) =
        (directory.metadata().map_err(OpenError::Io)?, file.metadata().map_err(OpenError::Io)?);
    trust::judge(facts(&outer), facts(&inner)).map_err(|why| OpenError::Foreign(why.as_str()))?;
    Ok(Found { file, owner: inner.uid(), id: FileId { device: inner.dev(), inode: inner.ino() } })
}

fn facts(of: &Metadata) -> Facts {
    Facts { mode: of.mode(), uid: of.uid() }
}
