//! Reserved zones in which a network may have names of its own: home.arpa, the reverse zones of
//! private addresses, and `local` if a search list has it.
//!
//! The daemon answers them itself, so that names of a network do not leak to public resolvers (RFC
//! 6303, RFC 8375). But if some of the upstreams are the network's own servers, queries for these
//! zones go to those, and only to those.

use hither_local::{locally_served_zones, may_be_locally_served};
use hither_rounds::{Routes, Server};
use hither_wire::name::Name;
use hither_wire::reach::Reach;
use std::net::IpAddr;

/// Adds routes for reserved zones that have no upstreams of their own. `system`: the usual
/// upstreams are the system's resolvers, and this is its search list.
pub(crate) fn add(routes: &mut Routes, system: Option<&[Name]>) {
    for domain in system.unwrap_or_default().iter().filter(|domain| may_be_locally_served(domain)) {
        // The network that gives a search list has servers that know its domains.
        if routes.domain(domain) != Some(domain) && !routes.usual.is_empty() {
            routes.domains.insert(*domain, routes.usual.clone());
        }
    }
    for zone in locally_served_zones() {
        let above = routes.domain(&zone).copied();
        if above == Some(zone) {
            continue;
        }
        let all = above.and_then(|above| routes.domains.get(&above)).unwrap_or(&routes.usual);
        let is_system = system.is_some() && above.is_none();
        let own: Vec<Server> =
            all.iter().filter(|server| is_of_network(server.address.ip(), is_system)).copied().collect();
        if !own.is_empty() {
            routes.domains.insert(zone, own);
        }
    }
}

/// Whether a server is the network's own, not a public one. A server on this host may forward to
/// public ones, so it counts only if the system itself uses it.
fn is_of_network(server: IpAddr, is_system: bool) -> bool {
    match server.to_canonical() {
        ip if ip.is_loopback() => is_system,
        ip if Reach::of(ip) == Reach::Private => true,
        // Test networks use these addresses.
        IpAddr::V4(v4) => v4.is_documentation() || matches!(v4.octets(), [198, 18 | 19, ..]),
        IpAddr::V6(v6) => matches!(v6.segments(), [0x2001, 0xdb8, ..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn server(text: &str) -> Server {
        text.parse::<std::net::SocketAddr>().expect("an address").into()
    }

    fn usual(servers: &[&str]) -> Routes {
        Routes { usual: servers.iter().map(|text| server(text)).collect(), ..Routes::default() }
    }

    /// The upstreams for a name in a reserved zone.
    fn upstreams_for(routes: &Routes, text: &str) -> Vec<String> {
        let domain = routes.domain(&name(text));
        domain
            .map(|domain| routes.domains[domain].iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    }

    #[test]
    fn queries_go_to_the_networks_own_servers_and_to_no_public_ones() {
        let mut routes = usual(&["9.9.9.9:53", "192.168.1.1:53", "[fd00::1]:53"]);
        add(&mut routes, None);
        for text in [
            "nas.home.arpa",
            "7.1.168.192.in-addr.arpa",
            "1.16.172.in-addr.arpa",
            "9.127.100.in-addr.arpa",
            "a.d.f.ip6.arpa",
        ] {
            assert_eq!(upstreams_for(&routes, text), ["192.168.1.1:53", "[fd00::1]:53"], "{text}");
        }
        for text in [
            "printer.local",
            "x.onion",
            "x.invalid",
            "localhost",
            "1.0.0.127.in-addr.arpa",
            "1.15.172.in-addr.arpa",
            "www.example",
        ] {
            assert!(upstreams_for(&routes, text).is_empty(), "{text}");
        }
        for public in [&["9.9.9.9:53", "[2620:fe::fe]:53"][..], &["127.0.0.1:5300", "[::1]:5300"]] {
            let mut routes = usual(public);
            add(&mut routes, None);
            assert!(routes.domains.is_empty(), "{public:?}");
        }
    }

    #[test]
    fn the_systems_resolvers_may_be_on_this_host_and_know_its_search_list() {
        let mut routes = usual(&["127.0.0.2:53"]);
        add(&mut routes, Some(&[]));
        assert_eq!(upstreams_for(&routes, "nas.home.arpa"), ["127.0.0.2:53"]);
        let mut routes = usual(&["9.9.9.9:53"]);
        add(
            &mut routes,
            Some(&[
                name("office.home.arpa"),
                name("corp.local"),
                name("example"),
                name("x.onion"),
                name("localhost"),
            ]),
        );
        assert_eq!(upstreams_for(&routes, "nas.office.home.arpa"), ["9.9.9.9:53"]);
        assert_eq!(upstreams_for(&routes, "dc.corp.local"), ["9.9.9.9:53"]);
        assert!(
            upstreams_for(&routes, "nas.home.arpa").is_empty()
                && upstreams_for(&routes, "printer.local").is_empty()
        );
        assert_eq!(routes.domains.len(), 2);
    }

    #[test]
    fn upstreams_of_a_domain_stay_and_apply_to_its_subdomains() {
        let mut routes = usual(&["9.9.9.9:53"]);
        routes.domains.insert(name("home.arpa"), vec![server("9.9.9.10:53")]);
        routes.domains.insert(name("in-addr.arpa"), vec![server("10.0.0.1:53"), server("9.9.9.9:53")]);
        add(&mut routes, None);
        assert_eq!(upstreams_for(&routes, "nas.home.arpa"), ["9.9.9.10:53"], "as configured");
        assert_eq!(upstreams_for(&routes, "1.0.0.10.in-addr.arpa"), ["10.0.0.1:53"]);
        assert!(upstreams_for(&routes, "a.d.f.ip6.arpa").is_empty());
    }
}
