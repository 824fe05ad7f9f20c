//! The writer of a table: creates it, looks entries up, removes them, and notifies followers.

use crate::adopt::Takeover;
use crate::alloc::{Alloc, Uses};
use crate::evict::Queues;
use crate::key::{Key, Place};
use crate::layout::{
    self, CHUNK, CLASSES, HEADER, LINE, LIVE, METRICS_CHUNKS, METRICS_WORDS, RING, SLOTS_MASK, VERSION_MAX,
    head,
};
use crate::memory::{Memory, OpenError};
use crate::plan::header_checksum;
use crate::reader::Reader;
use crate::record::Snapshot;
use crate::seqlock::{peek, publish, set};
use crate::shape::Shape;
use crate::steps::step;
use crate::sync::AtomicU64;
use std::sync::Arc;

/// Chunks beyond those for the names: two for each class, so that a class can get a chunk before
/// another has to be emptied. Fewer under Miri, which would take minutes.
const SPARE_CHUNKS: usize = if cfg!(miri) { 2 } else { 2 * CLASSES.len() };

/// Versions that are skipped above the last known one of a lost table, since it may have published
/// more: as many as [`first_version`] gives to a thousand seconds.
const LOST_VERSIONS: u64 = 1 << 30;

/// The version at which a table begins if nothing is known of an earlier one: 2^20 for each second
/// of the wall clock since 1970. That is above the versions of every earlier table, unless the
/// clock was set back or more than 2^20 versions a second were used. A clock beyond the year 2097
/// counts as unknown (0), since versions have an upper bound.
#[must_use]
pub const fn first_version(wall: core::time::Duration) -> u64 {
    const END_S: u64 = (1 << 32) - (1 << 28);
    if wall.as_secs() >= END_S {
        return 0;
    }
    (wall.as_secs() << 20) + ((wall.subsec_nanos() as u64) << 20) / 1_000_000_000
}

/// The size of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// The number of names that it can hold.
    pub entries: usize,
}

impl Geometry {
    /// Buckets of the index. They are at most three quarters full; then two buckets of eight words
    /// for each name practically never overflow.
    fn buckets(self) -> usize {
        (self.entries * 4 / 3).div_ceil(LINE).max(2).next_power_of_two()
    }

    /// Lines of data: 3.4 a name, and some chunks for the classes. A name with one address takes
    /// two lines, with two addresses of each family four. The rest keeps the chunks of a class
    /// that shrinks at most two thirds full on average, so that emptying them moves less than one
    /// record for each new one. The metrics come on top.
    fn lines(self) -> usize {
        (self.entries * 17 / 5).div_ceil(CHUNK).saturating_add(SPARE_CHUNKS + METRICS_CHUNKS) * CHUNK
    }

    /// The number of words of the whole table.
    #[must_use]
    pub fn words(self) -> usize {
        HEADER + RING + (self.buckets() + self.lines()) * LINE
    }

    /// The largest geometry that [`Geometry::fits`]. `lines` include those of the metrics.
    pub(crate) fn largest(mask: u64, lines: usize) -> Option<Geometry> {
        let by_lines = (lines / CHUNK).checked_sub(SPARE_CHUNKS + METRICS_CHUNKS)? * CHUNK * 5 / 17;
        let by_buckets = usize::try_from(mask).ok()?.checked_add(1)? * LINE * 3 / 4;
        Some(Geometry { entries: by_lines.min(by_buckets) }).filter(|found| found.fits(mask, lines))
    }

    /// Whether a table with these header words has this size.
    pub(crate) fn fits(self, mask: u64, lines: usize) -> bool {
        mask + 1 == self.buckets() as u64 && lines == self.lines()
    }
}

/// The writer of a table.
#[derive(Debug)]
pub struct Writer {
    pub(crate) reader: Reader,
    pub(crate) capacity: usize,
    pub(crate) alloc: Alloc,
    pub(crate) queues: Queues,
    /// The number of records in use.
    pub(crate) live: usize,
    /// The part of a predecessor's table that has not been checked or copied yet.
    pub(crate) takeover: Option<Takeover>,
    /// The position in the index where the search for expired entries continues.
    pub(crate) sweep: usize,
    pub(crate) version: u64,
    pub(crate) evictions: u64,
    pub(crate) buffers: Buffers,
    /// The sign of life, which the kernel marks when this process dies.
    #[cfg(not(loom))]
    pub(crate) alive: Option<crate::alive::Alive>,
    /// Wakes readers that wait for changes.
    #[cfg(not(loom))]
    pub(crate) wake: Option<crate::wake::Waker>,
}

/// Memory that the writer uses again for each record.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// The words of a record before they are written to the table.
    pub encoded: Vec<u64>,
    /// The result of a lookup. It has 16 KiB; `None` while a lookup uses it.
    pub scratch: Option<Box<Snapshot>>,
}

impl Writer {
    /// Creates an empty table in `memory`, which must be zeroed and have [`Geometry::words`] words.
    ///
    /// # Errors
    /// The memory has another size.
    pub fn create(
        memory: Memory,
        geometry: &Geometry,
        seed: [u64; 2],
        generation: u64,
        first_version: u64,
    ) -> Result<Writer, OpenError> {
        let words = memory.words();
        if words.len() != geometry.words() {
            return Err(OpenError::Invalid("its size is not that of the configured number of entries"));
        }
        let index = HEADER + RING;
        let data = index + geometry.buckets() * LINE;
        for (at, value) in [
            (head::ABI, layout::ABI),
            (head::ENDIAN, layout::ENDIAN),
            (head::FILE, words.len() as u64 * 8),
            (head::GENERATION, generation),
            (head::METRICS, data as u64),
            (head::METRICS_WORDS, METRICS_WORDS as u64),
            (head::MASK, geometry.buckets() as u64 - 1),
            (head::INDEX, index as u64),
            (head::DATA, data as u64),
            (head::LINES, geometry.lines() as u64),
            (head::RING, HEADER as u64),
            (head::SLOTS, RING as u64),
            (head::STATE, LIVE),
            (head::VERSION, first_version),
        ] {
            set(&words[at], value);
        }
        for (n, value) in crate::key::new_secrets(seed).into_iter().enumerate() {
            set(&words[head::HASH + n], value);
        }
        set(&words[head::MAGIC], layout::MAGIC);
        let sum = header_checksum(&|at| peek(&words[at]));
        set(&words[head::CHECKSUM], sum);
        publish(&words[head::MAGIC], layout::MAGIC);
        let reader = Reader::over(Arc::new(memory))?;
        let alloc = Alloc::new(reader.plan.lines, |_| false);
        let writer = Writer::over(reader, geometry, first_version, alloc);
        writer.begin_metrics();
        Ok(writer)
    }

    pub(crate) fn over(reader: Reader, geometry: &Geometry, version: u64, alloc: Alloc) -> Writer {
        Writer {
            reader,
            capacity: geometry.entries,
            alloc,
            queues: Queues::new(geometry.entries),
            live: 0,
            takeover: None,
            sweep: 0,
            version,
            evictions: 0,
            buffers: Buffers::default(),
            #[cfg(not(loom))]
            alive: None,
            #[cfg(not(loom))]
            wake: None,
        }
    }

    /// A reader of the same table.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The use counts, for other threads to note uses. A table that replaces this one has others.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.alloc.notes()
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        self.reader.words()
    }

    /// A new version, above every other one.
    pub fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Continues versions well above `version`, the last one known of a lost table, which may have
    /// published more. A version out of range changes nothing.
    pub fn go_on_above(&mut self, version: u64) {
        self.begin_above(version.saturating_add(LOST_VERSIONS));
    }

    /// Continues versions above `version`, which no lost table has reached. `false` if it is out of
    /// range; then nothing changes.
    pub fn begin_above(&mut self, version: u64) -> bool {
        let fits = version < VERSION_MAX / 2;
        if fits && version > self.version {
            self.version = version;
            // Published now, so that a successor continues above it even if nothing else is
            // published.
            publish(&self.words()[head::VERSION], version);
        }
        fits
    }

    /// Takes a block of versions for the rounds of sets that other hosts of the site have learned, and
    /// announces it. Returns the first of its [`layout::SITE_ROUNDS`] versions. Versions that are given out
    /// afterwards are above the block. `None` if no block is left below the greatest version.
    pub fn begin_site_rounds(&mut self) -> Option<u64> {
        let first = self.version + 1;
        self.begin_above(self.version + layout::SITE_ROUNDS).then(|| {
            self.set_site_rounds(first);
            first
        })
    }

    /// The last version that was given out.
    #[must_use]
    pub fn last_version(&self) -> u64 {
        self.version
    }

    /// Copies the entry of `key` into `out`; `false` if there is none, or it was flushed.
    pub fn get(&mut self, key: &Key, out: &mut Snapshot) -> bool {
        self.find_or_inherit(key, &self.place(key), out).is_some()
    }

    /// Like [`Writer::get`], for a client's query: notes the use, which delays eviction.
    pub fn hit(&mut self, key: &Key, place: Option<Place>, out: &mut Snapshot) -> bool {
        let place = place.unwrap_or_else(|| self.place(key));
        let found = self.find_or_inherit(key, &place, out);
        if let Some((_, word)) = found {
            self.alloc.use_line(word as u32);
        }
        found.is_some()
    }

    /// Reads ahead as [`Reader::fetch`] does.
    pub fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone) {
        self.reader.fetch(places);
    }

    fn find_or_inherit(&mut self, key: &Key, place: &Place, out: &mut Snapshot) -> Option<(usize, u64)> {
        let mut found = self.seek(key, place, out);
        if found.is_none() && self.takeover.is_some() && self.inherit(key) {
            found = self.seek(key, place, out);
        }
        if out.version() < peek(&self.words()[head::FLUSHED]) {
            found = None;
        }
        if found.is_none() {
            out.shape = Shape::default();
        }
        found
    }

    /// The position of the index word of `key`, and its value.
    pub(crate) fn find(&self, key: &Key, out: &mut Snapshot) -> Option<(usize, u64)> {
        self.seek(key, &self.place(key), out)
    }

    pub(crate) fn seek(&self, key: &Key, place: &Place, out: &mut Snapshot) -> Option<(usize, u64)> {
        let words = self.words();
        for bucket in place.buckets {
            let slots = self.reader.plan.bucket(words, bucket);
            let mut from = 0;
            while let Some(n) = tagged(slots, from, place.tag) {
                let word = peek(&slots[n]);
                if word != 0 && self.reader.copy_from(words, word, out) && out.entry().is(key) {
                    return Some((self.reader.plan.index + bucket * LINE + n, word));
                }
                from = n + 1;
            }
        }
        None
    }

    /// The place of a key, as [`Reader::place`] finds it.
    #[inline]
    #[must_use]
    pub fn place(&self, key: &Key) -> Place {
        self.reader.place(key)
    }

    pub(crate) fn slots(&self, place: &Place) -> impl Iterator<Item = usize> + use<> {
        let index = self.reader.plan.index;
        place.buckets.into_iter().flat_map(move |bucket| (0..LINE).map(move |n| index + bucket * LINE + n))
    }

    /// Frees the record of an index word that has been overwritten or cleared.
    pub(crate) fn forget(&mut self, word: u64, evicted: bool) {
        let line = word as u32;
        if self.alloc.in_use(line) {
            self.live = self.live.saturating_sub(1);
            self.alloc.release(line);
        } else if let Some(takeover) = &mut self.takeover {
            takeover.overwritten();
        }
        self.evictions += u64::from(evicted);
    }

    /// Removes an entry; `false` if there is none.
    pub fn remove(&mut self, key: &Key) -> bool {
        let inherited = self.disinherit(key);
        let mut scratch = self.buffers.scratch.take().unwrap_or_default();
        let found = self.find(key, &mut scratch);
        self.buffers.scratch = Some(scratch);
        let Some((at, word)) = found else { return inherited };
        publish(&self.words()[at], 0);
        self.forget(word, false);
        self.changed(0);
        true
    }

    /// Flushes all entries at once: from now on readers ignore records with a lower version.
    pub fn flush_all(&mut self) {
        let version = self.next_version();
        publish(&self.words()[head::FLUSHED], version);
        publish(&self.words()[head::VERSION], version);
        self.end_copying();
        self.changed(0);
    }

    /// Adds a change to the ring: the line of the new record, or 0 if followers have to look up
    /// again.
    pub(crate) fn changed(&self, line: u32) {
        let words = self.words();
        let change = peek(&words[head::CHANGES]);
        let slot = self.reader.plan.ring + (change as usize & SLOTS_MASK);
        publish(&words[slot], change << 32 | u64::from(line));
        step();
        publish(&words[head::CHANGES], change.wrapping_add(1));
    }

    /// Wakes readers that wait for a change. Another thread does it, so their number does not
    /// matter here.
    #[cfg(not(loom))]
    pub fn wake_followers(&self) {
        match &self.wake {
            Some(wake) => wake.note(),
            None => crate::futex::wake(&self.words()[head::CHANGES]),
        }
    }

    /// The number of entries, including flushed ones that still take space.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.live + self.takeover.as_ref().map_or(0, Takeover::unseen)
    }

    /// Whether one more name evicts another.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries() >= self.capacity
    }

    /// The number of evictions so far.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// The number of changes so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        peek(&self.words()[head::CHANGES])
    }
}

/// The number of the first index word with the tag, from `from` on.
#[inline]
fn tagged(slots: &[AtomicU64], from: usize, tag: u64) -> Option<usize> {
    slots.iter().skip(from).position(|slot| peek(slot) >> 48 == tag).map(|n| from + n)
}

pub(crate) fn index_word(place: &Place, version: u64, line: u32) -> u64 {
    place.tag << 48 | (version & 0xffff) << 32 | u64::from(line)
}
