//! The log: lines on standard error, with the journal's priority in front where the journal reads them.

use hither_net::clock;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

/// Lines a second from one place in the program: what a stranger can cause must not fill a disk.
const LINES_PER_SECOND: u32 = 10;

struct Stderr {
    journal: bool,
    places: Mutex<BTreeMap<(&'static str, u32), Place>>,
}

/// A place in the program that logs.
#[derive(Clone, Copy, Default)]
struct Place {
    second: u64,
    lines: u32,
}

impl Place {
    /// Whether another line may be written, and how many were left out since the last one that was.
    fn may(&mut self, second: u64) -> Option<u32> {
        let mut left_out = 0;
        if self.second != second {
            left_out = self.lines.saturating_sub(LINES_PER_SECOND);
            *self = Place { second, lines: 0 };
        }
        self.lines = self.lines.saturating_add(1);
        (self.lines <= LINES_PER_SECOND).then_some(left_out)
    }
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let place = (record.file_static().unwrap_or_default(), record.line().unwrap_or(0));
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let may = places.entry(place).or_default().may(clock::now() / 1_000_000_000);
        drop(places);
        let Some(left_out) = may else { return };
        let priority = match record.level() {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        // One line a record, whatever is in it: names from the network may hold anything.
        let mut text: String =
            record.args().to_string().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        if left_out > 0 {
            text += &format!(" ({left_out} more lines like this were left out)");
        }
        let line = if self.journal { format!("<{priority}>{text}\n") } else { format!("{text}\n") };
        // Nobody can be told that standard error is closed.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Installs the log; further calls only change the level.
pub fn start(level: LevelFilter) {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let _ = log::set_boxed_logger(Box::new(Stderr { journal, places: Mutex::default() }));
    log::set_max_level(level);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_writes_ten_lines_a_second_and_then_says_how_many_it_did_not() {
        let mut place = Place::default();
        let written = (0..1000).filter(|_| place.may(7).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(place.may(8), Some(990));
        assert_eq!(place.may(8), Some(0));
    }
}
