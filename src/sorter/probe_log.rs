//! The latest probes of each address by each method, for operators. Pure and bounded: the address whose
//! latest probe is the oldest is forgotten first.

use super::probe_choice::ProbeResult;
use crate::config::Probe;
use hither_table::Monotonic;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Addresses whose probes are remembered; some 3 MiB.
const ADDRESSES_MAX: usize = 8192;
/// Methods of one address that are remembered.
const METHODS_MAX: usize = 8;

/// The latest probes of an address by one method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MethodLog {
    pub probe: Probe,
    /// The result of the latest probe.
    pub result: ProbeResult,
    /// The round-trip time of the latest answer, in microseconds.
    pub rtt_us: Option<u32>,
    /// When the latest probe ended.
    pub at: Monotonic,
    /// The latest probes that were sent, at most 16: a bit is set if the probe was answered.
    answers: u16,
    sent: u8,
}

impl MethodLog {
    fn new(probe: Probe, now: Monotonic) -> MethodLog {
        MethodLog { probe, result: ProbeResult::NotSent, rtt_us: None, at: now, answers: 0, sent: 0 }
    }

    /// How many of the latest probes were sent, at most 16, and how many of these were answered.
    pub fn counts(&self) -> (u32, u32) {
        (u32::from(self.sent), self.answers.count_ones())
    }

    fn note(&mut self, result: ProbeResult, now: Monotonic) {
        (self.result, self.at) = (result, now);
        if result == ProbeResult::NotSent {
            return;
        }
        self.sent = (self.sent + 1).min(u16::BITS as u8);
        self.answers <<= 1;
        if let ProbeResult::Answered(rtt) = result {
            self.answers |= 1;
            self.rtt_us = Some(u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX));
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct ProbeLog {
    by_address: BTreeMap<IpAddr, (Monotonic, Vec<MethodLog>)>,
    /// The same addresses by the time of their latest probe.
    by_time: BTreeSet<(Monotonic, IpAddr)>,
}

impl ProbeLog {
    /// Notes that a probe has ended.
    pub fn note(&mut self, address: IpAddr, probe: Probe, result: ProbeResult, now: Monotonic) {
        let (at, methods) = self.by_address.entry(address).or_insert_with(|| (now, Vec::with_capacity(1)));
        self.by_time.remove(&(*at, address));
        self.by_time.insert((now, address));
        *at = now;
        if let Some(known) = methods.iter_mut().find(|known| known.probe == probe) {
            known.note(result, now);
        } else if methods.len() < METHODS_MAX {
            let mut first = MethodLog::new(probe, now);
            first.note(result, now);
            methods.push(first);
        }
        if self.by_address.len() > ADDRESSES_MAX
            && let Some((_, oldest)) = self.by_time.pop_first()
        {
            self.by_address.remove(&oldest);
        }
    }

    /// The probes of an address, one entry for each method.
    pub fn of(&self, address: &IpAddr) -> &[MethodLog] {
        self.by_address.get(address).map(|(_, methods)| &methods[..]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_latest_probes_count_and_what_could_not_be_sent_does_not() {
        let (mut log, ip) = (ProbeLog::default(), IpAddr::from([192, 0, 2, 1]));
        let rtt = |ms| ProbeResult::Answered(Duration::from_millis(ms));
        for n in 0..20 {
            let result = if n % 4 == 0 { ProbeResult::Silent } else { rtt(n) };
            log.note(ip, Probe::Icmp, result, Monotonic(n));
        }
        log.note(ip, Probe::Icmp, ProbeResult::NotSent, Monotonic(30));
        log.note(ip, Probe::Tcp(443), ProbeResult::Refused, Monotonic(31));
        let [icmp, tcp] = log.of(&ip) else { panic!("{log:?}") };
        assert_eq!((icmp.counts(), icmp.rtt_us, icmp.at), ((16, 12), Some(19_000), Monotonic(30)));
        assert_eq!((icmp.result, tcp.result), (ProbeResult::NotSent, ProbeResult::Refused));
        assert_eq!((tcp.counts(), tcp.rtt_us), ((1, 0), None));
        (1..99).for_each(|port| log.note(ip, Probe::Tcp(port), ProbeResult::Silent, Monotonic(32)));
        assert_eq!(log.of(&ip).len(), METHODS_MAX);
    }

    #[test]
    fn the_address_that_was_probed_longest_ago_is_forgotten_first() {
        let (mut log, ip) = (ProbeLog::default(), |n: u32| IpAddr::from(n.to_be_bytes()));
        for n in 0..ADDRESSES_MAX as u32 {
            log.note(ip(n), Probe::Icmp, ProbeResult::Silent, Monotonic(u64::from(n)));
        }
        log.note(ip(0), Probe::Icmp, ProbeResult::Silent, Monotonic(1 << 20));
        log.note(ip(1 << 20), Probe::Icmp, ProbeResult::Silent, Monotonic(1 << 20));
        assert!(log.of(&ip(1)).is_empty() && !log.of(&ip(0)).is_empty() && !log.of(&ip(2)).is_empty());
        assert_eq!((log.by_address.len(), log.by_time.len()), (ADDRESSES_MAX, ADDRESSES_MAX));
    }
}
