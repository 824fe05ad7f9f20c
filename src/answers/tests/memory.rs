//! The octets that the cache counts are compared with those that the process takes. The test has a process
//! of its own, since other tests would be counted too.
#![allow(clippy::print_stdout)]
#![cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]

mod made;

use hither_answers::{Answers, Asked};
use hither_wire::codes::Rtype;
use made::{name, stored};

/// How many octets of anonymous memory this process has.
fn occupied() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("there");
    line.trim().split(' ').next().and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}

fn fill(answers: &mut Answers, names: std::ops::Range<u32>, octets: impl Fn(u32) -> u8) {
    for n in names {
        let name = name(n);
        let asked =
            Asked { name: name.as_wire(), rtype: Rtype::TXT, dnssec_ok: false, checking_disabled: false };
        answers.put(&asked, stored(n, octets(n), 300));
    }
}

#[test]
fn counted_octets_match_the_memory_of_the_process_also_beyond_the_capacity() {
    const ENTRIES: u32 = 100_000;
    let before = occupied();
    let mut answers = Answers::new(ENTRIES as usize, 7);
    let within = |answers: &Answers, what: &str| {
        let (counted, taken) = (answers.octets(), occupied() - before);
        let each = taken / answers.len();
        println!("{what}: {counted} octets counted, {taken} taken, {each} each");
        assert!(
            taken.abs_diff(counted) <= counted / 10,
            "{what}: {counted} octets counted, {taken} taken, {each} each"
        );
        taken
    };
    fill(&mut answers, 0..ENTRIES, |_| 20);
    let full = within(&answers, "full");
    fill(&mut answers, ENTRIES..3 * ENTRIES, |_| 20);
    assert_eq!(answers.len(), ENTRIES as usize);
    let beyond = within(&answers, "three times as many");
    assert!(beyond <= full + full / 10, "{full} octets at the bound, {beyond} after three times as many");
    // Answers of all sizes, and the same ones again and again.
    fill(&mut answers, 0..ENTRIES, |n| n as u8);
    (0..4).for_each(|_| fill(&mut answers, 0..ENTRIES / 2, |n| (n * 7) as u8));
    within(&answers, "of all sizes");
    answers.check_invariants();
}
