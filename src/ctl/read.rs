//! Verbs that read the table, without the daemon: `lookup`, `dump`, `verify` and `stats`.

use super::entry::{Both, Entry};
use super::{Context, End};
use hither_client::{Counter, Family, Name, NoEntry, Snapshot};
use hither_control::counted;
use hither_net::clock::now;
use serde_json::{Map, Value};
use std::io::Write;

/// Attempts to read a record that the daemon keeps changing.
const ATTEMPTS_MAX: usize = 1000;

/// Prints one entry, as text or as one line of JSON.
pub(super) fn print(context: &Context, out: &mut impl Write, entry: &Entry) -> Result<(), End> {
    if context.json {
        serde_json::to_writer(&mut *out, entry).map_err(|error| End::from(std::io::Error::from(error)))?;
        writeln!(out)?;
    } else {
        writeln!(out, "{entry}")?;
    }
    Ok(())
}

pub(super) fn lookup(
    context: &Context,
    out: &mut impl Write,
    name: &Name,
    family: Option<Family>,
) -> Result<End, End> {
    let table = context.table()?;
    let mut snapshot = Snapshot::new();
    let found = (0..ATTEMPTS_MAX)
        .map(|_| table.lookup(name, &mut snapshot))
        .find(|found| *found != Err(NoEntry::Busy));
    match found {
        Some(Ok(())) => {}
        Some(Err(NoEntry::Missing | NoEntry::Replaced)) => return Ok(not_in_table(name)),
        Some(Err(NoEntry::Busy | NoEntry::TooLarge)) | None => {
            return Err(End::Failed(format!("{name} changes too fast to be read")));
        }
    }
    let both = if family.is_none() { Both::of(&snapshot, table.families().order) } else { None };
    let families = family.map_or_else(|| vec![Family::A, Family::Aaaa], |family| vec![family]);
    let (stale, now) = (table.stale_time(), now());
    let entries = families.into_iter().filter_map(|family| Entry::of(&snapshot, family, stale, now));
    let entries: Vec<Entry> = entries.map(|entry| entry.with_both(both.as_ref())).collect();
    for entry in &entries {
        print(context, out, entry)?;
    }
    if let Some(both) = both.filter(|_| !context.json) {
        writeln!(out, "{both}")?;
    }
    Ok(match entries.as_slice() {
        [] => not_in_table(name),
        all if all.iter().all(|entry| entry.negative.is_some()) => End::DoesNotExist,
        _ => End::Done,
    })
}

/// Remarks that the table does not have the name, which prints nothing else.
fn not_in_table(name: &Name) -> End {
    super::remark(&format!("{name} is not in the table; 'hitherctl query {name}' asks for it"));
    End::NotInTheTable
}

pub(super) fn dump(context: &Context, out: &mut impl Write) -> Result<End, End> {
    let reader = context.table()?.reader();
    let mut snapshot = Snapshot::new();
    let mut entries = reader.entries();
    let (stale, now) = (reader.stale_time(), now());
    while entries.next(&mut snapshot) {
        for family in [Family::A, Family::Aaaa] {
            if let Some(entry) = Entry::of(&snapshot, family, stale, now) {
                print(context, out, &entry)?;
            }
        }
    }
    Ok(End::Done)
}

pub(super) fn verify(context: &Context, out: &mut impl Write) -> Result<End, End> {
    let report = context.table()?.reader().verify();
    if context.json {
        let object = serde_json::json!({ "entries": report.entries, "busy": report.busy, "bad": report.bad });
        writeln!(out, "{object}")?;
    } else {
        for fault in &report.bad {
            writeln!(out, "{fault}")?;
        }
        writeln!(
            out,
            "{}, {} wrong, {} too busy to be checked",
            counted(report.entries as u64, "entry", "entries"),
            report.bad.len(),
            report.busy
        )?;
    }
    match report.bad.len() {
        0 => Ok(End::Done),
        n => Err(End::Failed(format!(
            "{} of the table {} damaged; a restarted daemon drops damaged entries",
            counted(n as u64, "entry", "entries"),
            if n == 1 { "is" } else { "are" }
        ))),
    }
}

pub(super) fn stats(context: &Context, out: &mut impl Write) -> Result<End, End> {
    let counters = context.table()?.reader().counters();
    if context.json {
        let object: Map<String, Value> = Counter::ALL
            .iter()
            .map(|counter| (counter.name().to_owned(), counters.get(*counter).into()))
            .collect();
        writeln!(out, "{}", Value::Object(object))?;
    } else {
        for counter in Counter::ALL {
            writeln!(out, "{:<30} {:>12}", counter.name().replace('_', " "), counters.get(*counter))?;
        }
    }
    Ok(End::Done)
}
