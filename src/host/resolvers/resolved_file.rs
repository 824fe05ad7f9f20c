//! The file that systemd-resolved writes for other programs. It lists the servers, and cannot say which of
//! them resolved asks over TLS. While resolved is on the message bus, its links say that. Before, its
//! configuration does, and afterwards what it said last: no server is asked in clear text because the bus
//! is not there.

use super::link::Link;
use super::managers::BusLinks;
use super::over_tls::{LinkServer, OverTls};
use crate::host::resolved_conf::Resolved;
use std::net::SocketAddr;
use std::path::Path;

/// What is known of the servers in that file.
#[derive(Debug, Default)]
pub(super) struct ResolvedFile {
    /// The servers as the bus named them last, or as the configuration names them.
    named: Vec<LinkServer>,
    /// Whether servers that are not among them are asked over TLS.
    others: OverTls,
    /// What is not understood, for the operator.
    pub problems: Vec<String>,
}

impl ResolvedFile {
    /// Reads the configuration below `root`, if nothing has been heard of resolved on the bus.
    pub fn new(root: &Path, bus: &BusLinks) -> ResolvedFile {
        let named = |link: &Link| {
            let of_link = |server: &LinkServer| {
                let address = link.normalized(server.address);
                LinkServer { address, ..server.clone() }
            };
            link.servers.iter().map(of_link).collect::<Vec<_>>()
        };
        match (&bus.resolved, &bus.resolved_before) {
            (Some(_), _) => ResolvedFile::default(),
            (None, Some(before)) => {
                let named = before.iter().flat_map(named).collect();
                ResolvedFile { named, ..ResolvedFile::default() }
            }
            (None, None) => {
                let mut problems = Vec::new();
                let config = Resolved::read(root, &mut problems);
                let mut file = ResolvedFile::of_configuration(&config);
                file.problems.extend(problems);
                file
            }
        }
    }

    fn of_configuration(config: &Resolved) -> ResolvedFile {
        let mut problems = Vec::new();
        let others = match config.over_tls.as_str() {
            "" => OverTls::No,
            word => OverTls::read(word, "resolved.conf(5)", &mut problems),
        };
        let named = config.names.iter().map(|(address, name)| {
            let name = Some(name.clone());
            LinkServer { address: *address, name, over_tls: others }
        });
        ResolvedFile { named: named.collect(), others, problems }
    }

    /// A server of the file. Of two links with the same server the stricter one counts.
    pub fn server(&self, address: SocketAddr) -> LinkServer {
        let same = self.named.iter().filter(|server| server.address == address);
        let known = same.max_by_key(|server| server.over_tls).cloned();
        known.unwrap_or_else(|| LinkServer::from(address).with(self.others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(file: &ResolvedFile, address: &str) -> String {
        let server = file.server(address.parse().expect("an address"));
        format!(
            "{} {:?} {:?}",
            server.asked_at(),
            server.name.as_deref().unwrap_or_default(),
            server.over_tls
        )
    }

    #[test]
    fn before_the_bus_is_there_the_configuration_counts() {
        let of = |text: &str| {
            let mut config = Resolved::default();
            config.add(text);
            ResolvedFile::of_configuration(&config)
        };
        let servers = "[Resolve]\nDNS=192.0.2.1#dns.example 192.0.2.2\n";
        let plain = of(servers);
        assert_eq!(shown(&plain, "192.0.2.1:53"), "192.0.2.1:53 \"dns.example\" No");
        let strict = of(&format!("{servers}DNSOverTLS=yes\n"));
        assert_eq!(shown(&strict, "192.0.2.1:53"), "192.0.2.1:853 \"dns.example\" Yes");
        assert_eq!(shown(&strict, "192.0.2.2:53"), "192.0.2.2:853 \"\" Yes");
        assert_eq!(shown(&strict, "192.0.2.9:53"), "192.0.2.9:853 \"\" Yes", "a link's, as far as is known");
        let odd = of(&format!("{servers}DNSOverTLS=strict\n"));
        assert_eq!(shown(&odd, "192.0.2.2:53"), "192.0.2.2:853 \"\" Yes");
        assert_eq!((strict.problems.len(), odd.problems.len()), (0, 1));
    }

    #[test]
    fn after_resolved_has_stopped_what_it_said_last_counts() {
        let server = |text: &str, over_tls| LinkServer::read(text).expect("a server").with(over_tls);
        let strict = vec![server("fe80::1#dns.example", OverTls::Yes), server("192.0.2.1", OverTls::Yes)];
        let plain = vec![server("192.0.2.1", OverTls::No), server("192.0.2.2", OverTls::No)];
        let links = vec![
            Link { index: 7, servers: strict, ..Link::default() },
            Link { index: 2, servers: plain, ..Link::default() },
        ];
        let nowhere = Path::new("/nonexistent");
        let gone = BusLinks { resolved_before: Some(links.clone()), ..BusLinks::default() };
        let file = ResolvedFile::new(nowhere, &gone);
        assert_eq!(shown(&file, "[fe80::1%7]:53"), "[fe80::1%7]:853 \"dns.example\" Yes");
        assert_eq!(shown(&file, "192.0.2.1:53"), "192.0.2.1:853 \"\" Yes", "the stricter link");
        assert_eq!(shown(&file, "192.0.2.2:53"), "192.0.2.2:53 \"\" No");
        let there = BusLinks { resolved: Some(links), ..BusLinks::default() };
        assert_eq!(shown(&ResolvedFile::new(nowhere, &there), "192.0.2.1:53"), "192.0.2.1:53 \"\" No");
    }
}
