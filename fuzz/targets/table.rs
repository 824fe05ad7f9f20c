//! Reads any octets as a table. Readers do not panic, do not read out of bounds, and give up after a bounded
//! number of tries.
//!
//! The input is a list of changes to a genuine table: the offset of a word in three octets, its new
//! value in eight. If the lowest bit of the first octet is set, the header's checksum is corrected
//! afterwards, so that readers accept the header.
#![no_main]

use hither_table::{
    Address, Agreement, Chain, Draft, Family, FamilyDraft, Freshness, Geometry, Key, Link, Memory, Monotonic,
    Negative, Reader, Rtt, Snapshot, SoaRecord, StaleTime, State, UpstreamTransport, Wanted, Writer, layout,
};
use hither_wire::name::Name;
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

const NAMES: u32 = 16;
const GEOMETRY: Geometry = Geometry { entries: 16 };

fn name(n: u32) -> Name {
    format!("host{n}.example.com").parse().expect("a name")
}

fn family(version: u64, family: Family, count: u32) -> FamilyDraft {
    let address = |n: u32| match family {
        Family::A => std::net::Ipv4Addr::from(0xc612_0000 + n).into(),
        Family::Aaaa => std::net::Ipv6Addr::from(u128::from(n)).into(),
    };
    let link = Link { target: name(99), expire_ms: 1 << 30 };
    FamilyDraft {
        version,
        set_version: version,
        round: version,
        state: State::Complete,
        negative: (count == 0).then_some(Negative::NoData),
        sorted: false,
        expire_ms: 1 << 30,
        lifetime_s: 300,
        agreement: Agreement::default(),
        addresses: (0..count)
            .map(|n| Address { rtt: Rtt::Micros(n), ..Address::new(address(n), (n % 2) as u8, 1) })
            .collect(),
        chains: vec![Chain { links: vec![link.clone(), link] }, Chain::default()],
        soa: (count == 0)
            .then(|| Box::new(SoaRecord { owner: name(1), expire_ms: 1 << 30, rdata: vec![7; 60] })),
    }
}

/// The words of a genuine table.
fn genuine() -> &'static [u64] {
    static WORDS: OnceLock<Vec<u64>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let memory = Memory::heap(GEOMETRY.words());
        let mut writer = Writer::create(memory, &GEOMETRY, [1, 2], 3, 10).expect("a table");
        for n in 0..NAMES {
            let version = writer.next_version();
            let (a, aaaa) = (family(version, Family::A, n % 5), family(version, Family::Aaaa, n % 3));
            writer.put(&Draft { name: name(n), a: Some(a), aaaa: Some(aaaa) }, Monotonic(0)).expect("room");
        }
        writer.recorder().started(Monotonic(1));
        writer.recorder().name_upstream(0, "192.0.2.1:53", UpstreamTransport::Udp);
        writer.reader().copy_words()
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, changes)) = input.split_first() else { return };
    let mut words = genuine().to_vec();
    // The words in use: header, ring, index, and the first chunks.
    let used = words.len().min(layout::HEADER + layout::RING + 20_000);
    for change in changes.chunks_exact(11) {
        let at = usize::from(change[0]) | usize::from(change[1]) << 8 | usize::from(change[2]) << 16;
        words[at % used] = u64::from_le_bytes(change[3..11].try_into().expect("eight"));
    }
    if mode & 1 == 1 {
        words[layout::head::CHECKSUM] = 0;
        let fixed = (0..layout::head::STATE).filter(|at| *at != layout::head::CHECKSUM);
        let fixed = fixed.chain(layout::head::HASH..layout::head::HASH + 8);
        words[layout::head::CHECKSUM] = layout::checksum(fixed.map(|at| words[at]));
    }
    let Ok(reader) = Reader::over(std::sync::Arc::new(Memory::of(&words))) else { return };
    let mut out = Snapshot::new();
    for n in 0..NAMES {
        if reader.lookup(&Key::of(&name(n)), &mut out).is_ok() {
            read(&out);
        }
    }
    let mut entries = reader.entries();
    while entries.next(&mut out) {
        read(&out);
    }
    let mut follower = reader.follow();
    for _ in 0..4 {
        let _ = follower.step(&mut out);
    }
    let _ =
        (reader.verify(), reader.counters(), reader.dns_address(), reader.writer_lives(), reader.version());
    if let Some(metrics) = reader.metrics() {
        assert!(metrics.upstreams.len() <= 64 && metrics.workers.len() <= 65);
    }
    // A daemon takes the table over or refuses it.
    if let Ok(mut writer) = Writer::adopt(Memory::of(&words), &GEOMETRY) {
        while writer.has_work() {
            let _ = writer.work(64, Monotonic(0));
        }
        for n in 0..4 {
            let version = writer.next_version();
            let a = Some(family(version, Family::A, 40 * n));
            let _ = writer.put(&Draft { name: name(n + 7), a, aaaa: None }, Monotonic(0));
        }
        assert!(writer.reader().verify().bad.is_empty(), "an adopted table has no bad record");
    }
});

fn read(entry: &Snapshot) {
    for which in [Family::A, Family::Aaaa] {
        if let Some(set) = entry.family(which) {
            assert!(set.addresses().count() == set.len());
            let chains: usize = (0..set.chain_count()).map(|chain| set.chain(chain).count()).sum();
            let _ = (
                chains,
                set.canonical().len(),
                set.soa(),
                set.ttl(Monotonic(0)),
                set.is_ending(Monotonic(0)),
            );
        }
    }
    let _ = entry.freshness(Wanted::Both, StaleTime::UNKNOWN, Monotonic(0)) == Freshness::Fresh;
    let _ = (entry.to_draft(), entry.intact(), entry.name().len());
}
