//! The state of the daemon, as `hitherctl status` shows it. Missing fields are empty: the daemon may be
//! of another version.

use crate::{SiteReport, SorterState, Transport, UpstreamState, counted};
use serde::{Deserialize, Serialize};

/// The state of the daemon and of everything that it uses.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The process id of the daemon.
    pub pid: u32,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// Addresses and ports at which the daemon listens.
    pub listen: Vec<String>,
    /// The generation of the table, which differs from that of every other table.
    pub table_generation: u64,
    /// Entries in the table.
    pub entries: u64,
    /// Queries that were looked up in the cache.
    pub looked_up: u64,
    /// Queries that the cache answered, of those that were looked up.
    pub hits: u64,
    /// The upstreams, as many as fit.
    pub upstreams: Vec<UpstreamStatus>,
    /// The number of upstreams that were left out.
    pub upstreams_more: u64,
    /// Hosts files and block lists, and resolv.conf if its servers are the upstreams.
    pub files: Vec<FileStatus>,
    /// The number of files that were left out.
    pub files_more: u64,
    /// Whether the sorter is connected.
    pub sorter: SorterStatus,
    /// The companion that shares answers with other hosts; `None` if nothing is shared.
    pub site: Option<Box<SiteStatus>>,
    /// Programs that are subscribed to changes.
    pub feed: FeedStatus,
    /// The differences from the configuration, each with its reason, for instance a table without
    /// enough memory or a wrong configuration.
    pub problems: Vec<String>,
}

impl Status {
    /// The share of hits among the queries that were looked up; `None` when there was none.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        (self.looked_up > 0).then(|| self.hits as f64 / self.looked_up as f64)
    }
}

/// The state of the feed of changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedStatus {
    /// Connections of programs now.
    pub subscribers: u64,
    /// Names that they are subscribed to; one that two have counts twice.
    pub names: u64,
}

impl std::fmt::Display for FeedStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = counted(self.names, "name", "names");
        write!(f, "{}, {names}", counted(self.subscribers, "subscriber", "subscribers"))
    }
}

/// The state of a hosts file, a block list, or resolv.conf.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FileStatus {
    /// The path of the file, as configured.
    pub path: String,
    /// Names of it that are in force; for resolv.conf, servers.
    pub names: u64,
    /// Lines that could not be read, comments excluded.
    pub passed_over: u64,
    /// The file's problem, and the daemon's reaction.
    pub problem: Option<String>,
}

/// The state of one upstream.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamStatus {
    /// Address and port of the upstream; for an encrypted one, as the configuration or the system names it.
    pub address: String,
    /// The transport of its first query.
    pub transport: Transport,
    /// The source of its address: a file, a service, or a link and the service that manages it.
    pub origin: String,
    /// Domains whose names are sent to this upstream. Empty: all names; the root among others: all
    /// names without another upstream.
    pub domains: Vec<String>,
    /// The number of domains that were left out.
    pub domains_more: u64,
    /// Whether the upstream answers.
    pub state: UpstreamState,
    /// Smoothed round-trip time (RFC 6298).
    pub srtt_us: Option<u64>,
    /// Variation of the round-trip time.
    pub rttvar_us: Option<u64>,
    /// Failures in a row.
    pub failures: u32,
    /// Time until the next trial.
    pub retry_in_ms: Option<u64>,
    /// Queries sent to it.
    pub queries: u64,
    /// Responses received from it.
    pub answers: u64,
    /// Whether queries to it have EDNS.
    pub edns: bool,
    /// Its encrypted connections; `None` for one without encryption.
    pub tls: Option<TlsStatus>,
}

/// The encrypted connections to one upstream.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsStatus {
    /// The version of TLS of the latest handshake: `1.2` or `1.3`; `None` before the first one.
    pub version: Option<String>,
    /// Address and port of the connection that is in use, or is being made.
    pub peer: Option<String>,
    /// `connecting`, `handshake`, `ready` or `draining`; `None` without a connection.
    pub connection: Option<String>,
    /// How long ago that connection was begun, in milliseconds.
    pub age_ms: Option<u64>,
    /// Queries that were sent on that connection.
    pub queries: u64,
    /// Those of them that have no answer yet.
    pub outstanding: u64,
    /// Handshakes that were completed.
    pub handshakes: u64,
    /// Those that resumed an earlier session by a ticket.
    pub resumptions: u64,
    /// When the certificate expires, as a date and time of UTC.
    pub expires: Option<String>,
    /// What is wrong, and what puts it right.
    pub problem: Option<String>,
}

/// The state of the sorter.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SorterStatus {
    /// Whether it is connected, or why not.
    pub state: SorterState,
    /// Whether a sorter is connected.
    pub connected: bool,
    /// The process of the connected sorter.
    pub pid: Option<i32>,
    /// Probes that it has sent.
    pub probes: u64,
    /// Orders that it has sent.
    pub orders: u64,
    /// Kinds of probes that it cannot send, with the reason.
    pub lacks: Vec<String>,
}

/// The state of the companion `hither-site`, with its latest report.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SiteStatus {
    /// Whether it is connected.
    pub connected: bool,
    /// The process of the connected companion.
    pub pid: Option<i32>,
    /// Its latest report; empty before the first one.
    #[serde(flatten)]
    pub report: SiteReport,
}
