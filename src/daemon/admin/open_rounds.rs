//! The rounds that are open now, for `hitherctl top`.

use crate::daemon::upstreams::Labels;
use hither_control::OpenRound;
use hither_rounds::{LiveRound, Rounds};
use hither_table::Monotonic;

/// Rounds in a report: the oldest are those that an operator looks for.
const ROUNDS_MAX: usize = 100;
/// Upstreams of one round in a report.
const UPSTREAMS_MAX: usize = 16;

/// The rounds that are open now, the oldest first, and how many more there are.
pub(crate) fn open_rounds(rounds: &Rounds, labels: &Labels, now: Monotonic) -> (Vec<OpenRound>, u64) {
    let mut live = rounds.live_rounds();
    let shown = live.by_ref().take(ROUNDS_MAX).map(|round| open_round(round, labels, now)).collect();
    (shown, live.count() as u64)
}

fn open_round(round: LiveRound<'_>, labels: &Labels, now: Monotonic) -> OpenRound {
    let outstanding = round.trace.attempts.iter().filter(|attempt| attempt.ended.is_none());
    OpenRound {
        name: round.trace.question.name.to_string(),
        rtype: round.trace.question.rtype.to_string(),
        age_ms: now.since(round.trace.started).as_millis() as u64,
        clients: round.clients as u64,
        outstanding: outstanding.take(UPSTREAMS_MAX).map(|attempt| labels.of(&attempt.upstream)).collect(),
    }
}
