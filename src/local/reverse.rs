//! Addresses as names below in-addr.arpa and ip6.arpa (RFC 1035 section 3.5, RFC 3596 section 2.5).

use hither_wire::name::Name;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The address whose PTR record is at `name`; `None` for any other name, including those that stand for
/// several addresses.
pub(crate) fn address(name: &Name) -> Option<IpAddr> {
    addresses(name).filter(|all| all.start() == all.end()).map(|all| *all.start())
}

/// The addresses whose PTR records are at `name` or below it; `None` for a name outside of in-addr.arpa
/// and ip6.arpa.
pub(crate) fn addresses(name: &Name) -> Option<RangeInclusive<IpAddr>> {
    let labels: Vec<&[u8]> = name.labels().collect();
    let (digits, suffix) = labels.split_at(labels.len().checked_sub(2)?);
    if suffix[1] != b"arpa" {
        return None;
    }
    match (suffix[0], digits.len()) {
        (b"in-addr", 0..=4) => {
            let (mut first, mut last) = ([0; 4], [255; 4]);
            for (at, label) in digits.iter().rev().enumerate() {
                first[at] = decimal(label)?;
                last[at] = first[at];
            }
            Some(IpAddr::from(first)..=IpAddr::from(last))
        }
        (b"ip6", 0..=32) => {
            let mut value = 0u128;
            for label in digits.iter().rev() {
                let [digit] = label else { return None };
                value = value << 4 | u128::from(char::from(*digit).to_digit(16)?);
            }
            let free = 4 * (32 - u32::try_from(digits.len()).ok()?);
            let first = value.checked_shl(free).unwrap_or(0);
            let last = first | u128::MAX.checked_shr(128 - free).unwrap_or(0);
            Some(IpAddr::from(first.to_be_bytes())..=IpAddr::from(last.to_be_bytes()))
        }
        _ => None,
    }
}

fn decimal(label: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(label).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    text.parse().ok().filter(|_| text == "0" || !text.starts_with('0'))
}
