//! The mark: a version that no table has reached yet, as octets of a file. If the table is lost, the
//! versions of the next one begin there.
//!
//! Format: magic (8 octets), the version (8), CRC-32 of these 16 octets (4). The daemon writes the mark
//! ahead of the table's version, in steps, so that a daemon that is killed has not passed it.

use crate::Fault;

/// The first octets of the file.
const MAGIC: [u8; 8] = *b"HITHVERS";
/// The length of a mark in octets.
pub const MARK_LEN: usize = 20;

/// Encodes the version as a mark.
#[must_use]
pub fn encode_mark(version: u64) -> [u8; MARK_LEN] {
    let mut octets = [0; MARK_LEN];
    octets[..8].copy_from_slice(&MAGIC);
    octets[8..16].copy_from_slice(&version.to_le_bytes());
    let sum = crc32fast::hash(&octets[..16]);
    octets[16..].copy_from_slice(&sum.to_le_bytes());
    octets
}

/// Decodes the version of a mark.
///
/// # Errors
/// A [`Fault`] if [`encode_mark`] did not write these octets.
pub fn decode_mark(octets: &[u8]) -> Result<u64, Fault> {
    let octets: &[u8; MARK_LEN] =
        octets.try_into().map_err(|_| Fault("it has another length than 20 octets"))?;
    if octets[..8] != MAGIC {
        return Err(Fault("its first octets are others"));
    }
    let mut version = [0; 8];
    version.copy_from_slice(&octets[8..16]);
    let version = u64::from_le_bytes(version);
    if encode_mark(version) == *octets { Ok(version) } else { Err(Fault("its checksum is wrong")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_other_octets_are_refused() {
        for version in [0, 1, 1 << 51, u64::MAX] {
            let octets = encode_mark(version);
            assert_eq!(decode_mark(&octets), Ok(version));
            for n in 0..MARK_LEN {
                assert!(decode_mark(&octets[..n]).is_err());
                let mut other = octets;
                other[n] ^= 1;
                assert!(decode_mark(&other).is_err(), "octet {n}");
            }
            assert!(decode_mark(&[&octets[..], &[0]].concat()).is_err());
        }
    }
}
