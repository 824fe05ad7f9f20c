//! The seqlock of a record, and the loads and stores of a table's words: one writer publishes,
//! readers copy and then check that nothing has changed.
//!
//! After Boehm, "Can Seqlocks Get Along With Programming Language Memory Models?" (2012): the data
//! are atomics; the writer has a release fence after it has marked the record, the reader an
//! acquire fence before it reads the mark again. Readers use only relaxed loads and fences, since
//! other atomic operations are not allowed on read-only pages.
//!
//! All loads and stores of a mapped table's words are in this file. Two readers of the same words
//! are elsewhere: `unmapped.rs` has the kernel load them and uses the fences from here, and the
//! kernel itself reads and marks futex words (`futex.rs`, `alive.rs`). loom checks the models below
//! and in `models.rs`, and that each fails without one of its fences or checks (CONTRIBUTING.md has
//! the command).

use crate::sync::{AtomicU64, Ordering, fence};

/// A fence or check that is left out, for the model checker to notice.
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
/// Writes a record to which no index word points. Readers that still have an older word see that
/// the record is marked, or that its version has changed.
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

/// Marks records whose space will be divided into records of another size. The fence orders the
/// marks before all later writes there, including the marks of new records, which [`write`] stores
/// before its own fence.
#[cfg(feature = "writer")]
pub(crate) fn retire<'m>(marks: impl Iterator<Item = &'m AtomicU64>) {
    marks.for_each(|mark| mark.store(1, Ordering::Relaxed));
    fence(Ordering::Release);
}

#[cfg(feature = "writer")]
/// Stores a word before all later stores.
pub(crate) fn mark(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Relaxed);
    fence(Ordering::Release);
}

#[cfg(feature = "writer")]
/// Stores a word. A reader that [`observe`]s `value` sees all that was written before it.
pub(crate) fn publish(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Release);
}

/// Orders later loads after earlier ones: if an earlier load read a published word, later ones see
/// what was written before it.
#[inline]
pub(crate) fn after_read() {
    fence(Ordering::Acquire);
}

/// Loads a published word, see [`after_read`].
#[inline]
pub(crate) fn observe(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    after_read();
    value
}

/// Loads one word without ordering other loads.
#[inline]
pub(crate) fn peek(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

#[cfg(feature = "writer")]
/// Stores a word without ordering other stores.
pub(crate) fn set(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Relaxed);
}

/// Copies a record into `out`, all of one version. `nonce` is the part of the version that is in
/// the index word. `length` derives the number of words from word 1, or `None` if no record can
/// have it. Returns `None` if the record is being written, or is another one by now.
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

    /// Two records of four words, and the index word, which has the version in its upper half and
    /// the current record in bit 0.
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

    /// A writer publishes, reuses the first record and publishes again, while a reader looks twice.
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
    fn a_reader_sees_records_of_one_version_and_growing_versions() {
        publish_beside_a_reader(Weakness::None);
    }

    #[test]
    #[should_panic(expected = "torn")]
    fn without_the_writers_fence_a_record_is_torn() {
        publish_beside_a_reader(Weakness::NoWriterFence);
    }

    #[test]
    #[should_panic(expected = "torn")]
    fn without_the_readers_fence_a_record_is_torn() {
        publish_beside_a_reader(Weakness::NoReaderFence);
    }

    #[test]
    #[should_panic(expected = "torn")]
    fn without_the_second_look_a_record_is_torn() {
        publish_beside_a_reader(Weakness::NoSecondLook);
    }

    #[test]
    #[should_panic(expected = "went back")]
    fn without_the_nonce_the_version_goes_back() {
        publish_beside_a_reader(Weakness::NoNonce);
    }
}
