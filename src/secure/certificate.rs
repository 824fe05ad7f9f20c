//! The two dates of a certificate (RFC 5280, section 4.1.2.5). rustls checks them, but shows them only when
//! they are wrong.

use crate::clock::seconds_of_day;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The tag of the certificate's version, which a certificate of version 1 does not have.
const VERSION: u8 = 0xa0;

/// The time in which a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// The first second in which it is valid; 0 for earlier times.
    pub not_before_s: u64,
    /// The last second in which it is valid.
    pub not_after_s: u64,
}

impl Validity {
    /// Reads the dates of a certificate in DER. `None` if it cannot be read up to them.
    #[must_use]
    pub fn read(certificate: &[u8]) -> Option<Validity> {
        let (signed, _) = element(certificate, SEQUENCE)?;
        let (mut rest, _) = element(signed, SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            rest = element(rest, VERSION)?.1;
        }
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            rest = element(rest, tag)?.1;
        }
        let (dates, _) = element(rest, SEQUENCE)?;
        let (not_before_s, rest) = time(dates)?;
        let (not_after_s, _) = time(rest)?;
        Some(Validity { not_before_s, not_after_s })
    }
}

/// The contents of a DER element with this tag at the beginning of `octets`, and what follows it.
fn element(octets: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = octets.split_first()?;
    let (&short, mut rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let mut length = usize::from(short);
    if short >= 0x80 {
        let count = usize::from(short & 0x7f);
        if !(1..=3).contains(&count) {
            return None;
        }
        let (digits, after) = rest.split_at_checked(count)?;
        length = digits.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
        rest = after;
    }
    rest.split_at_checked(length)
}

/// The time at the beginning of `octets`, and what follows it. A time before 1970 is 0.
fn time(octets: &[u8]) -> Option<(u64, &[u8])> {
    let tag = *octets.first()?;
    let (text, rest) = element(octets, tag)?;
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        let add =
            |value: u64, digit: &u8| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'));
        digits.iter().try_fold(0, add)
    };
    let (year, at) = match (tag, text.len()) {
        (UTC_TIME, 13) => (number(0, 2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        (GENERALIZED_TIME, 15) => (number(0, 4)?, 4),
        _ => return None,
    };
    let (month, day) = (number(at, at + 2)?, number(at + 2, at + 4)?);
    let (hour, minute, second) = (number(at + 4, at + 6)?, number(at + 6, at + 8)?, number(at + 8, at + 10)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let of_day = hour * 3600 + minute * 60 + second;
    Some((seconds_of_day(year, month, day).map_or(0, |start| start + of_day), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_that_are_no_certificate_have_no_dates() {
        proptest::proptest!(|(octets in proptest::collection::vec(0_u8.., 0..200))| {
            let _ = Validity::read(&octets);
        });
        assert_eq!(Validity::read(&[]), None);
        assert_eq!(Validity::read(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn both_forms_of_a_time_are_read() {
        let end = b"\x17\x0d491231235959Z\x18\x0f20500101000000Zrest";
        let (utc, rest) = time(end).expect("UTCTime");
        let (generalized, rest) = time(rest).expect("GeneralizedTime");
        assert_eq!((utc + 1, rest), (generalized, &b"rest"[..]));
        assert_eq!(time(b"\x17\x0d500101000000Z"), Some((0, &b""[..])), "1950 is before 1970");
        for broken in [&b"\x17\x0d49123123595Z"[..], b"\x17\x0d491331235959Z", b"\x02\x0d491231235959Z"] {
            assert_eq!(time(broken), None);
        }
    }
}
