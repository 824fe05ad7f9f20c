//! The links that systemd-networkd describes in files below `/run`, one file for each link.

use super::link::{Domain, INTERFACES_MAX, Link, SERVERS_MAX, is_default_route_by_domains, link_name};
use super::over_tls::{LinkServer, OverTls};
use crate::host::files::{self, Entries};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Octets read of a file, more than networkd writes.
const FILE_MAX: u64 = 4 << 20;

/// Reads the files of a directory, whose names are the indexes of the links. Also returns a problem
/// for the operator if there are too many.
pub(super) fn links(dir: &Path) -> (Vec<Link>, Option<String>) {
    let Ok(Entries { names, is_cut }) = files::entries(dir, INTERFACES_MAX) else {
        return Default::default();
    };
    let shown = dir.display();
    let problem = is_cut.then(|| {
        format!("'{shown}' has more than {INTERFACES_MAX} entries: the links of the others are not known")
    });
    let with_index = |name: OsString| Some((name.to_str()?.parse().ok()?, dir.join(name)));
    let mut files: Vec<(u32, PathBuf)> = names.into_iter().filter_map(with_index).collect();
    files.sort();
    let read = |(index, path): (u32, PathBuf)| {
        let text = String::from_utf8_lossy(&files::read_up_to(&path, FILE_MAX).ok()?).into_owned();
        link_of(index, &text)
    };
    (files.into_iter().filter_map(read).collect(), problem)
}

/// Reads the text of a link's file; `None` if the link is down.
fn link_of(index: u32, text: &str) -> Option<Link> {
    let origin = format!("{} (systemd-networkd)", link_name(index));
    let mut link = Link { index, origin, ..Link::default() };
    let mut domains: Vec<Domain> = Vec::new();
    let (mut default_route, mut over_tls) = (None, OverTls::No);
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let words = value.split_whitespace();
        match key {
            "OPER_STATE" if matches!(value, "missing" | "off" | "no-carrier") => return None,
            "DNS" => link.servers = words.filter_map(LinkServer::read).take(SERVERS_MAX).collect(),
            "DOMAINS" => domains.extend(words.filter_map(Domain::read)),
            "ROUTE_DOMAINS" => {
                let of_word = |word| Some(Domain { is_routing_only: true, ..Domain::read(word)? });
                domains.extend(words.filter_map(of_word));
            }
            "DNS_OVER_TLS" => over_tls = OverTls::read(value, &link.origin, &mut link.problems),
            "DNS_DEFAULT_ROUTE" => default_route = Some(value == "yes"),
            _ => {}
        }
    }
    link.servers = link.servers.into_iter().map(|server| server.with(over_tls)).collect();
    link.is_default_route = default_route.unwrap_or_else(|| is_default_route_by_domains(&domains));
    link.set_domains(domains.into_iter().map(|domain| domain.name));
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::resolvers::link;

    #[test]
    fn files_of_networkd_are_read_as_it_writes_them() {
        let shown = |text: &str| link_of(4, text).map(|link| link::shown(&link));
        let text = "# private\nADMIN_STATE=configured\nOPER_STATE=routable\nDNS=192.0.2.1 fe80::1%4 [fe80::2]:5353%4#dns.example [fe80::3%4]:53 192.0.2.2:54#x\nDOMAINS=home.example\nROUTE_DOMAINS=Corp.example\n";
        assert_eq!(
            shown(text).as_deref(),
            Some(
                "4 192.0.2.1:53 [fe80::1%4]:53 [fe80::2%4]:5353#dns.example [fe80::3%4]:53 192.0.2.2:54#x [home.example. corp.example.] own"
            )
        );
        assert_eq!(shown("DNS=192.0.2.1\nROUTE_DOMAINS=.\n").as_deref(), Some("4 192.0.2.1:53 [.] default"));
        assert_eq!(shown("DNS=192.0.2.1\nDNS_DEFAULT_ROUTE=no\n").as_deref(), Some("4 192.0.2.1:53 [] own"));
        assert_eq!(shown("DNS_DEFAULT_ROUTE=yes\nROUTE_DOMAINS=a\n").as_deref(), Some("4  [a.] default"));
        assert_eq!(
            shown("DNS_OVER_TLS=yes\nDNS=192.0.2.1#dns.example 192.0.2.2\n").as_deref(),
            Some("4 192.0.2.1:53#dns.example Yes 192.0.2.2:53 Yes [] default")
        );
        let odd = link_of(4, "DNS=192.0.2.1\nDNS_OVER_TLS=maybe\n").expect("a link");
        assert_eq!((odd.servers[0].over_tls, odd.problems.len()), (OverTls::Yes, 1));
        assert_eq!(shown("OPER_STATE=no-carrier\nDNS=192.0.2.1\n"), None);
    }

    #[test]
    fn every_domain_of_a_link_is_taken() {
        let names: Vec<String> = (0..1024).map(|n| format!("d{n}.corp.example")).collect();
        let text = format!("DNS=10.8.0.1\nDNS_DEFAULT_ROUTE=no\nROUTE_DOMAINS={}\n", names.join(" "));
        let link = link_of(4, &text).expect("a link");
        let last = link.domains.last().map(ToString::to_string);
        assert_eq!((link.domains.len(), last.as_deref()), (1024, Some("d1023.corp.example.")));
    }
}
