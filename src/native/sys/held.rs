//! A mapped table whose header has been read.
#![allow(unsafe_code)]

use super::{Path, map_table, open_table, rights, table::Mapped, unmap};
use crate::handle::{Unusable, check_clock};
use hither_table::{FileId, Plan, View};

/// The mapping, and the positions of the parts of the table.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    memory: Mapped,
    plan: Plan,
}

impl Held {
    /// Maps the table in `dir`. `None`: this process must not map it.
    #[cold]
    pub fn open(dir: &Path) -> Result<Option<Held>, Unusable> {
        let table = open_table(dir)?;
        if !rights().may_map(table.owner) {
            return Ok(None);
        }
        let memory = map_table(&table)?;
        drop(table);
        // SAFETY: just mapped, and unmapped only below or by the caller, after this use.
        let words = unsafe { core::slice::from_raw_parts(memory.words, memory.count) };
        let plan = Plan::read(words)
            .map_err(|_| Unusable::NotATable)
            .and_then(|plan| check_clock(View::new(words, &plan).clock_offset_ms()).map(|()| plan));
        match plan {
            Ok(plan) => Ok(Some(Held { memory, plan })),
            Err(why) => {
                // SAFETY: mapped above, and no other code has its address.
                unsafe { unmap(memory.words, memory.count) };
                Err(why)
            }
        }
    }

    /// Gives the table to `look`.
    ///
    /// # Safety
    /// It is still mapped, and stays so until this returns.
    pub unsafe fn with<T>(&self, look: impl FnOnce(View<'_>) -> T) -> T {
        // SAFETY: the caller keeps the table mapped until `look` returns. The mapping is aligned to a page
        // and has `count` words; all accesses are atomic.
        let words = unsafe { core::slice::from_raw_parts(self.memory.words, self.memory.count) };
        look(View::new(words, &self.plan))
    }

    /// The file that is mapped.
    pub fn file(&self) -> FileId {
        self.memory.file
    }

    /// Unmaps the table.
    ///
    /// # Safety
    /// It was not unmapped before, and no thread reads it from now on.
    pub unsafe fn unmap(&self) {
        // SAFETY: the mapping of `open`, which the caller has not unmapped and no thread reads any more.
        unsafe { unmap(self.memory.words, self.memory.count) };
    }
}
