//! The one writer: puts records in place, takes them out, and makes room.

use crate::alloc::{Alloc, class_of};
use crate::counters::Counters;
use crate::draft::{Draft, PutError};
use crate::evict::{Queued, Queues};
use crate::key::{Key, Place};
use crate::layout::{self, CHUNK, CLASSES, CLOSED, HEADER, LINE, LIVE, RING, SLOTS_MASK, head};
use crate::memory::{Memory, OpenError};
use crate::plan::header_checksum;
use crate::reader::Reader;
use crate::record::Snapshot;
use crate::seqlock::{peek, publish, retire, set, write};
use crate::sync::AtomicU64;
use crate::time::Monotonic;
use core::net::SocketAddr;
use std::sync::Arc;

/// How large a table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Names it holds at most.
    pub entries: usize,
}

impl Geometry {
    /// Buckets of the index: filled to three quarters at most, two choices of eight words practically never overflow.
    fn buckets(self) -> usize {
        (self.entries * 4 / 3).div_ceil(LINE).max(2).next_power_of_two()
    }

    /// Lines of data: four a name (a name with two addresses of each family takes three), and some chunks for the classes.
    fn lines(self) -> usize {
        (self.entries * 4).div_ceil(CHUNK).saturating_add(2 * CLASSES.len()) * CHUNK
    }

    /// Words of the whole table.
    #[must_use]
    pub fn words(self) -> usize {
        HEADER + RING + (self.buckets() + self.lines()) * LINE
    }

    pub(crate) fn fits(self, mask: u64, lines: usize) -> bool {
        mask + 1 == self.buckets() as u64 && lines == self.lines()
    }
}

/// The writer of a table.
#[derive(Debug)]
pub struct Writer {
    reader: Reader,
    capacity: usize,
    pub(crate) alloc: Alloc,
    pub(crate) queues: [Queues; CLASSES.len()],
    pub(crate) live: [usize; CLASSES.len()],
    /// How often each record was asked for since eviction last looked, by line.
    uses: Vec<u8>,
    pub(crate) version: u64,
    evictions: u64,
    encoded: Vec<u64>,
    scratch: Box<Snapshot>,
}

impl Writer {
    /// Makes an empty table of `memory`, which must be zeroed and have [`Geometry::words`] words.
    ///
    /// # Errors
    /// If the memory has another size.
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
            (head::SEED, seed[0]),
            (head::SEED + 1, seed[1]),
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
        set(&words[head::MAGIC], layout::MAGIC);
        let sum = header_checksum(words);
        set(&words[head::CHECKSUM], sum);
        publish(&words[head::MAGIC], layout::MAGIC);
        let reader = Reader::over(Arc::new(memory))?;
        Ok(Writer::over(reader, geometry, first_version))
    }

    pub(crate) fn over(reader: Reader, geometry: &Geometry, version: u64) -> Writer {
        let lines = reader.plan.lines;
        Writer {
            reader,
            capacity: geometry.entries,
            alloc: Alloc::new(lines),
            queues: Default::default(),
            live: [0; CLASSES.len()],
            uses: vec![0; lines],
            version,
            evictions: 0,
            encoded: Vec::new(),
            scratch: Box::new(Snapshot::new()),
        }
    }

    /// A reader of the same table.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    fn words(&self) -> &[AtomicU64] {
        self.reader.words()
    }

    /// A version above every other, never given twice.
    pub fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Copies the entry of `key` out, if there is one that has not been flushed.
    pub fn get(&self, key: &Key, out: &mut Snapshot) -> bool {
        match self.find(key, out) {
            Some(_) if out.version() >= peek(&self.words()[head::FLUSHED]) => true,
            _ => {
                out.shape = Default::default();
                false
            }
        }
    }

    /// Like [`Writer::get`], for a client: the entry counts as asked for, and stays longer.
    pub fn hit(&mut self, key: &Key, out: &mut Snapshot) -> bool {
        match self.find(key, out) {
            Some((_, word)) if out.version() >= peek(&self.words()[head::FLUSHED]) => {
                let uses = &mut self.uses[word as u32 as usize];
                *uses = (*uses + 1).min(3);
                true
            }
            _ => false,
        }
    }

    /// Where the index word of `key` is, and what it says.
    fn find(&self, key: &Key, out: &mut Snapshot) -> Option<(usize, u64)> {
        let words = self.words();
        let place = key.place(&self.reader.plan.secrets, self.reader.plan.mask);
        for at in self.slots(&place) {
            let word = peek(&words[at]);
            if word != 0
                && word >> 48 == place.tag
                && self.reader.copy(words, word, out)
                && out.entry().is(key)
            {
                return Some((at, word));
            }
        }
        None
    }

    fn slots(&self, place: &Place) -> impl Iterator<Item = usize> + use<> {
        let index = self.reader.plan.index;
        place.buckets.into_iter().flat_map(move |bucket| (0..LINE).map(move |n| index + bucket * LINE + n))
    }

    /// Puts an entry in place of the one that its name has, if any: written out of place, then published by one store.
    ///
    /// # Errors
    /// A [`PutError`]; the table is then as it was, but for entries that made room in vain.
    pub fn put(&mut self, draft: &Draft, now: Monotonic) -> Result<(), PutError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        let result = draft.encode(&mut encoded).and_then(|()| self.put_words(draft, &encoded, now));
        self.encoded = encoded;
        result
    }

    fn put_words(&mut self, draft: &Draft, encoded: &[u64], now: Monotonic) -> Result<(), PutError> {
        let version = draft.version();
        let key = Key::of(&draft.name);
        let class = class_of(encoded.len());
        let mut scratch = std::mem::take(&mut self.scratch);
        let known = self.find(&key, &mut scratch).is_some();
        if !known && self.entries() >= self.capacity {
            self.evict(class, now);
        }
        let line = self.room(class, now);
        self.retire_given();
        let found = self.find(&key, &mut scratch);
        self.scratch = scratch;
        let line = line.ok_or(PutError::Full)?;
        let place = key.place(&self.reader.plan.secrets, self.reader.plan.mask);
        let (at, before) = found.unwrap_or_else(|| self.vacancy(&place));
        let uses = if found.is_some() { self.uses[before as u32 as usize] } else { 0 };
        let Some(record) = self.reader.plan.record(self.words(), line) else { return Err(PutError::Full) };
        write(record, encoded, version);
        let word = place.tag << 48 | (version & 0xffff) << 32 | u64::from(line);
        publish(&self.words()[at], word);
        if before != 0 {
            self.forget(before, found.is_none());
        }
        self.uses[line as usize] = uses;
        self.live[class] += 1;
        let entry = Queued { line, version };
        self.queues[class].insert(entry, found.is_some());
        let reader = &self.reader;
        self.queues[class].tidy(self.live[class], |entry| current(reader, entry));
        self.version = self.version.max(version);
        publish(&self.words()[head::VERSION], version);
        self.changed(line);
        Ok(())
    }

    /// A free word for a new name: in the emptier bucket, or that of the entry that expires first.
    fn vacancy(&self, place: &Place) -> (usize, u64) {
        let words = self.words();
        let free = place
            .buckets
            .map(|bucket| self.reader.plan.bucket(words, bucket).iter().filter(|w| peek(w) == 0).count());
        let bucket = place.buckets[usize::from(free[1] > free[0])];
        let first = self.reader.plan.index + bucket * LINE;
        if let Some(at) = (first..first + LINE).find(|at| peek(&words[*at]) == 0) {
            return (at, 0);
        }
        let oldest = self.slots(place).min_by_key(|at| {
            let word = peek(&words[*at]);
            self.reader.plan.record(words, word as u32).map_or(0, |record| peek(&record[0]))
        });
        oldest.map_or((first, peek(&words[first])), |at| (at, peek(&words[at])))
    }

    /// Frees the record of an index word that has been overwritten or cleared.
    fn forget(&mut self, word: u64, evicted: bool) {
        let line = word as u32;
        let Some(record) = self.reader.plan.record(self.words(), line) else { return };
        let class = class_of((peek(&record[1]) & 0xffff) as usize);
        self.live[class] = self.live[class].saturating_sub(1);
        self.alloc.release(line);
        self.evictions += u64::from(evicted);
    }

    /// A place for a record of the class, giving up entries where there is none.
    fn room(&mut self, class: usize, now: Monotonic) -> Option<u32> {
        if let Some(line) = self.alloc.take(class) {
            return Some(line);
        }
        if self.live[class] > 0 && self.evict_of(class, now) {
            return self.alloc.take(class);
        }
        let chunk = self.alloc.poorest(class)?;
        for line in self.alloc.lines_of(chunk) {
            self.evict_line(line);
        }
        self.alloc.regive(chunk, class);
        self.alloc.take(class)
    }

    /// Marks every place of newly given chunks where a record could have begun.
    fn retire_given(&mut self) {
        while let Some(chunk) = self.alloc.given() {
            let words = self.words();
            let first = self.reader.plan.data + chunk as usize * CHUNK * LINE;
            for line in 0..CHUNK {
                retire(&words[first + line * LINE]);
            }
        }
    }

    fn evict(&mut self, class: usize, now: Monotonic) {
        let richest = (0..CLASSES.len()).max_by_key(|c| self.live[*c]).unwrap_or(class);
        let class = if self.live[class] > 0 { class } else { richest };
        self.evict_of(class, now);
    }

    fn evict_of(&mut self, class: usize, now: Monotonic) -> bool {
        let mut queues = std::mem::take(&mut self.queues[class]);
        let victim = queues.victim(|entry| {
            if !current(&self.reader, entry) {
                return None;
            }
            let uses = &mut self.uses[entry.line as usize];
            let used = std::mem::replace(uses, uses.saturating_sub(1));
            Some(if self.useless(entry.line, now) { 0 } else { used })
        });
        self.queues[class] = queues;
        victim.is_some_and(|entry| self.evict_line(entry.line))
    }

    /// Whether both families of a record have expired.
    fn useless(&self, line: u32, now: Monotonic) -> bool {
        let words = self.words();
        let Some(record) = self.reader.plan.record(words, line) else { return true };
        let Some(shape) = crate::record::Shape::of(peek(&record[1])) else { return true };
        let blocks = shape.has.iter().filter(|has| **has).count();
        (0..blocks).all(|n| peek(&record[layout::RECORD_HEAD + n * layout::BLOCK + 3]) >> 16 <= now.as_ms())
    }

    fn evict_line(&mut self, line: u32) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let readable = self.reader.copy_at(self.words(), line, None, &mut scratch);
        let name = hither_wire::name::Name::from_wire(scratch.name());
        let found = match name {
            Ok(name) if readable => {
                self.find(&Key::of(&name), &mut scratch).filter(|(_, word)| *word as u32 == line)
            }
            _ => None,
        };
        self.scratch = scratch;
        let Some((at, word)) = found else { return false };
        publish(&self.words()[at], 0);
        self.forget(word, true);
        self.changed(0);
        true
    }

    /// Takes an entry out; `false` if there is none.
    pub fn remove(&mut self, key: &Key) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let found = self.find(key, &mut scratch);
        self.scratch = scratch;
        let Some((at, word)) = found else { return false };
        publish(&self.words()[at], 0);
        self.forget(word, false);
        self.changed(0);
        true
    }

    /// Takes everything out, at once: what has a lower version counts as gone.
    pub fn flush_all(&mut self) {
        let version = self.next_version();
        publish(&self.words()[head::FLUSHED], version);
        publish(&self.words()[head::VERSION], version);
        self.changed(0);
    }

    /// Tells followers. Line 0: look again.
    fn changed(&self, line: u32) {
        let words = self.words();
        let change = peek(&words[head::CHANGES]);
        let slot = self.reader.plan.ring + (change as usize & SLOTS_MASK);
        publish(&words[slot], change << 32 | u64::from(line));
        publish(&words[head::CHANGES], change.wrapping_add(1));
    }

    /// Wakes those who wait for a change; a system call, so once for any number of changes.
    #[cfg(not(loom))]
    pub fn wake_followers(&self) {
        crate::futex::wake(&self.words()[head::CHANGES]);
    }

    /// Entries, flushed ones that still take space included.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.live.iter().sum()
    }

    /// Entries that made room for others.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Changes so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        peek(&self.words()[head::CHANGES])
    }

    /// Shows the counters to readers.
    pub fn set_counters(&self, counters: &Counters) {
        for (word, value) in self.words()[head::COUNTERS..].iter().zip(counters.0) {
            set(word, value);
        }
    }

    /// Tells readers where the daemon answers.
    pub fn set_dns_address(&self, address: Option<SocketAddr>) {
        let words = self.words();
        let (family, octets, port) = match address {
            Some(SocketAddr::V4(v4)) => {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&v4.ip().octets());
                (4, octets, v4.port())
            }
            Some(SocketAddr::V6(v6)) => (6, v6.ip().octets(), v6.port()),
            None => (0, [0; 16], 0),
        };
        let half = |octets: &[u8]| octets.iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet));
        set(&words[head::DNS + 1], half(&octets[..8]));
        set(&words[head::DNS + 2], half(&octets[8..]));
        set(&words[head::DNS], family << 16 | u64::from(port));
    }

    /// Tells readers who writes, and in which boot of the host.
    pub fn set_owner(&self, pid: u32, boot: [u64; 2]) {
        let words = self.words();
        set(&words[head::PID], u64::from(pid));
        set(&words[head::BOOT], boot[0]);
        set(&words[head::BOOT + 1], boot[1]);
        publish(&words[head::STATE], LIVE);
    }

    /// Notes how far the wall clock is ahead of the table's, by which readers notice that they live in another time namespace.
    /// To be called about once a second, since the wall clock can be set.
    #[cfg(not(loom))]
    pub fn note_clocks(&self) {
        set(&self.words()[head::CLOCK_OFFSET], crate::time::clock_offset_ms());
    }

    /// The daemon stops in good order. Entries stay readable until they expire.
    pub fn close(&mut self) {
        publish(&self.words()[head::STATE], CLOSED);
        self.changed(0);
        #[cfg(not(loom))]
        self.wake_followers();
    }
}

/// Whether the record at a line is still the one that was queued, and in the index.
fn current(reader: &Reader, entry: &Queued) -> bool {
    let words = reader.words();
    let Some(record) = reader.plan.record(words, entry.line) else { return false };
    if peek(&record[0]) != entry.version << 1 {
        return false;
    }
    let Some(shape) = crate::record::Shape::of(peek(&record[1])) else { return false };
    let at = shape.key();
    let mut key = Key { words: [0; crate::key::KEY_WORDS], len: shape.key_len };
    for (word, from) in key.words.iter_mut().zip(&record[at..at + shape.key_len.div_ceil(8)]) {
        *word = peek(from);
    }
    let place = key.place(&reader.plan.secrets, reader.plan.mask);
    let word = place.tag << 48 | (entry.version & 0xffff) << 32 | u64::from(entry.line);
    place
        .buckets
        .into_iter()
        .any(|bucket| reader.plan.bucket(words, bucket).iter().any(|slot| peek(slot) == word))
}
