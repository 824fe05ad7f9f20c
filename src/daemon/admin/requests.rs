//! What the operator asks of a running daemon.

use crate::config::Config;
use crate::daemon::admin::answer_source::{Search, Whence, whence};
use crate::daemon::admin::peers::{OTHERS, OURS};
use crate::daemon::clients::OperatorReply;
use crate::daemon::clients::pending::{Pending, Way};
use crate::daemon::event_loop::Daemon;
use crate::daemon::reload::local::{Loader, block_of};
use crate::daemon::sources::Slot;
use hither_control::{
    AttemptReport, QueryReport, Request, Response, SorterStatus, Status, UpstreamStatus, encode,
};
use hither_net::seqpacket::Peer;
use hither_rounds::{Answer, ClientId, Input, Question, Rounds, Routes, Server, Transport};
use hither_table::{Counter, Monotonic};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked as AskedFor, QueryBits, query};
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

/// The operator's address.
const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// Requests for a query that wait at once: one of each connection.
const ASKED_MAX: usize = OURS + OTHERS;
/// Names forgotten before others get their turn.
const FORGOTTEN: usize = 64;
/// Composing a status takes one part in so many of the time, however often it is asked for: who asks in between is told the last one.
const PART: u32 = 20;
/// Files that are told of.
const FILES_MAX: usize = 64;
/// Domains of an upstream that are told.
const DOMAINS_MAX: usize = 64;
/// How long after the reply the other upstreams are waited for.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long after its own start the daemon expects the sorter.
const SORTER_WITHIN: Duration = Duration::from_secs(10);

/// What operators asked for and have no answer to yet.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    asked: Vec<Asked>,
    flushing: VecDeque<Flushing>,
    /// The last status, for who asks again at once.
    told: Option<Told>,
}

/// A query that the operator made through us, and its report so far.
#[derive(Debug)]
struct Asked {
    slot: Slot,
    client: Option<ClientId>,
    question: Question,
    began: Monotonic,
    report: Option<QueryReport>,
    /// The line that says so is looked for.
    search: Option<mpsc::Receiver<String>>,
    until: Monotonic,
}

/// A status that was told, and how long it is told again.
#[derive(Debug)]
struct Told {
    octets: Vec<u8>,
    until: Monotonic,
}

/// Names that an operator wants forgotten.
#[derive(Debug)]
struct Flushing {
    slot: Slot,
    names: VecDeque<Name>,
    /// Entries that were there before.
    entries: u64,
}

impl Requests {
    /// Whoever changes something sees it in the next status.
    pub fn has_changed(&mut self) {
        self.told = None;
    }

    /// The reply to a query that was made for an operator is there. Files and lists are searched for the line that says so.
    pub fn is_answered(
        &mut self,
        reply: &OperatorReply,
        answer: &Answer,
        rounds: &Rounds,
        lists: (&Config, &Loader),
        now: Monotonic,
    ) {
        let is_it = |asked: &&mut Asked| asked.slot == reply.slot && asked.client == Some(reply.client);
        let Some(asked) = self.asked.iter_mut().find(is_it) else { return };
        let trace = rounds.trace(&asked.question);
        let whence = whence(answer, &asked.question.name, trace, asked.began);
        asked.report = Some(report(&reply.octets, now.since(asked.began), &whence));
        if let Answer::Local(said) = answer {
            let place = rounds.blocked_by(&asked.question.name).map(block_of);
            let search = Search::of(said, &asked.question, place, lists);
            asked.search = search.and_then(|search| search.begin(lists.1.waker()));
        }
    }

    #[cfg(test)]
    pub fn has_told(&self) -> bool {
        self.told.is_some()
    }
}

impl Daemon {
    pub(crate) fn on_request(&mut self, slot: Slot, request: Request, peer: Peer, now: Monotonic) {
        if request == Request::Status {
            return self.tell_status(slot, now);
        }
        let response = match request {
            Request::Status => return,
            Request::Flush { names } => match self.flush(slot, &names, peer, now) {
                Ok(None) => return,
                Ok(Some(response)) => response,
                Err(message) => Response::Error { message },
            },
            Request::Reload => match may_change(peer, "reload") {
                Ok(()) => return self.reload_for(slot),
                Err(message) => Response::Error { message },
            },
            Request::ReloadBegun => match may_change(peer, "reload") {
                Ok(()) => return self.reload_begun(slot, now),
                Err(message) => Response::Error { message },
            },
            Request::Query { name, rtype } => match self.ask_for_operator(slot, &name, &rtype, now) {
                Ok(()) => return,
                Err(message) => Response::Error { message },
            },
        };
        self.control.answer(slot, &response);
    }

    fn tell_status(&mut self, slot: Slot, now: Monotonic) {
        let began = hither_net::clock::now();
        if self.requests.told.as_ref().is_none_or(|told| told.until <= began) {
            let status = Response::Status(self.status(now).fitting());
            let octets =
                encode(&status).or_else(|error| encode(&Response::Error { message: error.to_string() }));
            let octets = octets.unwrap_or_default();
            let ended = hither_net::clock::now();
            self.requests.told = Some(Told { octets, until: ended.plus(ended.since(began) * PART) });
        }
        if let Some(told) = &self.requests.told {
            self.control.answer_as(slot, &told.octets);
        }
    }

    fn status(&mut self, now: Monotonic) -> Status {
        let (hits, looked_up) = self.looked_up();
        let reports = self.core.rounds().upstreams(now);
        let reserved: BTreeSet<Name> = hither_local::locally_served_zones().collect();
        let told = |(u, (domains, domains_more)): (hither_rounds::UpstreamReport, (Vec<String>, u64))| {
            UpstreamStatus {
                address: u.server.address.to_string(),
                transport: "udp".to_owned(),
                origin: self.whom.origins.get(&u.server).cloned().unwrap_or_default(),
                domains,
                domains_more,
                state: u.state.to_owned(),
                srtt_us: u.srtt_us,
                rttvar_us: u.rttvar_us,
                failures: u.failures,
                retry_in_ms: u.retry_in.map(|left| left.as_millis() as u64),
                queries: u.queries,
                answers: u.answers,
                edns: u.edns,
            }
        };
        let routes = self.core.rounds().routes();
        let domains = |report: &hither_rounds::UpstreamReport| domains_of(&report.server, routes, &reserved);
        let upstreams = reports.into_iter().map(|report| {
            let domains = domains(&report);
            told((report, domains))
        });
        let upstreams = upstreams.collect();
        let uptime = now.since(self.started);
        let sorter = match (self.config.sort.enabled, self.control.status.connected) {
            (_, true) => "connected",
            (false, false) => "off",
            (true, false) if uptime < SORTER_WITHIN => "starting",
            (true, false) => "missing",
        };
        Status {
            pid: std::process::id(),
            uptime_s: uptime.as_secs(),
            listen: self.addresses.iter().map(ToString::to_string).collect(),
            table_generation: self.core.rounds().reader().generation(),
            entries: self.core.table().entries() as u64,
            upstreams,
            upstreams_more: 0,
            files: self.loader.files().iter().take(FILES_MAX).cloned().collect(),
            files_more: self.loader.files().len().saturating_sub(FILES_MAX) as u64,
            looked_up,
            hits,
            sorter: SorterStatus { state: sorter.to_owned(), ..self.control.status.clone() },
            problems: self.problems(),
        }
    }

    /// Queries that the cache answered, and how many it was asked for: what is answered here, or not at all, is neither.
    pub(crate) fn looked_up(&mut self) -> (u64, u64) {
        let counters = self.counters();
        let hits = counters.get(Counter::Hits);
        (hits, hits + counters.get(Counter::Misses))
    }

    /// Forgets everything at once, names one after the other; `None`: the answer comes when that is done.
    fn flush(
        &mut self,
        slot: Slot,
        names: &[String],
        peer: Peer,
        now: Monotonic,
    ) -> Result<Option<Response>, String> {
        may_change(peer, "flush")?;
        let entries = self.core.table().entries() as u64;
        let parse = |name: &String| {
            name.parse::<Name>().map(|n| n.to_lower()).map_err(|error| format!("'{name}': {error}"))
        };
        let names: VecDeque<Name> = names.iter().map(parse).collect::<Result<_, String>>()?;
        if names.is_empty() {
            self.tell(now, Input::Flush { names: None });
            self.flush_what_is_kept();
            self.requests.has_changed();
            return Ok(Some(Response::Flushed { entries }));
        }
        self.requests.flushing.push_back(Flushing { slot, names, entries });
        Ok(None)
    }

    pub(crate) fn is_flushing(&self) -> bool {
        !self.requests.flushing.is_empty()
    }

    /// Forgets some of the names that operators want forgotten; `false`: there were none.
    pub(crate) fn flush_some(&mut self, now: Monotonic) -> bool {
        let Some(flushing) = self.requests.flushing.front_mut() else { return false };
        let count = flushing.names.len().min(FORGOTTEN);
        let names = Some(flushing.names.drain(..count).collect());
        let done = flushing.names.is_empty().then_some((flushing.slot, flushing.entries));
        self.tell(now, Input::Flush { names });
        self.flush_what_is_kept();
        if let Some((slot, entries)) = done {
            self.requests.flushing.pop_front();
            self.requests.has_changed();
            self.control.answer(slot, &Response::Flushed { entries });
        }
        true
    }

    fn ask_for_operator(
        &mut self,
        slot: Slot,
        name: &str,
        rtype: &str,
        now: Monotonic,
    ) -> Result<(), String> {
        if self.requests.asked.len() >= ASKED_MAX {
            // Who is gone waits for nothing.
            self.requests.asked.retain(|asked| self.control.is_there(asked.slot));
        }
        let name: Name = name.parse().map_err(|error| format!("'{name}': {error}"))?;
        let rtype: Rtype = rtype.parse().map_err(|error| format!("'{rtype}': {error}"))?;
        let mut octets = [0; 300];
        let bits = QueryBits { rd: true, cd: false, edns: Some((1232, false)) };
        let len = query(&mut octets, 0, &AskedFor { name: &name, rtype }, bits);
        let read = Query::read(&octets[..len]).map_err(|_| format!("{rtype} is not asked for like this"))?;
        let question = Question { name: name.to_lower(), rtype, dnssec_ok: false, checking_disabled: false };
        let until = now.plus(PATIENCE);
        let mut asked = Asked { slot, client: None, question, began: now, report: None, search: None, until };
        let mut reply = vec![0; 65_535];
        // What it counts as a hit or a miss is a query too.
        self.core.counters().add(Counter::Queries, 1);
        let hit = self.core.answer_hit(now, (&read, None), 65_535, &mut reply);
        if hit > 0 {
            let source = if self.core.is_restored(&asked.question) { "restored" } else { "cache" };
            asked.report = Some(report(&reply[..hit], Duration::ZERO, &Whence::new(source, None)));
            self.requests.asked.push(asked);
            return Ok(());
        }
        let client = self.clients.wait(Pending::new(&read, Way::Control(slot), HERE));
        asked.client = Some(client);
        self.requests.asked.push(asked);
        self.tell(now, Input::Ask { client, question: &question, recursion: true });
        Ok(())
    }

    pub(crate) fn asked_timeout(&self) -> Option<Monotonic> {
        self.requests.asked.iter().map(|asked| asked.until).min()
    }

    /// Answers those whose round has ended, so that the report tells what every upstream said.
    pub(crate) fn answer_asked(&mut self, now: Monotonic) {
        for at in (0..self.requests.asked.len()).rev() {
            let asked = &self.requests.asked[at];
            let trace = self.core.rounds().trace(&asked.question);
            let over = trace.is_none_or(|trace| trace.ended) || now >= asked.until;
            if asked.report.is_none() && now < asked.until || !over {
                continue;
            }
            let found = asked.search.as_ref().map(mpsc::Receiver::try_recv);
            if now < asked.until && matches!(found, Some(Err(mpsc::TryRecvError::Empty))) {
                continue;
            }
            let mut asked = self.requests.asked.swap_remove(at);
            let response = match asked.report.take() {
                None => Response::Error { message: "there was no reply in time".to_owned() },
                Some(mut report) => {
                    report.attempts = trace.map(attempts).unwrap_or_default();
                    report.source_detail = report.source_detail.or(found.and_then(Result::ok));
                    Response::Query(report)
                }
            };
            self.control.answer(asked.slot, &response);
        }
    }
}

/// The domains that a server is asked for, the root among them if it has others and is asked for everything else too. A reserved zone of a
/// network is left out where the server is asked for what is around it as well; and how many there are besides.
fn domains_of(server: &Server, routes: &Routes, reserved: &BTreeSet<Name>) -> (Vec<String>, u64) {
    let usual = routes.usual.contains(server);
    let around = |name: &Name| {
        let domain = name.parent().as_ref().and_then(|parent| routes.domain(parent)).copied();
        domain.map_or(usual, |domain| routes.domains.get(&domain).is_some_and(|all| all.contains(server)))
    };
    let asked = |(_, servers): &(&Name, &Vec<Server>)| servers.contains(server);
    let own = routes.domains.iter().filter(asked).map(|(name, _)| name);
    // The root comes last.
    let is_told = |name: &&Name| !(name.is_root() || reserved.contains(name) && around(name));
    let mut own = own.filter(is_told);
    let mut domains: Vec<String> = own.by_ref().take(DOMAINS_MAX).map(ToString::to_string).collect();
    let more = own.count() as u64;
    let all =
        routes.domains.get(&Name::ROOT).map_or(usual && !domains.is_empty(), |all| all.contains(server));
    if all {
        domains.push(Name::ROOT.to_string());
    }
    (domains, more)
}

fn may_change(peer: Peer, what: &str) -> Result<(), String> {
    let may = peer.uid == 0 || peer.uid == nix::unistd::geteuid().as_raw();
    may.then_some(()).ok_or_else(|| format!("only root and the daemon's user may {what}"))
}

/// A part of a whole that may be nothing.
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn report(reply: &[u8], elapsed: Duration, whence: &Whence) -> QueryReport {
    let hex = reply.iter().fold(String::new(), |mut hex, octet| {
        let _ = write!(hex, "{octet:02x}");
        hex
    });
    QueryReport {
        reply: hex,
        elapsed_us: elapsed.as_micros() as u64,
        from_cache: matches!(whence.source, "cache" | "restored"),
        source: whence.source.to_owned(),
        source_detail: whence.detail.clone(),
        attempts: Vec::new(),
    }
}

fn attempts(trace: &hither_rounds::Trace) -> Vec<AttemptReport> {
    let after = |at: Monotonic| at.since(trace.started).as_micros() as u64;
    let attempt = |a: &hither_rounds::AttemptTrace| AttemptReport {
        upstream: a.upstream.to_string(),
        transport: if a.transport == Transport::Udp { "udp" } else { "tcp" }.to_owned(),
        sent_us: after(a.sent),
        ended_us: a.ended.map(after),
        outcome: a.outcome.to_string(),
        addresses: a.addresses.clone(),
    };
    trace.attempts.iter().map(attempt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_networks_reserved_zones_are_part_of_everything_else() {
        let server = |n: u8| Server::from(std::net::SocketAddr::from(([192, 168, 0, n], 53)));
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let mut routes = Routes { usual: vec![server(1)], ..Routes::default() };
        routes.domains = hither_local::locally_served_zones().map(|zone| (zone, vec![server(1)])).collect();
        let reserved: BTreeSet<Name> = hither_local::locally_served_zones().collect();
        let told = |n: u8, routes: &Routes| domains_of(&server(n), routes, &reserved).0.join(" ");
        assert_eq!(told(1, &routes), "");
        routes.domains.insert(name("corp.example"), vec![server(1), server(2)]);
        assert_eq!(told(1, &routes), "corp.example. .");
        routes.domains.insert(name("10.in-addr.arpa"), vec![server(2)]);
        assert_eq!(told(2, &routes), "10.in-addr.arpa. corp.example.");
        // A network's server that is asked for all of arpa, or for the root, is not the usual one.
        let mut routes = Routes { usual: vec![server(9)], ..Routes::default() };
        for around in ["arpa", "."] {
            routes.domains =
                hither_local::locally_served_zones().map(|zone| (zone, vec![server(1)])).collect();
            routes.domains.insert(name(around), vec![server(1)]);
            assert_eq!(told(1, &routes), if around == "." { "." } else { "arpa." });
        }
        let many = (0..1000).map(|n| (name(&format!("d{n}.example")), vec![server(1)]));
        let routes = Routes { usual: vec![server(1)], domains: many.collect(), ..Routes::default() };
        let (domains, more) = domains_of(&server(1), &routes, &reserved);
        assert_eq!((domains.len(), domains.last().map(String::as_str), more), (65, Some("."), 936));
    }
}
