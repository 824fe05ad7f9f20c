//! Each rule of the judge, with clocks that are right, ahead, behind, set, or at the ends of their range.

use crate::{WALL_MS, addresses, measured, name};
use hither_entries::{
    Arrival, Clocks, Content, Entry, HOSTS_MAX, Judge, Judged, Judgement, MARGIN_MS, Refusal, TIME_MAX, Times,
};
use hither_table::{Monotonic, Rtt};
use proptest::prelude::*;

const MARGIN: u64 = MARGIN_MS as u64;
/// The time since the start of this host at which its wall clock shows [`WALL_MS`].
const BOOT_MS: u64 = 5_000_000;
const KEPT: Arrival = Arrival::Kept { left_ms: None };

fn judge() -> Judge {
    Judge::new("omega", "", [3, 4])
}

/// Both clocks `ms` after [`WALL_MS`].
fn after(ms: u64) -> Clocks {
    Clocks { wall_ms: WALL_MS + ms, boot_ms: BOOT_MS + ms }
}

/// The wall clock set forward or back by so much.
fn set(now: Clocks, by_ms: i64) -> Clocks {
    Clocks { wall_ms: now.wall_ms.checked_add_signed(by_ms).expect("a time"), ..now }
}

/// An entry with 60 s left, learned `ms` after [`WALL_MS`] by its host's clock, 40 ms after it was asked for.
fn learned(ms: i64) -> Entry {
    let learned_ms = WALL_MS.checked_add_signed(ms).expect("a time");
    Entry { times: Times { asked_ms: learned_ms - 40, learned_ms, ..addresses().times }, ..addresses() }
}

fn of(host: &str, entry: Entry) -> Entry {
    Entry { host: host.into(), ..entry }
}

fn new(judgement: Judgement) -> Judged {
    match judgement {
        Judgement::New(judged) => judged,
        other => panic!("it is new, not {other:?}"),
    }
}

fn refused(judgement: Judgement) -> Refusal {
    match judgement {
        Judgement::Refused(refusal) => refusal,
        other => panic!("it is refused, not {other:?}"),
    }
}

#[test]
fn times_are_those_of_the_tables_clock() {
    let judged = new(judge().judge(learned(0), Arrival::Published, after(3)));
    assert_eq!(judged.learned, Monotonic::from_ms(BOOT_MS + 3), "not later than now");
    assert_eq!(judged.asked, Monotonic::from_ms(BOOT_MS - 40 - MARGIN));
    assert_eq!(judged.expire_ms, BOOT_MS + 60_000 - MARGIN);
    assert_eq!(judged.expire_ms_of(90_000), BOOT_MS + 90_000 - MARGIN, "the CNAME");
    assert_eq!(judged.expire_ms_of(0), BOOT_MS + 3, "it has expired");
    assert_eq!(judged.expire_ms_of(u64::MAX), u64::MAX);
    let judged = new(judge().judge(learned(0), KEPT, after(20_000)));
    // The first entry of a host proves nothing about its clock, so it may have been learned just now.
    assert_eq!(judged.learned, Monotonic::from_ms(BOOT_MS + 20_000));
    assert_eq!(judged.asked, Monotonic::from_ms(BOOT_MS - 40 - MARGIN));
    assert_eq!(judged.expire_ms, BOOT_MS + 60_000 - MARGIN);
}

#[test]
fn a_host_whose_clock_is_known_tells_when_it_learned() {
    let mut judge = judge();
    new(judge.judge(Entry { name: name("mail.example"), ..learned(0) }, Arrival::Published, after(0)));
    let judged = new(judge.judge(learned(1_000), KEPT, after(21_000)));
    assert_eq!(judged.learned, Monotonic::from_ms(BOOT_MS + 1_000 + MARGIN));
    assert_eq!(judged.asked, Monotonic::from_ms(BOOT_MS + 1_000 - 40 - MARGIN));
}

#[test]
fn an_entry_expires_with_its_time() {
    let last_ms = 60_000 - MARGIN - 1;
    let judged = new(judge().judge(learned(0), KEPT, after(last_ms)));
    assert_eq!(judged.expire_ms, BOOT_MS + last_ms + 1);
    assert_eq!(refused(judge().judge(learned(0), KEPT, after(last_ms + 1))), Refusal::Expired);
    assert_eq!(refused(judge().judge(learned(0), Arrival::Published, after(600_000))), Refusal::Expired);
    let short = Entry { times: Times { left_ms: MARGIN_MS, ..learned(0).times }, ..learned(0) };
    assert_eq!(refused(judge().judge(short, Arrival::Published, after(0))), Refusal::Expired);
}

#[test]
fn what_the_engine_says_only_makes_an_entry_older() {
    let kept = |left_ms| Arrival::Kept { left_ms: Some(left_ms) };
    let judged = new(judge().judge(learned(0), kept(25_000), after(20_000)));
    assert_eq!(judged.expire_ms, BOOT_MS + 20_000 + 25_000 - MARGIN);
    assert_eq!(judged.asked, Monotonic::from_ms(BOOT_MS + 20_000 - 35_000 - 40 - MARGIN));
    let judged = new(judge().judge(learned(0), kept(u64::MAX), after(20_000)));
    assert_eq!(judged.expire_ms, BOOT_MS + 60_000 - MARGIN, "it cannot make it younger");
    assert_eq!(refused(judge().judge(learned(0), kept(0), after(0))), Refusal::Expired);
}

/// The host is 30 s ahead, which its published entry shows; the one that the engine keeps is really 50 s old.
#[test]
fn entries_of_a_host_that_is_ahead_are_not_used_longer() {
    let mut judge = judge();
    let published = new(judge.judge(learned(30_000), Arrival::Published, after(0)));
    assert_eq!(published.expire_ms, BOOT_MS + 60_000 - MARGIN);
    assert_eq!(published.learned, Monotonic::from_ms(BOOT_MS));
    let mail = Entry { name: name("mail.example"), ..learned(-20_000) };
    let kept = new(judge.judge(mail, KEPT, after(0)));
    assert_eq!(kept.expire_ms, BOOT_MS + 10_000 - MARGIN);
    assert_eq!(kept.asked, Monotonic::from_ms(BOOT_MS - 50_000 - 40 - MARGIN));
    assert!(kept.learned >= Monotonic::from_ms(BOOT_MS - 20_000), "by our clock it is 20 s old");
}

#[test]
fn a_clock_that_is_ahead_by_more_than_the_ttl_is_refused_and_teaches_nothing() {
    let mut judge = judge();
    assert_eq!(refused(judge.judge(learned(60_001), Arrival::Published, after(0))), Refusal::Clock);
    let judged = new(judge.judge(learned(0), KEPT, after(0)));
    assert_eq!(judged.expire_ms, BOOT_MS + 60_000 - MARGIN, "the clock was set right");
    let far = Entry { times: Times { learned_ms: TIME_MAX, ..learned(0).times }, ..learned(0) };
    assert_eq!(refused(judge.judge(far, KEPT, after(0))), Refusal::Clock);
    new(self::judge().judge(learned(60_000), Arrival::Published, after(0)));
}

#[test]
fn a_clock_that_is_behind_by_more_than_the_ttl_is_told_from_age_by_the_engine() {
    let kept = Arrival::Kept { left_ms: Some(58_000) };
    assert_eq!(refused(judge().judge(learned(-600_000), kept, after(0))), Refusal::Clock);
    assert_eq!(refused(judge().judge(learned(-600_000), KEPT, after(0))), Refusal::Expired);
    let dying = Arrival::Kept { left_ms: Some(MARGIN) };
    assert_eq!(refused(judge().judge(learned(-600_000), dying, after(0))), Refusal::Expired);
    // Behind by less: it only lasts shorter.
    let judged = new(judge().judge(learned(-20_000), Arrival::Published, after(0)));
    assert_eq!(judged.expire_ms, BOOT_MS + 40_000 - MARGIN);
    assert_eq!(judged.learned, Monotonic::from_ms(BOOT_MS), "it may have been learned just now");
}

#[test]
fn setting_our_clock_does_not_make_known_hosts_younger() {
    for by_ms in [-3_600_000, -30_000, 30_000] {
        let mut judge = judge();
        new(judge.judge(Entry { name: name("mail.example"), ..learned(0) }, Arrival::Published, after(0)));
        // Learned 1 s later, read when it is 40 s old, with the clock set meanwhile.
        let judgement = judge.judge(learned(1_000), KEPT, set(after(41_000), by_ms));
        match judgement {
            Judgement::New(judged) => {
                let true_end_ms = BOOT_MS + 61_000 - MARGIN;
                assert!(judged.expire_ms <= true_end_ms, "set by {by_ms}");
                assert!(by_ms > 0 || judged.expire_ms == true_end_ms, "set by {by_ms}");
                assert!(judged.asked <= Monotonic::from_ms(BOOT_MS + 960), "set by {by_ms}");
                assert!(judged.learned >= Monotonic::from_ms(BOOT_MS + 1_000), "set by {by_ms}");
            }
            // An hour back, the host is ahead by more than the TTL; half a minute forward, it is over.
            Judgement::Refused(refusal) => {
                let expected = if by_ms < 0 { Refusal::Clock } else { Refusal::Expired };
                assert!(by_ms != -30_000 && refusal == expected, "set by {by_ms}: {refusal}");
            }
            other => panic!("set by {by_ms}: {other:?}"),
        }
    }
}

#[test]
fn a_host_that_sets_its_clock_back_counts_as_older_until_it_is_believed_again() {
    let mut judge = judge();
    new(judge.judge(learned(50_000), Arrival::Published, after(0)));
    let mail = |ms| Entry { name: name("mail.example"), ..learned(ms) };
    let judged = new(judge.judge(mail(10_000), Arrival::Published, after(10_000)));
    assert_eq!(judged.expire_ms, BOOT_MS + 10_000 + 10_000 - MARGIN);
    // It may really have learned it just now.
    let long = Entry { times: Times { left_ms: 120_000, ..learned(11_000).times }, ..mail(11_000) };
    let judged = new(judge.judge(long, Arrival::Published, after(11_000)));
    assert_eq!(judged.learned, Monotonic::from_ms(BOOT_MS + 11_000));
    assert_eq!(judged.expire_ms, BOOT_MS + 11_000 + 70_000 - MARGIN);
    let later_ms = 2 * 3_600_000 + 1;
    let at = i64::try_from(later_ms).expect("small");
    let judged = new(judge.judge(mail(at), Arrival::Published, after(later_ms)));
    assert_eq!(judged.expire_ms, BOOT_MS + later_ms + 60_000 - MARGIN);
}

/// The boot clock goes on while the host sleeps. Messages that waited in the socket have aged.
#[test]
fn time_asleep_counts() {
    let mut judge = judge();
    new(judge.judge(learned(0), Arrival::Published, after(0)));
    let mail = Entry { name: name("mail.example"), ..learned(1_000) };
    let judged = new(judge.judge(mail, Arrival::Published, after(31_000)));
    assert_eq!(judged.expire_ms, BOOT_MS + 61_000 - MARGIN);
    assert_eq!(refused(judge.judge(learned(1_000), Arrival::Published, after(3_600_000))), Refusal::Expired);
}

#[test]
fn an_older_entry_is_refused_whoever_wrote_it() {
    let mut judge = judge();
    new(judge.judge(learned(10), Arrival::Published, after(20)));
    assert_eq!(refused(judge.judge(learned(9), KEPT, after(30))), Refusal::Replayed);
    assert_eq!(
        refused(judge.judge(of("beta", learned(9)), Arrival::Published, after(30))),
        Refusal::Replayed
    );
    new(judge.judge(of("beta", learned(11)), Arrival::Published, after(30)));
    assert_eq!(refused(judge.judge(learned(10), KEPT, after(40))), Refusal::Replayed);
    new(judge.judge(Entry { family: measured().family, ..measured() }, KEPT, after(40)));
    new(judge.judge(Entry { name: name("mail.example"), ..learned(5) }, KEPT, after(40)));
}

#[test]
fn an_older_entry_is_refused_after_the_newer_one_has_expired() {
    let mut judge = judge();
    let long = Entry { times: Times { left_ms: 3_600_000, ..learned(0).times }, ..learned(0) };
    new(judge.judge(learned(1), Arrival::Published, after(5)));
    assert_eq!(refused(judge.judge(long, KEPT, after(100_000))), Refusal::Replayed);
    assert_eq!(refused(judge.judge(learned(1), KEPT, after(100_000))), Refusal::Expired);
}

/// By the subscription and by reading; or two hosts in one millisecond, none of which is newer.
#[test]
fn the_same_entry_is_neither_news_nor_an_attack() {
    let mut judge = judge();
    let first = new(judge.judge(learned(0), Arrival::Published, after(5)));
    match judge.judge(learned(0), KEPT, after(10)) {
        Judgement::Known(judged) => {
            assert_eq!((judged.expire_ms, judged.asked), (first.expire_ms, first.asked));
        }
        other => panic!("it is known, not {other:?}"),
    }
    let other = judge.judge(of("beta", learned(0)), Arrival::Published, after(10));
    assert!(matches!(other, Judgement::Known(judged) if &*judged.entry.host == "beta"));
}

#[test]
fn own_entries_are_ignored_until_they_are_read_after_a_restart() {
    let mut judge = judge();
    let own = of("omega", learned(0));
    assert_eq!(judge.judge(own.clone(), Arrival::Published, after(1)), Judgement::Own);
    let judged = new(judge.judge(own, KEPT, after(10_000)));
    assert_eq!(judged.expire_ms, BOOT_MS + 60_000 - MARGIN);
}

/// Clocks of the boot start near zero, and what the site knows is older. It is still later than never.
#[test]
fn a_host_that_has_just_started_accepts_what_is_older_than_itself() {
    let now = Clocks { wall_ms: WALL_MS + 30_000, boot_ms: 12_000 };
    let judged = new(judge().judge(learned(0), KEPT, now));
    assert_eq!(judged.asked, Monotonic::from_ms(1));
    assert_eq!(judged.expire_ms, 12_000 + 30_000 - MARGIN);
    // Without a battery its clock starts in 1970: nothing is accepted until it is set.
    let early = Clocks { wall_ms: 12_000, boot_ms: 12_000 };
    assert_eq!(refused(judge().judge(learned(0), KEPT, early)), Refusal::Clock);
}

#[test]
fn round_trip_times_are_for_hosts_of_one_group() {
    let rtt = |group: &str| {
        let judged = new(Judge::new("omega", group, [0; 2]).judge(measured(), KEPT, after(0)));
        let Content::Addresses(addresses) = judged.entry.content else { panic!("it has one") };
        addresses.first().expect("one").rtt
    };
    assert_eq!(rtt("rack-4"), Rtt::Micros(12_345));
    assert_eq!(rtt("rack-5"), Rtt::Unmeasured);
    assert_eq!(rtt(""), Rtt::Unmeasured);
}

#[test]
fn more_hosts_than_are_remembered_do_no_harm() {
    let mut judge = judge();
    for n in 0..HOSTS_MAX * 2 {
        let entry = Entry { name: name(&format!("h{n}.example")), ..of(&format!("host-{n}"), learned(0)) };
        new(judge.judge(entry, KEPT, after(1)));
    }
}

proptest! {
    /// No clock makes it panic, and no entry lasts longer than it had left when it was learned, or is
    /// learned in the future.
    #[test]
    fn any_clocks_give_a_judgement(
        entries in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u32>(), any::<Option<u64>>()), 1..6),
        clocks in prop::collection::vec((any::<u64>(), any::<u64>()), 6),
        near in any::<bool>(),
    ) {
        let mut judge = judge();
        for ((learned, asked, left_ms, kept), (wall, boot)) in entries.into_iter().zip(clocks) {
            let learned_ms = if near { WALL_MS + learned % 100_000 } else { learned % (TIME_MAX + 1) };
            let left_ms = if near { left_ms % 200_000 } else { left_ms };
            let asked_ms = asked % (learned_ms + 1);
            let now = Clocks {
                wall_ms: if near { WALL_MS + wall % 100_000 } else { wall },
                boot_ms: if near { BOOT_MS + boot % 100_000 } else { boot },
            };
            let entry = Entry { times: Times { asked_ms, learned_ms, left_ms, lifetime_s: 1 }, ..addresses() };
            let arrival = kept.map_or(Arrival::Published, |left_ms| Arrival::Kept { left_ms: Some(left_ms) });
            if let Judgement::New(judged) | Judgement::Known(judged) = judge.judge(entry, arrival, now) {
                let now_ms = now.boot_ms.min(TIME_MAX);
                prop_assert!(judged.expire_ms > now_ms);
                prop_assert!(judged.expire_ms - now_ms <= u64::from(left_ms));
                prop_assert!(judged.asked <= judged.learned);
                prop_assert!(judged.learned.as_ms() <= now_ms.max(1));
            }
        }
    }
}
