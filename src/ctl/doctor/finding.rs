//! A finding: the state of one thing on the host, and the command that fixes it.

use serde::Serialize;
use std::fmt;

/// The state of one thing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    /// The state could not be read.
    Unknown,
    /// The thing works, but not as well as it could.
    Warning,
    Problem,
}

/// The finding of one check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    pub check: String,
    pub state: State,
    /// The state, in words for the operator.
    pub found: String,
    /// The one command that fixes it, for root's shell.
    pub fix: Option<String>,
    /// The servers, settings or connections that this command takes away.
    pub takes_away: Option<String>,
}

impl Finding {
    fn new(check: &str, state: State, found: impl Into<String>) -> Finding {
        // Texts from files and names of processes may have control characters.
        let plain = |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Finding { check: check.to_owned(), state, found: plain(found.into()), fix: None, takes_away: None }
    }

    pub fn ok(check: &str, found: impl Into<String>) -> Finding {
        Finding::new(check, State::Ok, found)
    }

    pub fn unknown(check: &str, found: impl Into<String>) -> Finding {
        Finding::new(check, State::Unknown, found)
    }

    pub fn warning(check: &str, found: impl Into<String>) -> Finding {
        Finding::new(check, State::Warning, found)
    }

    pub fn problem(check: &str, found: impl Into<String>) -> Finding {
        Finding::new(check, State::Problem, found)
    }

    pub fn fixed_by(mut self, command: impl Into<String>) -> Finding {
        self.fix = Some(command.into());
        self
    }

    pub fn taking_away(mut self, what: &str) -> Finding {
        self.takes_away = Some(what.to_owned()).filter(|what| !what.is_empty());
        self
    }

    pub fn prefixed(mut self, prefix: &str) -> Finding {
        self.found.insert_str(0, prefix);
        self
    }
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Unknown => "unknown",
            State::Warning => "warning",
            State::Problem => "problem",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {:<18} {}", self.state.as_str(), self.check, self.found)?;
        if let Some(fix) = &self.fix {
            write!(f, "\n{:>27} {fix}", "fix:")?;
        }
        match &self.takes_away {
            Some(what) => write!(f, "\n{:>27} {what}", "takes away:"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// State, text and fix of a check; the fix is empty if there is none.
    pub fn finding_of(findings: Vec<Finding>, check: &str) -> (State, String, String) {
        let found = findings.into_iter().find(|finding| finding.check == check).expect("checked");
        (found.state, found.found, found.fix.unwrap_or_default())
    }

    pub fn assert_no_fault(findings: &[Finding]) {
        for finding in findings {
            assert!(finding.state == State::Ok && finding.fix.is_none(), "{finding}");
        }
    }
}
