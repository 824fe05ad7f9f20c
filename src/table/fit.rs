//! A table where there may be no room for it: a smaller one, the one that is there, or one in this process's own memory, which nobody else
//! reads. Names are answered in any case.

use crate::adopt::next_version;
use crate::memory::Memory;
use crate::paths::{LOCK_FILE, TABLE_FILE};
use crate::reader::Reader;
use crate::share::{Held, Origin, ShareError, lock, own, predecessor, rotate, under_lock, withdraw};
use crate::writer::{Geometry, Writer};
use nix::sys::statvfs::statvfs;
use std::path::Path;

/// Names of the smallest table that is made where there is room for no larger one.
const SMALLEST: usize = 1024;
/// Names of the largest one in this process's own memory.
const PRIVATE_MAX: usize = 65_536;

/// A table, and what it falls short of.
#[derive(Debug)]
pub struct Opened {
    /// Its writer.
    pub writer: Writer,
    /// How it came to be.
    pub origin: Origin,
    /// None: not even the lock could be had.
    pub lock: Option<Held>,
    /// Why it is not the one that was wanted.
    pub short: Option<ShareError>,
}

/// Octets of the file system that may be written, and all that it has; one without a bound says that it has none.
fn free_and_all(dir: &Path) -> nix::Result<(u64, u64)> {
    let seen = statvfs(dir)?;
    if seen.blocks() == 0 {
        return Ok((u64::MAX, u64::MAX));
    }
    let unit = seen.fragment_size();
    Ok((seen.blocks_available().saturating_mul(unit), seen.blocks().saturating_mul(unit)))
}

/// Names of the table where nobody says how many: as many as `most`, and so few that it takes no more than a quarter of the file system, a
/// tmpfs that others live in too.
#[must_use]
pub fn usual(dir: &Path, most: usize) -> usize {
    let Ok((_, all)) = free_and_all(dir) else { return most };
    halves(most).find(|geometry| geometry.octets() <= all / 4).map_or(SMALLEST.min(most), |g| g.entries)
}

/// Names of the table that is there, if it is one that can be taken over.
#[must_use]
pub fn names_of(dir: &Path) -> Option<usize> {
    let there = predecessor(dir).ok()??;
    Geometry::of(&there).map(|geometry| geometry.entries)
}

/// Halves of `most`, from itself on.
fn halves(most: usize) -> impl Iterator<Item = Geometry> {
    let halve = |entries: &usize| Some(entries / 2).filter(|half| *half >= SMALLEST);
    std::iter::successors(Some(most), halve).map(|entries| Geometry { entries })
}

/// Smaller tables that leave half of what is free to others.
fn smaller(dir: &Path, wanted: &Geometry) -> impl Iterator<Item = Geometry> {
    let free = free_and_all(dir).map_or(0, |(free, _)| free);
    halves(wanted.entries).skip(1).filter(move |geometry| geometry.octets() <= free / 2)
}

/// [`crate::host::open_or_create`], and where there is no room for that table the one that is there, a smaller one, or one that nobody else reads.
///
/// # Errors
/// A [`ShareError`] that room would not mend: another daemon writes it, or the directory is not ours to write to.
pub fn open_as_it_fits(
    dir: &Path,
    wanted: &Geometry,
    mode: u32,
    random: [u64; 3],
    first: u64,
) -> Result<Opened, ShareError> {
    let held = match lock(&dir.join(LOCK_FILE)) {
        Ok(held) => held,
        Err(why) if why.is_want_of_room() => return private(wanted, random, first, (None, why)),
        Err(why) => return Err(why),
    };
    // Versions go on above those of a table that is withdrawn for want of room, too.
    let before = Reader::open(dir).ok().and_then(|before| next_version(&before).ok());
    let first = before.unwrap_or(0).max(first);
    let why = match under_lock(dir, wanted, mode, random, first) {
        Ok((writer, origin)) => return Ok(Opened { writer, origin, lock: Some(held), short: None }),
        Err(why) if why.is_want_of_room() => why,
        Err(why) => return Err(why),
    };
    let path = dir.join(TABLE_FILE);
    let there = predecessor(dir).ok().flatten().and_then(|old| Geometry::of(&old));
    if there.is_none() {
        // What cannot be taken over is in the way.
        withdraw(&path);
    }
    for geometry in there.into_iter().chain(smaller(dir, wanted)) {
        if let Ok((writer, origin)) = under_lock(dir, &geometry, mode, random, first) {
            return Ok(Opened { writer, origin, lock: Some(held), short: Some(why) });
        }
    }
    withdraw(&path);
    private(wanted, random, first, (Some(held), why))
}

fn private(
    wanted: &Geometry,
    random: [u64; 3],
    first: u64,
    (lock, why): (Option<Held>, ShareError),
) -> Result<Opened, ShareError> {
    let geometry = Geometry { entries: wanted.entries.min(PRIVATE_MAX) };
    let memory = Memory::heap(geometry.words());
    let made = Writer::create(memory, &geometry, [random[0], random[1]], random[2], first);
    let mut writer = made.map_err(ShareError::Table)?;
    own(&mut writer);
    Ok(Opened { writer, origin: Origin::Created, lock, short: Some(why) })
}

/// [`rotate`], and where there is no room for that table a smaller one, if that is more than there is. What it then falls short of.
///
/// # Errors
/// A [`ShareError`]; `writer` then goes on as before.
pub fn rotate_as_it_fits(
    writer: &mut Writer,
    held: &mut Option<Held>,
    dir: &Path,
    (wanted, mode): (&Geometry, u32),
    random: [u64; 3],
) -> Result<Option<ShareError>, ShareError> {
    if held.is_none() {
        *held = Some(lock(&dir.join(LOCK_FILE))?);
    }
    let why = match rotate(writer, dir, wanted, mode, random) {
        Ok(()) => return Ok(None),
        Err(why) if why.is_want_of_room() => why,
        Err(why) => return Err(why),
    };
    for geometry in smaller(dir, wanted) {
        if writer.is_shared() && geometry.entries <= writer.capacity() {
            break;
        }
        if rotate(writer, dir, &geometry, mode, random).is_ok() {
            return Ok(Some(why));
        }
    }
    Err(why)
}

/// Whether there is room for a table that is more than `writer`'s: one question to the kernel.
#[must_use]
pub fn is_there_more_room(writer: &Writer, dir: &Path, wanted: &Geometry) -> bool {
    let more = |geometry: &Geometry| !writer.is_shared() || geometry.entries > writer.capacity();
    let free = free_and_all(dir).map_or(0, |(free, _)| free);
    wanted.octets() <= free && more(wanted) || smaller(dir, wanted).any(|geometry| more(&geometry))
}

impl Geometry {
    /// Octets of the whole table.
    fn octets(self) -> u64 {
        self.words() as u64 * 8
    }

    /// The largest number of names whose table has the size of this one.
    fn of(table: &Reader) -> Option<Geometry> {
        Geometry::largest(table.plan.mask, table.plan.lines)
    }
}

impl Writer {
    /// Whether other processes can read it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(*self.reader.memory(), Memory::Mapped(_))
    }

    /// Names that it holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}
