//! Values of the configuration, each read from a string or number with an error that says what was
//! expected.

use super::address::Endpoint;
use hither_local::{Match, NotAName, ParsedName, Verdict, parse_name};
use hither_rounds::Deny;
use hither_table::FamilyOrder;
use serde::de::{Deserialize, Deserializer, Error as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A duration such as `"300ms"`, `"1.8s"`, `"1d"`.
#[derive(Clone, Copy)]
pub(super) struct Time(Duration);

impl From<Time> for Duration {
    fn from(time: Time) -> Duration {
        time.0
    }
}

/// The longest duration in seconds, far from an overflow of sums.
const TIME_MAX_S: f64 = 366.0 * 86_400.0;

fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let unit_s = match unit.trim_start() {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * unit_s;
    (seconds <= TIME_MAX_S).then(|| Duration::from_micros((seconds * 1e6).round() as u64))
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "expected a number with a unit, such as \"300ms\", \"1.8s\", \"10m\", \"1h\" or \"1d\", up to 366d";
        duration(&text)
            .map(Time)
            .ok_or_else(|| D::Error::custom(format!("'{text}' is not a duration; {expected}")))
    }
}

/// A whole number of at least 1.
#[derive(Clone, Copy)]
pub(super) struct AtLeastOne(pub usize);

impl From<AtLeastOne> for usize {
    fn from(number: AtLeastOne) -> usize {
        number.0
    }
}

impl<'de> Deserialize<'de> for AtLeastOne {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        match usize::try_from(number) {
            Ok(positive @ 1..=0x7fff_ffff) => Ok(AtLeastOne(positive)),
            _ => Err(D::Error::custom(format!(
                "{number} is out of range; expected a whole number from 1 to 2147483647"
            ))),
        }
    }
}

/// Permissions in octal, such as `"0644"`.
#[derive(Clone, Copy)]
pub(super) struct Mode(u32);

impl From<Mode> for u32 {
    fn from(mode: Mode) -> u32 {
        mode.0
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mode =
            u32::from_str_radix(&text, 8).ok().filter(|mode| mode & !0o644 == 0 && mode & 0o600 == 0o600);
        let expected = "expected \"0600\", \"0640\" or \"0644\": the daemon writes, others at most read";
        mode.map(Mode)
            .ok_or_else(|| D::Error::custom(format!("'{text}' is not a mode for the table; {expected}")))
    }
}

/// Permissions of a socket in octal, such as `"0666"`.
#[derive(Clone, Copy)]
pub(super) struct SocketMode(u32);

impl From<SocketMode> for u32 {
    fn from(mode: SocketMode) -> u32 {
        mode.0
    }
}

impl<'de> Deserialize<'de> for SocketMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mode = u32::from_str_radix(&text, 8).ok();
        let mode = mode.filter(|mode| [0o600, 0o660, 0o666].contains(mode));
        let expected = "expected \"0600\", \"0660\" or \"0666\": who may write may subscribe";
        mode.map(SocketMode)
            .ok_or_else(|| D::Error::custom(format!("'{text}' is not a mode for the feed; {expected}")))
    }
}

/// The address of a listener.
pub(super) struct ListenAddress(pub SocketAddr);

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Endpoint::listener(&text).map(ListenAddress).map_err(D::Error::custom)
    }
}

/// A domain name, and a remark if it was understood differently from how it was written.
pub(super) struct Suffix {
    pub parsed: ParsedName,
    pub hint: Option<String>,
}

impl Suffix {
    fn read(text: &str) -> Result<Suffix, NotAName> {
        let parsed = parse_name(text)?;
        let hint = match parsed {
            ParsedName { idn: true, name, .. } => Some(format!("'{text}' is used as '{name}'")),
            ParsedName { wildcard: true, name, .. } => {
                Some(format!("'{text}' means '{name}' and all names below it"))
            }
            ParsedName { .. } => None,
        };
        Ok(Suffix { parsed, hint })
    }
}

impl<'de> Deserialize<'de> for Suffix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Suffix::read(&text)
            .map_err(|error| D::Error::custom(format!("'{text}' is not a domain name: {error}")))
    }
}

/// At least one domain name.
pub(super) struct Suffixes(pub Vec<Suffix>);

impl<'de> Deserialize<'de> for Suffixes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Vec::deserialize(deserializer)? {
            none if none.is_empty() => {
                Err(D::Error::custom("no name is given; write names = [\"example.com\"]"))
            }
            names => Ok(Suffixes(names)),
        }
    }
}

/// A name that is blocked.
pub(super) struct Blocked(pub Suffix);

impl<'de> Deserialize<'de> for Blocked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match Suffix::read(&text).map_err(NotAName::without_suggested_root) {
            Ok(all) if all.parsed.name.is_root() => {
                Err(D::Error::custom(format!("'{text}' stands for all names, which a list cannot block")))
            }
            Ok(name) => Ok(Blocked(name)),
            Err(error) => Err(D::Error::custom(format!("'{text}' is not a domain name: {error}"))),
        }
    }
}

/// The path of a hosts file or block list.
pub(super) struct LocalFile(pub PathBuf);

impl<'de> Deserialize<'de> for LocalFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.contains("://") {
            return Err(D::Error::custom(format!(
                "'{text}' is not a path, and lists are not fetched; expected a file such as \"/etc/hither/ads.list\""
            )));
        }
        Ok(LocalFile(text.into()))
    }
}

/// The names that a plain name of a block list covers.
#[derive(Default)]
pub(super) struct Covers(pub Match);

impl<'de> Deserialize<'de> for Covers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "subtree" => Ok(Covers(Match::Subtree)),
            "exact" => Ok(Covers(Match::Exact)),
            other => Err(D::Error::custom(format!(
                "'{other}' is not a kind of match; expected \"subtree\" or \"exact\""
            ))),
        }
    }
}

/// The negative responses that count (`round.deny`).
#[derive(Clone, Copy)]
pub(super) struct DenyWord(Deny);

impl From<DenyWord> for Deny {
    fn from(word: DenyWord) -> Deny {
        word.0
    }
}

impl<'de> Deserialize<'de> for DenyWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "agreed" => Ok(DenyWord(Deny::Agreed)),
            "any" => Ok(DenyWord(Deny::Any)),
            other => Err(D::Error::custom(format!("'{other}' is unknown; expected \"agreed\" or \"any\""))),
        }
    }
}

/// The order over both families (`sort.families`).
#[derive(Clone, Copy)]
pub(super) struct FamiliesWord(FamilyOrder);

impl From<FamiliesWord> for FamilyOrder {
    fn from(word: FamiliesWord) -> FamilyOrder {
        word.0
    }
}

impl<'de> Deserialize<'de> for FamiliesWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let known = FamilyOrder::ALL.into_iter().find(|order| order.as_str() == word);
        let expected = "expected \"measured\", \"v6\", \"v4\" or \"as_is\"";
        known
            .map(FamiliesWord)
            .ok_or_else(|| D::Error::custom(format!("'{word}' is not an order of families; {expected}")))
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of addresses")]
enum Words {
    One(String),
    Several(Vec<String>),
}

/// The answer for blocked names.
#[derive(Default)]
pub(super) struct BlockAnswer(pub Verdict);

impl<'de> Deserialize<'de> for BlockAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = match Words::deserialize(deserializer)? {
            Words::One(word) => vec![word],
            Words::Several(words) => words,
        };
        let verdict = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["nxdomain"] => Some(Verdict::NxDomain),
            ["nodata"] => Some(Verdict::NoData),
            [] => None,
            ref words => {
                words.iter().map(|word| word.parse().ok()).collect::<Option<_>>().map(Verdict::Addresses)
            }
        };
        let expected = "expected \"nxdomain\", \"nodata\", or addresses such as \"0.0.0.0\" or [\"192.0.2.1\", \"2001:db8::1\"]";
        verdict
            .map(BlockAnswer)
            .ok_or_else(|| D::Error::custom(format!("'{}' is not an answer; {expected}", words.join(", "))))
    }
}

/// A network such as `"127.0.0.0/8"`, or a single address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// The IPv4 loopback network, 127.0.0.0/8.
    pub const LOOPBACK_V4: Network = Network { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), bits: 8 };
    /// The IPv6 loopback address, `::1`.
    pub const LOOPBACK_V6: Network = Network { address: IpAddr::V6(Ipv6Addr::LOCALHOST), bits: 128 };

    /// Whether `address` is in the network. An IPv4-mapped IPv6 address counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |own: u128, other: u128, width: u32| {
            let rest = width - u32::from(self.bits).min(width);
            own.checked_shr(rest).unwrap_or(0) == other.checked_shr(rest).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }

    fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u8>().ok()?)),
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return None;
        }
        // A network of IPv4-mapped IPv6 addresses becomes the IPv4 network.
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if bits >= 96 => {
                Some(Network { address: v4, bits: bits - 96 })
            }
            _ => Some(Network { address, bits }),
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "expected an address or a network such as \"127.0.0.0/8\" or \"::1\"";
        Network::parse(&text)
            .ok_or_else(|| D::Error::custom(format!("'{text}' is not a network; {expected}")))
    }
}

/// A way to measure an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Probe {
    /// An ICMP echo request.
    Icmp,
    /// A TCP connection to this port.
    Tcp(u16),
    /// A TCP connection to this port, and a TLS handshake that judges the certificate.
    Tls(u16),
}

impl<'de> Deserialize<'de> for Probe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
        match text.split_once(':') {
            None if text == "icmp" => Ok(Probe::Icmp),
            Some(("tcp", number)) if port(number).is_some() => Ok(Probe::Tcp(port(number).unwrap_or(443))),
            Some(("tls", number)) if port(number).is_some() => Ok(Probe::Tls(port(number).unwrap_or(443))),
            _ => Err(D::Error::custom(format!(
                "'{text}' is not a kind of probe; expected \"icmp\", \"tcp:PORT\" or \"tls:PORT\""
            ))),
        }
    }
}

/// The ways to measure, with at most one by TLS: a certificate is judged at one port.
pub(super) struct Probes(pub Vec<Probe>);

impl<'de> Deserialize<'de> for Probes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = Vec::<Probe>::deserialize(deserializer)?;
        let tls = all.iter().filter(|probe| matches!(probe, Probe::Tls(_)));
        match tls.count() {
            0 | 1 => Ok(Probes(all)),
            count => Err(D::Error::custom(format!(
                "{count} probes are by TLS; expected at most one \"tls:PORT\", since certificates are judged at one port"
            ))),
        }
    }
}
