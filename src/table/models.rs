//! The protocols around a record, for the model checker: recycling, removing and putting back, dividing space otherwise, rotation,
//! recovery; each beside a reader, and each with a weakened twin that has to fail.
//!
//! As in the table, readers use `observe` and `read` alone, and the writer `write`, `publish` and `retire`.

use crate::seqlock::{Weakness, observe, peek, publish, read_weakly, retire, write};
use crate::sync::{AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;

/// Version in bits 32 to 47, key in bit 8, record in bit 0.
fn word(version: u64, key: u64, record: u64) -> u64 {
    version << 32 | key << 8 | record | 1 << 63
}

/// Four words: mark, length, key, and data that follow from the version.
fn record(version: u64, key: u64) -> [u64; 4] {
    [version << 1, 4, key, version * 10 + key]
}

fn space(words: &[u64]) -> Vec<AtomicU64> {
    words.iter().copied().map(AtomicU64::new).collect()
}

fn put(at: &[AtomicU64], version: u64, key: u64) {
    write(at, &record(version, key), version);
}

/// Copies the record of an index word; checks that it is whole.
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

/// Key 0 is always there, once in this record, once in that; the other record is given to key 1. Nobody may find key 0 absent.
fn recycled_for_another_name(twin: Twin) {
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
        // As `View::attempt`: another key is believed only while the index word stands still.
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
fn a_name_that_is_there_is_not_found_absent() {
    recycled_for_another_name(Twin::Sound);
}

#[test]
#[should_panic(expected = "found absent")]
fn without_nonce_and_another_look_it_is() {
    recycled_for_another_name(Twin::Weak);
}

/// Removed, its record quarantined, put back elsewhere: versions only grow, and what was removed is not seen after what came back.
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
fn what_comes_back_has_a_higher_version() {
    removed_and_put_back(Twin::Sound);
}

#[test]
#[should_panic(expected = "went back")]
fn with_a_version_of_before_it_goes_back() {
    removed_and_put_back(Twin::Weak);
}

/// The space of a record is divided otherwise: a new record begins in the middle of the old one, whose mark it never touches.
fn divided_otherwise(twin: Twin) {
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
fn space_that_is_divided_otherwise_is_not_read_as_before() {
    divided_otherwise(Twin::Sound);
}

#[test]
#[should_panic(expected = "torn")]
fn without_retiring_the_old_record_it_is() {
    divided_otherwise(Twin::Weak);
}

/// Two files: state, index, record. The name leads to one of them; the second is filled, renamed into place, then the first one
/// says that it is superseded, and publishing goes on in the second.
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
fn superseded_before_the_rename_they_open_the_old_one_again() {
    rotated(Twin::Weak);
}

/// The writer was killed while it wrote the second record. Its successor keeps what the index leads to and goes on above the gap;
/// the twin draws the version again that its predecessor had published.
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
fn readers_do_not_notice_a_successor() {
    recovered(Twin::Sound);
}

#[test]
#[should_panic(expected = "torn")]
fn a_version_that_is_drawn_again_is_noticed() {
    recovered(Twin::Weak);
}
