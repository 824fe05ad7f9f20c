//! A name as the table looks it up: lower-case wire form, in whole words.

use hither_wire::name::Name;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};

/// Words of the longest key.
pub(crate) const KEY_WORDS: usize = 32;

/// What to look up.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub(crate) words: [u64; KEY_WORDS],
    pub(crate) len: usize,
}

/// Where a key may stand in the index, and the tag of its word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub buckets: [usize; 2],
    pub tag: u64,
    pub hash: u64,
}

impl Key {
    /// From a name in lower case.
    #[must_use]
    pub fn of(name: &Name) -> Key {
        let octets = name.as_wire();
        let mut key = Key { words: [0; KEY_WORDS], len: octets.len() };
        for (word, chunk) in key.words.iter_mut().zip(octets.chunks(8)) {
            let mut eight = [0; 8];
            if let Some(room) = eight.get_mut(..chunk.len()) {
                room.copy_from_slice(chunk);
            }
            *word = u64::from_le_bytes(eight);
        }
        key
    }

    /// Its words, the last one padded with zeros.
    pub(crate) fn padded(&self) -> &[u64] {
        self.words.get(..self.len.div_ceil(8)).unwrap_or(&self.words)
    }

    /// Where it may stand. The hash is keyed, so that who chooses names cannot choose buckets; rapidhash v3 rather than SipHash,
    /// which took a third of a lookup: what a guessed key could gain is evictions in two buckets.
    #[inline]
    pub(crate) fn place(&self, secrets: &RapidSecrets, mask: u64) -> Place {
        let octets: &[u8] = bytemuck::cast_slice(self.padded());
        let hash = rapidhash_v3_micro_inline::<true, true>(octets.get(..self.len).unwrap_or(octets), secrets);
        let first = hash & mask;
        let mut second = (hash >> 24) & mask;
        if second == first {
            second ^= u64::from(mask > 0);
        }
        Place { buckets: [first as usize, second as usize], tag: hash >> 48, hash }
    }
}

/// The hash of a table, from the eight words of its header.
pub(crate) fn secrets([seed, secrets @ ..]: [u64; 8]) -> RapidSecrets {
    RapidSecrets { seed, secrets }
}

/// The eight words for a new table, from two random ones.
#[cfg(feature = "writer")]
pub(crate) fn new_secrets(random: [u64; 2]) -> [u64; 8] {
    let RapidSecrets { seed, secrets: [a, b, c, d, e, f, g] } =
        RapidSecrets::seed(random[0] ^ random[1].rotate_left(32));
    [seed, a, b, c, d, e, f, g]
}
