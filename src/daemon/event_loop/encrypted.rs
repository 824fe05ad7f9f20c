//! Drives the connections to encrypted upstreams, and hands the core what becomes of its queries.

use crate::daemon::event_loop::Daemon;
use crate::daemon::sources::{Slot, Source};
use crate::daemon::turn::Budget;
use crate::daemon::upstreams::{Outcome, Readiness};
use hither_rounds::{Input, UpstreamReport};
use hither_table::Monotonic;

/// What operators read in such a network.
const CAPTIVE_PORTAL: &str = "no encrypted upstream can be authenticated, while this network's own servers answer: the network may want a login first (captive portal), or tls.ca_file lacks their authority; nothing is asked without encryption; verify = \"opportunistic\" in hither.toml(5) would accept any certificate";

impl Daemon {
    /// Handles the events of a connection, or queues a step of its handshake.
    pub(super) fn on_encrypted(&mut self, slot: Slot, now: Monotonic, budget: &mut Budget) {
        match self.upstreams.encrypted().note_readiness(slot) {
            Readiness::Gone => return,
            Readiness::Handshake => return self.ready.push_back(Source::Handshake(slot)),
            Readiness::Events => {}
        }
        while let Some(octets) = self.upstreams.encrypted().advance(slot, now) {
            budget.use_up(octets);
            self.tell_outcomes(now);
            if budget.is_spent() {
                self.ready.push_back(Source::Secure(slot));
                break;
            }
        }
        self.wake_encrypted();
    }

    /// Takes over what the thread of handshakes has done.
    pub(super) fn on_handshakes(&mut self, now: Monotonic) {
        self.upstreams.encrypted().take_back(now);
        self.tell_outcomes(now);
        self.wake_encrypted();
    }

    /// Takes one step of a handshake.
    pub(super) fn on_handshake(&mut self, slot: Slot, now: Monotonic) {
        self.upstreams.step_handshake(self.poll.registry(), slot, now);
        self.tell_outcomes(now);
        self.wake_encrypted();
    }

    /// Sends the queries of this turn to encrypted upstreams. Returns whether the core has learned
    /// something, so that it may want to send others.
    pub(super) fn flush_encrypted(&mut self, now: Monotonic) -> bool {
        self.upstreams.encrypted().flush(now);
        self.wake_encrypted();
        self.tell_outcomes(now)
    }

    /// Hands the core what became of its queries, one by one. Returns whether there was anything.
    fn tell_outcomes(&mut self, now: Monotonic) -> bool {
        let mut has_any = false;
        while let Some(outcome) = self.upstreams.encrypted().poll_outcome() {
            has_any = true;
            match outcome {
                Outcome::Transmitted(attempt) => self.tell(now, Input::Transmitted { attempt }),
                Outcome::Message(attempt, octets) => {
                    self.tell(now, Input::Message { attempt, octets: &octets });
                }
                Outcome::Failed(attempt, failure) => self.tell(now, Input::Failed { attempt, failure }),
            }
        }
        has_any
    }

    /// Queues the connections that have work without an event of the kernel.
    fn wake_encrypted(&mut self) {
        for source in self.upstreams.encrypted().take_woken() {
            self.ready.push_back(source);
        }
    }

    /// The sentence about a network that lets plain servers answer and no encrypted upstream.
    pub(super) fn captive_portal(&mut self, now: Monotonic) -> Option<String> {
        let are_refused = self.upstreams.encrypted().are_all_refused();
        let answers =
            |report: &UpstreamReport| !report.server.transport.is_encrypted() && report.state == "up";
        let is_caught = are_refused && self.core.rounds().upstreams(now).iter().any(answers);
        is_caught.then(|| CAPTIVE_PORTAL.to_owned())
    }

    /// Logs once that the network seems to want a login.
    pub(super) fn look_for_captive_portal(&mut self, now: Monotonic) {
        let problem = self.captive_portal(now);
        self.admin.notices.log_captive_portal(problem.as_deref());
    }
}
