//! The methods of `sort.probes`: which one an address is probed by first, and how long it is waited for
//! alone. Pure.
//!
//! Some networks let one method through and not another. A method by which no address could be measured
//! lately, while another one measured them, is tried last, except for a few addresses by which a change
//! shows.

use crate::config::Probe;
use std::time::Duration;

/// Methods that are used; further ones are ignored.
const METHODS_MAX: usize = 32;
/// Addresses in a row that a method missed and another one measured, after which it is tried last.
const MISSES_MAX: u32 = 4;
/// One in this many addresses is probed by the methods as they are configured.
const TRIAL_EVERY: u32 = 16;
/// How long a method is waited for alone: one that measured the latest address for which it was tried, and
/// another one, which the network may block.
const PATIENCE: Duration = Duration::from_millis(250);
const PATIENCE_UNSURE: Duration = Duration::from_millis(120);

/// Methods as bits, by their places in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Tried {
    tried: u32,
    /// Methods that would tell nothing of this address.
    skipped: u32,
}

impl Tried {
    fn has(self, at: usize) -> bool {
        self.tried & 1 << at != 0
    }

    fn is_done_with(self, at: usize) -> bool {
        (self.tried | self.skipped) & 1 << at != 0
    }
}

#[derive(Debug)]
struct Method {
    probe: Probe,
    /// Addresses in a row that it missed; `None` before its first answer or miss in this network.
    misses: Option<u32>,
}

impl Method {
    fn is_missing(&self) -> bool {
        self.misses.is_some_and(|misses| misses >= MISSES_MAX)
    }
}

#[derive(Debug)]
pub(super) struct Methods {
    all: Vec<Method>,
    /// Addresses whose probes have begun.
    begun: u32,
}

impl Methods {
    pub fn new(probes: &[Probe]) -> Methods {
        let all = probes.iter().take(METHODS_MAX).map(|probe| Method { probe: *probe, misses: None });
        Methods { all: all.collect(), begun: 0 }
    }

    /// Leaves out a method that cannot be used on this host.
    pub fn leave_out(&mut self, probe: Probe) {
        self.all.retain(|method| method.probe != probe);
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Forgets what was learned in another network.
    pub fn forget(&mut self) {
        self.all.iter_mut().for_each(|method| method.misses = None);
    }

    /// Counts an address whose probes begin. Returns whether its methods are tried as they are configured.
    pub fn begin(&mut self) -> bool {
        self.begun = self.begun.wrapping_add(1);
        self.begun.is_multiple_of(TRIAL_EVERY)
    }

    /// The next method for an address, which is tried from now on. TLS is skipped unless there is a
    /// certificate to judge (`judges`), or no other method. After TLS, a TCP connection to the same port
    /// would tell nothing new.
    pub fn next(&self, tried: &mut Tried, is_trial: bool, judges: impl FnOnce() -> bool) -> Option<Probe> {
        let is_tls = |method: &Method| matches!(method.probe, Probe::Tls(_));
        let is_last = |method: &Method| !is_trial && method.is_missing();
        let best = |tried: Tried| {
            let left = self.all.iter().enumerate().filter(|(at, _)| !tried.is_done_with(*at));
            left.min_by_key(|(at, method)| (is_last(method), *at))
        };
        let mut found = best(*tried)?;
        if is_tls(found.1) && !self.all.iter().all(is_tls) && !judges() {
            tried.skipped |= 1 << found.0;
            found = best(*tried)?;
        }
        let (at, method) = found;
        tried.tried |= 1 << at;
        if let Probe::Tls(port) = method.probe {
            let same = self.all.iter().enumerate().filter(|(_, other)| other.probe == Probe::Tcp(port));
            tried.skipped |= same.fold(0, |bits, (at, _)| bits | 1 << at);
        }
        Some(method.probe)
    }

    /// Whether a method is left for an address.
    pub fn has_more(&self, tried: Tried) -> bool {
        (0..self.all.len()).any(|at| !tried.is_done_with(at))
    }

    /// Notes that a method has measured an address, and that the others that were tried have not.
    pub fn note_answer(&mut self, by: Probe, tried: Tried) {
        for (at, method) in self.all.iter_mut().enumerate() {
            if method.probe == by {
                method.misses = Some(0);
            } else if tried.has(at) {
                method.misses = Some(method.misses.unwrap_or(0).saturating_add(1));
            }
        }
    }

    /// How long the methods that were tried are waited for until the next one is tried beside them.
    pub fn patience(&self, tried: Tried) -> Duration {
        let mut of_tried = self.all.iter().enumerate().filter(|(at, _)| tried.has(*at));
        if of_tried.any(|(_, method)| method.misses == Some(0)) { PATIENCE } else { PATIENCE_UNSURE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Probe; 3] = [Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)];

    fn order(methods: &mut Methods) -> Vec<Probe> {
        let (mut tried, is_trial) = (Tried::default(), methods.begin());
        let order = std::iter::from_fn(|| methods.next(&mut tried, is_trial, || false)).collect();
        assert!(!methods.has_more(tried));
        order
    }

    /// An address that TCP measures after ICMP was tried.
    fn miss(methods: &mut Methods) {
        let mut tried = Tried::default();
        methods.next(&mut tried, true, || false);
        methods.next(&mut tried, true, || false);
        methods.note_answer(Probe::Tcp(443), tried);
    }

    #[test]
    fn a_method_that_the_network_blocks_is_tried_last_but_for_a_few_addresses() {
        let mut methods = Methods::new(&ALL);
        (1..MISSES_MAX).for_each(|_| miss(&mut methods));
        assert_eq!(order(&mut methods), ALL);
        miss(&mut methods);
        let orders: Vec<Vec<Probe>> = (0..32).map(|_| order(&mut methods)).collect();
        let first = orders.iter().filter(|order| order[0] == Probe::Icmp).count();
        assert_eq!(first, 2, "of 32");
        assert!(orders.contains(&vec![Probe::Tcp(443), Probe::Tcp(80), Probe::Icmp]));
    }

    #[test]
    fn an_answer_or_another_network_puts_it_first_again() {
        let mut methods = Methods::new(&ALL);
        (0..MISSES_MAX).for_each(|_| miss(&mut methods));
        methods.note_answer(Probe::Icmp, Tried::default());
        assert_eq!(order(&mut methods), ALL);
        (0..MISSES_MAX).for_each(|_| miss(&mut methods));
        methods.forget();
        assert_eq!(order(&mut methods), ALL);
    }

    #[test]
    fn a_method_that_works_is_waited_for_longer() {
        let mut methods = Methods::new(&ALL);
        let mut tried = Tried::default();
        methods.next(&mut tried, false, || false);
        assert_eq!(methods.patience(tried), PATIENCE_UNSURE);
        methods.note_answer(Probe::Icmp, tried);
        assert_eq!(methods.patience(tried), PATIENCE);
        methods.next(&mut tried, false, || false);
        methods.note_answer(Probe::Tcp(443), tried);
        let first = Tried { tried: 1, skipped: 0 };
        assert_eq!(methods.patience(first), PATIENCE_UNSURE, "it missed one");
        assert_eq!(methods.patience(tried), PATIENCE);
    }

    #[test]
    fn tls_is_a_method_where_a_certificate_is_judged_and_replaces_tcp_to_its_port() {
        let methods = Methods::new(&[Probe::Tls(443), Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)]);
        let order = |methods: &Methods, judges: bool| {
            let mut tried = Tried::default();
            let order: Vec<Probe> =
                std::iter::from_fn(|| methods.next(&mut tried, false, || judges)).collect();
            assert!(!methods.has_more(tried));
            order
        };
        assert_eq!(order(&methods, true), [Probe::Tls(443), Probe::Icmp, Probe::Tcp(80)]);
        assert_eq!(order(&methods, false), ALL, "and no address misses TLS");
        assert_eq!(order(&Methods::new(&[Probe::Tls(443)]), false), [Probe::Tls(443)], "the only method");
    }
}
