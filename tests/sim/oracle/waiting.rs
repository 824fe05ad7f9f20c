//! Duties of the core by the end of a call: retries that were due, and queries that clients wait for.

use super::Oracle;
use super::known::Known;
use hither_rounds::{Settings, UpstreamId};
use hither_table::Monotonic;
use std::collections::BTreeSet;

impl Oracle {
    /// Judges that all duties are done after a call. `quiet`: no further event is due at this time.
    pub fn after_call(&mut self, now: Monotonic, quiet: bool) {
        self.retries.just_denied = None;
        self.retries.ended_twice = None;
        self.newcomer = Default::default();
        self.believe_handed_on();
        let owed = self.retries.owed.take();
        assert!(owed.is_none(), "a connection ended without a readable message, and no other is opened");
        self.judge_doubted(now);
        self.judge_cut_off(now);
        for known in self.questions.values_mut() {
            // A round begins in the call of its question, or never.
            known.fresh = false;
            known.inherits = None;
            known.began = false;
            if !known.clients.is_empty() {
                judge_waiting(&self.settings, now, quiet, known);
            }
        }
    }

    /// Judges that the question of each response that may be forged is sent over TCP.
    fn judge_doubted(&self, now: Monotonic) {
        for (attempt, doubted) in &self.retries.doubted {
            // At the deadline of a round, no query is sent.
            let question = self.open.get(attempt).and_then(|question| self.questions.get(question));
            let round = question.and_then(|known| known.rounds.last());
            let late = round.is_some_and(|round| now >= round.deadline);
            assert!(
                late || doubted.tcp.is_some(),
                "the response to {attempt:?} may be forged, and no query is sent over TCP"
            );
        }
    }

    /// Judges that upstreams with outstanding queries at a change of the network are queried again.
    fn judge_cut_off(&mut self, now: Monotonic) {
        for (question, waited) in std::mem::take(&mut self.cut_off) {
            let round = self.questions[&question].rounds.last().expect("there was one");
            let open: BTreeSet<UpstreamId> = round.open.values().copied().collect();
            // At the expiry of its set or at its deadline, a round may end instead.
            let until_ms = round.until_ms(&question.name);
            let over = now >= round.deadline || until_ms.is_some_and(|at| now.as_ms() >= at);
            assert!(
                over || waited.is_subset(&open),
                "a change of the network cut off a query that is not sent again"
            );
        }
    }
}

/// Judges a question that clients wait for.
fn judge_waiting(settings: &Settings, now: Monotonic, quiet: bool, known: &Known) {
    let Some(round) = known.rounds.last() else { return };
    assert!(round.good.is_empty(), "a client waits although an upstream has answered");
    if !quiet {
        return;
    }
    let patience = known.clients.values().min().expect("a client waits");
    assert!(now < *patience, "a client waits beyond its deadline");
    if let Some(denial) = round.dissent.denials.first() {
        let waits = now < denial.came.plus(settings.negative_grace);
        assert!(waits, "a denial is held longer than its grace");
    }
    if round.dangling_until_ms.is_some() {
        return;
    }
    // After each failure, the next upstream is queried at once. After the fallback, all are, in waves.
    let all = round.upstreams - round.excused.iter().filter(|n| **n < round.upstreams).count();
    let mut due = settings.first + round.failed.len();
    let since = now.since(round.started).saturating_sub(round.slept);
    if since >= settings.fallback {
        let waves = 1 + (since - settings.fallback).as_millis() / settings.stagger.as_millis();
        due += settings.batch * waves as usize;
    }
    if round.dissent.denials.is_empty() {
        assert!(
            round.asked.len() >= due.min(all),
            "{} of {all} upstreams are queried, {due} are due",
            round.asked.len()
        );
    }
}
