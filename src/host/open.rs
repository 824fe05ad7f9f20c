//! Opening files that others put in place: whatever is at the path, nobody waits for it. All three programs read by this.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The number of the null device, to which a file is linked that is not to count.
const NULL: u64 = nix::libc::makedev(1, 3);

/// Opens a regular file to read, or the null device, which stands for an empty one. Of anything else it is said what it is: to open a FIFO may take for ever, to open a device may do something.
pub(crate) fn regular(path: &Path) -> Result<File> {
    is_regular(&std::fs::metadata(path)?)?;
    let at_once = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(at_once.bits()).open(path)?;
    // It may be another by now.
    is_regular(&file.metadata()?)?;
    Ok(file)
}

/// What a regular file holds, as far as `most` octets.
pub(crate) fn octets(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    regular(path)?.take(most).read_to_end(&mut text)?;
    Ok(text)
}

/// What a regular file holds; an error for one of more than `most` octets.
pub(crate) fn whole(path: &Path, most: u64) -> Result<Vec<u8>> {
    let text = octets(path, most + 1)?;
    if text.len() as u64 > most {
        return Err(Error::new(ErrorKind::InvalidData, format!("it is larger than {} MiB", most >> 20)));
    }
    Ok(text)
}

/// The names of a directory's entries.
pub(crate) struct Names {
    /// In their order, as many as were asked for at most.
    pub all: Vec<OsString>,
    /// There are more.
    pub is_cut: bool,
}

/// The first `most` entries that a directory gives, however many are in it.
pub(crate) fn names(dir: &Path, most: usize) -> Result<Names> {
    let mut entries = std::fs::read_dir(dir)?;
    let found = entries.by_ref().take(most);
    let mut all: Vec<OsString> = found.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    all.sort();
    Ok(Names { all, is_cut: entries.next().is_some() })
}

/// Which file is at `path`, as the kernel tells files apart; a link is itself.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

fn is_regular(found: &Metadata) -> Result<()> {
    let kind = found.file_type();
    let what = match () {
        () if kind.is_file() || kind.is_char_device() && found.rdev() == NULL => return Ok(()),
        () if kind.is_dir() => return Err(Errno::EISDIR.into()),
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(Error::new(ErrorKind::InvalidInput, format!("it is {what} and no file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_are_opened_and_the_rest_is_named_at_once() {
        let dir = std::env::temp_dir().join(format!("hither-open-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let why = |path: &Path| regular(path).map_err(|error| error.to_string()).expect_err("no file");
        assert_eq!(why(&dir), "Is a directory (os error 21)");
        assert_eq!(why(Path::new("/dev/zero")), "it is a device and no file");
        nix::unistd::mkfifo(&dir.join("fifo"), nix::sys::stat::Mode::S_IRUSR).expect("a FIFO");
        assert_eq!(why(&dir.join("fifo")), "it is a FIFO and no file");
        let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).expect("bound");
        assert_eq!(why(&dir.join("socket")), "it is a socket and no file");
        std::fs::write(dir.join("file"), "x").expect("written");
        assert_eq!(octets(Path::new("/dev/null"), 9).expect("empty"), b"");
        assert!(
            whole(&dir.join("file"), 1).is_ok_and(|text| text == b"x")
                && whole(&dir.join("file"), 0).is_err()
        );
        let found = |most| names(&dir, most).map(|names| (names.all, names.is_cut)).expect("readable");
        let all = ["fifo", "file", "socket"].map(OsString::from);
        assert_eq!((found(3), found(2).0.len(), found(2).1), ((all.to_vec(), false), 2, true));
        assert!(names(&dir.join("file"), 9).is_err() && names(&dir.join("none"), 9).is_err());
        assert!(regular(&dir.join("file")).is_ok() && regular(&dir.join("none")).is_err());
        std::fs::remove_dir_all(dir).expect("removable");
    }
}
