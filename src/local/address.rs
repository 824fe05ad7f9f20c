//! Addresses as hosts files and block lists write them.

use std::net::{IpAddr, Ipv4Addr};

/// Reads an address, also in the short forms of inet_aton(3). An IPv4-mapped IPv6 address becomes the
/// IPv4 address.
pub(crate) fn read_address(word: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(word).ok()?;
    // A zone, as in fe80::1%eth0, names the interface and is no part of the address.
    let without_zone = text.split('%').next()?;
    let address = without_zone.parse().ok().or_else(|| short_form(text).map(IpAddr::V4));
    address.map(|address: IpAddr| address.to_canonical())
}

/// Reads `0`, `127.1` or `0x7f.1`: the last number fills the octets that are left. `None` if a number
/// has one value as octal and another as decimal, since files mean either.
fn short_form(text: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = numbers.split_last()?;
    let octets_left = 4usize.checked_sub(first.len()).filter(|left| *left > 0)?;
    let limit = 1u64 << (8 * octets_left);
    if u64::from(*last) >= limit || first.iter().any(|octet| *octet > 255) {
        return None;
    }
    let above = first.iter().enumerate().map(|(at, octet)| octet << (24 - 8 * at)).sum::<u32>();
    Some(Ipv4Addr::from(above | last))
}

fn number(text: &str) -> Option<u32> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+'));
    }
    let decimal = text.parse().ok().filter(|_| !text.starts_with('+'))?;
    let is_octal = text.len() > 1 && text.starts_with('0');
    (!is_octal || u32::from_str_radix(text, 8) == Ok(decimal)).then_some(decimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_addresses_are_read_as_inet_aton_reads_them() {
        for (text, expected) in [
            ("0", Some("0.0.0.0")),
            ("127.1", Some("127.0.0.1")),
            ("127.0.1", Some("127.0.0.1")),
            ("0x7f.1", Some("127.0.0.1")),
            ("3221225985", Some("192.0.2.1")),
            ("198.51.100.004", Some("198.51.100.4")),
            ("198.51.100.010", None),
            ("256.1", None),
            ("1.2.3.4.5", None),
            ("1..2", None),
            ("+1", None),
            ("0x", None),
            ("fe80::1%lo0", Some("fe80::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(
                read_address(text.as_bytes()),
                expected.map(|text| text.parse().expect("an address")),
                "{text}"
            );
        }
    }
}
