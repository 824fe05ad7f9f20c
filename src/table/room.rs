//! Making room: which entry goes, and how a chunk of records of one size becomes one of another.

use crate::key::{KEY_WORDS, Key, Place};
use crate::layout::{BLOCK, CHUNK, LINE, RECORD_HEAD};
use crate::record::Shape;
use crate::seqlock::{peek, publish, retire, write};
use crate::steps::step;
use crate::sync::AtomicU64;
use crate::time::Monotonic;
use crate::writer::{Writer, index_word};

/// Entries given up for one record before a chunk is emptied at the cost of others.
const GIVEN_UP: usize = 8;
/// Index words that are looked at for an expired entry before a living one has to go.
const SWEPT: usize = 2 * LINE;
/// Index words of a predecessor's that are looked at when there is no room before all are known.
const SLICE: usize = 4096;

impl Writer {
    /// A place for a record of the class, giving up entries where there is none. The work is bounded: by the entries given up, by
    /// the records of a chunk, and while a predecessor's table is being taken over by what it left.
    pub(crate) fn room(&mut self, class: usize, now: Monotonic) -> Option<u32> {
        let mut line = self.alloc.take(class);
        while line.is_none() && self.recovering() {
            self.inherit_more(SLICE, now);
            line = self.alloc.take(class);
        }
        if line.is_none() {
            line = self.evacuate(class, false);
        }
        for _ in 0..GIVEN_UP {
            if line.is_some() || !self.evict(now) {
                break;
            }
            line = self.alloc.take(class).or_else(|| self.evacuate(class, false));
        }
        line = line.or_else(|| self.evacuate(class, true));
        self.retire_given();
        line
    }

    /// Marks every place of newly given chunks where a record could have begun.
    fn retire_given(&mut self) {
        while let Some(chunk) = self.alloc.given() {
            step();
            let words = self.words();
            let first = self.reader.plan.data + chunk as usize * CHUNK * LINE;
            retire((0..CHUNK).map(|line| &words[first + line * LINE]));
        }
    }

    /// Gives up one entry: an expired one where the sweep finds one, else the one least asked for.
    pub(crate) fn evict(&mut self, now: Monotonic) -> bool {
        if let Some(line) = self.expired(now) {
            return self.evict_line(line);
        }
        let alloc = &mut self.alloc;
        let victim = self.queues.victim(|spot| alloc.is_current(spot).then(|| alloc.forget_use(spot.line())));
        victim.is_some_and(|spot| self.evict_line(spot.line()))
    }

    /// An entry whose time is over, from the next few of the index: over all evictions every entry is looked at.
    fn expired(&mut self, now: Monotonic) -> Option<u32> {
        let (first, past) = (self.reader.plan.index, self.reader.plan.data);
        let index = &self.words()[first..past];
        let from = self.sweep;
        let (before, after) = index.split_at(from);
        let after = after.get(..SWEPT).unwrap_or(after);
        let before = before.get(..SWEPT - after.len()).unwrap_or(before);
        let over = |slot: &AtomicU64| {
            let line = peek(slot) as u32;
            line != 0 && self.alloc.in_use(line) && self.useless(line, now)
        };
        let at = after.iter().position(over).map(|at| from + at).or_else(|| before.iter().position(over));
        let found = at.map(|at| (at, peek(&index[at]) as u32));
        let last = at.unwrap_or(from + SWEPT - 1);
        self.sweep = (last + 1) % (past - first);
        found.map(|(_, line)| line)
    }

    /// Whether every family of a record has expired.
    fn useless(&self, line: u32, now: Monotonic) -> bool {
        let Some(record) = self.reader.plan.record(self.words(), line) else { return true };
        let families = record.get(1).map_or(0, |shape| peek(shape) >> 40 & 3).count_ones();
        let over =
            |n| record.get(RECORD_HEAD + BLOCK * n + 3).is_none_or(|end| peek(end) >> 16 <= now.as_ms());
        (families == 0 || over(0)) && (families < 2 || over(1))
    }

    /// Where the index leads to the record at a line, and where its name may stand.
    fn slot_of(&self, line: u32) -> Option<(usize, u64, Place)> {
        let record = self.reader.plan.record(self.words(), line)?;
        let shape = Shape::of(peek(record.get(1)?))?;
        let mut key = Key { words: [0; KEY_WORDS], len: shape.key_len() };
        for (word, own) in key.words.iter_mut().zip(record.get(shape.key()..shape.v4())?) {
            *word = peek(own);
        }
        let place = self.place(&key);
        let word = index_word(&place, peek(record.first()?) >> 1, line);
        let at = self.slots(&place).find(|at| self.words().get(*at).is_some_and(|own| peek(own) == word))?;
        Some((at, word, place))
    }

    pub(crate) fn evict_line(&mut self, line: u32) -> bool {
        let Some((at, word, place)) = self.slot_of(line) else { return false };
        step();
        publish(&self.words()[at], 0);
        step();
        if self.alloc.uses(line) == 0 {
            self.queues.gone(place.hash);
        }
        self.forget(word, true);
        self.changed(0);
        true
    }

    /// Empties a chunk of another class and gives it to this one: its records move to free places of their own class, as they are,
    /// and readers follow the index words. Where there are no such places, only with `at_a_cost`: those that find none are given up.
    fn evacuate(&mut self, class: usize, at_a_cost: bool) -> Option<u32> {
        let chunk = self.alloc.poorest(class, at_a_cost)?;
        for line in self.alloc.seal(chunk) {
            if !self.move_line(line) {
                self.evict_line(line);
            }
            // A record that the index does not lead to, which cannot be, must not keep the chunk.
            if self.alloc.in_use(line) {
                self.live -= 1;
                self.alloc.release(line);
            }
        }
        self.alloc.regive(class);
        self.alloc.take(class)
    }

    fn move_line(&mut self, line: u32) -> bool {
        let Some((at, _, place)) = self.slot_of(line) else { return false };
        let mut copy = self.scratch.take().unwrap_or_default();
        let readable = self.reader.copy_at(line, None, &mut copy);
        let copy = self.scratch.insert(copy);
        if !readable {
            return false;
        }
        let (version, words) = (copy.version(), &copy.words[..copy.shape.words()]);
        let Some(to) = self.alloc.take(crate::alloc::class_of(words.len())) else { return false };
        let Some(record) = self.reader.plan.record(self.reader.words(), to) else { return false };
        write(record, words, version);
        step();
        publish(&self.reader.words()[at], index_word(&place, version, to));
        let uses = self.alloc.uses(line);
        self.alloc.set_uses(to, uses);
        self.alloc.release(line);
        self.queues.insert(self.alloc.spot(to), 0, uses > 0);
        true
    }
}
