//! Queries that wait for a connection to an encrypted upstream: what their wait shows about it.

use crate::upstream::{Health, Upstream};
use hither_table::Monotonic;

impl Upstream {
    /// Notes that a query of an attempt that began at `began` is sent only now. Waiting for a connection
    /// counts as silence while it lasts. Now the connection is there, and the upstream has to respond.
    pub fn note_transmitted(&mut self, now: Monotonic, began: Monotonic) {
        if self.silent_since == Some(began) {
            self.silent_since = Some(now);
        }
    }

    /// Notes that a query of an attempt that began at `began` was never sent, since connecting had failed
    /// before. This says nothing new: the failure was noted then. A trial is repeated after its pause.
    pub fn note_unsent(&mut self, now: Monotonic, began: Monotonic) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.silent_since == Some(began) {
            self.silent_since = None;
        }
        if let Health::Trial { pause } = self.health {
            self.health = Health::Down { until: now.plus(pause), pause };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::server::Server;
    use crate::upstream::Upstream;
    use crate::upstream::choice::choose;
    use crate::{Transport, UpstreamId};
    use hither_table::Monotonic;
    use std::collections::VecDeque;
    use std::time::Duration;

    const fn at(ms: u64) -> Monotonic {
        Monotonic(ms * 1_000_000)
    }

    fn encrypted() -> Upstream {
        let plain = Server::plain(std::net::SocketAddr::from(([192, 0, 2, 1], 853)), 0);
        Upstream::new(Server { transport: Transport::Tls, settings: 7, ..plain })
    }

    #[test]
    fn the_wait_for_a_connection_is_silence_until_the_query_leaves() {
        let mut upstream = encrypted();
        upstream.note_query(at(0), true);
        upstream.note_query(at(50), true);
        assert!(upstream.is_silent(at(240)), "clients wait, whatever the reason is");
        upstream.note_transmitted(at(240), at(50));
        assert!(upstream.is_silent(at(240)), "the first query still waits");
        upstream.note_transmitted(at(240), at(0));
        assert!(!upstream.is_silent(at(300)) && upstream.is_silent(at(341)));
    }

    #[test]
    fn a_query_that_was_never_sent_changes_neither_health_nor_silence() {
        let mut upstream = encrypted();
        for n in 0..9 {
            upstream.note_query(at(n), true);
            upstream.note_unsent(at(n), at(n));
        }
        assert_eq!((upstream.report(at(5_000)).state, upstream.is_down(at(5_000))), ("unknown", false));
        upstream.note_failure(at(6_000), at(5_900));
        upstream.note_failure(at(6_100), at(6_050));
        let group = [UpstreamId(0), UpstreamId(1)];
        let mut all = [upstream, encrypted()];
        let order = |all: &mut [Upstream], now| choose(all, &group, now, 1, VecDeque::new()).order;
        assert_eq!(order(&mut all, at(6_700)), group, "half a second later there is a trial");
        all[0].note_unsent(at(6_700), at(6_700));
        let report = all[0].report(at(6_700));
        assert_eq!((report.failures, report.retry_in), (2, Some(Duration::from_millis(500))));
        assert_eq!(order(&mut all, at(7_100)), [UpstreamId(1)]);
        assert_eq!(order(&mut all, at(7_200)), group, "the pause is no longer than before");
    }
}
