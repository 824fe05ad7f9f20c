//! Plans the servers for each name from the links that the sources describe. Pure: no
//! I/O, no clock.
//!
//! The rules are those of systemd-resolved and NetworkManager. The longest domain that a name ends with
//! decides, over all links. Names in no domain go to the links with the root as a domain (`~.`), or, if
//! there are none, to the default routes. If several links have the same domain, those with the best
//! priority are asked, all of them if it is equal.

use super::link::Link;
use super::over_tls::{EncryptedServer, LinkServer};
use crate::host::upstream_address::why_unusable;
use hither_rounds::{Routes, Server};
use hither_secure::{Roots, Verify};
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Unusable addresses that are described; further ones are ignored.
const REFUSED_MAX: usize = 32;

/// The servers for each name, with remarks for the operator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Plan {
    pub routes: Routes,
    /// The servers that are asked over TLS, each once.
    pub encrypted: Vec<EncryptedServer>,
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

/// What a plan depends on besides the links.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// Whether an address leads back to us.
    pub is_ours: &'a dyn Fn(&SocketAddr) -> bool,
    /// The addresses of this host.
    pub host_addresses: &'a [IpAddr],
    /// The authorities that may issue certificates of servers.
    pub roots: &'a Roots,
}

/// Makes a plan from several sources, the most reliable first. Each link is taken from the first
/// source that knows it, the default routes from the first source that has some.
pub(super) fn plan(sources: &[Vec<Link>], around: &Surroundings<'_>) -> Plan {
    let mut plan = Plan::default();
    let sources = with_possible_servers(sources, &mut plan.report.refused);
    let sources = without_ourselves(&sources, around.is_ours);
    let by_domain: Vec<ByDomain<'_>> = sources.iter().map(|links| ByDomain::of(links)).collect();
    for by_domain in &by_domain {
        route_domains(&mut plan, by_domain, around);
    }
    for (links, by_domain) in sources.iter().zip(&by_domain) {
        plan.report.problems.extend(links.iter().flat_map(|link| link.problems.iter().cloned()));
        if plan.routes.usual.is_empty() {
            let default_routes: Vec<&Link> = links
                .iter()
                .filter(|link| link.is_default_route && !by_domain.is_overridden(link, &Name::ROOT))
                .collect();
            plan.routes.usual = best_servers(&default_routes, &mut plan, around);
        }
    }
    plan
}

/// The links with normalized server addresses, without those that cannot be upstreams.
fn with_possible_servers(sources: &[Vec<Link>], refused: &mut Vec<String>) -> Vec<Vec<Link>> {
    let mut of_link = |link: &Link| {
        let mut servers = Vec::new();
        for server in &link.servers {
            let address = link.normalized(server.address);
            let why = why_unusable(&address).map(str::to_owned).or_else(|| server.why_name_is_unusable());
            match why {
                None => servers.push(LinkServer { address, ..server.clone() }),
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
    let names = |links: &[&Link], address: &SocketAddr| {
        links.iter().any(|link| link.servers.iter().any(|server| server.address == *address))
    };
    let is_only_of_domains = |address: &SocketAddr| names(&own, address) && !names(&general, address);
    // A server that is asked over TLS only where a manager names it is not asked in clear text because a
    // file, which cannot say so, lists it too.
    let strict: BTreeSet<SocketAddr> = sources
        .iter()
        .flatten()
        .flat_map(|link| &link.servers)
        .filter(|server| server.verify() == Some(Verify::Strict))
        .map(|server| server.address)
        .collect();
    let is_ours = |server: &LinkServer| is_ours(&server.address) || is_ours(&server.asked_at());
    let is_of_host = |server: &LinkServer| {
        !is_only_of_domains(&server.address)
            && (server.verify().is_some() || !strict.contains(&server.address))
    };
    let mut all = Vec::new();
    for source in sources {
        let mut links = Vec::new();
        let mut described = Vec::new();
        for link in source.iter().filter(|link| link.index == 0 || !known.contains(&link.index)) {
            let is_asked = |server: &&LinkServer| !is_ours(server) && (link.index != 0 || is_of_host(server));
            let servers: Vec<LinkServer> = link.servers.iter().filter(is_asked).cloned().collect();
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
fn route_domains(plan: &mut Plan, by_domain: &ByDomain<'_>, around: &Surroundings<'_>) {
    for (domain, links) in &by_domain.by_domain {
        let links: Vec<&Link> =
            links.iter().filter(|link| !by_domain.is_overridden(link, domain)).copied().collect();
        let servers = best_servers(&links, plan, around);
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
fn best_servers(links: &[&Link], plan: &mut Plan, around: &Surroundings<'_>) -> Vec<Server> {
    let best = links.iter().map(|link| link.priority).min();
    let mut servers = Vec::new();
    for link in links.iter().filter(|link| Some(link.priority) == best) {
        for named in &link.servers {
            let index = link.leads_to(named.address.ip(), around.host_addresses);
            let (server, encrypted) = named.on(index, around.roots);
            if !servers.contains(&server) {
                servers.push(server);
            }
            plan.encrypted.extend(encrypted.filter(|one| !plan.encrypted.contains(one)));
            plan.add_origin(server, &link.origin);
        }
    }
    servers
}

#[cfg(test)]
mod tests;
