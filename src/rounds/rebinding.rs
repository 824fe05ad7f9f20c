//! Addresses of private networks for names that are everybody's: by these a page of the Internet reaches routers and printers (DNS rebinding).
//!
//! They are withheld: they never join a set, and an answer that has nothing else is held like a denial, so that what another upstream says wins. A name
//! is not everybody's that standards reserve or that nobody can register, that the network has for its own, that has upstreams of its own, or
//! that the operator allows. The question's name decides, not where its CNAMEs lead: whoever owns that name has written them.

use crate::Routes;
use crate::mutant::Mutant;
use crate::response::is_sinkhole;
use crate::routes::nearest;
use crate::shared::Shared;
use crate::whole::Piece;
use hither_local::NON_DNS_TLDS;
use hither_wire::codes::Rtype;
use hither_wire::message::Message;
use hither_wire::name::Name;
use hither_wire::reach::Reach;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What an operator may choose about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebinding {
    /// Whether anything is withheld at all.
    pub protect: bool,
    /// Names that may have private addresses, with all below them; in lower case.
    pub allow: BTreeSet<Name>,
}

impl Default for Rebinding {
    fn default() -> Self {
        Self { protect: true, allow: BTreeSet::new() }
    }
}

/// Seconds for which it is remembered that there was nothing but what is withheld; fewer where the answer or the bound of denials says so.
pub(crate) const WITHHELD_S: u32 = 60;

/// Further top-level names that nobody can register: RFC 6761, those that ICANN reserved or will not delegate, what RFC 6762 appendix G lists as
/// seen in networks, and `localdomain`, which hosts files give to `localhost`. `test` and `example` are forwarded, since networks have servers for
/// them; names in example.com are as public as any.
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
    /// Whether a name in lower case is everybody's, so that it may have public addresses only.
    pub(crate) fn is_public(&self, name: &Name, routes: &Routes) -> bool {
        // Every name being asked of some upstreams makes none of them a network's own.
        let has_upstreams = || routes.domain(name).is_some_and(|domain| !domain.is_root());
        self.protect
            && name.label_count() > 1
            && name
                .labels()
                .last()
                .is_some_and(|top| !NON_DNS_TLDS.contains(&top) && !UNREGISTERED.contains(&top))
            && !has_upstreams()
            && !is_below(&routes.own, name)
            && !is_below(&self.allow, name)
    }
}

fn is_below(domains: &BTreeSet<Name>, name: &Name) -> bool {
    !domains.is_empty() && nearest(name, |at| domains.get(at)).is_some()
}

impl Shared {
    /// Whether a name in lower case is everybody's.
    pub fn is_public(&self, name: &Name) -> bool {
        self.settings.rebinding.is_public(name, &self.groups.routes)
    }

    /// Takes from the addresses of a name what must not be told of it; the first of that. 0.0.0.0 and its like stay: filtering resolvers mean them, and
    /// they lose against any other address.
    pub fn withhold(&self, name: &Name, addresses: &mut Vec<IpAddr>) -> Option<IpAddr> {
        let first = addresses.iter().copied().find(is_private)?;
        if !self.is_public(name) || self.mutants.has(Mutant::PrivateAddressesJoin) {
            return None;
        }
        addresses.retain(|address| !is_private(address));
        Some(first)
    }

    /// The first address for which an answer that is kept whole is withheld: of the records that would be told, which is not all that a message may
    /// carry. Beside a public address a sinkhole is one.
    pub fn withheld_of(&self, piece: &Piece<'_>, message: &Message<'_>) -> Option<IpAddr> {
        if !matches!(piece.question.rtype, Rtype::A | Rtype::AAAA | Rtype::ANY) {
            return None;
        }
        let all = piece.addresses(message);
        let mixed = all.iter().any(|address| !is_sinkhole(address));
        let withheld =
            |address: &IpAddr| Reach::of(*address) != Reach::Public && (mixed || is_private(address));
        let first = all.into_iter().find(withheld)?;
        (self.is_public(&piece.question.name) && !self.mutants.has(Mutant::PrivateAddressesJoin))
            .then_some(first)
    }
}

/// Whether an address leads to neighbours, or to nobody, and is no sinkhole.
pub(crate) fn is_private(address: &IpAddr) -> bool {
    Reach::of(*address) != Reach::Public && !is_sinkhole(address)
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
    fn what_is_a_networks_own_or_allowed_may_have_private_addresses() {
        let server = Server::from(SocketAddr::from(([10, 0, 0, 1], 53)));
        let mut routes = Routes::default();
        routes.domains.insert(name("corp.example.com"), vec![server]);
        routes.own.insert(name("fritz.box"));
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
        // All names being asked of somebody makes none of them private.
        routes.domains.insert(Name::ROOT, vec![server]);
        assert!(rebinding.is_public(&name("www.example.com"), &routes));
        rebinding.allow.insert(Name::ROOT);
        assert!(!rebinding.is_public(&name("www.example.com"), &routes));
        let off = Rebinding { protect: false, ..Rebinding::default() };
        assert!(!off.is_public(&name("www.example.com"), &Routes::default()));
    }
}
