//! A copied record in memory of its own size, for the daemon, which keeps it longer than one
//! lookup.

use crate::family::FamilyView;
use crate::record::{Entry, Snapshot};
use crate::shape::Shape;
use crate::types::Family;
use std::rc::Rc;

/// A record as a [`Snapshot`] held it, all of one publish. Clones share the memory.
#[derive(Clone, Debug)]
pub struct Record {
    words: Rc<[u64]>,
    shape: Shape,
}

impl Record {
    /// A copy of the snapshot's record.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Record {
        let words = snapshot.words.get(..snapshot.shape.words()).unwrap_or(&snapshot.words);
        Record { words: words.into(), shape: snapshot.shape }
    }

    /// A copy of a record that has just been written under `version`.
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

    /// The entry that it holds.
    #[must_use]
    pub fn entry(&self) -> Entry<'_> {
        Entry::of(&self.words, self.shape)
    }

    /// One of its families; `None` if that is unknown.
    #[must_use]
    pub fn family(&self, family: Family) -> Option<FamilyView<'_>> {
        Entry::of(&self.words, self.shape).family(family)
    }
}
