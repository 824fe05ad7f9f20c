//! Tests of the choice of handshakes, with the records and the times that a test gives.

use super::*;
use crate::config::Config;
use hither_table::{Draft, FamilyDraft, Geometry, Key, Memory, Writer};

const NOW: Monotonic = Monotonic::from_ms(100_000_000);
const HOUR_MS: u64 = 3_600_000;
const ROUND: u64 = 11;
/// A TTL that the table keeps exactly: 112 times 256.
const LIFETIME_S: u32 = 28_672;

fn sort() -> Sort {
    Sort { probes: vec![Probe::Icmp, Probe::Tls(443)], ..Config::default().sort }
}

fn judging(sort: &Sort) -> Judging {
    let mut judging = Judging::new(sort, NOW);
    judging.note_clock(true);
    judging
}

fn ip(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

/// A record with these addresses, which a round published this long ago.
fn record_of(name: &str, set: &[IpAddr], ago_ms: u64) -> Snapshot {
    let geometry = Geometry { entries: 64 };
    let mut writer =
        Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table");
    let name: Name = name.parse().expect("a name");
    let expire_ms = NOW.as_ms() - ago_ms + u64::from(LIFETIME_S) * 1000;
    let set = FamilyDraft::of(ROUND, set.iter().copied(), expire_ms, LIFETIME_S);
    writer.put(&Draft { name, a: Some(set), aaaa: None }, NOW).expect("room");
    let mut out = Snapshot::new();
    assert!(writer.get(&Key::of(&name), &mut out));
    out
}

fn record(name: &str, ends: &[u8]) -> Snapshot {
    record_of(name, &ends.iter().map(|n| ip(*n)).collect::<Vec<_>>(), 0)
}

impl Judging {
    /// All handshakes that may begin now, each ended in this way: the addresses, in their order.
    fn run(&mut self, verdict: Trust, now: Monotonic) -> Vec<IpAddr> {
        let begin = |judging: &mut Judging| judging.begin_next(|_| true, 0, now);
        let jobs: Vec<_> = std::iter::from_fn(|| begin(self)).collect();
        for (_, job) in &jobs {
            self.ended(*job, Judgement::without_certificate(verdict), 0, now);
        }
        jobs.into_iter().map(|(address, _)| address).collect()
    }

    fn wishes(&self) -> usize {
        assert_eq!(self.wishes.len(), self.queue.len());
        self.queue.len()
    }
}

#[test]
fn a_set_that_clients_ask_for_is_judged_once() {
    let mut judging = judging(&sort());
    let www = record("www.example", &[1, 2, 3, 4]);
    judging.consider(&www, FoundBy::Change, |_| false, NOW);
    judging.consider(&www, FoundBy::Walk, |_| false, NOW);
    assert_eq!(judging.wishes(), 4);
    let (address, job) = judging.begin_next(|_| true, 0, NOW).expect("one");
    assert_eq!(judging.server_name(job).expect("a name").to_str(), "www.example");
    judging.consider(&www, FoundBy::Change, |_| false, NOW);
    assert_eq!(judging.wishes(), 3, "one is on its way");
    judging.ended(job, Judgement::without_certificate(Trust::OtherName), 0, NOW);
    assert_eq!(judging.run(Trust::Verified, NOW).len(), 3);
    judging.consider(&www, FoundBy::Change, |_| false, NOW);
    assert_eq!(judging.wishes(), 0);
    assert_eq!(judging.trust(www.name(), &address, NOW), Some(Trust::OtherName));
    // Another name at the same addresses is another question.
    judging.consider(&record("ftp.example", &[1, 2]), FoundBy::Change, |_| false, NOW);
    assert_eq!(judging.wishes(), 2);
}

#[test]
fn names_that_nobody_asked_for_are_shown_to_nobody() {
    let mut sort = sort();
    sort.tls_except = ["corp.example".parse().expect("a name")].into();
    let mut judging = judging(&sort);
    judging.leave_out(["vpn.example".parse().expect("a name")]);
    let two = [ip(1), ip(2)];
    let old = record_of("old.example", &two, HOUR_MS);
    let private = [[10, 0, 0, 1].into(), [127, 0, 0, 1].into(), [169, 254, 0, 1].into()];
    for (record, restored) in [
        (record("restored.example", &[1, 2]), ROUND),
        (old, 0),
        (record_of("private.example", &private, 0), 0),
        (record("one.example", &[1]), 0),
        (record("www.corp.example", &[1, 2]), 0),
        (record("vpn.example", &[1, 2]), 0),
        (record("_dmarc.example", &[1, 2]), 0),
        (record("host", &[1, 2]), 0),
    ] {
        for found_by in [FoundBy::Change, FoundBy::Walk] {
            judging.consider(&record, found_by, |round| round == restored, NOW);
            assert_eq!(judging.wishes(), 0, "{:?}", String::from_utf8_lossy(record.name()));
        }
    }
    judging.consider(
        &record_of("new.example", &two, HOUR_MS - 1000),
        FoundBy::Walk,
        |round| round == ROUND + 1,
        NOW,
    );
    assert_eq!(judging.wishes(), 2);
}

#[test]
fn private_addresses_are_judged_only_if_the_operator_allows_it() {
    let private = record_of("private.example", &[[10, 0, 0, 1].into(), [10, 0, 0, 2].into()], 0);
    let mut judging = judging(&Sort { private: true, ..sort() });
    judging.consider(&private, FoundBy::Change, |_| false, NOW);
    assert_eq!(judging.wishes(), 2);
}

#[test]
fn a_set_that_changes_to_one_address_is_judged_and_old_verdicts_are_dropped() {
    let mut judging = judging(&sort());
    let before = record("www.example", &[1, 2]);
    judging.consider(&before, FoundBy::Change, |_| false, NOW);
    judging.run(Trust::Verified, NOW);
    let after = record("www.example", &[9]);
    judging.consider(&after, FoundBy::Change, |_| false, NOW);
    assert_eq!(judging.run(Trust::OtherName, NOW), [ip(9)]);
    assert_eq!(judging.trust(before.name(), &ip(1), NOW), None);
    assert_eq!(judging.trust(after.name(), &ip(9), NOW), Some(Trust::OtherName));
}

#[test]
fn verdicts_of_names_in_use_are_renewed_behind_those_of_new_names() {
    let mut judging = judging(&sort());
    judging.consider(&record("www.example", &[1, 2]), FoundBy::Change, |_| false, NOW);
    judging.run(Trust::OtherName, NOW);
    let again = record("www.example", &[1, 2]);
    judging.consider(&again, FoundBy::Walk, |_| false, NOW.plus(Duration::from_millis(HOUR_MS)));
    assert_eq!(judging.wishes(), 0, "nobody has asked within the hour");
    let in_use = NOW.plus(Duration::from_millis(HOUR_MS - 1));
    judging.verdicts.doubt();
    judging.consider(&again, FoundBy::Change, |_| false, in_use);
    judging.consider(&record("new.example", &[5, 6]), FoundBy::Walk, |_| false, in_use);
    assert_eq!(judging.run(Trust::Verified, in_use), [ip(6), ip(5), ip(2), ip(1)]);
}

#[test]
fn handshakes_keep_their_rate_and_their_number() {
    let mut judging = judging(&Sort { tls_rate: 5, ..sort() });
    for n in 0..20 {
        judging.consider(&record(&format!("{n}.example"), &[1, 2, 3, 4]), FoundBy::Change, |_| false, NOW);
    }
    let mut begun = 0;
    for second in 0..10 {
        begun += judging.run(Trust::Verified, NOW.plus(Duration::from_secs(second))).len();
    }
    assert_eq!(begun, 5 + 9 * 5);
    let mut judging = super::tests::judging(&Sort { tls_rate: 1000, ..sort() });
    for n in 0..20 {
        judging.consider(&record(&format!("{n}.example"), &[1, 2, 3, 4]), FoundBy::Change, |_| false, NOW);
    }
    let at = |ms| NOW.plus(Duration::from_millis(ms));
    let begun = (0..100).filter(|ms| judging.begin_next(|_| true, 0, at(*ms)).is_some()).count();
    assert_eq!(begun, HANDSHAKES_MAX, "none of them has ended");
    assert_eq!(judging.next_begin(|_| true), None);
}

#[test]
fn nothing_is_judged_while_the_clock_cannot_be_right_or_without_the_method() {
    let www = record("www.example", &[1, 2]);
    let mut judging = judging(&sort());
    judging.note_clock(false);
    judging.consider(&www, FoundBy::Change, |_| false, NOW);
    assert_eq!((judging.begin_next(|_| true, 0, NOW), judging.begin_at(ip(1), 0, NOW)), (None, None));
    assert_eq!(judging.next_begin(|_| true), None);
    judging.note_clock(true);
    assert!(judging.begin_at(ip(1), 0, NOW).is_some());
    for off in [
        Sort { tls_rate: 0, ..sort() },
        Sort { probes: vec![Probe::Icmp, Probe::Tcp(443)], ..sort() },
        Sort { enabled: false, ..sort() },
    ] {
        let mut judging = super::tests::judging(&off);
        judging.consider(&www, FoundBy::Change, |_| false, NOW);
        assert_eq!((judging.wishes(), judging.is_on()), (0, false));
    }
}

#[test]
fn a_set_is_ordered_anew_when_its_last_verdict_comes_or_soon_after_the_first() {
    let mut judging = judging(&sort());
    let www = record("www.example", &[1, 2]);
    judging.consider(&www, FoundBy::Change, |_| false, NOW);
    let verified = || Judgement::without_certificate(Trust::Verified);
    let jobs: Vec<usize> = (1..3).filter_map(|n| judging.begin_at(ip(n), 0, NOW)).collect();
    judging.ended(jobs[0], verified(), 0, NOW);
    assert_eq!(judging.next_judged(NOW), None);
    assert_eq!(judging.timeout(), Some(NOW.plus(GATHERED_FOR)));
    judging.ended(jobs[1], verified(), 0, NOW);
    assert_eq!(judging.next_judged(NOW).as_deref(), Some(www.name()));
    assert_eq!(judging.timeout(), None);
}

#[test]
fn what_was_shown_in_another_network_does_not_count() {
    let mut judging = judging(&sort());
    let www = record("www.example", &[1, 2]);
    judging.consider(&www, FoundBy::Change, |_| false, NOW);
    let (address, job) = judging.begin_next(|_| true, 0, NOW).expect("one");
    judging.network_changed();
    judging.ended(job, Judgement::without_certificate(Trust::Untrusted), 1, NOW);
    assert_eq!((judging.trust(www.name(), &address, NOW), judging.next_judged(NOW)), (None, None));
}

#[test]
fn a_flood_of_names_is_bounded_and_the_latest_come_first() {
    let mut judging = judging(&sort());
    for n in 0..WISHES_MAX {
        judging.consider(&record(&format!("{n}.example"), &[1, 2]), FoundBy::Change, |_| false, NOW);
    }
    assert_eq!(judging.wishes(), WISHES_MAX);
    let (_, job) = judging.begin_next(|_| true, 0, NOW).expect("one");
    let name = judging.server_name(job).expect("a name");
    assert_eq!(name.to_str(), format!("{}.example", WISHES_MAX - 1));
}
