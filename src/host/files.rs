//! Reads files that other programs write, without blocking if the path is a FIFO or a device. All
//! three programs use it.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The device number of `/dev/null`, to which operators link a file that is to count as empty.
const NULL_DEVICE: u64 = nix::libc::makedev(1, 3);

/// Opens a regular file for reading, or `/dev/null`. Anything else is an error that names its kind:
/// opening a FIFO can block for ever, and opening a device can have effects.
pub(crate) fn open_regular(path: &Path) -> Result<File> {
    check_kind(&std::fs::metadata(path)?)?;
    let without_waiting = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(without_waiting.bits()).open(path)?;
    // Another file may have taken its place meanwhile.
    check_kind(&file.metadata()?)?;
    Ok(file)
}

/// Reads the first `octets_max` octets of a regular file.
pub(crate) fn read_up_to(path: &Path, octets_max: u64) -> Result<Vec<u8>> {
    let mut octets = Vec::new();
    open_regular(path)?.take(octets_max).read_to_end(&mut octets)?;
    Ok(octets)
}

/// Reads a regular file; one of more than `octets_max` octets is an error.
pub(crate) fn read_all(path: &Path, octets_max: u64) -> Result<Vec<u8>> {
    let octets = read_up_to(path, octets_max + 1)?;
    if octets.len() as u64 > octets_max {
        return Err(Error::new(
            ErrorKind::InvalidData,
            format!("it is larger than {} MiB", octets_max >> 20),
        ));
    }
    Ok(octets)
}

/// Entries of a directory.
pub(crate) struct Entries {
    /// Names of the entries, sorted by octets.
    pub names: Vec<OsString>,
    /// Whether the directory has more entries than were asked for.
    pub is_cut: bool,
}

/// Lists a directory, but no more than the first `count_max` entries that the kernel gives.
pub(crate) fn entries(dir: &Path, count_max: usize) -> Result<Entries> {
    let mut entries = std::fs::read_dir(dir)?;
    let found = entries.by_ref().take(count_max);
    let mut names: Vec<OsString> = found.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.sort();
    Ok(Entries { names, is_cut: entries.next().is_some() })
}

/// Device and inode of the file at `path`, by which a replaced file is noticed; a symbolic link is not
/// followed.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

fn check_kind(found: &Metadata) -> Result<()> {
    let kind = found.file_type();
    let what = match () {
        () if kind.is_file() || kind.is_char_device() && found.rdev() == NULL_DEVICE => return Ok(()),
        () if kind.is_dir() => return Err(Errno::EISDIR.into()),
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(Error::new(ErrorKind::InvalidInput, format!("it is {what}, not a file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_nothing_blocks() {
        let dir = std::env::temp_dir().join(format!("hither-open-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let why = |path: &Path| open_regular(path).map_err(|error| error.to_string()).expect_err("no file");
        assert_eq!(why(&dir), "Is a directory (os error 21)");
        assert_eq!(why(Path::new("/dev/zero")), "it is a device, not a file");
        nix::unistd::mkfifo(&dir.join("fifo"), nix::sys::stat::Mode::S_IRUSR).expect("a FIFO");
        assert_eq!(why(&dir.join("fifo")), "it is a FIFO, not a file");
        let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).expect("bound");
        assert_eq!(why(&dir.join("socket")), "it is a socket, not a file");
        std::fs::write(dir.join("file"), "x").expect("written");
        assert_eq!(read_up_to(Path::new("/dev/null"), 9).expect("empty"), b"");
        assert!(
            read_all(&dir.join("file"), 1).is_ok_and(|text| text == b"x")
                && read_all(&dir.join("file"), 0).is_err()
        );
        let found =
            |most| entries(&dir, most).map(|entries| (entries.names, entries.is_cut)).expect("readable");
        let all = ["fifo", "file", "socket"].map(OsString::from);
        assert_eq!((found(3), found(2).0.len(), found(2).1), ((all.to_vec(), false), 2, true));
        assert!(entries(&dir.join("file"), 9).is_err() && entries(&dir.join("none"), 9).is_err());
        assert!(open_regular(&dir.join("file")).is_ok() && open_regular(&dir.join("none")).is_err());
        std::fs::remove_dir_all(dir).expect("removable");
    }
}
