//! Mapping the table's file. With `futex.rs` and `alive.rs`, all the unsafe code of this crate.
#![allow(unsafe_code)]

use crate::distant::Source;
#[cfg(feature = "writer")]
use crate::layout::SUPERSEDED;
use crate::layout::{HEADER, head};
use crate::memory::{Memory, OpenError};
use crate::sync::AtomicU64;
use crate::trust::{self, Rights};
use core::time::Duration;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
#[cfg(feature = "writer")]
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

/// A mapped file: shared, and for readers read-only.
pub struct Mapping {
    map: MmapRaw,
    words: usize,
}

impl Mapping {
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY:
        // - in bounds: `words` is the mapping's length in whole words, and the file is never truncated, only replaced by rename
        //   (`share`); where its owner truncates it by hand the kernel ends who reads (SIGBUS), so those who must not be ended that
        //   way do not map it (`trust`);
        // - aligned: a mapping begins at a page;
        // - alive: the mapping lives as long as `self`, which the result borrows;
        // - other processes may write meanwhile: every word is an atomic and every bit pattern is valid;
        // - a read-only mapping is only ever loaded from, relaxed and eight octets at a time (`Reader`), which is allowed there.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), self.words) }
    }
}

/// A file whose words are asked of the kernel.
pub struct Asked {
    file: File,
    words: usize,
    /// Its header, for the kernel to wait at (it says so if that is not there any more); never looked at from here.
    header: MmapRaw,
}

impl Asked {
    pub(crate) fn count(&self) -> usize {
        self.words
    }

    /// The lower half of the word that counts changes, for the kernel alone to look at.
    fn changes(&self) -> *const u32 {
        self.header.as_ptr().cast::<u64>().wrapping_add(head::CHANGES).cast::<u32>()
    }

    /// Waits for a change, as `futex::wait` does.
    pub(crate) fn wait(&self, seen: u32, timeout: Duration) {
        crate::futex::wait_at(self.changes(), seen, timeout);
    }

    /// Has the file say that another one has taken its place, which is there by now, and wakes who waits for a change if it `wakes`. The
    /// kernel writes the word, so that whoever cuts the file meanwhile does not end this process.
    ///
    /// # Errors
    /// As the kernel says.
    #[cfg(feature = "writer")]
    pub(crate) fn supersede(&self, wakes: bool) -> io::Result<()> {
        self.file.write_all_at(&SUPERSEDED.to_le_bytes(), head::STATE as u64 * 8)?;
        if wakes {
            crate::futex::wake_at(self.changes(), libc::c_int::MAX);
        }
        Ok(())
    }
}

impl Source for Asked {
    fn read(&self, at: usize, out: &mut [u64]) -> Option<()> {
        at.checked_add(out.len()).filter(|end| *end <= self.words)?;
        // Short of what is asked for: somebody has cut the file.
        self.file.read_exact_at(bytemuck::cast_slice_mut(out), at as u64 * 8).ok()
    }
}

/// What this process is to be spared, see [`trust`].
pub(crate) fn rights() -> Rights {
    // SAFETY: getauxval has no preconditions.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) != 0 };
    // Who cannot tell takes the careful way.
    let uids =
        nix::unistd::getresuid().map_or([0; 3], |of| [of.real, of.effective, of.saved].map(|id| id.as_raw()));
    Rights { uids, secure }
}

impl Memory {
    /// Reads a file, mapped or asked.
    ///
    /// # Errors
    /// If the file is no whole number of words, or cannot be mapped.
    pub(crate) fn of_file(file: File, may_map: bool) -> Result<Memory, OpenError> {
        if may_map {
            return Memory::map_reader(&file);
        }
        let words = words_of(&file)?;
        let header = MmapOptions::new().len(HEADER * 8).map_raw_read_only(&file).map_err(OpenError::Io)?;
        Ok(Memory::Asked(Asked { file, words, header }))
    }

    /// Maps a file for its one writer.
    ///
    /// # Errors
    /// If the file is no whole number of words, or cannot be mapped.
    pub fn map_writer(file: &File) -> Result<Memory, OpenError> {
        let words = words_of(file)?;
        let map = MmapOptions::new().len(words * 8).map_raw(file).map_err(OpenError::Io)?;
        Ok(Memory::Mapped(Mapping { map, words }))
    }

    /// Maps a file read-only.
    ///
    /// # Errors
    /// If the file is no whole number of words, or cannot be mapped.
    pub fn map_reader(file: &File) -> Result<Memory, OpenError> {
        let words = words_of(file)?;
        let map = MmapOptions::new().len(words * 8).map_raw_read_only(file).map_err(OpenError::Io)?;
        Ok(Memory::Mapped(Mapping { map, words }))
    }
}

fn words_of(file: &File) -> Result<usize, OpenError> {
    let metadata = file.metadata().map_err(OpenError::Io)?;
    if !metadata.is_file() {
        return Err(OpenError::Foreign("it is not a regular file"));
    }
    trust::words(metadata.len(), metadata.blocks()).map_err(OpenError::Invalid)
}
