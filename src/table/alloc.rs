//! Space for records: chunks of one size class each, freed records reused last, so that late readers still find them.
//!
//! Private to the writer; nothing here is part of the ABI.

use crate::layout::{CHUNK, CLASSES, LINE};
use std::collections::VecDeque;

/// A freed record is not reused before so many others of its class have been freed.
const QUARANTINE: usize = 1024;
const FREE: u8 = u8::MAX;

/// The class of a record of so many words.
pub(crate) fn class_of(words: usize) -> usize {
    CLASSES.partition_point(|lines| lines * LINE < words)
}

#[derive(Debug)]
pub(crate) struct Alloc {
    /// Each chunk's class, or `FREE`.
    chunks: Vec<u8>,
    /// Live records of each chunk.
    live: Vec<u16>,
    pool: Vec<u32>,
    /// Records never used since their chunk was given to the class.
    fresh: [Vec<u32>; CLASSES.len()],
    /// Freed records, oldest first.
    freed: [VecDeque<u32>; CLASSES.len()],
    /// Chunks that got a class and whose former records have not been retired yet.
    given: Vec<u32>,
}

impl Alloc {
    /// All `lines` free. The first record of the first chunk is never given out: line 0 stands for none.
    pub fn new(lines: usize) -> Self {
        let chunks = lines / CHUNK;
        let mut pool: Vec<u32> = (0..chunks as u32).collect();
        pool.reverse();
        Self {
            chunks: vec![FREE; chunks],
            live: vec![0; chunks],
            pool,
            fresh: Default::default(),
            freed: Default::default(),
            given: Vec::new(),
        }
    }

    /// Takes a record of the class, from a free chunk rather than from quarantine; `None`: something must be given up first.
    pub fn take(&mut self, class: usize) -> Option<u32> {
        if self.fresh[class].is_empty() && self.freed[class].len() <= QUARANTINE {
            self.open_chunk(class);
        }
        let line = self.fresh[class].pop().or_else(|| self.freed[class].pop_front())?;
        self.live[line as usize / CHUNK] += 1;
        Some(line)
    }

    fn open_chunk(&mut self, class: usize) {
        if let Some(chunk) = self.pool.pop() {
            self.give(chunk, class);
        }
    }

    fn give(&mut self, chunk: u32, class: usize) {
        self.chunks[chunk as usize] = class as u8;
        self.given.push(chunk);
        let first = chunk * CHUNK as u32;
        let lines = (first..first + CHUNK as u32).step_by(CLASSES[class]);
        self.fresh[class].extend(lines.filter(|line| *line != 0).rev());
    }

    /// A chunk that has just got a class: before anything is written there, whatever stood in it must be marked as gone. A reader
    /// may still look for a record of the former class, whose first word the new ones need not touch.
    pub fn given(&mut self) -> Option<u32> {
        self.given.pop()
    }

    pub fn release(&mut self, line: u32) {
        let chunk = line as usize / CHUNK;
        self.live[chunk] -= 1;
        self.freed[usize::from(self.chunks[chunk])].push_back(line);
    }

    /// The chunk, of another class, with the fewest live records: to be emptied for `class`.
    pub fn poorest(&self, class: usize) -> Option<u32> {
        let others = (0..self.chunks.len())
            .filter(|c| self.chunks[*c] != FREE && usize::from(self.chunks[*c]) != class);
        others.min_by_key(|c| self.live[*c]).map(|c| c as u32)
    }

    /// Places of a chunk that may hold records.
    pub fn lines_of(&self, chunk: u32) -> impl Iterator<Item = u32> + use<> {
        let first = chunk * CHUNK as u32;
        let class = self.chunks[chunk as usize];
        let step = CLASSES.get(usize::from(class)).copied().unwrap_or(CHUNK);
        (first..first + CHUNK as u32).step_by(step)
    }

    /// Gives a chunk without live records to another class.
    pub fn regive(&mut self, chunk: u32, class: usize) {
        let before = usize::from(self.chunks[chunk as usize]);
        let elsewhere = |line: &u32| line / CHUNK as u32 != chunk;
        self.fresh[before].retain(elsewhere);
        self.freed[before].retain(elsewhere);
        self.give(chunk, class);
    }

    /// Takes up a record that a predecessor left; `false` if it cannot stand there.
    pub fn adopt(&mut self, line: u32, class: usize) -> bool {
        let chunk = line as usize / CHUNK;
        let aligned = (line as usize % CHUNK).is_multiple_of(CLASSES[class]);
        let Some(owner) = self.chunks.get_mut(chunk) else { return false };
        if !aligned || line == 0 || (*owner != FREE && usize::from(*owner) != class) {
            return false;
        }
        *owner = class as u8;
        self.live[chunk] += 1;
        true
    }

    /// After all records have been adopted: what they left of their chunks is free.
    pub fn adopted(&mut self, is_live: impl Fn(u32) -> bool) {
        self.pool.retain(|chunk| self.chunks[*chunk as usize] == FREE);
        for chunk in 0..self.chunks.len() as u32 {
            let class = usize::from(self.chunks[chunk as usize]);
            if class < CLASSES.len() {
                let free: Vec<u32> =
                    self.lines_of(chunk).filter(|line| *line != 0 && !is_live(*line)).collect();
                self.freed[class].extend(free);
            }
        }
    }
}
