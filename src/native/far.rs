//! The table of a process that must not map it (`hither_table::trust`): opened for each lookup, its words asked of the kernel.
//!
//! No descriptor is kept: other people's processes close the ones that they do not know, and use the numbers anew.

use crate::handle::{Handle, Unusable, same_clock};
use crate::sys::{self, Opened};
use hither_table::layout::PULSE;
use hither_table::{Distant, Head, Key, Monotonic, NoEntry, Plan, Shape, Source};

/// A table that is open for as long as this is there.
pub(crate) struct Far {
    table: Opened,
    /// What its header says.
    pub head: Head,
    plan: Plan,
}

impl Handle {
    /// The table, where this process must not map it; `None`: it may, or has.
    #[inline]
    pub(crate) fn far(&self, now: Monotonic) -> Option<Result<Far, Unusable>> {
        if self.current() != 0 { None } else { self.open_far(now) }
    }

    #[cold]
    #[inline(never)]
    fn open_far(&self, now: Monotonic) -> Option<Result<Far, Unusable>> {
        let rights = sys::rights();
        if rights.may_map(u32::MAX) {
            return None;
        }
        let path = self.path(b"").ok_or(Unusable::NoTable);
        let table = path.and_then(|path| sys::open_table(&path));
        match table {
            Ok(table) if rights.may_map(table.owner) => None,
            table => Some(table.and_then(|table| self.far_of(table, now))),
        }
    }

    #[cold]
    fn far_of(&self, table: Opened, now: Monotonic) -> Result<Far, Unusable> {
        let head = Head::read(&table).ok_or(Unusable::NotATable)?;
        let plan = head.plan(table.words()).map_err(|_| Unusable::NotATable)?;
        same_clock(head.clock_offset_ms())?;
        if head.network() != 0 && !self.is_here(head.network(), now) {
            return Err(Unusable::OtherNetwork);
        }
        Ok(Far { table, head, plan })
    }
}

impl Far {
    #[cold]
    pub fn find(&self, key: &Key, out: &mut [u64]) -> Result<Shape, NoEntry> {
        Distant::new(&self.table, &self.plan).find(key, None, out)
    }

    /// See [`hither_table::View::pulse`].
    #[cold]
    pub fn pulse(&self) -> Option<u64> {
        let mut words = [0; PULSE];
        self.table.read(0, &mut words)?;
        hither_table::pulse(|at| words.get(at).copied())
    }

    /// Waits until something has changed since `seen` changes, as far as can be told.
    pub fn wait(self, seen: u64, timeout_ms: u32) {
        sys::wait_at_header(self.table, seen as u32, timeout_ms);
    }
}
