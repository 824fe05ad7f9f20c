//! One link of this host, as a manager of links describes it: its servers, and the names that they are
//! asked for.

use super::over_tls::LinkServer;
use hither_wire::name::Name;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Links that are read of one source.
pub(super) const INTERFACES_MAX: usize = 4096;
/// Servers of one link, as many as systemd-resolved allows; further ones are ignored.
pub(super) const SERVERS_MAX: usize = 256;
/// Domains of one link; systemd-resolved allows 1024.
pub(super) const DOMAINS_MAX: usize = 4096;

/// One link, or the whole host, as a source describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Link {
    /// The interface index; 0 for the whole host.
    pub index: u32,
    pub servers: Vec<LinkServer>,
    /// The domains whose names the servers are asked for, in lower case, search domains and
    /// routing-only domains alike.
    pub domains: Vec<Name>,
    /// Whether the servers are asked for names that no link has a domain for.
    pub is_default_route: bool,
    /// Lower is better. A link below 0 also takes the names below its domains from other links.
    pub priority: i32,
    /// The source and the link, for the operator.
    pub origin: String,
    /// Settings of the link that are not followed to the letter, in sentences for the operator.
    pub problems: Vec<String>,
}

impl Link {
    /// Whether the servers are asked for more than the names of some domains.
    pub fn takes_other_names(&self) -> bool {
        self.is_default_route || self.domains.iter().any(Name::is_root)
    }

    /// Sets the domains. Too many are not cut, since a name of a VPN would then go to the provider: the
    /// longest domains are replaced by their parents, so that the link's servers are asked for more
    /// names rather than for fewer.
    pub fn set_domains(&mut self, domains: impl IntoIterator<Item = Name>) {
        let mut domains: Vec<Name> = domains.into_iter().collect();
        let given = domains.iter().collect::<BTreeSet<_>>().len();
        if given > DOMAINS_MAX {
            self.problems.push(format!(
                "{} has {given} domains, more than {DOMAINS_MAX}: its servers are asked for the domains above the longest of them, too",
                self.origin
            ));
            let mut kept: BTreeSet<Name> = domains.into_iter().collect();
            // The loop ends: each pass shortens the longest names by a label, and there is only one name
            // without labels.
            while kept.len() > DOMAINS_MAX {
                let longest = kept.iter().map(Name::label_count).max().unwrap_or_default();
                let shorten =
                    |name: Name| if name.label_count() == longest { name.parent() } else { Some(name) };
                kept = kept.into_iter().map(|name| shorten(name).unwrap_or(Name::ROOT)).collect();
            }
            domains = kept.into_iter().collect();
        }
        self.domains = domains;
    }

    /// A server's address in its usual form: IPv4-mapped IPv6 as IPv4, link-local IPv6 with the index
    /// of this link.
    pub fn normalized(&self, mut address: SocketAddr) -> SocketAddr {
        if let IpAddr::V4(v4) = address.ip().to_canonical() {
            return (v4, address.port()).into();
        }
        if let SocketAddr::V6(v6) = &mut address
            && v6.ip().is_unicast_link_local()
            && v6.scope_id() == 0
        {
            v6.set_scope_id(self.index);
        }
        address
    }

    /// The link by which an address is reached: this one, unless the address is on this host, which no
    /// link leads to. `host_addresses` are those of this host.
    pub fn leads_to(&self, address: IpAddr, host_addresses: &[IpAddr]) -> u32 {
        let is_on_this_host = address.is_loopback() || host_addresses.contains(&address);
        if is_on_this_host { 0 } else { self.index }
    }
}

/// A domain of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Domain {
    /// The domain in lower case.
    pub name: Name,
    /// Names in it are sent to the link's servers, but it is not in the search list.
    pub is_routing_only: bool,
}

impl Domain {
    /// Reads a domain as the managers write it: `corp.example`, `~corp.example`, `~.`. NetworkManager
    /// omits the dot of the root.
    pub fn read(word: &str) -> Option<Domain> {
        let (word, is_routing_only) = word.strip_prefix('~').map_or((word, false), |rest| (rest, true));
        let name: Name = if is_routing_only && word.is_empty() { Name::ROOT } else { word.parse().ok()? };
        Some(Domain { name: name.to_lower(), is_routing_only })
    }
}

/// Whether a link with these domains is a default route when its manager does not say so. As in
/// systemd-resolved: not if it has routing-only domains, unless the root is among them.
pub(super) fn is_default_route_by_domains(domains: &[Domain]) -> bool {
    domains.iter().any(|domain| domain.name.is_root()) || !domains.iter().any(|domain| domain.is_routing_only)
}

/// The name of a link for the operator, such as `link eth0`.
pub(super) fn link_name(index: u32) -> String {
    match nix::net::if_::if_indextoname(index) {
        // nix has an empty name for an index that no link has.
        Ok(name) if !name.is_empty() => format!("link {}", name.to_string_lossy()),
        Ok(_) | Err(_) => format!("link {index}"),
    }
}

/// A link as tests compare it.
#[cfg(test)]
pub(super) fn shown(link: &Link) -> String {
    use super::over_tls::OverTls;
    let shown = |server: &LinkServer| {
        let name = server.name.as_ref().map(|name| format!("#{name}")).unwrap_or_default();
        let over_tls = match server.over_tls {
            OverTls::No => String::new(),
            other => format!(" {other:?}"),
        };
        format!("{}{name}{over_tls}", server.address)
    };
    let servers: Vec<String> = link.servers.iter().map(shown).collect();
    let domains: Vec<String> = link.domains.iter().map(ToString::to_string).collect();
    format!(
        "{} {} [{}] {}{}",
        link.index,
        servers.join(" "),
        domains.join(" "),
        if link.is_default_route { "default" } else { "own" },
        if link.priority == 0 { String::new() } else { format!(" {}", link.priority) }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_gone_is_shown_by_its_index() {
        assert_eq!((link_name(1).as_str(), link_name(0x7fff_fff0).as_str()), ("link lo", "link 2147483632"));
    }

    #[test]
    fn routing_only_domains_decide_whether_a_link_is_a_default_route() {
        let is_default = |words: &[&str]| {
            let domains: Vec<Domain> = words.iter().filter_map(|word| Domain::read(word)).collect();
            is_default_route_by_domains(&domains)
        };
        assert!(is_default(&[]) && is_default(&["search.example"]));
        assert!(is_default(&["~corp.example", "~."]) && is_default(&["~."]));
        assert!(!is_default(&["~corp.example"]) && !is_default(&["search.example", "~corp.example"]));
        assert_eq!(Domain::read("~CORP.example."), Domain::read("~corp.example"));
        assert_eq!(Domain::read("~"), Domain::read("~."));
        assert_eq!([Domain::read("a..b"), Domain::read("")], [None, None]);
    }
}
