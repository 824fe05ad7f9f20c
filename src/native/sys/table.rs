//! Opening, mapping and reading the table's file.
#![allow(unsafe_code)]

use super::{Descriptor, Path, futex_wait};
use crate::handle::Unusable;
use core::ffi::{c_int, c_void};
use core::mem;
use core::sync::atomic::AtomicU64;
use hither_table::layout::{HEADER, head};
use hither_table::paths::{TABLE_FILE, TABLE_FILE_C};
use hither_table::trust::{self, Facts, judge};
use hither_table::{FileId, Source};

/// The words of a table, mapped read-only until [`unmap`]. The daemon may write them at any time.
#[derive(Clone, Copy)]
pub(crate) struct Mapped {
    pub words: *const AtomicU64,
    pub count: usize,
    pub file: FileId,
}

/// An open table that [`hither_table::trust`] accepts.
pub(crate) struct Opened {
    file: Descriptor,
    words: usize,
    id: FileId,
    /// User id of the file's owner.
    pub owner: u32,
}

impl Opened {
    /// How many words the table has.
    pub fn words(&self) -> usize {
        self.words
    }
}

impl Source for Opened {
    fn read(&self, at: usize, out: &mut [u64]) -> Option<()> {
        let octets = size_of_val(out);
        let from = libc::off_t::try_from(at.checked_mul(8)?).ok()?;
        // SAFETY: the octets of a slice of numbers, which are ours to write and for which all
        // values are valid.
        let got = unsafe { libc::pread(self.file.0, out.as_mut_ptr().cast(), octets, from) };
        // Fewer octets than requested: the file has been truncated.
        (usize::try_from(got) == Ok(octets)).then_some(())
    }
}

fn status(call: impl FnOnce(*mut libc::stat) -> c_int) -> Option<libc::stat> {
    let mut stat = mem::MaybeUninit::<libc::stat>::zeroed();
    let done = call(stat.as_mut_ptr()) == 0;
    // SAFETY: zeroed, which is valid for this plain C structure, and then filled by the kernel.
    done.then(|| unsafe { stat.assume_init() })
}

/// Opens the table in `dir`, if [`hither_table::trust`] accepts it.
#[cold]
pub(crate) fn open_table(dir: &Path) -> Result<Opened, Unusable> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOFOLLOW;
    // SAFETY: the path is a C string that outlives the call.
    let folder = unsafe { libc::open(dir.as_c().as_ptr(), flags | libc::O_DIRECTORY) };
    let folder = Descriptor::of(folder).ok_or(Unusable::NoTable)?;
    // SAFETY: an open descriptor, a C string, and for the calls of `fstat` a place for their
    // result.
    let (outer, file, stat) = unsafe {
        let outer = status(|to| libc::fstat(folder.0, to)).ok_or(Unusable::NoTable)?;
        let file = libc::openat(folder.0, TABLE_FILE_C.as_ptr(), flags);
        let file = Descriptor::of(file).ok_or(Unusable::NoTable)?;
        let stat = status(|to| libc::fstat(file.0, to)).ok_or(Unusable::NoTable)?;
        (outer, file, stat)
    };
    let facts = |stat: &libc::stat| Facts { mode: stat.st_mode, uid: stat.st_uid };
    judge(facts(&outer), facts(&stat)).map_err(|_| Unusable::NotTrusted)?;
    let [octets, blocks] = [stat.st_size, stat.st_blocks].map(|count| u64::try_from(count).unwrap_or(0));
    let words = trust::words(octets, blocks).map_err(|_| Unusable::NotATable)?;
    Ok(Opened { file, words, id: id_of(&stat), owner: stat.st_uid })
}

fn id_of(stat: &libc::stat) -> FileId {
    FileId { device: stat.st_dev, inode: stat.st_ino }
}

fn map(table: &Opened, count: usize) -> Result<*mut c_void, Unusable> {
    // SAFETY: the kernel chooses the address, the descriptor is open, and the file is not shorter.
    let at = unsafe {
        libc::mmap(core::ptr::null_mut(), count * 8, libc::PROT_READ, libc::MAP_SHARED, table.file.0, 0)
    };
    if at == libc::MAP_FAILED { Err(Unusable::NoTable) } else { Ok(at) }
}

/// Maps all of a table.
#[cold]
pub(crate) fn map_table(table: &Opened) -> Result<Mapped, Unusable> {
    let at = map(table, table.words)?;
    Ok(Mapped { words: at.cast(), count: table.words, file: table.id })
}

/// Waits, without holding a descriptor, until the table has seen more than `seen` changes, at most
/// `timeout_ms` milliseconds. For a process that must not map the table: only the header is mapped,
/// and only the kernel reads it. If the file has been truncated, the wait ends with an error.
pub(crate) fn wait_at_header(table: Opened, seen: u32, timeout_ms: u32) {
    let Ok(at) = map(&table, HEADER) else { return };
    drop(table);
    futex_wait(at.cast::<u64>().wrapping_add(head::CHANGES).cast::<u32>(), seen, timeout_ms);
    // SAFETY: mapped above, of that size, and no other code has its address.
    unsafe { libc::munmap(at, HEADER * 8) };
}

/// The file that is the table in `dir` now; `None` if there is none.
pub(crate) fn table_file(dir: Path) -> Option<FileId> {
    let mut path = dir;
    path.push_file(TABLE_FILE)?;
    // SAFETY: a C string, and a place for the result.
    let stat = status(|to| unsafe { libc::lstat(path.as_c().as_ptr(), to) })?;
    Some(id_of(&stat))
}

/// Unmaps a table.
///
/// # Safety
/// The mapping must be one of [`map_table`]'s and not unmapped yet, and no thread may read it from
/// now on.
pub(crate) unsafe fn unmap(words: *const AtomicU64, count: usize) {
    // SAFETY: as the caller promises.
    unsafe { libc::munmap(words.cast_mut().cast::<c_void>(), count * 8) };
}
