//! EDNS(0): the OPT pseudo-record (RFC 6891) and the option codes used here.

use crate::u16_at;

/// Option code of DNS cookies (RFC 7873).
pub const COOKIE: u16 = 10;
/// Option code of padding (RFC 7830).
pub const PADDING: u16 = 12;
/// Option code of extended errors (RFC 8914).
pub const EDE: u16 = 15;
/// The smallest UDP payload size in octets. A smaller value in OPT counts as this one (RFC 6891,
/// section 6.2.3).
pub const UDP_SIZE_MIN: u16 = 512;

/// The contents of an OPT record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edns<'a> {
    /// The size in octets of the largest UDP payload that the sender accepts, at least 512.
    pub udp_size: u16,
    /// The upper eight bits of the response code.
    pub extended_rcode: u8,
    /// The version of EDNS.
    pub version: u8,
    /// The DO bit: the sender wants DNSSEC records (RFC 3225).
    pub dnssec_ok: bool,
    /// The options; their lengths have been checked.
    pub options: &'a [u8],
}

impl<'a> Edns<'a> {
    /// Reads CLASS, TTL and RDATA of an OPT record. `None` if an option exceeds the RDATA, or a
    /// cookie has a wrong length (8 octets, or 16 to 40: RFC 7873, section 5.2.2).
    #[must_use]
    pub fn new(class: u16, ttl: u32, rdata: &'a [u8]) -> Option<Edns<'a>> {
        let [extended_rcode, version, high, _] = ttl.to_be_bytes();
        let edns = Edns {
            udp_size: class.max(UDP_SIZE_MIN),
            extended_rcode,
            version,
            dnssec_ok: high & 0x80 != 0,
            options: rdata,
        };
        let mut at = 0;
        while at < rdata.len() {
            let code = u16_at(rdata, at)?;
            let length = usize::from(u16_at(rdata, at + 2)?);
            at += 4 + length;
            if at > rdata.len() || (code == COOKIE && length != 8 && !(16..=40).contains(&length)) {
                return None;
            }
        }
        Some(edns)
    }

    /// Code and data of each option.
    pub fn options(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = self.options;
        core::iter::from_fn(move || {
            let (code, length) = (u16_at(rest, 0)?, usize::from(u16_at(rest, 2)?));
            let data = rest.get(4..4 + length)?;
            rest = rest.get(4 + length..)?;
            Some((code, data))
        })
    }
}
