//! Taking over what a predecessor left: its very table, or, where another size is wanted, its entries; in slices beside the daily
//! work. What is whole stays, every doubt about the table itself ends in a new one.

use crate::alloc::{Alloc, class_of};
use crate::key::Key;
use crate::layout::{CHUNK, LINE, VERSION_MAX, head};
use crate::memory::{Memory, OpenError};
use crate::reader::Reader;
use crate::seqlock::{peek, publish};
use crate::steps::step;
use crate::time::Monotonic;
use crate::writer::{Geometry, Writer};
use core::fmt;
use std::sync::Arc;

/// Why a table that is there is not taken over.
#[derive(Debug)]
pub enum Doubt {
    /// It cannot be read as a table.
    Unreadable(OpenError),
    /// It is of another size than configured.
    OtherSize,
    /// It was written before the host was started: its times mean nothing now.
    OtherBoot,
    /// Its answers hold in another network namespace.
    OtherNetwork,
    /// Its last version cannot be one.
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

/// What was found in what a predecessor left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Adopted {
    /// Entries that stayed.
    pub entries: usize,
    /// Entries that were not whole and were left out.
    pub dropped: usize,
}

/// Versions left out after a predecessor that may have drawn, but not yet published, some. A sixteenth of what a second of the wall clock
/// stands for, so that starts alone do not take versions ahead of it.
const VERSION_GAP: u64 = 1 << 16;

/// What has not been looked at yet.
#[derive(Debug)]
pub(crate) struct Heritage {
    /// Another table, whose entries are copied; none: our own, whose records stay where they are.
    from: Option<Reader>,
    /// The next index word.
    at: usize,
    /// Index words from there on that lead to records of the predecessor's.
    unseen: usize,
    /// Chunks of our own table in which the predecessor left records.
    taken: Vec<bool>,
    found: Adopted,
}

impl Heritage {
    pub fn unseen(&self) -> usize {
        if self.from.is_some() { 0 } else { self.unseen }
    }

    /// An index word of the predecessor's has gone before it was looked at.
    pub fn overwritten(&mut self) {
        self.unseen = self.unseen.saturating_sub(1);
    }
}

impl Writer {
    /// Takes over the table in `memory`. Readers go on meanwhile and notice nothing. Its entries can be used at once, and are looked at
    /// one after the other by [`Writer::work`].
    ///
    /// # Errors
    /// A [`Doubt`]; nothing has been written then.
    pub fn adopt(memory: Memory, geometry: &Geometry) -> Result<Writer, Doubt> {
        Writer::take_over(Reader::over(Arc::new(memory)).map_err(Doubt::Unreadable)?, geometry)
    }

    pub(crate) fn take_over(reader: Reader, geometry: &Geometry) -> Result<Writer, Doubt> {
        if !geometry.fits(reader.plan.mask, reader.plan.lines) {
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
        writer.heritage = Some(Heritage { from: None, at, unseen, taken, found: Adopted::default() });
        Ok(writer)
    }

    /// Has the entries of another table copied, under their versions, by [`Writer::work`] and as they are asked for.
    pub(crate) fn inherit_from(&mut self, before: Reader) {
        let at = before.plan.index;
        let (unseen, taken, found) = (0, Vec::new(), Adopted::default());
        self.heritage = Some(Heritage { from: Some(before), at, unseen, taken, found });
    }

    /// Does some of the work that is left of taking over: looks at so many places of the index. The result when it is done.
    pub fn work(&mut self, places: usize, now: Monotonic) -> Option<Adopted> {
        self.heritage.as_ref()?;
        self.inherit_more(places, now)
    }

    /// Whether there is such work left.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.heritage.is_some()
    }

    /// Whether records of our own table have not been looked at yet.
    pub(crate) fn recovering(&self) -> bool {
        self.heritage.as_ref().is_some_and(|heritage| heritage.from.is_none())
    }

    pub(crate) fn inherit_more(&mut self, places: usize, now: Monotonic) -> Option<Adopted> {
        let mut heritage = self.heritage.take()?;
        let end = heritage.from.as_ref().map_or(self.reader.plan.data, |from| from.plan.data);
        let until = end.min(heritage.at.saturating_add(places));
        while heritage.at < until {
            let at = heritage.at;
            heritage.at += 1;
            match heritage.from.clone() {
                None => self.adopt_word(&mut heritage, at),
                Some(from) => self.copy_word(&mut heritage, &from, at, now),
            }
        }
        if heritage.at < end {
            self.heritage = Some(heritage);
            return None;
        }
        self.alloc.adopted(|chunk| heritage.taken.get(chunk) == Some(&true));
        Some(heritage.found)
    }

    /// Looks at an index word of our own table.
    fn adopt_word(&mut self, heritage: &mut Heritage, at: usize) {
        let word = peek(&self.words()[at]);
        if word == 0 {
            return;
        }
        let line = word as u32;
        let ours = self.alloc.in_use(line);
        if !ours {
            heritage.overwritten();
        }
        let mut entry = self.scratch.take().unwrap_or_default();
        let bucket = (at - self.reader.plan.index) / LINE;
        let whole = self.reader.copy(word, &mut entry)
            && self.reader.misfit(word, bucket, &entry).is_none()
            && entry.version() <= self.version;
        let class = class_of(entry.shape.words());
        let key = hither_wire::name::Name::from_wire(entry.name()).ok().map(|name| Key::of(&name));
        // The first place with the name is the one that readers find.
        let first = key.filter(|key| whole && self.find(key, &mut entry).is_some_and(|found| found.0 == at));
        self.scratch = Some(entry);
        step();
        match first {
            Some(_) if ours => {}
            Some(key) if self.alloc.adopt(line, class) => {
                self.live += 1;
                let hash = self.place(&key).hash;
                self.queues.insert(self.alloc.spot(line), hash, true);
                heritage.found.entries += 1;
            }
            _ => {
                publish(&self.words()[at], 0);
                self.changed(0);
                heritage.found.dropped += 1;
            }
        }
    }

    /// Copies the entry of another table's index word, unless the name has one here, or as many entries are there as may be.
    fn copy_word(&mut self, heritage: &mut Heritage, from: &Reader, at: usize, now: Monotonic) {
        let word = peek(&from.words()[at]);
        if word == 0 {
            return;
        }
        let mut entry = self.scratch.take().unwrap_or_default();
        let bucket = (at - from.plan.index) / LINE;
        let flushed = peek(&from.words()[head::FLUSHED]);
        let whole = from.copy(word, &mut entry)
            && from.misfit(word, bucket, &entry).is_none()
            && entry.version() <= self.version
            && entry.version() >= flushed;
        let key = hither_wire::name::Name::from_wire(entry.name()).ok().map(|name| Key::of(&name));
        let words = entry.words[..entry.shape.words()].to_vec();
        let version = entry.version();
        let known = key.is_some_and(|key| self.find(&key, &mut entry).is_some());
        self.scratch = Some(entry);
        if known {
            return;
        }
        let room = self.entries() < self.capacity;
        match key.filter(|_| whole && room) {
            Some(key) => {
                let slot = self.slot(&key);
                match self.put_words(&key, &slot, (&words, version), now) {
                    Ok(()) => heritage.found.entries += 1,
                    Err(_) => heritage.found.dropped += 1,
                }
            }
            None => heritage.found.dropped += 1,
        }
    }

    /// Copies the entry of `key` from the table that is being copied, ahead of its turn.
    pub(crate) fn inherit(&mut self, key: &Key) -> bool {
        let Some(mut heritage) = self.heritage.take() else { return false };
        let before = heritage.found.entries;
        if let Some(from) = heritage.from.clone()
            && let Some(at) = slot(&from, key)
        {
            self.copy_word(&mut heritage, &from, at, Monotonic(0));
        }
        let copied = heritage.found.entries > before;
        self.heritage = Some(heritage);
        copied
    }

    /// What the table that is being copied has of `key` is out of date: it must not come after what is put now.
    pub(crate) fn disinherit(&mut self, key: &Key) -> bool {
        let from = self.heritage.as_ref().and_then(|heritage| heritage.from.as_ref());
        let Some((from, at)) = from.and_then(|from| Some((from, slot(from, key)?))) else { return false };
        publish(&from.words()[at], 0);
        true
    }

    pub(crate) fn drop_foreign_heritage(&mut self) {
        self.heritage.take_if(|heritage| heritage.from.is_some());
    }
}

/// Where the first version after those of a predecessor is.
pub(crate) fn next_version(before: &Reader) -> Result<u64, Doubt> {
    let version = before.version().saturating_add(VERSION_GAP);
    if version >= VERSION_MAX / 2 { Err(Doubt::Version) } else { Ok(version) }
}

/// Where the index word of `key` is.
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
