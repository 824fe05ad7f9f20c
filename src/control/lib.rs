//! The words between daemon, sorter and operator: one JSON object a message, encoded and decoded, nothing else.
//!
//! A message has at most [`MAX_MESSAGE`] octets. In what the daemon is told unknown fields and kinds are errors, so that a misspelt word is
//! not passed over. In its answers unknown fields are passed over, and missing ones are empty: amid an upgrade it is of another version than
//! who asks.

#![forbid(unsafe_code)]

mod fit;

use hither_table::paths::RUNTIME_DIR;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The language spoken here; a sorter of another is turned away.
pub const VERSION: u32 = 1;
/// Octets of a message.
pub const MAX_MESSAGE: usize = 65_536;
/// Where the operator's tool connects, in the runtime directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// Where the sorter connects, in the runtime directory.
pub const SORTER_SOCKET: &str = "sorter.sock";
/// Where both are when systemd made them: not in the runtime directory, which goes when the daemon is stopped.
pub const SYSTEM_SOCKETS: &str = "/run/hitherd";

/// Where a socket may be, the likelier place first, for a daemon with this runtime directory.
#[must_use]
pub fn places(runtime_dir: &Path, socket: &str) -> Vec<PathBuf> {
    let system = runtime_dir == Path::new(RUNTIME_DIR);
    let system = system.then(|| Path::new(SYSTEM_SOCKETS).join(socket));
    std::iter::once(runtime_dir.join(socket)).chain(system).collect()
}

/// What the operator's tool asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the daemon, the sorter and the upstreams are.
    Status,
    /// Forget these names; everything, when there are none.
    Flush {
        /// In presentation form.
        names: Vec<String>,
    },
    /// Read the configuration again, and answer when it is in force.
    Reload,
    /// Answer when the reload that a signal begins, or has just begun, is in force.
    ReloadBegun,
    /// Ask as a client would, and tell what each upstream said.
    Query {
        /// In presentation form.
        name: String,
        /// A type's mnemonic.
        rtype: String,
    },
}

/// What the daemon answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To `Status`.
    Status(Status),
    /// To `Flush`.
    Flushed {
        /// Entries that were there before.
        entries: u64,
    },
    /// To `Reload`.
    Reloaded,
    /// To `Query`.
    Query(QueryReport),
    /// The request cannot be granted.
    Error {
        /// Why.
        message: String,
    },
}

/// How everything is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Status {
    pub pid: u32,
    pub uptime_s: u64,
    pub listen: Vec<String>,
    pub table_generation: u64,
    pub entries: u64,
    /// Queries that the cache or an upstream was to answer, and of them those that the cache did.
    pub looked_up: u64,
    pub hits: u64,
    pub upstreams: Vec<UpstreamStatus>,
    /// How many upstreams there are besides, for whom there is no room in a message.
    pub upstreams_more: u64,
    /// Files whose names are answered here, or who are asked by them.
    pub files: Vec<FileStatus>,
    /// How many files there are besides.
    pub files_more: u64,
    pub sorter: SorterStatus,
    /// What is not as the configuration wants it, and why: a table for which there is no room, a configuration that is wrong.
    #[serde(default)]
    pub problems: Vec<String>,
}

impl Status {
    /// The share of hits among what was looked up; `None` when there was nothing.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        (self.looked_up > 0).then(|| self.hits as f64 / self.looked_up as f64)
    }
}

/// A hosts file, a block list, or resolv.conf where the system's servers are asked.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FileStatus {
    /// Where it is.
    pub path: String,
    /// How many names of it are in force; of resolv.conf, servers.
    pub names: u64,
    /// Lines that mean nothing, comments of any format aside.
    pub passed_over: u64,
    /// What is wrong with it, and what is done.
    pub problem: Option<String>,
}

/// One upstream.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamStatus {
    /// Address and port.
    pub address: String,
    /// `udp`, with TCP where an answer is cut.
    pub transport: String,
    /// Who named it: a file, a service, or a link and the service that manages it.
    pub origin: String,
    /// What it is asked for; empty: everything else, which is the root where it has domains besides.
    pub domains: Vec<String>,
    /// How many domains there are besides.
    pub domains_more: u64,
    /// `up`, `down`, `trial`, or `unknown` before the first answer.
    pub state: String,
    /// Smoothed round-trip time.
    pub srtt_us: Option<u64>,
    /// Its variation.
    pub rttvar_us: Option<u64>,
    /// Failures in a row.
    pub failures: u32,
    /// Time to the next trial.
    pub retry_in_ms: Option<u64>,
    /// Queries sent.
    pub queries: u64,
    /// Answers received.
    pub answers: u64,
    /// Whether it is asked with EDNS.
    pub edns: bool,
}

/// The sorter.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SorterStatus {
    /// `connected`, `starting` as long as that may take after the daemon's own start, `missing`, or `off` by `sort.enabled`.
    pub state: String,
    /// Whether one is connected.
    pub connected: bool,
    /// Its process.
    pub pid: Option<i32>,
    /// Probes it has sent.
    pub probes: u64,
    /// Orders it has sent.
    pub orders: u64,
    /// What it cannot do, such as ICMP.
    pub lacks: Vec<String>,
}

/// A reply and how it came to be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryReport {
    /// The message, in hexadecimal digits.
    pub reply: String,
    /// From the question to the reply.
    pub elapsed_us: u64,
    /// No round was needed.
    pub from_cache: bool,
    /// Whose word it is: `cache`, `upstream`, `stale`, `restored`, `hosts`, `block`, `special` or `failure`.
    pub source: String,
    /// The file and line, the standard, the upstream; `None` where there is nothing to add.
    pub source_detail: Option<String>,
    /// What each upstream was asked, in the latest round for the question.
    pub attempts: Vec<AttemptReport>,
}

/// One attempt.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptReport {
    /// Address and port.
    pub upstream: String,
    /// `udp` or `tcp`.
    pub transport: String,
    /// After the round's start.
    pub sent_us: u64,
    /// After the round's start.
    pub ended_us: Option<u64>,
    /// What it said, or how it failed.
    pub outcome: String,
    /// The addresses it brought.
    pub addresses: Vec<IpAddr>,
}

/// What the sorter says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SorterMessage {
    /// First of all.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// What it cannot do here.
        lacks: Vec<String>,
    },
    /// A set was measured.
    Order(Order),
    /// How much it has done.
    Stats {
        /// Probes sent.
        probes: u64,
    },
}

/// An order for one set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Which table was read.
    pub generation: u64,
    /// In presentation form.
    pub name: String,
    /// `A` or `AAAA`.
    pub rtype: String,
    /// The version at which the set came to be.
    pub set_version: u64,
    /// The whole set, best first.
    pub addresses: Vec<OrderedAddress>,
}

/// One address of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderedAddress {
    /// The address.
    pub address: IpAddr,
    /// Its round-trip time, if it answered.
    pub rtt_us: Option<u32>,
    /// Whether it answered; `None` if it was not measured.
    pub reachable: Option<bool>,
}

/// What the daemon answers to an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SorterReply {
    /// It was published.
    Applied {
        /// The new version.
        version: u64,
    },
    /// It was not.
    Rejected {
        /// Why.
        reason: String,
        /// The set that is there instead.
        set_version: Option<u64>,
    },
    /// The sorter speaks another language.
    Unwelcome {
        /// Why.
        reason: String,
    },
}

/// Why octets are no message.
#[derive(Debug)]
pub enum ControlError {
    /// More than [`MAX_MESSAGE`] octets.
    TooLong(usize),
    /// Not what is spoken here.
    Malformed(serde_json::Error),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(octets) => {
                write!(f, "a message of {octets} octets; at most {MAX_MESSAGE} are allowed")
            }
            Self::Malformed(error) => write!(f, "not a message of this protocol: {error}"),
        }
    }
}

impl std::error::Error for ControlError {}

/// A number and what is counted, as people say it: 1 query, 2 queries.
#[must_use]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A message's octets.
///
/// # Errors
/// If they would be too many.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ControlError> {
    let octets = serde_json::to_vec(message).map_err(ControlError::Malformed)?;
    if octets.len() > MAX_MESSAGE { Err(ControlError::TooLong(octets.len())) } else { Ok(octets) }
}

/// A message from its octets.
///
/// # Errors
/// If they are too many, or no message.
pub fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, ControlError> {
    if octets.len() > MAX_MESSAGE {
        return Err(ControlError::TooLong(octets.len()));
    }
    serde_json::from_slice(octets).map_err(ControlError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(octets in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = (decode::<Request>(&octets), decode::<Response>(&octets), decode::<SorterMessage>(&octets), decode::<SorterReply>(&octets));
        }

        #[test]
        fn an_order_survives_its_octets(generation: u64, set_version: u64, octets: Vec<[u8; 16]>, rtt_us: Option<u32>, reachable: Option<bool>) {
            let addresses = octets.into_iter().take(255).map(|o| OrderedAddress { address: IpAddr::from(o), rtt_us, reachable }).collect();
            let order = SorterMessage::Order(Order { generation, name: "www.example.com.".into(), rtype: "AAAA".into(), set_version, addresses });
            prop_assert_eq!(decode::<SorterMessage>(&encode(&order).expect("short")).expect("our own"), order);
        }

        #[test]
        fn a_changed_message_is_read_or_refused(at in 0usize..60, value: u8) {
            let mut octets = encode(&Request::Flush { names: vec!["www.example.com.".into()] }).expect("short");
            let len = octets.len();
            octets[at % len] = value;
            let _ = decode::<Request>(&octets);
        }
    }

    #[test]
    fn a_daemon_of_another_version_is_understood_as_far_as_may_be() {
        let newer = br#"{"status":{"pid":7,"colour":"red","upstreams":[{"address":"192.0.2.1:53","tls":{"version":"1.3"}}],"sorter":{"mood":1}}}"#;
        let Ok(Response::Status(status)) = decode::<Response>(newer) else { panic!("not understood") };
        assert_eq!((status.pid, status.upstreams.len(), status.hit_rate()), (7, 1, None));
        let older = br#"{"query":{"reply":"00","elapsed_us":3,"from_cache":true,"attempts":[]}}"#;
        let Ok(Response::Query(report)) = decode::<Response>(older) else { panic!("not understood") };
        assert_eq!((report.source.as_str(), report.source_detail), ("", None));
        assert!(decode::<Response>(br#"{"weather":{}}"#).is_err());
        assert_eq!(
            (counted(1, "query", "queries"), counted(0, "query", "queries")),
            ("1 query".into(), "0 queries".into())
        );
    }

    #[test]
    fn the_largest_order_fits_into_a_message() {
        let address = |end: u8| OrderedAddress {
            address: IpAddr::from(
                [[0xfd; 15].as_slice(), &[end]].concat().first_chunk::<16>().copied().expect("sixteen"),
            ),
            rtt_us: Some(u32::MAX),
            reachable: Some(false),
        };
        let order = Order {
            generation: u64::MAX,
            name: "\\255".repeat(255),
            rtype: "AAAA".into(),
            set_version: u64::MAX,
            addresses: (0..=254).map(address).collect(),
        };
        let octets = encode(&SorterMessage::Order(order)).expect("it fits");
        assert!(octets.len() < MAX_MESSAGE / 2, "{}", octets.len());
    }

    #[test]
    fn unknown_words_and_too_long_messages_are_refused() {
        assert!(decode::<Request>(br#"{"flush":{"names":[],"force":true}}"#).is_err());
        assert!(decode::<Request>(br#""reboot""#).is_err());
        assert!(matches!(decode::<Request>(&vec![b' '; MAX_MESSAGE + 1]), Err(ControlError::TooLong(_))));
        assert!(encode(&Request::Flush { names: vec!["x".repeat(MAX_MESSAGE)] }).is_err());
        assert!(decode::<Request>("[".repeat(60_000).as_bytes()).is_err(), "depth is bounded");
    }
}
