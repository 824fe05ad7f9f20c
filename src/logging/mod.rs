//! The log: entries with fields to the journal if standard error leads there, else plain lines on
//! standard error.
//!
//! The event loop logs, so nothing here ever blocks. Entries that neither the journal nor standard
//! error takes at once are counted, and the number is logged before the next entry.

mod entry;
mod events;
mod journal;
mod rate;
mod stderr;

pub use events::Event;

use entry::Entry;
use hither_net::clock;
use journal::Journal;
use log::{LevelFilter, Log, Metadata, Record};
use rate::Places;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use stderr::Stderr;

/// Installs the logger; further calls only change the level.
pub fn start(level: LevelFilter) {
    LOGGER.get_or_init(|| {
        let stream = std::env::var_os("JOURNAL_STREAM");
        let journal = journal::is_journal_stream(stream.as_deref(), std::io::stderr());
        let outputs = Outputs::new(
            Box::new(std::io::stderr()),
            journal.then(|| Path::new(journal::SOCKET)),
            program_name(),
        );
        Logger(Mutex::new(State { places: Places::default(), outputs }))
    });
    if let Some(logger) = LOGGER.get() {
        // This fails only if there is a logger already, and nothing else installs one.
        let _ = log::set_logger(logger);
    }
    log::set_max_level(level);
}

/// The logger of this process.
static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Writes an entry with fields that may be private to clients, whatever the level: the operator has
/// demanded such entries. The caller bounds their rate.
pub fn write_with_consent(event: Event, line: &str, fields: impl Iterator<Item = (&'static str, String)>) {
    if let Some(logger) = LOGGER.get() {
        let entry = Entry::with_consent(event, line, fields);
        logger.state().outputs.write(&entry);
    }
}

/// The name by which this program was started.
fn program_name() -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    let name = path.as_ref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
    name.unwrap_or("hither").to_owned()
}

struct Logger(Mutex<State>);

struct State {
    places: Places,
    outputs: Outputs,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let spot = (record.file_static().unwrap_or_default(), record.line().unwrap_or(0));
        let may = self.state().places.admit(spot, clock::now().as_ms() / 1000);
        if let Some(left_out) = may {
            let entry = Entry::of(record, left_out);
            self.state().outputs.write(&entry);
        }
    }

    /// Logs how many entries were lost, if there were any and an output takes entries again.
    fn flush(&self) {
        self.state().outputs.report_lost();
    }
}

impl Logger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outputs of the log.
struct Outputs {
    journal: Option<Journal>,
    stderr: Stderr,
    /// Whether the journal reads standard error and expects the priority in front of each line.
    has_priority_prefix: bool,
    /// Entries that were lost and not reported yet.
    lost: u64,
}

impl Outputs {
    /// Outputs to `journal`, the path of its socket, if there is one, and else to `stderr`. In a
    /// service with a root directory of its own the socket is missing, and `stderr` leads to the
    /// journal.
    fn new(stderr: Box<dyn std::os::fd::AsFd + Send>, journal: Option<&Path>, identifier: String) -> Outputs {
        Outputs {
            has_priority_prefix: journal.is_some(),
            journal: journal.and_then(|path| Journal::new(path.to_owned(), identifier).ok()),
            stderr: Stderr::new(stderr),
            lost: 0,
        }
    }

    fn write(&mut self, entry: &Entry) {
        self.report_lost();
        // An entry is not written before the report on those that were lost before it.
        if self.lost > 0 || !self.send(entry) {
            self.lost += 1;
        }
    }

    fn report_lost(&mut self) {
        if self.lost > 0 && self.send(&Entry::lost(self.lost)) {
            self.lost = 0;
        }
    }

    fn send(&mut self, entry: &Entry) -> bool {
        if self.journal.as_ref().is_some_and(|journal| journal.send(entry).is_ok()) {
            return true;
        }
        if self.has_priority_prefix {
            return self.stderr.write(&format!("<{}>{}", entry.priority(), entry.line));
        }
        self.stderr.write(&entry.line)
    }
}

#[cfg(test)]
mod tests;
