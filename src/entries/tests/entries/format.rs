//! The format: known octets, keys, messages; and each part that is refused.

use crate::{WALL_MS, addresses, denial, measured, name, seal_of, signing};
use hither_entries::{
    BadPrefix, Content, Entry, Fault, KEY_MAX, Key, KeyError, Keys, Link, MESSAGE_MAX, Refusal, Seal, Soa,
    Times, VALUE_MAX, decode_message, encode_message,
};
use hither_table::{Address, Family, Negative, Trust};
use std::fmt::Write as _;

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").expect("memory");
        text
    })
}

/// If these change, hosts of two versions do not understand each other: then the version in the first
/// octets must change too.
#[test]
fn entries_have_known_octets() {
    let known = [
        (signing(), addresses(), "{hither}:a:www.example.", ADDRESSES),
        (signing(), measured(), "{hither}:6:www.example.", MEASURED),
        (seal_of("lab", None), denial(), "{lab}:a:www.example.", DENIAL),
    ];
    for (seal, entry, key, octets) in known {
        let (own_key, value) = seal.seal(&entry).expect("an entry");
        assert_eq!((own_key.as_str(), hex(&value)), (key, octets.concat()));
        assert_eq!(seal.open(key.as_bytes(), &value), Ok(entry));
    }
}

const ADDRESSES: &[&str] = &[
    "48534531010005616c70686100d86b50c4a0010000006c50c4a001000060ea00003c0000000304020a3139322e302e322e35",
    "330571756164390d03777777076578616d706c6500020001905f010000000000120445646765076578616d706c65036e6574",
    "0002c00002010003c00002028101959201f7cc4fcc865608756d237d13ef7ef18f9fa53ca5f01cb2e2dbc1aadc7f",
];
const MEASURED: &[&str] = &[
    "48534531010105616c706861067261636b2d34d86b50c4a0010000006c50c4a001000060ea00003c0000000304020a313932",
    "2e302e322e35330571756164390d03777777076578616d706c650001000120010db800000000000000000000000700023930",
    "0000aae75e2d81011f27f3ece409f29f4421313d1cb4b5853c1105a3b9f993362151",
];
const DENIAL: &[&str] = &[
    "48534531000c05616c70686100d86b50c4a0010000006c50c4a001000060ea00003c0000000304020a3139322e302e322e35",
    "330571756164390d03777777076578616d706c650001003075000009076578616d706c65002e00026e73076578616d706c65",
    "0004726f6f74076578616d706c65000000010000000100000001000000010000000100",
];

fn fault(entry: &Entry) -> &'static str {
    let mut out = vec![7];
    let Fault(why) = entry.encode(&mut out).expect_err("it cannot be read again");
    assert_eq!(out, [7], "nothing is written");
    why
}

fn with_addresses(addresses: Vec<Address>) -> Entry {
    Entry { content: Content::Addresses(addresses), ..crate::addresses() }
}

#[test]
fn an_entry_that_could_not_be_read_is_not_written() {
    let address = Address::new([192, 0, 2, 1].into(), 0, 1);
    let v6 = Address::new([1; 16].into(), 0, 1);
    let link = Link { target: name("edge.example"), left_ms: 1 };
    let times = addresses().times;
    let with_times = |times: Times| Entry { times, ..addresses() };
    for (entry, why) in [
        (
            Entry { host: "".into(), ..addresses() },
            "the name of its host is empty, too long or not printable",
        ),
        (
            Entry { host: "x".repeat(65).into(), ..addresses() },
            "the name of its host is empty, too long or not printable",
        ),
        (
            Entry { host: "a b".into(), ..addresses() },
            "the name of its host is empty, too long or not printable",
        ),
        (
            Entry { group: "\u{e9}".into(), ..addresses() },
            "the name of its group is too long or not printable",
        ),
        (
            Entry { group: "g".repeat(33).into(), ..addresses() },
            "the name of its group is too long or not printable",
        ),
        (with_times(Times { asked_ms: WALL_MS + 1, ..times }), "it was learned before it was asked for"),
        (with_times(Times { learned_ms: 1 << 48, ..times }), "its time is too great"),
        (Entry { said_by: vec!["u".into(); 9], ..addresses() }, LABELS),
        (Entry { said_by: vec!["".into()], ..addresses() }, LABELS),
        (Entry { said_by: vec!["u".repeat(65).into()], ..addresses() }, LABELS),
        (Entry { said_by: vec!["a\x1b[2J".into()], ..addresses() }, LABELS),
        (Entry { name: name("WWW.example"), ..addresses() }, "its name is not in lower case"),
        (Entry { chains: Vec::new(), ..addresses() }, "it has no chain, or too many"),
        (Entry { chains: vec![Vec::new(); 9], ..addresses() }, "it has no chain, or too many"),
        (Entry { chains: vec![vec![link; 33]], ..addresses() }, "a chain is too long"),
        (with_addresses(Vec::new()), "it has no address, or too many"),
        (with_addresses(vec![address, address]), "an address is in it twice"),
        (with_addresses(vec![v6]), "an address is of the other family"),
        (with_addresses(vec![Address { chain: 2, ..address }]), "an address belongs to no chain"),
        (
            Entry { content: Content::Denial { negative: Negative::Withheld, soa: None }, ..denial() },
            "its addresses are withheld",
        ),
    ] {
        assert_eq!(fault(&entry), why, "{entry:?}");
    }
}

const LABELS: &str = "its upstreams are too many, or a label is empty, too long or not printable";

#[test]
fn an_soa_record_is_that_of_the_zone_and_well_formed() {
    let Content::Denial { soa: Some(good), .. } = denial().content else { panic!("it has one") };
    let with = |change: &dyn Fn(&mut Soa)| {
        let mut soa = good.clone();
        change(&mut soa);
        Entry { content: Content::Denial { negative: Negative::NoData, soa: Some(soa) }, ..denial() }
    };
    assert_eq!(fault(&with(&|soa| soa.owner = name("other"))), "its SOA record is that of another zone");
    let malformed = "its SOA record is malformed";
    assert_eq!(fault(&with(&|soa| soa.rdata.truncate(5))), malformed);
    assert_eq!(fault(&with(&|soa| soa.rdata.push(0))), malformed);
    assert_eq!(fault(&with(&|soa| soa.rdata.clear())), malformed);
    // The second name as a pointer to the first one.
    let compressed = [&b"\x02ns\x07example\0\xc0\x00"[..], &[0; 20]].concat();
    assert_eq!(fault(&with(&|soa| soa.rdata.clone_from(&compressed))), malformed);
    // The end of the CNAME chain decides which zone can deny it.
    let link = Link { target: name("gone.example.net"), left_ms: 9_000 };
    let entry = Entry { chains: vec![vec![link]], ..with(&|soa| soa.owner = name("example.net")) };
    assert_eq!(entry.encode(&mut Vec::new()), Ok(()));
    assert_eq!(fault(&Entry { chains: entry.chains, ..denial() }), "its SOA record is that of another zone");
}

#[test]
fn an_entry_that_is_too_large_is_not_written() {
    let many: Vec<Address> = (0..=254).map(|n| Address::new([n; 16].into(), 0, 1)).collect();
    let entry = |count| Entry {
        family: Family::Aaaa,
        content: Content::Addresses(many[..count].to_vec()),
        ..addresses()
    };
    let fits = (0..many.len()).rev().find(|count| signing().seal(&entry(*count)).is_ok());
    let (key, value) = signing().seal(&entry(fits.expect("few do"))).expect("it fits");
    assert!(value.len() <= VALUE_MAX && value.len() > VALUE_MAX - 18, "{}", value.len());
    assert!(signing().open(key.as_bytes(), &value).is_ok());
    assert_eq!(fault(&entry(many.len())), "it is too large");
}

/// What only this host knows is not written: bits of upstreams, verdicts, round-trip times without a group.
#[test]
fn what_only_this_host_knows_stays_here() {
    let with = |change: fn(&mut Address)| {
        let mut entry = addresses();
        let Content::Addresses(all) = &mut entry.content else { panic!("it has some") };
        all.iter_mut().for_each(change);
        signing().seal(&entry).expect("an entry")
    };
    let plain = with(|_| ());
    assert_eq!(with(|address| address.upstreams |= 0xff), plain);
    assert_eq!(with(|address| address.trust = Trust::Verified), plain);
    assert_eq!(with(|address| address.rtt = hither_table::Rtt::Micros(7)), plain);
}

#[test]
fn keys_are_those_of_one_prefix() {
    let keys = Keys::new("hither").expect("a prefix");
    assert_eq!((keys.prefix(), keys.channel().as_str()), ("hither", "{hither}:sets"));
    assert_eq!(keys.pattern(), "{hither}:[a6]:*");
    for (text, family, key) in [
        ("www.example", Family::A, "{hither}:a:www.example."),
        ("WWW.Example.", Family::Aaaa, "{hither}:6:www.example."),
        (".", Family::A, "{hither}:a:."),
        ("a\\.b\\000c.example", Family::A, "{hither}:a:a\\.b\\000c.example."),
    ] {
        assert_eq!(keys.key(&name(text), family), key);
        assert_eq!(keys.parse(key.as_bytes()), Some((name(text).to_lower(), family)));
    }
    for key in [
        "",
        "{",
        "{hither}",
        "{hither}:a",
        "{hither}:a:",
        "{other}:a:www.example.",
        "{hithe}:a:www.example.",
        "{hither2}:a:www.example.",
        "{hither}:b:www.example.",
        "{hither}:a:www.example",
        "{hither}:a:WWW.example.",
        "{hither}:a:www..example.",
        "{hither}:a:\\119ww.example.",
        "{hither}:a:www.example. ",
        "{hither}:sets",
        "x{hither}:a:www.example.",
    ] {
        assert_eq!(keys.parse(key.as_bytes()), None, "{key}");
    }
    assert_eq!(keys.parse(&[b'x'; KEY_MAX + 1]), None);
    assert_eq!(keys.parse(b"{hither}:a:\xff."), None);
    for prefix in ["", "a b", "a}", "{a", "a*", "a:b", "\u{e9}", &"x".repeat(33)] {
        assert_eq!(Keys::new(prefix), Err(BadPrefix), "{prefix}");
    }
}

#[test]
fn the_longest_key_has_no_more_octets_than_the_bound() {
    let longest = name(&format!("{0}.{0}.{0}.{1}", "\\001".repeat(63), "\\001".repeat(61)));
    assert_eq!(longest.as_wire().len(), 255);
    let keys = Keys::new(&"p".repeat(32)).expect("a prefix");
    let key = keys.key(&longest, Family::A);
    assert!(key.len() <= KEY_MAX);
    assert_eq!(keys.parse(key.as_bytes()), Some((longest, Family::A)));
}

#[test]
fn messages_have_a_key_and_a_value() {
    let message = encode_message("{h}:a:b.", b"value");
    assert_eq!(message, b"\x08\0{h}:a:b.value");
    assert_eq!(decode_message(&message), Ok((&b"{h}:a:b."[..], &b"value"[..])));
    assert_eq!(decode_message(b"\0\0"), Ok((&b""[..], &b""[..])));
    let short = Err(Refusal::Malformed(Fault("the message ends too early")));
    for octets in [&b""[..], b"\x01", b"\x01\0", b"\xff\xffabc"] {
        assert_eq!(decode_message(octets), short);
    }
    assert_eq!(decode_message(&vec![0; MESSAGE_MAX + 1]), Err(Refusal::Size));
}

#[test]
fn a_credential_is_a_key_if_it_is_long_enough() {
    let why = |octets: &[u8]| Key::from_credential(octets).err();
    assert_eq!(why(b""), Some(KeyError::Short { octets: 0 }));
    assert_eq!(why(b"123456789012345\n"), Some(KeyError::Short { octets: 15 }));
    assert_eq!(why(b"1234567890123456\n"), None);
    assert_eq!(why(&[7; 4097]), Some(KeyError::Long));
    assert_eq!(KeyError::Short { octets: 3 }.to_string(), "the key has 3 octets, expected at least 16");
    let seal = seal_of("hither", Some("a very secret text"));
    assert!(!format!("{seal:?}").contains("secret text"));
    // One newline at the end is that of an editor; anything else is part of the key.
    let (key, value) = seal.seal(&addresses()).expect("an entry");
    let opened = |credential| seal_of("hither", Some(credential)).open(key.as_bytes(), &value);
    assert!(opened("a very secret text\n").is_ok());
    assert_eq!(opened("a very secret text\n\n"), Err(Refusal::Signature));
    assert_eq!(opened("a very secret texT"), Err(Refusal::Signature));
}

#[test]
fn signed_and_unsigned_sites_refuse_each_other() {
    let (signed, unsigned) = (signing(), seal_of("hither", None));
    let open = |seal: &Seal, from: &Seal| {
        let (key, value) = from.seal(&addresses()).expect("an entry");
        seal.open(key.as_bytes(), &value)
    };
    assert_eq!(open(&unsigned, &unsigned), Ok(addresses()));
    assert_eq!(open(&signed, &unsigned), Err(Refusal::Signature));
    assert_eq!(open(&unsigned, &signed), Err(Refusal::Signature));
    assert_eq!(open(&seal_of("lab", Some("a secret of the site")), &signed), Err(Refusal::Prefix));
}

#[test]
fn values_of_other_formats_and_sizes_are_refused() {
    let seal = seal_of("hither", None);
    let (key, value) = seal.seal(&addresses()).expect("an entry");
    let key = key.as_bytes();
    let other = Err(Refusal::Malformed(Fault("its first octets are others")));
    for octets in [&b""[..], b"HSE1", b"HSE2\0", b"HSE1\x02", b"1"] {
        assert_eq!(seal.open(key, octets), other, "{octets:?}");
    }
    let long = [&value[..], &[0]].concat();
    assert_eq!(seal.open(key, &long), Err(Refusal::Malformed(Fault("octets follow the set"))));
    let huge = [&value[..], &[0; VALUE_MAX]].concat();
    assert_eq!(seal.open(key, &huge), Err(Refusal::Size));
    let mut largest = value.clone();
    largest.resize(VALUE_MAX, 0);
    assert_eq!(seal.open(key, &largest), Err(Refusal::Size), "there must be space for a signature");
    assert_eq!(seal.open(&[b'k'; KEY_MAX + 1], &value), Err(Refusal::Size));
    assert_eq!(seal.open(b"{hither}:6:www.example.", &value), Err(Refusal::Prefix));
    assert_eq!(seal.open(b"{hither}:a:mail.example.", &value), Err(Refusal::Prefix));
    assert_eq!(seal.open(b"{lab}:a:www.example.", &value), Err(Refusal::Prefix));
    let words = Refusal::Malformed(Fault("its time is too great")).to_string();
    assert_eq!(words, "it cannot be read: its time is too great");
}
