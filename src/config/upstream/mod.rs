//! The upstreams of the configuration, plain and encrypted.

mod gather;
mod keys;
mod other_forms;
mod pin;
mod stamp;
mod written;

pub(super) use gather::Gathered;
pub(super) use keys::{CaFile, CertificateName, ConnectAddress, PinText, UpstreamAddress, VerifyWord};
pub(super) use written::Written;

use super::Endpoint;
use hither_rounds::{Server, Transport};
use hither_secure::{Policy, Roots, ServerName, Verify};
use hither_table::layout::checksum;
use hither_wire::name::Name;
use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// A resolver that queries are forwarded to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// The address in its one usual form, by which the same upstream is recognized.
    pub(super) id: String,
    /// The address as it is written, for operators.
    pub label: String,
    /// The transport of its queries.
    pub transport: Transport,
    /// The port of its address; that of all addresses that are looked up.
    pub port: u16,
    /// Where to connect. Empty: its addresses are looked up.
    pub endpoints: Vec<Endpoint>,
    /// The host name whose addresses are looked up, in lower case.
    pub lookup: Option<Name>,
    /// How it is authenticated; `None` without encryption.
    pub policy: Option<Policy>,
}

/// The settings of all encrypted upstreams, section `[tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities of certificates; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The upstreams that resolve the names of others. Empty: the other upstreams that are addresses, else
    /// the system's resolvers.
    pub bootstrap: Vec<Upstream>,
}

impl Tls {
    /// The authorities of certificates.
    #[must_use]
    pub fn roots(&self) -> Roots {
        self.ca_file.clone().map_or(Roots::System, Roots::File)
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl Upstream {
    /// The addresses to connect to, without those whose interface does not exist.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.endpoints.iter().filter_map(Endpoint::address).collect()
    }

    /// The interfaces that its addresses name.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().filter_map(Endpoint::interface)
    }

    /// The upstream as the core knows it; `None` while none of its addresses is on an interface that exists.
    #[must_use]
    pub fn server(&self) -> Option<Server> {
        let unknown = self.lookup.map(|_| SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port)));
        let address = self.endpoints.iter().find_map(Endpoint::address).or(unknown)?;
        Some(Server { address, link: 0, transport: self.transport, settings: self.settings() })
    }

    /// A hash of the settings of an encrypted upstream, the same in every process and every version: an
    /// upstream that has it keeps its answers over a restart. 0 for others.
    #[must_use]
    pub fn settings(&self) -> u64 {
        let Some(policy) = &self.policy else { return 0 };
        let mut text = self.id.clone();
        for endpoint in &self.endpoints {
            // Writing to a string cannot fail.
            let _ = write!(text, "\nconnect {endpoint}");
        }
        let _ = write!(text, "\nname {}", shown(&policy.server_name));
        let mut pins: Vec<String> = policy.pins.iter().map(pin::written).collect();
        pins.sort();
        pins.iter().for_each(|pin| text += &format!("\npin {pin}"));
        let mut octets = text.into_bytes();
        if let Roots::File(file) = &policy.roots {
            octets.extend_from_slice(b"\nca_file ");
            octets.extend_from_slice(file.as_os_str().as_bytes());
        }
        octets.extend_from_slice(match policy.verify {
            Verify::Strict => b"\nverify strict",
            Verify::Pin => b"\nverify pin",
            Verify::Opportunistic => b"\nverify opportunistic",
        });
        checksum(octets.into_iter().map(u64::from)).max(1)
    }

    /// Whether both are the same upstream with the same keys, however they are written.
    pub(super) fn is_same(&self, other: &Upstream) -> bool {
        (&self.id, &self.endpoints, &self.policy) == (&other.id, &other.endpoints, &other.policy)
    }
}

/// A name of a certificate as operators write it.
fn shown(name: &ServerName<'_>) -> String {
    match name {
        ServerName::DnsName(name) => name.as_ref().to_owned(),
        ServerName::IpAddress(address) => std::net::IpAddr::from(*address).to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
