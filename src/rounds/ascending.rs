//! A map with ascending ids as keys: a new id is added at the end, and the oldest is usually removed first.

use std::collections::VecDeque;

/// A map sorted by key. A removed entry leaves a hole until all entries before it are removed, or until
/// most entries are holes.
#[derive(Debug)]
pub(crate) struct Ascending<K, V> {
    entries: VecDeque<(K, Option<V>)>,
    len: usize,
}

impl<K: Ord + Copy, V> Ascending<K, V> {
    pub fn new() -> Self {
        Self { entries: VecDeque::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    fn place(&self, key: &K) -> Result<usize, usize> {
        match self.entries.back() {
            Some((last, _)) if last < key => Err(self.entries.len()),
            Some(_) => self.entries.binary_search_by_key(key, |(own, _)| *own),
            None => Err(0),
        }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(self.place(key).ok()?)?.1.as_ref()
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.place(key).ok()?;
        self.entries.get_mut(place)?.1.as_mut()
    }

    /// Inserts a value, or replaces the key's value.
    pub fn insert(&mut self, key: K, value: V) {
        let before = match self.place(&key) {
            Ok(place) => self.entries.get_mut(place).and_then(|(_, own)| own.replace(value)),
            Err(place) => {
                self.entries.insert(place, (key, Some(value)));
                None
            }
        };
        self.len += usize::from(before.is_none());
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.place(key).ok()?;
        let value = self.entries.get_mut(place)?.1.take()?;
        self.len -= 1;
        while self.entries.front().is_some_and(|(_, own)| own.is_none()) {
            self.entries.pop_front();
        }
        if self.entries.len() > 2 * self.len + 64 {
            self.entries.retain(|(_, own)| own.is_some());
        }
        Some(value)
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().filter(|(_, own)| own.is_some()).map(|(key, _)| key)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().filter_map(|(_, own)| own.as_ref())
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().filter_map(|(_, own)| own.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn an_ascending_map_behaves_like_a_btree_map(steps in prop::collection::vec((0..3u8, 0..200u16), 0..600)) {
            let (mut own, mut other) = (Ascending::new(), BTreeMap::new());
            for (at, (step, key)) in steps.into_iter().enumerate() {
                if step == 0 {
                    prop_assert_eq!(own.remove(&key), other.remove(&key));
                } else {
                    own.insert(key, at);
                    other.insert(key, at);
                }
                prop_assert_eq!((own.len(), own.get(&key)), (other.len(), other.get(&key)));
                prop_assert!(own.keys().eq(other.keys()) && own.values().eq(other.values()));
            }
        }
    }
}
