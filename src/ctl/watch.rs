//! `watch` of one name: a line for every version of an entry, superseded ones included, as the table's
//! ring of changes has them. `watch` of several names, and with a command, is in `watch/feed.rs`.

mod command;
mod feed;
mod line;
mod runs;
mod sets;
mod signals;

use super::entry::{Entry, rtype};
use super::read::print;
use super::{Context, End};
use feed::Wishes;
use hither_client::{Family, Key, Name, NoEntry, Reader, Snapshot, StaleTime, Step, Table, Wanted};
use hither_net::clock::now;
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

/// The time without a change after which we check whether the table was replaced.
const CHECK_AFTER: Duration = Duration::from_secs(1);

/// The options of the verb.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    /// Run this command by sh for each change of the addresses, instead of printing a line.
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Changes of the order alone count, too.
    #[arg(long)]
    order: bool,
    /// Each name that is in the table counts as changed when the watch begins.
    #[arg(long)]
    now: bool,
    /// The names to watch, and A or AAAA after them for one family alone.
    #[arg(value_name = "NAME", required = true)]
    names: Vec<Name>,
}

/// Watches one name in the table, or several names, or with a command, by a subscription.
pub(super) fn watch(context: &Context, out: &mut impl Write, options: Options) -> Result<End, End> {
    let Options { exec: command, order, now, mut names } = options;
    let family = if names.len() > 1 { names.last().and_then(family_of) } else { None };
    if family.is_some() {
        names.pop();
    }
    match names.as_slice() {
        [name] if command.is_none() && !order && !now => {
            watch_table(context, out, name, family.unwrap_or(Family::A))
        }
        names => {
            let names: BTreeSet<Name> = names.iter().map(Name::to_lower).collect();
            let wanted = family.map_or(Wanted::Both, Wanted::One);
            let wishes = Wishes { names: names.into_iter().collect(), wanted, command, order, now };
            feed::watch(context, out, &wishes)
        }
    }
}

/// The family that the last word of the command line stands for, if it does so.
fn family_of(word: &Name) -> Option<Family> {
    super::family(word.to_string().trim_end_matches('.')).ok()
}

fn watch_table(context: &Context, out: &mut impl Write, name: &Name, family: Family) -> Result<End, End> {
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
