//! Takeover of a predecessor's table after a restart: the table itself, or, for another size, a
//! copy of its entries. The work is done in slices between other work. Intact entries stay; a table
//! with any doubt is replaced.

use crate::alloc::{Alloc, class_of};
use crate::key::Key;
use crate::layout::{CHUNK, LINE, METRICS_WORDS, VERSION_MAX, head};
use crate::memory::{Memory, OpenError};
use crate::reader::Reader;
use crate::seqlock::{peek, publish};
use crate::steps::step;
use crate::time::Monotonic;
use crate::writer::{Geometry, Writer};
use core::fmt;
use std::sync::Arc;

/// Why a predecessor's table is not taken over.
#[derive(Debug)]
pub enum Doubt {
    /// The file cannot be read as a table.
    Unreadable(OpenError),
    /// The table has another size than configured.
    OtherSize,
    /// The table was written before the host's last boot, so its times mean nothing.
    OtherBoot,
    /// The table's answers are valid in another network namespace than the daemon's.
    OtherNetwork,
    /// The table's last version is out of range.
    Version,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "{error}"),
            Self::OtherSize => f.write_str("it has another size than table.entries asks for"),
            Self::OtherBoot => f.write_str("it was written before the host was started"),
            Self::OtherNetwork => f.write_str("its answers hold in another network namespace"),
            Self::Version => f.write_str("its last version is out of range"),
        }
    }
}

impl std::error::Error for Doubt {}

/// The result of a takeover: counts of the predecessor's entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Adopted {
    /// Entries that were taken over.
    pub entries: usize,
    /// Entries that were damaged, or for which there was no space.
    pub dropped: usize,
}

/// Versions that are skipped after a predecessor, which may have used some without publishing them.
/// A sixteenth of those that [`crate::first_version`] gives to a second, so that restarts do not
/// bring versions ahead of the wall clock.
const VERSION_GAP: u64 = 1 << 16;

/// The part of a predecessor's table that has not been checked or copied yet.
#[derive(Debug)]
pub(crate) struct Takeover {
    /// Another table, whose entries are copied; `None`: this table itself, whose records stay where
    /// they are.
    from: Option<Reader>,
    /// The next index word to check or copy.
    at: usize,
    /// How many index words from `next` on lead to records of the predecessor.
    unseen: usize,
    /// The chunks of this table in which the predecessor has records.
    taken: Vec<bool>,
    found: Adopted,
}

impl Takeover {
    /// Records of this table that have not been checked yet.
    pub fn unseen(&self) -> usize {
        if self.from.is_some() { 0 } else { self.unseen }
    }

    /// Notes that an index word of the predecessor was overwritten before it was checked.
    pub fn overwritten(&mut self) {
        self.unseen = self.unseen.saturating_sub(1);
    }
}

impl Writer {
    /// Takes over the table in `memory`, without any effect on its readers. Its entries can be used
    /// at once; [`Writer::work`] checks them one after the other.
    ///
    /// # Errors
    /// A [`Doubt`]; then nothing has been written.
    pub fn adopt(memory: Memory, geometry: &Geometry) -> Result<Writer, Doubt> {
        Writer::take_over(Reader::over(Arc::new(memory)).map_err(Doubt::Unreadable)?, geometry)
    }

    pub(crate) fn take_over(reader: Reader, geometry: &Geometry) -> Result<Writer, Doubt> {
        // The table of a daemon without metrics has records in their place.
        if !geometry.fits(reader.plan.mask, reader.plan.lines) || !reader.has_metrics() {
            return Err(Doubt::OtherSize);
        }
        let version = next_version(&reader)?;
        let mut taken = vec![false; reader.plan.lines / CHUNK];
        let mut unseen = 0;
        for word in &reader.words()[reader.plan.index..reader.plan.data] {
            let word = peek(word);
            if let Some(taken) = taken.get_mut(word as u32 as usize / CHUNK)
                && word != 0
            {
                *taken = true;
            }
            unseen += usize::from(word != 0);
        }
        let alloc = Alloc::new(reader.plan.lines, |chunk| taken[chunk]);
        let at = reader.plan.index;
        let mut writer = Writer::over(reader, geometry, version, alloc);
        writer.takeover = Some(Takeover { from: None, at, unseen, taken, found: Adopted::default() });
        writer.begin_metrics();
        Ok(writer)
    }

    /// Copies the entries of another table, under their versions: each when it is looked up, and
    /// the rest by [`Writer::work`].
    pub(crate) fn inherit_from(&mut self, before: Reader) {
        let at = before.plan.index;
        let (unseen, taken, found) = (0, Vec::new(), Adopted::default());
        self.takeover = Some(Takeover { from: Some(before), at, unseen, taken, found });
    }

    /// Continues a takeover by `places` index words. Returns the result when the takeover is
    /// complete.
    pub fn work(&mut self, places: usize, now: Monotonic) -> Option<Adopted> {
        self.takeover.as_ref()?;
        self.inherit_more(places, now)
    }

    /// Whether a takeover is not complete yet.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.takeover.is_some()
    }

    /// Whether records of this table have not been checked yet.
    pub(crate) fn recovering(&self) -> bool {
        self.takeover.as_ref().is_some_and(|takeover| takeover.from.is_none())
    }

    pub(crate) fn inherit_more(&mut self, places: usize, now: Monotonic) -> Option<Adopted> {
        let mut takeover = self.takeover.take()?;
        let end = takeover.from.as_ref().map_or(self.reader.plan.data, |from| from.plan.data);
        let until = end.min(takeover.at.saturating_add(places));
        while takeover.at < until {
            let at = takeover.at;
            takeover.at += 1;
            match takeover.from.clone() {
                None => self.adopt_word(&mut takeover, at),
                Some(from) => self.copy_word(&mut takeover, &from, at, now),
            }
        }
        if takeover.at < end {
            self.takeover = Some(takeover);
            return None;
        }
        self.alloc.adopted(|chunk| takeover.taken.get(chunk) == Some(&true));
        Some(takeover.found)
    }

    /// Checks the entry of an index word of this table, and removes it if it is damaged.
    fn adopt_word(&mut self, takeover: &mut Takeover, at: usize) {
        let word = peek(&self.words()[at]);
        if word == 0 {
            return;
        }
        let line = word as u32;
        let ours = self.alloc.in_use(line);
        if !ours {
            takeover.overwritten();
        }
        let mut entry = self.buffers.scratch.take().unwrap_or_default();
        let bucket = (at - self.reader.plan.index) / LINE;
        let whole = self.reader.copy(word, &mut entry)
            && self.reader.entry_fault(word, bucket, &entry).is_none()
            && entry.version() <= self.version;
        let class = class_of(entry.shape.words());
        let key = hither_wire::name::Name::from_wire(entry.name()).ok().map(|name| Key::of(&name));
        // If a name is in the index twice, readers find the first one.
        let first = key.filter(|key| whole && self.find(key, &mut entry).is_some_and(|found| found.0 == at));
        self.buffers.scratch = Some(entry);
        step();
        match first {
            Some(_) if ours => {}
            Some(key) if self.alloc.adopt(line, class) => {
                self.live += 1;
                let hash = self.place(&key).hash;
                self.queues.insert(self.alloc.spot(line), hash, true);
                takeover.found.entries += 1;
            }
            _ => {
                publish(&self.words()[at], 0);
                self.changed(0);
                takeover.found.dropped += 1;
            }
        }
    }

    /// Copies the entry of an index word of another table, unless this one has the name already or
    /// is full.
    fn copy_word(&mut self, takeover: &mut Takeover, from: &Reader, at: usize, now: Monotonic) {
        let word = peek(&from.words()[at]);
        if word == 0 {
            return;
        }
        let mut entry = self.buffers.scratch.take().unwrap_or_default();
        let bucket = (at - from.plan.index) / LINE;
        let flushed = peek(&from.words()[head::FLUSHED]);
        let whole = from.copy(word, &mut entry)
            && from.entry_fault(word, bucket, &entry).is_none()
            && entry.version() <= self.version
            && entry.version() >= flushed;
        let key = hither_wire::name::Name::from_wire(entry.name()).ok().map(|name| Key::of(&name));
        let words = entry.words[..entry.shape.words()].to_vec();
        let version = entry.version();
        let known = key.is_some_and(|key| self.find(&key, &mut entry).is_some());
        self.buffers.scratch = Some(entry);
        if known {
            return;
        }
        let room = self.entries() < self.capacity;
        match key.filter(|_| whole && room) {
            Some(key) => {
                let slot = self.slot(&key);
                match self.put_words(&key, &slot, &words, version, now) {
                    Ok(()) => takeover.found.entries += 1,
                    Err(_) => takeover.found.dropped += 1,
                }
            }
            None => takeover.found.dropped += 1,
        }
    }

    /// Copies the entry of `key` at once from the table that is being copied.
    pub(crate) fn inherit(&mut self, key: &Key) -> bool {
        let Some(mut takeover) = self.takeover.take() else { return false };
        let before = takeover.found.entries;
        if let Some(from) = takeover.from.clone()
            && let Some(at) = slot(&from, key)
        {
            self.copy_word(&mut takeover, &from, at, Monotonic(0));
        }
        let copied = takeover.found.entries > before;
        self.takeover = Some(takeover);
        copied
    }

    /// Removes `key` from the table that is being copied, so that its older entry does not replace
    /// a newer one later.
    pub(crate) fn disinherit(&mut self, key: &Key) -> bool {
        let from = self.takeover.as_ref().and_then(|takeover| takeover.from.as_ref());
        let Some((from, at)) = from.and_then(|from| Some((from, slot(from, key)?))) else { return false };
        publish(&from.words()[at], 0);
        true
    }

    /// Ends the copying of another table.
    pub(crate) fn end_copying(&mut self) {
        self.takeover.take_if(|takeover| takeover.from.is_some());
    }
}

impl Reader {
    /// Whether the table has its metrics where this code has them, and no record there.
    pub(crate) fn has_metrics(&self) -> bool {
        let found = [head::METRICS, head::METRICS_WORDS].map(|at| self.peek(at));
        found == [self.plan.data as u64, METRICS_WORDS as u64]
    }
}

/// The version above which a successor of this table continues.
pub(crate) fn next_version(before: &Reader) -> Result<u64, Doubt> {
    let version = before.version().saturating_add(VERSION_GAP);
    if version >= VERSION_MAX / 2 { Err(Doubt::Version) } else { Ok(version) }
}

/// The position of the index word of `key` in a table.
fn slot(table: &Reader, key: &Key) -> Option<usize> {
    let place = key.place(&table.plan.secrets, table.plan.mask);
    let mut entry = Box::new(crate::record::Snapshot::new());
    place.buckets.into_iter().flat_map(|bucket| (0..LINE).map(move |n| bucket * LINE + n)).find_map(|n| {
        let at = table.plan.index + n;
        let word = peek(&table.words()[at]);
        let own =
            word != 0 && word >> 48 == place.tag && table.copy(word, &mut entry) && entry.entry().is(key);
        own.then_some(at)
    })
}
