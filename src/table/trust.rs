//! Decides from owners and modes whether a table is trusted, and whether it may be mapped: one rule
//! for all readers.
//!
//! Readers open the directory first, without following a link, and the file through the directory,
//! so that they read the file that was checked.
//!
//! If its owner cuts a mapped file, the kernel kills its readers by SIGBUS. So a process that can
//! become root, or that was started with more rights than its caller, does not map a file that
//! another user than root owns: it reads it by system calls, which fail.

use crate::layout::HEADER;

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
/// The sticky bit: only a file's owner can remove or replace it. A file that another user put there
/// first has the wrong owner.
const STICKY: u32 = 0o1000;
/// Write permission for group or others.
const OTHERS: u32 = 0o022;

/// Mode and owner of an open directory or file, by fstat(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Type and permissions: `st_mode`.
    pub mode: u32,
    /// User id of the owner, `st_uid`.
    pub uid: u32,
}

/// The reason why a table is not trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Distrust {
    /// Other users may replace the file, by the directory's mode.
    DirectoryWritable,
    /// The directory is a link or another file.
    NotADirectory,
    /// The file is not a regular one, but for instance a FIFO.
    NotRegular,
    /// The file belongs neither to root nor to the directory's owner.
    Owner,
    /// Other users may write the file, by its mode.
    Writable,
}

impl Distrust {
    /// The reason in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DirectoryWritable => {
                "group or others can write its directory; expected one that only its owner writes, or a sticky one"
            }
            Self::NotADirectory => "its directory is not a directory",
            Self::NotRegular => "it is not a regular file",
            Self::Owner => "it belongs neither to root nor to the directory's owner",
            Self::Writable => "others than the daemon's user can write it, by its mode",
        }
    }
}

/// Whether the table is trusted. The owner of the directory is not checked: `/run` is root's, and a
/// setuid program ignores the environment's directory.
///
/// # Errors
/// The reason why it is not.
pub const fn judge(directory: Facts, file: Facts) -> Result<(), Distrust> {
    if let Err(why) = judge_directory(directory) {
        return Err(why);
    }
    if file.mode & S_IFMT != S_IFREG {
        return Err(Distrust::NotRegular);
    }
    if file.uid != 0 && file.uid != directory.uid {
        return Err(Distrust::Owner);
    }
    if file.mode & OTHERS != 0 {
        return Err(Distrust::Writable);
    }
    Ok(())
}

/// Whether a table in this directory can be trusted.
///
/// # Errors
/// The reason why it cannot.
pub const fn judge_directory(directory: Facts) -> Result<(), Distrust> {
    if directory.mode & S_IFMT != S_IFDIR {
        return Err(Distrust::NotADirectory);
    }
    if directory.mode & OTHERS != 0 && directory.mode & STICKY == 0 {
        return Err(Distrust::DirectoryWritable);
    }
    Ok(())
}

/// The rights of a process, which decide whether it may map a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights {
    /// Real, effective and saved user. If none of them is root the process cannot become root,
    /// unless it has CAP_SETUID.
    pub uids: [u32; 3],
    /// Whether it was started with more rights than its caller (`AT_SECURE`).
    pub secure: bool,
}

impl Rights {
    /// Whether the process may map a file of this owner. If not, it reads the file by system calls.
    #[must_use]
    pub const fn may_map(&self, owner: u32) -> bool {
        let [real, effective, saved] = self.uids;
        owner == 0 || !(self.secure || real == 0 || effective == 0 || saved == 0)
    }
}

/// The number of words of a file with `octets` octets in `blocks` blocks of 512 octets, if it can
/// be a table: it has whole words and no holes, which a read would have to fill.
///
/// # Errors
/// The reason why it cannot be a table.
pub const fn words(octets: u64, blocks: u64) -> Result<usize, &'static str> {
    if octets > i64::MAX as u64 {
        return Err("it is larger than memory");
    }
    if octets < HEADER as u64 * 8 {
        return Err("it is shorter than a header");
    }
    if !octets.is_multiple_of(8) {
        return Err("it is not a whole number of words");
    }
    if blocks.saturating_mul(512) < octets {
        return Err("it has holes");
    }
    Ok(octets as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn facts(mode: u32, uid: u32) -> Facts {
        Facts { mode, uid }
    }

    #[test]
    fn only_a_file_that_no_user_but_root_and_the_directorys_owner_can_write_is_trusted() {
        let dir = facts(S_IFDIR | 0o755, 991);
        for (file, verdict) in [
            (facts(S_IFREG | 0o644, 991), Ok(())),
            (facts(S_IFREG | 0o600, 0), Ok(())),
            (facts(S_IFREG | 0o640, 1000), Err(Distrust::Owner)),
            (facts(S_IFREG | 0o664, 991), Err(Distrust::Writable)),
            (facts(S_IFREG | 0o646, 991), Err(Distrust::Writable)),
            (facts(0o010_644, 991), Err(Distrust::NotRegular)),
            (facts(0o120_644, 991), Err(Distrust::NotRegular)),
        ] {
            assert_eq!(judge(dir, file), verdict, "{file:?}");
        }
        let file = facts(S_IFREG | 0o644, 991);
        for (mode, verdict) in [
            (S_IFDIR | 0o700, Ok(())),
            (S_IFDIR | 0o775, Err(Distrust::DirectoryWritable)),
            (S_IFDIR | 0o757, Err(Distrust::DirectoryWritable)),
            (S_IFDIR | 0o1777, Ok(())),
            (S_IFREG | 0o755, Err(Distrust::NotADirectory)),
        ] {
            assert_eq!(judge(facts(mode, 991), file), verdict, "{mode:o}");
        }
    }

    #[test]
    fn a_process_that_can_become_root_maps_only_files_of_root() {
        let rights = |uids, secure| Rights { uids, secure };
        for (rights, of_hither) in [
            (rights([1000; 3], false), true),
            (rights([991; 3], false), true),
            (rights([0; 3], false), false),
            (rights([1000, 0, 0], false), false),
            (rights([0, 1000, 1000], false), false),
            (rights([1000, 1000, 0], false), false),
            (rights([1000; 3], true), false),
        ] {
            assert_eq!(rights.may_map(991), of_hither, "{rights:?}");
            assert!(rights.may_map(0), "{rights:?}");
        }
    }

    #[test]
    fn a_table_has_whole_words_and_no_holes() {
        assert_eq!(words(4096, 8), Ok(512));
        assert!(words(4095, 8).is_err() && words(4100, 9).is_err() && words(0, 0).is_err());
        assert!(words(8192, 8).is_err() && words(u64::MAX, u64::MAX).is_err());
    }
}
