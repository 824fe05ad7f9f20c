//! A name as a key of the table: lower-case wire form, in whole words.

use hither_wire::name::{NAME_MAX, Name};
use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};

/// Words of the longest key.
pub(crate) const KEY_WORDS: usize = 32;

/// A name to look up.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub(crate) words: [u64; KEY_WORDS],
    pub(crate) len: usize,
}

/// The buckets of one table that may have a key, and the tag of its index word; both from the key's
/// hash. A place of another key or another table finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub(crate) buckets: [usize; 2],
    pub(crate) tag: u64,
    pub(crate) hash: u64,
}

impl Key {
    /// The key of a name.
    #[must_use]
    pub fn of(name: &Name) -> Key {
        Key::of_wire(name.as_wire())
    }

    /// The key of a name in uncompressed wire form and any letter case. Octets beyond the longest
    /// name are ignored.
    #[inline]
    #[must_use]
    pub fn of_wire(octets: &[u8]) -> Key {
        let mut key = Key { words: [0; KEY_WORDS], len: octets.len().min(NAME_MAX) };
        let (whole, rest) = octets.as_chunks::<8>();
        for (word, chunk) in key.words.iter_mut().zip(whole) {
            *word = lower(u64::from_le_bytes(*chunk));
        }
        if let Some(word) = key.words.get_mut(whole.len()) {
            *word = lower(match octets.last_chunk() {
                // The shift removes the octets of the previous word.
                Some(last) => u64::from_le_bytes(*last).checked_shr(64 - 8 * rest.len() as u32).unwrap_or(0),
                None => rest.iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet)),
            });
        }
        key
    }

    /// The name in lower-case wire form.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        bytemuck::cast_slice::<u64, u8>(&self.words).get(..self.len).unwrap_or_default()
    }

    /// The words of the name, the last one padded with zeros.
    pub(crate) fn padded(&self) -> &[u64] {
        self.words.get(..self.len.div_ceil(8)).unwrap_or(&self.words)
    }

    /// The place where the index may have it. The hash is keyed, so that a client that chooses
    /// names cannot choose buckets. It is rapidhash v3 instead of SipHash, which took a third of a
    /// lookup; a guessed key would only allow evictions in two buckets (`chosen_names.rs`).
    #[inline]
    pub(crate) fn place(&self, secrets: &RapidSecrets, mask: u64) -> Place {
        let hash = rapidhash_v3_micro_inline::<true, true>(self.as_wire(), secrets);
        let first = hash & mask;
        let mut second = (hash >> 24) & mask;
        if second == first {
            second ^= u64::from(mask > 0);
        }
        Place { buckets: [first as usize, second as usize], tag: hash >> 48, hash }
    }
}

/// Eight octets with ASCII letters in lower case. Length octets of labels are below 64, so they are
/// not letters.
#[inline]
fn lower(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let low = word & (0x7f * ONES);
    let (from_a, past_z) = (low + (0x80 - b'A' as u64) * ONES, low + (0x7f - b'Z' as u64) * ONES);
    let upper = (from_a ^ past_z) & !word & (0x80 * ONES);
    word | upper >> 2
}

/// The keys of a table's hash, from the eight words of its header.
pub(crate) fn secrets([seed, secrets @ ..]: [u64; 8]) -> RapidSecrets {
    RapidSecrets { seed, secrets }
}

/// The eight words for a new table, from two random words.
#[cfg(feature = "writer")]
pub(crate) fn new_secrets(random: [u64; 2]) -> [u64; 8] {
    let RapidSecrets { seed, secrets: [a, b, c, d, e, f, g] } =
        RapidSecrets::seed(random[0] ^ random[1].rotate_left(32));
    [seed, a, b, c, d, e, f, g]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_letters_are_changed_to_lower_case() {
        for octet in 0..=u8::MAX {
            for place in 0..8 {
                let mut octets = [0xff; 8];
                octets[place] = octet;
                let expected = octets.map(|octet| octet.to_ascii_lowercase());
                assert_eq!(lower(u64::from_le_bytes(octets)).to_le_bytes(), expected);
            }
        }
    }

    #[test]
    fn a_key_is_its_name_in_lower_case() {
        assert_eq!(Key::of(&Name::ROOT).as_wire(), [0]);
        for len in 1..=63 {
            for top in ["", ".Example"] {
                let name: Name =
                    format!("{}{top}", "aBc".repeat(21).split_at(len).0).parse().expect("a name");
                let (key, lower) = (Key::of(&name), name.to_lower());
                assert_eq!(key.as_wire(), lower.as_wire());
                let padding = &bytemuck::cast_slice::<u64, u8>(key.padded())[key.len..];
                assert!(padding.iter().all(|octet| *octet == 0));
            }
        }
    }
}
