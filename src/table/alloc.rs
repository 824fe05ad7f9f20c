//! Allocation of space for records, in chunks of one size class each. Freed records are reused
//! last, so that late readers still find them intact.
//!
//! Private to the writer: nothing here is part of the ABI.

use crate::fifo::Fifo;
use crate::layout::{CHUNK, CLASSES, LINE, METRICS_CHUNKS};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::Arc;

/// A freed record is not reused before this many others of its class have been freed.
const QUARANTINE_MIN: usize = 1024;
/// The class of a chunk that has none: it is in the pool, or holds a predecessor's records that
/// have not been checked yet.
const NONE: u8 = u8::MAX;
/// A record to which the index leads begins at this line.
const IN_USE: u8 = 0x80;
/// The line is in a list of free records.
const LISTED: u8 = 0x40;
/// The generation counter: the last four bits of how often the line was given out or withdrawn.
const GENERATIONS: u8 = 0x3c;
const GENERATION: u8 = 0x04;
/// Uses of the record since eviction last looked, at most three.
const USES: u8 = 3;
/// Bits of a line in a [`Spot`]: enough for four times the largest table.
const SPOT_LINE: u32 = 28;
const LINE_OF_SPOT: u32 = (1 << SPOT_LINE) - 1;
/// Entries that a list may have beyond twice the valid ones before it is compacted.
const SLACK_MAX: usize = 1024;
/// Chunks that are compared at most when one is to be emptied.
const COMPARED_MAX: usize = 4096;

/// A line and its generation: how queues and lists refer to a record. Valid while the line has that
/// generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spot(pub u32);

impl Spot {
    pub fn line(self) -> u32 {
        self.0 & LINE_OF_SPOT
    }

    fn generation(self) -> u8 {
        (self.0 >> SPOT_LINE) as u8 * GENERATION
    }
}

/// Use counts of records: threads that answer from the table note uses here, and eviction reads
/// them.
///
/// Notes do not order other memory accesses, and one may be lost.
#[derive(Clone, Debug)]
pub struct Uses(Arc<[AtomicU8]>);

impl Uses {
    /// Notes a use of the record at a line.
    pub fn note(&self, line: u32) {
        if let Some(line) = self.0.get(line as usize) {
            let before = line.load(Relaxed);
            if before & USES < USES {
                // Not an addition: two at once could carry into the bits above.
                let _ = line.compare_exchange(before, before + 1, Relaxed, Relaxed);
            }
        }
    }
}

/// The smallest class for a record of that many words.
pub(crate) fn class_of(words: usize) -> usize {
    CLASSES.partition_point(|lines| lines * LINE < words)
}

#[derive(Debug)]
pub(crate) struct Alloc {
    /// The class of each chunk.
    chunks: Vec<u8>,
    /// The number of records in use in each chunk.
    used: Vec<u16>,
    /// Chunks without a class.
    pool: Vec<u32>,
    /// Records not used since their chunk got its class.
    fresh: [Vec<u32>; CLASSES.len()],
    /// Freed records, oldest first; some have been withdrawn since.
    freed: [Fifo; CLASSES.len()],
    /// The number of free records of each class.
    free: [usize; CLASSES.len()],
    /// Chunks that got a class, and whose former records have not been retired yet.
    given: Vec<u32>,
    /// For each line: `IN_USE`, `LISTED`, `GENERATIONS`, `USES`.
    lines: Uses,
    /// The chunk at which the search for one to empty continues.
    search: usize,
    /// The chunk that is being emptied, whose freed records are not given out again.
    sealed: Option<u32>,
}

impl Alloc {
    /// All of `lines` free, except for chunks that are `taken`, and for the first ones: they hold the
    /// metrics. So line 0, which stands for none, is never given out.
    pub fn new(lines: usize, taken: impl Fn(usize) -> bool) -> Self {
        let chunks = lines / CHUNK;
        Self {
            chunks: vec![NONE; chunks],
            used: vec![0; chunks],
            pool: (METRICS_CHUNKS..chunks)
                .rev()
                .filter(|chunk| !taken(*chunk))
                .map(|chunk| chunk as u32)
                .collect(),
            fresh: Default::default(),
            freed: Default::default(),
            free: [0; CLASSES.len()],
            given: Vec::new(),
            lines: Uses((0..lines).map(|_| AtomicU8::new(0)).collect()),
            search: 0,
            sealed: None,
        }
    }

    /// Whether the index leads to a record at the line.
    pub fn in_use(&self, line: u32) -> bool {
        self.line(line) & IN_USE != 0
    }

    fn line(&self, line: u32) -> u8 {
        self.lines.0.get(line as usize).map_or(0, |line| line.load(Relaxed))
    }

    /// Stores the state of a line. A use that another thread notes meanwhile may be lost; the other
    /// bits belong to the writer.
    fn set_line(&self, line: u32, value: u8) {
        if let Some(line) = self.lines.0.get(line as usize) {
            line.store(value, Relaxed);
        }
    }

    /// The use counts, for other threads to note uses.
    pub fn notes(&self) -> Uses {
        self.lines.clone()
    }

    /// Notes a use of the record at a line.
    pub fn use_line(&mut self, line: u32) {
        self.lines.note(line);
    }

    pub fn uses(&self, line: u32) -> u8 {
        self.line(line) & USES
    }

    /// Returns the use count and lowers it by one.
    pub fn forget_use(&mut self, line: u32) -> u8 {
        let uses = self.uses(line);
        self.set_uses(line, uses.saturating_sub(1));
        uses
    }

    pub fn set_uses(&mut self, line: u32, uses: u8) {
        self.set_line(line, self.line(line) & !USES | uses.min(USES));
    }

    /// The record at a line as queues refer to it.
    pub fn spot(&self, line: u32) -> Spot {
        Spot(u32::from((self.line(line) & GENERATIONS) / GENERATION) << SPOT_LINE | line & LINE_OF_SPOT)
    }

    fn has(&self, spot: Spot, state: u8) -> bool {
        self.line(spot.line()) & (IN_USE | LISTED | GENERATIONS) == state | spot.generation()
    }

    /// Whether the record is in use and still the one that was queued.
    pub fn is_current(&self, spot: Spot) -> bool {
        self.has(spot, IN_USE)
    }

    /// Begins another generation of a line.
    fn begin_generation(&mut self, line: u32, state: u8) {
        let generation = self.line(line).wrapping_add(GENERATION) & GENERATIONS;
        self.set_line(line, state | generation);
    }

    /// Marks a line as listed among the free records of its class.
    fn list(&mut self, line: u32) {
        let class = usize::from(self.chunks[line as usize / CHUNK]);
        self.set_line(line, LISTED | self.line(line) & GENERATIONS);
        self.free[class] += 1;
    }

    /// Takes a free record of the class, from a free chunk while the freed ones are in quarantine.
    /// `None` if there is none.
    pub fn take(&mut self, class: usize) -> Option<u32> {
        if self.fresh[class].is_empty()
            && self.free[class] <= QUARANTINE_MIN
            && let Some(chunk) = self.pool.pop()
        {
            self.give(chunk, class);
        }
        let line = self.fresh[class].pop().or_else(|| self.take_freed(class))?;
        self.begin_generation(line, IN_USE);
        self.free[class] -= 1;
        self.used[line as usize / CHUNK] += 1;
        Some(line)
    }

    fn take_freed(&mut self, class: usize) -> Option<u32> {
        loop {
            let spot = self.freed[class].pop_front()?;
            if self.is_free(spot, class) {
                return Some(spot.line());
            }
        }
    }

    fn is_free(&self, spot: Spot, class: usize) -> bool {
        self.has(spot, LISTED) && usize::from(self.chunks[spot.line() as usize / CHUNK]) == class
    }

    fn give(&mut self, chunk: u32, class: usize) {
        self.chunks[chunk as usize] = class as u8;
        self.given.push(chunk);
        let first = chunk * CHUNK as u32;
        for line in (first..first + CHUNK as u32).step_by(CLASSES[class]).rev() {
            self.list(line);
            self.fresh[class].push(line);
        }
    }

    /// A chunk that has just got a class. Before anything is written there, its former records must
    /// be retired: a reader may still look for one of them, and new records need not overwrite its
    /// first word.
    pub fn given(&mut self) -> Option<u32> {
        self.given.pop()
    }

    /// Frees a record to which the index no longer leads.
    pub fn release(&mut self, line: u32) {
        let chunk = line as usize / CHUNK;
        if !self.in_use(line) {
            return;
        }
        self.used[chunk] -= 1;
        self.set_line(line, self.line(line) & GENERATIONS);
        if self.sealed != Some(chunk as u32) {
            self.list(line);
            let spot = self.spot(line);
            self.freed[usize::from(self.chunks[chunk])].push_back(spot);
        }
    }

    /// A chunk of another class to be emptied for `class`, one of those with the fewest records.
    /// Unless `may_evict`, other chunks have space for its records.
    pub fn emptiest(&mut self, class: usize, may_evict: bool) -> Option<u32> {
        // A class with at least as many free records as a chunk has can take in all records of any
        // of its chunks.
        let may_shrink: [bool; CLASSES.len()] =
            std::array::from_fn(|c| c != class && (may_evict || self.free[c] >= CHUNK / CLASSES[c]));
        if !may_shrink.contains(&true) {
            return None;
        }
        let count = self.chunks.len();
        let (mut best, mut compared) = (None, 0);
        for n in 0..count {
            let chunk = (self.search + n) % count;
            if may_shrink.get(usize::from(self.chunks[chunk])) == Some(&true)
                && best.is_none_or(|(least, _)| self.used[chunk] < least)
            {
                best = Some((self.used[chunk], chunk));
            }
            compared += usize::from(best.is_some());
            if compared == COMPARED_MAX || best.is_some_and(|(least, _)| least == 0) {
                break;
            }
        }
        let (_, chunk) = best?;
        self.search = chunk + 1;
        Some(chunk as u32)
    }

    /// Removes a chunk's free records from the lists, so that it can be emptied. Returns the lines
    /// in use.
    pub fn seal(&mut self, chunk: u32) -> Vec<u32> {
        self.sealed = Some(chunk);
        let class = usize::from(self.chunks[chunk as usize]);
        self.fresh[class].retain(|line| line / CHUNK as u32 != chunk);
        let first = chunk * CHUNK as u32;
        for line in first..first + CHUNK as u32 {
            if self.line(line) & LISTED != 0 {
                self.begin_generation(line, 0);
                self.free[class] -= 1;
            }
        }
        if self.freed[class].len() > 2 * self.free[class] + SLACK_MAX {
            let mut list = std::mem::take(&mut self.freed[class]);
            // Twice, which removes more than one chunk adds.
            list.tidy(|spot| self.is_free(spot, class));
            list.tidy(|spot| self.is_free(spot, class));
            self.freed[class] = list;
        }
        (first..first + CHUNK as u32).filter(|line| self.in_use(*line)).collect()
    }

    /// Gives the sealed chunk, which is empty now, to another class.
    pub fn regive(&mut self, class: usize) {
        if let Some(chunk) = self.sealed.take() {
            self.give(chunk, class);
        }
    }

    /// Takes over a predecessor's record; `false` if no record of the class can begin at the line.
    pub fn adopt(&mut self, line: u32, class: usize) -> bool {
        let chunk = line as usize / CHUNK;
        let fits = (line as usize % CHUNK).is_multiple_of(CLASSES[class]) && !self.in_use(line);
        let Some(owner) = self.chunks.get_mut(chunk) else { return false };
        if !fits || chunk < METRICS_CHUNKS || (*owner != NONE && usize::from(*owner) != class) {
            return false;
        }
        *owner = class as u8;
        self.used[chunk] += 1;
        self.begin_generation(line, IN_USE);
        true
    }

    /// Ends a takeover: the rest of the chunks with adopted records is free.
    pub fn adopted(&mut self, taken: impl Fn(usize) -> bool) {
        for chunk in (METRICS_CHUNKS..self.chunks.len()).filter(|chunk| taken(*chunk)) {
            let Some(step) = CLASSES.get(usize::from(self.chunks[chunk])) else {
                self.pool.push(chunk as u32);
                continue;
            };
            for line in (chunk * CHUNK..(chunk + 1) * CHUNK).step_by(*step) {
                if self.line(line as u32) & (IN_USE | LISTED) == 0 {
                    self.list(line as u32);
                    let spot = self.spot(line as u32);
                    self.freed[usize::from(self.chunks[chunk])].push_back(spot);
                }
            }
        }
    }
}
