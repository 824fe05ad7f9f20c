//! Why a connection to an upstream failed, in sentences of our own.

use crate::clock::Date;
use crate::policy::Pin;
use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
use std::fmt;

/// Names of a certificate that an error lists; the others are counted.
const NAMES_MAX: usize = 8;
/// Characters of a library's detail that an error shows.
const DETAIL_MAX: usize = 160;

/// When a connection failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Before the upstream was authenticated and keys were agreed.
    Handshake,
    /// After the handshake.
    Ready,
}

/// Why a connection failed or ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The certificate is not acceptable.
    Certificate(Fault),
    /// The upstream ended the connection with a TLS alert of this number (RFC 8446, section 6).
    Alert(u8, Phase),
    /// The upstream has no TLS version, cipher suite or key exchange that is offered; with detail.
    Incompatible(String),
    /// The first octets of the upstream are not TLS.
    NotTls,
    /// The upstream broke the rules of TLS; with detail.
    Tls(String, Phase),
    /// The upstream did not choose the protocol that the scheme needs (`h2`, `doq`).
    Protocol(&'static str),
    /// The upstream ended the connection.
    Ended(Phase),
    /// A DNS message from the upstream is too short to be one; its size in octets.
    ShortMessage(usize),
    /// The upstream broke the rules of HTTP/2; with detail.
    Http(String),
    /// The upstream broke the rules of QUIC, or of DNS over QUIC, or refused it; with detail.
    Quic(String, Phase),
    /// No response came within the time that QUIC allows.
    Silent(Phase),
    /// The connection was closed from this side.
    Closed,
    /// The TLS library of this side failed; with detail.
    Internal(String),
}

/// Why a certificate is not acceptable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It was valid until `not_after`, and is judged by the later time `judged`.
    Expired {
        /// The last time at which it was valid.
        not_after: Date,
        /// The time by which it is judged.
        judged: Date,
    },
    /// It is valid from `not_before`, and is judged by the earlier time `judged`.
    NotYetValid {
        /// The first time at which it is valid.
        not_before: Date,
        /// The time by which it is judged.
        judged: Date,
    },
    /// It is for other names.
    OtherName {
        /// The name that was expected.
        expected: String,
        /// The names that it states; at most 8.
        presented: Vec<String>,
    },
    /// No known authority issued it.
    UnknownIssuer,
    /// Its key is none of the pins.
    OtherKey(Pin),
    /// A signature in it, or with its key, is wrong.
    Signature,
    /// It is not for servers.
    Purpose,
    /// It is one of an authority, as self-signed ones mostly are.
    Authority,
    /// It is of version 1, which states no names for servers.
    Version,
    /// It cannot be read, or uses what is not supported; with detail.
    Unusable(String),
}

impl Error {
    /// What rustls reports, in our terms.
    pub(crate) fn from_tls(error: rustls::Error, phase: Phase) -> Error {
        match error {
            rustls::Error::InvalidCertificate(error) => Error::Certificate(Fault::from_tls(error)),
            rustls::Error::AlertReceived(alert) => Error::Alert(alert.into(), phase),
            rustls::Error::PeerIncompatible(PeerIncompatible::ServerRejectedEncryptedClientHello(_)) => {
                Error::Incompatible("encrypted client hello".to_owned())
            }
            rustls::Error::PeerIncompatible(detail) => Error::Incompatible(shortened(&format!("{detail:?}"))),
            rustls::Error::NoCertificatesPresented => {
                Error::Certificate(Fault::Unusable("the upstream sent none".to_owned()))
            }
            rustls::Error::NoApplicationProtocol => Error::Tls("no application protocol".to_owned(), phase),
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) if phase == Phase::Handshake => Error::NotTls,
            error @ (rustls::Error::FailedToGetCurrentTime
            | rustls::Error::FailedToGetRandomBytes
            | rustls::Error::EncryptError
            | rustls::Error::General(_)
            | rustls::Error::Other(_)) => Error::Internal(shortened(&error.to_string())),
            error => Error::Tls(shortened(&error.to_string()), phase),
        }
    }

    /// The phase in which the connection failed. An unacceptable certificate fails the handshake.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::Alert(_, phase)
            | Self::Tls(_, phase)
            | Self::Ended(phase)
            | Self::Quic(_, phase)
            | Self::Silent(phase) => *phase,
            Self::Certificate(_) | Self::Incompatible(_) | Self::NotTls | Self::Protocol(_) => {
                Phase::Handshake
            }
            Self::ShortMessage(_) | Self::Http(_) | Self::Closed | Self::Internal(_) => Phase::Ready,
        }
    }

    /// What an operator can do about it. `None` where the upstream alone can.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Certificate(Fault::Expired { .. } | Fault::NotYetValid { .. }) => {
                Some("check the clock of this host; if it is right, the upstream needs another certificate")
            }
            Self::Certificate(Fault::OtherName { .. }) => Some(
                "set its name ('name', or what follows '#') to one of these if the upstream is meant, or correct its address",
            ),
            Self::Certificate(Fault::UnknownIssuer) => Some(
                "set 'ca_file' to the authority of the upstream; a network that intercepts TLS looks like this too",
            ),
            Self::Certificate(Fault::OtherKey(_)) => {
                Some("add this pin to 'pins' if the upstream has changed its key")
            }
            Self::Certificate(Fault::Authority) => Some(
                "give its pin in 'pins' with verify = \"pin\", or use a certificate that the authority issued",
            ),
            Self::Certificate(Fault::Version) => {
                Some("the upstream needs a certificate of version 3 with a subjectAltName")
            }
            Self::Alert(116, _) => Some("use an upstream that needs no client certificate"),
            Self::Alert(120, _) => Some("check scheme and port of the upstream"),
            Self::NotTls => Some("check address and port of the upstream"),
            Self::Protocol(_) => Some("check scheme and port of the upstream"),
            _ => None,
        }
    }
}

impl Fault {
    /// What rustls reports of a certificate, in our terms.
    pub(crate) fn from_tls(error: CertificateError) -> Fault {
        match error {
            CertificateError::ExpiredContext { time, not_after } => {
                Fault::Expired { not_after: Date(not_after.as_secs()), judged: Date(time.as_secs()) }
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                Fault::NotYetValid { not_before: Date(not_before.as_secs()), judged: Date(time.as_secs()) }
            }
            CertificateError::NotValidForNameContext { expected, presented } => {
                let presented = presented.iter().filter_map(|name| stated(name)).take(NAMES_MAX).collect();
                Fault::OtherName { expected: expected.to_str().into_owned(), presented }
            }
            CertificateError::UnknownIssuer => Fault::UnknownIssuer,
            CertificateError::BadSignature => Fault::Signature,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Fault::Purpose
            }
            CertificateError::Other(other) => match other.0.downcast_ref::<Fault>() {
                Some(fault) => fault.clone(),
                None => match other.0.to_string().as_str() {
                    "CaUsedAsEndEntity" => Fault::Authority,
                    "UnsupportedCertVersion" => Fault::Version,
                    detail => Fault::Unusable(shortened(detail)),
                },
            },
            error => Fault::Unusable(shortened(&format!("{error:?}"))),
        }
    }
}

/// A name of a certificate as rustls shows it, `DnsName("…")` or `IpAddress(…)`, without that frame. `None`
/// for names that are neither of a host nor an address.
pub(crate) fn stated(name: &str) -> Option<String> {
    let name = name.strip_suffix(')')?;
    let quoted = name.strip_prefix("DnsName(\"").and_then(|name| name.strip_suffix('"'));
    quoted.or_else(|| name.strip_prefix("IpAddress(")).map(shortened)
}

/// A library's detail in printable characters, at most 160 of them.
pub(crate) fn shortened(detail: &str) -> String {
    let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    detail.chars().take(DETAIL_MAX).map(printable).collect()
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "during the handshake",
            Self::Ready => "after the handshake",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(fault) => fault.fmt(f),
            Self::Alert(116, _) => {
                f.write_str("the upstream demands a client certificate, and hither has none")
            }
            Self::Alert(code, phase) => {
                let name = AlertDescription::from(*code);
                write!(f, "the upstream ended the connection {phase} with the TLS alert {code} ({name:?})")
            }
            Self::Incompatible(detail) => write!(
                f,
                "the upstream has no version or method of TLS in common with hither, which needs TLS 1.2 or 1.3 \
                 ({detail})"
            ),
            Self::NotTls => f.write_str("what responds at this address and port does not speak TLS"),
            Self::Tls(detail, phase) => write!(f, "the upstream broke the rules of TLS {phase} ({detail})"),
            Self::Protocol(expected) => {
                write!(f, "the upstream does not speak the protocol '{expected}', which its address names")
            }
            Self::Ended(phase) => write!(f, "the upstream ended the connection {phase}"),
            Self::ShortMessage(octets) => {
                write!(f, "the upstream sent a message of {octets} octets; expected at least the 12 of DNS")
            }
            Self::Http(detail) => write!(f, "the upstream broke the rules of HTTP/2 ({detail})"),
            Self::Quic(detail, phase) => write!(f, "the upstream ended or broke QUIC {phase} ({detail})"),
            Self::Silent(phase) => write!(f, "the upstream stopped responding {phase}"),
            Self::Closed => f.write_str("hither closed the connection"),
            Self::Internal(detail) => write!(f, "the TLS library failed ({detail})"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { not_after, judged } => {
                write!(f, "the certificate expired at {not_after}; it is judged by {judged}")
            }
            Self::NotYetValid { not_before, judged } => {
                write!(f, "the certificate is valid from {not_before}; it is judged by {judged}")
            }
            Self::OtherName { expected, presented } if presented.is_empty() => {
                write!(f, "the certificate states no name; expected '{expected}'")
            }
            Self::OtherName { expected, presented } => {
                let names = presented.join("', '");
                write!(f, "the certificate is for '{names}'; expected '{expected}'")
            }
            Self::UnknownIssuer => f.write_str("the certificate is not issued by a known authority"),
            Self::OtherKey(pin) => {
                write!(f, "the key of the certificate is none of 'pins'; it is sha256/{}", base64(pin))
            }
            Self::Signature => f.write_str("a signature of the certificate or its key is wrong"),
            Self::Purpose => f.write_str("the certificate is not one for servers"),
            Self::Authority => f.write_str(
                "the certificate is that of an authority, as self-signed ones mostly are, not of a server",
            ),
            Self::Version => f.write_str("the certificate is of version 1, which states no name of a server"),
            Self::Unusable(detail) => write!(f, "the certificate cannot be used ({detail})"),
        }
    }
}

impl std::error::Error for Error {}
impl std::error::Error for Fault {}

/// The form in which pins are written (RFC 4648, section 4).
fn base64(pin: &Pin) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in pin.chunks(3) {
        let bits = group.iter().fold(0_usize, |bits, octet| bits << 8 | usize::from(*octet))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            let is_padding = digit > group.len();
            text.push(if is_padding { '=' } else { char::from(DIGITS[bits >> (18 - 6 * digit) & 63]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::server::ParsedCertificate;

    #[test]
    fn a_pin_is_shown_as_it_is_written_in_the_configuration() {
        let pin: Pin = std::array::from_fn(|at| at as u8);
        assert_eq!(base64(&pin), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    }

    #[test]
    fn names_of_a_certificate_are_shown_without_a_frame() {
        assert_eq!(stated("DnsName(\"*.dns.example\")").as_deref(), Some("*.dns.example"));
        assert_eq!(stated("IpAddress(2001:db8::1)").as_deref(), Some("2001:db8::1"));
        assert_eq!(stated("DirectoryName"), None);
    }

    /// What `openssl x509 -req` makes without extensions.
    const OF_VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBEjCBuQIUGvucPAtJa9ft+5Hih5Op6Z1jaPwwCgYIKoZIzj0EAwIwDDEKMAgG\n\
A1UEAwwBYTAeFw0yNjExMjkyMTA2MjVaFw0yNjEyMDIyMTA2MjVaMAwxCjAIBgNV\n\
BAMMAWEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASvapW3I2MZX1V7QRLDrqR4\n\
5lNBq8RdwKK+TwE+Bn4AZiL/ZsdAJVrzbKeQa/IhpyVmuS8hI6N057x+DP1sIdl4\n\
MAoGCCqGSM49BAMCA0gAMEUCIQCMmnKyA71goGaG9MUXoRBsz5xuur60WlZW2Ty4\n\
v4/NPAIgWhUACfzSzClyvbYD7WwFLYYX4M3VpdC4Wm7Rlcrc/Ek=\n\
-----END CERTIFICATE-----\n";

    #[test]
    fn a_certificate_of_version_1_is_named_so() {
        let certificate = CertificateDer::from_pem_slice(OF_VERSION_1.as_bytes()).expect("a certificate");
        let error = ParsedCertificate::try_from(&certificate).map(drop).expect_err("no version 3");
        let error = Error::from_tls(error, Phase::Handshake);
        assert_eq!(error, Error::Certificate(Fault::Version));
        assert!(error.remedy().is_some_and(|remedy| remedy.contains("subjectAltName")));
    }

    #[test]
    fn details_of_a_peer_are_printable_and_short() {
        let detail = shortened(&format!("\x1b[31m{}", "x".repeat(1000)));
        assert!(detail.len() == DETAIL_MAX && !detail.contains('\x1b'));
    }
}
