//! The table's file as memory: mapped, or read by system calls in processes that must not map it.
//!
//! Of this crate only this file, `futex.rs` and `alive.rs` may contain `unsafe`.
#![allow(unsafe_code)]

#[cfg(feature = "writer")]
use crate::layout::SUPERSEDED;
use crate::layout::{HEADER, head};
use crate::memory::{Memory, OpenError};
use crate::sync::AtomicU64;
use crate::trust::{self, Rights};
use crate::unmapped::Source;
use core::time::Duration;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
#[cfg(feature = "writer")]
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

/// A mapped file, shared with other processes; read-only for readers.
pub struct Mapping {
    map: MmapRaw,
    words: usize,
}

impl Mapping {
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY:
        // - in bounds: `words` is the mapping's length in whole words, and the daemon never
        //   truncates the file, but replaces it by rename (`share.rs`); where its owner truncates
        //   it by hand the kernel kills readers by SIGBUS, so processes that must not be killed in
        //   this way do not map it (`trust.rs`);
        // - aligned: a mapping begins at a page;
        // - alive: the mapping lives as long as `self`, which the result borrows;
        // - other processes may write meanwhile: every word is an atomic and every bit pattern is
        //   valid;
        // - a read-only mapping is only ever loaded from, relaxed and eight octets at a time
        //   (`Reader`), which is allowed there.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), self.words) }
    }
}

/// A file that is read by system calls instead of being mapped.
pub struct UnmappedFile {
    file: File,
    words: usize,
    /// The mapped header, whose address only the kernel uses, for waiting: it returns an error if
    /// the file has been truncated. This process never loads from it.
    header: MmapRaw,
}

impl UnmappedFile {
    pub(crate) fn count(&self) -> usize {
        self.words
    }

    /// The lower half of the word that counts changes, for the kernel.
    fn changes(&self) -> *const u32 {
        self.header.as_ptr().cast::<u64>().wrapping_add(head::CHANGES).cast::<u32>()
    }

    /// Waits for a change, see `futex::wait`.
    pub(crate) fn wait(&self, seen: u32, timeout: Duration) {
        crate::futex::wait_at(self.changes(), seen, timeout);
    }

    /// Wakes those who wait for a change, see `futex::wake`.
    #[cfg(feature = "writer")]
    pub(crate) fn wake(&self) {
        crate::futex::wake_at(self.changes(), libc::c_int::MAX);
    }

    /// Marks the file as superseded, when the other file is already in place, and with `wakes` also
    /// wakes readers that wait for a change. The word is written by a system call, so this process
    /// is not killed if the file is truncated meanwhile.
    ///
    /// # Errors
    /// The word cannot be written.
    #[cfg(feature = "writer")]
    pub(crate) fn supersede(&self, wakes: bool) -> io::Result<()> {
        self.file.write_all_at(&SUPERSEDED.to_le_bytes(), head::STATE as u64 * 8)?;
        if wakes {
            self.wake();
        }
        Ok(())
    }
}

impl Source for UnmappedFile {
    fn read(&self, at: usize, out: &mut [u64]) -> Option<()> {
        at.checked_add(out.len()).filter(|end| *end <= self.words)?;
        // An error if the file has been truncated.
        self.file.read_exact_at(bytemuck::cast_slice_mut(out), at as u64 * 8).ok()
    }
}

/// The user ids of this process, by which [`trust`] decides whether it may map a table.
pub(crate) fn rights() -> Rights {
    // SAFETY: getauxval has no preconditions.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) != 0 };
    // Root if they are unknown, which is the safe assumption.
    let uids =
        nix::unistd::getresuid().map_or([0; 3], |of| [of.real, of.effective, of.saved].map(|id| id.as_raw()));
    Rights { uids, secure }
}

impl Memory {
    /// A file for reading, mapped if `may_map`.
    ///
    /// # Errors
    /// If the file cannot be a table, or cannot be mapped.
    pub(crate) fn of_file(file: File, may_map: bool) -> Result<Memory, OpenError> {
        if may_map {
            return Memory::map_reader(&file);
        }
        let words = words_of(&file)?;
        let header = MmapOptions::new().len(HEADER * 8).map_raw_read_only(&file).map_err(OpenError::Io)?;
        Ok(Memory::Unmapped(UnmappedFile { file, words, header }))
    }

    /// Maps a file for its one writer.
    ///
    /// # Errors
    /// If the file cannot be a table, or cannot be mapped.
    pub fn map_writer(file: &File) -> Result<Memory, OpenError> {
        let words = words_of(file)?;
        let map = MmapOptions::new().len(words * 8).map_raw(file).map_err(OpenError::Io)?;
        Ok(Memory::Mapped(Mapping { map, words }))
    }

    /// Maps a file read-only.
    ///
    /// # Errors
    /// If the file cannot be a table, or cannot be mapped.
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
