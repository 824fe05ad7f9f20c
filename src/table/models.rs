//! Models for loom of what the writer does around a record: reuse, removal and return, division
//! into other sizes, replacement of the table, takeover. Each runs beside a reader, and each has a
//! weakened twin that must fail.
//!
//! As in the table, readers use only `observe` and `read`, and the writer `write`, `publish` and
//! `retire`.

use crate::seqlock::{Weakness, observe, peek, publish, read_weakly, retire, write};
use crate::sync::{AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;

/// An index word: version in bits 32 to 47, key in bit 8, record in bit 0.
fn word(version: u64, key: u64, record: u64) -> u64 {
    version << 32 | key << 8 | record | 1 << 63
}

/// A record of four words: mark, length, key, and data derived from version and key.
fn record(version: u64, key: u64) -> [u64; 4] {
    [version << 1, 4, key, version * 10 + key]
}

fn space(words: &[u64]) -> Vec<AtomicU64> {
    words.iter().copied().map(AtomicU64::new).collect()
}

fn put(at: &[AtomicU64], version: u64, key: u64) {
    write(at, &record(version, key), version);
}

/// Copies the record of an index word, and checks that all of it is of one version.
fn copy(at: &[AtomicU64], word: u64, weakness: Weakness) -> Option<[u64; 4]> {
    let mut out = [0; 4];
    read_weakly(at, Some((word >> 32) & 0xffff), &mut out, |n| (n == 4).then_some(4), weakness)?;
    assert_eq!(out[3], (out[0] >> 1) * 10 + out[2], "torn: {out:?}");
    Some(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Twin {
    Sound,
    Weak,
}

/// Key 0 is always present, first in one record, then in the other; its first record is reused for
/// key 1. No reader may miss key 0.
fn reused_for_another_name(twin: Twin) {
    loom::model(move || {
        let table = Arc::new((AtomicU64::new(word(1, 0, 0)), [space(&record(1, 0)), space(&[1, 0, 0, 0])]));
        let writer = thread::spawn({
            let table = Arc::clone(&table);
            move || {
                let (index, records) = &*table;
                put(&records[1], 2, 0);
                publish(index, word(2, 0, 1));
                put(&records[0], 3, 1);
            }
        });
        let (index, records) = &*table;
        // As in `View::attempt`: another key counts only if the index word has not changed.
        let weakness = if twin == Twin::Sound { Weakness::None } else { Weakness::NoNonce };
        let seen = observe(index);
        if let Some(found) = copy(&records[(seen & 1) as usize], seen, weakness) {
            let stands_still = twin == Twin::Weak || peek(index) == seen;
            assert!(found[2] == 0 || !stands_still, "found absent");
        }
        writer.join().expect("the writer ends");
    });
}

#[test]
fn a_present_name_is_not_found_absent() {
    reused_for_another_name(Twin::Sound);
}

#[test]
#[should_panic(expected = "found absent")]
fn without_nonce_and_second_look_a_present_name_is_found_absent() {
    reused_for_another_name(Twin::Weak);
}

/// A name is removed, its record is in quarantine, and it returns in another record. Versions only
/// grow, and the removed record is not seen after the new one.
fn removed_and_put_back(twin: Twin) {
    loom::model(move || {
        let table = Arc::new((AtomicU64::new(word(1, 0, 0)), [space(&record(1, 0)), space(&[1, 0, 0, 0])]));
        let writer = thread::spawn({
            let table = Arc::clone(&table);
            move || {
                let (index, records) = &*table;
                publish(index, 0);
                let version = if twin == Twin::Sound { 2 } else { 0 };
                put(&records[1], version, 0);
                publish(index, word(version, 0, 1));
            }
        });
        let (index, records) = &*table;
        let mut last = 0;
        for _ in 0..2 {
            let seen = observe(index);
            if seen != 0
                && let Some(found) = copy(&records[(seen & 1) as usize], seen, Weakness::None)
            {
                assert!(found[0] >> 1 >= last, "the version went back");
                last = found[0] >> 1;
            }
        }
        writer.join().expect("the writer ends");
    });
}

#[test]
fn a_name_that_returns_has_a_higher_version() {
    removed_and_put_back(Twin::Sound);
}

#[test]
#[should_panic(expected = "went back")]
fn with_an_old_version_a_name_that_returns_goes_back() {
    removed_and_put_back(Twin::Weak);
}

/// The space of a record is divided into other sizes: a new record begins in the middle of the old
/// one and never writes its mark.
fn divided_into_other_sizes(twin: Twin) {
    loom::model(move || {
        let mut words = record(1, 0).to_vec();
        words.extend([0, 0]);
        let table = Arc::new((AtomicU64::new(word(1, 0, 0)), space(&words)));
        let writer = thread::spawn({
            let table = Arc::clone(&table);
            move || {
                let (index, words) = &*table;
                publish(index, 0);
                if twin == Twin::Sound {
                    retire(std::iter::once(&words[0]));
                }
                put(&words[2..], 2, 1);
            }
        });
        let (index, words) = &*table;
        let seen = observe(index);
        if seen != 0 {
            let _ = copy(&words[..4], seen, Weakness::None);
        }
        writer.join().expect("the writer ends");
    });
}

#[test]
fn space_that_is_divided_into_other_sizes_is_not_read_as_before() {
    divided_into_other_sizes(Twin::Sound);
}

#[test]
#[should_panic(expected = "torn")]
fn without_retiring_it_the_old_record_is_torn() {
    divided_into_other_sizes(Twin::Weak);
}

/// Two files, each with state, index and record; the file name leads to one of them. The second is
/// filled and renamed into place, then the first is marked as superseded, and publishing continues
/// in the second.
fn rotated(twin: Twin) {
    loom::model(move || {
        let file = |state, version| {
            let first = if version > 0 { word(version, 0, 0) } else { 0 };
            (AtomicU64::new(state), AtomicU64::new(first), space(&record(version, 0)))
        };
        let files = Arc::new((AtomicU64::new(0), [file(1, 1), file(1, 0)]));
        let writer = thread::spawn({
            let files = Arc::clone(&files);
            move || {
                let (name, [old, new]) = &*files;
                put(&new.2, 2, 0);
                publish(&new.1, word(2, 0, 0));
                if twin == Twin::Sound {
                    name.store(1, Ordering::Release);
                    publish(&old.0, 2);
                } else {
                    publish(&old.0, 2);
                    name.store(1, Ordering::Release);
                }
            }
        });
        let (name, files) = &*files;
        let (mut open, mut last) = (0, 0);
        for _ in 0..2 {
            if observe(&files[open].0) == 2 {
                open = name.load(Ordering::Acquire) as usize;
                assert_eq!(open, 1, "the file that is superseded was opened again");
            }
            let seen = observe(&files[open].1);
            assert_ne!(seen, 0, "the new file is seen empty");
            if let Some(found) = copy(&files[open].2, seen, Weakness::None) {
                assert!(found[0] >> 1 >= last, "the version went back");
                last = found[0] >> 1;
            }
        }
        writer.join().expect("the writer ends");
    });
}

#[test]
fn readers_follow_to_the_new_file() {
    rotated(Twin::Sound);
}

#[test]
#[should_panic(expected = "opened again")]
fn marked_before_the_rename_readers_open_the_old_file_again() {
    rotated(Twin::Weak);
}

/// The writer was killed while it wrote the second record. Its successor keeps the records to which
/// the index leads and continues with higher versions; the weakened twin reuses a version that was
/// published.
fn recovered(twin: Twin) {
    loom::model(move || {
        let torn = [2 << 1 | 1, 4, 0, 7];
        let table = Arc::new((AtomicU64::new(word(1, 0, 0)), [space(&record(1, 0)), space(&torn)]));
        let successor = thread::spawn({
            let table = Arc::clone(&table);
            move || {
                let (index, records) = &*table;
                if twin == Twin::Sound {
                    put(&records[1], 9, 0);
                    publish(index, word(9, 0, 1));
                    put(&records[0], 10, 0);
                    publish(index, word(10, 0, 0));
                } else {
                    // Other data under the same version.
                    write(&records[0], &[1 << 1, 4, 1, 11], 1);
                }
            }
        });
        let (index, records) = &*table;
        let mut last = 0;
        for _ in 0..2 {
            let seen = observe(index);
            if let Some(found) = copy(&records[(seen & 1) as usize], seen, Weakness::None) {
                assert!(found[0] >> 1 >= last, "the version went back");
                last = found[0] >> 1;
            }
        }
        successor.join().expect("it ends");
    });
}

#[test]
fn readers_are_not_affected_by_a_takeover() {
    recovered(Twin::Sound);
}

#[test]
#[should_panic(expected = "torn")]
fn a_version_that_is_used_twice_gives_torn_records() {
    recovered(Twin::Weak);
}
