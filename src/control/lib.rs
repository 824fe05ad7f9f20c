//! Messages between the daemon, its companions and `hitherctl`: one JSON object per message. This crate
//! encodes and decodes them, and does no I/O.
//!
//! A message has at most [`MESSAGE_MAX`] octets. In requests to the daemon unknown fields and kinds
//! are errors, so that a misspelt one does not pass unnoticed. In the daemon's answers unknown
//! fields are ignored, missing ones are empty, and unknown words are kept: during an upgrade the
//! daemon may be of another version than the program that asks.

#![forbid(unsafe_code)]

mod explain;
mod fit;
mod paths;
mod probes;
mod site;
mod sorter;
mod status;
mod top;
mod words;

pub use explain::{
    AddressReport, Explanation, NextReport, RefusalReport, RoundReport, SetReport, SiteAskReport,
    VersionReport,
};
pub use paths::{CONTROL_SOCKET, SITE_SOCKET, SORTER_SOCKET, SYSTEM_SOCKETS, socket_paths};
pub use probes::{AddressProbes, CertificateReport, Explain, Explained, ProbeReport};
pub use site::{
    OFFERS_MAX, OfferedAddress, OfferedLink, OfferedSet, OfferedSoa, OfferedTimes, SITE_VERSION, SiteCounts,
    SiteMessage, SiteRefused, SiteReply, SiteReport,
};
pub use sorter::{Order, OrderedAddress, SorterCounts, SorterMessage, SorterReply, VERSION, Verdict};
pub use status::{FeedStatus, FileStatus, SiteStatus, SorterStatus, Status, TlsStatus, UpstreamStatus};
pub use top::{AskedBy, Asker, OpenRound, TopName, TopReport, TopUnit};
pub use words::{SorterState, SourceKind, Transport, UpstreamState};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt;
use std::net::IpAddr;

/// How the detail of an answer's source begins, if the addresses of the family that was asked for are
/// withheld in favour of the other one.
pub const FAMILY_WITHHELD: &str = "this family is withheld";

/// The largest size of a message in octets.
pub const MESSAGE_MAX: usize = 65_536;

/// A request of `hitherctl`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Give the state of the daemon, its companions and the upstreams.
    Status,
    /// Remove these names from the cache; all names, if none is given.
    Flush {
        /// Names in presentation form.
        names: Vec<String>,
    },
    /// Remove all sets that other hosts of the site have learned.
    FlushSite,
    /// Read the configuration again, and answer when it is in force.
    Reload,
    /// Answer when the reload that a signal begins, or has just begun, is in force.
    ReloadBegun,
    /// Answer a question as for a client, and report the responses of all upstreams.
    Query {
        /// QNAME in presentation form.
        name: String,
        /// The mnemonic of QTYPE.
        rtype: String,
    },
    /// Tell what is known of a name, without asking any upstream.
    Explain {
        /// The name in presentation form.
        name: String,
        /// The mnemonic `A` or `AAAA`.
        rtype: String,
    },
    /// Tell which names clients ask for most, and which rounds are open. Any user may ask; only root and
    /// the daemon's user are told which units ask.
    Top {},
}

/// The daemon's answer to a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The answer to [`Request::Status`].
    Status(Status),
    /// The answer to [`Request::Flush`] and [`Request::FlushSite`].
    Flushed {
        /// Entries that were removed.
        entries: u64,
    },
    /// The answer to both kinds of reload.
    Reloaded,
    /// The answer to [`Request::Query`].
    Query(QueryReport),
    /// The answer to [`Request::Explain`]; `None` if nothing is known of the name.
    Explained(Option<Box<Explanation>>),
    /// The answer to [`Request::Top`].
    Top(Box<TopReport>),
    /// The request was refused or has failed.
    Error {
        /// The reason, for the operator.
        message: String,
    },
}

/// A reply, and where it comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryReport {
    /// The message in hexadecimal digits.
    pub reply: String,
    /// Time from the question to the reply.
    pub elapsed_us: u64,
    /// Whether the cache answered, without a round.
    pub from_cache: bool,
    /// The source of the answer.
    pub source: SourceKind,
    /// The file and line, the RFC, or the upstream; `None` if the source alone is the explanation.
    pub source_detail: Option<String>,
    /// The attempts of the latest round for the question.
    pub attempts: Vec<AttemptReport>,
}

/// One attempt of a round.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptReport {
    /// Address and port of the upstream; of an encrypted one, as the configuration or the system names it.
    pub upstream: String,
    /// The transport of the attempt.
    pub transport: Transport,
    /// When it began, after the round's start.
    pub sent_us: u64,
    /// When its query left, after the round's start, if it had to wait for an encrypted connection.
    pub connected_us: Option<u64>,
    /// When it ended, after the round's start; `None` while it waits.
    pub ended_us: Option<u64>,
    /// The response's kind or RCODE, or the failure. Text for the operator, not one of a fixed list.
    pub outcome: String,
    /// The addresses in its response.
    pub addresses: Vec<IpAddr>,
    /// How many of them were left out, since the report would be too long.
    pub addresses_more: u64,
    /// The version of the set that was published because of its response.
    pub published: Option<u64>,
    /// What was refused of what it brought.
    pub refused: Vec<RefusalReport>,
}

/// Why octets cannot be read as a message.
#[derive(Debug)]
pub enum ControlError {
    /// More than [`MESSAGE_MAX`] octets.
    TooLong(usize),
    /// Not JSON, or not one of these messages.
    Malformed(serde_json::Error),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(octets) => {
                write!(f, "a message of {octets} octets; at most {MESSAGE_MAX} are allowed")
            }
            Self::Malformed(error) => write!(f, "not a message of this protocol: {error}"),
        }
    }
}

impl std::error::Error for ControlError {}

/// A number with its noun: "1 query", "2 queries".
#[must_use]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Encodes a message.
///
/// # Errors
/// If it has more than [`MESSAGE_MAX`] octets.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ControlError> {
    let octets = serde_json::to_vec(message).map_err(ControlError::Malformed)?;
    if octets.len() > MESSAGE_MAX { Err(ControlError::TooLong(octets.len())) } else { Ok(octets) }
}

/// Decodes a message.
///
/// # Errors
/// If it has more than [`MESSAGE_MAX`] octets, or is none of the messages of type `T`.
pub fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, ControlError> {
    if octets.len() > MESSAGE_MAX {
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
            let addresses = octets.into_iter().take(255).map(|o| OrderedAddress { address: IpAddr::from(o), rtt_us, reachable, verdict: Verdict::Verified }).collect();
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
    fn messages_of_a_daemon_of_another_version_are_read() {
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
            verdict: Verdict::OtherName,
        };
        let order = Order {
            generation: u64::MAX,
            name: "\\255".repeat(255),
            rtype: "AAAA".into(),
            set_version: u64::MAX,
            addresses: (0..=254).map(address).collect(),
        };
        let octets = encode(&SorterMessage::Order(order)).expect("it fits");
        assert!(octets.len() < MESSAGE_MAX / 2, "{}", octets.len());
    }

    #[test]
    fn unknown_requests_and_too_long_messages_are_refused() {
        assert!(decode::<Request>(br#"{"flush":{"names":[],"force":true}}"#).is_err());
        assert!(decode::<Request>(br#""reboot""#).is_err());
        assert!(matches!(decode::<Request>(&vec![b' '; MESSAGE_MAX + 1]), Err(ControlError::TooLong(_))));
        assert!(encode(&Request::Flush { names: vec!["x".repeat(MESSAGE_MAX)] }).is_err());
        assert!(decode::<Request>("[".repeat(60_000).as_bytes()).is_err(), "depth is bounded");
    }
}
