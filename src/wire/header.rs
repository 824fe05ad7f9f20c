//! The twelve octets that every message begins with (RFC 1035, section 4.1.1).

use crate::codes::{Opcode, Rcode};
use crate::u16_at;

/// The length of a header in octets.
pub const HEADER_LEN: usize = 12;

/// Bits of the flags word.
pub mod flags {
    /// The message is a response.
    pub const QR: u16 = 0x8000;
    /// The answer is authoritative.
    pub const AA: u16 = 0x0400;
    /// The message is truncated.
    pub const TC: u16 = 0x0200;
    /// The bit RD: recursion is desired.
    pub const RD: u16 = 0x0100;
    /// The bit RA: recursion is available.
    pub const RA: u16 = 0x0080;
    /// The data are authentic (RFC 4035, section 3.2.3).
    pub const AD: u16 = 0x0020;
    /// Checking is disabled (RFC 4035, section 3.2.2).
    pub const CD: u16 = 0x0010;
}

/// The header of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The fields are those of the RFC.
pub struct Header {
    pub id: u16,
    pub flags: u16,
    pub qdcount: u16,
    pub ancount: u16,
    pub nscount: u16,
    pub arcount: u16,
}

impl Header {
    /// Reads the header; `None` for fewer than 12 octets.
    #[must_use]
    pub fn parse(octets: &[u8]) -> Option<Header> {
        Some(Header {
            id: u16_at(octets, 0)?,
            flags: u16_at(octets, 2)?,
            qdcount: u16_at(octets, 4)?,
            ancount: u16_at(octets, 6)?,
            nscount: u16_at(octets, 8)?,
            arcount: u16_at(octets, 10)?,
        })
    }

    /// Whether the message is a response.
    #[must_use]
    pub fn qr(&self) -> bool {
        self.flags & flags::QR != 0
    }

    /// The opcode, four bits.
    #[must_use]
    pub fn opcode(&self) -> Opcode {
        Opcode(((self.flags >> 11) & 15) as u8)
    }

    /// Whether the message was truncated.
    #[must_use]
    pub fn tc(&self) -> bool {
        self.flags & flags::TC != 0
    }

    /// The lower four bits of the response code.
    #[must_use]
    pub fn rcode(&self) -> Rcode {
        Rcode((self.flags & 15) as u8)
    }
}
