//! Lookups in the table, compared with a plain copy of the same words between two reads of the version:
//! `cargo bench --bench table_read`
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use hither_table::layout::TRIES_MAX;
use hither_table::{
    Address, Agreement, Chain, Draft, Family, FamilyDraft, Freshness, Geometry, Key, Monotonic, NoEntry,
    Reader, Rtt, Snapshot, StaleTime, State, Wanted, Writer, open_or_create,
};
use hither_wire::name::Name;
use std::hint::black_box;
use std::net::{Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::Instant;

const BATCHES: usize = 400;
const BATCH: usize = 1000;

fn name(n: usize) -> Name {
    format!("www.host{n:05}.example.com").parse().expect("a name")
}

fn median_ns(run: impl FnMut(usize)) -> f64 {
    median_of(BATCHES, run)
}

fn median_of(batches: usize, mut run: impl FnMut(usize)) -> f64 {
    let mut all: Vec<f64> = (0..batches)
        .map(|_| {
            let began = Instant::now();
            (0..BATCH).for_each(&mut run);
            began.elapsed().as_nanos() as f64 / BATCH as f64
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Does the least that a seqlock reader must do: read the version, copy, read the version again.
fn plain_copy(from: &[AtomicU64], to: &mut [u64]) -> bool {
    let before = from[0].load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.load(Ordering::Relaxed);
    }
    fence(Ordering::Acquire);
    from[0].load(Ordering::Relaxed) == before
}

/// The time of a query and its reply over loopback between two threads, which is the least that a query
/// to a daemon costs.
fn udp_exchange_ns() -> f64 {
    let socket = || UdpSocket::bind("127.0.0.1:0").expect("a port");
    let (here, there) = (socket(), socket());
    here.connect(there.local_addr().expect("bound")).expect("a route");
    there.connect(here.local_addr().expect("bound")).expect("a route");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (reply, mut buffer) = ([2; 497], [0; 512]);
            while there.recv(&mut buffer).expect("received") > 1 {
                there.send(&reply).expect("sent");
            }
        });
        let mut buffer = [0; 512];
        let median = median_of(40, |_| {
            here.send(&[1; 46]).expect("sent");
            here.recv(&mut buffer).expect("received");
        });
        here.send(&[0]).expect("sent");
        median
    })
}

/// Reads one key for a second while another thread publishes it without pause. Returns the number of
/// reads, of those that took more than one try, and of those that gave up.
fn beside_a_busy_writer(
    reader: &Reader,
    key: &Key,
    writer: &mut Writer,
    draft: impl Fn(u64) -> Draft + Sync,
) -> (u64, u64, u64) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publishes = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let version = writer.next_version();
                writer.put(&draft(version), Monotonic(0)).expect("room");
            }
        });
        let (mut snapshot, mut reads, mut retried, mut busy) = (Snapshot::new(), 0, 0, 0);
        let began = Instant::now();
        while began.elapsed().as_millis() < 1000 {
            for _ in 0..1000 {
                let tries = reader.tries(key, &mut snapshot);
                reads += 1;
                retried += u64::from(tries > 1);
                busy += u64::from(tries > TRIES_MAX);
            }
        }
        done.store(true, Ordering::Relaxed);
        publishes.join().expect("no panic");
        (reads, retried, busy)
    })
}

fn main() {
    let dir = std::env::temp_dir().join(format!("hither-bench-table-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let opened = open_or_create(&dir, &Geometry { entries: 65_536 }, 0o644, [1, 2, 3], 1);
    let mut writer = opened.expect("a table").0;
    let address = |n: u128| Address {
        rtt: Rtt::Micros(n as u32),
        ..Address::new(Ipv6Addr::from(n << 64).into(), 0, 1)
    };
    let draft = |n: usize, version: u64| Draft {
        name: name(n),
        a: None,
        aaaa: Some(FamilyDraft {
            version,
            set_version: version,
            round: version,
            state: State::Complete,
            negative: None,
            sorted: true,
            expire_ms: 1 << 40,
            lifetime_s: 60,
            agreement: Agreement::default(),
            addresses: (1..=16).map(address).collect(),
            chains: vec![Chain::default()],
            soa: None,
        }),
    };
    for n in 0..1000 {
        let version = writer.next_version();
        writer.put(&draft(n, version), Monotonic(0)).expect("room");
    }
    // The reader has a mapping of its own, as another process would.
    let reader = Reader::open(&dir).expect("readable");
    let (present, absent) = (Key::of(&name(7)), Key::of(&name(77_777)));
    let mut snapshot = Snapshot::new();
    let hit = median_ns(|_| assert_eq!(reader.lookup(black_box(&present), &mut snapshot), Ok(())));
    let missing = Err(NoEntry::Missing);
    let miss = median_ns(|_| assert_eq!(reader.lookup(black_box(&absent), &mut snapshot), missing));
    // The words of a record with 16 IPv6 addresses and this name.
    let words: Vec<AtomicU64> = (0..3 + 4 + 4 + 48).map(AtomicU64::new).collect();
    let mut copy = vec![0; words.len()];
    let plain = median_ns(|_| assert!(plain_copy(black_box(&words), black_box(&mut copy))));
    let put = median_ns(|n| {
        let version = writer.next_version();
        writer.put(&draft(n, version), Monotonic(0)).expect("room");
    });
    let fresh = median_ns(|_| {
        let now = hither_client::Monotonic::now();
        let found = reader.lookup(black_box(&present), &mut snapshot).is_ok();
        let wanted = Wanted::One(Family::Aaaa);
        assert!(found && snapshot.freshness(wanted, StaleTime::UNKNOWN, now) == Freshness::Fresh);
    });
    let exchange = udp_exchange_ns();
    let (reads, retried, busy) =
        beside_a_busy_writer(&reader, &present, &mut writer, |version| draft(7, version));
    println!("hit, 16 addresses   {hit:>8.1} ns");
    println!("  with expiry       {fresh:>8.1} ns (wanted at most 60)");
    println!(
        "UDP exchange        {exchange:>8.0} ns, loopback, two threads: {:.0} times that (wanted 100)",
        exchange / fresh
    );
    println!(
        "beside a writer at full speed on that very key: {reads} reads, {retried} of them retried, {busy} busy"
    );
    println!("miss                {miss:>8.1} ns");
    println!("plain copy          {plain:>8.1} ns");
    println!("put, 16 addresses   {put:>8.1} ns");
    println!(
        "hit / plain copy: {:.2} (at most 2 without the hash of the name), miss / hit: {:.2}",
        hit / plain,
        miss / hit
    );
    let _ = std::fs::remove_dir_all(&dir);
}
