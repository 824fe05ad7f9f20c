//! What this host has learned and others have not: it is read from the table and handed to the engine.

use super::engine::board::{Board, Write};
use super::interest::{Interest, Written};
use super::publication::{self, Seen, Writer};
use super::rules::Rules;
use hither_client::{Family, Reader, Snapshot};
use hither_entries::Seal;
use hither_net::clock::wall_ms;
use hither_table::Monotonic;
use hither_wire::name::Name;
use std::time::Duration;

/// A set with less time left is not written.
const LEFT_MIN_MS: u64 = 1000;
/// How long the labels of upstreams are used before they are read again.
const LABELS_FOR: Duration = Duration::from_secs(5);

/// How a set was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FoundBy {
    /// By a change of the table, after this time.
    Change(Monotonic),
    /// By the survey of the table, in which sets with a later version than this one do not count.
    Survey { latest: u64 },
}

#[derive(Debug)]
pub(super) struct Outgoing {
    writer: Writer,
    written: Written,
    /// The labels of upstreams, by number, and when they were read.
    labels: Vec<Box<str>>,
    labels_at: Option<Monotonic>,
    /// Sets that cannot be written as an entry.
    pub unfit: u64,
}

/// What a set may be written with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means<'a> {
    pub rules: &'a Rules,
    pub seal: &'a Seal,
    pub board: &'a Board,
    pub reader: &'a Reader,
}

impl Outgoing {
    pub fn new(writer: Writer) -> Outgoing {
        Outgoing { writer, written: Written::new(), labels: Vec::new(), labels_at: None, unfit: 0 }
    }

    /// Writes the sets of a record that this host has learned itself, and notes that their name is of
    /// interest.
    pub fn take(
        &mut self,
        record: &Snapshot,
        found_by: FoundBy,
        means: Means<'_>,
        interest: &mut Interest,
        now: Monotonic,
    ) {
        let Ok(name) = Name::from_wire(record.name()) else { return };
        for family in [Family::A, Family::Aaaa] {
            let Some(set) = record.family(family) else { continue };
            let left_ms = set.expire_ms().saturating_sub(now.as_ms());
            let is_late = matches!(found_by, FoundBy::Survey { latest } if set.version() > latest);
            if is_late || !is_own(set.round(), means.reader) || left_ms <= LEFT_MIN_MS {
                continue;
            }
            interest.note(name.as_wire(), now);
            if !means.rules.may_leave(&set) || !means.rules.is_shared(&name) {
                continue;
            }
            if !self.written.note(name.as_wire(), family, (set.round(), set.set_version(), set.expire_ms())) {
                continue;
            }
            let since = if let FoundBy::Change(since) = found_by { Some(since) } else { None };
            let seen = Seen { name: &name, family, set: &set, now, wall_ms: wall_ms(), since };
            self.read_labels(means.reader, now);
            let sealed = self.writer.entry(&seen, &self.labels).map(|entry| means.seal.seal(&entry));
            match sealed {
                Some(Ok((key, value))) => {
                    let expire_ms = set.expire_ms();
                    let is_new = since.is_some();
                    means.board.write(Write { key, value, expire_ms, is_new, is_second: false });
                }
                Some(Err(fault)) => {
                    self.unfit += 1;
                    log::debug!("the set of {name} is not shared: {fault}");
                }
                None => self.unfit += 1,
            }
        }
    }

    fn read_labels(&mut self, reader: &Reader, now: Monotonic) {
        if self.labels_at.is_none_or(|at| now.since(at) >= LABELS_FOR) {
            let upstreams = reader.metrics().map(|metrics| metrics.upstreams).unwrap_or_default();
            self.labels = upstreams.iter().map(|upstream| publication::label(&upstream.label)).collect();
            self.labels_at = Some(now);
        }
    }
}

/// Whether a set was learned by a round of this host since it was started, and not restored or received.
fn is_own(round: u64, reader: &Reader) -> bool {
    let restored = reader.restored_round();
    let is_restored = restored != 0 && round == restored;
    !is_restored && !reader.is_of_site(round)
}
