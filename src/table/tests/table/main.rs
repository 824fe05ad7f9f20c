//! The table through its public interface: entries, eviction, followers, files, and a model of it.
#![cfg(feature = "writer")]
#![allow(clippy::print_stdout)] // One process of a test reports to the other.

mod entries;
mod eviction;
mod families;
mod files;
mod followers;
mod metrics;
mod model;
#[path = "../../../../tests/support/skip.rs"]
mod skip;

use hither_table::{
    Address, Agreement, Chain, Draft, Family, FamilyDraft, Geometry, Key, Memory, Monotonic, NoEntry, Origin,
    Reader, Rtt, Snapshot, State, Trust, Writer, open_or_create,
};
use hither_wire::name::Name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

const NOW: Monotonic = Monotonic::from_ms(1_000_000);

fn name(n: u32) -> Name {
    format!("host{n}.example.com").parse().expect("a name")
}

fn set(version: u64, family: Family, count: usize) -> FamilyDraft {
    let address = |n: usize| -> IpAddr {
        match family {
            Family::A => Ipv4Addr::from((0xc612_0000 + version * 256 + n as u64) as u32).into(),
            Family::Aaaa => Ipv6Addr::from(u128::from(version) << 64 | n as u128).into(),
        }
    };
    let rtt = |n: usize| [Rtt::Micros(n as u32), Rtt::Unmeasured, Rtt::Unreachable][n % 3];
    FamilyDraft {
        version,
        set_version: version,
        round: version,
        state: [State::First, State::Partial, State::Complete][version as usize % 3],
        negative: None,
        sorted: version.is_multiple_of(2),
        expire_ms: NOW.as_ms() + 1000 * (version % 1000),
        lifetime_s: (version % 64) as u32,
        agreement: Agreement {
            answered: version as u8,
            disputes: (version % 8) as u8,
            dissenters: if version.is_multiple_of(8) { 0 } else { version as u32 & 0x7f_ffff },
        },
        addresses: (0..count)
            .map(|n| Address {
                address: address(n),
                rtt: rtt(n),
                chain: (n % 2) as u8,
                upstreams: n as u32,
                sources: (n % 32) as u8,
                trust: Trust::ALL[n % 7],
            })
            .collect(),
        chains: vec![Chain::default()],
        soa: None,
    }
}

fn both(n: u32, version: u64, counts: (usize, usize)) -> Draft {
    Draft {
        name: name(n),
        a: Some(set(version, Family::A, counts.0)),
        aaaa: (counts.1 > 0).then(|| set(version, Family::Aaaa, counts.1)),
    }
}

fn heap(entries: usize) -> Writer {
    let geometry = Geometry { entries };
    Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table")
}

fn read(reader: &Reader, n: u32) -> (Result<(), NoEntry>, Option<Draft>) {
    let mut out = Snapshot::new();
    let lookup = reader.lookup(&Key::of(&name(n)), &mut out);
    (lookup, lookup.is_ok().then(|| out.to_draft()).flatten())
}

/// Completes a takeover; returns how many entries were taken over and how many were dropped.
fn finish(writer: &mut Writer) -> (usize, usize) {
    loop {
        if let Some(found) = writer.work(100, NOW) {
            return (found.entries, found.dropped);
        }
        assert!(writer.has_work());
    }
}

/// A directory for one test, removed at its end.
struct Dir(PathBuf);

impl Dir {
    fn new(what: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("hither-table-{what}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        Dir(dir)
    }

    fn open(&self) -> (Writer, Origin, Box<dyn std::any::Any>) {
        let opened = open_or_create(&self.0, &Geometry { entries: 64 }, 0o644, [1, 2, 3], 1_700_000_000);
        let (writer, origin, lock) = opened.expect("a table");
        (writer, origin, Box::new(lock))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Set in a second process of a test: the directory of the table.
const PART: &str = "HITHER_TABLE_TEST_DIR";

fn part() -> Option<PathBuf> {
    std::env::var_os(PART).map(PathBuf::from)
}
