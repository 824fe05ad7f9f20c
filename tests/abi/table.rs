//! The table's layout: its constants, and the words of a small table with known contents, which
//! show where every bit stands.

use hither_table::layout::{self, head};
use hither_table::{
    Address, Agreement, Chain, Counter, Draft, FamilyDraft, Geometry, Link, Memory, Monotonic, Negative, Rtt,
    SoaRecord, State, Trust, Writer, paths,
};
use hither_wire::name::Name;
use std::fmt::Write as _;

pub fn described() -> String {
    let mut out = String::new();
    constants(&mut out);
    for (name, at) in head::ALL {
        let _ = writeln!(out, "header word {at} {name}");
    }
    for (n, counter) in Counter::ALL.iter().enumerate() {
        let _ = writeln!(out, "header word {} counter {}", head::COUNTERS + n, counter.name());
    }
    example(&mut out);
    out
}

fn constants(out: &mut String) {
    let numbers: [(&str, u64); 23] = [
        ("MAGIC", layout::MAGIC),
        ("ABI", layout::ABI),
        ("ENDIAN", layout::ENDIAN),
        ("LINE", layout::LINE as u64),
        ("HEADER", layout::HEADER as u64),
        ("RING", layout::RING as u64),
        ("RECORD_MAX", layout::RECORD_MAX as u64),
        ("RECORD_HEAD", layout::RECORD_HEAD as u64),
        ("BLOCK", layout::BLOCK as u64),
        ("CHUNK", layout::CHUNK as u64),
        ("METRICS_CHUNKS", layout::METRICS_CHUNKS as u64),
        ("METRICS_WORDS", layout::METRICS_WORDS as u64),
        ("ADDRESSES_MAX", layout::ADDRESSES_MAX as u64),
        ("CLOCK_SLACK_MS", layout::CLOCK_SLACK_MS),
        ("VERSION_MAX", layout::VERSION_MAX),
        ("ACTIVITY_WORDS", layout::ACTIVITY_WORDS as u64),
        ("HINT", layout::HINT.into()),
        ("OWNER_DIED", layout::OWNER_DIED.into()),
        ("LIVE", layout::LIVE),
        ("SUPERSEDED", layout::SUPERSEDED),
        ("CLOSED", layout::CLOSED),
        ("Address::TRUSTED", Address::TRUSTED.into()),
        ("checksum of 1, 2, 3", layout::checksum([1, 2, 3].into_iter())),
    ];
    for (name, value) in numbers {
        let _ = writeln!(out, "{name} = {value:#x}");
    }
    let _ = writeln!(out, "CLASSES = {:?}", layout::CLASSES);
    let files = [paths::RUNTIME_DIR, paths::TABLE_FILE, paths::HINT_SOCKET, paths::RUNTIME_DIR_VARIABLE];
    let _ = writeln!(out, "paths = {files:?}");
}

/// The words of a table with two entries, which have every part that a record may have: the header,
/// and for each index word its record. The line of a record is left out, since the writer may
/// choose any.
fn example(out: &mut String) {
    let geometry = Geometry { entries: 16 };
    let memory = Memory::heap(geometry.words());
    let mut writer = Writer::create(memory, &geometry, [1, 2], 3, 10).expect("a table");
    writer.set_dns_address(Some("[2001:db8::53]:5353".parse().expect("an address")));
    writer.set_network(0x1234_5678);
    for draft in drafts() {
        writer.put(&draft, Monotonic(0)).expect("room");
    }
    let words = writer.reader().copy_words();
    let sizes = [head::FILE, head::METRICS, head::DATA, head::LINES, head::CHECKSUM];
    for (at, word) in words[..layout::HEADER].iter().enumerate() {
        if *word != 0 && !sizes.contains(&at) {
            let _ = writeln!(out, "example: header word {at} = {word:#018x}");
        }
    }
    let (index, data) = (words[head::INDEX] as usize, words[head::DATA] as usize);
    for (place, word) in words[index..data].iter().enumerate().filter(|(_, word)| **word != 0) {
        let _ = writeln!(out, "example: index word {place} without its line = {:#010x}", word >> 32);
        let record = &words[data + *word as u32 as usize * layout::LINE..];
        for (n, word) in record.iter().enumerate().take((record[1] & 0xffff) as usize) {
            let _ = writeln!(out, "example: its record, word {n} = {word:#018x}");
        }
    }
}

fn drafts() -> [Draft; 2] {
    let name = |text: &str| -> Name { text.parse().expect("a name") };
    let address = |text: &str, rtt, chain, upstreams| Address {
        address: text.parse().expect("an address"),
        rtt,
        chain,
        upstreams,
        sources: chain + 2,
        trust: if chain == 0 { Trust::Verified } else { Trust::OtherName },
    };
    let link = |target, expire_ms| Link { target: name(target), expire_ms };
    let a = FamilyDraft {
        version: 0x11,
        set_version: 0x12,
        round: 0x13,
        state: State::Partial,
        negative: None,
        sorted: true,
        expire_ms: 0x1234_5678_9abc,
        lifetime_s: 300,
        agreement: Agreement { answered: 3, disputes: Agreement::PRIVATE, dissenters: 4 },
        addresses: vec![
            address("192.0.2.1", Rtt::Micros(0x0102_0304), 0, 5 | Address::TRUSTED),
            address("192.0.2.2", Rtt::Unmeasured, 1, 1 << 22),
            address("192.0.2.3", Rtt::Unreachable, 0, 2),
        ],
        chains: vec![
            Chain { links: vec![link("b.example", 0x77), link("c.example", 0x78)] },
            Chain::default(),
        ],
        soa: None,
    };
    let aaaa = FamilyDraft {
        version: 0x21,
        state: State::Complete,
        sorted: false,
        agreement: Agreement { answered: 2, ..Agreement::default() },
        addresses: vec![address("2001:db8::1:2", Rtt::Micros(9), 0, 3)],
        chains: vec![Chain::default()],
        ..a.clone()
    };
    let soa = SoaRecord { owner: name("example"), expire_ms: 0x99, rdata: (1..=30).collect() };
    let denied = |version, negative, soa| FamilyDraft {
        version,
        state: State::First,
        negative: Some(negative),
        addresses: Vec::new(),
        soa,
        ..aaaa.clone()
    };
    let missing = denied(0x31, Negative::NxDomain, Some(Box::new(soa)));
    let withheld = denied(0x32, Negative::Withheld, None);
    [
        Draft { name: name("a.example"), a: Some(a), aaaa: Some(aaaa) },
        Draft { name: name("none.example"), a: Some(missing), aaaa: Some(withheld) },
    ]
}
