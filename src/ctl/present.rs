//! Records in presentation form. Most data are printed by hickory-proto. SVCB and HTTPS are printed
//! here (RFC 9460), since it neither quotes nor escapes their values and does not know all keys; so
//! are names, for which it writes octal escapes instead of decimal ones (RFC 1035 section 5.1).

use hickory_proto::op::Message as Printed;
use hither_client::Name;
use hither_wire::codes::Rtype;
use hither_wire::message::{Message, Record, Section};
use hither_wire::svcb::{Param, Svcb};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The records of the answer and authority sections; those that cannot be read in the form of RFC 3597.
pub(super) fn records(reply: &[u8]) -> Vec<String> {
    let Ok(message) = Message::read(reply) else { return Vec::new() };
    let printed = Printed::from_vec(reply).ok();
    let mut printed = printed.iter().flat_map(|message| message.answers.iter().chain(&message.authorities));
    let shown = message.records().filter(|record| record.section != Section::Additional);
    shown.map(|record| one(reply, &record, printed.next().map(|record| record.data.to_string()))).collect()
}

fn one(reply: &[u8], record: &Record<'_>, printed: Option<String>) -> String {
    let data = match record.rtype {
        Rtype::SVCB | Rtype::HTTPS => svcb(record.rdata),
        _ => with_names(reply, record).or(printed),
    };
    match data {
        Some(data) => format!("{} {} {} {} {data}", record.owner(), record.ttl, record.class, record.rtype),
        None => generic(record),
    }
}

/// The data of types that consist of numbers and names.
fn with_names(reply: &[u8], record: &Record<'_>) -> Option<String> {
    let name_at = |octets: usize| {
        Some(Name::read(reply, record.rdata_at + octets).ok().filter(|_| record.is_sound())?.0)
    };
    match record.rtype {
        Rtype::CNAME | Rtype::DNAME | Rtype::NS | Rtype::PTR => Some(name_at(0)?.to_string()),
        Rtype::MX => Some(format!("{} {}", number(record.rdata)?.0, name_at(2)?)),
        Rtype::SRV => {
            let (priority, rest) = number(record.rdata)?;
            let (weight, rest) = number(rest)?;
            Some(format!("{priority} {weight} {} {}", number(rest)?.0, name_at(6)?))
        }
        Rtype::SOA => {
            let soa = record.soa()?;
            let numbers = [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum];
            Some(numbers.iter().fold(format!("{} {}", soa.mname, soa.rname), |all, n| format!("{all} {n}")))
        }
        _ => None,
    }
}

/// The form for data of unknown types (RFC 3597 section 5).
fn generic(record: &Record<'_>) -> String {
    let mut text = format!(
        "{} {} {} {} \\# {}",
        record.owner(),
        record.ttl,
        record.class,
        record.rtype,
        record.rdata.len()
    );
    text.extend(record.rdata.first().map(|_| ' '));
    for octet in record.rdata {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// The data of an SVCB or HTTPS record in presentation form (RFC 9460 section 2.1); `None` if it is
/// malformed.
fn svcb(rdata: &[u8]) -> Option<String> {
    let svcb = Svcb::read(rdata)?;
    let mut text = format!("{} {}", svcb.priority, Name::from_wire(svcb.target).ok()?);
    for Param { key, value } in svcb.params() {
        text += " ";
        text += &key_name(key);
        match param(key, value)? {
            shown if shown.is_empty() => {}
            shown => {
                text += "=";
                text += &shown;
            }
        }
    }
    Some(text)
}

fn number(octets: &[u8]) -> Option<(u16, &[u8])> {
    let (two, rest) = octets.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*two), rest))
}

/// The name of a SvcParamKey (RFC 9460 section 14.3.2, RFC 9461 and RFC 9540).
fn key_name(key: u16) -> String {
    const NAMES: [&str; 9] =
        ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];
    NAMES.get(usize::from(key)).map_or_else(|| format!("key{key}"), |name| (*name).to_owned())
}

/// The value of a SvcParam, empty if it has none; `None` if it is malformed.
fn param(key: u16, value: &[u8]) -> Option<String> {
    Some(match key {
        0 if !value.is_empty() && value.len().is_multiple_of(2) => {
            let keys = value.chunks(2).filter_map(|two| Some(key_name(number(two)?.0)));
            keys.collect::<Vec<_>>().join(",")
        }
        1 => quoted(&alpn(value)?),
        2 | 8 if value.is_empty() => String::new(),
        3 if value.len() == 2 => number(value)?.0.to_string(),
        4 if !value.is_empty() && value.len().is_multiple_of(4) => addresses(
            value.chunks(4).filter_map(|four| Some(Ipv4Addr::from(<[u8; 4]>::try_from(four).ok()?))),
        ),
        5 if !value.is_empty() => base64(value),
        6 if !value.is_empty() && value.len().is_multiple_of(16) => addresses(
            value.chunks(16).filter_map(|all| Some(Ipv6Addr::from(<[u8; 16]>::try_from(all).ok()?))),
        ),
        0 | 2..=6 | 8 => return None,
        _ if value.is_empty() => String::new(),
        _ => quoted(value),
    })
}

fn addresses<T: ToString>(all: impl Iterator<Item = T>) -> String {
    all.map(|address| address.to_string()).collect::<Vec<_>>().join(",")
}

/// A list of ALPN ids (RFC 9460 appendix A.1), not yet quoted: commas and backslashes within an id
/// are escaped.
fn alpn(mut value: &[u8]) -> Option<Vec<u8>> {
    let mut list = Vec::new();
    while let Some((length @ 1.., rest)) = value.split_first() {
        let (id, rest) = rest.split_at_checked(usize::from(*length))?;
        if !list.is_empty() {
            list.push(b',');
        }
        for octet in id {
            if matches!(octet, b',' | b'\\') {
                list.push(b'\\');
            }
            list.push(*octet);
        }
        value = rest;
    }
    (value.is_empty() && !list.is_empty()).then_some(list)
}

/// A character-string (RFC 1035 section 5.1).
fn quoted(octets: &[u8]) -> String {
    let mut text = String::from('"');
    for octet in octets {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(*octet)]),
            b' '..=b'~' => text.push(char::from(*octet)),
            _ => {
                let _ = write!(text, "\\{octet:03}");
            }
        }
    }
    text.push('"');
    text
}

/// Base 64 (RFC 4648 section 4).
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in octets.chunks(3) {
        let bits = three
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0, |bits: u32, octet| bits << 8 | u32::from(*octet));
        for n in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * n) & 63) as usize).copied();
            text.push(char::from(digit.filter(|_| n <= three.len()).unwrap_or(b'=')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn octets(hex: &str) -> Vec<u8> {
        let hex: Vec<u8> = hex.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
        let two =
            |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        hex.chunks(2).map(|pair| two(pair).expect("hexadecimal")).collect()
    }

    const FOO: &str = "03666f6f07657861 6d706c6503636f6d00";
    const FOO_ORG: &str = "03666f6f076578616d706c65036f726700";

    /// RFC 9460 appendix D: wire forms and their presentation forms.
    #[test]
    fn the_test_vectors_of_rfc_9460_are_printed_as_it_writes_them() {
        for (wire, text) in [
            (format!("0000 {FOO}"), "0 foo.example.com."),
            ("0001 00".to_owned(), "1 ."),
            (format!("0010 {FOO} 0003 0002 0035"), "16 foo.example.com. port=53"),
            (format!("0001 {FOO} 029b 0005 68656c6c6f"), "1 foo.example.com. key667=\"hello\""),
            (
                format!("0001 {FOO} 029b 0009 68656c6c6fd2716f6f"),
                "1 foo.example.com. key667=\"hello\\210qoo\"",
            ),
            (
                format!(
                    "0001 {FOO} 0006 0020 20010db8000000000000000000000001 20010db8000000000000000000530001"
                ),
                "1 foo.example.com. ipv6hint=2001:db8::1,2001:db8::53:1",
            ),
            (
                "0001 076578616d706c6503636f6d00 0006 0010 20010db80122034400000000c0000221".to_owned(),
                "1 example.com. ipv6hint=2001:db8:122:344::c000:221",
            ),
            (
                format!("0010 {FOO_ORG} 0000 0004 00010004 0001 0009 026832 0568332d3139 0004 0004 c0000201"),
                "16 foo.example.org. mandatory=alpn,ipv4hint alpn=\"h2,h3-19\" ipv4hint=192.0.2.1",
            ),
            (
                format!("0010 {FOO_ORG} 0001 000c 08665c6f6f2c626172 026832"),
                r#"16 foo.example.org. alpn="f\\\\oo\\,bar,h2""#,
            ),
        ] {
            assert_eq!(svcb(&octets(&wire)).as_deref(), Some(text));
        }
    }

    #[test]
    fn common_records_and_rare_keys_are_printed() {
        for (wire, text) in [
            ("0001 00 0001 0006 026832 026833 0004 0004 c0000201", r#"1 . alpn="h2,h3" ipv4hint=192.0.2.1"#),
            ("0001 00 0001 0003 026832 0002 0000", r#"1 . alpn="h2" no-default-alpn"#),
            ("0001 00 0005 0004 fe0d0001", "1 . ech=/g0AAQ=="),
            ("0001 00 0007 0010 2f646e732d71756572797b3f646e737d", "1 . dohpath=\"/dns-query{?dns}\""),
            ("0001 00 ffff 0000", "1 . key65535"),
            ("0001 00 0100 0003 612262", "1 . key256=\"a\\\"b\""),
        ] {
            assert_eq!(svcb(&octets(wire)).as_deref(), Some(text));
        }
        for wire in [
            "",
            "00",
            "0001",
            "0001 00 0001 0000",
            "0001 00 0001 0002 0568",
            "0001 00 0003 0001 35",
            "0001 00 0004 0000",
            "0001 00 0003 0002 0035 0003 0002 0035",
            "0001 c00c",
        ] {
            assert_eq!(svcb(&octets(wire)), None, "{wire}");
        }
        for (text, expected) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    proptest! {
        #[test]
        fn any_data_is_printed_in_one_line_of_ascii_or_refused(rdata in prop::collection::vec(any::<u8>(), 0..60)) {
            let rdata = [&[0, 1, 0][..], &rdata].concat();
            prop_assert!(svcb(&rdata).is_none_or(|text| text.bytes().all(|c| (b' '..=b'~').contains(&c))));
            let _ = records(&rdata);
        }
    }
}
