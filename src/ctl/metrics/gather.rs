//! Reads the values out of the table.

use super::catalogue::{self as of, Metric};
use super::recorded;
use super::text::Text;
use hither_client::{Counter, Reader};
use hither_net::clock::now;

/// The metrics of a table. The last values of a daemon that has died or hangs are still there.
pub(super) fn running(text: &mut Text, table: &Reader) {
    // The metrics first, so that what has changed until now is not taken for overdue.
    let (metrics, now) = (table.metrics(), now());
    let lives = table.live() && table.writer_lives() != Some(false);
    let is_up = lives && metrics.as_ref().is_none_or(|metrics| recorded::goes_on(metrics, now));
    build(text);
    text.single(&of::UP, u8::from(is_up));
    if let Some(metrics) = &metrics {
        recorded::life(text, metrics, is_up, now);
        recorded::all(text, metrics);
    }
    counters(text, table);
    about_table(text, table);
}

/// All that is known without a table.
pub(super) fn stopped(text: &mut Text) {
    build(text);
    text.single(&of::UP, 0);
}

fn build(text: &mut Text) {
    text.metric(&of::BUILD).add(&[env!("CARGO_PKG_VERSION")], 1);
}

fn counters(text: &mut Text, table: &Reader) {
    let counters = table.counters();
    let placed: Vec<_> = Counter::ALL.iter().map(|counter| (*counter, of::place(*counter))).collect();
    for metric in of::ALL {
        let is_here = |(_, (place, _)): &&(Counter, (&Metric, _))| std::ptr::eq(*place, *metric);
        let mut samples = text.metric(metric);
        for (counter, (_, labels)) in placed.iter().filter(is_here) {
            samples.add(labels, counters.get(*counter));
        }
    }
}

fn about_table(text: &mut Text, table: &Reader) {
    let (major, minor) = (table.abi() >> 32, table.abi() as u32);
    let generation = format!("{:016x}", table.generation());
    text.metric(&of::TABLE).add(&[&format!("{major}.{minor}"), &generation], 1);
    text.single(&of::TABLE_SIZE, table.size_octets());
    text.single(&of::TABLE_VERSION, table.version());
}
