//! What is wrong with an upstream, in sentences for operators, and what of it has been logged.

use crate::logging::Event;
use hither_connections::Failure;
use hither_secure::Error;
use hither_table::Monotonic;
use std::net::SocketAddr;
use std::time::Duration;

/// The time between two lines about the same upstream.
const PAUSE: Duration = Duration::from_secs(60);
/// Addresses that a line lists.
const ADDRESSES_SHOWN_MAX: usize = 4;

/// The state of one upstream, for operators.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// What is wrong, or was with the latest connection.
    problem: Option<String>,
    /// The problem that was logged, until the upstream answers again.
    logged: Option<String>,
    /// Before this time, nothing more is logged.
    quiet_until: Monotonic,
    /// Why no connection can be made.
    down: Option<Failure>,
    /// Whether the problem is one of this host, such as a file of authorities that is missing.
    is_own: bool,
    /// Whether the upstream answers queries with something that is no response.
    is_refusing: bool,
}

/// An upstream as log lines name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub label: &'a str,
    pub addresses: &'a [SocketAddr],
}

impl Health {
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Whether a server is reached that cannot be authenticated.
    pub fn is_refused(&self) -> bool {
        self.down == Some(Failure::Handshake) && !self.is_own
    }

    /// Notes why this host can make no connection.
    pub fn note_own_problem(&mut self, sentence: String, upstream: Named<'_>, now: Monotonic) {
        self.note_problem(sentence, upstream, now);
        self.is_own = true;
    }

    /// Notes why a connection could not be made, or what made a connection useless.
    pub fn note_problem(&mut self, sentence: String, upstream: Named<'_>, now: Monotonic) {
        (self.problem, self.is_own) = (Some(sentence), false);
        self.note_failed(upstream, now);
    }

    /// Notes that a connection could not be made: a line that came too early before is logged now.
    pub fn note_failed(&mut self, upstream: Named<'_>, now: Monotonic) {
        if self.down.is_some() {
            self.log(upstream, now);
        }
    }

    /// Notes that a connection is ready, and what strict checks would have found wrong with it.
    pub fn note_ready(&mut self, finding: Option<&Error>) {
        let accepted = "the upstream is used all the same, as verify = \"opportunistic\" says";
        self.is_own = false;
        self.problem = finding.map(|finding| format!("{}; {accepted}", sentence_of(finding)));
    }

    /// Notes that a query was answered with something that is no response, such as an error of HTTP.
    pub fn note_refusal(&mut self, sentence: String, upstream: Named<'_>, now: Monotonic) {
        (self.problem, self.is_refusing) = (Some(sentence), true);
        self.log(upstream, now);
    }

    /// Notes a response: the upstream does not only refuse.
    pub fn note_response(&mut self, upstream: Named<'_>) {
        if std::mem::take(&mut self.is_refusing) {
            self.problem = None;
            self.note_up(upstream);
        } else if self.down.is_some() {
            self.note_up(upstream);
        }
    }

    /// Notes that the upstream cannot be used.
    pub fn note_down(&mut self, failure: Failure, upstream: Named<'_>, now: Monotonic) {
        self.down = Some(failure);
        let is_known = matches!(failure, Failure::Handshake | Failure::Closed) && self.problem.is_some();
        if !is_known {
            self.problem = Some(sentence_of_failure(failure, upstream.addresses));
            self.is_own = false;
        }
        self.log(upstream, now);
    }

    /// Notes that no address of the upstream's name is known.
    pub fn note_no_address(&mut self, why: String, upstream: Named<'_>, now: Monotonic) {
        (self.down, self.problem) = (Some(Failure::NoAddress), Some(why));
        self.log(upstream, now);
    }

    /// Notes that the upstream has answered, after it could not be used.
    pub fn note_up(&mut self, upstream: Named<'_>) {
        self.down = None;
        if self.logged.take().is_some() {
            let label = upstream.label;
            log::info!(
                event = Event::UpstreamUsable, upstream:% = label;
                "the encrypted upstream {label} can be used again"
            );
        }
    }

    /// Logs the problem, unless the latest line was about it or is too recent.
    fn log(&mut self, upstream: Named<'_>, now: Monotonic) {
        let Some(problem) = self.problem.as_ref().filter(|problem| self.logged.as_ref() != Some(*problem))
        else {
            return;
        };
        if now < self.quiet_until {
            return;
        }
        let label = upstream.label;
        log::warn!(
            event = Event::UpstreamUnusable, upstream:% = label, reason:% = problem;
            "the encrypted upstream {label} cannot be used: {problem}; the other upstreams are asked, it is tried again, and it gets no query without encryption"
        );
        (self.logged, self.quiet_until) = (Some(problem.clone()), now.plus(PAUSE));
    }
}

/// An error with what puts it right.
pub(super) fn sentence_of(error: &Error) -> String {
    match error.remedy() {
        Some(remedy) => format!("{error}; {remedy}"),
        None => error.to_string(),
    }
}

/// Why connections fail, where no session has said it.
fn sentence_of_failure(failure: Failure, addresses: &[SocketAddr]) -> String {
    let mut shown: Vec<String> =
        addresses.iter().take(ADDRESSES_SHOWN_MAX).map(ToString::to_string).collect();
    if addresses.len() > ADDRESSES_SHOWN_MAX {
        shown.push(format!("{} more", addresses.len() - ADDRESSES_SHOWN_MAX));
    }
    let shown = shown.join(", ");
    match failure {
        Failure::Refused => format!("{shown} refuses connections; check address and port of the upstream"),
        Failure::Handshake => {
            format!("{shown} did not complete the handshake in time; does it speak TLS at this port?")
        }
        Failure::Closed => format!("{shown} accepts connections and answers no query on them"),
        Failure::NoAddress => "its name has no address".to_owned(),
        Failure::NoSocket => "there is no file descriptor left for a connection".to_owned(),
        _ => format!("{shown} cannot be reached"),
    }
}
