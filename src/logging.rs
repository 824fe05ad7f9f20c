//! The log: lines on standard error, with the journal's priority in front where the journal reads them.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::io::Write as _;

struct Stderr {
    journal: bool,
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let priority = match record.level() {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        // One line a record, whatever is in it: names from the network may hold anything.
        let text: String =
            record.args().to_string().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let line = if self.journal { format!("<{priority}>{text}\n") } else { format!("{text}\n") };
        // Nobody can be told that standard error is closed.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Installs the log; further calls only change the level.
pub fn start(level: LevelFilter) {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let _ = log::set_boxed_logger(Box::new(Stderr { journal }));
    log::set_max_level(level);
}
