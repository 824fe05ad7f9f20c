//! Space for records: chunks of one size class each, freed records reused last, so that late readers still find them.
//!
//! Private to the writer; nothing here is part of the ABI.

use crate::fifo::Fifo;
use crate::layout::{CHUNK, CLASSES, LINE};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::Arc;

/// A freed record is not reused before so many others of its class have been freed.
const QUARANTINE: usize = 1024;
/// Class of a chunk that has none: it is in the pool, or what a predecessor left there has not been looked at.
const NONE: u8 = u8::MAX;
/// A record that the index leads to begins at this line.
const IN_USE: u8 = 0x80;
/// The line is in one of the lists of free ones.
const LISTED: u8 = 0x40;
/// How often the place was given out or withdrawn, of which the last four bits are kept.
const TURNS: u8 = 0x3c;
const TURN: u8 = 0x04;
/// How often the record was asked for since eviction last looked.
const USES: u8 = 3;
/// Bits of a line in a [`Spot`]: four times as many as the largest table has.
const SPOT_LINE: u32 = 28;
const LINE_OF_SPOT: u32 = (1 << SPOT_LINE) - 1;
/// Entries of a list beyond twice those that count before it is tidied.
const SLACK: usize = 1024;
/// Chunks that are compared when one is to be emptied.
const COMPARED: usize = 4096;

/// A place and its turn: what queues and lists remember of a record. It counts while the place has the same turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spot(pub u32);

impl Spot {
    pub fn line(self) -> u32 {
        self.0 & LINE_OF_SPOT
    }

    fn turn(self) -> u8 {
        (self.0 >> SPOT_LINE) as u8 * TURN
    }
}

/// How often records were asked for: threads that answer from the table note it here, where the writer looks when it needs room.
///
/// A note says nothing of any other memory, so its order does not matter; one that is lost is lost.
#[derive(Clone, Debug)]
pub struct Uses(Arc<[AtomicU8]>);

impl Uses {
    /// The record at a line was asked for.
    pub fn note(&self, line: u32) {
        if let Some(line) = self.0.get(line as usize) {
            let before = line.load(Relaxed);
            if before & USES < USES {
                // Not an addition: two at once must not touch the bits above.
                let _ = line.compare_exchange(before, before + 1, Relaxed, Relaxed);
            }
        }
    }
}

/// The class of a record of so many words.
pub(crate) fn class_of(words: usize) -> usize {
    CLASSES.partition_point(|lines| lines * LINE < words)
}

#[derive(Debug)]
pub(crate) struct Alloc {
    /// Each chunk's class.
    chunks: Vec<u8>,
    /// Records in use of each chunk.
    used: Vec<u16>,
    pool: Vec<u32>,
    /// Records never used since their chunk was given to the class.
    fresh: [Vec<u32>; CLASSES.len()],
    /// Freed records, oldest first, and some that have been withdrawn.
    freed: [Fifo; CLASSES.len()],
    /// Records of each class that are free.
    free: [usize; CLASSES.len()],
    /// Chunks that got a class and whose former records have not been retired yet.
    given: Vec<u32>,
    /// Of each line: `IN_USE`, `LISTED`, `TURNS`, `USES`.
    lines: Uses,
    /// Where the search for a chunk to be emptied goes on.
    search: usize,
    /// The chunk that is being emptied: what is freed there is not given out again.
    sealed: Option<u32>,
}

impl Alloc {
    /// All `lines` free but those of chunks that are `taken`. The first record of the first chunk is never given out: line 0
    /// stands for none.
    pub fn new(lines: usize, taken: impl Fn(usize) -> bool) -> Self {
        let chunks = lines / CHUNK;
        Self {
            chunks: vec![NONE; chunks],
            used: vec![0; chunks],
            pool: (0..chunks).rev().filter(|chunk| !taken(*chunk)).map(|chunk| chunk as u32).collect(),
            fresh: Default::default(),
            freed: Default::default(),
            free: [0; CLASSES.len()],
            given: Vec::new(),
            lines: Uses((0..lines).map(|_| AtomicU8::new(0)).collect()),
            search: 0,
            sealed: None,
        }
    }

    /// Whether the index leads to a record there.
    pub fn in_use(&self, line: u32) -> bool {
        self.line(line) & IN_USE != 0
    }

    fn line(&self, line: u32) -> u8 {
        self.lines.0.get(line as usize).map_or(0, |line| line.load(Relaxed))
    }

    /// The writer's own: whether a record is there. A use that is noted meanwhile may be lost, a bit of ours cannot.
    fn set_line(&self, line: u32, value: u8) {
        if let Some(line) = self.lines.0.get(line as usize) {
            line.store(value, Relaxed);
        }
    }

    /// Where other threads note what was asked for.
    pub fn notes(&self) -> Uses {
        self.lines.clone()
    }

    /// The record was asked for.
    pub fn use_line(&mut self, line: u32) {
        self.lines.note(line);
    }

    pub fn uses(&self, line: u32) -> u8 {
        self.line(line) & USES
    }

    /// How often the record was asked for, one of which is forgotten.
    pub fn forget_use(&mut self, line: u32) -> u8 {
        let uses = self.uses(line);
        self.set_uses(line, uses.saturating_sub(1));
        uses
    }

    pub fn set_uses(&mut self, line: u32, uses: u8) {
        self.set_line(line, self.line(line) & !USES | uses.min(USES));
    }

    /// The record at a line, for a queue.
    pub fn spot(&self, line: u32) -> Spot {
        Spot(u32::from((self.line(line) & TURNS) / TURN) << SPOT_LINE | line & LINE_OF_SPOT)
    }

    fn has(&self, spot: Spot, state: u8) -> bool {
        self.line(spot.line()) & (IN_USE | LISTED | TURNS) == state | spot.turn()
    }

    /// Whether the record is still the one that was queued.
    pub fn is_current(&self, spot: Spot) -> bool {
        self.has(spot, IN_USE)
    }

    /// Begins another turn of a place.
    fn turn(&mut self, line: u32, state: u8) {
        let turn = self.line(line).wrapping_add(TURN) & TURNS;
        self.set_line(line, state | turn);
    }

    /// Puts a place into one of the lists.
    fn list(&mut self, line: u32) {
        let class = usize::from(self.chunks[line as usize / CHUNK]);
        self.set_line(line, LISTED | self.line(line) & TURNS);
        self.free[class] += 1;
    }

    /// Takes a record of the class, from a free chunk rather than from quarantine; `None`: something must be given up first.
    pub fn take(&mut self, class: usize) -> Option<u32> {
        if self.fresh[class].is_empty()
            && self.free[class] <= QUARANTINE
            && let Some(chunk) = self.pool.pop()
        {
            self.give(chunk, class);
        }
        let line = self.fresh[class].pop().or_else(|| self.take_freed(class))?;
        self.turn(line, IN_USE);
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
        for line in (first..first + CHUNK as u32).step_by(CLASSES[class]).rev().filter(|line| *line != 0) {
            self.list(line);
            self.fresh[class].push(line);
        }
    }

    /// A chunk that has just got a class: before anything is written there, whatever stood in it must be marked as gone. A reader
    /// may still look for a record of the former class, whose first word the new ones need not touch.
    pub fn given(&mut self) -> Option<u32> {
        self.given.pop()
    }

    /// A record that the index no longer leads to.
    pub fn release(&mut self, line: u32) {
        let chunk = line as usize / CHUNK;
        if !self.in_use(line) {
            return;
        }
        self.used[chunk] -= 1;
        self.set_line(line, self.line(line) & TURNS);
        if self.sealed != Some(chunk as u32) {
            self.list(line);
            let spot = self.spot(line);
            self.freed[usize::from(self.chunks[chunk])].push_back(spot);
        }
    }

    /// A chunk of another class that is to be emptied for `class`, one of the poorest. All of its records find places elsewhere; or else,
    /// with `at_a_cost`, some do not.
    pub fn poorest(&mut self, class: usize, at_a_cost: bool) -> Option<u32> {
        // With as many free places as a chunk has, the others have one for each record of any chunk.
        let spares: [bool; CLASSES.len()] =
            std::array::from_fn(|c| c != class && (at_a_cost || self.free[c] >= CHUNK / CLASSES[c]));
        if !spares.contains(&true) {
            return None;
        }
        let count = self.chunks.len();
        let (mut best, mut compared) = (None, 0);
        for n in 0..count {
            let chunk = (self.search + n) % count;
            if spares.get(usize::from(self.chunks[chunk])) == Some(&true)
                && best.is_none_or(|(least, _)| self.used[chunk] < least)
            {
                best = Some((self.used[chunk], chunk));
            }
            compared += usize::from(best.is_some());
            if compared == COMPARED || best.is_some_and(|(least, _)| least == 0) {
                break;
            }
        }
        let (_, chunk) = best?;
        self.search = chunk + 1;
        Some(chunk as u32)
    }

    /// Takes a chunk's free records out of the lists, so that it can be emptied; the places that are in use.
    pub fn seal(&mut self, chunk: u32) -> Vec<u32> {
        self.sealed = Some(chunk);
        let class = usize::from(self.chunks[chunk as usize]);
        self.fresh[class].retain(|line| line / CHUNK as u32 != chunk);
        let first = chunk * CHUNK as u32;
        for line in first..first + CHUNK as u32 {
            if self.line(line) & LISTED != 0 {
                self.turn(line, 0);
                self.free[class] -= 1;
            }
        }
        if self.freed[class].len() > 2 * self.free[class] + SLACK {
            let mut list = std::mem::take(&mut self.freed[class]);
            // More at a time than a chunk brings.
            list.tidy(|spot| self.is_free(spot, class));
            list.tidy(|spot| self.is_free(spot, class));
            self.freed[class] = list;
        }
        (first..first + CHUNK as u32).filter(|line| self.in_use(*line)).collect()
    }

    /// Gives the sealed chunk, now empty, to another class.
    pub fn regive(&mut self, class: usize) {
        if let Some(chunk) = self.sealed.take() {
            self.give(chunk, class);
        }
    }

    /// Takes up a record that a predecessor left; `false` if it cannot stand there.
    pub fn adopt(&mut self, line: u32, class: usize) -> bool {
        let chunk = line as usize / CHUNK;
        let fits = (line as usize % CHUNK).is_multiple_of(CLASSES[class]) && !self.in_use(line);
        let Some(owner) = self.chunks.get_mut(chunk) else { return false };
        if !fits || line == 0 || (*owner != NONE && usize::from(*owner) != class) {
            return false;
        }
        *owner = class as u8;
        self.used[chunk] += 1;
        self.turn(line, IN_USE);
        true
    }

    /// After all records have been adopted: what they left of their chunks is free.
    pub fn adopted(&mut self, taken: impl Fn(usize) -> bool) {
        for chunk in (0..self.chunks.len()).filter(|chunk| taken(*chunk)) {
            let Some(step) = CLASSES.get(usize::from(self.chunks[chunk])) else {
                self.pool.push(chunk as u32);
                continue;
            };
            for line in (chunk * CHUNK..(chunk + 1) * CHUNK).step_by(*step).filter(|line| *line != 0) {
                if self.line(line as u32) & (IN_USE | LISTED) == 0 {
                    self.list(line as u32);
                    let spot = self.spot(line as u32);
                    self.freed[usize::from(self.chunks[chunk])].push_back(spot);
                }
            }
        }
    }
}
