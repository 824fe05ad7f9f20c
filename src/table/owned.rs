//! A record that is kept for a while, in no more memory than it takes.

use crate::record::{Entry, FamilyView, Shape, Snapshot};
use crate::types::Family;
use std::rc::Rc;

/// One publish, whole, as a [`Snapshot`] held it; clones share it.
#[derive(Clone, Debug)]
pub struct Record {
    words: Rc<[u64]>,
    shape: Shape,
}

impl Record {
    /// A copy of what the snapshot holds.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Record {
        let words = snapshot.words.get(..snapshot.shape.words()).unwrap_or(&snapshot.words);
        Record { words: words.into(), shape: snapshot.shape }
    }

    /// A copy of what was written to a record's place.
    pub(crate) fn written(encoded: &[u64], version: u64) -> Option<Record> {
        let mut words: Rc<[u64]> = encoded.into();
        let shape = Shape::of(*encoded.get(1)?)?;
        *Rc::get_mut(&mut words)?.first_mut()? = version << 1;
        Some(Record { words, shape })
    }

    /// The name, in lower-case wire form.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        Entry::of(&self.words, self.shape).name()
    }

    /// What it says of a family.
    #[must_use]
    pub fn family(&self, family: Family) -> Option<FamilyView<'_>> {
        Entry::of(&self.words, self.shape).family(family)
    }
}
