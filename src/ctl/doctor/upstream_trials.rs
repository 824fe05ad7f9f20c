//! Findings about each upstream: whether it answers, how, and for how long its certificate is valid.

use super::facts::{Configuration, Facts, KnownUpstream};
use super::finding::Finding;
use super::trial::{self, Trial, Works};
use crate::config::{Config, Upstream};
use hither_rounds::Transport;
use hither_secure::Ready;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A certificate that expires within so many days is reported.
const EXPIRES_SOON_DAYS: u64 = 14;
const DAY_S: u64 = 86_400;
/// Upstreams that are tried, all at the same time.
const UPSTREAMS_MAX: usize = 32;
/// How long all of them are waited for.
const TRIALS_MAX: Duration = Duration::from_secs(10);

/// One upstream that was tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tried {
    /// The upstream as the configuration or the system names it.
    pub label: String,
    pub is_encrypted: bool,
    pub trial: Trial,
}

/// Tries all upstreams at the same time.
pub(super) fn run(facts: &Facts) -> Vec<Tried> {
    let configured = match &facts.config {
        Configuration::Good(config) => configured(config),
        Configuration::Bad(_) | Configuration::Hidden(_) => Vec::new(),
    };
    let (sender, results) = mpsc::channel();
    let mut tried: Vec<Tried> = Vec::new();
    for upstream in configured.into_iter().take(UPSTREAMS_MAX) {
        let late = Trial::Fails { why: "no result in time".to_owned(), remedy: None };
        let (label, is_encrypted) = (upstream.label.clone(), upstream.policy.is_some());
        let (sender, at) = (sender.clone(), tried.len());
        tried.push(Tried { label, is_encrypted, trial: late });
        // A thread that takes longer ends with the process.
        thread::spawn(move || drop(sender.send((at, attempt(&upstream)))));
    }
    if tried.is_empty() {
        for upstream in facts.upstreams.iter().take(UPSTREAMS_MAX) {
            let (sender, at, label) = (sender.clone(), tried.len(), upstream.to_string());
            let address = match upstream {
                KnownUpstream::Plain(address) => *address,
                KnownUpstream::Encrypted { problem, .. } => {
                    tried.push(Tried { label, is_encrypted: true, trial: Trial::OfDaemon(problem.clone()) });
                    continue;
                }
            };
            let late = Trial::Fails { why: "no result in time".to_owned(), remedy: None };
            tried.push(Tried { label, is_encrypted: false, trial: late });
            thread::spawn(move || drop(sender.send((at, trial::plain(address)))));
        }
    }
    drop(sender);
    let until = Instant::now() + TRIALS_MAX;
    while let Ok((at, trial)) = results.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if let Some(one) = tried.get_mut(at) {
            one.trial = trial;
        }
    }
    tried
}

/// All upstreams of the configuration, each once.
fn configured(config: &Config) -> Vec<Upstream> {
    let mut all: Vec<Upstream> = Vec::new();
    for upstream in config.upstreams.all() {
        if !all.contains(upstream) {
            all.push(upstream.clone());
        }
    }
    all
}

fn attempt(upstream: &Upstream) -> Trial {
    let addresses = match &upstream.lookup {
        None => upstream.addresses(),
        Some(host) => match looked_up(&host.to_string(), upstream.port) {
            Ok(addresses) => addresses,
            Err(error) => {
                return Trial::Fails {
                    why: format!("the address of {host} cannot be looked up: {error}"),
                    remedy: Some("write it behind @, or in 'addresses'".to_owned()),
                };
            }
        },
    };
    match (&upstream.policy, addresses.first()) {
        (Some(policy), _) => trial::encrypted(policy, &addresses),
        (None, Some(address)) if upstream.transport == Transport::Tcp => trial::tcp(*address),
        (None, Some(address)) => trial::plain(*address),
        (None, None) => Trial::Fails { why: "its interface does not exist".to_owned(), remedy: None },
    }
}

/// The addresses of a host, as this host's programs look them up.
fn looked_up(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    Ok((host.trim_end_matches('.'), port).to_socket_addrs()?.collect())
}

/// All findings about upstreams. `now_s`: the host's time in seconds since 1970.
pub(super) fn judge(tried: &[Tried], now_s: u64) -> Vec<Finding> {
    let mut findings: Vec<Finding> = tried.iter().map(|one| upstream(one, now_s)).collect();
    findings.extend(captive_portal(tried));
    findings
}

fn upstream(one: &Tried, now_s: u64) -> Finding {
    let (check, label) = ("upstream", &one.label);
    match &one.trial {
        Trial::Fails { why, remedy } => {
            let remedy = remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
            Finding::problem(check, format!("{label}: {why}{remedy}"))
        }
        Trial::OfDaemon(Some(problem)) => Finding::problem(check, format!("{label}: {problem}")),
        Trial::OfDaemon(None) => Finding::ok(
            check,
            format!("{label}: not tried here; hitherctl status shows the connections of hitherd"),
        ),
        Trial::Works(works) => match &works.secure {
            None => Finding::ok(check, format!("{label}: answers in {}", shown(works.answering))),
            Some(ready) => secure(label, works, ready, now_s),
        },
    }
}

fn secure(label: &str, works: &Works, ready: &Ready, now_s: u64) -> Finding {
    let left = ready.expires_s.map(|expires_s| expires_s.saturating_sub(now_s) / DAY_S);
    let valid = left.map(|days| format!(", certificate valid for {days} more days")).unwrap_or_default();
    let found = format!(
        "{label}: {} answers in {}, after {} for the connection; TLS {}{valid}",
        works.address,
        shown(works.answering),
        shown(works.connecting),
        ready.version
    );
    match (&ready.problem, left) {
        (Some(problem), _) => Finding::warning(
            "upstream",
            format!("{found}; not verified: {problem}; used all the same, as 'verify' says"),
        ),
        (None, Some(days)) if days < EXPIRES_SOON_DAYS => Finding::warning("upstream", found),
        (None, _) => Finding::ok("upstream", found),
    }
}

/// All encrypted upstreams fail while a plain one answers.
fn captive_portal(tried: &[Tried]) -> Option<Finding> {
    let works = |one: &&Tried| matches!(one.trial, Trial::Works(_) | Trial::OfDaemon(None));
    let (encrypted, plain): (Vec<_>, Vec<_>) = tried.iter().partition(|one| one.is_encrypted);
    let is_caught = !encrypted.is_empty() && !encrypted.iter().any(works) && plain.iter().any(works);
    is_caught.then(|| {
        Finding::warning(
            "network",
            "no encrypted upstream can be used, while a plain one answers: this network may want a login first (captive portal), or block encrypted DNS; the lines above say what failed; verify = \"opportunistic\" would accept any certificate",
        )
    })
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::doctor::finding::State;

    fn works(ready: Option<Ready>) -> Trial {
        let (connecting, answering) = (Duration::from_millis(30), Duration::from_micros(12_300));
        Trial::Works(Works { address: ([192, 0, 2, 1], 853).into(), connecting, answering, secure: ready })
    }

    fn ready(expires_s: u64) -> Ready {
        Ready {
            is_resumed: false,
            version: "1.3",
            has_alpn: true,
            expires_s: Some(expires_s),
            problem: None,
            limits: Default::default(),
        }
    }

    fn of(label: &str, trial: Trial) -> Tried {
        Tried { label: label.to_owned(), is_encrypted: label.contains("tls:"), trial }
    }

    #[test]
    fn each_upstream_is_reported_with_its_times_and_the_days_of_its_certificate() {
        let tried = [
            of("192.0.2.53:53", works(None)),
            of("tls://dns.example", works(Some(ready(61 * DAY_S + 5)))),
            of("tls://old.example", works(Some(ready(3 * DAY_S)))),
        ];
        let findings = judge(&tried, 0);
        let shown: Vec<(State, &str)> = findings.iter().map(|one| (one.state, one.found.as_str())).collect();
        assert_eq!(
            shown,
            [
                (State::Ok, "192.0.2.53:53: answers in 12.3 ms"),
                (
                    State::Ok,
                    "tls://dns.example: 192.0.2.1:853 answers in 12.3 ms, after 30.0 ms for the connection; TLS 1.3, certificate valid for 61 more days"
                ),
                (
                    State::Warning,
                    "tls://old.example: 192.0.2.1:853 answers in 12.3 ms, after 30.0 ms for the connection; TLS 1.3, certificate valid for 3 more days"
                ),
            ]
        );
    }

    #[test]
    fn a_network_that_lets_only_plain_upstreams_through_is_named() {
        let fails = || Trial::Fails { why: "the certificate is for other names".to_owned(), remedy: None };
        let caught = [of("192.0.2.53:53", works(None)), of("tls://dns.example", fails())];
        assert_eq!(judge(&caught, 0).len(), 3);
        assert!(judge(&caught, 0)[2].found.contains("captive portal"));
        let dead = [of("192.0.2.53:53", fails()), of("tls://dns.example", fails())];
        assert_eq!(judge(&dead, 0).len(), 2, "the network is down");
        let fine = [
            of("192.0.2.53:53", works(None)),
            of("tls://a.example", works(None)),
            of("tls://b.example", fails()),
        ];
        assert_eq!(judge(&fine, 0).len(), 3, "one of two");
    }

    #[test]
    fn of_encrypted_upstreams_of_the_system_what_hitherd_says_is_reported() {
        let of_daemon = |problem: Option<&str>| Trial::OfDaemon(problem.map(str::to_owned));
        let both = [of("192.0.2.53:53", works(None)), of("tls://192.0.2.1#dns.example", of_daemon(None))];
        let findings = judge(&both, 0);
        assert_eq!((findings.len(), findings[1].state), (2, State::Ok));
        let wrong =
            [of("tls://192.0.2.1#dns.example", of_daemon(Some("the certificate is for other names")))];
        let findings = judge(&wrong, 0);
        let expected = "tls://192.0.2.1#dns.example: the certificate is for other names";
        assert_eq!((findings[0].state, findings[0].found.as_str()), (State::Problem, expected));
    }
}
