//! Small configuration files of the system: read within a bound, replaced atomically.

use crate::host::files;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use xattr::FileExt as _;

/// The largest file that is read, in octets. The files concerned have less than a hundredth of that.
const SIZE_MAX: u64 = 1 << 20;
/// Entries that are read of a directory.
const ENTRIES_MAX: usize = 4096;

/// A file's octets.
///
/// # Errors
/// If it cannot be read, is not a regular file, or has more than a mebibyte (`InvalidData`).
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    files::read_all(path, SIZE_MAX)
}

/// A file's text, with malformed UTF-8 replaced; `None` if there is no such file.
///
/// # Errors
/// As for [`read`].
pub(super) fn text(path: &Path) -> io::Result<Option<String>> {
    match read(path) {
        Ok(octets) => Ok(Some(String::from_utf8_lossy(&octets).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The sorted names of a directory's entries, at most [`ENTRIES_MAX`] with a remark about the
/// others. Empty if the directory cannot be read.
pub(super) fn names(dir: &Path) -> Vec<OsString> {
    let Ok(entries) = files::entries(dir, ENTRIES_MAX) else { return Vec::new() };
    if entries.is_cut {
        let shown = dir.display();
        super::remark(&format!("'{shown}' has more than {ENTRIES_MAX} entries; the others are ignored"));
    }
    entries.names
}

/// Replaces the file at `path`, whose content is `old`, by one with `octets` and the same owner,
/// permissions and extended attributes (access lists, SELinux labels). Atomic: no reader sees a
/// part of it, and a failure changes nothing.
///
/// # Errors
/// If the kernel refuses it, or if the content is no longer `old` (`Other`).
pub(super) fn replace(path: &Path, old: &[u8], octets: &[u8]) -> io::Result<()> {
    let new = beside(path, &format!(".hither-{}", std::process::id()));
    create_like(path, &new, octets)?;
    let exchanged = read(path).and_then(|now| {
        if now == old {
            std::fs::rename(&new, path)
        } else {
            Err(io::Error::other("another program has just changed it"))
        }
    });
    if exchanged.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    exchanged?;
    // The file is replaced even if the directory cannot be synchronized.
    let _ = path.parent().map(|dir| File::open(dir).and_then(|dir| dir.sync_all()));
    Ok(())
}

/// Creates `new`, which must not exist, with `octets` and the owner, permissions and extended
/// attributes of `path`.
///
/// # Errors
/// If the kernel refuses it, for instance since `new` exists (`AlreadyExists`). Nothing is left behind.
pub(super) fn create_like(path: &Path, new: &Path, octets: &[u8]) -> io::Result<()> {
    let model = files::open_regular(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let filled = fill(&mut file, octets).and_then(|()| copy_attributes(&model, &file));
    if filled.is_err() {
        let _ = std::fs::remove_file(new);
    }
    filled
}

fn fill(file: &mut File, octets: &[u8]) -> io::Result<()> {
    file.write_all(octets)?;
    file.sync_all()
}

/// Gives `file` the owner, permissions and extended attributes of `model`.
fn copy_attributes(model: &File, file: &File) -> io::Result<()> {
    let (wanted, current) = (model.metadata()?, file.metadata()?);
    if (current.uid(), current.gid()) != (wanted.uid(), wanted.gid()) {
        fchown(file, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(wanted.mode() & 0o7777))?;
    let names = match model.list_xattr() {
        Ok(names) => names,
        // The file system has none.
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names {
        let Some(value) = model.get_xattr(&name)? else { continue };
        // Not every user may set a label, even one that the file already has from its directory.
        if file.get_xattr(&name)?.as_ref() != Some(&value) {
            file.set_xattr(&name, &value)?;
        }
    }
    Ok(())
}

/// Whether NixOS generates the file, and would undo any change at its next switch.
pub(super) fn is_of_nixos(path: &Path) -> bool {
    path.starts_with("/nix/store") || path.starts_with("/etc/static")
}

/// Whether the path is a mount point.
fn is_mounted(path: &Path) -> bool {
    // The kernel writes spaces there in octal. A path with spaces is not found here, and is refused
    // by the kernel later.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at) == path))
}

/// Checks whether a file can be replaced, as far as that shows without replacing it.
///
/// # Errors
/// The obstacle, and how to remove it, for the operator.
pub(super) fn try_to_write(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match OpenOptions::new().write(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path) {
        Ok(_) => {}
        // The link itself is replaced.
        Err(_) if path.is_symlink() => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        // For root this can only be the attribute "immutable" or "append only".
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
            "'{shown}' is a mount point, as container engines make it, and cannot be replaced; configure the engine instead (docker run --dns)"
        ));
    }
    nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).map_err(|error| {
        format!("'{}' is not writable: {}; nothing was changed", dir.display(), error.desc())
    })
}

/// The path with `suffix` appended to its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
