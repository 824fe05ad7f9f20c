//! Whom to ask for which names: the usual upstreams, and those of some domains (split DNS).

use crate::UpstreamId;
use hither_table::layout::checksum;
use hither_wire::name::Name;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

/// Upstreams by domain. The longest suffix of a name decides; the order in which they were written does not matter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Routes {
    /// For every name without a domain of its own here.
    pub usual: Vec<SocketAddr>,
    /// Domains, in lower case.
    pub domains: BTreeMap<Name, Vec<SocketAddr>>,
}

impl From<&[SocketAddr]> for Routes {
    fn from(usual: &[SocketAddr]) -> Routes {
        Routes { usual: usual.to_vec(), domains: BTreeMap::new() }
    }
}

impl Routes {
    /// The domain whose upstreams are asked for `name`, in lower case.
    #[must_use]
    pub fn domain(&self, name: &Name) -> Option<&Name> {
        suffix(&self.domains, name).map(|(domain, _)| domain)
    }

    /// A number that stands for whom `name` is asked of: 0 for the usual upstreams, whoever they are; else another for other upstreams. It means the
    /// same in every process.
    #[must_use]
    pub fn mark(&self, name: &Name) -> u64 {
        let Some((_, upstreams)) = suffix(&self.domains, name) else { return 0 };
        let words = upstreams.iter().flat_map(|upstream| {
            let (address, scope) = match upstream {
                SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
                SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
            };
            let bits = address.to_bits();
            [(bits >> 64) as u64, bits as u64, u64::from(scope) << 32 | u64::from(upstream.port())]
        });
        checksum(words).max(1)
    }

    /// Every upstream once.
    #[must_use]
    pub fn all(&self) -> Vec<SocketAddr> {
        let mut all: Vec<SocketAddr> = Vec::new();
        for address in self.usual.iter().chain(self.domains.values().flatten()) {
            if !all.contains(address) {
                all.push(*address);
            }
        }
        all
    }

    /// Whether `name` is asked elsewhere than by `before`. That the usual upstreams are others changes nothing: they are asked for the
    /// same names.
    pub(crate) fn moves(&self, name: &Name, before: &Routes) -> bool {
        suffix(&self.domains, name).map(|(_, upstreams)| upstreams)
            != suffix(&before.domains, name).map(|(_, upstreams)| upstreams)
    }
}

fn suffix<'a, T>(domains: &'a BTreeMap<Name, T>, name: &Name) -> Option<(&'a Name, &'a T)> {
    if domains.is_empty() {
        return None;
    }
    let mut suffix = Some(*name);
    while let Some(at) = suffix {
        if let Some(found) = domains.get_key_value(&at) {
            return Some(found);
        }
        suffix = at.parent();
    }
    None
}

/// Routes as places in the list of upstreams.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub routes: Routes,
    usual: Rc<[UpstreamId]>,
    domains: BTreeMap<Name, Rc<[UpstreamId]>>,
}

impl Groups {
    pub fn new(routes: Routes) -> Groups {
        let all = routes.all();
        let place = |address: &SocketAddr| all.iter().position(|a| a == address);
        let ids = |addresses: &[SocketAddr]| -> Rc<[UpstreamId]> {
            addresses
                .iter()
                .filter_map(place)
                .filter_map(|at| u16::try_from(at).ok())
                .map(UpstreamId)
                .collect()
        };
        Groups {
            usual: ids(&routes.usual),
            domains: routes.domains.iter().map(|(name, addresses)| (*name, ids(addresses))).collect(),
            routes,
        }
    }

    pub fn of(&self, name: &Name) -> Rc<[UpstreamId]> {
        Rc::clone(suffix(&self.domains, name).map_or(&self.usual, |(_, group)| group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_suffix_decides() {
        let address = |n: u8| SocketAddr::from(([192, 0, 2, n], 53));
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let domains = [("corp.example", 2), ("lab.corp.example", 3), ("com", 1)];
        let routes = Routes {
            usual: vec![address(1)],
            domains: domains.iter().map(|(domain, n)| (name(domain), vec![address(*n)])).collect(),
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
        let moves = |text: &str| other.moves(&name(text), &routes);
        assert!(
            moves("x.corp.example") && !moves("x.lab.corp.example") && !moves("example") && !moves("www.com")
        );
        assert_eq!(other.mark(&name("x.corp.example")), 0);
    }
}
