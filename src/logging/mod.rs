//! The log: entries for the journal where standard error leads there, plain lines on standard error where it does not.
//!
//! The event loop logs, so nothing here ever waits. An entry goes the first way that takes it at once; those that none took are
//! counted, and the next one that gets through is preceded by how many they were.

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
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use stderr::Stderr;

/// Installs the log; further calls only change the level.
pub fn start(level: LevelFilter) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let stream = std::env::var_os("JOURNAL_STREAM");
        let journal = journal::leads_there(stream.as_deref(), std::io::stderr());
        let ways =
            Ways::new(Box::new(std::io::stderr()), journal.then(|| Path::new(journal::SOCKET)), called());
        // Nobody else installs one.
        let _ = log::set_boxed_logger(Box::new(Logger(Mutex::new((Places::default(), ways)))));
    });
    log::set_max_level(level);
}

/// Which of hither's programs this is: one may have been started under the name of another.
fn called() -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    let name = path.as_ref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
    name.unwrap_or("hither").to_owned()
}

struct Logger(Mutex<(Places, Ways)>);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let spot = (record.file_static().unwrap_or_default(), record.line().unwrap_or(0));
        let may = self.inner().0.may(spot, clock::now().as_ms() / 1000);
        if let Some(left_out) = may {
            let entry = Entry::of(record, left_out);
            self.inner().1.write(&entry);
        }
    }

    /// Says what has been lost, if anything was and somebody listens again.
    fn flush(&self) {
        self.inner().1.own_up();
    }
}

impl Logger {
    fn inner(&self) -> MutexGuard<'_, (Places, Ways)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ways out.
struct Ways {
    journal: Option<Journal>,
    stderr: Stderr,
    /// Standard error is read by the journal, which takes a priority in front of each line.
    prefix: bool,
    /// Entries that nobody took and nobody has been told of.
    lost: u64,
}

impl Ways {
    /// To `journal`, the path of its socket, if there is one, else to `stderr`. Where there is no socket, as in a service with a root
    /// directory of its own, `stderr` leads to the journal all the same.
    fn new(stderr: Box<dyn std::os::fd::AsFd + Send>, journal: Option<&Path>, identifier: String) -> Ways {
        Ways {
            prefix: journal.is_some(),
            journal: journal.and_then(|path| Journal::new(path.to_owned(), identifier).ok()),
            stderr: Stderr::new(stderr),
            lost: 0,
        }
    }

    fn write(&mut self, entry: &Entry) {
        self.own_up();
        // What comes before it would not be told otherwise.
        if self.lost > 0 || !self.send(entry) {
            self.lost += 1;
        }
    }

    fn own_up(&mut self) {
        if self.lost > 0 && self.send(&Entry::lost(self.lost)) {
            self.lost = 0;
        }
    }

    fn send(&mut self, entry: &Entry) -> bool {
        if self.journal.as_ref().is_some_and(|journal| journal.send(entry).is_ok()) {
            return true;
        }
        if self.prefix {
            return self.stderr.write(&format!("<{}>{}", entry.priority(), entry.line));
        }
        self.stderr.write(&entry.line)
    }
}

#[cfg(test)]
mod tests;
