//! Opening files that others put in place: whatever is at the path, nobody waits for it.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Opens a regular file to read. Of anything else it is said what it is: to open a FIFO may take for ever, to open a device may do something.
pub(super) fn regular(path: &Path) -> Result<File> {
    is_regular(&std::fs::metadata(path)?)?;
    let at_once = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(at_once.bits()).open(path)?;
    // It may be another by now.
    is_regular(&file.metadata()?)?;
    Ok(file)
}

/// What a regular file holds, as far as `most` octets.
pub(super) fn octets(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    regular(path)?.take(most).read_to_end(&mut text)?;
    Ok(text)
}

fn is_regular(found: &Metadata) -> Result<()> {
    let kind = found.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
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
        assert!(regular(&dir.join("file")).is_ok() && regular(&dir.join("none")).is_err());
        std::fs::remove_dir_all(dir).expect("removable");
    }
}
