//! Entries are read as they were written, only with the site's key, for their own name and site; and no entry
//! lasts longer or is believed newer than it is.

#[path = "entries/attacker.rs"]
mod attacker;
#[path = "entries/format.rs"]
mod format;
#[path = "entries/judging.rs"]
mod judging;
#[path = "entries/properties.rs"]
mod properties;

use hither_entries::{Content, Entry, Key, Keys, Link, Seal, Soa, Times};
use hither_table::{Address, Agreement, Family, Negative, Rtt};
use hither_wire::name::Name;

/// A time of the wall clock.
const WALL_MS: u64 = 1_790_000_000_000;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn seal_of(prefix: &str, credential: Option<&str>) -> Seal {
    let key = credential.map(|text| Key::from_credential(text.as_bytes()).expect("long enough"));
    Seal::new(Keys::new(prefix).expect("a prefix"), key)
}

fn signing() -> Seal {
    seal_of("hither", Some("a secret of the site\n"))
}

/// Two addresses, one behind a CNAME, with 60 s left, from a host without a group.
fn addresses() -> Entry {
    let mut first = Address::new([192, 0, 2, 1].into(), 0, 0);
    (first.upstreams, first.sources) = (Address::TRUSTED, 3);
    let mut second = Address::new([192, 0, 2, 2].into(), 1, 0);
    (second.upstreams, second.sources) = (0, 1);
    Entry {
        host: "alpha".into(),
        group: "".into(),
        times: Times { asked_ms: WALL_MS - 40, learned_ms: WALL_MS, left_ms: 60_000, lifetime_s: 60 },
        agreement: Agreement { answered: 3, disputes: Agreement::DENIED, dissenters: 0 },
        said_by: vec!["192.0.2.53".into(), "quad9".into()],
        name: name("www.example"),
        family: Family::A,
        chains: vec![Vec::new(), vec![Link { target: name("Edge.example.net"), left_ms: 90_000 }]],
        content: Content::Addresses(vec![first, second]),
    }
}

/// An IPv6 address with a round-trip time, from a host of a group.
fn measured() -> Entry {
    let mut address = Address::new("2001:db8::7".parse().expect("an address"), 0, 0);
    (address.upstreams, address.sources, address.rtt) = (Address::TRUSTED, 2, Rtt::Micros(12_345));
    Entry {
        group: "rack-4".into(),
        family: Family::Aaaa,
        chains: vec![Vec::new()],
        content: Content::Addresses(vec![address]),
        ..addresses()
    }
}

/// A name that does not exist, with the SOA record of its zone.
fn denial() -> Entry {
    let rdata = [&b"\x02ns\x07example\0\x04root\x07example\0"[..], &[0, 0, 1, 0].repeat(5)].concat();
    let soa = Soa { owner: name("example"), left_ms: 30_000, rdata };
    Entry {
        chains: vec![Vec::new()],
        content: Content::Denial { negative: Negative::NxDomain, soa: Some(Box::new(soa)) },
        ..addresses()
    }
}
