//! Sets with any content that the daemon could publish, in a table of their own, and the JSON by which
//! hitherctl and other readers show them.

use hither_table::{
    Address, Agreement, Chain, Draft, Family, FamilyDraft, Geometry, Link, Monotonic, Negative, Rtt,
    SoaRecord, StaleTime, State, Trust, Writer, open_or_create,
};
use hither_wire::name::Name;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A name of 1 to 200 octets, the n-th of its length. One in sixteen has octets that are escaped.
fn name(numbers: &mut Numbers, n: u64) -> Name {
    let mut text = format!("{n:x}");
    if n.is_multiple_of(16) {
        text += numbers.one(&["\\000", "\\.", "\\\"", "\\\\", "\\255", "\\032", "\\@"]);
    }
    for _ in 0..numbers.below(9) {
        let label = ["a", "bc", "www", "x-1", "_tcp", "example", "averylonglabel0123456789"];
        text = format!("{text}.{}", numbers.one(&label));
    }
    text.parse().expect("a name")
}

fn link(numbers: &mut Numbers) -> Link {
    let n = numbers.below(1000);
    Link { target: name(numbers, n), expire_ms: numbers.below(1 << 40) }
}

/// A family with any content that the daemon could publish, of `version`.
fn family(numbers: &mut Numbers, family: Family, version: u64, now_ms: u64) -> FamilyDraft {
    let negative = match numbers.below(8) {
        0 => Some(Negative::NoData),
        1 => Some(Negative::NxDomain),
        2 => Some(Negative::Withheld),
        _ => None,
    };
    let chains: Vec<Chain> = (0..=numbers.below(4))
        .map(|_| Chain { links: (0..numbers.below(4)).map(|_| link(numbers)).collect() })
        .collect();
    let many = if negative.is_some() { 0 } else { numbers.one(&[1, 1, 2, 2, 3, 4, 9, 40]) };
    let addresses = (0..many).map(|_| Address {
        address: match family {
            Family::A => Ipv4Addr::from(numbers.below(1 << 32) as u32).into(),
            Family::Aaaa => {
                Ipv6Addr::from(u128::from(numbers.below(u64::MAX)) << 64 | u128::from(numbers.0)).into()
            }
        },
        rtt: match numbers.below(3) {
            0 => Rtt::Unmeasured,
            1 => Rtt::Unreachable,
            _ => Rtt::Micros(numbers.below(1 << 31) as u32),
        },
        chain: numbers.below(chains.len() as u64) as u8,
        upstreams: numbers.below(1 << 24) as u32,
        trust: Trust::from_number(numbers.below(7) as u8),
        sources: numbers.below(32) as u8,
    });
    let addresses = addresses.collect();
    let owner = name(numbers, version);
    let expire_ms = numbers.below(1 << 40);
    let soa = SoaRecord { owner, expire_ms, rdata: vec![7; 22 + numbers.below(60) as usize] };
    FamilyDraft {
        version,
        set_version: version - numbers.below(version),
        round: numbers.below(1 << 52),
        state: numbers.one(&[State::First, State::Partial, State::Complete]),
        negative,
        sorted: numbers.below(2) == 0,
        // Fresh for long; expired, but not for so long as it may be used; and expired before that.
        expire_ms: match numbers.below(4) {
            0 => now_ms - now_ms / 8,
            1 => now_ms / 8,
            _ => now_ms + 3_600_000 + numbers.below(1 << 33),
        },
        lifetime_s: numbers.below(100_000) as u32,
        agreement: Agreement {
            answered: numbers.below(256) as u8,
            disputes: numbers.one(&[0, 0, 0, 1, 2, 3, 4, 5, 6, 7]),
            dissenters: numbers.below(1 << 23) as u32,
        },
        addresses,
        chains,
        soa: negative.filter(|kind| *kind != Negative::Withheld).map(|_| Box::new(soa)),
    }
}

/// The lines of JSON, by name and type.
pub fn entries(output: &str) -> BTreeMap<(String, String), Value> {
    let field = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let lines = lines.filter(|line| line["name"].is_string());
    lines.map(|line| ((field(&line, "name"), field(&line, "type")), line)).collect()
}

pub fn dump(run: &Path) -> BTreeMap<(String, String), Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherctl"));
    let output = command.args(["--json", "--runtime-dir"]).arg(run).arg("dump").output().expect("started");
    assert!(output.status.success(), "{output:?}");
    entries(&String::from_utf8_lossy(&output.stdout))
}

/// Whether both lines say the same, as far as the reader in C prints it. The time goes on between them.
fn agree(reader: &Value, ours: &Value) -> bool {
    let ttl = |line: &Value| line["ttl"].as_u64().expect("a number");
    let fields = reader.as_object().expect("an object").keys().filter(|key| *key != "ttl");
    let same = fields.into_iter().all(|key| reader[key] == ours[key] || key == "addresses");
    let [theirs, own] = [reader, ours].map(|line| line["addresses"].as_array().expect("a list"));
    let address = |(reader, ours): (&Value, &Value)| {
        reader.as_object().expect("an object").iter().all(|(key, value)| ours[key] == *value)
    };
    same && theirs.len() == own.len()
        && theirs.iter().zip(own).all(address)
        && ttl(reader).abs_diff(ttl(ours)) <= 120
}

pub fn differences(
    readers: &BTreeMap<(String, String), Value>,
    ours: &BTreeMap<(String, String), Value>,
) -> Vec<String> {
    let keys: BTreeSet<_> = readers.keys().chain(ours.keys()).collect();
    let differ = keys.into_iter().filter(|key| match (readers.get(key), ours.get(key)) {
        (Some(reader), Some(ours)) => !agree(reader, ours),
        _ => true,
    });
    differ.map(|key| format!("{key:?}: {:?} and {:?}", readers.get(key), ours.get(key))).collect()
}

/// Writes that many names into a new table in `dir`. Returns its writer, the names without escapes, a line
/// each, and the lock of the table.
pub fn write_any(dir: &Path, many: u64) -> (Writer, String, impl Sized + use<>) {
    std::fs::create_dir_all(dir).expect("a directory");
    let geometry = Geometry { entries: 2 * many as usize };
    let (mut writer, _, lock) = open_or_create(dir, &geometry, 0o644, [1, 2, 3], 1).expect("a table");
    let (now, mut numbers) = (Monotonic::now(), Numbers(0x1234_5678_9abc));
    writer.set_stale_time(StaleTime::of(Duration::from_millis(now.as_ms() / 2)));
    let mut plain = String::new();
    for n in 0..many {
        let name = name(&mut numbers, n);
        let has = numbers.one(&[(true, false), (false, true), (true, true)]);
        let [a, aaaa] = [(has.0, Family::A), (has.1, Family::Aaaa)].map(|(has, of)| {
            has.then(|| {
                let version = writer.next_version();
                family(&mut numbers, of, version, now.as_ms())
            })
        });
        writer.put(&Draft { name, a, aaaa }, now).expect("room");
        if !name.to_string().contains('\\') {
            plain += &format!("{name}\n");
        }
    }
    (writer, plain, lock)
}
