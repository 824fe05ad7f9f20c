//! Fields of the daemon's answers that have one of a few values, written as a word.
//!
//! A word that this version does not know is kept as text, since the daemon may be newer than the
//! program that reads it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Defines an enum whose variants are words in messages, with `Other` for words of another version.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A word of another version; empty where the field is missing.
            Other(String),
        }

        impl $name {
            /// The word as it stands in messages.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $($name::$variant => $word,)*
                    $name::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => $name::$variant,)*
                    other => $name::Other(other.to_owned()),
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name::Other(String::new())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|word| $name::from(word.as_str()))
            }
        }
    };
}

words! {
    /// Whether an upstream answers.
    UpstreamState {
        /// The upstream responds.
        Up = "up",
        /// The upstream has failed and is not used until its next trial.
        Down = "down",
        /// One query tries whether the upstream responds again.
        Trial = "trial",
        /// The upstream is used, but has not responded lately.
        Silent = "silent",
        /// The upstream has not responded yet since the daemon's start.
        Unknown = "unknown",
    }
}

words! {
    /// The transport of queries to an upstream.
    Transport {
        /// By UDP; in an upstream's status, with TCP for truncated responses.
        Udp = "udp",
        /// By TCP alone.
        Tcp = "tcp",
        /// DNS over TLS.
        Tls = "tls",
        /// DNS over HTTPS.
        Https = "https",
        /// DNS over QUIC.
        Quic = "quic",
    }
}

words! {
    /// Whether the sorter is connected.
    SorterState {
        /// The sorter is connected to the daemon.
        Connected = "connected",
        /// The sorter is not connected yet, and the daemon has just been started.
        Starting = "starting",
        /// The sorter is not connected, though it should be.
        Missing = "missing",
        /// `sort.enabled` is false.
        Off = "off",
    }
}

words! {
    /// The source of an answer.
    SourceKind {
        /// The cache has the answer from an earlier response.
        Cache = "cache",
        /// An upstream gave the answer, or no upstream gave a usable one.
        Upstream = "upstream",
        /// The cache has the answer, expired, and no upstream responded (RFC 8767).
        Stale = "stale",
        /// The saved cache had the answer.
        Restored = "restored",
        /// Another host of the site has learned the answer.
        Site = "site",
        /// A hosts file has the name.
        Hosts = "hosts",
        /// A block list has the name.
        Block = "block",
        /// The name is a special-use name (RFC 6761).
        Special = "special",
        /// An earlier failure is remembered, or there is no upstream for the name.
        Failure = "failure",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_another_version_is_kept_as_it_is() {
        let state: UpstreamState = serde_json::from_str("\"resting\"").expect("any word is read");
        assert_eq!(state, UpstreamState::Other("resting".to_owned()));
        assert_eq!(serde_json::to_string(&state).expect("a word"), "\"resting\"");
        let source: SourceKind = serde_json::from_str("\"stale\"").expect("a word");
        assert_eq!((source, SourceKind::Stale.to_string()), (SourceKind::Stale, "stale".to_owned()));
        assert_eq!(serde_json::to_string(&SorterState::default()).expect("a word"), "\"\"");
        assert_eq!(format!("{:<5}|", Transport::Udp), "udp  |");
    }
}
