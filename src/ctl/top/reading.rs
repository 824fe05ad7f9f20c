//! Reads the table for one sample: counters, times to answer, and a bounded number of changes. Nothing
//! here walks the table, so a sample takes as long with a million names as with ten.

use super::changes::Changes;
use super::model::TableState;
use super::rates::Counted;
use hither_client::{Counter, Follower, Monotonic, Snapshot, Step, Table};
use hither_table::{AnswerSource, Histogram, Metrics};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Changes that are read for one sample: the latest ones. The others are counted.
const CHANGES_MAX: u64 = 256;
/// A daemon that has done nothing for so long although it should have is said to hang.
const HANGS_AFTER: Duration = Duration::from_secs(2);

/// The table, as long as it is the daemon's current one.
pub(super) struct Reading {
    dir: PathBuf,
    follower: Option<Follower>,
    remark: Option<String>,
    snapshot: Box<Snapshot>,
}

impl Reading {
    pub fn of(dir: &Path) -> Reading {
        let snapshot = Box::new(Snapshot::new());
        Reading { dir: dir.to_owned(), follower: None, remark: None, snapshot }
    }

    /// Passes over all changes so far, as after a pause.
    pub fn skip_changes(&mut self) -> u64 {
        self.follower.as_mut().map_or(0, |follower| follower.skip(0))
    }

    /// Reads one sample. Opens the table, or the one that has replaced it, if that is necessary.
    ///
    /// # Errors
    /// The reason why there is no table.
    pub fn sample(&mut self, now: Monotonic, changes: &mut Changes) -> Result<(TableState, Counted), String> {
        let is_current = |follower: &Follower| {
            !follower.reader().replaced() && !follower.reader().has_successor(&self.dir)
        };
        if !self.follower.as_ref().is_some_and(is_current) {
            self.open()?;
        }
        let Some(follower) = &mut self.follower else { return Err("there is no table".to_owned()) };
        changes.unread = follower.skip(CHANGES_MAX);
        for _ in 0..CHANGES_MAX {
            match follower.step(&mut self.snapshot) {
                Step::Record => changes.take(&self.snapshot, now),
                // An entry was removed, and its name with it.
                Step::Changed => {}
                Step::Nothing | Step::Lapped | Step::Replaced => break,
            }
        }
        let reader = follower.reader();
        let counters = reader.counters();
        let metrics = reader.metrics();
        let problem = match (reader.live(), reader.writer_lives()) {
            (_, Some(false)) => Some("which was killed".to_owned()),
            (false, _) => Some("which has stopped".to_owned()),
            (true, _) => metrics.as_ref().and_then(|metrics| hangs(metrics, now)),
        };
        let (pid, remark, entries) =
            (reader.writer_pid(), self.remark.clone(), counters.get(Counter::Entries));
        let answers = metrics.as_ref().map_or_else(Vec::new, answers);
        let counted = Counted { at: now, generation: reader.generation(), counters, answers };
        Ok((TableState { pid, problem, remark, entries }, counted))
    }

    fn open(&mut self) -> Result<(), String> {
        self.follower = None;
        let table = Table::open_any_network(Some(&self.dir))
            .map_err(|error| format!("the table in '{}' cannot be read: {error}", self.dir.display()))?;
        let remark = "programs in this network namespace do not read its table";
        self.remark = (!table.is_same_network()).then(|| remark.to_owned());
        self.follower = Some(table.watch());
        Ok(())
    }
}

/// What is wrong with a daemon that should have done something by now.
fn hangs(metrics: &Metrics, now: Monotonic) -> Option<String> {
    // A daemon that is only starting has not said anything yet.
    let overdue = if metrics.started.0 > 0 { metrics.life.overdue(now) } else { Duration::ZERO };
    (overdue >= HANGS_AFTER).then(|| format!("which has hung for {} s", overdue.as_secs()))
}

/// How many answers took how long, whatever their source.
fn answers(metrics: &Metrics) -> Vec<u64> {
    let all = AnswerSource::ALL.iter().map(|source| metrics.answers(*source));
    all.fold(Histogram::default(), |all, own| all.plus(&own)).counts.to_vec()
}

/// The upper bounds of the buckets of the times to answer, in microseconds.
pub(super) fn bounds_us() -> Vec<f64> {
    Histogram::bounds_ns().iter().map(|ns| *ns as f64 / 1000.0).collect()
}
