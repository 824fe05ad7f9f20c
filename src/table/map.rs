//! Mapping the table's file. With `futex.rs`, all the unsafe code of this crate.
#![allow(unsafe_code)]

use crate::memory::{Memory, OpenError};
use crate::sync::AtomicU64;
use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

/// A mapped file: shared, and for readers read-only.
pub struct Mapping {
    map: MmapRaw,
    words: usize,
}

impl Mapping {
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY:
        // - in bounds: `words` is the mapping's length in whole words, and the file is never truncated, only replaced by rename
        //   (`share`); who truncates it by hand as its owner takes the SIGBUS;
        // - aligned: a mapping begins at a page;
        // - alive: the mapping lives as long as `self`, which the result borrows;
        // - other processes may write meanwhile: every word is an atomic and every bit pattern is valid;
        // - a read-only mapping is only ever loaded from, relaxed and eight octets at a time (`Reader`), which is allowed there.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), self.words) }
    }
}

impl Memory {
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
    if !metadata.file_type().is_file() || metadata.file_type().is_block_device() {
        return Err(OpenError::Foreign("it is not a regular file"));
    }
    let octets =
        usize::try_from(metadata.len()).map_err(|_| OpenError::Invalid("it is larger than memory"))?;
    if octets < crate::layout::HEADER * 8 {
        return Err(OpenError::Invalid("it is shorter than a header"));
    }
    if octets % 8 != 0 {
        return Err(OpenError::Invalid("it is not a whole number of words"));
    }
    // Reading a hole on a full file system is SIGBUS, so a file with holes is not mapped.
    if metadata.blocks() * 512 < metadata.len() {
        return Err(OpenError::Invalid("it has holes"));
    }
    Ok(octets / 8)
}
