//! What goes wrong with an engine, and what puts it right.

use std::fmt;
use std::io::{self, ErrorKind};

/// Characters of an engine's own text that are shown.
const TEXT_MAX: usize = 160;

/// Why a connection cannot be made or used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// The engine cannot be reached, does not answer in time, or has ended the connection.
    Lost(String),
    /// What the engine sends is no reply.
    Malformed(String),
    /// The engine refuses a command.
    Engine(EngineError),
    /// Our own rules forbid the connection.
    Forbidden(String),
}

/// An error of the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct EngineError {
    pub kind: Kind,
    /// What the engine says, shortened.
    text: String,
}

/// The kinds of errors that are told apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A password is needed.
    NoAuth,
    /// The password or the user is wrong.
    WrongPassword,
    /// The user lacks a permission.
    NoPermission,
    /// The engine is a replica.
    ReadOnly,
    /// The engine still reads its data.
    Loading,
    /// The engine has no memory left.
    OutOfMemory,
    /// Another node of the cluster has the key.
    Moved(String, u16),
    /// The engine does not know the command: it was renamed.
    Unknown,
    /// Too many clients are connected.
    Full,
    /// The engine accepts no clients of other hosts yet.
    Protected,
    Other,
}

impl EngineError {
    /// Reads the text of an error reply.
    pub fn of(text: &str) -> EngineError {
        let mut words = text.split_ascii_whitespace();
        let kind = match words.next().unwrap_or_default() {
            "NOAUTH" => Kind::NoAuth,
            "WRONGPASS" => Kind::WrongPassword,
            "NOPERM" => Kind::NoPermission,
            "READONLY" => Kind::ReadOnly,
            "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => Kind::Loading,
            "OOM" => Kind::OutOfMemory,
            "MOVED" => words.nth(1).and_then(place).unwrap_or(Kind::Other),
            "DENIED" => Kind::Protected,
            "ERR" if text.contains("unknown command") => Kind::Unknown,
            "ERR" if text.contains("max number of clients") => Kind::Full,
            // AUTH without a password being set.
            "ERR" if text.contains("AUTH") => Kind::WrongPassword,
            _ => Kind::Other,
        };
        EngineError { kind, text: shown(text) }
    }
}

/// `host:port`, whose host may be an IPv6 address.
fn place(text: &str) -> Option<Kind> {
    let (host, port) = text.rsplit_once(':')?;
    let is_host = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.:".contains(&octet);
    let is_valid = !host.is_empty() && host.len() <= 253 && host.bytes().all(is_host);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    is_valid.then(|| Kind::Moved(host.to_owned(), port))
}

fn shown(text: &str) -> String {
    text.chars().take(TEXT_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        match error.kind() {
            ErrorKind::InvalidData => Trouble::Malformed(shown(&error.to_string())),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                Trouble::Lost("it does not answer in time".to_owned())
            }
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                Trouble::Lost("it has ended the connection".to_owned())
            }
            _ => Trouble::Lost(shown(&error.to_string())),
        }
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remedy = match &self.kind {
            Kind::NoAuth => "write the password into the credential site.password",
            Kind::WrongPassword => {
                "the credential site.password is missing or wrong, or the user in 'engine' is"
            }
            Kind::NoPermission => {
                "with the prefix in braces, as in {hither}, allow the user ~{PREFIX}:* &{PREFIX}:* +get +mget +pttl +set +publish +subscribe +scan +role +ping"
            }
            Kind::ReadOnly => "name the primary in 'engine', too",
            Kind::Loading => "wait until it is ready",
            Kind::OutOfMemory => {
                "raise its maxmemory, or set maxmemory-policy to volatile-ttl; nothing is written meanwhile"
            }
            Kind::Moved(..) => "name the nodes of the cluster in 'engine'",
            Kind::Full => "raise its maxclients: each host needs two connections",
            Kind::Protected => "set a password, and write it into the credential site.password, too",
            Kind::Unknown | Kind::Other => return write!(f, "it says: {}", self.text),
        };
        write!(f, "it says: {}; {remedy}", self.text)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(why) => f.write_str(why),
            Self::Malformed(what) => {
                write!(f, "it sends {what}; is it a Valkey server, and does it speak TLS?")
            }
            Self::Engine(error) => error.fmt(f),
            Self::Forbidden(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_engines_are_told_apart_and_say_what_puts_them_right() {
        for (text, kind, remedy) in [
            ("NOAUTH Authentication required.", Kind::NoAuth, "site.password"),
            ("WRONGPASS invalid username-password pair", Kind::WrongPassword, "site.password"),
            ("ERR AUTH <password> called without any password", Kind::WrongPassword, "site.password"),
            ("NOPERM User x has no permissions", Kind::NoPermission, "~{PREFIX}:* &{PREFIX}:*"),
            ("READONLY You can't write against a read only replica.", Kind::ReadOnly, "primary"),
            ("LOADING Redis is loading the dataset in memory", Kind::Loading, "wait"),
            ("OOM command not allowed when used memory > 'maxmemory'.", Kind::OutOfMemory, "maxmemory"),
            ("MOVED 3999 127.0.0.1:6381", Kind::Moved("127.0.0.1".into(), 6381), "cluster"),
            ("MOVED 3999 ::1:6381", Kind::Moved("::1".into(), 6381), "cluster"),
            ("ERR unknown command 'ROLE', with args beginning with:", Kind::Unknown, "ROLE"),
            ("ERR max number of clients reached", Kind::Full, "maxclients"),
            ("DENIED Redis is running in protected mode because", Kind::Protected, "site.password"),
            ("MOVED 3999 a b", Kind::Other, "a b"),
            ("ERR \u{1b}[31m", Kind::Other, " [31m"),
        ] {
            let error = EngineError::of(text);
            assert_eq!(error.kind, kind, "{text}");
            let shown = error.to_string();
            assert!(shown.contains(remedy) && !shown.contains('\u{1b}'), "{shown}");
        }
        assert!(EngineError::of(&"x".repeat(10_000)).to_string().len() < 200);
    }
}
