//! The only memory orderings of the table's words: one writer publishes, readers copy and then check that nothing moved.
//!
//! After Boehm, "Can Seqlocks Get Along With Programming Language Memory Models?" (2012): the data are atomics, the writer puts a release
//! fence after it has marked the record, the reader an acquire fence before it looks at the mark again. Readers use relaxed loads
//! and fences alone, the only atomics that are allowed on read-only pages. The model checker proves it, and that each fence is needed
//! (`cargo test -p hither-table --features writer --release`, with `--cfg loom`).

use crate::sync::{AtomicU64, Ordering, fence};

/// A planted weakness, for the model checker to find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(dead_code)] // All but `None` are made by the model tests alone.
pub(crate) enum Weakness {
    None,
    NoWriterFence,
    NoReaderFence,
    NoSecondLook,
    NoNonce,
}

#[cfg(feature = "writer")]
/// Writes a record that no index word points to: readers that still hold an old word see it marked, or see its version changed.
pub(crate) fn write(record: &[AtomicU64], words: &[u64], version: u64) {
    write_weakly(record, words, version, Weakness::None);
}

#[cfg(feature = "writer")]
pub(crate) fn write_weakly(record: &[AtomicU64], words: &[u64], version: u64, weakness: Weakness) {
    let Some((mark, rest)) = record.split_first() else { return };
    mark.store(version << 1 | 1, Ordering::Relaxed);
    if weakness != Weakness::NoWriterFence {
        fence(Ordering::Release);
    }
    for (place, word) in rest.iter().zip(words.iter().skip(1)) {
        place.store(*word, Ordering::Relaxed);
    }
    mark.store(version << 1, Ordering::Release);
}

/// Marks records that are gone for good, since their space is about to be divided otherwise. The fence orders it before all that is
/// written there from now on, the marks of new records included, which [`write`] stores before its own fence.
#[cfg(feature = "writer")]
pub(crate) fn retire<'m>(marks: impl Iterator<Item = &'m AtomicU64>) {
    marks.for_each(|mark| mark.store(1, Ordering::Relaxed));
    fence(Ordering::Release);
}

#[cfg(feature = "writer")]
/// Makes what was written before visible to whoever sees `value`.
pub(crate) fn publish(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Release);
}

/// Keeps the reads that follow behind those before. What was written before a published word that was read is visible to them.
#[inline]
pub(crate) fn after_read() {
    fence(Ordering::Acquire);
}

/// Reads a published word, see [`after_read`].
#[inline]
pub(crate) fn observe(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    after_read();
    value
}

/// A word on its own, that orders nothing.
#[inline]
pub(crate) fn peek(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

#[cfg(feature = "writer")]
/// Sets a word that orders nothing.
pub(crate) fn set(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Relaxed);
}

/// Copies a record out, all of one version; `nonce` is what its index word says of that version. `length` finds the number of
/// words in the copy of word 1, or refuses. `None`: a writer was there, or it is another record by now.
#[inline]
pub(crate) fn read(
    record: &[AtomicU64],
    nonce: Option<u64>,
    out: &mut [u64],
    length: impl FnOnce(u64) -> Option<usize>,
) -> Option<usize> {
    read_weakly(record, nonce, out, length, Weakness::None)
}

#[inline]
pub(crate) fn read_weakly(
    record: &[AtomicU64],
    nonce: Option<u64>,
    out: &mut [u64],
    length: impl FnOnce(u64) -> Option<usize>,
    weakness: Weakness,
) -> Option<usize> {
    let mark = record.first()?.load(Ordering::Relaxed);
    let other = nonce.is_some_and(|nonce| weakness != Weakness::NoNonce && (mark >> 1) & 0xffff != nonce);
    if mark & 1 == 1 || other {
        return None;
    }
    after_read();
    let shape = record.get(1)?.load(Ordering::Relaxed);
    let words = length(shape)?;
    let from = record.get(2..words)?;
    let ([first, second], to) = out.get_mut(..words)?.split_first_chunk_mut()?;
    (*first, *second) = (mark, shape);
    for (place, word) in to.iter_mut().zip(from) {
        *place = word.load(Ordering::Relaxed);
    }
    if weakness != Weakness::NoReaderFence {
        after_read();
    }
    let again = record.first()?.load(Ordering::Relaxed);
    (again == mark || weakness == Weakness::NoSecondLook).then_some(words)
}

#[cfg(all(test, loom, feature = "writer"))]
mod model {
    use super::*;
    use loom::sync::Arc;

    /// Two records of four words and the index word that says which one is current: version in the upper half, record in the lowest bit.
    struct Small {
        index: AtomicU64,
        records: [Vec<AtomicU64>; 2],
    }

    fn record(version: u64) -> Vec<AtomicU64> {
        [version << 1, 4, version, version].into_iter().map(AtomicU64::new).collect()
    }

    fn put(small: &Small, at: usize, version: u64, weakness: Weakness) {
        let word = version << 32 | at as u64;
        write_weakly(&small.records[at], &[0, 4, version, version], version, weakness);
        publish(&small.index, word);
    }

    fn get(small: &Small, weakness: Weakness) -> Option<u64> {
        let word = observe(&small.index);
        let mut out = [0; 4];
        let nonce = Some((word >> 32) & 0xffff);
        read_weakly(
            &small.records[(word & 1) as usize],
            nonce,
            &mut out,
            |n| (n == 4).then_some(4),
            weakness,
        )?;
        assert!(out[2] == out[3] && out[2] == out[0] >> 1, "torn: {out:?}");
        Some(out[0] >> 1)
    }

    /// Publishes, recycles the first record, publishes again, beside a reader that looks twice.
    fn publish_beside_a_reader(weakness: Weakness) {
        loom::model(move || {
            let small = Arc::new(Small { index: AtomicU64::new(1 << 32), records: [record(1), record(0)] });
            let writer = loom::thread::spawn({
                let small = Arc::clone(&small);
                move || {
                    put(&small, 1, 2, weakness);
                    put(&small, 0, 3, weakness);
                }
            });
            let (first, second) = (get(&small, weakness), get(&small, weakness));
            if let (Some(first), Some(second)) = (first, second) {
                assert!(second >= first, "the version went back from {first} to {second}");
            }
            writer.join().expect("the writer ends");
        });
    }

    #[test]
    fn a_reader_sees_whole_records_and_growing_versions() {
        publish_beside_a_reader(Weakness::None);
    }

    #[test]
    #[should_panic(expected = "torn")]
    fn without_the_writers_fence_it_is_torn() {
        publish_beside_a_reader(Weakness::NoWriterFence);
    }

    #[test]
    #[should_panic(expected = "torn")]
    fn without_the_readers_fence_it_is_torn() {
        publish_beside_a_reader(Weakness::NoReaderFence);
    }

    #[test]
    #[should_panic(expected = "torn")]
    fn without_the_second_look_it_is_torn() {
        publish_beside_a_reader(Weakness::NoSecondLook);
    }

    #[test]
    #[should_panic(expected = "went back")]
    fn without_the_nonce_the_version_goes_back() {
        publish_beside_a_reader(Weakness::NoNonce);
    }
}
