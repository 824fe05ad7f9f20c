//! From what is known of links to whom to ask for what: pure, and the rules of systemd-resolved and NetworkManager in one place.
//!
//! The longest domain that a name ends with decides, over all links. What no domain claims goes to those that have the root for a domain (`~.`),
//! or, where nobody has, to those that volunteer (the default route). Where two have the same domain the better priority decides, and both are
//! asked where it is the same.

use hither_rounds::{Routes, Server};
use hither_wire::name::Name;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// What is known of one link, or of the whole host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Link {
    /// Its number; 0: the whole host.
    pub index: u32,
    pub servers: Vec<SocketAddr>,
    /// What is asked there, in lower case, whether it is searched too or only routed.
    pub domains: Vec<Name>,
    /// Whether it volunteers for what nobody claims.
    pub usual: bool,
    /// The lower the better; below 0 it takes what is below its domains from others, too.
    pub priority: i32,
    /// Who says so, and of which link.
    pub origin: String,
}

/// Whom to ask, and who named them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Plan {
    pub routes: Routes,
    pub origins: BTreeMap<Server, String>,
}

impl Plan {
    /// A server that `origin` names. Who was first is told.
    pub fn name(&mut self, server: Server, origin: &str) {
        self.origins.entry(server).or_insert_with(|| origin.to_owned());
    }
}

/// What the host says, source after source. A link is as the first says that knows it; what nobody claims goes to those who volunteer in the first
/// source that has some.
pub(super) fn plan(sources: &[Vec<Link>], is_ours: &dyn Fn(&SocketAddr) -> bool, here: &[IpAddr]) -> Plan {
    let mut plan = Plan::default();
    let sources = usable(sources, is_ours);
    for links in &sources {
        claimed(&mut plan, links, here);
    }
    for links in &sources {
        if plan.routes.usual.is_empty() {
            let volunteers = links.iter().filter(|link| link.usual && !is_shadowed(link, &Name::ROOT, links));
            let volunteers: Vec<&Link> = volunteers.collect();
            plan.routes.usual = best(&volunteers, &mut plan, here);
        }
    }
    plan
}

/// Links with servers that may be asked, each once.
fn usable(sources: &[Vec<Link>], is_ours: &dyn Fn(&SocketAddr) -> bool) -> Vec<Vec<Link>> {
    let mut known: Vec<u32> = Vec::new();
    // Servers that are asked for a link's own domains only, whoever else names them.
    let (usual, own): (Vec<&Link>, Vec<&Link>) =
        sources.iter().flatten().filter(|link| link.index != 0).partition(|link| link.is_usual());
    let names = |links: &[&Link], server: &SocketAddr| links.iter().any(|link| link.servers.contains(server));
    let only_own = |server: &SocketAddr| names(&own, server) && !names(&usual, server);
    let mut all = Vec::new();
    for source in sources {
        let mut links = Vec::new();
        let mut told = Vec::new();
        for link in source.iter().filter(|link| link.index == 0 || !known.contains(&link.index)) {
            let asked = |server: &&SocketAddr| !is_ours(server) && (link.index != 0 || !only_own(server));
            let servers: Vec<SocketAddr> = link.servers.iter().filter(asked).copied().collect();
            // One without any is known to be down; one with ourselves alone may be known better to others.
            if link.servers.is_empty() || !servers.is_empty() {
                told.push(link.index);
            }
            if !servers.is_empty() {
                links.push(Link { servers, ..link.clone() });
            }
        }
        known.extend(told);
        all.push(links);
    }
    all
}

/// Who is asked for the domains that links have, the root among them.
fn claimed(plan: &mut Plan, links: &[Link], here: &[IpAddr]) {
    let mut domains: Vec<Name> = links.iter().flat_map(|link| &link.domains).copied().collect();
    domains.sort();
    domains.dedup();
    for domain in domains {
        let claims = links.iter().filter(|link| link.domains.contains(&domain));
        let claims: Vec<&Link> = claims.filter(|link| !is_shadowed(link, &domain, links)).collect();
        let servers = best(&claims, plan, here);
        if domain.is_root() {
            if plan.routes.usual.is_empty() {
                plan.routes.usual = servers;
            }
        } else if !servers.is_empty() {
            plan.routes.domains.entry(domain).or_insert(servers);
        }
    }
}

/// Whether another link with a priority below 0 has this domain, or one above it, for itself.
fn is_shadowed(link: &Link, domain: &Name, links: &[Link]) -> bool {
    let covers = |other: &Link| {
        let mut at = Some(*domain);
        while let Some(name) = at {
            if other.domains.contains(&name) {
                return true;
            }
            at = name.parent();
        }
        other.usual
    };
    links.iter().any(|other| other.priority < 0 && other.priority < link.priority && covers(other))
}

/// The servers of those with the best priority.
fn best(links: &[&Link], plan: &mut Plan, here: &[IpAddr]) -> Vec<Server> {
    let best = links.iter().map(|link| link.priority).min();
    let mut servers = Vec::new();
    for link in links.iter().filter(|link| Some(link.priority) == best) {
        for server in link.servers.iter().map(|address| link.server(*address, here)) {
            if !servers.contains(&server) {
                servers.push(server);
            }
            plan.name(server, &link.origin);
        }
    }
    servers
}

impl Link {
    fn is_usual(&self) -> bool {
        self.usual || self.domains.iter().any(Name::is_root)
    }

    /// A server as it is asked: through the link, unless it is on this host, where no link leads.
    fn server(&self, mut address: SocketAddr, here: &[IpAddr]) -> Server {
        if let SocketAddr::V6(v6) = &mut address
            && v6.ip().is_unicast_link_local()
            && v6.scope_id() == 0
        {
            v6.set_scope_id(self.index);
        }
        let is_here = address.ip().is_loopback() || here.contains(&address.ip());
        Server { address, link: if is_here { 0 } else { self.index } }
    }
}

/// A domain as others write it, and whether it is only routed: `corp.example`, `~corp.example`, `~.`.
pub(super) fn domain(word: &str) -> Option<(Name, bool)> {
    let (word, routed) = word.strip_prefix('~').map_or((word, false), |rest| (rest, true));
    // NetworkManager has no dot at the end.
    let name: Name = if routed && word.is_empty() { Name::ROOT } else { word.parse().ok()? };
    Some((name.to_lower(), routed))
}

/// Whether a link volunteers when nobody has said: not when it has domains that are only routed, unless it has the root.
pub(super) fn volunteers(domains: &[(Name, bool)]) -> bool {
    domains.iter().any(|(name, _)| name.is_root()) || !domains.iter().any(|(_, routed)| *routed)
}

/// How a link is called.
pub(super) fn called(index: u32) -> String {
    match nix::net::if_::if_indextoname(index) {
        Ok(name) => format!("link {}", name.to_string_lossy()),
        Err(_) => format!("link {index}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, servers: &[&str], domains: &[&str], usual: bool) -> Link {
        let domains = domains.iter().map(|text| domain(text).expect("a domain").0).collect();
        let servers = servers.iter().map(|text| text.parse().expect("an address")).collect();
        Link { index, servers, domains, usual, priority: 0, origin: format!("link {index}") }
    }

    fn plan_of(sources: &[Vec<Link>]) -> Plan {
        plan(sources, &|server| server.port() == 1053, &["198.51.100.9".parse().expect("an address")])
    }

    fn shown(servers: &[Server]) -> String {
        let all: Vec<String> = servers.iter().map(|s| format!("{}%{}", s.address.ip(), s.link)).collect();
        all.join(" ")
    }

    fn asked(plan: &Plan, name: &str) -> String {
        let name = name.parse().expect("a name");
        let domain = plan.routes.domain(&name);
        shown(domain.map_or(&plan.routes.usual, |domain| &plan.routes.domains[domain]))
    }

    const HOME: [&str; 1] = ["192.0.2.1:53"];
    const VPN: [&str; 2] = ["10.8.0.1:53", "10.8.0.2:53"];

    #[test]
    fn the_longest_suffix_of_all_links_decides() {
        let plan = plan_of(&[vec![
            link(2, &HOME, &["example", "home.arpa"], true),
            link(7, &VPN, &["~corp.example", "lab.example"], false),
            link(8, &["10.9.0.1:53"], &["~x.corp.example"], false),
        ]]);
        assert_eq!(asked(&plan, "www.example"), "192.0.2.1%2");
        assert_eq!(asked(&plan, "a.corp.example"), "10.8.0.1%7 10.8.0.2%7");
        assert_eq!(asked(&plan, "lab.example"), "10.8.0.1%7 10.8.0.2%7", "what is searched is routed too");
        assert_eq!(asked(&plan, "a.x.corp.example"), "10.9.0.1%8");
        assert_eq!(asked(&plan, "other.test"), "192.0.2.1%2");
        let server = plan.routes.usual[0];
        assert_eq!(plan.origins[&server], "link 2");
    }

    #[test]
    fn the_root_beats_the_usual_servers_and_what_is_no_default_route_is_not_among_them() {
        let global = link(0, &["203.0.113.5:53"], &[], true);
        let home = link(2, &HOME, &["home.test"], true);
        let split = link(7, &VPN, &["~corp.example"], false);
        let plan = plan_of(&[vec![global.clone(), home.clone(), split.clone()]]);
        assert_eq!(asked(&plan, "www.test"), "203.0.113.5%0 192.0.2.1%2");
        let full = link(9, &["10.9.0.1:53"], &["~."], false);
        let plan = plan_of(&[vec![global.clone(), home.clone(), split.clone(), full]]);
        assert_eq!(asked(&plan, "www.test"), "10.9.0.1%9");
        assert_eq!(asked(&plan, "a.corp.example"), "10.8.0.1%7 10.8.0.2%7");
        assert_eq!(asked(&plan, "a.home.test"), "192.0.2.1%2", "its own domains stay with a link");
        // Nobody volunteers: nobody is asked for what nobody claims.
        assert_eq!(asked(&plan_of(&[vec![split.clone()]]), "www.test"), "");
        // Not even when a file names its server, as the resolv.conf does that resolved writes for others.
        let file = link(0, &["10.8.0.1:53", "192.0.2.7:53"], &[], true);
        assert_eq!(asked(&plan_of(&[vec![split.clone()], vec![file.clone()]]), "www.test"), "192.0.2.7%0");
        // A later source is not asked where one before knows somebody.
        assert_eq!(asked(&plan_of(&[vec![home, split], vec![file]]), "www.test"), "192.0.2.1%2");
    }

    #[test]
    fn one_address_on_two_links_is_two_servers_and_one_on_this_host_has_no_link() {
        let plan = plan_of(&[vec![
            link(2, &["10.0.0.1:53", "127.0.0.5:53", "198.51.100.9:53", "127.0.0.1:1053"], &[], true),
            link(7, &["10.0.0.1:53", "[fe80::1]:53"], &["~corp.example"], false),
        ]]);
        assert_eq!(asked(&plan, "www.test"), "10.0.0.1%2 127.0.0.5%0 198.51.100.9%0", "and not ourselves");
        assert_eq!(asked(&plan, "corp.example"), "10.0.0.1%7 fe80::1%7");
        assert_eq!(
            plan.routes.domains.values().next().expect("one")[1].address.to_string(),
            "[fe80::1%7]:53"
        );
        assert_eq!(plan.routes.all().len(), 5);
    }

    #[test]
    fn the_better_priority_decides_and_a_negative_one_takes_all_below() {
        let of = |priority: i32, link: Link| Link { priority, ..link };
        let home = of(100, link(2, &HOME, &["example", "lab.corp.example"], true));
        let vpn = of(50, link(7, &VPN[..1], &["example", "~corp.example"], false));
        let plan = plan_of(&[vec![home.clone(), vpn.clone()]]);
        assert_eq!(asked(&plan, "www.example"), "10.8.0.1%7");
        assert_eq!(asked(&plan, "a.lab.corp.example"), "192.0.2.1%2");
        assert_eq!(asked(&plan, "www.test"), "192.0.2.1%2");
        let plan = plan_of(&[vec![home.clone(), of(-10, vpn.clone())]]);
        assert_eq!(asked(&plan, "a.lab.corp.example"), "10.8.0.1%7", "what is below its domain");
        assert_eq!(asked(&plan, "www.test"), "192.0.2.1%2", "but not all");
        let full = of(-10, Link { usual: true, ..vpn });
        let plan = plan_of(&[vec![home, full]]);
        assert_eq!(asked(&plan, "www.test"), "10.8.0.1%7");
        assert_eq!(asked(&plan, "a.lab.corp.example"), "10.8.0.1%7");
    }

    #[test]
    fn who_volunteers_when_nobody_says() {
        let of = |words: &[&str]| {
            let domains: Vec<_> = words.iter().filter_map(|word| domain(word)).collect();
            volunteers(&domains)
        };
        assert!(of(&[]) && of(&["search.example"]) && of(&["~corp.example", "~."]) && of(&["~."]));
        assert!(!of(&["~corp.example"]) && !of(&["search.example", "~corp.example"]));
        assert_eq!(domain("~CORP.example."), domain("~corp.example"));
        assert_eq!(domain("~"), domain("~."));
        assert_eq!([domain("a..b"), domain("")], [None, None]);
    }
}
