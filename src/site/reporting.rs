//! The companion's state, for the daemon: at each change, the counts at most once a second.

use super::engine::board;
use hither_control::{SiteCounts, SiteReport};
use hither_table::Monotonic;
use std::time::Duration;

/// The least time between two reports of which only the counts differ.
const COUNTS_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Reporting {
    report: SiteReport,
    /// The report that the present daemon has received, and when.
    sent: Option<(SiteReport, Monotonic)>,
}

impl Reporting {
    /// A report of this host, which is in one of the states `off`, `refused` and `connecting`.
    pub fn new(host: &str, group: &str, state: &str, problem: Option<String>) -> Reporting {
        let (host, group, state) = (host.to_owned(), group.to_owned(), state.to_owned());
        let report = SiteReport { host, group, state, problem, ..SiteReport::default() };
        Reporting { report, sent: None }
    }

    /// Another daemon is connected, which knows nothing yet.
    pub fn begin(&mut self) {
        self.sent = None;
    }

    /// Takes over the engine's state, and the counts of this side; `true` if anything but counts has changed.
    pub fn update(&mut self, engine: &board::State, counts: SiteCounts) -> bool {
        let board::Counts { written, dropped, errors, reconnects } = engine.counts;
        let state = match (engine.is_up, engine.is_read_only) {
            (true, false) => "up",
            (true, true) => "read_only",
            (false, _) => "connecting",
        };
        let problem = engine.problem.clone().or_else(|| engine.deaf.clone());
        let is_other = self.report.state != state
            || self.report.problem != problem
            || self.report.engine != engine.engine;
        state.clone_into(&mut self.report.state);
        engine.engine.clone_into(&mut self.report.engine);
        self.report.problem = problem;
        self.set_counts(SiteCounts { written, dropped, errors, reconnects, ..counts });
        is_other
    }

    fn set_counts(&mut self, counts: SiteCounts) {
        self.report.counts = counts;
    }

    pub fn report(&self) -> &SiteReport {
        &self.report
    }

    /// The report that is due now.
    pub fn due(&self, now: Monotonic) -> Option<&SiteReport> {
        let at = self.at()?;
        (at <= now).then_some(&self.report)
    }

    /// When the next report is due; `None` while nothing has changed.
    pub fn at(&self) -> Option<Monotonic> {
        let Some((sent, at)) = &self.sent else { return Some(Monotonic(0)) };
        let is_same_but_counts = SiteReport { counts: sent.counts, ..self.report.clone() } == *sent;
        match is_same_but_counts {
            true if self.report.counts == sent.counts => None,
            true => Some(at.plus(COUNTS_EVERY)),
            false => Some(Monotonic(0)),
        }
    }

    /// The daemon has received the report.
    pub fn note_sent(&mut self, now: Monotonic) {
        self.sent = Some((self.report.clone(), now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_reported_at_once_and_counts_once_a_second() {
        let mut reporting = Reporting::new("a", "", "connecting", None);
        let begin = Monotonic::from_ms(5000);
        assert!(reporting.due(begin).is_some());
        reporting.note_sent(begin);
        assert_eq!(reporting.at(), None);
        let mut state = board::State { is_up: true, engine: "e".into(), ..board::State::default() };
        assert!(reporting.update(&state, SiteCounts::default()));
        assert!(reporting.due(begin).is_some_and(|report| report.state == "up"));
        reporting.note_sent(begin);
        state.counts.written = 7;
        assert!(!reporting.update(&state, SiteCounts::default()));
        assert_eq!(reporting.due(begin), None);
        assert_eq!(reporting.at(), Some(begin.plus(COUNTS_EVERY)));
        assert!(reporting.due(begin.plus(COUNTS_EVERY)).is_some_and(|report| report.counts.written == 7));
        reporting.note_sent(begin.plus(COUNTS_EVERY));
        assert_eq!(reporting.at(), None, "nothing wakes an idle companion");
        reporting.begin();
        assert!(reporting.due(begin).is_some(), "another daemon knows nothing");
    }
}
