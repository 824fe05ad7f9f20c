//! Stamps of DNSCrypt (`sdns://`), of which a suggestion is made: their servers have other forms in
//! hither.toml. The format is that of dnscrypt.info/stamps-specifications.

use crate::config::base64;

/// The server of a stamp.
pub(super) struct Stamp {
    /// The scheme of hither.toml; empty for a plain server.
    pub scheme: &'static str,
    pub name: String,
    /// The address without brackets; empty: it is to be looked up.
    pub address: String,
    pub port: String,
    pub path: String,
}

/// Octets of a stamp. Those of providers have some 100.
const STAMP_MAX: usize = 2048;

/// Reads a stamp; `None` if it is malformed, or of a protocol that hitherd does not have.
pub(super) fn read(text: &str) -> Option<Stamp> {
    let (_, encoded) = text.split_once("://").filter(|(_, encoded)| encoded.len() <= STAMP_MAX)?;
    let plain = encoded.trim_end_matches('=').replace('-', "+").replace('_', "/");
    let padding = "=".repeat(plain.len().wrapping_neg() % 4);
    let octets = base64::decode(&(plain + &padding))?;
    // A protocol, then eight octets of properties.
    let (protocol, rest) = octets.split_first()?;
    let mut rest = rest.get(8..)?;
    let scheme = match protocol {
        0 => "",
        2 => "https",
        3 => "tls",
        4 => "quic",
        _ => return None,
    };
    let address = text_of(item(&mut rest)?)?;
    let (mut address, mut port) = split_port(&address);
    let (mut name, mut path) = (String::new(), String::new());
    if *protocol != 0 {
        // Hashes of certificates, not of keys: they are no pins.
        while last_follows(rest)? {
            item(&mut rest)?;
        }
        item(&mut rest)?;
        let (host, of_host) = split_port(&text_of(item(&mut rest)?)?);
        if !of_host.is_empty() {
            port = of_host;
        }
        name = host;
    }
    if scheme == "https" {
        path = text_of(item(&mut rest)?)?;
    }
    if name == address {
        name = String::new();
    } else if address.is_empty() && name.parse::<std::net::IpAddr>().is_ok() {
        (name, address) = (String::new(), name);
    }
    Some(Stamp { scheme, name, address, port, path })
}

/// Whether another item of a list follows this one.
fn last_follows(rest: &[u8]) -> Option<bool> {
    rest.first().map(|length| length & 0x80 != 0)
}

/// Takes an item that begins with its length.
fn item<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first()?;
    let (item, behind) = behind.split_at_checked(usize::from(length & 0x7f))?;
    *rest = behind;
    Some(item)
}

fn text_of(octets: &[u8]) -> Option<String> {
    String::from_utf8(octets.to_vec()).ok()
}

/// Splits a host, which may be an address in brackets, from its port.
fn split_port(text: &str) -> (String, String) {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && (!host.contains(':') || host.ends_with(']')) => {
            (host, port)
        }
        _ => (text, ""),
    };
    (host.trim_matches(['[', ']']).to_owned(), port.to_owned())
}
