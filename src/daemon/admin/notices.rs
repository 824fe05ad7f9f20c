//! Log lines for the operator about what the core has noticed: upstreams that fail, withheld
//! addresses, a restored cache.

use crate::daemon::upstreams::Labels;
use crate::logging::Event;
use hither_rounds::{Note, Restored, Server, UpstreamReport};
use hither_table::Monotonic;
use hither_wire::name::Name;
use std::net::IpAddr;
use std::time::Duration;

/// Logs what the core notes, and remembers what has been logged.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// Whether no upstream answers, which has been logged.
    are_all_down: bool,
    /// Whether the network seems to want a login, which has been logged.
    is_caught: bool,
    labels: Labels,
    rebinding: RebindingLimit,
}

impl Notices {
    /// Notes that the upstreams or the network have changed: the next outage is logged again.
    pub fn forget_outage(&mut self) {
        self.are_all_down = false;
    }

    /// Takes over how upstreams are shown.
    pub fn set_labels(&mut self, labels: Labels) {
        self.labels = labels;
    }

    /// Logs that the network seems to want a login, once until it does not.
    pub fn log_captive_portal(&mut self, problem: Option<&str>) {
        let was_caught = std::mem::replace(&mut self.is_caught, problem.is_some());
        if let Some(problem) = problem.filter(|_| !was_caught) {
            log::warn!(event = Event::CaptivePortal, reason:% = problem; "{problem}");
        }
    }

    /// Logs one note. `upstreams` are the core's reports about all of them.
    pub fn log(&mut self, note: &Note, upstreams: impl FnOnce() -> Vec<UpstreamReport>, now: Monotonic) {
        match note {
            Note::UpstreamDown { server, failures, .. } => {
                let server = self.labels.of(server);
                log::warn!(
                    event = Event::UpstreamDown, upstream:% = server, failures = *failures;
                    "upstream {server} has failed {failures} times in a row; using the others, and trying it again from time to time"
                );
                self.look_for_outage(upstreams());
            }
            Note::UpstreamUp { server } => {
                let server = self.labels.of(server);
                self.are_all_down = false;
                log::info!(event = Event::UpstreamUp, upstream:% = server; "upstream {server} answers again");
            }
            Note::NoEdns { server } => {
                let server = self.labels.of(server);
                log::info!(
                    event = Event::UpstreamWithoutEdns, upstream:% = server;
                    "upstream {server} does not support EDNS; sending it queries without EDNS for a while"
                );
            }
            Note::NotStored { reason } => log::warn!(
                event = Event::AnswerNotStored, reason = *reason;
                "an answer could not be stored in the table: {reason}; its clients got SERVFAIL"
            ),
            Note::Rebinding { name, address, server } => self.log_rebinding(name, *address, server, now),
            Note::Restored(Restored { sets, expired, left_out, cut }) => {
                let rest = cut.map(|why| format!("; the rest is not: {why}")).unwrap_or_default();
                log::info!(
                    event = Event::CacheRestored;
                    "{sets} sets of addresses are restored; {expired} had run out, {left_out} were left out{rest}"
                );
            }
        }
    }

    fn look_for_outage(&mut self, mut upstreams: Vec<UpstreamReport>) {
        // Upstreams that got no query, such as those of an unused domain, have not failed.
        upstreams.retain(|upstream| upstream.queries > 0);
        let is_down = upstreams.iter().all(is_down);
        let was_down = std::mem::replace(&mut self.are_all_down, is_down);
        if is_down && !was_down {
            let shown: Vec<String> = upstreams.iter().map(|u| self.labels.of(&u.server)).collect();
            let shown = shown.join(", ");
            log::error!(
                event = Event::AllUpstreamsDown, upstreams:% = shown;
                "no upstream answers, of {shown}: what is not in the cache gets SERVFAIL, or what has expired, until one does"
            );
        }
    }

    /// A client that knows such a name can cause one of these lines with each query, so they are
    /// limited.
    fn log_rebinding(&mut self, name: &Name, address: IpAddr, server: &Server, now: Monotonic) {
        let Some(skipped) = self.rebinding.next_line(now) else { return };
        let more = match skipped {
            0 => String::new(),
            n => format!("; {n} more answers since the last such line"),
        };
        let (shown, server) = (name.to_string(), self.labels.of(server));
        let name = shown.strip_suffix('.').unwrap_or(&shown);
        log::warn!(
            event = Event::RebindingBlocked, upstream:% = server, name:% = name, address:% = address;
            "upstream {server} says that {name} is at {address}, a private address for a public name: it is withheld; where it is right, write allow = [\"{name}\"] below [rebinding] in hither.toml(5){more}"
        );
    }
}

/// The limit for log lines about withheld addresses.
#[derive(Debug, Default)]
struct RebindingLimit {
    next: Monotonic,
    /// Lines that were left out since the last one.
    skipped: u64,
}

impl RebindingLimit {
    /// Time between two lines.
    const PAUSE: Duration = Duration::from_secs(10);

    /// The number of lines left out before this one, if a line is due.
    fn next_line(&mut self, now: Monotonic) -> Option<u64> {
        if now < self.next {
            self.skipped += 1;
            return None;
        }
        self.next = now.plus(Self::PAUSE);
        Some(std::mem::take(&mut self.skipped))
    }
}

/// Whether an upstream is ignored, or on trial without a response so far.
fn is_down(upstream: &UpstreamReport) -> bool {
    upstream.unresponsive || upstream.state == "trial"
}
