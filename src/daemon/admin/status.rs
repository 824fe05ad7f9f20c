//! The status: what `hitherctl status` prints, and the line that the service manager shows.

use crate::daemon::admin::operator_query::transport_word;
use crate::daemon::upstreams::EncryptedReport;
use hither_control::{
    FeedStatus, FileStatus, Response, SiteStatus, SorterState, SorterStatus, Status, TlsStatus,
    UpstreamStatus, counted, encode,
};
use hither_rounds::{Routes, Server, UpstreamReport};
use hither_secure::Date;
use hither_table::{Counter, Counters, Monotonic};
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Composing takes at most 1/20 of the time. Requests that come sooner get the last status.
const TIME_PART: u32 = 20;
/// Files in a status.
const FILES_MAX: usize = 64;
/// Domains of one upstream in a status.
const DOMAINS_MAX: usize = 64;
/// How long after the daemon's start a missing sorter is no problem.
const SORTER_WITHIN: Duration = Duration::from_secs(10);

/// The last status, for requests that follow it closely.
#[derive(Debug, Default)]
pub(crate) struct StatusCache {
    last: Option<Encoded>,
}

/// An encoded status, and until when it may be sent.
#[derive(Debug)]
struct Encoded {
    octets: Vec<u8>,
    until: Monotonic,
}

impl StatusCache {
    /// Forgets the last status, after a change that an operator made and wants to see.
    pub fn clear(&mut self) {
        self.last = None;
    }

    /// Whether there is a status that would be sent again.
    #[cfg(test)]
    pub fn is_filled(&self) -> bool {
        self.last.is_some()
    }

    /// Whether a new status has to be composed.
    pub fn is_stale(&self, now: Monotonic) -> bool {
        self.last.as_ref().is_none_or(|last| last.until <= now)
    }

    /// Stores a status that was composed between `began` and `ended`.
    pub fn store(&mut self, status: Status, began: Monotonic, ended: Monotonic) {
        let status = Response::Status(status.fitting());
        let octets = encode(&status).or_else(|error| encode(&Response::Error { message: error.to_string() }));
        let until = ended.plus(ended.since(began) * TIME_PART);
        self.last = Some(Encoded { octets: octets.unwrap_or_default(), until });
    }

    /// The last status, encoded.
    pub fn octets(&self) -> &[u8] {
        self.last.as_ref().map_or(&[], |last| &last.octets)
    }
}

/// Everything that a status is composed from.
#[derive(Debug)]
pub(crate) struct StatusFacts<'f> {
    pub uptime: Duration,
    pub listen: &'f [SocketAddr],
    pub table_generation: u64,
    pub entries: u64,
    pub counters: Counters,
    /// All upstreams, with what is known of the connections to encrypted ones.
    pub upstreams: Vec<(UpstreamReport, Option<EncryptedReport>)>,
    pub routes: &'f Routes,
    /// The file or program that named each upstream.
    pub origins: &'f BTreeMap<Server, String>,
    pub files: &'f [FileStatus],
    pub companions: CompanionFacts<'f>,
    pub problems: Vec<String>,
}

/// What a status says of the companions.
#[derive(Debug)]
pub(crate) struct CompanionFacts<'f> {
    /// Whether the configuration demands a sorter.
    pub sorts: bool,
    pub sorter: &'f SorterStatus,
    pub site: Option<SiteStatus>,
}

impl StatusFacts<'_> {
    /// Composes the status that `hitherctl status` prints.
    pub fn compose(self) -> Status {
        let (hits, looked_up) = looked_up(&self.counters);
        let reserved: BTreeSet<Name> = hither_local::locally_served_zones().collect();
        let upstreams = self
            .upstreams
            .iter()
            .map(|(report, connections)| self.upstream(report, connections.as_ref(), &reserved));
        Status {
            pid: std::process::id(),
            uptime_s: self.uptime.as_secs(),
            listen: self.listen.iter().map(ToString::to_string).collect(),
            table_generation: self.table_generation,
            entries: self.entries,
            upstreams: upstreams.collect(),
            upstreams_more: 0,
            files: self.files.iter().take(FILES_MAX).cloned().collect(),
            files_more: self.files.len().saturating_sub(FILES_MAX) as u64,
            looked_up,
            hits,
            sorter: SorterStatus { state: self.sorter_state(), ..self.companions.sorter.clone() },
            site: self.companions.site.map(Box::new),
            feed: FeedStatus {
                subscribers: self.counters.get(Counter::FeedSubscribers),
                names: self.counters.get(Counter::FeedNames),
            },
            problems: self.problems,
        }
    }

    fn sorter_state(&self) -> SorterState {
        match (self.companions.sorts, self.companions.sorter.connected) {
            (_, true) => SorterState::Connected,
            (false, false) => SorterState::Off,
            (true, false) if self.uptime < SORTER_WITHIN => SorterState::Starting,
            (true, false) => SorterState::Missing,
        }
    }

    fn upstream(
        &self,
        report: &UpstreamReport,
        connections: Option<&EncryptedReport>,
        reserved: &BTreeSet<Name>,
    ) -> UpstreamStatus {
        let (domains, domains_more) = domains_of(&report.server, self.routes, reserved);
        UpstreamStatus {
            address: connections
                .map_or_else(|| report.server.address.to_string(), |found| found.label.clone()),
            transport: transport_word(report.server.transport),
            origin: self.origins.get(&report.server).cloned().unwrap_or_default(),
            domains,
            domains_more,
            state: report.state.into(),
            srtt_us: report.srtt_us,
            rttvar_us: report.rttvar_us,
            failures: report.failures,
            retry_in_ms: report.retry_in.map(|left| left.as_millis() as u64),
            queries: report.queries,
            answers: report.answers,
            edns: report.edns,
            tls: connections.map(tls_status),
        }
    }
}

/// The encrypted connections to an upstream.
fn tls_status(report: &EncryptedReport) -> TlsStatus {
    let shown = report.connection;
    TlsStatus {
        version: report.version.map(str::to_owned),
        peer: shown.map(|connection| connection.peer.to_string()),
        connection: shown.map(|connection| connection.state.to_owned()),
        age_ms: shown.map(|connection| connection.age.as_millis() as u64),
        queries: shown.map_or(0, |connection| connection.queries),
        outstanding: shown.map_or(0, |connection| connection.outstanding as u64),
        handshakes: report.handshakes,
        resumptions: report.resumptions,
        expires: report.expires_s.map(|at| Date(at).to_string()),
        problem: report.problem.clone(),
    }
}

/// The status in one line, for the service manager.
pub(crate) fn status_line(upstreams: &[UpstreamReport], counters: &Counters, problems: &[String]) -> String {
    let up = upstreams.iter().filter(|u| u.state == "up" || u.state == "unknown").count();
    let (hits, looked_up) = looked_up(counters);
    let rate = match looked_up {
        0 => String::new(),
        looked_up => format!(", hit rate {:.0} %", hits as f64 / looked_up as f64 * 100.0),
    };
    let problems: String = problems.iter().map(|problem| format!("; {problem}")).collect();
    format!(
        "{up} of {} up, {}, {}{rate}{problems}",
        counted(upstreams.len() as u64, "upstream", "upstreams"),
        counted(counters.get(Counter::Entries), "entry", "entries"),
        counted(counters.get(Counter::Queries), "query", "queries")
    )
}

/// Queries that the cache answered, and queries for which it was searched. Others were answered
/// from local data, or not at all.
fn looked_up(counters: &Counters) -> (u64, u64) {
    let hits = counters.get(Counter::Hits);
    (hits, hits + counters.get(Counter::Misses))
}

/// The domains whose queries go to a server, and how many more there are. The root is among them if
/// the server has single domains and also gets all other queries. A reserved zone of a network is
/// left out if the server has the surrounding domain as well.
fn domains_of(server: &Server, routes: &Routes, reserved: &BTreeSet<Name>) -> (Vec<String>, u64) {
    let usual = routes.usual.contains(server);
    let has_surrounding = |name: &Name| {
        let domain = name.parent().as_ref().and_then(|parent| routes.domain(parent)).copied();
        domain.map_or(usual, |domain| routes.domains.get(&domain).is_some_and(|all| all.contains(server)))
    };
    let is_sent_there = |(_, servers): &(&Name, &Vec<Server>)| servers.contains(server);
    let own = routes.domains.iter().filter(is_sent_there).map(|(name, _)| name);
    // The root comes last.
    let is_listed = |name: &&Name| !(name.is_root() || reserved.contains(name) && has_surrounding(name));
    let mut own = own.filter(is_listed);
    let mut domains: Vec<String> = own.by_ref().take(DOMAINS_MAX).map(ToString::to_string).collect();
    let more = own.count() as u64;
    let all =
        routes.domains.get(&Name::ROOT).map_or(usual && !domains.is_empty(), |all| all.contains(server));
    if all {
        domains.push(Name::ROOT.to_string());
    }
    (domains, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_zones_of_a_network_are_left_out_beside_the_surrounding_domain() {
        let server = |n: u8| Server::from(std::net::SocketAddr::from(([192, 168, 0, n], 53)));
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let mut routes = Routes { usual: vec![server(1)], ..Routes::default() };
        routes.domains = hither_local::locally_served_zones().map(|zone| (zone, vec![server(1)])).collect();
        let reserved: BTreeSet<Name> = hither_local::locally_served_zones().collect();
        let listed = |n: u8, routes: &Routes| domains_of(&server(n), routes, &reserved).0.join(" ");
        assert_eq!(listed(1, &routes), "");
        routes.domains.insert(name("corp.example"), vec![server(1), server(2)]);
        assert_eq!(listed(1, &routes), "corp.example. .");
        routes.domains.insert(name("10.in-addr.arpa"), vec![server(2)]);
        assert_eq!(listed(2, &routes), "10.in-addr.arpa. corp.example.");
        // A network's server that has all of arpa, or the root, is not a usual upstream.
        let mut routes = Routes { usual: vec![server(9)], ..Routes::default() };
        for around in ["arpa", "."] {
            routes.domains =
                hither_local::locally_served_zones().map(|zone| (zone, vec![server(1)])).collect();
            routes.domains.insert(name(around), vec![server(1)]);
            assert_eq!(listed(1, &routes), if around == "." { "." } else { "arpa." });
        }
        let many = (0..1000).map(|n| (name(&format!("d{n}.example")), vec![server(1)]));
        let routes = Routes { usual: vec![server(1)], domains: many.collect(), ..Routes::default() };
        let (domains, more) = domains_of(&server(1), &routes, &reserved);
        assert_eq!((domains.len(), domains.last().map(String::as_str), more), (65, Some("."), 936));
    }
}
