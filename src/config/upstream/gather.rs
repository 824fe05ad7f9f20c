//! Puts the upstreams of all files together, once each key of each file is known.

use super::written::{Host, Written, without_dot};
use super::{Tls, Upstream};
use crate::config::file;
use crate::config::place::{Of, Place};
use crate::config::{Endpoint, Upstreams};
use hither_rounds::Transport;
use hither_secure::{Pin, Policy, Roots, Scheme, ServerName, Verify};
use hither_wire::name::Name;
use std::path::PathBuf;

/// The keys that only encrypted upstreams have.
#[derive(Default)]
struct Keys {
    addresses: Vec<Endpoint>,
    name: Option<ServerName<'static>>,
    pins: Vec<Pin>,
    ca_file: Option<PathBuf>,
    verify: Option<Verify>,
}

impl Keys {
    /// The first key that is set.
    fn first(&self) -> Option<&'static str> {
        let set = [
            (!self.addresses.is_empty(), "addresses"),
            (self.name.is_some(), "name"),
            (!self.pins.is_empty(), "pins"),
            (self.ca_file.is_some(), "ca_file"),
            (self.verify.is_some(), "verify"),
        ];
        set.iter().find(|(is_set, _)| *is_set).map(|(_, key)| *key)
    }
}

/// The upstreams of all files, as they are written.
#[derive(Default)]
pub(in crate::config) struct Gathered {
    usual: Vec<(Written, Keys)>,
    domains: Vec<(Name, Vec<Written>)>,
    ca_file: Option<PathBuf>,
    bootstrap: Vec<Written>,
    /// Remarks for the author of the configuration.
    pub hints: Vec<String>,
}

impl Gathered {
    /// Adds the `[[upstream]]` blocks of a file.
    pub fn add_upstreams(&mut self, blocks: Vec<file::Upstream>) {
        for block in blocks {
            let written = self.noted(block.address.0);
            let port = written.port;
            let addresses = block.addresses.iter().filter_map(|address| address.endpoint(port)).collect();
            let name = block.name.map(|name| {
                self.hints.extend(name.hint);
                name.name
            });
            let keys = Keys {
                addresses,
                name,
                pins: block.pins.into_iter().map(|pin| pin.0).collect(),
                ca_file: block.ca_file.and_then(|file| file.0),
                verify: block.verify.map(|verify| verify.0),
            };
            self.usual.push((written, keys));
        }
    }

    /// Adds the upstreams of a domain.
    pub fn add_domain(&mut self, name: Name, upstreams: &[Written]) {
        let upstreams = upstreams.iter().map(|upstream| self.noted(upstream.clone())).collect();
        self.domains.push((name, upstreams));
    }

    /// Sets the keys of `[tls]` that a file has.
    pub fn set_tls(&mut self, tls: file::TlsFile) {
        if let Some(file) = tls.ca_file {
            self.ca_file = file.0;
        }
        if let Some(all) = tls.bootstrap {
            self.bootstrap = all.into_iter().map(|one| self.noted(one.0)).collect();
        }
    }

    /// Keeps the remark on an address.
    fn noted(&mut self, mut written: Written) -> Written {
        self.hints.extend(written.hint.take().filter(|hint| !self.hints.contains(hint)));
        written
    }

    /// The upstreams of the configuration.
    ///
    /// # Errors
    /// The key at fault, and the reason.
    pub fn finish(&mut self) -> Result<Upstreams, (Place, String)> {
        let mut upstreams = Upstreams::default();
        let mut repeated = Vec::new();
        for (written, keys) in &self.usual {
            check_keys(written, keys)?;
            let upstream = self.upstream(written, keys);
            match upstreams.usual.iter().find(|known| known.id == upstream.id) {
                None => upstreams.usual.push(upstream),
                Some(known) if known.is_same(&upstream) => {
                    repeated.push(format!("the upstream {upstream} is there twice, and asked once"));
                }
                Some(_) => {
                    let place = Place { section: "upstream", key: "address", of: Of::Repeated(upstream.id) };
                    let message = format!(
                        "the upstream '{}' is there twice, with other keys; expected one [[upstream]] with all its keys",
                        upstream.label
                    );
                    return Err((place, message));
                }
            }
        }
        for (name, all) in &self.domains {
            let place = upstreams.domains.entry(*name).or_default();
            for written in all {
                let upstream = self.upstream(written, self.keys_of(written));
                if !place.iter().any(|known| known.is_same(&upstream)) {
                    place.push(upstream);
                }
            }
        }
        let mut bootstrap: Vec<Upstream> = Vec::new();
        for written in &self.bootstrap {
            let upstream = self.upstream(written, self.keys_of(written));
            if upstream.lookup.is_some() {
                let place = Place { section: "tls", key: "bootstrap", of: Of::Upstream(upstream.id) };
                let why =
                    "is itself a name, which nobody resolves; expected its address too, as in name@192.0.2.1";
                return Err((place, format!("'{}' {why}", upstream.label)));
            }
            if !bootstrap.iter().any(|known| known.is_same(&upstream)) {
                bootstrap.push(upstream);
            }
        }
        self.hints.append(&mut repeated);
        upstreams.tls = Tls { ca_file: self.ca_file.clone(), bootstrap };
        Ok(upstreams)
    }

    /// The keys of the `[[upstream]]` with this address, which count wherever the upstream is named.
    fn keys_of(&self, written: &Written) -> &Keys {
        const NONE: &Keys =
            &Keys { addresses: Vec::new(), name: None, pins: Vec::new(), ca_file: None, verify: None };
        let id = written.id();
        self.usual.iter().find(|(known, _)| known.id() == id).map_or(NONE, |(_, keys)| keys)
    }

    fn upstream(&self, written: &Written, keys: &Keys) -> Upstream {
        let id = written.id();
        let own = match &written.host {
            Host::Address(endpoint) => Some(endpoint),
            Host::Name(_) => written.at.as_ref(),
        };
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for endpoint in own.into_iter().chain(&keys.addresses) {
            if !endpoints.contains(endpoint) {
                endpoints.push(endpoint.clone());
            }
        }
        let lookup = match &written.host {
            Host::Name(name) if endpoints.is_empty() => Some(*name),
            Host::Name(_) | Host::Address(_) => None,
        };
        Upstream {
            label: if written.transport == Transport::Udp { id.clone() } else { written.text.clone() },
            id,
            transport: written.transport,
            port: written.port,
            endpoints,
            lookup,
            policy: self.policy(written, keys),
        }
    }

    fn policy(&self, written: &Written, keys: &Keys) -> Option<Policy> {
        let scheme = match written.transport {
            Transport::Udp | Transport::Tcp => return None,
            Transport::Tls => Scheme::Dot,
            Transport::Https => Scheme::Doh,
            Transport::Quic => Scheme::Doq,
        };
        let host = match &written.host {
            // The parser of the address has tried this.
            Host::Name(name) => ServerName::try_from(without_dot(name)).ok()?,
            Host::Address(endpoint) => ServerName::IpAddress(endpoint.ip().into()),
        };
        let is_address = matches!(host, ServerName::IpAddress(_));
        let server_name = keys.name.clone().unwrap_or_else(|| host.clone());
        // The URL of a server that is known by its address is at the name of its certificate (RFC 9110,
        // section 4.3.3).
        let of_url = if is_address { &server_name } else { &host };
        let is_url = scheme == Scheme::Doh;
        let file = keys.ca_file.as_ref().or(self.ca_file.as_ref());
        Some(Policy {
            scheme,
            authority: if is_url { authority(of_url, written.port) } else { String::new() },
            server_name,
            path: written.path.clone(),
            pins: keys.pins.clone(),
            verify: keys.verify.unwrap_or_default(),
            roots: file.map_or(Roots::System, |file| Roots::File(file.clone())),
        })
    }
}

/// The host and port of a URL. The usual port is left out (RFC 9110, section 4.2.3).
fn authority(host: &ServerName<'_>, port: u16) -> String {
    let host = match host {
        ServerName::IpAddress(address) => match std::net::IpAddr::from(*address) {
            std::net::IpAddr::V6(v6) => format!("[{v6}]"),
            std::net::IpAddr::V4(v4) => v4.to_string(),
        },
        name => super::shown(name),
    };
    if port == 443 { host } else { format!("{host}:{port}") }
}

/// Checks the keys of an upstream with its address.
fn check_keys(written: &Written, keys: &Keys) -> Result<(), (Place, String)> {
    let at = |key| Place { section: "upstream", key, of: Of::Upstream(written.id()) };
    let text = &written.text;
    match keys.first() {
        Some(key) if matches!(written.transport, Transport::Udp | Transport::Tcp) => {
            let what = if key == "addresses" { "one [[upstream]] for each address" } else { "no such key" };
            return Err((
                at(key),
                format!("{key}: '{text}' is not encrypted; expected {what}, or address = \"tls://…\""),
            ));
        }
        Some(_) | None => {}
    }
    if keys.verify == Some(Verify::Pin) && keys.pins.is_empty() {
        return Err((
            at("verify"),
            format!(
                "verify = \"pin\" of '{text}' needs at least one pin; expected pins = [\"sha256/…\"], too"
            ),
        ));
    }
    Ok(())
}
