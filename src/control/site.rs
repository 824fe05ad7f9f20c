//! Messages between the companion `hither-site` and the daemon. Both are strict: the two are always of
//! one version. Times are milliseconds of the table's clock, which both processes share.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The version of these messages; a companion of another version is refused.
pub const SITE_VERSION: u32 = 1;

/// Sets in one message at most, since the daemon publishes all of them before it turns to other work.
pub const OFFERS_MAX: usize = 16;

/// A message from the companion.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SiteMessage {
    /// The first message of a connection.
    Hello {
        /// The companion's [`SITE_VERSION`].
        version: u32,
    },
    /// The state of the companion, whenever it has changed; the counts at most once a second.
    State(Box<SiteReport>),
    /// Sets that other hosts have learned, at most [`OFFERS_MAX`].
    Offers {
        /// The sets.
        sets: Vec<OfferedSet>,
    },
    /// The answer to [`SiteReply::Ask`]: the set, or nothing.
    Answer {
        /// The number of the request.
        ask: u64,
        /// What the site knows.
        set: Option<Box<OfferedSet>>,
    },
}

/// A set that another host of the site has learned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedSet {
    /// The name in presentation form, in lower case.
    pub name: String,
    /// The mnemonic `A` or `AAAA`.
    pub rtype: String,
    /// The host that has learned it.
    pub host: String,
    /// The upstreams that gave it, as that host names them.
    pub said_by: Vec<String>,
    /// When it was learned, and when it expires.
    pub times: OfferedTimes,
    /// How many upstreams had answered.
    pub answered: u8,
    /// Why the set is disputed, as in [`hither_table::Agreement`].
    pub disputes: u8,
    /// `nodata` or `nxdomain`; `None` if there are addresses.
    pub negative: Option<String>,
    /// The addresses, in the order in which they are to stand until they are measured here.
    pub addresses: Vec<OfferedAddress>,
    /// The CNAME chains that lead to them; a chain without links is the name itself.
    pub chains: Vec<Vec<OfferedLink>>,
    /// The SOA record of a denial.
    pub soa: Option<OfferedSoa>,
}

/// The times of an offered set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedTimes {
    /// The earliest time at which an upstream can have been asked.
    pub asked_ms: u64,
    /// When the host had learned it.
    pub learned_ms: u64,
    /// When the set expires.
    pub expire_ms: u64,
    /// The TTL with which the host published it, in seconds.
    pub lifetime_s: u32,
}

/// One address of an offered set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedAddress {
    /// The IPv4 or IPv6 address.
    pub address: IpAddr,
    /// The number of its chain.
    pub chain: u8,
    /// Whether several upstreams or the first answer gave it.
    pub trusted: bool,
    /// How many upstreams gave it.
    pub sources: u8,
}

/// One CNAME of a chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedLink {
    /// The name that the CNAME points to, in presentation form.
    pub target: String,
    /// When the CNAME expires.
    pub expire_ms: u64,
}

/// The SOA record of a denial.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedSoa {
    /// The zone, in presentation form.
    pub owner: String,
    /// When the denial expires.
    pub expire_ms: u64,
    /// The RDATA with uncompressed names, in hexadecimal digits.
    pub rdata: String,
}

/// The daemon's message to the companion.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SiteReply {
    /// A client waits: say at once what the site knows of a set.
    Ask {
        /// The number of the request.
        ask: u64,
        /// The name in presentation form, in lower case.
        name: String,
        /// The mnemonic `A` or `AAAA`.
        rtype: String,
    },
    /// The daemon puts a configuration in force: read it again, before anything else is shared.
    Reload,
    /// Which names stay on this host. Sent after [`SiteMessage::Hello`], and before any change of the routes
    /// comes into force; until it has come, nothing is shared.
    Unshared {
        /// Domains with upstreams of their own, be it by a link's settings, and those of the network
        /// itself, in presentation form: none of their names is shared.
        domains: Vec<String>,
        /// Whether there are too many to be listed: then nothing is shared.
        is_cut: bool,
    },
    /// The companion is of another [`SITE_VERSION`]; the connection ends.
    Unwelcome {
        /// Both versions, for the log.
        reason: String,
    },
}

/// The state of the companion and its counts since its start, as the daemon shows them. Missing fields
/// are empty.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SiteReport {
    /// The name under which this host writes.
    pub host: String,
    /// The engine in use, without credentials.
    pub engine: String,
    /// `up`, `read_only`, `connecting`, `refused` (by our own rules) or `off` (none is configured).
    pub state: String,
    /// What is wrong, and what puts it right.
    pub problem: Option<String>,
    /// The group of hosts whose round-trip times are hints.
    pub group: String,
    /// What the companion has done.
    #[serde(flatten)]
    pub counts: SiteCounts,
}

/// What the companion has done since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SiteCounts {
    /// Sets written to the engine.
    pub written: u64,
    /// Sets that were not written: the queue was full, or the rate was reached.
    pub dropped: u64,
    /// Entries received from the engine.
    pub received: u64,
    /// Entries offered to the daemon.
    pub offered: u64,
    /// Questions of the daemon.
    pub asks: u64,
    /// Those of them for which the engine had a set.
    pub found: u64,
    /// Entries that were refused, by reason.
    pub refused: SiteRefused,
    /// Commands that the engine refused, or that failed.
    pub errors: u64,
    /// Connections to the engine that were lost or could not be made.
    pub reconnects: u64,
}

/// Entries that were refused, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SiteRefused {
    /// The signature is missing or wrong.
    pub signature: u64,
    /// The clock of its host is off by more than its TTL.
    pub clock: u64,
    /// Its remaining time is over.
    pub expired: u64,
    /// It is not newer than one that was seen before.
    pub replayed: u64,
    /// It belongs to another prefix or key.
    pub prefix: u64,
    /// It is too large.
    pub size: u64,
    /// It cannot be read.
    pub malformed: u64,
    /// This host does not share such a name.
    pub unshared: u64,
}
