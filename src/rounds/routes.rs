//! Routes: the default upstreams, and upstreams of single domains (split DNS) or single names.

use crate::ids::UpstreamId;
use crate::server::Server;
use hither_table::layout::checksum;
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

/// Upstreams by domain. The longest suffix of a name decides, not the order in the configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Routes {
    /// The default upstreams, for names without a domain here.
    pub usual: Vec<Server>,
    /// Upstreams of single names, in lower case; not of the names below them. They have priority over
    /// `domains`. The names of encrypted upstreams are here, so that no upstream is asked for a name
    /// that it needs itself.
    pub names: BTreeMap<Name, Vec<Server>>,
    /// Upstreams by domain, in lower case.
    pub domains: BTreeMap<Name, Vec<Server>>,
    /// Domains of the network itself, in lower case. Their names may have private addresses, whichever
    /// upstreams they have.
    pub own: BTreeSet<Name>,
}

impl From<&[SocketAddr]> for Routes {
    fn from(usual: &[SocketAddr]) -> Routes {
        Routes { usual: usual.iter().copied().map(Server::from).collect(), ..Routes::default() }
    }
}

/// The effect of other upstreams of a name on its cached data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Validity {
    /// All data stays: the name has the same upstreams.
    Valid,
    /// Denials are removed: the name has more upstreams, which may have an answer.
    DenialsVoid,
    /// All data is removed: an upstream of the name is no longer one.
    Void,
}

impl Routes {
    /// The domain whose upstreams are queried for `name`, in lower case: `name` itself where it has
    /// upstreams of its own.
    #[must_use]
    pub fn domain(&self, name: &Name) -> Option<&Name> {
        route(&self.names, &self.domains, name).map(|(domain, _)| domain)
    }

    /// A number for the upstreams of `name`: 0 for the default ones, else a hash of them. The number is
    /// the same in every process.
    #[must_use]
    pub fn mark(&self, name: &Name) -> u64 {
        let Some((_, upstreams)) = route(&self.names, &self.domains, name) else { return 0 };
        checksum(marks(upstreams).into_iter()).max(1)
    }

    /// All upstreams, each of them once.
    #[must_use]
    pub fn all(&self) -> Vec<Server> {
        let mut all: Vec<Server> = Vec::new();
        let others = self.domains.values().chain(self.names.values());
        for server in self.usual.iter().chain(others.flatten()) {
            if !all.contains(server) {
                all.push(*server);
            }
        }
        all
    }

    /// Whether every name has the same upstreams in both. Their order does not matter.
    pub(crate) fn leads_as(&self, other: &Routes) -> bool {
        marks(&self.usual) == marks(&other.usual)
            && lead_as(&self.domains, &other.domains)
            && lead_as(&self.names, &other.names)
    }

    /// The effect on the cached data of `name` when these routes replace `before`. A name that had no
    /// upstream keeps its data.
    pub(crate) fn validity(&self, name: &Name, before: &Routes) -> Validity {
        let (now, then) = (self.asked(name), before.asked(name));
        if then.iter().any(|server| !now.contains(server)) {
            Validity::Void
        } else if !then.is_empty() && now.iter().any(|server| !then.contains(server)) {
            Validity::DenialsVoid
        } else {
            Validity::Valid
        }
    }

    fn asked(&self, name: &Name) -> &[Server] {
        route(&self.names, &self.domains, name).map_or(&self.usual, |(_, upstreams)| upstreams)
    }
}

/// Whether the same names have the same upstreams in both.
fn lead_as(own: &BTreeMap<Name, Vec<Server>>, other: &BTreeMap<Name, Vec<Server>>) -> bool {
    own.keys().eq(other.keys()) && own.values().zip(other.values()).all(|(a, b)| marks(a) == marks(b))
}

/// Upstreams as numbers, each once.
pub(crate) fn marks(upstreams: &[Server]) -> BTreeSet<u64> {
    upstreams.iter().map(Server::mark).collect()
}

/// The entry of `names` for a name, or else that of the longest suffix in `domains`.
fn route<'a, T>(
    names: &'a BTreeMap<Name, T>,
    domains: &'a BTreeMap<Name, T>,
    name: &Name,
) -> Option<(&'a Name, &'a T)> {
    let own = if names.is_empty() { None } else { names.get_key_value(name) };
    if own.is_some() || domains.is_empty() {
        return own;
    }
    nearest(name, |at| domains.get_key_value(at))
}

/// The result of `find` for a name, or else for the nearest name above it.
pub(crate) fn nearest<T>(name: &Name, find: impl Fn(&Name) -> Option<T>) -> Option<T> {
    std::iter::successors(Some(*name), Name::parent).find_map(|at| find(&at))
}

/// The routes, with upstreams as indices into the list of upstreams.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub routes: Routes,
    /// The default upstreams, or the last ones while there are none. A network without upstreams for a
    /// while counts as the same network when they return.
    pub latest: Vec<Server>,
    usual: Rc<[UpstreamId]>,
    names: BTreeMap<Name, Rc<[UpstreamId]>>,
    domains: BTreeMap<Name, Rc<[UpstreamId]>>,
}

impl Groups {
    pub fn new(routes: Routes) -> Groups {
        let all = routes.all();
        let place = |server: &Server| all.iter().position(|s| s == server);
        let ids = |servers: &[Server]| -> Rc<[UpstreamId]> {
            servers.iter().filter_map(place).filter_map(|at| u16::try_from(at).ok()).map(UpstreamId).collect()
        };
        let groups = |of: &BTreeMap<Name, Vec<Server>>| {
            of.iter().map(|(name, servers)| (*name, ids(servers))).collect()
        };
        Groups {
            usual: ids(&routes.usual),
            names: groups(&routes.names),
            domains: groups(&routes.domains),
            latest: routes.usual.clone(),
            routes,
        }
    }

    pub fn of(&self, name: &Name) -> Rc<[UpstreamId]> {
        Rc::clone(route(&self.names, &self.domains, name).map_or(&self.usual, |(_, group)| group))
    }

    /// The upstreams for `target`, the end of a chain that begins at `name`. A single name with
    /// upstreams of its own is resolved by these alone.
    pub fn of_target(&self, name: &Name, target: &Name) -> Rc<[UpstreamId]> {
        let own = if self.names.is_empty() { None } else { self.names.get(name) };
        own.map_or_else(|| self.of(target), Rc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_suffix_decides() {
        let address = |n: u8| Server::from(SocketAddr::from(([192, 0, 2, n], 53)));
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let domains = [("corp.example", 2), ("lab.corp.example", 3), ("com", 1)];
        let routes = Routes {
            usual: vec![address(1)],
            domains: domains.iter().map(|(domain, n)| (name(domain), vec![address(*n)])).collect(),
            ..Routes::default()
        };
        let groups = Groups::new(routes.clone());
        let asked = |text: &str| routes.all()[usize::from(groups.of(&name(text))[0].0)];
        assert_eq!(routes.all().len(), 3, "each once");
        let of = ["corp.example", "a.b.corp.example", "x.lab.corp.example"].map(asked);
        assert_eq!(of, [address(2), address(2), address(3)]);
        assert_eq!(["xcorp.example", "example", "www.com", "."].map(asked), [address(1); 4]);
        let mark = |text: &str| routes.mark(&name(text));
        let marks = ["example", "www.com", "corp.example", "lab.corp.example"].map(mark);
        assert_eq!(marks[0], 0);
        assert!((1..4).all(|n| !marks[..n].contains(&marks[n])), "{marks:?}");
        assert_eq!(mark("a.b.corp.example"), mark("corp.example"));
        let mut other = routes.clone();
        other.domains.remove(&name("corp.example"));
        assert_eq!(other.mark(&name("x.corp.example")), 0);
        let validity = |text: &str| other.validity(&name(text), &routes);
        assert_eq!(validity("x.corp.example"), Validity::Void);
        assert_eq!(["x.lab.corp.example", "example", "www.com"].map(validity), [Validity::Valid; 3]);
    }

    #[test]
    fn a_single_name_has_upstreams_of_its_own_before_those_of_its_domain() {
        let server = |n: u8| Server::from(SocketAddr::from(([192, 0, 2, n], 53)));
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let before = Routes {
            usual: vec![server(1)],
            domains: [(name("corp.example"), vec![server(2)])].into(),
            ..Routes::default()
        };
        let named = ["dns.example", "dns.corp.example"].map(|text| (name(text), vec![server(3)]));
        let routes = Routes { names: named.into(), ..before.clone() };
        let groups = Groups::new(routes.clone());
        let server_of = |group: Rc<[UpstreamId]>| routes.all()[usize::from(group[0].0)];
        let asked = |text: &str| server_of(groups.of(&name(text)));
        assert_eq!(["dns.example", "dns.corp.example"].map(asked), [server(3); 2]);
        let others = ["example", "www.dns.example", "x.dns.corp.example"].map(asked);
        assert_eq!(others, [server(1), server(1), server(2)], "only the name itself, not those below it");
        let chased = |from: &str, to: &str| server_of(groups.of_target(&name(from), &name(to)));
        assert_eq!(chased("dns.example", "www.example"), server(3), "its CNAME leads nowhere else");
        assert_eq!(chased("www.example", "dns.example"), server(3));
        assert_eq!(chased("www.example", "a.corp.example"), server(2));
        assert_eq!(routes.domain(&name("dns.example")), Some(&name("dns.example")));
        assert_eq!(routes.domain(&name("www.dns.example")), None);
        let mark = |text: &str| routes.mark(&name(text));
        assert_eq!((mark("dns.example"), mark("x.dns.example")), (mark("dns.corp.example"), 0));
        assert!(mark("dns.example") != 0 && mark("dns.example") != mark("www.corp.example"));

        assert!(!routes.leads_as(&before) && !before.leads_as(&routes) && routes.leads_as(&routes.clone()));
        let validity = |text: &str| routes.validity(&name(text), &before);
        assert_eq!(["dns.example", "dns.corp.example"].map(validity), [Validity::Void; 2]);
        let others = ["example", "x.dns.example", "x.dns.corp.example"].map(validity);
        assert_eq!(others, [Validity::Valid; 3]);
        let more = [(name("dns.example"), vec![server(3), server(4)])];
        let more = Routes { names: more.into(), ..before.clone() };
        assert_eq!(more.validity(&name("dns.example"), &routes), Validity::DenialsVoid);
        assert_eq!(before.validity(&name("dns.example"), &routes), Validity::Void);
    }

    #[test]
    fn answers_are_voided_when_an_upstream_that_gave_them_is_removed() {
        let on = |n: u8, link: u32| Server::plain(SocketAddr::from(([192, 0, 2, n], 53)), link);
        let usual = |usual: &[Server]| Routes { usual: usual.to_vec(), ..Routes::default() };
        let name = "www.example".parse().expect("a name");
        let validity = |before: &[Server], after: &[Server]| usual(after).validity(&name, &usual(before));
        let [a, b, vpn] = [on(1, 2), on(2, 2), on(1, 7)];
        assert_eq!(validity(&[a, b], &[b, a]), Validity::Valid);
        assert_eq!(validity(&[], &[a]), Validity::Valid, "nobody was asked");
        assert_eq!(validity(&[a], &[a, b]), Validity::DenialsVoid);
        assert_eq!(validity(&[a, b], &[a]), Validity::Void);
        assert_eq!(
            validity(&[a], &[vpn]),
            Validity::Void,
            "the same address on another link is another server"
        );
        assert!(usual(&[a, b]).leads_as(&usual(&[b, a])) && !usual(&[a]).leads_as(&usual(&[vpn])));
        assert_ne!(a.mark(), vpn.mark());
        let mapped = Server::from(SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x201], 53)));
        assert_eq!(mapped.mark(), on(1, 0).mark());
    }
}
