//! What the sorter knows of the addresses of a set, for `hitherctl explain`. Asking changes nothing.

use super::judging::Verdict;
use super::probe_choice::{ProbeChoice, ProbeResult};
use super::probe_log::MethodLog;
use super::probe_permission::may_be_probed;
use super::sets::PROBED_MAX;
use crate::config::Probe;
use hither_client::Monotonic;
use hither_control::{AddressProbes, CertificateReport, Explain, Explained, ProbeReport};
use hither_secure::Date;
use hither_table::Trust;
use hither_wire::name::Name;
use std::net::IpAddr;

/// Answers the daemon. `private`: whether private addresses are probed (`sort.private`).
pub(super) fn explained(request: &Explain, choice: &ProbeChoice, private: bool, now: Monotonic) -> Explained {
    let may_be = |address: &IpAddr| may_be_probed(*address, private);
    let name = request.name.parse::<Name>().ok().map(|name| name.to_lower());
    let name = name.as_ref();
    let mut probed = 0;
    let addresses = request.addresses.iter().map(|address| {
        probed += usize::from(may_be(address));
        let is_beyond = probed > PROBED_MAX;
        let mut known = AddressProbes::of(*address);
        known.probes = choice.probes(address).iter().map(|method| probe_report(method, now)).collect();
        known.samples = choice.samples(address);
        let verdict = name.and_then(|name| choice.judging.verdict(name.as_wire(), address));
        known.certificate = verdict.map(|verdict| certificate_report(verdict, now));
        known.next_in_ms = choice.due(address).map(|due| due.since(now).as_millis() as u64);
        known.passed_over = if !may_be(address) {
            Some("no host has this address, or it is private and sort.private is false")
        } else if !choice.can_probe() {
            Some("this host can send none of the probes of sort.probes")
        } else if choice.is_waiting(address) {
            Some("it waits for its probes; sort.rate bounds them")
        } else if !known.probes.is_empty() {
            None
        } else if request.addresses.len() == 1 {
            Some("it is the only address of its set, so there is nothing to order")
        } else if is_beyond {
            Some("the first 16 addresses of a set are probed, and it is behind them")
        } else {
            Some("it has not been probed since the sorter's start")
        }
        .map(str::to_owned);
        known
    });
    Explained { id: request.id, addresses: addresses.collect() }.fitting()
}

fn certificate_report(verdict: &Verdict, now: Monotonic) -> CertificateReport {
    let validity = verdict.shown.as_ref().and_then(|shown| shown.validity);
    CertificateReport {
        verdict: verdict.trust.as_str().to_owned(),
        names: verdict.shown.as_ref().map_or_else(Vec::new, |shown| shown.names.clone()),
        names_more: verdict.shown.as_ref().map_or(0, |shown| shown.names_more as u64),
        not_before: validity.map(|dates| Date(dates.not_before_s).to_string()),
        not_after: validity.map(|dates| Date(dates.not_after_s).to_string()),
        problem: problem(verdict.trust).map(str::to_owned),
        ago_ms: now.since(verdict.at).as_millis() as u64,
        renewal_in_ms: Some(verdict.due().since(now).as_millis() as u64),
    }
}

/// What a verdict says of the server.
fn problem(trust: Trust) -> Option<&'static str> {
    match trust {
        Trust::Verified => None,
        Trust::Unknown => Some("the handshake gave no verdict"),
        Trust::OtherName => Some("the server shows a certificate for other names, or does not know this one"),
        Trust::Expired => Some("the certificate has expired"),
        Trust::NotYet => Some("the certificate is not valid yet"),
        Trust::Untrusted => Some("no known authority vouches for the certificate, or its key is not there"),
        Trust::NoTls => Some("the server refuses connections or does not speak TLS"),
    }
}

fn probe_report(method: &MethodLog, now: Monotonic) -> ProbeReport {
    let (sent, answered) = method.counts();
    let result = match method.result {
        ProbeResult::Answered(_) => "answered",
        ProbeResult::Refused => "refused",
        ProbeResult::Silent => "silent",
        ProbeResult::NotSent => "not_sent",
    };
    ProbeReport {
        method: word(method.probe),
        sent,
        answered,
        result: result.to_owned(),
        rtt_us: method.rtt_us,
        ago_ms: now.since(method.at).as_millis() as u64,
    }
}

/// A method as `sort.probes` writes it.
fn word(probe: Probe) -> String {
    match probe {
        Probe::Icmp => "icmp".to_owned(),
        Probe::Tcp(port) => format!("tcp:{port}"),
        Probe::Tls(port) => format!("tls:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sort};
    use crate::sorter::probe_choice::{Priority, SetSize};
    use std::time::Duration;

    const NOW: Monotonic = Monotonic::from_ms(1000);

    fn request(addresses: impl IntoIterator<Item = IpAddr>) -> Explain {
        let (name, rtype) = ("www.example.com.".to_owned(), "A".to_owned());
        Explain { id: 7, name, rtype, addresses: addresses.into_iter().collect() }
    }

    fn public(end: u8) -> IpAddr {
        [192, 0, 2, end].into()
    }

    #[test]
    fn each_address_has_its_probes_or_the_reason_why_there_are_none() {
        let sort = Sort { probes: vec![Probe::Icmp, Probe::Tcp(443)], ..Config::default().sort };
        let mut choice = ProbeChoice::new(&sort, NOW);
        let priority = Priority { size: SetSize::Small, recency: 1, address: 0 };
        choice.enqueue(public(1), priority);
        let sent = choice.next_probe(NOW).expect("one is waiting");
        let later = NOW.plus(Duration::from_millis(8));
        choice.probe_ended(sent, ProbeResult::Answered(Duration::from_millis(8)), later);
        choice.enqueue(public(2), priority);
        let all = (1..=18).map(public).chain([[10, 0, 0, 1].into()]);
        let said = explained(&request(all), &choice, false, later);
        let why = |n: usize| said.addresses[n].passed_over.as_deref().unwrap_or_default();
        let first = &said.addresses[0];
        assert_eq!((said.id, first.samples, why(0)), (7, 1, ""));
        let [probe] = &first.probes[..] else { panic!("{first:?}") };
        assert_eq!((probe.method.as_str(), probe.sent, probe.answered), ("icmp", 1, 1));
        assert_eq!((probe.result.as_str(), probe.rtt_us), ("answered", Some(8000)));
        assert!(first.next_in_ms.is_some_and(|next| next <= 1000), "{first:?}");
        for (n, expected) in
            [(1, "it waits for its probes"), (2, "not been probed"), (17, "the first 16"), (18, "private")]
        {
            assert!(why(n).contains(expected), "{n}: {}", why(n));
        }
        let alone = explained(&request([public(9)]), &choice, false, later);
        assert!(
            alone.addresses[0].passed_over.as_deref().is_some_and(|why| why.contains("the only address"))
        );
        choice.leave_out(Probe::Icmp);
        choice.leave_out(Probe::Tcp(443));
        let none = explained(&request([public(9), public(8)]), &choice, false, later);
        assert!(
            none.addresses[0].passed_over.as_deref().is_some_and(|why| why.contains("none of the probes"))
        );
    }
}
