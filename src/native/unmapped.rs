//! The table for a process that must not map it (see [`hither_table::trust`]): opened for each lookup,
//! and read by system calls.
//!
//! No descriptor stays open: the process may close descriptors that it does not know, and reuse
//! their numbers.

use crate::handle::{Handle, Unusable, check_clock};
use crate::look::Rules;
use crate::sys::{self, Opened};
use hither_table::layout::ACTIVITY_WORDS;
use hither_table::{Head, Key, Monotonic, NoEntry, Plan, Shape, Source, UnmappedTable};

/// An open table whose header has been read.
pub(crate) struct Unmapped {
    table: Opened,
    pub head: Head,
    plan: Plan,
}

impl Handle {
    /// Opens the table if this process must not map it; `None` if it may map the table or has mapped it.
    #[inline]
    pub(crate) fn unmapped(&self, now: Monotonic) -> Option<Result<Unmapped, Unusable>> {
        if self.current() != 0 { None } else { self.open_unmapped(now) }
    }

    #[cold]
    #[inline(never)]
    fn open_unmapped(&self, now: Monotonic) -> Option<Result<Unmapped, Unusable>> {
        let rights = sys::rights();
        if rights.may_map(u32::MAX) {
            return None;
        }
        let dir = self.dir().ok_or(Unusable::NoTable);
        let table = dir.and_then(|dir| sys::open_table(&dir));
        match table {
            Ok(table) if rights.may_map(table.owner) => None,
            table => Some(table.and_then(|table| self.read_head(table, now))),
        }
    }

    #[cold]
    fn read_head(&self, table: Opened, now: Monotonic) -> Result<Unmapped, Unusable> {
        let head = Head::read(&table).ok_or(Unusable::NotATable)?;
        let plan = head.plan(table.words()).map_err(|_| Unusable::NotATable)?;
        check_clock(head.clock_offset_ms())?;
        if head.network() != 0 && !self.is_here(head.network(), now) {
            return Err(Unusable::OtherNetwork);
        }
        Ok(Unmapped { table, head, plan })
    }
}

impl Unmapped {
    /// Finds an entry as [`hither_table::View::find`] does, and how both families are to be used.
    #[cold]
    pub fn find(&self, key: &Key, out: &mut [u64]) -> Result<(Shape, Rules), NoEntry> {
        let found = UnmappedTable::new(&self.table, &self.plan).find(key, None, out);
        let rules = Rules { stale: self.head.stale_time(), families: self.head.families() };
        found.map(|shape| (shape, rules))
    }

    /// See [`hither_table::View::activity`]; `None` if the file has been truncated.
    #[cold]
    pub fn activity(&self) -> Option<u64> {
        let mut words = [0; ACTIVITY_WORDS];
        self.table.read(0, &mut words)?;
        hither_table::activity(|at| words.get(at).copied())
    }

    /// Waits until the table has seen more than `seen` changes, at most `timeout_ms` milliseconds; may
    /// return early.
    pub fn wait(self, seen: u64, timeout_ms: u32) {
        sys::wait_at_header(self.table, seen as u32, timeout_ms);
    }
}
