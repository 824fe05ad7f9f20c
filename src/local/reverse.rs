//! Addresses as names below in-addr.arpa and ip6.arpa (RFC 1035 section 3.5, RFC 3596 section 2.5).

use hither_wire::name::Name;
use std::net::IpAddr;

/// The address whose pointer `name` is; `None` for any other name, one above a whole address included.
pub(crate) fn address(name: &Name) -> Option<IpAddr> {
    let labels: Vec<&[u8]> = name.labels().collect();
    let (digits, suffix) = labels.split_at(labels.len().checked_sub(2)?);
    if suffix[1] != b"arpa" {
        return None;
    }
    match (suffix[0], digits.len()) {
        (b"in-addr", 4) => {
            let mut octets = [0; 4];
            for (octet, label) in octets.iter_mut().rev().zip(digits) {
                *octet = decimal(label)?;
            }
            Some(IpAddr::from(octets))
        }
        (b"ip6", 32) => {
            let mut value = 0u128;
            for label in digits.iter().rev() {
                let [digit] = label else { return None };
                value = value << 4 | u128::from(char::from(*digit).to_digit(16)?);
            }
            Some(IpAddr::from(value.to_be_bytes()))
        }
        _ => None,
    }
}

fn decimal(label: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(label).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    text.parse().ok().filter(|_| text == "0" || !text.starts_with('0'))
}
