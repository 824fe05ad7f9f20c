//! `watch`: a line for every version of an entry, superseded ones included, as the table's ring of
//! changes has them.

use super::entry::{Entry, rtype};
use super::read::print;
use super::{Context, End};
use hither_client::{Family, Key, Name, NoEntry, Reader, Snapshot, StaleTime, Step, Table};
use hither_net::clock::now;
use std::io::Write;
use std::time::Duration;

/// The time without a change after which we check whether the table was replaced.
const CHECK_AFTER: Duration = Duration::from_secs(1);

pub(super) fn watch(
    context: &Context,
    out: &mut impl Write,
    name: &Name,
    family: Family,
) -> Result<End, End> {
    let name = name.to_lower();
    let mut watched = Watched { context, name, family, last: 0, is_present: false };
    let mut snapshot = Snapshot::new();
    loop {
        let table = wait_for_table(context);
        follow(&table.reader(), &mut watched, &mut snapshot, out)?;
    }
}

/// Waits for a table: the watch may be started before the daemon.
fn wait_for_table(context: &Context) -> Table {
    loop {
        match context.open() {
            Ok(table) if !table.reader().replaced() => return table,
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

struct Watched<'c> {
    context: &'c Context,
    name: Name,
    family: Family,
    /// The version that was printed last.
    last: u64,
    /// Whether the entry was in the table when last looked.
    is_present: bool,
}

/// Prints versions until the table is replaced.
fn follow(
    reader: &Reader,
    watched: &mut Watched<'_>,
    snapshot: &mut Snapshot,
    out: &mut impl Write,
) -> Result<(), End> {
    let mut follower = reader.follow();
    watched.look_up(reader, snapshot, out)?;
    loop {
        match follower.step(snapshot) {
            Step::Record if snapshot.name() == watched.name.as_wire() => watched.show(snapshot, out)?,
            Step::Record => {}
            Step::Changed | Step::Lapped => watched.look_up(reader, snapshot, out)?,
            Step::Nothing => {
                follower.wait(CHECK_AFTER);
                if reader.replaced() || reader.has_successor(&watched.context.dir) {
                    return Ok(());
                }
            }
            Step::Replaced => return Ok(()),
        }
    }
}

impl Watched<'_> {
    fn show(&mut self, snapshot: &Snapshot, out: &mut impl Write) -> Result<(), End> {
        // A version that was published is shown even if it is read late.
        let Some(entry) = Entry::of(snapshot, self.family, StaleTime::UNKNOWN, now()) else { return Ok(()) };
        if entry.version > self.last {
            self.last = entry.version;
            self.is_present = true;
            print(self.context, out, &entry)?;
            out.flush()?;
        }
        Ok(())
    }

    fn look_up(&mut self, reader: &Reader, snapshot: &mut Snapshot, out: &mut impl Write) -> Result<(), End> {
        match reader.lookup(&Key::of(&self.name), snapshot) {
            Ok(()) => self.show(snapshot, out),
            Err(NoEntry::Missing) if self.is_present => {
                self.is_present = false;
                if !self.context.json {
                    writeln!(out, "{} {}  is no longer in the table", self.name, rtype(self.family))?;
                    out.flush()?;
                }
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }
}
