//! The sets of the watched names as they were when they were last printed, or given to the command.

use hither_client::{Cause, Change, Family, Monotonic, Name, Snapshot, Table, Use, Wanted};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What may have happened unseen before sets are compared with the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// The daemon had more to report than was read.
    Gap,
    /// Another daemon answers now, whose versions say nothing about those of the one before it.
    Restart,
}

/// One family of a name as it was last seen.
#[derive(Default, Debug)]
struct Seen {
    version: u64,
    set_version: u64,
    /// Sorted, so that the order does not count.
    addresses: Vec<IpAddr>,
    /// Whether the daemon that answers now has had the set. Until then the set that it has first is
    /// compared by its addresses, since it may be the same as before.
    is_settled: bool,
}

/// The sets of all watched names.
#[derive(Debug)]
pub(super) struct Sets {
    seen: BTreeMap<(Name, Family), Seen>,
    snapshot: Snapshot,
}

impl Sets {
    pub fn new() -> Sets {
        Sets { seen: BTreeMap::new(), snapshot: Snapshot::new() }
    }

    /// Copies the entry of a name from the table; `None` if it has none.
    pub fn entry(&mut self, table: &Table, name: &Name) -> Option<&Snapshot> {
        table.lookup(name, &mut self.snapshot).ok()?;
        Some(&self.snapshot)
    }

    /// One family of a name as the table has it; `None` if it has nothing that may be used.
    fn look(&mut self, table: &Table, name: &Name, family: Family) -> Option<Seen> {
        let stale = table.stale_time();
        let set = self.entry(table, name)?.family(family)?;
        if set.usable(stale, Monotonic::now()) == Use::Never {
            return None;
        }
        let mut addresses: Vec<IpAddr> = set.addresses().map(|one| one.address).collect();
        addresses.sort_unstable();
        Some(Seen { version: set.version(), set_version: set.set_version(), addresses, is_settled: true })
    }

    /// Whether a set that was seen has addresses.
    pub fn has_addresses(&self, name: &Name, family: Family) -> bool {
        self.seen.get(&(*name, family)).is_some_and(|seen| !seen.addresses.is_empty())
    }

    /// Notes the sets of a name as seen, since they are printed or given to the command now. Changes up to
    /// their versions are no news afterwards.
    pub fn take(&mut self, table: &Table, name: &Name, wanted: Wanted) {
        for family in [Family::A, Family::Aaaa].into_iter().filter(|family| wanted.includes(*family)) {
            let now = self.look(table, name, family);
            let seen = self.seen.entry((*name, family)).or_default();
            match now {
                Some(now) => *seen = now,
                // Its version stays: the table has no later one.
                None => seen.addresses.clear(),
            }
        }
    }

    /// Whether a reported change is not in the sets yet that were seen last.
    pub fn is_news(&mut self, table: &Table, change: &Change) -> bool {
        let now = self.look(table, &change.name, change.family);
        let seen = self.seen.entry((change.name, change.family)).or_default();
        if seen.is_settled {
            return match change.cause {
                // The table does not have it, and the record has no version of its own.
                Cause::Local | Cause::Other => true,
                Cause::Gone => !seen.addresses.is_empty(),
                _ => change.version > seen.version,
            };
        }
        seen.is_settled = true;
        let now = now.unwrap_or_default();
        let is_other = now.addresses != seen.addresses;
        if !is_other {
            (seen.version, seen.set_version) = (now.version, now.set_version);
        }
        is_other
    }

    /// Whether the table has another set than the one that was seen last, after something was not reported.
    pub fn has_changed(&mut self, table: &Table, name: &Name, family: Family, after: After) -> bool {
        let now = self.look(table, name, family);
        let seen = self.seen.entry((*name, family)).or_default();
        match (after, now) {
            (After::Gap, None) => !seen.addresses.is_empty(),
            // This daemon has not resolved it yet, and will report it.
            (After::Restart, None) => {
                (seen.is_settled, seen.version) = (false, 0);
                false
            }
            (After::Gap, Some(now)) if seen.is_settled => now.set_version != seen.set_version,
            (After::Gap | After::Restart, Some(now)) => {
                let is_other = now.addresses != seen.addresses;
                seen.is_settled = true;
                if is_other {
                    seen.version = 0;
                } else {
                    (seen.version, seen.set_version) = (now.version, now.set_version);
                }
                is_other
            }
        }
    }
}
