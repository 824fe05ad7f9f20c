//! The values of the keys of upstreams, each with an error that says what was expected.

use super::pin;
use super::written::{Written, host_name, without_dot};
use crate::config::Endpoint;
use hither_secure::{Pin, ServerName, Verify};
use serde::de::{Deserialize, Deserializer, Error as _};
use std::net::IpAddr;
use std::path::PathBuf;

/// The address of an upstream.
pub(in crate::config) struct UpstreamAddress(pub Written);

impl<'de> Deserialize<'de> for UpstreamAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Written::read(&text).map(UpstreamAddress).map_err(D::Error::custom)
    }
}

/// An address to connect to.
pub(in crate::config) struct ConnectAddress(String);

impl ConnectAddress {
    /// The address, with `port` if it has none of its own.
    pub fn endpoint(&self, port: u16) -> Option<Endpoint> {
        Endpoint::upstream(&self.0, port).ok()
    }
}

impl<'de> Deserialize<'de> for ConnectAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The port is that of upstream.address, which is not known here. All of them are alike.
        Endpoint::upstream(&text, 853).map_err(D::Error::custom)?;
        Ok(ConnectAddress(text))
    }
}

/// The name or address that a certificate must state.
pub(in crate::config) struct CertificateName {
    pub name: ServerName<'static>,
    /// A remark on an internationalized name.
    pub hint: Option<String>,
}

impl<'de> Deserialize<'de> for CertificateName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(CertificateName { name: ServerName::IpAddress(address.into()), hint: None });
        }
        let (name, hint) = host_name(&text).map_err(|why| {
            let expected = "expected what the certificate states, such as \"dns.example\" or \"192.0.2.1\"";
            D::Error::custom(format!("'{text}' is neither a host name nor an address: {why}; {expected}"))
        })?;
        let name = ServerName::try_from(without_dot(&name)).map_err(D::Error::custom)?;
        Ok(CertificateName { name, hint })
    }
}

/// A pin.
pub(in crate::config) struct PinText(pub Pin);

impl<'de> Deserialize<'de> for PinText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        pin::read(&String::deserialize(deserializer)?).map(PinText).map_err(D::Error::custom)
    }
}

/// A file of authorities; `None` for an empty text.
pub(in crate::config) struct CaFile(pub Option<PathBuf>);

impl<'de> Deserialize<'de> for CaFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.contains("://") || text.contains("-----BEGIN") || text.contains('\n') {
            return Err(D::Error::custom(
                "this is not a path; expected a file of certificates in PEM form such as \"/etc/ssl/site.pem\"",
            ));
        }
        Ok(CaFile((!text.is_empty()).then(|| text.into())))
    }
}

/// How an upstream is authenticated.
pub(in crate::config) struct VerifyWord(pub Verify);

impl<'de> Deserialize<'de> for VerifyWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "strict" => Ok(VerifyWord(Verify::Strict)),
            "pin" => Ok(VerifyWord(Verify::Pin)),
            "opportunistic" => Ok(VerifyWord(Verify::Opportunistic)),
            other => Err(D::Error::custom(format!(
                "'{other}' is no way to verify a certificate; expected \"strict\", \"pin\" or \"opportunistic\""
            ))),
        }
    }
}
