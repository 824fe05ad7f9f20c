//! Values of section `[log]`.

use serde::de::{Deserialize, Deserializer, Error as _};
use std::path::{Path, PathBuf};

/// The least severity that is logged.
#[derive(Clone, Copy)]
pub struct Level(pub log::LevelFilter);

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "expected \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
        text.parse().map(Level).map_err(|_| D::Error::custom(format!("'{text}' is not a level; {expected}")))
    }
}

/// The queries of clients that are logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum QueryLog {
    /// None.
    #[default]
    Off,
    /// Those that the cache cannot answer.
    Misses,
    /// All.
    All,
}

impl<'de> Deserialize<'de> for QueryLog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "off" => Ok(QueryLog::Off),
            "misses" => Ok(QueryLog::Misses),
            "all" => Ok(QueryLog::All),
            other => Err(D::Error::custom(format!(
                "'{other}' is unknown; expected \"off\", \"misses\" or \"all\""
            ))),
        }
    }
}

/// Octets of the path of a socket (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// The path of a socket of another program; empty: there is none.
pub(super) struct SocketPath(Option<PathBuf>);

impl<'de> Deserialize<'de> for SocketPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(SocketPath(None));
        }
        if !Path::new(&text).is_absolute() || text.len() > SOCKET_PATH_MAX || text.contains('\0') {
            return Err(D::Error::custom(format!(
                "'{text}' is not the path of a socket; expected one such as \"/run/dnstap/hither.sock\", \
                 of at most {SOCKET_PATH_MAX} octets"
            )));
        }
        Ok(SocketPath(Some(text.into())))
    }
}

impl From<SocketPath> for Option<PathBuf> {
    fn from(path: SocketPath) -> Option<PathBuf> {
        path.0
    }
}
