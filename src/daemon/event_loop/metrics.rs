//! The event loop's own part of the metrics: its sign of life, and upstreams as operators know them.

use crate::daemon::event_loop::Daemon;
use hither_rounds::{Server, Transport, UpstreamReport};
use hither_table::{Monotonic, UpstreamTransport};
use std::collections::BTreeSet;

impl Daemon {
    /// Notes until when the loop sleeps. A loop that has more to do does not sleep.
    pub(super) fn note_sleep(&mut self, has_more: bool) {
        if !has_more {
            let until = self.housekeeping.alarm.time();
            self.core.rounds().recorder().sleeps(until);
        }
    }

    /// Names the upstreams, after their list has changed.
    pub(super) fn name_upstreams(&mut self, now: Monotonic) {
        let rounds = self.core.rounds();
        let recorder = rounds.recorder();
        recorder.begin_upstreams();
        let mut known = BTreeSet::new();
        for (n, UpstreamReport { server, .. }) in rounds.upstreams(now).into_iter().enumerate() {
            let (label, transport) = (self.admin.labels().of(&server), transport(&server));
            // Two connections of the host may lead to the same address.
            let other = |n: &usize| if *n == 1 { label.clone() } else { format!("{label}#{n}") };
            let label = (1..).map(|n| other(&n)).find(|label| !known.contains(&(label.clone(), transport)));
            let label = label.unwrap_or_default();
            recorder.name_upstream(n, &label, transport);
            known.insert((label, transport));
        }
        self.record_upstreams(now, true);
        self.core.rounds().recorder().end_upstreams();
    }

    fn record_upstreams(&mut self, now: Monotonic, all: bool) {
        let encrypted = self.upstreams.encrypted();
        self.core.record_upstreams(now, all, |server| encrypted.handshakes(server));
    }

    /// Shows what has changed in this turn.
    pub(super) fn publish_metrics(&mut self, now: Monotonic) {
        self.record_upstreams(now, false);
        let table = self.core.table();
        table.recorder().entries(table.entries());
        if let Some(sorter) = self.admin.take_sorter_metrics() {
            table.recorder().set_sorter(&sorter);
        }
    }
}

fn transport(server: &Server) -> UpstreamTransport {
    match server.transport {
        Transport::Udp => UpstreamTransport::Udp,
        Transport::Tcp => UpstreamTransport::Tcp,
        Transport::Tls => UpstreamTransport::Tls,
        Transport::Https => UpstreamTransport::Https,
        Transport::Quic => UpstreamTransport::Quic,
    }
}
