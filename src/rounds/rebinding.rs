//! Private addresses of public names, by which a web page can reach routers and printers (DNS
//! rebinding).
//!
//! Such addresses are withheld: they never join a set, and an answer without any other address is held
//! like a denial, so that another upstream's answer replaces it. A name is not public if standards
//! reserve it, if it cannot be registered, if it belongs to the network or has upstreams of its own, if
//! it is the host name of an upstream, or if the operator allows it. The question's name decides, not the
//! target of its CNAMEs, which the owner of the name can choose.

use crate::routes::{Routes, nearest};
use hither_local::NON_DNS_TLDS;
use hither_wire::name::Name;
use hither_wire::reach::Reach;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The operator's choice about rebinding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebinding {
    /// Whether private addresses are withheld at all.
    pub protect: bool,
    /// Names that may have private addresses, with all names below them; in lower case.
    pub allow: BTreeSet<Name>,
}

impl Default for Rebinding {
    fn default() -> Self {
        Self { protect: true, allow: BTreeSet::new() }
    }
}

/// Upper bound of the seconds for which the withholding of all addresses is cached. The TTL of the
/// answer and the limit of negative TTLs bound it too.
pub(crate) const WITHHELD_MAX_S: u32 = 60;

/// Further top-level names that cannot be registered: RFC 6761, those that ICANN reserved or will not
/// delegate, those that RFC 6762 appendix G lists as seen in networks, and `localdomain`, which hosts
/// files give to `localhost`. `test` and `example` are forwarded, since networks have servers for them;
/// names in example.com are public.
const UNREGISTERED: [&[u8]; 12] = [
    b"test",
    b"example",
    b"localhost",
    b"localdomain",
    b"internal",
    b"intranet",
    b"private",
    b"lan",
    b"home",
    b"corp",
    b"mail",
    b"arpa",
];

impl Rebinding {
    /// Whether a name in lower case is public, so that it may have public addresses only.
    pub(crate) fn is_public(&self, name: &Name, routes: &Routes) -> bool {
        self.protect && self.has_owner(name, routes)
    }

    /// Whether a name in lower case is one that somebody can own, and that neither belongs to the network
    /// nor may have private addresses.
    #[must_use]
    pub fn has_owner(&self, name: &Name, routes: &Routes) -> bool {
        // Upstreams of the root are for every name, and make no name private.
        let has_upstreams = || routes.domain(name).is_some_and(|domain| !domain.is_root());
        name.label_count() > 1
            && name
                .labels()
                .last()
                .is_some_and(|top| !NON_DNS_TLDS.contains(&top) && !UNREGISTERED.contains(&top))
            && !has_upstreams()
            && !routes.names.contains_key(name)
            && !is_below(&routes.own, name)
            && !is_below(&self.allow, name)
    }
}

fn is_below(domains: &BTreeSet<Name>, name: &Name) -> bool {
    !domains.is_empty() && nearest(name, |at| domains.get(at)).is_some()
}

/// Whether an address is private or unusable, and no sinkhole.
pub(crate) fn is_private(address: &IpAddr) -> bool {
    Reach::of(*address) != Reach::Public && !is_sinkhole(address)
}

/// 0.0.0.0, ::, 127.0.0.1 and ::1: the addresses that filtering resolvers give for a blocked name.
pub(crate) fn is_sinkhole(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_unspecified() || a.octets() == [127, 0, 0, 1],
        IpAddr::V6(a) => a.is_unspecified() || a.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Server;
    use std::net::SocketAddr;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn names_that_nobody_can_own_may_have_any_address() {
        let rebinding = Rebinding::default();
        let routes = Routes::default();
        let public = |text: &str| rebinding.is_public(&name(text), &routes);
        for text in ["www.example.com", "example.com", "fritz.box", "x.plex.direct", "test.org", "lan.de"] {
            assert!(public(text), "{text}");
        }
        for text in [
            "nas",
            "a.test",
            "a.example",
            "printer.local",
            "x.localhost",
            "svc.internal",
            "nas.home.arpa",
            "x.invalid",
            "x.onion",
            "x.alt",
            "nas.lan",
            "nas.home",
            "dc.corp",
            "mx.mail",
            "1.168.192.in-addr.arpa",
            "host.localdomain",
        ] {
            assert!(!public(text), "{text}");
        }
    }

    #[test]
    fn the_host_name_of_an_upstream_may_have_a_private_address_and_names_below_it_may_not() {
        let mut routes = Routes::default();
        routes.names.insert(name("dns.example.com"), Vec::new());
        let public = |text: &str| Rebinding::default().is_public(&name(text), &routes);
        assert!(!public("dns.example.com"));
        assert!(public("x.dns.example.com") && public("example.com"));
    }

    #[test]
    fn allowed_names_and_names_of_the_network_or_a_domain_may_have_private_addresses() {
        let server = Server::from(SocketAddr::from(([10, 0, 0, 1], 53)));
        let mut routes = Routes::default();
        routes.domains.insert(name("corp.example.com"), vec![server]);
        routes.own.insert(name("fritz.box"));
        routes.names.insert(name("dns.example.com"), vec![server]);
        let mut rebinding = Rebinding { protect: true, allow: [name("plex.direct")].into() };
        let all = [
            "www.corp.example.com",
            "corp.example.com",
            "fritz.box",
            "nas.fritz.box",
            "plex.direct",
            "a.b.plex.direct",
        ];
        assert!(all.iter().all(|text| !rebinding.is_public(&name(text), &routes)));
        for text in ["xcorp.example.com", "com", "box", "xfritz.box", "direct.example.com"] {
            let public = rebinding.is_public(&name(text), &routes);
            assert_eq!(public, text.contains('.'), "{text}");
        }
        // Upstreams for the root make no name private.
        routes.domains.insert(Name::ROOT, vec![server]);
        assert!(rebinding.is_public(&name("www.example.com"), &routes));
        rebinding.allow.insert(Name::ROOT);
        assert!(!rebinding.is_public(&name("www.example.com"), &routes));
        let off = Rebinding { protect: false, ..Rebinding::default() };
        assert!(!off.is_public(&name("www.example.com"), &Routes::default()));
    }
}
