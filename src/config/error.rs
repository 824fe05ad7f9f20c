//! Errors of a configuration, with enough detail to correct it without a manual.

use std::fmt::Write as _;
use std::path::Path;

/// A message for the operator: file, line, column, the line itself, and what was expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError(String);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self(format!("{}: cannot be read: {error}", path.display()))
    }

    pub(super) fn of_file(path: &Path, message: String) -> Self {
        Self(format!("{}: {message}", path.display()))
    }

    pub(super) fn toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        match error.span() {
            Some(span) => {
                let at = super::place::item(text, span.clone(), &message).unwrap_or(span.start);
                Self::at(path, text, at, &explain(&message))
            }
            None => Self(format!("{}: {message}", path.display())),
        }
    }

    /// An error at an octet of the text.
    pub(super) fn at(path: &Path, text: &str, at: usize, message: &str) -> Self {
        let mut out = path.display().to_string();
        let at = at.min(text.len());
        let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
        let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let number = text.get(..start).map_or(0, |before| before.matches('\n').count()) + 1;
        let column = text.get(start..at).map_or(0, |before| before.chars().count()) + 1;
        let _ = write!(out, ":{number}:{column}: {message}");
        let caret = " ".repeat(column - 1);
        let _ = write!(out, "\n    {}\n    {caret}^", line.replace('\t', " "));
        Self(out)
    }
}

/// The octets of a file as text; TOML requires UTF-8.
pub(super) fn text(path: &Path, octets: Vec<u8>) -> Result<String, ConfigError> {
    if hither_local::text::is_utf16(&octets) {
        return Err(ConfigError::of_file(path, "it is in UTF-16; save it as UTF-8".to_owned()));
    }
    String::from_utf8(octets).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let odd = error.as_bytes().get(at).copied().unwrap_or_default();
        let shown = String::from_utf8_lossy(error.as_bytes());
        // The first invalid octet is at the same offset in `shown`.
        ConfigError::at(
            path,
            &shown,
            at,
            &format!("the octet 0x{odd:02x} is not UTF-8; save the file as UTF-8"),
        )
    })
}

/// Adds to a message of the TOML parser: the nearest known key, or an explanation.
fn explain(message: &str) -> String {
    if message == "duplicate key" {
        return "this occurs twice; expected once: put the keys and values of both into one".to_owned();
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.starts_with("unknown field")) else {
        return message.to_owned();
    };
    let known: Vec<&str> = quoted.collect();
    let nearest = known.iter().max_by(|a, b| {
        let near = |key: &str| strsim::jaro_winkler(unknown, key);
        near(a).total_cmp(&near(b))
    });
    let mut out = format!("unknown key '{unknown}'");
    if let Some(nearest) = nearest {
        let _ = write!(out, "; the nearest known key is '{nearest}'");
    }
    let _ = write!(out, " (expected one of: {})", known.join(", "));
    out
}
