//! DNS messages as octets: reading them without a copy, composing them, truncating them.
//!
//! Any octets give a value or a typed error. Nothing here panics, allocates, or uses a length that
//! it has not checked. The standards are RFC 1035, section 4 (messages, compression), RFC 4343
//! (letter case), RFC 6891 (EDNS), RFC 2181, section 8 (TTLs), and RFC 3597 (unknown types).
//!
//! Not here: what an answer means (`hither-rounds`), and sockets (`hither-net`).

#![no_std]
#![forbid(unsafe_code)]

pub mod codes;
pub mod compose;
pub mod copy;
pub mod edns;
mod error;
pub mod header;
mod in_place;
pub mod message;
pub mod name;
pub mod query;
pub mod reach;
mod record;
pub mod spell;
pub mod svcb;
pub mod ttl;
#[cfg(all(feature = "work", debug_assertions))]
pub mod work;

/// The number in the two octets at `at`; `None` beyond the end.
pub(crate) fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    let two = octets.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([two[0], two[1]]))
}

/// The number in the four octets at `at`; `None` beyond the end.
pub(crate) fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    let four = octets.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
}
