//! Small files of the system, read within bounds and replaced whole.

use crate::host::files;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use xattr::FileExt as _;

/// Octets of a file that is read; none of those concerned has a hundredth of it.
const MAX: u64 = 1 << 20;
/// Entries of a directory of such files that are looked at.
const ENTRIES_MAX: usize = 4096;

/// A file's octets.
///
/// # Errors
/// As the kernel says, or what it is instead of a file; `InvalidData` for one of more than a mebibyte.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    files::read_all(path, MAX)
}

/// A file's text, whatever is no UTF-8 replaced; `None` if there is no such file.
///
/// # Errors
/// As of [`read`].
pub(super) fn text(path: &Path) -> io::Result<Option<String>> {
    match read(path) {
        Ok(octets) => Ok(Some(String::from_utf8_lossy(&octets).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names of a directory's entries in their order, of very many some, which is said. None where it cannot be read.
pub(super) fn names(dir: &Path) -> Vec<OsString> {
    let Ok(entries) = files::entries(dir, ENTRIES_MAX) else { return Vec::new() };
    if entries.is_cut {
        let shown = dir.display();
        super::remark(&format!(
            "'{shown}' has more than {ENTRIES_MAX} entries; the others are not looked at"
        ));
    }
    entries.names
}

/// Puts a file with `octets` in the place of `path`, whose content is `old`: with its owner, permissions and extended attributes
/// (access lists, SELinux labels), and at no time half written. Nothing is changed if it fails.
///
/// # Errors
/// As the kernel says; `Other` if somebody else has changed the file meanwhile.
pub(super) fn replace(path: &Path, old: &[u8], octets: &[u8]) -> io::Result<()> {
    let new = beside(path, &format!(".hither-{}", std::process::id()));
    create_like(path, &new, octets)?;
    let exchanged = read(path).and_then(|now| {
        if now == old {
            std::fs::rename(&new, path)
        } else {
            Err(io::Error::other("somebody else has just changed it"))
        }
    });
    if exchanged.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    exchanged?;
    // What cannot be synchronized is still in its place.
    let _ = path.parent().map(|dir| File::open(dir).and_then(|dir| dir.sync_all()));
    Ok(())
}

/// Creates `new`, which must not be there, with `octets` and everything else as `path` has it.
///
/// # Errors
/// As the kernel says, `AlreadyExists` for instance; then `new` is not there, or was there before.
pub(super) fn create_like(path: &Path, new: &Path, octets: &[u8]) -> io::Result<()> {
    let model = files::open_regular(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let filled = fill(&mut file, octets).and_then(|()| liken(&model, &model.metadata()?, &file));
    if filled.is_err() {
        let _ = std::fs::remove_file(new);
    }
    filled
}

fn fill(file: &mut File, octets: &[u8]) -> io::Result<()> {
    file.write_all(octets)?;
    file.sync_all()
}

fn liken(model: &File, is: &Metadata, file: &File) -> io::Result<()> {
    let has = file.metadata()?;
    if (has.uid(), has.gid()) != (is.uid(), is.gid()) {
        fchown(file, Some(is.uid()), Some(is.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(is.mode() & 0o7777))?;
    let names = match model.list_xattr() {
        Ok(names) => names,
        // A file system without them.
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names {
        let Some(value) = model.get_xattr(&name)? else { continue };
        // A label that the directory gave it already may not be set by everybody.
        if file.get_xattr(&name)?.as_ref() != Some(&value) {
            file.set_xattr(&name, &value)?;
        }
    }
    Ok(())
}

/// Whether NixOS makes the file: whatever is changed there is gone with its next switch.
pub(super) fn is_of_nixos(path: &Path) -> bool {
    path.starts_with("/nix/store") || path.starts_with("/etc/static")
}

/// Whether something is mounted at the very path.
fn is_mounted(path: &Path) -> bool {
    // Spaces and the like are written in octal there: a path that has them is not found, and the kernel says it later.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at) == path))
}

/// Whether a file can be replaced, as far as that shows without doing it.
///
/// # Errors
/// What is in the way, and how to go on.
pub(super) fn try_to_write(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match OpenOptions::new().write(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path) {
        Ok(_) => {}
        // The link is replaced, wherever it leads.
        Err(_) if path.is_symlink() => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // Root is refused by nothing else.
        Err(error) if error.raw_os_error() == Some(nix::libc::EPERM) => {
            return Err(format!(
                "'{shown}' is immutable; nothing was changed. To allow it: chattr -ia {shown}"
            ));
        }
        Err(error) => return Err(format!("'{shown}' cannot be written: {error}; nothing was changed")),
    }
    let mut above = path.ancestors().skip(1);
    let dir = above.find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if is_mounted(path) {
        return Err(format!(
            "'{shown}' is mounted there from elsewhere, as container engines do it, and cannot be replaced; whoever mounts it is to be told (docker run --dns)"
        ));
    }
    nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).map_err(|error| {
        format!("in '{}' nothing can be written: {}; nothing was changed", dir.display(), error.desc())
    })
}

/// The path with `suffix` behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
