//! The report about an upstream, for the operator.

use crate::server::Server;
use crate::upstream::{Health, Upstream};
use hither_table::{HandshakeCounts, Monotonic, UpstreamGauges, UpstreamState};
use std::time::Duration;

/// The state of an upstream, for `hitherctl status`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamReport {
    /// The address and link of the upstream.
    pub server: Server,
    /// `"up"`, `"down"`, `"trial"`, `"silent"` when the upstream has not responded lately, or
    /// `"unknown"` before its first response.
    pub state: &'static str,
    /// Smoothed round-trip time, microseconds.
    pub srtt_us: Option<u64>,
    /// Variation of the round-trip time, microseconds.
    pub rttvar_us: Option<u64>,
    /// Whether no response is expected: the upstream is down, or has not responded to several queries
    /// for a second.
    pub unresponsive: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Time until the next trial.
    pub retry_in: Option<Duration>,
    /// Queries sent to the upstream.
    pub queries: u64,
    /// Responses received, errors included.
    pub answers: u64,
    /// Whether queries to the upstream have EDNS.
    pub edns: bool,
    /// Whether the upstream preserves the letter case of questions, so that mixed case can be used
    /// (0x20).
    pub keeps_case: bool,
    /// Whether the upstream sends DNS cookies (RFC 7873).
    pub cookies: bool,
}

impl Upstream {
    /// The upstream as the metrics show it.
    pub fn gauges(
        &self,
        now: Monotonic,
        handshakes: &mut impl FnMut(&Server) -> HandshakeCounts,
    ) -> UpstreamGauges {
        let UpstreamReport { state, srtt_us, .. } = self.report(now);
        let state = UpstreamState::ALL.iter().find(|known| known.as_str() == state);
        UpstreamGauges {
            state: state.copied().unwrap_or(UpstreamState::Unknown),
            srtt_us,
            tls: match self.server.transport.is_encrypted() {
                true => handshakes(&self.server),
                false => HandshakeCounts::default(),
            },
        }
    }

    pub fn report(&self, now: Monotonic) -> UpstreamReport {
        let (state, retry_in) = match self.health {
            Health::Up if self.is_silent(now) => ("silent", None),
            Health::Up if self.counts.answers == 0 => ("unknown", None),
            Health::Up => ("up", None),
            Health::Down { until, .. } => ("down", Some(until.since(now))),
            Health::Trial { .. } => ("trial", None),
        };
        UpstreamReport {
            server: self.server,
            state,
            srtt_us: self.rtt.map(|(smoothed, _)| smoothed),
            rttvar_us: self.rtt.map(|(_, variation)| variation),
            unresponsive: self.is_down(now),
            failures: self.failures,
            retry_in,
            queries: self.counts.queries,
            answers: self.counts.answers,
            edns: self.edns(now),
            keeps_case: self.keeps_case(now),
            cookies: self.cookie.is_known(),
        }
    }
}
