//! Opens a table in a file system that may be too small for it: falls back to the existing table, a
//! smaller one, or one on the heap, which only the daemon reads. So the daemon can always answer.

use crate::adopt::next_version;
use crate::layout::{CHUNK, METRICS_CHUNKS};
use crate::memory::Memory;
use crate::paths::{LOCK_FILE, TABLE_FILE};
use crate::reader::Reader;
use crate::share::{Held, Origin, ShareError, lock, own, predecessor, rotate, under_lock, withdraw};
use crate::writer::{Geometry, Writer};
use nix::sys::statvfs::statvfs;
use std::path::Path;

/// The number of names of the smallest table in a file.
const ENTRIES_MIN: usize = 1024;
/// The number of names of the largest table on the heap.
const PRIVATE_MAX: usize = 65_536;

/// A table, and why it is not the configured one.
#[derive(Debug)]
pub struct Opened {
    /// The writer of the table that was made.
    pub writer: Writer,
    /// Whether it is new or taken over.
    pub origin: Origin,
    /// The lock; `None` if it could not be created either.
    pub lock: Option<Held>,
    /// The reason why the table is not in a file of the configured size; `None` if it is.
    pub short: Option<ShareError>,
}

/// Free and total octets of the file system. A tmpfs without a limit reports 0 blocks and counts as
/// unlimited.
fn free_and_all(dir: &Path) -> nix::Result<(u64, u64)> {
    let seen = statvfs(dir)?;
    if seen.blocks() == 0 {
        return Ok((u64::MAX, u64::MAX));
    }
    let unit = seen.fragment_size();
    Ok((seen.blocks_available().saturating_mul(unit), seen.blocks().saturating_mul(unit)))
}

/// The number of names if none is configured: at most `most`, and at most as many as fit into a
/// quarter of the file system, which other programs use too.
#[must_use]
pub fn entries_that_fit(dir: &Path, most: usize) -> usize {
    let Ok((_, all)) = free_and_all(dir) else { return most };
    halves(most).find(|geometry| geometry.octets() <= all / 4).map_or(ENTRIES_MIN.min(most), |g| g.entries)
}

/// The number of names of the existing table, if it can be taken over.
#[must_use]
pub fn entries_of_existing(dir: &Path) -> Option<usize> {
    let there = predecessor(dir).ok()??;
    Geometry::of(&there).map(|geometry| geometry.entries)
}

/// `most`, its half, its quarter, and so on, down to the smallest table.
fn halves(most: usize) -> impl Iterator<Item = Geometry> {
    let halve = |entries: &usize| Some(entries / 2).filter(|half| *half >= ENTRIES_MIN);
    std::iter::successors(Some(most), halve).map(|entries| Geometry { entries })
}

/// Tables smaller than `wanted` that leave half of the free space to other programs.
fn smaller(dir: &Path, wanted: &Geometry) -> impl Iterator<Item = Geometry> {
    let free = free_and_all(dir).map_or(0, |(free, _)| free);
    halves(wanted.entries).skip(1).filter(move |geometry| geometry.octets() <= free / 2)
}

/// [`crate::open_or_create`], and if that table cannot be made: the existing one, if it can be taken
/// over. If the file system has no space: a smaller one, or one on the heap.
///
/// # Errors
/// A [`ShareError`]: another daemon writes the table; or the directory has no table and cannot be
/// written, which is no lack of space.
pub fn open_as_it_fits(
    dir: &Path,
    wanted: &Geometry,
    mode: u32,
    random: [u64; 3],
    first: u64,
) -> Result<Opened, ShareError> {
    let held = match lock(&dir.join(LOCK_FILE)) {
        Ok(held) => held,
        Err(why) if why.is_lack_of_space() => return private(wanted, random, first, None, why),
        Err(why) => return Err(why),
    };
    // Versions continue above those of the existing table even if it is removed for lack of space.
    let before = Reader::open(dir).ok().and_then(|before| next_version(&before).ok());
    let first = before.unwrap_or(0).max(first);
    let why = match under_lock(dir, wanted, mode, random, first) {
        Ok((writer, origin)) => return Ok(Opened { writer, origin, lock: Some(held), short: None }),
        Err(why) => why,
    };
    let path = dir.join(TABLE_FILE);
    let there = predecessor(dir).ok().flatten().and_then(|old| Geometry::of(&old));
    if there.is_none() && !why.is_lack_of_space() {
        return Err(why);
    }
    if there.is_none() {
        // A file that cannot be taken over only takes space.
        withdraw(&path);
    }
    for geometry in there.into_iter().chain(smaller(dir, wanted)) {
        if let Ok((writer, origin)) = under_lock(dir, &geometry, mode, random, first) {
            return Ok(Opened { writer, origin, lock: Some(held), short: Some(why) });
        }
    }
    withdraw(&path);
    private(wanted, random, first, Some(held), why)
}

fn private(
    wanted: &Geometry,
    random: [u64; 3],
    first: u64,
    lock: Option<Held>,
    why: ShareError,
) -> Result<Opened, ShareError> {
    let geometry = Geometry { entries: wanted.entries.min(PRIVATE_MAX) };
    let memory = Memory::heap(geometry.words());
    let made = Writer::create(memory, &geometry, [random[0], random[1]], random[2], first);
    let mut writer = made.map_err(ShareError::Table)?;
    own(&mut writer);
    Ok(Opened { writer, origin: Origin::Created, lock, short: Some(why) })
}

impl Writer {
    /// [`rotate`], and if the file system has no space for that table: to a smaller one, if that is
    /// larger than the present one. Returns why the table is then smaller than `wanted`.
    ///
    /// # Errors
    /// A [`ShareError`]; the table then stays as it was.
    pub fn rotate_as_it_fits(
        &mut self,
        held: &mut Option<Held>,
        dir: &Path,
        wanted: &Geometry,
        mode: u32,
        random: [u64; 3],
    ) -> Result<Option<ShareError>, ShareError> {
        if held.is_none() {
            *held = Some(lock(&dir.join(LOCK_FILE))?);
        }
        let why = match rotate(self, dir, wanted, mode, random) {
            Ok(()) => return Ok(None),
            Err(why) if why.is_lack_of_space() => why,
            Err(why) => return Err(why),
        };
        for geometry in smaller(dir, wanted) {
            if self.is_shared() && geometry.entries <= self.capacity() {
                break;
            }
            if rotate(self, dir, &geometry, mode, random).is_ok() {
                return Ok(Some(why));
            }
        }
        Err(why)
    }
}

/// Whether there is space for a larger table than `writer`'s. Makes one system call.
#[must_use]
pub fn is_there_more_room(writer: &Writer, dir: &Path, wanted: &Geometry) -> bool {
    let more = |geometry: &Geometry| !writer.is_shared() || geometry.entries > writer.capacity();
    let free = free_and_all(dir).map_or(0, |(free, _)| free);
    wanted.octets() <= free && more(wanted) || smaller(dir, wanted).any(|geometry| more(&geometry))
}

impl Geometry {
    /// The size of the whole table in octets.
    fn octets(self) -> u64 {
        self.words() as u64 * 8
    }

    /// The geometry of an existing table, with the largest number of names for its size.
    fn of(table: &Reader) -> Option<Geometry> {
        // A table before ABI 1.4 has no metrics.
        let added = if table.has_metrics() { 0 } else { METRICS_CHUNKS * CHUNK };
        Geometry::largest(table.plan.mask, table.plan.lines + added)
    }
}

impl Writer {
    /// Whether other processes can read the table.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(*self.reader.memory(), Memory::Mapped(_))
    }

    /// The number of names that the table can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}
