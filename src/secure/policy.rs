//! What an upstream must show before queries are sent to it.

use rustls::pki_types::ServerName;
use std::path::PathBuf;

/// The protocol that carries DNS messages to an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// DNS over TLS (RFC 7858).
    Dot,
    /// DNS over HTTPS (RFC 8484), by HTTP/2.
    Doh,
    /// DNS over QUIC (RFC 9250).
    Doq,
}

impl Scheme {
    /// The protocol's name in ALPN (RFC 7301): RFC 7858 registers `dot`, RFC 9113 `h2`, RFC 9250 `doq`.
    #[must_use]
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::Dot => b"dot",
            Self::Doh => b"h2",
            Self::Doq => b"doq",
        }
    }

    /// Whether the server must choose the protocol's name. Servers of DNS over TLS commonly choose none
    /// (RFC 7858 does not demand it); RFC 9113, section 3.2, and RFC 9250, section 4.1.1, demand it.
    #[must_use]
    pub fn needs_alpn(self) -> bool {
        self != Self::Dot
    }
}

/// How an upstream is authenticated. No mode ever sends a query in clear text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verify {
    /// The certificate must be valid now, be issued by a known authority, and state the name of the
    /// upstream. Where pins are given, its key must be one of them as well (RFC 8310, section 5).
    #[default]
    Strict,
    /// The pins decide alone: the certificate's key must be one of them. Authority, name and dates do not
    /// count (RFC 7858, section 4.2).
    Pin,
    /// Every certificate is accepted, and what strict checks would have found is reported with
    /// [`crate::Ready`]. The upstream must still hold the key of its certificate, and pins still count
    /// where they are given.
    Opportunistic,
}

/// The authorities whose certificates are accepted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Roots {
    /// Those of the system; see [`crate::Trust::load`].
    #[default]
    System,
    /// Those in a file of PEM certificates.
    File(PathBuf),
}

/// SHA-256 of a public key in DER (SubjectPublicKeyInfo), as in RFC 7858, section 4.2.
pub type Pin = [u8; 32];

/// How to reach and authenticate one upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The protocol to speak.
    pub scheme: Scheme,
    /// The name or address that the certificate must state. A name is also sent as SNI.
    pub server_name: ServerName<'static>,
    /// The host and port of the URL, for DNS over HTTPS; empty for others.
    pub authority: String,
    /// The path of the URL, for DNS over HTTPS; empty for others.
    pub path: String,
    /// The keys that are accepted. Empty: no key is demanded.
    pub pins: Vec<Pin>,
    /// How the upstream is authenticated.
    pub verify: Verify,
    /// The authorities that are accepted.
    pub roots: Roots,
}
