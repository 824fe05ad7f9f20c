//! Whom a table is believed from, and how it is read: decided from numbers alone, for every reader there is.
//!
//! The directory is opened first, not through a link, and the file through the directory, so that what is judged is what is read.
//!
//! A mapped file that its owner cuts ends its readers by SIGBUS. So a process that can be root, or that was started with more rights than
//! who started it, does not map a file that somebody else than root owns: it asks the kernel for its words, which then are there or not.

use crate::layout::HEADER;

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
/// Nobody takes away or replaces what is another's; what strangers put there first has the wrong owner.
const STICKY: u32 = 0o1000;
/// Group and others may write.
const OTHERS: u32 = 0o022;

/// What fstat(2) says of an open directory or file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Type and permissions: `st_mode`.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
}

/// Why a table is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Distrust {
    /// Others may put any file in its place.
    DirectoryWritable,
    /// What is in the directory's place is none.
    NotADirectory,
    /// It is a FIFO, a device, a directory.
    NotRegular,
    /// It belongs neither to root nor to the directory's owner.
    Owner,
    /// Group or others may write it.
    Writable,
}

impl Distrust {
    /// What is wrong, in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DirectoryWritable => {
                "group or others can write its directory; expected one that only its owner writes, or a sticky one"
            }
            Self::NotADirectory => "its directory is none",
            Self::NotRegular => "it is not a regular file",
            Self::Owner => "it belongs neither to root nor to the directory's owner",
            Self::Writable => "others than the daemon's user can write it, by its mode",
        }
    }
}

/// Whether the table is to be believed. Who owns the directory is for whoever named it to know: `/run` is root's, and the environment is
/// not asked in a setuid program.
///
/// # Errors
/// What speaks against it.
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

/// Whether a table may be believed that is in this directory.
///
/// # Errors
/// What speaks against it.
pub const fn judge_directory(directory: Facts) -> Result<(), Distrust> {
    if directory.mode & S_IFMT != S_IFDIR {
        return Err(Distrust::NotADirectory);
    }
    if directory.mode & OTHERS != 0 && directory.mode & STICKY == 0 {
        return Err(Distrust::DirectoryWritable);
    }
    Ok(())
}

/// What a process may do to itself by what it maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights {
    /// Real, effective and saved user: where none of them is root, none will be, but for who may set them at will.
    pub uids: [u32; 3],
    /// It was started with more rights than who started it (`AT_SECURE`).
    pub secure: bool,
}

impl Rights {
    /// Whether a process may map a file of this owner: whoever must not be ended by it asks the kernel for its words instead.
    #[must_use]
    pub const fn may_map(&self, owner: u32) -> bool {
        let [real, effective, saved] = self.uids;
        owner == 0 || !(self.secure || real == 0 || effective == 0 || saved == 0)
    }
}

/// Words of a file of so many octets, in as many blocks of 512, if it can be a table: a whole number, and none of it a hole, which reading
/// would have to fill.
///
/// # Errors
/// Why it cannot be one.
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
    fn only_what_root_and_the_directorys_owner_alone_can_write_is_believed() {
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
    fn who_can_be_root_maps_what_is_roots_alone() {
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
