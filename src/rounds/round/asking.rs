//! Queries of a round: the first wave, later waves, one more after a failure, and plain queries at the
//! end.

use crate::attempt::{Plan, QueryMode, Target, send};
use crate::round::Round;
use crate::shared::Shared;
use crate::trace::{ATTEMPTS_KEPT_MAX, AttemptTrace};
use crate::upstream::choice::choose;
use std::mem::take;

impl Round {
    /// Queues all usable upstreams for the target, and queries the first of them.
    pub fn ask_all(&mut self, shared: &mut Shared, first: usize) {
        let now = shared.now;
        self.plain.clear();
        let group = shared.groups.of_target(&self.question.name, self.target.name());
        let choice = choose(&mut shared.upstreams, &group, now, first, take(&mut self.unasked));
        self.unasked = choice.order;
        self.ask_next(shared, choice.first);
        self.next_wave_at = (!self.unasked.is_empty()).then(|| now.plus(shared.settings.fallback));
    }

    /// Queries the next `count` upstreams.
    pub fn ask_next(&mut self, shared: &mut Shared, count: usize) {
        for _ in 0..count {
            let Some(id) = self.unasked.pop_front() else { break };
            let Some(own) = shared.upstream(id).map(|upstream| upstream.server.transport) else { continue };
            let target = self.target.clone();
            if !self.send(shared, &target, QueryMode::to(id, own)) {
                if let Some(upstream) = shared.upstream(id) {
                    upstream.end_trial();
                }
                self.unasked.clear();
                self.is_cut_short = true;
            }
        }
        if self.unasked.is_empty() {
            self.next_wave_at = None;
        }
    }

    /// Queries upstreams that responded with an error once more, without the features that they may not
    /// support. `false`: there are none.
    pub fn ask_plainly(&mut self, shared: &mut Shared) -> bool {
        let (ways, target) = (take(&mut self.plain), self.target.clone());
        ways.into_iter().filter(|mode| self.send(shared, &target, *mode)).count() > 0
    }

    pub fn send(&mut self, shared: &mut Shared, target: &Target, mode: QueryMode) -> bool {
        let now = shared.now;
        let trace = self.trace.attempts.len();
        let plan = Plan { round: self.id, question: &self.question, target, mode, trace };
        // A response after the deadline would be too late.
        if now >= self.deadline {
            return false;
        }
        let Some(attempt) = send(shared, &plan) else { return false };
        if trace < ATTEMPTS_KEPT_MAX
            && let Some(upstream) = shared.upstream(mode.upstream)
        {
            self.trace.attempts.push(AttemptTrace {
                id: attempt.id,
                upstream: upstream.server,
                transport: mode.transport,
                sent: now,
                transmitted: None,
                ended: None,
                outcome: "waiting".into(),
                addresses: Vec::new(),
                published: None,
                refused: Vec::new(),
            });
        }
        self.attempts.push(attempt);
        true
    }

    /// Ends outstanding attempts and sends their queries from new sockets.
    pub fn send_again(&mut self, shared: &mut Shared) {
        let ids: Vec<_> = self.attempts.iter().map(|a| a.id).collect();
        for id in &ids {
            if self.attempts.get(*id).is_none() {
                continue;
            }
            let mut old = self.close(shared, *id, "network changed");
            // Of a doubted UDP attempt and the TCP attempt that confirms it, only the first is
            // repeated.
            let twice = old.doubt.confirms.is_some_and(|doubted| ids.contains(&doubted));
            if !twice {
                // In another network, a connection that ended may be retried once more.
                let mode = crate::attempt::QueryMode { again: false, ..old.mode };
                if !self.retry(shared, &mut old, mode) {
                    self.accept_denied(shared, &mut old);
                }
            }
        }
    }

    pub fn clear_unasked(&mut self, shared: &mut Shared) {
        while let Some(id) = self.unasked.pop_front() {
            if let Some(upstream) = shared.upstream(id) {
                upstream.end_trial();
            }
        }
        self.next_wave_at = None;
    }
}
