//! Many names in little memory: a hash table of offsets into one buffer of wire forms.

use hither_wire::name::Name;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::OnceLock;

/// Names with a number each. A name takes about 30 octets of memory, mostly for its wire form.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The entries, each the number in four octets, then the name in wire form.
    octets: Vec<u8>,
    /// The offset of an entry plus one; 0 if the slot is free. The length is a power of two, at most
    /// 3/4 are used.
    slots: Vec<u32>,
    len: usize,
}

/// Octets of the number in an entry, which is before the name.
const NUMBER_LEN: usize = 4;

impl Names {
    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Octets of memory in use.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.octets.capacity() + self.slots.capacity() * size_of::<u32>()
    }

    /// Adds a name in lower case. A name that is there already keeps its number. Returns the number that
    /// the name has now; `None` if the entries would take more than 4 GiB.
    pub fn insert(&mut self, name: &Name, number: u32) -> Option<u32> {
        self.insert_wire(name.as_wire(), number)
    }

    /// [`Names::insert`] for the wire form of a name in lower case.
    pub(crate) fn insert_wire(&mut self, wire: &[u8], number: u32) -> Option<u32> {
        self.insert_hashed(wire, hash(wire), number)
    }

    /// [`Names::insert`] for a wire form whose [`hash`] the caller has.
    pub(crate) fn insert_hashed(&mut self, wire: &[u8], hash: u64, number: u32) -> Option<u32> {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let slot = self.find(wire, hash);
        match self.slots[slot] {
            0 => {
                let at = u32::try_from(self.octets.len() + 1).ok()?;
                self.octets.extend_from_slice(&number.to_le_bytes());
                self.octets.extend_from_slice(wire);
                self.slots[slot] = at;
                self.len += 1;
                Some(number)
            }
            at => Some(self.number(at)),
        }
    }

    /// Changes the number of a name that is there.
    pub fn set(&mut self, name: &Name, number: u32) {
        if !self.slots.is_empty()
            && let at @ 1.. = self.slots[self.find(name.as_wire(), hash(name.as_wire()))]
        {
            let at = at as usize - 1;
            self.octets[at..at + NUMBER_LEN].copy_from_slice(&number.to_le_bytes());
        }
    }

    /// The number of the name with this wire form, in lower case.
    #[must_use]
    pub fn get(&self, wire: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        self.get_hashed(wire, hash(wire))
    }

    /// [`Names::get`] for a wire form whose [`hash`] the caller has.
    pub(crate) fn get_hashed(&self, wire: &[u8], hash: u64) -> Option<u32> {
        self.slot_of(wire, hash).map(|slot| self.number(self.slots[slot]))
    }

    /// How many slots there are, used or free.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The slot of the name with this wire form, in lower case, and this [`hash`].
    pub(crate) fn slot_of(&self, wire: &[u8], hash: u64) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = self.find(wire, hash);
        (self.slots[slot] != 0).then_some(slot)
    }

    /// The wire form of the name in a slot; `None` if the slot is free.
    pub(crate) fn at(&self, slot: usize) -> Option<&[u8]> {
        let at = self.slots.get(slot).copied().filter(|at| *at != 0)?;
        Some(wire_at(&self.octets, at as usize - 1 + NUMBER_LEN))
    }

    /// The number of the name in a slot; `None` if the slot is free.
    pub(crate) fn number_at(&self, slot: usize) -> Option<u32> {
        self.slots.get(slot).copied().filter(|at| *at != 0).map(|at| self.number(at))
    }

    /// Frees memory that is reserved for further names.
    pub fn shrink(&mut self) {
        self.octets.shrink_to_fit();
    }

    fn number(&self, at: u32) -> u32 {
        let at = at as usize - 1;
        self.octets
            .get(at..at + NUMBER_LEN)
            .and_then(|four| four.try_into().ok())
            .map_or(0, u32::from_le_bytes)
    }

    /// The slot of a name, or the free slot where it belongs. An entry ends with the root label, so
    /// comparing as many octets as `wire` has is enough.
    fn find(&self, wire: &[u8], hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            match self.slots[slot] {
                0 => return slot,
                at => {
                    let at = at as usize - 1 + NUMBER_LEN;
                    if self.octets.get(at..at + wire.len()) == Some(wire) {
                        return slot;
                    }
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(16);
        let entries: Vec<u32> = std::mem::replace(&mut self.slots, vec![0; size]);
        for at in entries.into_iter().filter(|at| *at != 0) {
            let start = at as usize - 1 + NUMBER_LEN;
            let wire = wire_at(&self.octets, start);
            let mask = size - 1;
            let mut slot = hash(wire) as usize & mask;
            while self.slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = at;
        }
    }
}

/// The wire form that begins at `start`.
fn wire_at(octets: &[u8], start: usize) -> &[u8] {
    let mut end = start;
    while let Some(length @ 1..) = octets.get(end) {
        end += 1 + usize::from(*length);
    }
    octets.get(start..=end).unwrap_or_default()
}

/// The hash of a wire form. Its key is random, so that the author of a list cannot choose names that
/// collide. There is one key in a process, since editions of a list share names.
pub(crate) fn hash(wire: &[u8]) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    let mut hasher = KEY.get_or_init(RandomState::new).build_hasher();
    hasher.write(wire);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::DefaultHasher;

    #[test]
    fn the_author_of_a_list_cannot_predict_which_names_collide() {
        let mut known = DefaultHasher::new();
        known.write(b"\x07example\0");
        assert_ne!(hash(b"\x07example\0"), known.finish());
        assert_eq!(hash(b"\x07example\0"), hash(b"\x07example\0"));
    }
}
