//! Readers beside the writer, also under Miri, which finds every misuse of memory:
//! `cargo +nightly miri test -p hither-answers --test threads`.

mod made;

use hither_answers::{Answers, Asked, Stored};
use hither_table::Monotonic;
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use made::{NOW, name, stored};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn asked(name: &Name) -> Asked<'_> {
    Asked { name: name.as_wire(), rtype: Rtype::TXT, dnssec_ok: false, checking_disabled: false }
}

/// Whether a text is as [`stored`] made it: all octets are the same, and their value is their number
/// minus one.
fn is_complete(stored: &Stored) -> bool {
    let body = stored.body();
    let text = &body[12..];
    text.iter().all(|octet| *octet == text[0]) && text.len() == usize::from(text[0]) + 1
}

#[test]
fn readers_see_complete_answers_while_they_are_replaced_removed_and_moved() {
    let (names, turns) = if cfg!(miri) { (3, 40) } else { (50, 40_000) };
    let mut answers = Answers::new(names as usize * 3 / 4, 7);
    let (reader, done) = (answers.reader().clone(), AtomicBool::new(false));
    let seen = [AtomicU64::new(0), AtomicU64::new(0)];
    let look = |seen: &AtomicU64| {
        let mut n = 0;
        while !done.load(Ordering::Relaxed) {
            n = (n + 1) % names;
            let complete = reader.with(NOW, &asked(&name(n)), |_| false, is_complete);
            assert_ne!(complete, Some(false));
            seen.fetch_add(u64::from(complete.is_some()), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for seen in &seen {
            scope.spawn(|| look(seen));
        }
        for turn in 0..turns {
            let n = turn * 7 % names;
            answers.put(&asked(&name(n)), stored(n, (turn % 200) as u8, 300));
            match turn % 97 {
                13 => answers.remove_name(&name(turn % names)),
                57 => answers.resize(names as usize / 2 + turn as usize % 20),
                96 => {
                    let until = answers.latest();
                    answers.remove_void_in_buckets(0, usize::MAX, |_, number| number.is_up_to(until));
                    assert!(answers.is_empty());
                }
                _ => {}
            }
            if turn % 11 == 0 {
                std::thread::yield_now();
            }
        }
        answers.check_invariants();
        // A reader that has not run yet finds something now.
        (0..names).for_each(|n| answers.put(&asked(&name(n)), stored(n, 1, 300)));
        while seen.iter().any(|seen| seen.load(Ordering::Relaxed) == 0) {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn an_answer_that_is_read_stays_and_the_capacity_holds() {
    let mut answers = Answers::new(100, 7);
    for n in 0..1000 {
        answers.put(&asked(&name(n)), stored(n, 10, 300));
        assert!(
            answers.reader().with(NOW, &asked(&name(0)), |_| false, |_| ()).is_some(),
            "{n} others later"
        );
    }
    assert_eq!(answers.len(), 100);
    answers.check_invariants();
    for n in 0..1000 {
        answers.put(&asked(&name(n)), stored(n, 255, 300));
    }
    assert!(answers.octets() <= 100 * 1024);
    assert!(
        answers.reader().with(Monotonic(300_000_000_000), &asked(&name(999)), |_| false, |_| ()).is_none(),
        "expired"
    );
    assert!(answers.get(&asked(&name(999))).is_some(), "but still there");
}

#[test]
fn failures_are_remembered_in_bounded_number_until_an_answer_comes() {
    let mut answers = Answers::new(10, 7);
    for n in 0..100 {
        answers.remember_failure(&asked(&name(n)), Monotonic(1000));
    }
    assert!(!answers.has_failed(NOW, &asked(&name(0))) && answers.has_failed(NOW, &asked(&name(99))));
    assert!(!answers.has_failed(Monotonic(1000), &asked(&name(99))));
    answers.put(&asked(&name(99)), stored(99, 1, 300));
    assert!(!answers.has_failed(NOW, &asked(&name(99))));
    answers.check_invariants();
    answers.remove_name(&name(98));
    assert!(!answers.has_failed(NOW, &asked(&name(98))) && answers.has_failed(NOW, &asked(&name(97))));
    answers.forget_failures();
    assert!(!answers.has_failed(NOW, &asked(&name(97))));
}

#[test]
fn answers_up_to_a_number_are_removed_in_slices_and_later_ones_stay() {
    let mut answers = Answers::new(1000, 7);
    (0..600).for_each(|n| answers.put(&asked(&name(n)), stored(n, 10, 300)));
    let until = answers.latest();
    (500..700).for_each(|n| answers.put(&asked(&name(n)), stored(n, 20, 300)));
    let is_even = |of: &Name| (0..700).step_by(2).any(|n| name(n) == *of);
    let (places, rebuilt) = answers.buckets();
    for at in (0..places).step_by(64) {
        answers.remove_void_in_buckets(at, 64, |name, number| number.is_up_to(until) && is_even(name));
    }
    assert_eq!(answers.buckets(), (places, rebuilt));
    for n in 0..700 {
        let stays = n % 2 == 1 || n >= 500;
        assert_eq!(answers.get(&asked(&name(n))).is_some(), stays, "{n}");
        let found = answers.reader().with(NOW, &asked(&name(n)), |number| number.is_up_to(until), |_| ());
        assert_eq!(found.is_some(), n >= 500, "{n}");
    }
    answers.remove_void(&name(1), |number| !number.is_up_to(until));
    assert!(answers.get(&asked(&name(1))).is_some());
    answers.remove_void(&name(1), |number| number.is_up_to(until));
    assert!(answers.get(&asked(&name(1))).is_none());
    answers.check_invariants();
    answers.resize(100);
    assert_ne!(answers.buckets().1, rebuilt);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]
    /// Compared with a map that never forgets: an answer that is found is the one that was stored last.
    #[test]
    fn only_stored_answers_are_found(ops in proptest::collection::vec((0u32..20, 0u8..4, any::<u8>()), 1..200)) {
        let (mut answers, mut known) = (Answers::new(8, 7), BTreeMap::new());
        for (n, bits, what) in ops {
            let (dnssec_ok, checking_disabled) = (bits & 1 != 0, bits & 2 != 0);
            let name = name(n);
            let asked = Asked { dnssec_ok, checking_disabled, ..asked(&name) };
            match what {
                0..20 => {
                    answers.remove(&asked);
                    known.remove(&(n, (dnssec_ok, checking_disabled)));
                }
                20..30 => {
                    answers.remove_name(&name);
                    known.retain(|(m, _), _| *m != n);
                }
                octets => {
                    answers.put(&asked, stored(n, octets, 300));
                    known.insert((n, (dnssec_ok, checking_disabled)), octets);
                }
            }
            answers.check_invariants();
            prop_assert!(answers.len() <= 8);
            for ((n, dnssec), octets) in &known {
                let name = self::name(*n);
                let asked = Asked { dnssec_ok: dnssec.0, checking_disabled: dnssec.1, ..self::asked(&name) };
                let found = answers.get(&asked);
                prop_assert!(found.is_none_or(|found| found.body()[12] == *octets && is_complete(&found)));
            }
        }
    }
}
