//! Plans the servers for each name from the links that the sources describe. Pure: no
//! I/O, no clock.
//!
//! The rules are those of systemd-resolved and NetworkManager. The longest domain that a name ends with
//! decides, over all links. Names in no domain go to the links with the root as a domain (`~.`), or, if
//! there are none, to the default routes. If several links have the same domain, those with the best
//! priority are asked, all of them if it is equal.

use super::link::Link;
use crate::host::upstream_address::why_unusable;
use hither_rounds::{Routes, Server};
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Unusable addresses that are described; further ones are ignored.
const REFUSED_MAX: usize = 32;

/// The servers for each name, with remarks for the operator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Plan {
    pub routes: Routes,
    pub report: PlanReport,
}

/// Remarks on a [`Plan`] for the operator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PlanReport {
    /// The source that named each server.
    pub origins: BTreeMap<Server, String>,
    /// Settings of links that are not followed to the letter.
    pub problems: Vec<String>,
    /// Addresses that were named and cannot be upstreams, each with the reason.
    pub refused: Vec<String>,
}

impl Plan {
    /// Notes that `origin` named a server; the first one that did is kept.
    pub fn add_origin(&mut self, server: Server, origin: &str) {
        self.report.origins.entry(server).or_insert_with(|| origin.to_owned());
    }
}

/// Makes a plan from several sources, the most reliable first. Each link is taken from the first
/// source that knows it, the default routes from the first source that has some. `is_ours` says
/// which addresses lead back to us.
pub(super) fn plan(
    sources: &[Vec<Link>],
    is_ours: &dyn Fn(&SocketAddr) -> bool,
    host_addresses: &[IpAddr],
) -> Plan {
    let mut plan = Plan::default();
    let sources = with_possible_servers(sources, &mut plan.report.refused);
    let sources = without_ourselves(&sources, is_ours);
    let by_domain: Vec<ByDomain<'_>> = sources.iter().map(|links| ByDomain::of(links)).collect();
    for by_domain in &by_domain {
        route_domains(&mut plan, by_domain, host_addresses);
    }
    for (links, by_domain) in sources.iter().zip(&by_domain) {
        plan.report.problems.extend(links.iter().filter_map(Link::problem));
        if plan.routes.usual.is_empty() {
            let default_routes: Vec<&Link> = links
                .iter()
                .filter(|link| link.is_default_route && !by_domain.is_overridden(link, &Name::ROOT))
                .collect();
            plan.routes.usual = best_servers(&default_routes, &mut plan, host_addresses);
        }
    }
    plan
}

/// The links with normalized server addresses, without those that cannot be upstreams.
fn with_possible_servers(sources: &[Vec<Link>], refused: &mut Vec<String>) -> Vec<Vec<Link>> {
    let mut of_link = |link: &Link| {
        let mut servers = Vec::new();
        for address in link.servers.iter().map(|address| link.normalized(*address)) {
            match why_unusable(&address) {
                None => servers.push(address),
                Some(why) if refused.len() < REFUSED_MAX => {
                    let line = format!("{address}, named by {}, {why}: it is not used", link.origin);
                    if !refused.contains(&line) {
                        refused.push(line);
                    }
                }
                Some(_) => {}
            }
        }
        Link { servers, ..link.clone() }
    };
    sources.iter().map(|links| links.iter().map(&mut of_link).collect()).collect()
}

/// The links that have servers other than ourselves, each link from the first source that knows it.
fn without_ourselves(sources: &[Vec<Link>], is_ours: &dyn Fn(&SocketAddr) -> bool) -> Vec<Vec<Link>> {
    let mut known: Vec<u32> = Vec::new();
    // A server that links name only for their own domains is not asked for other names, although
    // resolv.conf lists it too.
    let (general, own): (Vec<&Link>, Vec<&Link>) =
        sources.iter().flatten().filter(|link| link.index != 0).partition(|link| link.takes_other_names());
    let names = |links: &[&Link], server: &SocketAddr| links.iter().any(|link| link.servers.contains(server));
    let is_only_of_domains = |server: &SocketAddr| names(&own, server) && !names(&general, server);
    let mut all = Vec::new();
    for source in sources {
        let mut links = Vec::new();
        let mut described = Vec::new();
        for link in source.iter().filter(|link| link.index == 0 || !known.contains(&link.index)) {
            let is_asked =
                |server: &&SocketAddr| !is_ours(server) && (link.index != 0 || !is_only_of_domains(server));
            let servers: Vec<SocketAddr> = link.servers.iter().filter(is_asked).copied().collect();
            // A link without servers is known to be down. Of a link with only ourselves a later source
            // may know the servers.
            if link.servers.is_empty() || !servers.is_empty() {
                described.push(link.index);
            }
            if !servers.is_empty() {
                links.push(Link { servers, ..link.clone() });
            }
        }
        known.extend(described);
        all.push(links);
    }
    all
}

/// The links of one source, by the domains that they have.
struct ByDomain<'a> {
    links: &'a [Link],
    by_domain: BTreeMap<Name, Vec<&'a Link>>,
}

impl<'a> ByDomain<'a> {
    fn of(links: &'a [Link]) -> ByDomain<'a> {
        let mut by_domain: BTreeMap<Name, Vec<&Link>> = BTreeMap::new();
        for link in links {
            for domain in link.domains.iter().copied().collect::<BTreeSet<Name>>() {
                by_domain.entry(domain).or_default().push(link);
            }
        }
        ByDomain { links, by_domain }
    }

    /// Whether another link takes this domain from `link`: it has a better priority below 0, and the
    /// domain itself, a parent of it, or the default route.
    fn is_overridden(&self, link: &Link, domain: &Name) -> bool {
        let overrides = |other: &Link| other.priority < 0 && other.priority < link.priority;
        if !self.links.iter().any(overrides) {
            return false;
        }
        let mut ancestors = std::iter::successors(Some(*domain), Name::parent);
        let has = |name: Name| {
            self.by_domain.get(&name).is_some_and(|links| links.iter().any(|other| overrides(other)))
        };
        self.links.iter().any(|other| other.is_default_route && overrides(other)) || ancestors.any(has)
    }
}

/// Adds the routes of the domains that the links of one source have; the root is a domain too.
fn route_domains(plan: &mut Plan, by_domain: &ByDomain<'_>, host_addresses: &[IpAddr]) {
    for (domain, links) in &by_domain.by_domain {
        let links: Vec<&Link> =
            links.iter().filter(|link| !by_domain.is_overridden(link, domain)).copied().collect();
        let servers = best_servers(&links, plan, host_addresses);
        if domain.is_root() {
            if plan.routes.usual.is_empty() {
                plan.routes.usual = servers;
            }
        } else if !servers.is_empty() {
            plan.routes.domains.entry(*domain).or_insert(servers);
        }
    }
}

/// The servers of the links with the best priority, each once.
fn best_servers(links: &[&Link], plan: &mut Plan, host_addresses: &[IpAddr]) -> Vec<Server> {
    let best = links.iter().map(|link| link.priority).min();
    let mut servers = Vec::new();
    for link in links.iter().filter(|link| Some(link.priority) == best) {
        for server in link.servers.iter().map(|address| link.server(*address, host_addresses)) {
            if !servers.contains(&server) {
                servers.push(server);
            }
            plan.add_origin(server, &link.origin);
        }
    }
    servers
}

#[cfg(test)]
mod tests;
