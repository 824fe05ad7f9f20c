//! One entry of the log: a line and its fields, of bounded length and without control characters.
//!
//! Addresses of clients and the names that they ask for are fields of their own, which only entries at
//! debug level or below have, and those of the log of queries, which an operator has demanded.

use super::events::Event;
use super::rate::Spot;
use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, Record};
use std::fmt::{self, Write as _};

/// Octets of a line. With its prefix and line end it is shorter than PIPE_BUF, so that a pipe takes it
/// completely or not at all.
pub(super) const LINE_MAX: usize = 4000;
/// Octets of the value of a field.
const FIELD_MAX: usize = 1024;
/// Fields of an entry.
const FIELDS_MAX: usize = 16;
/// Octets for the number of lines left out, at the end of a line.
const SUFFIX_MAX: usize = 80;
/// Keys of fields that are private to clients.
const PRIVATE: [&str; 2] = ["client", "name"];

/// An entry of the log.
#[derive(Debug)]
pub(super) struct Entry {
    pub level: Level,
    pub line: String,
    pub event: Option<Event>,
    pub spot: Spot,
    /// Name and value of each field; the names are those of the journal.
    pub fields: Vec<(String, String)>,
}

impl Entry {
    /// The entry of a record. `left_out` lines of the same place in the program were not written before
    /// it.
    pub fn of(record: &Record<'_>, left_out: u32) -> Entry {
        let mut line = text(LINE_MAX - SUFFIX_MAX, record.args());
        if left_out > 0 {
            line += &format!(" ({left_out} more lines like this were left out)");
        }
        let mut entry = Entry {
            level: record.level(),
            line,
            event: None,
            spot: (record.file_static().unwrap_or_default(), record.line().unwrap_or(0)),
            fields: Vec::new(),
        };
        // The visit cannot fail, since the visitor does not.
        let _ = record.key_values().visit(&mut entry);
        entry
    }

    /// An entry with all of its fields, which the operator has demanded.
    pub fn with_consent(
        event: Event,
        line: &str,
        fields: impl Iterator<Item = (&'static str, String)>,
    ) -> Entry {
        Entry {
            level: Level::Info,
            line: text(LINE_MAX - SUFFIX_MAX, line),
            event: Some(event),
            spot: (file!(), line!()),
            fields: fields
                .take(FIELDS_MAX)
                .map(|(name, value)| (format!("HITHER_{name}"), text(FIELD_MAX, value)))
                .collect(),
        }
    }

    /// The entry that reports `lost` lines.
    pub fn lost(lost: u64) -> Entry {
        Entry {
            level: Level::Warn,
            line: format!(
                "{lost} lines of the log are lost: neither the journal nor standard error took them in time"
            ),
            event: Some(Event::LinesLost),
            spot: (file!(), line!()),
            fields: vec![("HITHER_LINES".to_owned(), lost.to_string())],
        }
    }

    /// The priority by the numbers of syslog(3).
    pub fn priority(&self) -> u8 {
        match self.level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        }
    }
}

impl<'kvs> VisitSource<'kvs> for Entry {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let key = key.as_str();
        if key == "event" {
            self.event = value.to_borrowed_str().and_then(Event::named);
        } else if (self.level >= Level::Debug || !PRIVATE.contains(&key)) && self.fields.len() < FIELDS_MAX {
            self.fields.push((format!("HITHER_{}", key.to_ascii_uppercase()), text(FIELD_MAX, value)));
        }
        Ok(())
    }
}

fn text(most: usize, value: impl fmt::Display) -> String {
    let mut text = Text { text: String::new(), most };
    // An error means that the text was cut.
    let _ = write!(text, "{value}");
    text.text
}

/// A line of at most `most` octets. Control characters are replaced, since names from the network can
/// contain any, and errors can have several lines.
struct Text {
    text: String,
    most: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        const CUT: char = '…';
        for c in piece.chars().map(|c| if c.is_control() { '?' } else { c }) {
            if self.text.len() + c.len_utf8() + CUT.len_utf8() > self.most {
                self.text.push(CUT);
                return Err(fmt::Error);
            }
            self.text.push(c);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(level: Level) -> Entry {
        let pairs: &[(&str, Value<'_>)] = &[
            ("event", Value::from("upstream-down")),
            ("upstream", Value::from("192.0.2.1:53")),
            ("name", Value::from("secret.example.")),
            ("client", Value::from("192.0.2.9")),
        ];
        let mut record = Record::builder();
        record.level(level).file_static(Some("a.rs")).line(Some(7)).key_values(&pairs);
        Entry::of(&record.args(format_args!("said")).build(), 0)
    }

    #[test]
    fn private_fields_are_in_debug_entries_only() {
        let upstream = ("HITHER_UPSTREAM".to_owned(), "192.0.2.1:53".to_owned());
        for level in [Level::Error, Level::Warn, Level::Info] {
            assert_eq!(entry(level).fields, std::slice::from_ref(&upstream), "{level}");
        }
        for level in [Level::Debug, Level::Trace] {
            let fields: Vec<String> = entry(level).fields.into_iter().map(|(name, _)| name).collect();
            assert_eq!(fields, ["HITHER_UPSTREAM", "HITHER_NAME", "HITHER_CLIENT"], "{level}");
        }
        assert_eq!(entry(Level::Info).event, Some(Event::UpstreamDown));
    }

    #[test]
    fn an_entry_is_one_line_of_bounded_length() {
        let most = LINE_MAX - SUFFIX_MAX;
        assert_eq!(text(most, "a\nMESSAGE=b\u{7f}\u{85}ü\0"), "a?MESSAGE=b??ü?");
        for long in ["x", "ü", "…", "\u{1f600}"] {
            let cut = text(most, long.repeat(5000));
            assert!(cut.ends_with('…') && cut.len() <= most && cut.len() > most - 8, "{}", cut.len());
        }
        let whole = "x".repeat(most - '…'.len_utf8());
        assert_eq!(text(most, &whole), whole);
        let mut record = Record::builder();
        record.level(Level::Warn);
        let left_out = Entry::of(&record.args(format_args!("{whole}x")).build(), u32::MAX);
        assert!(left_out.line.len() <= LINE_MAX && left_out.line.ends_with("left out)"), "{}", left_out.line);
    }
}
