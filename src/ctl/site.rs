//! What is shared with other hosts: its state in `status`, and `flush --site`.

use super::ask::{TIMEOUT, ask, unexpected};
use super::{Context, End};
use hither_client::{Family, Snapshot, Table};
use hither_control::{Request, Response, SiteRefused, SiteStatus, counted};
use std::io::Write;

/// Removes what other hosts have learned, and prints how many sets that were.
pub(super) fn flush(context: &Context, out: &mut impl Write) -> Result<End, End> {
    let sets = context.open().ok().map(|table| sets(&table));
    match ask(context, &Request::FlushSite, TIMEOUT)? {
        Response::Flushed { .. } if context.json => writeln!(out, "{}", serde_json::json!({ "sets": sets }))?,
        Response::Flushed { .. } => {
            let counted = sets.map(|sets| counted(sets, "set of other hosts is", "sets of other hosts are"));
            writeln!(out, "{} removed", counted.as_deref().unwrap_or("what other hosts have learned is"))?;
        }
        _ => return Err(unexpected()),
    }
    Ok(End::Done)
}

/// How many sets of other hosts the table has.
fn sets(table: &Table) -> u64 {
    let (reader, mut snapshot, mut count) = (table.reader(), Snapshot::new(), 0);
    let mut entries = reader.entries();
    while entries.next(&mut snapshot) {
        let both = [Family::A, Family::Aaaa].into_iter().filter_map(|family| snapshot.family(family));
        count += both.filter(|set| reader.is_of_site(set.round())).count() as u64;
    }
    count
}

/// Prints the state of the companion.
pub(super) fn print(out: &mut impl Write, site: &SiteStatus) -> Result<(), End> {
    let (report, counts) = (&site.report, &site.report.counts);
    let Some(pid) = site.pid else {
        writeln!(out, "site       hither-site is not connected")?;
        return Ok(());
    };
    let state = if report.state.is_empty() { "starting" } else { &report.state };
    let engine = if report.engine.is_empty() { "engine" } else { &report.engine };
    let group = if report.group.is_empty() { String::new() } else { format!(" of group {}", report.group) };
    writeln!(out, "site       process {pid}, host {}{group}, {engine} {state}", report.host)?;
    let (written, received) = (counted(counts.written, "set", "sets"), counts.received);
    writeln!(out, "           {written} written, {received} received, {} offered", counts.offered)?;
    let refused: Vec<String> = refusals(&counts.refused)
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    if !refused.is_empty() {
        writeln!(out, "           refused: {}", refused.join(", "))?;
    }
    if let Some(problem) = &report.problem {
        writeln!(out, "           problem: {problem}")?;
    }
    Ok(())
}

/// The counts of refused entries, each with its reason.
fn refusals(refused: &SiteRefused) -> [(&'static str, u64); 8] {
    let SiteRefused { signature, clock, expired, replayed, prefix, size, malformed, unshared } = *refused;
    [
        ("with a signature that is missing or of another key", signature),
        ("of a wrong clock", clock),
        ("expired", expired),
        ("older than one before", replayed),
        ("of another site", prefix),
        ("too large", size),
        ("malformed", malformed),
        ("not to be shared", unshared),
    ]
}
