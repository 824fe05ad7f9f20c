//! A table of a million names: its size, lookups outside the processor's caches, and the time that a new
//! writer needs to adopt it: `cargo bench --bench table_large [-- NAMES LOOKUPS ABSENT]`.
//!
//! Under cachegrind, two runs with different numbers of lookups give the cache misses of a lookup.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use hither_table::{
    Address, Agreement, Chain, Draft, Family, FamilyDraft, Geometry, Key, Monotonic, Reader, Rtt, Snapshot,
    State, open_or_create,
};
use hither_wire::name::Name;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn name(n: usize) -> Name {
    format!("host{n}.example.com").parse().expect("a name")
}

fn draft(n: usize, version: u64) -> Draft {
    let set = |family: Family| FamilyDraft {
        version,
        set_version: version,
        round: version,
        state: State::Complete,
        negative: None,
        sorted: true,
        expire_ms: 1 << 40,
        lifetime_s: 300,
        agreement: Agreement::default(),
        addresses: (0..2)
            .map(|m| {
                let address = match family {
                    Family::A => Ipv4Addr::from((n * 2 + m) as u32).into(),
                    Family::Aaaa => Ipv6Addr::from((n * 2 + m) as u128).into(),
                };
                Address { rtt: Rtt::Micros(m as u32), ..Address::new(address, 0, 1) }
            })
            .collect(),
        chains: vec![Chain::default()],
        soa: None,
    };
    Draft { name: name(n), a: Some(set(Family::A)), aaaa: Some(set(Family::Aaaa)) }
}

/// Looks up names in scattered order. Returns nanoseconds per lookup, and how many names were found.
fn scattered(reader: &Reader, keys: &[Key], looks: usize) -> (f64, usize) {
    let (mut snapshot, mut hits, mut at) = (Snapshot::new(), 0, 1);
    let began = Instant::now();
    for _ in 0..looks {
        at = (at * 2_654_435_761 + 12_345) % keys.len();
        hits += usize::from(reader.lookup(&keys[at], &mut snapshot).is_ok());
    }
    (began.elapsed().as_nanos() as f64 / looks as f64, hits)
}

fn main() {
    let mut numbers = std::env::args().filter_map(|n| n.parse::<usize>().ok());
    let (names, looks) = (numbers.next().unwrap_or(1_000_000), numbers.next().unwrap_or(300_000));
    let absent_looks = numbers.next().unwrap_or(looks);
    let dir = std::path::Path::new("/dev/shm").join(format!("hither-bench-large-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let open = || open_or_create(&dir, &Geometry { entries: names }, 0o644, [1, 2, 3], 1).expect("a table");
    let began = Instant::now();
    let (mut writer, _, lock) = open();
    println!("created in {} ms", began.elapsed().as_millis());
    let began = Instant::now();
    for n in 0..names {
        let version = writer.next_version();
        writer.put(&draft(n, version), Monotonic(0)).expect("room");
    }
    let each = began.elapsed().as_nanos() / names as u128;
    let size = std::fs::metadata(dir.join("hosts")).expect("there").len();
    println!(
        "{} names of 2 A and 2 AAAA put, {each} ns each, {} evicted",
        writer.entries(),
        writer.evictions()
    );
    println!("file {:.1} MiB, {:.0} octets a name", size as f64 / 1048576.0, size as f64 / names as f64);
    let reader = Reader::open(&dir).expect("readable");
    let keys: Vec<Key> = (0..names).step_by(7).map(|n| Key::of(&name(n))).collect();
    let absent: Vec<Key> = (0..names).step_by(7).map(|n| Key::of(&name(n + names))).collect();
    let ((hit, hits), (miss, _)) =
        (scattered(&reader, &keys, looks), scattered(&reader, &absent, absent_looks));
    println!("scattered lookups {hit:.0} ns ({hits} of {looks} there), of absent names {miss:.0} ns");
    drop((writer, lock));
    // A reader goes on during the takeover. Its longest pause between two lookups is the effect of a restart
    // on readers.
    let (done, longest, missed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut snapshot, mut last, mut at) = (Snapshot::new(), Instant::now(), 1);
            while !done.load(Ordering::Relaxed) {
                at = (at * 2_654_435_761 + 12_345) % keys.len();
                let found = reader.lookup(&keys[at], &mut snapshot).is_ok();
                missed.fetch_add(u64::from(!found), Ordering::Relaxed);
                longest.fetch_max(last.elapsed().as_micros() as u64, Ordering::Relaxed);
                last = Instant::now();
            }
        });
        let began = Instant::now();
        let (mut writer, _, _lock) = open();
        let ready = began.elapsed();
        let version = writer.next_version();
        writer.put(&draft(5, version), Monotonic(0)).expect("room");
        let (mut slices, mut slowest) = (0, Duration::ZERO);
        let found = loop {
            let slice = Instant::now();
            let found = writer.work(4096, Monotonic(0));
            (slices, slowest) = (slices + 1, slowest.max(slice.elapsed()));
            if let Some(found) = found {
                break found;
            }
        };
        let all = began.elapsed();
        println!(
            "a successor is ready in {:.1} ms (wanted 100), knows all {} entries in {} ms, {slices} slices, the slowest {:.1} ms",
            ready.as_secs_f64() * 1e3,
            found.entries,
            all.as_millis(),
            slowest.as_secs_f64() * 1e3
        );
        done.store(true, Ordering::Relaxed);
    });
    let (longest, missed) = (longest.into_inner(), missed.into_inner());
    println!("a reader beside it: longest pause {longest} us, {missed} lookups without an answer");
    let _ = std::fs::remove_dir_all(&dir);
}
