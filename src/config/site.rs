//! Section `[site]`: the engine that hosts share, and what goes there.

use serde::de::{Deserialize, Deserializer, Error as _};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The port of Valkey and Redis.
const PORT: u16 = 6379;
/// Octets of a prefix, and of the name of a group.
const WORD_MAX: usize = 32;
/// Octets of the path of a socket (unix(7)).
const SOCKET_PATH_MAX: usize = 107;
/// Engines that may be listed.
const ENGINES_MAX: usize = 16;

/// What is shared with other hosts, section `[site]`; the core's part is in [`hither_rounds::Settings`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The engines, tried in this order; none: nothing is shared.
    pub engines: Vec<Engine>,
    /// The credential with the key that signs entries, or the path of a file with it.
    pub key: String,
    /// The hosts whose round-trip times are hints for each other; empty: no hints.
    pub group: String,
    /// How the keys of this site begin in the engine.
    pub prefix: String,
    /// The least TTL of a set that is shared.
    pub ttl_floor: Duration,
    /// The largest number of sets that are written in a second.
    pub rate: u32,
    /// The authorities of the engine's certificate; `None`: those of `tls.ca_file`, or the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            engines: Vec::new(),
            key: "site.key".to_owned(),
            group: String::new(),
            prefix: "hither".to_owned(),
            ttl_floor: Duration::from_secs(5),
            rate: 1000,
            ca_file: None,
        }
    }
}

/// A Valkey or Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// The host and port, or the socket, at which it listens.
    pub address: EngineAddress,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The user to log in as; `None`: the default user.
    pub user: Option<String>,
    /// The number of the database.
    pub database: u32,
}

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineAddress {
    /// A host, by address or name, and a port.
    Tcp(String, u16),
    /// The path of a socket.
    Unix(PathBuf),
}

impl Engine {
    /// Whether no other host can be at the other end: a socket, or an address of the loopback network.
    #[must_use]
    pub fn is_on_this_host(&self) -> bool {
        match &self.address {
            EngineAddress::Tcp(host, _) => host.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
            EngineAddress::Unix(_) => true,
        }
    }

    fn read(text: &str) -> Result<Engine, String> {
        let expected = "expected one such as \"valkey://192.0.2.7:6379\", \"valkeys://cache.example\" or \"unix:/run/valkey/valkey.sock\"";
        let wrong = |why: &str| format!("'{text}' is not an engine: {why}; {expected}");
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !Path::new(path).is_absolute() || path.len() > SOCKET_PATH_MAX || path.contains('\0') {
                return Err(wrong("this is not the path of a socket"));
            }
            let address = EngineAddress::Unix(path.into());
            return Ok(Engine { address, tls: false, user: None, database: 0 });
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let tls = match scheme {
            "valkey" | "redis" => false,
            "valkeys" | "rediss" => true,
            _ => return Err(wrong("its scheme is unknown")),
        };
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| wrong("its database is not a number"))?,
        };
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, place),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(format!(
                "'{}://…@{place}' has a password in it; write the password into the credential site.password",
                scheme
            ));
        }
        let user = user.filter(|user| !user.is_empty()).map(str::to_owned);
        let (host, port) = host_and_port(place).ok_or_else(|| wrong("its host or port is malformed"))?;
        Ok(Engine { address: EngineAddress::Tcp(host, port), tls, user, database })
    }
}

/// `host`, `host:port`, `[IPv6]` or `[IPv6]:port`.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (address, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_name = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    let is_host = host.parse::<IpAddr>().is_ok() || host.bytes().all(is_name);
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port != 0))?;
    (is_host && !host.is_empty() && host.len() <= 253).then(|| (host.to_owned(), port))
}

/// As it is written in the configuration.
impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Engine { address, tls, user, database } = self;
        match address {
            EngineAddress::Unix(path) => return write!(f, "unix:{}", path.display()),
            EngineAddress::Tcp(host, port) => {
                let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "valkey{}://{user}{open}{host}{close}:{port}", if *tls { "s" } else { "" })?;
            }
        }
        if *database == 0 { Ok(()) } else { write!(f, "/{database}") }
    }
}

/// One engine or several; an empty text stands for none.
pub(super) struct Engines(pub Vec<Engine>);

impl<'de> Deserialize<'de> for Engines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum OneOrMore {
            One(String),
            More(Vec<String>),
        }
        let texts = match OneOrMore::deserialize(deserializer)? {
            OneOrMore::One(text) if text.is_empty() => Vec::new(),
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        };
        if texts.len() > ENGINES_MAX {
            return Err(D::Error::custom(format!("{} engines; expected at most {ENGINES_MAX}", texts.len())));
        }
        let engines = texts.iter().map(|text| Engine::read(text)).collect::<Result<_, _>>();
        engines.map(Engines).map_err(D::Error::custom)
    }
}

/// A word of few octets that is part of keys and entries.
fn word(text: &str, may_be_empty: bool) -> Result<(), String> {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    if text.bytes().all(is_plain) && text.len() <= WORD_MAX && (may_be_empty || !text.is_empty()) {
        return Ok(());
    }
    Err(format!(
        "'{text}' is not such a word; expected letters, digits, '-', '_' and '.', {WORD_MAX} at most"
    ))
}

/// How the keys of a site begin.
pub(super) struct Prefix(pub String);

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        word(&text, false).map_err(D::Error::custom)?;
        Ok(Prefix(text))
    }
}

/// The name of a group; empty: none.
pub(super) struct GroupName(pub String);

impl<'de> Deserialize<'de> for GroupName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        word(&text, true).map_err(D::Error::custom)?;
        Ok(GroupName(text))
    }
}

/// The name of a credential, or the path of a file.
pub(super) struct CredentialName(pub String);

impl<'de> Deserialize<'de> for CredentialName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.contains('\0') || (text.contains('/') && !text.starts_with('/')) {
            return Err(D::Error::custom(format!(
                "'{text}' is neither the name of a credential, such as \"site.key\", nor the path of a file"
            )));
        }
        Ok(CredentialName(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_read_as_they_are_written() {
        for (text, shown, is_here) in [
            ("valkey://192.0.2.7:6379", "valkey://192.0.2.7:6379", false),
            ("redis://cache.example", "valkey://cache.example:6379", false),
            ("valkeys://hither@[2001:db8::7]:7000/3", "valkeys://hither@[2001:db8::7]:7000/3", false),
            ("valkey://127.0.0.2", "valkey://127.0.0.2:6379", true),
            ("unix:/run/valkey.sock", "unix:/run/valkey.sock", true),
            ("unix:///run/valkey.sock", "unix:/run/valkey.sock", true),
            ("valkey://localhost", "valkey://localhost:6379", false),
        ] {
            let engine = Engine::read(text).expect(text);
            assert_eq!((engine.to_string().as_str(), engine.is_on_this_host()), (shown, is_here), "{text}");
        }
        for (text, why) in [
            ("192.0.2.7:6379", "scheme"),
            ("http://192.0.2.7", "scheme"),
            ("valkey://", "host or port"),
            ("valkey://192.0.2.7:0", "host or port"),
            ("valkey://[::1", "host or port"),
            ("valkey://a b", "host or port"),
            ("valkey://h/x", "database"),
            ("valkey://hither:secret@192.0.2.7", "site.password"),
            ("unix:valkey.sock", "socket"),
        ] {
            let error = Engine::read(text).expect_err(text);
            assert!(error.contains(why) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
