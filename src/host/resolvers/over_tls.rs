//! DNS over TLS as the managers of links demand it: by a setting of the link or of the host, and by the name
//! behind the `#` of a server, which its certificate must state. Pure: no I/O.

use crate::host::resolv_conf::parse_server;
use hither_rounds::{Server, Transport};
use hither_secure::{Policy, Roots, Scheme, ServerName, Verify};
use hither_table::layout::checksum;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;

/// The port of plain DNS, and of a server whose port is not written.
const PORT_PLAIN: u16 = 53;
/// The port of DNS over TLS (RFC 7858).
const PORT_TLS: u16 = 853;

/// Whether servers are asked over TLS: `DNSOverTLS=` of resolved.conf(5) and systemd.network(5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum OverTls {
    /// In clear text.
    #[default]
    No,
    /// Over TLS with any certificate if the name of the server is known, otherwise in clear text.
    Opportunistic,
    /// Over TLS only, and its certificate must state the server's name, or its address without a name.
    Yes,
}

impl OverTls {
    /// Reads the setting as the managers write it. An unknown word is taken as [`OverTls::Yes`], since a
    /// query that is not sent can be sent later; `problems` get a sentence about it, with `origin`.
    pub fn read(word: &str, origin: &str, problems: &mut Vec<String>) -> OverTls {
        match word.trim().to_ascii_lowercase().as_str() {
            "no" | "n" | "false" | "f" | "off" | "0" => OverTls::No,
            "opportunistic" => OverTls::Opportunistic,
            "yes" | "y" | "true" | "t" | "on" | "1" => OverTls::Yes,
            _ => {
                let word = word.escape_debug();
                problems
                    .push(format!("{origin} has DNSOverTLS={word}, which is unknown: it is taken as yes"));
                OverTls::Yes
            }
        }
    }
}

/// A server as a manager of links names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LinkServer {
    /// Its address; port 53 where none is written.
    pub address: SocketAddr,
    /// The name behind the `#`.
    pub name: Option<String>,
    pub over_tls: OverTls,
}

/// A server that is asked over TLS, with what its connections need.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EncryptedServer {
    pub server: Server,
    /// The server for operators, such as `tls://192.0.2.1#dns.example`.
    pub label: String,
    pub policy: Policy,
}

impl From<SocketAddr> for LinkServer {
    fn from(address: SocketAddr) -> LinkServer {
        LinkServer { address, name: None, over_tls: OverTls::No }
    }
}

impl LinkServer {
    /// Reads a server as the managers write it: as [`parse_server`] does, with the name behind `#`.
    /// NetworkManager writes `dns+tls://` before a server that it asks over TLS only.
    pub fn read(word: &str) -> Option<LinkServer> {
        let (word, over_tls) = match (word.strip_prefix("dns+tls://"), word.strip_prefix("dns+udp://")) {
            (Some(rest), _) => (rest, OverTls::Yes),
            (None, rest) => (rest.unwrap_or(word), OverTls::No),
        };
        let name = word.split_once('#').map(|(_, name)| name).filter(|name| !name.is_empty());
        Some(LinkServer { address: parse_server(word)?, name: name.map(str::to_owned), over_tls })
    }

    /// Adds the setting of the link: a server that demands more by itself keeps that.
    #[must_use]
    pub fn with(self, of_link: OverTls) -> LinkServer {
        LinkServer { over_tls: self.over_tls.max(of_link), ..self }
    }

    /// How the server is authenticated; `None` if it is asked in clear text.
    pub fn verify(&self) -> Option<Verify> {
        match self.over_tls {
            OverTls::Yes => Some(Verify::Strict),
            OverTls::Opportunistic if self.stated_name().is_ok_and(|name| name.is_some()) => {
                Some(Verify::Opportunistic)
            }
            OverTls::Opportunistic | OverTls::No => None,
        }
    }

    /// The address that queries are sent to: port 853 in the place of 53 if it is asked over TLS.
    pub fn asked_at(&self) -> SocketAddr {
        let mut address = self.address;
        if self.verify().is_some() && address.port() == PORT_PLAIN {
            address.set_port(PORT_TLS);
        }
        address
    }

    /// Why the server cannot be asked because of its name, as the end of a sentence that begins with its
    /// address.
    pub fn why_name_is_unusable(&self) -> Option<String> {
        let name = self.name.as_deref().unwrap_or_default().escape_debug();
        let is_unusable = self.over_tls == OverTls::Yes && self.stated_name().is_err();
        is_unusable.then(|| format!("has the name '{name}', which no certificate can state"))
    }

    /// The name that the certificate must state. `Err` if none can.
    fn stated_name(&self) -> Result<Option<ServerName<'static>>, ()> {
        let Some(name) = self.name.as_deref() else { return Ok(None) };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        ServerName::try_from(name).map(Some).map_err(drop)
    }

    /// The server on a link (0: any) as the core knows it, and what its connections need if it is asked
    /// over TLS. `roots` are the authorities that may issue its certificate.
    pub fn on(&self, link: u32, roots: &Roots) -> (Server, Option<EncryptedServer>) {
        let address = self.asked_at();
        let Some(verify) = self.verify() else { return (Server::plain(address, link), None) };
        let name = self.stated_name().ok().flatten();
        let label = label(address, self.name.as_deref());
        let settings = settings(&label, verify, roots);
        let server = Server { address, link, transport: Transport::Tls, settings };
        let policy = Policy {
            scheme: Scheme::Dot,
            server_name: name.unwrap_or_else(|| ServerName::IpAddress(address.ip().into())),
            authority: String::new(),
            path: String::new(),
            pins: Vec::new(),
            verify,
            roots: roots.clone(),
        };
        (server, Some(EncryptedServer { server, label, policy }))
    }
}

/// The server for operators. Port 853 is left out.
fn label(address: SocketAddr, name: Option<&str>) -> String {
    let shown = address.to_string();
    let shown = shown.strip_suffix(":853").unwrap_or(&shown);
    format!("tls://{shown}{}", name.map(|name| format!("#{name}")).unwrap_or_default())
}

/// A hash of the settings of a server, the same in every process and every version: a server that has it
/// keeps its answers over a restart.
fn settings(label: &str, verify: Verify, roots: &Roots) -> u64 {
    let strict = if verify == Verify::Strict { "strict" } else { "opportunistic" };
    let mut octets = format!("{label}\nverify {strict}").into_bytes();
    if let Roots::File(file) = roots {
        octets.extend_from_slice(b"\nca_file ");
        octets.extend_from_slice(file.as_os_str().as_bytes());
    }
    checksum(octets.into_iter().map(u64::from)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a server with a setting of its link is asked.
    fn asked(word: &str, of_link: OverTls) -> String {
        let server = LinkServer::read(word).expect("a server").with(of_link);
        if let Some(why) = server.why_name_is_unusable() {
            return why;
        }
        match server.on(7, &Roots::System) {
            (plain, None) => plain.to_string(),
            (server, Some(encrypted)) => {
                assert_eq!((server, server.transport, server.link), (encrypted.server, Transport::Tls, 7));
                let EncryptedServer { label, policy, .. } = encrypted;
                let name = match &policy.server_name {
                    ServerName::DnsName(name) => name.as_ref().to_owned(),
                    name => name_of(name).to_string(),
                };
                format!("{label} at {}, {:?} {name}", server.address, policy.verify)
            }
        }
    }

    fn name_of(name: &ServerName<'_>) -> std::net::IpAddr {
        let ServerName::IpAddress(address) = name else { panic!("{name:?} is no address") };
        (*address).into()
    }

    #[test]
    fn the_setting_and_the_name_decide_how_a_server_is_asked() {
        use OverTls::{No, Opportunistic, Yes};
        for (word, of_link, expected) in [
            ("192.0.2.1", No, "192.0.2.1:53 on link 7"),
            ("192.0.2.1#dns.example", No, "192.0.2.1:53 on link 7"),
            ("192.0.2.1", Opportunistic, "192.0.2.1:53 on link 7"),
            (
                "192.0.2.1#dns.example",
                Opportunistic,
                "tls://192.0.2.1#dns.example at 192.0.2.1:853, Opportunistic dns.example",
            ),
            ("192.0.2.1:5353#not..a name", Opportunistic, "192.0.2.1:5353 on link 7"),
            ("192.0.2.1", Yes, "tls://192.0.2.1 at 192.0.2.1:853, Strict 192.0.2.1"),
            (
                "192.0.2.1:53#DNS.Example.",
                Yes,
                "tls://192.0.2.1#DNS.Example. at 192.0.2.1:853, Strict dns.example",
            ),
            (
                "192.0.2.1:8853#dns.example",
                Yes,
                "tls://192.0.2.1:8853#dns.example at 192.0.2.1:8853, Strict dns.example",
            ),
            (
                "[2001:db8::1]:53#198.51.100.1",
                Yes,
                "tls://[2001:db8::1]#198.51.100.1 at [2001:db8::1]:853, Strict 198.51.100.1",
            ),
            ("fe80::1%2", Yes, "tls://[fe80::1%2] at [fe80::1%2]:853, Strict fe80::1"),
            (
                "dns+tls://192.0.2.1:8853#dns.example",
                No,
                "tls://192.0.2.1:8853#dns.example at 192.0.2.1:8853, Strict dns.example",
            ),
            ("dns+tls://[2001:db8::1]", No, "tls://[2001:db8::1] at [2001:db8::1]:853, Strict 2001:db8::1"),
            ("dns+udp://192.0.2.1", No, "192.0.2.1:53 on link 7"),
            ("192.0.2.1#not..a name", Yes, "has the name 'not..a name', which no certificate can state"),
        ] {
            assert_eq!(asked(word, of_link), expected, "{word} {of_link:?}");
        }
        assert_eq!([LinkServer::read("dns+tls://dns.example"), LinkServer::read("#x")], [None, None]);
    }

    #[test]
    fn an_unknown_word_is_taken_as_yes_and_reported() {
        let mut problems = Vec::new();
        let mut read = |word: &str| OverTls::read(word, "link eth0", &mut problems);
        assert_eq!(
            [read("no"), read("Off"), read("opportunistic"), read("yes"), read("true")],
            [OverTls::No, OverTls::No, OverTls::Opportunistic, OverTls::Yes, OverTls::Yes]
        );
        assert_eq!([read("allow-downgrade"), read("")], [OverTls::Yes; 2]);
        assert_eq!(
            problems,
            [
                "link eth0 has DNSOverTLS=allow-downgrade, which is unknown: it is taken as yes",
                "link eth0 has DNSOverTLS=, which is unknown: it is taken as yes"
            ]
        );
    }

    #[test]
    fn servers_with_other_settings_are_other_servers() {
        let of = |word: &str, over_tls, roots: &Roots| {
            LinkServer::read(word).expect("a server").with(over_tls).on(7, roots).0
        };
        let site = Roots::File("/etc/site.pem".into());
        let (name, yes) = ("192.0.2.1#dns.example", OverTls::Yes);
        let all = [
            of(name, yes, &Roots::System),
            of(name, yes, &site),
            of(name, OverTls::Opportunistic, &Roots::System),
            of("192.0.2.1#other.example", yes, &Roots::System),
            of("192.0.2.1", yes, &Roots::System),
            of("192.0.2.1", OverTls::No, &Roots::System),
        ];
        let marks: std::collections::BTreeSet<u64> = all.iter().map(Server::mark).collect();
        assert_eq!(marks.len(), all.len());
        assert_eq!(of(name, yes, &site), all[1]);
    }
}
