//! Storing an entry: its record is written to free space and published by one store of the index
//! word.

use crate::alloc::class_of;
use crate::draft::{Draft, PutError};
use crate::key::{Key, Place};
use crate::layout::{LINE, head};
use crate::owned::Record;
use crate::record::Snapshot;
use crate::seqlock::{peek, publish, write};
use crate::shape::Shape;
use crate::steps::step;
use crate::time::Monotonic;
use crate::writer::{Writer, index_word};

/// The place where the index has a name or may have it, found by [`Writer::look`]. Valid until the
/// next change of the table.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    place: Place,
    /// The position of the index word, and its value.
    found: Option<(usize, u64)>,
    taken: bool,
    /// The number of changes at that time.
    changes: u64,
}

impl Slot {
    /// Whether the name has an entry that has not been flushed.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.taken
    }
}

impl Writer {
    /// Like [`Writer::get`], for a caller that will store the name: the result saves
    /// [`Writer::put_at`] a second lookup.
    pub fn look(&mut self, key: &Key, out: &mut Snapshot) -> Slot {
        let place = self.place(key);
        let mut found = self.seek(key, &place, out);
        if found.is_none() && self.takeover.is_some() && self.inherit(key) {
            found = self.seek(key, &place, out);
        }
        let taken = found.is_some() && out.version() >= peek(&self.words()[head::FLUSHED]);
        if !taken {
            out.shape = Shape::default();
        }
        Slot { place, found, taken, changes: self.changes() }
    }

    /// Stores an entry, which replaces the one that its name has. Returns a copy of its record.
    ///
    /// # Errors
    /// A [`PutError`]. The table is then as it was, except that other entries may have been
    /// evicted.
    pub fn put(&mut self, draft: &Draft, now: Monotonic) -> Result<Record, PutError> {
        let key = Key::of(&draft.name);
        let slot = self.slot(&key);
        self.put_at(&key, &slot, draft, now)
    }

    /// Like [`Writer::put`], for a name that [`Writer::look`] has looked up; `key` is that of the
    /// name.
    ///
    /// # Errors
    /// As for [`Writer::put`].
    pub fn put_at(
        &mut self,
        key: &Key,
        slot: &Slot,
        draft: &Draft,
        now: Monotonic,
    ) -> Result<Record, PutError> {
        let mut encoded = std::mem::take(&mut self.buffers.encoded);
        let version = draft.version();
        let result = draft.encode(key, &mut encoded).and_then(|()| {
            self.put_words(key, slot, &encoded, version, now)?;
            Record::written(&encoded, version).ok_or(PutError::Malformed)
        });
        self.buffers.encoded = encoded;
        let record = result?;
        step();
        self.disinherit(key);
        self.version = self.version.max(version);
        step();
        publish(&self.words()[head::VERSION], version);
        Ok(record)
    }

    /// The present place of a name in the index, flushed or not.
    pub(crate) fn slot(&mut self, key: &Key) -> Slot {
        let place = self.place(key);
        let found = self.found(key, &place);
        Slot { place, found, taken: found.is_some(), changes: self.changes() }
    }

    fn found(&mut self, key: &Key, place: &Place) -> Option<(usize, u64)> {
        let mut scratch = self.buffers.scratch.take().unwrap_or_default();
        let found = self.seek(key, place, &mut scratch);
        self.buffers.scratch = Some(scratch);
        found
    }

    /// Stores an encoded record under its version, which may be lower than the last one published.
    pub(crate) fn put_words(
        &mut self,
        key: &Key,
        slot: &Slot,
        encoded: &[u64],
        version: u64,
        now: Monotonic,
    ) -> Result<(), PutError> {
        let (class, place) = (class_of(encoded.len()), slot.place);
        let mut found = if slot.changes == self.changes() { slot.found } else { self.found(key, &place) };
        if found.is_none() && self.entries() >= self.capacity {
            self.evict(now);
        }
        let line = self.allocate(class, now).ok_or(PutError::Full)?;
        if found.is_some_and(|(at, word)| peek(&self.words()[at]) != word) {
            // The eviction has moved or evicted this very entry.
            found = self.found(key, &place);
        }
        let (at, before) = found.unwrap_or_else(|| self.vacancy(&place));
        let Some(record) = self.reader.plan.record(self.words(), line) else { return Err(PutError::Full) };
        step();
        write(record, encoded, version);
        step();
        publish(&self.words()[at], index_word(&place, version, line));
        step();
        if found.is_some() {
            let uses = self.alloc.uses(before as u32);
            self.alloc.set_uses(line, uses);
        }
        if before != 0 {
            self.forget(before, found.is_none());
        }
        self.live += 1;
        self.queues.insert(self.alloc.spot(line), place.hash, found.is_some());
        self.queues.tidy(self.live, |spot| self.alloc.is_current(spot));
        self.changed(line);
        Ok(())
    }

    /// The index word for a new name: a free one in the emptier bucket, else that of the entry with
    /// the lowest version.
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
}
