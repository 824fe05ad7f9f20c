//! Counts what probes have shown, for the metrics.

use super::probe_choice::ProbeResult;
use super::prober::Report;
use crate::config::Probe;
use hither_control::{SorterCounts, Verdict};
use hither_table::{ProbeMethod, ProbeOutcome};

/// What this process has done.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub all: SorterCounts,
    /// The counts that were sent last on the present connection.
    pub reported: SorterCounts,
}

impl Counts {
    /// Counts what a probe or a handshake has shown.
    pub fn note(&mut self, report: &Report) {
        let counts = &mut self.all;
        let word = match report {
            Report::Measured(probe, result) => {
                let method = match probe.probe {
                    Probe::Icmp => ProbeMethod::Icmp,
                    // Without a name to ask for, it is no more than a TCP connection.
                    Probe::Tls(_) if probe.handshake.is_some() => ProbeMethod::Tls,
                    Probe::Tls(_) | Probe::Tcp(_) => ProbeMethod::Tcp,
                };
                let outcome = match result {
                    ProbeResult::Answered(_) => ProbeOutcome::Answered,
                    ProbeResult::Refused => ProbeOutcome::Refused,
                    ProbeResult::Silent => ProbeOutcome::Silent,
                    ProbeResult::NotSent => ProbeOutcome::NotSent,
                };
                counts.probes.get_mut(method as usize).and_then(|all| all.get_mut(outcome as usize))
            }
            Report::Judged(_, judgement) => {
                counts.verdicts.get_mut(Verdict::from(judgement.verdict) as usize)
            }
        };
        if let Some(word) = word {
            *word += 1;
        }
    }
}
