//! Space for records: chunks of one size class each, freed records reused last, so that late readers still find them.
//!
//! Private to the writer; nothing here is part of the ABI.

use crate::layout::{CHUNK, CLASSES, LINE};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::collections::VecDeque;
use std::sync::Arc;

/// A freed record is not reused before so many others of its class have been freed.
const QUARANTINE: usize = 1024;
/// Class of a chunk that has none: it is in the pool, or what a predecessor left there has not been looked at.
const NONE: u8 = u8::MAX;
/// A record that the index leads to begins at this line.
const IN_USE: u8 = 0x80;
/// The line is in one of the lists of free ones.
const LISTED: u8 = 0x40;
/// How often the record was asked for since eviction last looked.
const USES: u8 = 3;

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
    /// Freed records, oldest first.
    freed: [VecDeque<u32>; CLASSES.len()],
    /// Chunks that got a class and whose former records have not been retired yet.
    given: Vec<u32>,
    /// Of each line: `IN_USE`, `LISTED`, `USES`.
    lines: Uses,
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
            given: Vec::new(),
            lines: Uses((0..lines).map(|_| AtomicU8::new(0)).collect()),
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

    /// Takes a record of the class, from a free chunk rather than from quarantine; `None`: something must be given up first.
    pub fn take(&mut self, class: usize) -> Option<u32> {
        if self.fresh[class].is_empty()
            && self.freed[class].len() <= QUARANTINE
            && let Some(chunk) = self.pool.pop()
        {
            self.give(chunk, class);
        }
        let line = self.fresh[class].pop().or_else(|| self.freed[class].pop_front())?;
        self.set_line(line, IN_USE);
        self.used[line as usize / CHUNK] += 1;
        Some(line)
    }

    fn give(&mut self, chunk: u32, class: usize) {
        self.chunks[chunk as usize] = class as u8;
        self.given.push(chunk);
        let first = chunk * CHUNK as u32;
        for line in (first..first + CHUNK as u32).step_by(CLASSES[class]).rev().filter(|line| *line != 0) {
            self.set_line(line, LISTED);
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
        self.set_line(line, 0);
        if self.sealed != Some(chunk as u32) {
            self.set_line(line, LISTED);
            self.freed[usize::from(self.chunks[chunk])].push_back(line);
        }
    }

    /// The chunk of another class that is cheapest to empty for `class`, and whether all of its records would find places elsewhere.
    pub fn poorest(&self, class: usize) -> Option<(u32, bool)> {
        let others = (0..self.chunks.len())
            .filter(|c| self.chunks[*c] != NONE && usize::from(self.chunks[*c]) != class);
        let chunk = others.min_by_key(|c| self.used[*c])?;
        let own = usize::from(self.chunks[chunk]);
        let free = self.fresh[own].len() + self.freed[own].len();
        let free_there = CHUNK / CLASSES[own] - usize::from(self.used[chunk]);
        Some((chunk as u32, free.saturating_sub(free_there) >= usize::from(self.used[chunk])))
    }

    /// Takes a chunk's free records out of the lists, so that it can be emptied; the places that are in use.
    pub fn seal(&mut self, chunk: u32) -> Vec<u32> {
        self.sealed = Some(chunk);
        let class = usize::from(self.chunks[chunk as usize]);
        let elsewhere = |line: &u32| line / CHUNK as u32 != chunk;
        self.fresh[class].retain(elsewhere);
        self.freed[class].retain(elsewhere);
        let first = chunk * CHUNK as u32;
        (first..first + CHUNK as u32).filter(|line| self.in_use(*line)).collect()
    }

    /// Gives the sealed chunk, now empty, to another class.
    pub fn regive(&mut self, class: usize) {
        if let Some(chunk) = self.sealed.take() {
            let first = chunk * CHUNK as u32;
            (first..first + CHUNK as u32).for_each(|line| self.set_line(line, 0));
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
        self.set_line(line, IN_USE);
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
                    self.set_line(line as u32, LISTED);
                    self.freed[usize::from(self.chunks[chunk])].push_back(line as u32);
                }
            }
        }
    }
}
