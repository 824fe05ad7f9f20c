//! What the core has noticed, as the operator is told.

use crate::logging::Event;
use hither_rounds::{Note, Restored, Rounds, Server, UpstreamReport};
use hither_table::Monotonic;
use hither_wire::name::Name;
use std::net::IpAddr;
use std::time::Duration;

/// What the operator has been told of the core's events, so that each is told once.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// No upstream answers, and the log says so.
    all_down: bool,
    rebindings: Rebindings,
}

impl Notices {
    /// The upstreams or the network are others: whether all are down is told anew.
    pub fn forget_outage(&mut self) {
        self.all_down = false;
    }

    /// Logs an event of the core.
    pub fn log(&mut self, note: &Note, rounds: &Rounds, now: Monotonic) {
        match note {
            Note::UpstreamDown { server, failures, .. } => {
                log::warn!(
                    event = Event::UpstreamDown, upstream:% = server, failures = *failures;
                    "upstream {server} has failed {failures} times in a row; asking the others, and it again from time to time"
                );
                let mut upstreams = rounds.upstreams(now);
                // Those of a domain that nobody asks for say nothing.
                upstreams.retain(|upstream| upstream.queries > 0);
                let before = std::mem::replace(&mut self.all_down, upstreams.iter().all(is_down));
                if self.all_down && !before {
                    let shown: Vec<String> = upstreams.iter().map(|u| u.server.to_string()).collect();
                    let shown = shown.join(", ");
                    log::error!(
                        event = Event::AllUpstreamsDown, upstreams:% = shown;
                        "no upstream answers, of {shown}: what is not in the cache gets SERVFAIL, or what has expired, until one does"
                    );
                }
            }
            Note::UpstreamUp { server } => {
                self.all_down = false;
                log::info!(event = Event::UpstreamUp, upstream:% = server; "upstream {server} answers again");
            }
            Note::NoEdns { server } => log::info!(
                event = Event::UpstreamWithoutEdns, upstream:% = server;
                "upstream {server} cannot do EDNS; asking it without for a while"
            ),
            Note::NotStored { reason } => log::warn!(
                event = Event::AnswerNotStored, reason = *reason;
                "an answer could not be stored: {reason}; its clients were told SERVFAIL"
            ),
            Note::Rebinding { name, address, server } => self.on_rebinding(name, *address, server, now),
            Note::Restored(Restored { sets, expired, left_out, cut }) => {
                let rest = cut.map(|why| format!("; the rest is not: {why}")).unwrap_or_default();
                log::info!(
                    event = Event::CacheRestored;
                    "{sets} sets of addresses are restored; {expired} had run out, {left_out} were left out{rest}"
                );
            }
        }
    }

    /// Whoever knows such names can have as many of these as they ask questions: some lines are enough.
    fn on_rebinding(&mut self, name: &Name, address: IpAddr, server: &Server, now: Monotonic) {
        if !self.rebindings.is_due(now) {
            return;
        }
        let more = match std::mem::take(&mut self.rebindings.unsaid) {
            0 => String::new(),
            n => format!("; {n} more answers since the last such line"),
        };
        let shown = name.to_string();
        let name = shown.strip_suffix('.').unwrap_or(&shown);
        log::warn!(
            event = Event::RebindingBlocked, upstream:% = server, name:% = name, address:% = address;
            "upstream {server} says that {name} is at {address}, a private address for a public name: it is withheld; where it is right, write allow = [\"{name}\"] below [rebinding] in hither.toml(5){more}"
        );
    }
}

/// Lines about withheld addresses.
#[derive(Debug, Default)]
struct Rebindings {
    next: Monotonic,
    unsaid: u64,
}

impl Rebindings {
    /// Time between two lines.
    const PAUSE: Duration = Duration::from_secs(10);

    fn is_due(&mut self, now: Monotonic) -> bool {
        if now < self.next {
            self.unsaid += 1;
            return false;
        }
        self.next = now.plus(Self::PAUSE);
        true
    }
}

/// One that is being tried has not answered yet.
fn is_down(upstream: &UpstreamReport) -> bool {
    upstream.unresponsive || upstream.state == "trial"
}
