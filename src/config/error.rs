//! What is wrong with a configuration, so that it can be mended without a manual.

use std::fmt::Write as _;
use std::path::Path;

/// Ready to be read: file, line, column, the line itself, what was expected.
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

    pub(super) fn whole(path: &Path, message: String) -> Self {
        Self(format!("{}: {message}", path.display()))
    }

    pub(super) fn toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        let mut out = path.display().to_string();
        let Some(span) = error.span() else { return Self(format!("{out}: {message}")) };
        let at = span.start.min(text.len());
        let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
        let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let number = text.get(..start).map_or(0, |before| before.matches('\n').count()) + 1;
        let column = text.get(start..at).map_or(0, |before| before.chars().count()) + 1;
        let _ = write!(out, ":{number}:{column}: {}", explain(&message));
        let caret = " ".repeat(column - 1);
        let _ = write!(out, "\n    {}\n    {caret}^", line.replace('\t', " "));
        Self(out)
    }
}

/// Names the nearest known key.
fn explain(message: &str) -> String {
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
