//! Handshakes among the probes: they have a rate of their own beside that of all probes, and each measures
//! its address too.

use super::{IN_FLIGHT_MAX, ProbeChoice, ProbeResult, Sent};
use crate::config::Probe;
use crate::sorter::ranking::Outcome;
use hither_secure::Judgement;
use hither_table::{Monotonic, Trust};
use std::net::IpAddr;

impl ProbeChoice {
    /// The next handshake at an address that is not to be measured: that would begin one itself.
    pub(super) fn next_handshake(&mut self, now: Monotonic) -> Option<Sent> {
        let port = self.judging.port().filter(|_| self.pace.allows() && self.in_flight < IN_FLIGHT_MAX)?;
        let is_free = |address: &IpAddr| !self.waiting.contains_key(address);
        let (address, handshake) = self.judging.begin_next(is_free, self.network, now)?;
        self.pace.take();
        self.in_flight += 1;
        Some(Sent { address, probe: Probe::Tls(port), serial: 0, handshake: Some(handshake) })
    }

    /// Takes the judgement at the end of a handshake.
    pub fn judged(&mut self, handshake: usize, judgement: Judgement, now: Monotonic) {
        self.judging.ended(handshake, judgement, self.network, now);
    }

    /// Takes the end of a handshake's TCP connection. A handshake for a name alone (`is_apart`) has measured
    /// its address too.
    pub(super) fn connection_ended(
        &mut self,
        address: IpAddr,
        handshake: usize,
        result: ProbeResult,
        is_apart: bool,
        now: Monotonic,
    ) {
        let verdict = match result {
            ProbeResult::Answered(rtt) => {
                if is_apart && self.judging.begun_in(handshake) == Some(self.network) {
                    self.measurements.note(address, Outcome::Answered(rtt), self.network, now);
                }
                return;
            }
            ProbeResult::Refused => Trust::NoTls,
            ProbeResult::Silent | ProbeResult::NotSent => Trust::Unknown,
        };
        self.judged(handshake, Judgement::without_certificate(verdict), now);
    }
}
