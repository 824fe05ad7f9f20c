//! Finds space for a record: by evicting entries, and by giving a chunk to another size class.

use crate::key::{KEY_WORDS, Key, Place};
use crate::layout::{BLOCK, CHUNK, LINE, RECORD_HEAD};
use crate::seqlock::{peek, publish, retire, write};
use crate::shape::Shape;
use crate::steps::step;
use crate::sync::AtomicU64;
use crate::time::Monotonic;
use crate::writer::{Writer, index_word};

/// Entries that are evicted for one record before a chunk is emptied by evicting all its entries.
const EVICTIONS_MAX: usize = 8;
/// Index words that are searched for an expired entry before another one is evicted.
const SWEPT_WORDS_MAX: usize = 2 * LINE;
/// Index words of a takeover that are checked at a time if there is no space before the takeover is
/// complete.
const SLICE_WORDS_MAX: usize = 4096;

impl Writer {
    /// A free line for a record of the class; evicts entries if there is none. The work is bounded
    /// by the number of evictions, the records of a chunk, and during a takeover the size of the
    /// predecessor's table.
    pub(crate) fn allocate(&mut self, class: usize, now: Monotonic) -> Option<u32> {
        let mut line = self.alloc.take(class);
        while line.is_none() && self.recovering() {
            self.inherit_more(SLICE_WORDS_MAX, now);
            line = self.alloc.take(class);
        }
        if line.is_none() {
            line = self.evacuate(class, false);
        }
        for _ in 0..EVICTIONS_MAX {
            if line.is_some() || !self.evict(now) {
                break;
            }
            line = self.alloc.take(class).or_else(|| self.evacuate(class, false));
        }
        line = line.or_else(|| self.evacuate(class, true));
        self.retire_given();
        line
    }

    /// Retires all former records of chunks that have got another class: every line where one could
    /// have begun.
    fn retire_given(&mut self) {
        while let Some(chunk) = self.alloc.given() {
            step();
            let words = self.words();
            let first = self.reader.plan.data + chunk as usize * CHUNK * LINE;
            retire((0..CHUNK).map(|line| &words[first + line * LINE]));
        }
    }

    /// Evicts one entry: an expired one if the search finds one, else the one that S3-FIFO chooses.
    pub(crate) fn evict(&mut self, now: Monotonic) -> bool {
        if let Some(line) = self.expired(now) {
            return self.evict_line(line);
        }
        let alloc = &mut self.alloc;
        let victim = self.queues.victim(|spot| alloc.is_current(spot).then(|| alloc.forget_use(spot.line())));
        victim.is_some_and(|spot| self.evict_line(spot.line()))
    }

    /// An expired entry among the next few of the index. Over many evictions the whole index is
    /// searched.
    fn expired(&mut self, now: Monotonic) -> Option<u32> {
        let (first, past) = (self.reader.plan.index, self.reader.plan.data);
        let index = &self.words()[first..past];
        let from = self.sweep;
        let (before, after) = index.split_at(from);
        let after = after.get(..SWEPT_WORDS_MAX).unwrap_or(after);
        let before = before.get(..SWEPT_WORDS_MAX - after.len()).unwrap_or(before);
        let over = |slot: &AtomicU64| {
            let line = peek(slot) as u32;
            line != 0 && self.alloc.in_use(line) && self.has_expired(line, now)
        };
        let at = after.iter().position(over).map(|at| from + at).or_else(|| before.iter().position(over));
        let found = at.map(|at| (at, peek(&index[at]) as u32));
        let last = at.unwrap_or(from + SWEPT_WORDS_MAX - 1);
        self.sweep = (last + 1) % (past - first);
        found.map(|(_, line)| line)
    }

    /// Whether every family of the record at a line has expired.
    fn has_expired(&self, line: u32, now: Monotonic) -> bool {
        let Some(record) = self.reader.plan.record(self.words(), line) else { return true };
        let families = record.get(1).map_or(0, |shape| peek(shape) >> 40 & 3).count_ones();
        let over =
            |n| record.get(RECORD_HEAD + BLOCK * n + 3).is_none_or(|end| peek(end) >> 16 <= now.as_ms());
        (families == 0 || over(0)) && (families < 2 || over(1))
    }

    /// The index word that leads to the record at a line: its position, its value, and the place of
    /// the name.
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

    /// Evicts the entry whose record is at a line; `false` if there is none.
    pub(crate) fn evict_line(&mut self, line: u32) -> bool {
        let Some((at, word, place)) = self.slot_of(line) else { return false };
        step();
        publish(&self.words()[at], 0);
        step();
        if self.alloc.uses(line) == 0 {
            self.queues.remember(place.hash);
        }
        self.forget(word, true);
        self.changed(0);
        true
    }

    /// Empties a chunk of another class and gives it to this one. Its records move to free lines of
    /// their own class, and readers follow the index words. Records for which there is no free line
    /// are evicted, but only with `may_evict`.
    fn evacuate(&mut self, class: usize, may_evict: bool) -> Option<u32> {
        let chunk = self.alloc.emptiest(class, may_evict)?;
        for line in self.alloc.seal(chunk) {
            if !self.move_line(line) {
                self.evict_line(line);
            }
            // If the index does not lead to a record, which would be a bug, it must not keep the
            // chunk from being reused.
            if self.alloc.in_use(line) {
                self.live -= 1;
                self.alloc.release(line);
            }
        }
        self.alloc.regive(class);
        self.alloc.take(class)
    }

    /// Moves the record at a line to a free line of its class; `false` if there is none.
    fn move_line(&mut self, line: u32) -> bool {
        let Some((at, _, place)) = self.slot_of(line) else { return false };
        let mut copy = self.buffers.scratch.take().unwrap_or_default();
        let readable = self.reader.copy_at(line, None, &mut copy);
        let copy = self.buffers.scratch.insert(copy);
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
        // A follower that has not come to the record's own change yet would find another one there.
        self.changed(to);
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::ring::Step;
    use crate::{Draft, FamilyDraft, Geometry, Memory, Snapshot};

    fn put(writer: &mut Writer, name: &str) {
        let version = writer.next_version();
        let a = Some(FamilyDraft::of(version, [[192, 0, 2, 1].into()], 1 << 30, 60));
        let draft = Draft { name: name.parse().expect("a name"), a, aaaa: None };
        writer.put(&draft, Monotonic(0)).expect("room");
    }

    #[test]
    fn a_follower_that_is_late_learns_of_an_entry_that_was_moved() {
        let geometry = Geometry { entries: 512 };
        let memory = Memory::heap(geometry.words());
        let mut writer = Writer::create(memory, &geometry, [1, 2], 3, 10).expect("a table");
        let mut follower = writer.reader().follow();
        let mut out = Snapshot::new();
        put(&mut writer, "moved.example");
        let line = |writer: &Writer| peek(&writer.words()[writer.reader.plan.ring]) as u32;
        let first = line(&writer);
        assert!(writer.move_line(first));
        // Another record takes its former place.
        let read = |writer: &Writer, out: &mut Snapshot| writer.reader.copy_at(first, None, out);
        let mut others = 0;
        while !read(&writer, &mut out) || out.name() == b"\x05moved\x07example\0" {
            put(&mut writer, "other.example");
            others += 1;
            assert!(others < 4000, "the line is not used again");
        }
        let mut seen = std::collections::BTreeSet::new();
        loop {
            match follower.step(&mut out) {
                Step::Record => seen.insert(out.name().to_vec()),
                Step::Nothing => break,
                other => panic!("{other:?}, so that the follower looks up again"),
            };
        }
        assert!(seen.contains(&b"\x05moved\x07example\0"[..]), "only {seen:?}");
    }
}
