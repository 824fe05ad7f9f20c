//! Tests that readers find the stored entries: flushes and versions.

use super::{NOW, both, heap, name, read, set};
use hither_table::{
    Chain, Draft, Family, FamilyDraft, Freshness, Key, Link, Monotonic, Negative, NoEntry, PutError,
    Snapshot, SoaRecord, StaleTime, Wanted, first_version,
};
use hither_wire::name::Name;
use std::time::Duration;

#[test]
fn versions_continue_above_those_of_a_lost_table() {
    let mut writer = heap(10);
    let last = 5 << 40;
    writer.go_on_above(last);
    let next = writer.next_version();
    assert!(next > last);
    // A lower one, and one out of range, change nothing.
    writer.go_on_above(last - 1);
    writer.go_on_above(u64::MAX);
    assert_eq!(writer.next_version(), next + 1);
}

#[test]
fn versions_begin_above_those_of_an_earlier_moment() {
    let at = |seconds, nanos| first_version(std::time::Duration::new(seconds, nanos));
    assert!(at(1_790_000_000, 0) < at(1_790_000_000, 1_000));
    assert!(at(1_790_000_000, 999_999_999) < at(1_790_000_001, 0));
    assert_eq!(at(1_790_000_000, 0), 1_790_000_000 << 20);
    for seconds in [0, 1_790_000_000, 4_000_000_000, 1 << 40, u64::MAX] {
        let mut writer = heap(10);
        assert!(writer.begin_above(at(seconds, 999_999_999)), "{seconds}");
        assert!(writer.next_version() < 1 << 52);
    }
    let mut writer = heap(10);
    assert!(writer.begin_above(5000) && writer.next_version() == 5001);
    assert_eq!(writer.reader().version(), 5000, "a successor continues there even if nothing was published");
    assert!(writer.begin_above(1) && !writer.begin_above(1 << 52) && writer.last_version() == 5001);
}

#[test]
fn an_entry_is_read_as_it_was_put() {
    let mut writer = heap(64);
    let mut draft = both(1, 11, (16, 16));
    let target: Name = "edge.example.net".parse().expect("a name");
    let link = Link { target, expire_ms: 77 };
    draft.a.as_mut().expect("A").chains = vec![Chain { links: vec![link.clone(), link] }, Chain::default()];
    draft.aaaa = Some(FamilyDraft {
        negative: Some(Negative::NxDomain),
        addresses: Vec::new(),
        soa: Some(Box::new(SoaRecord { owner: name(7), expire_ms: 99, rdata: vec![1; 70] })),
        ..set(12, Family::Aaaa, 0)
    });
    writer.put(&draft, NOW).expect("room");
    assert_eq!(read(&writer.reader(), 1), (Ok(()), Some(draft)));
    assert_eq!(read(&writer.reader(), 2).0, Err(NoEntry::Missing));
    assert!(writer.reader().verify().bad.is_empty());
}

#[test]
fn one_address_takes_two_lines_and_two_of_each_family_take_four() {
    let mut writer = heap(64);
    writer.put(&both(1, 11, (2, 2)), NOW).expect("room");
    let mut out = Snapshot::new();
    writer.get(&Key::of(&name(1)), &mut out);
    assert!(out.entry().words() <= 32, "{}", out.entry().words());
    writer.put(&both(1, 12, (1, 0)), NOW).expect("room");
    writer.get(&Key::of(&name(1)), &mut out);
    assert!(out.entry().words() <= 16, "{}", out.entry().words());
}

#[test]
fn an_entry_that_is_too_large_is_refused_and_the_old_entry_stays() {
    let mut writer = heap(64);
    writer.put(&both(1, 11, (1, 0)), NOW).expect("room");
    assert_eq!(writer.put(&both(1, 12, (256, 0)), NOW).err(), Some(PutError::TooLarge));
    writer.put(&both(2, 13, (255, 255)), NOW).expect("the largest sets fit");
    assert_eq!(read(&writer.reader(), 1).1, Some(both(1, 11, (1, 0))));
    assert_eq!(read(&writer.reader(), 2).1, Some(both(2, 13, (255, 255))));
}

#[test]
fn a_flush_removes_all_entries_at_once_and_later_ones_stay() {
    let mut writer = heap(64);
    for n in 0..50 {
        let version = writer.next_version();
        writer.put(&both(n, version, (2, 0)), NOW).expect("room");
    }
    writer.flush_all();
    assert!((0..50).all(|n| read(&writer.reader(), n).0 == Err(NoEntry::Missing)));
    let version = writer.next_version();
    writer.put(&both(3, version, (2, 0)), NOW).expect("room");
    assert_eq!(read(&writer.reader(), 3).0, Ok(()));
    let (reader, mut out) = (writer.reader(), Snapshot::new());
    let mut entries = reader.entries();
    assert!(entries.next(&mut out) && !entries.next(&mut out), "a scan finds the one that is left");
}

#[test]
fn what_has_expired_may_be_used_for_as_long_as_the_header_says() {
    const DAY: Duration = Duration::from_secs(86_400);
    let mut writer = heap(64);
    let reader = writer.reader();
    let denial = FamilyDraft { negative: Some(Negative::NoData), ..set(11, Family::Aaaa, 0) };
    let draft = Draft { aaaa: Some(denial), ..both(1, 11, (2, 0)) };
    let expiry = NOW.plus(Duration::from_secs(11));
    writer.put(&draft, NOW).expect("room");
    let mut out = Snapshot::new();
    assert_eq!(reader.lookup(&Key::of(&name(1)), &mut out), Ok(()));
    let just_before = |time: Monotonic| Monotonic::from_ms(time.as_ms() - 1);
    let (fresh, stale, partial) = (Freshness::Fresh, Freshness::Stale, Freshness::Partial);
    for (time, at, a, aaaa) in [
        (Some(DAY), just_before(expiry), fresh, fresh),
        (Some(DAY), expiry, stale, partial),
        (Some(DAY), just_before(expiry.plus(DAY)), stale, partial),
        (Some(DAY), expiry.plus(DAY), partial, partial),
        (Some(Duration::ZERO), just_before(expiry), fresh, fresh),
        (Some(Duration::ZERO), expiry, partial, partial),
        (Some(Duration::MAX), expiry.plus(1000 * DAY), stale, partial),
        (None, expiry.plus(1000 * DAY), stale, stale),
    ] {
        writer.set_stale_time(time.map_or(StaleTime::UNKNOWN, StaleTime::of));
        let found = |wanted| out.freshness(wanted, reader.stale_time(), at);
        let both = [Wanted::One(Family::A), Wanted::One(Family::Aaaa)].map(found);
        assert_eq!(both, [a, aaaa], "{time:?}, {at:?}");
        let worse = if aaaa == partial { partial } else { a };
        assert_eq!(found(Wanted::Both), worse, "{time:?}, {at:?}");
    }
}
